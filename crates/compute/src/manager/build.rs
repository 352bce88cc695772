//! `build_and_run_instance`.
//!
//! ```text
//!   scheduling ──claim──> networking ──ports, disk──> spawning ──driver──> ACTIVE
//!        │                    │                          │
//!        └────────────────────┴──── an error ────────────┘
//!                                      │ what was made is undone, last first
//!                     ┌────────────────┴───────────────┐
//!            another host may do it             nobody could do it,
//!         build_instances to the conductor      or no host is left: ERROR with a fault
//! ```
//!
//! The message may come twice, or again after a crash, or when another host has the instance: only one that is still
//! being built, and here, is let through, and ports and guest are taken over where an interrupted try left them.
//! Where the conductor cannot be reached nothing is undone: its workflow sends the message again.

use std::collections::BTreeMap;
use std::time::Duration;

use kilonova_clients::ClientError;
use kilonova_clients::network::PortRequest;
use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use kilonova_objects::{
    Instance, InstanceInfoCache, NETWORK_ID_AUTO, NETWORK_ID_NONE, NetworkInfo, TaskState, Tracked, VmState,
};
use kilonova_rpcapi::compute::BuildAndRunInstance;
use kilonova_rpcapi::conductor::BuildInstances;
use kilonova_rpcapi::objects::Expected;
use kilonova_virt::{DriverError, Injected, Spawn};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Manager, ManagerError};

/// The tasks of a build, in order: a build that was interrupted is found in any of them.
const BUILD_TASKS: [Option<TaskState>; 5] = [
    Some(TaskState::Scheduling),
    None,
    Some(TaskState::Networking),
    Some(TaskState::BlockDeviceMapping),
    Some(TaskState::Spawning),
];

/// The tasks of an instance that the conductor has given to a host and no host has begun to build.
const NOT_BEGUN: [Option<TaskState>; 2] = [Some(TaskState::Scheduling), None];

/// Between signs of life of a spawn: a fraction of the lease that the conductor gives a build.
const SIGN_OF_LIFE_INTERVAL: Duration = Duration::from_secs(30);

impl Manager {
    /// Builds an instance and starts it.
    pub async fn build_and_run_instance(
        &self,
        context: &RequestContext,
        build: BuildAndRunInstance,
    ) -> Result<(), ManagerError> {
        let _slot = self.builds.acquire().await.map_err(|_| ManagerError::Invalid("shutting down".to_owned()))?;
        let _lock = self.locks.lock(build.instance.uuid).await;
        let uuid = build.instance.uuid;
        let mut instance = Tracked::new(build.instance.clone());
        let result = match self.claim(context, &mut instance, &build).await {
            Ok(()) => {
                self.tell_create_start(context, &instance, &build);
                let event = "compute__do_build_and_run_instance";
                let built = self.with_event(context, uuid, event, self.build(context, &mut instance, &build)).await;
                self.tell_create_result(context, &instance, &build, &built);
                built
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => Ok(()),
            Err(error) if error.is_deletion() || error.is_conflict() => {
                tracing::info!(instance = %uuid, %error, "not, or no longer, to be built here");
                self.let_go(context, uuid).await
            }
            Err(error @ ManagerError::Rpc(_)) => {
                tracing::error!(instance = %uuid, error = %super::details(&error), "a build was interrupted and waits for its workflow");
                Err(error)
            }
            Err(error) => {
                tracing::warn!(instance = %uuid, error = %super::details(&error), "the build failed");
                Box::pin(self.give_back(context, instance, build, error)).await
            }
        }
    }

    /// Whether the instance waits to be built, and by this host. Nova's conductor leaves it to the host to write
    /// itself down; ours did so before it sent the message.
    async fn is_to_be_built(&self, context: &RequestContext, asked: &Instance) -> Result<bool, ManagerError> {
        Ok(self.find(context, asked.uuid).await?.is_some_and(|now| {
            let is_here = self.is_mine(&now) || (now.host.is_none() && asked.host.is_none());
            is_here && now.vm_state == VmState::Building && BUILD_TASKS.contains(&now.task_state)
        }))
    }

    /// The build is not this host's to finish: what it left here goes, and of the rest what nobody else owns.
    async fn let_go(&self, context: &RequestContext, uuid: Uuid) -> Result<(), ManagerError> {
        let now = self.find(context, uuid).await?;
        let leftovers = now.as_ref().map_or(Leftovers::All, |now| leftovers(now, &self.config.host));
        tracing::debug!(instance = %uuid, ?leftovers, "letting go of an instance");
        match leftovers {
            Leftovers::None => {}
            Leftovers::Guest => self.remove_guest(uuid).await,
            Leftovers::All => {
                self.remove_guest(uuid).await;
                self.release_ports(context, uuid).await;
                self.release_allocations(context, uuid).await;
            }
        }
        Ok(())
    }

    async fn build(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        build: &BuildAndRunInstance,
    ) -> Result<(), ManagerError> {
        refuse_tags(build)?;
        self.check_trusted_certs(instance)?;
        // Both end, also when one has failed: ports that are made after the undoing would stay.
        let (network_info, disk) =
            tokio::join!(self.allocate_network(context, instance, build), self.disk_image(context, &build.image));
        let (network_info, disk) = (network_info?, disk?);
        let has_config_drive = self.wants_config_drive(instance);
        self.prepare_spawn(context, instance, &network_info, has_config_drive).await?;
        let metadata = {
            let spawn = Spawn {
                instance,
                image: disk,
                image_properties: image_properties(&build.image),
                network_info: &network_info,
                injected: injected(build)?,
                has_config_drive,
            };
            self.with_signs_of_life(context, instance, self.driver.spawn(spawn)).await?
        };
        self.finish(context, instance, metadata).await
    }

    /// Who wants the signature of the image checked is not let down in silence.
    pub(super) fn check_trusted_certs(&self, instance: &Instance) -> Result<(), ManagerError> {
        if instance.trusted_certs.is_some() && !self.driver.capabilities().supports_trusted_certs {
            let sentence = "Trusted image certificates provided on host that does not support certificate validation.";
            return Err(ManagerError::Invalid(sentence.to_owned()));
        }
        Ok(())
    }

    /// The instance belongs to this host from here on. The write is also the question whether it is to be built, and
    /// here: only an instance that no host has begun is let through unseen, and whatever host begins that after us
    /// writes all of this again.
    async fn claim(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        build: &BuildAndRunInstance,
    ) -> Result<(), ManagerError> {
        let node =
            self.tracker.node().await.ok_or_else(|| ManagerError::Invalid("the host is not ready".to_owned()))?;
        instance.host = Some(self.config.host.clone());
        instance.node = build.node.clone().or(node.hypervisor_hostname);
        instance.compute_id = Some(node.id);
        instance.launched_on = Some(self.config.host.clone());
        instance.availability_zone.get_or_insert_with(|| self.config.availability_zone.clone());
        instance.task_state = Some(TaskState::Networking);
        let building = Some(&[VmState::Building][..]);
        let not_begun = Expected { task_states: Some(&NOT_BEGUN), vm_states: building };
        match self.save_mine(context, instance, not_begun).await {
            Err(ManagerError::Rpc(error)) if error.is("UnexpectedTaskStateError") => {}
            saved => return saved,
        }
        // An earlier try was interrupted, here or on another host.
        if !self.is_to_be_built(context, &build.instance).await? {
            return Err(ManagerError::Elsewhere);
        }
        let begun = Expected { task_states: Some(&BUILD_TASKS), vm_states: building };
        self.save_mine(context, instance, begun).await
    }

    /// Saves; an error if that shows that another host has the instance now.
    pub(super) async fn save_mine(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        expected: Expected<'_>,
    ) -> Result<(), ManagerError> {
        self.save(context, instance, expected).await?;
        if self.is_mine(instance) { Ok(()) } else { Err(ManagerError::Elsewhere) }
    }

    async fn allocate_network(
        &self,
        context: &RequestContext,
        instance: &Instance,
        build: &BuildAndRunInstance,
    ) -> Result<NetworkInfo, ManagerError> {
        let requests = self.port_requests(context, instance, build).await?;
        if requests.is_empty() {
            return Ok(NetworkInfo::default());
        }
        let (uuid, project_id) = (instance.uuid, instance.project_id());
        let network = &self.clients.network;
        let vifs = network.allocate_for_instance(context, uuid, project_id, &self.config.host, &requests).await?;
        Ok(NetworkInfo(vifs))
    }

    async fn port_requests(
        &self,
        context: &RequestContext,
        instance: &Instance,
        build: &BuildAndRunInstance,
    ) -> Result<Vec<PortRequest>, ManagerError> {
        let asked = build.requested_networks.as_ref().map_or(&[][..], |list| list.objects.as_slice());
        if asked.iter().any(|request| request.network_id.as_deref() == Some(NETWORK_ID_NONE)) {
            return Ok(Vec::new());
        }
        let security_group_ids = self.security_group_ids(context, instance, &build.security_groups).await?;
        let is_auto = asked.iter().any(|request| request.network_id.as_deref() == Some(NETWORK_ID_AUTO));
        if asked.is_empty() || is_auto {
            let network_id = self.implied_network(context, instance, is_auto).await?;
            let request = |id| PortRequest { network_id: Some(id), security_group_ids, ..PortRequest::default() };
            return Ok(network_id.map(request).into_iter().collect());
        }
        asked
            .iter()
            .map(|request| {
                Ok(PortRequest {
                    network_id: request.network_id.as_deref().map(parse_uuid).transpose()?,
                    port_id: request.port_id,
                    fixed_ip: request.address.clone(),
                    security_group_ids: security_group_ids.clone(),
                })
            })
            .collect()
    }

    /// The network of a server that names none: the first of its project. `is_auto`: one is made where there is none.
    async fn implied_network(
        &self,
        context: &RequestContext,
        instance: &Instance,
        is_auto: bool,
    ) -> Result<Option<Uuid>, ManagerError> {
        let networks = self.clients.network.available_networks(context).await?;
        let first = networks.iter().find(|network| !network.is_external && !network.subnet_ids.is_empty());
        match first.map(|network| network.id) {
            None if is_auto => Ok(Some(self.clients.network.auto_allocate(context, instance.project_id()).await?)),
            first => Ok(first),
        }
    }

    /// The groups of a request come by name or by id.
    async fn security_group_ids(
        &self,
        context: &RequestContext,
        instance: &Instance,
        wanted: &[String],
    ) -> Result<Vec<Uuid>, ManagerError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let groups = self.clients.network.security_groups(context, instance.project_id()).await?;
        wanted
            .iter()
            .map(|wanted| {
                let found = groups.iter().find(|group| group.name == *wanted || group.id.to_string() == *wanted);
                found.map(|group| group.id).ok_or_else(|| {
                    ManagerError::Invalid(format!(
                        "Security group {wanted} not found for project {}.",
                        instance.project_id()
                    ))
                })
            })
            .collect()
    }

    pub(super) fn wants_config_drive(&self, instance: &Instance) -> bool {
        let asked = instance.config_drive.as_deref().is_some_and(|asked| asked.eq_ignore_ascii_case("true"));
        asked || self.config.force_config_drive || self.driver.requires_config_drive()
    }

    async fn prepare_spawn(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        network_info: &NetworkInfo,
        has_config_drive: bool,
    ) -> Result<(), ManagerError> {
        instance.info_cache = Some(InstanceInfoCache::new(instance.uuid, network_info));
        if has_config_drive {
            instance.config_drive = Some("True".to_owned());
        }
        instance.task_state = Some(TaskState::Spawning);
        let expected = Expected::tasks(&[Some(TaskState::Networking)]);
        self.save_mine(context, instance, expected).await
    }

    /// A spawn may take long (a large image, a busy host), and the workflow must not take the build for lost: a save
    /// renews its lease, also one without changes.
    async fn with_signs_of_life<T>(
        &self,
        context: &RequestContext,
        instance: &Tracked<Instance>,
        work: impl Future<Output = T>,
    ) -> T {
        let signs = async {
            let expected = Expected::tasks(&[Some(TaskState::Spawning)]);
            loop {
                tokio::time::sleep(SIGN_OF_LIFE_INTERVAL).await;
                if let Err(error) = self.conductor.instance_save(context, &mut instance.clone(), expected).await {
                    // The save at the end decides what that means.
                    tracing::debug!(instance = %instance.uuid, %error, "a sign of life was not taken");
                }
            }
        };
        tokio::select! {
            done = work => done,
            never = Box::pin(signs) => never,
        }
    }

    async fn finish(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        metadata: BTreeMap<String, String>,
    ) -> Result<(), ManagerError> {
        instance.metadata.extend(metadata);
        instance.power_state = self.power_state(instance.uuid).await;
        instance.vm_state = VmState::Active;
        instance.task_state = None;
        instance.launched_at = Some(utcnow());
        let expected = Expected::tasks(&[Some(TaskState::Spawning)]);
        self.save_mine(context, instance, expected).await?;
        self.saw(instance.uuid, instance.power_state);
        tracing::info!(instance = %instance.uuid, "instance is active");
        Ok(())
    }

    // Nothing of an unfinished build stays. What cannot be undone now is found by the reconciler, or by the search for
    // orphaned guests.

    pub(super) async fn remove_guest(&self, instance_uuid: Uuid) {
        if let Err(error) = self.driver.destroy(instance_uuid).await {
            tracing::error!(instance = %instance_uuid, %error, "the guest of an unfinished build could not be removed");
        }
    }

    async fn release_ports(&self, context: &RequestContext, instance_uuid: Uuid) {
        if let Err(error) = self.clients.network.deallocate_for_instance(context, instance_uuid).await {
            tracing::error!(instance = %instance_uuid, %error, "the ports of an unfinished build could not be released");
        }
    }

    pub(super) async fn release_allocations(&self, context: &RequestContext, instance_uuid: Uuid) {
        if let Err(error) = self.clients.placement.delete_allocations(context, instance_uuid).await {
            tracing::error!(instance = %instance_uuid, %error, "the allocations of an unfinished build could not be released");
        }
    }

    /// Another host may try, if the failure was this host's own and there is one; else the instance is in error.
    async fn give_back(
        &self,
        context: &RequestContext,
        mut instance: Tracked<Instance>,
        build: BuildAndRunInstance,
        error: ManagerError,
    ) -> Result<(), ManagerError> {
        let uuid = instance.uuid;
        if !self.is_to_be_built(context, &build.instance).await? {
            return self.let_go(context, uuid).await;
        }
        self.remove_guest(uuid).await;
        self.release_ports(context, uuid).await;
        self.record_fault(context, &instance, &error).await;
        instance.host = None;
        instance.node = None;
        instance.compute_id = None;
        instance.launched_on = None;
        instance.info_cache = Some(InstanceInfoCache::new(instance.uuid, &NetworkInfo::default()));
        let is_retried = is_host_failure(&error) && !build.host_list.is_empty();
        if is_retried {
            instance.task_state = Some(TaskState::Scheduling);
        } else {
            instance.vm_state = VmState::Error;
            instance.task_state = None;
        }
        let expected = Expected { task_states: Some(&BUILD_TASKS), vm_states: Some(&[VmState::Building]) };
        match self.save(context, &mut instance, expected).await {
            Err(overtaken) if overtaken.is_deletion() || overtaken.is_conflict() => {
                return self.let_go(context, uuid).await;
            }
            saved => saved?,
        }
        // Not before the row says that the instance is not here: until then the message may come again, and what is
        // built must be claimed.
        self.release_allocations(context, uuid).await;
        if is_retried {
            let message = rescheduled(instance.into_inner(), build, &error);
            self.conductor.cast(context, message).await?;
        }
        Ok(())
    }
}

/// What a build that is not this host's to finish may have left, and nobody else owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leftovers {
    None,
    /// Ports and allocations are another host's by now.
    Guest,
    /// With ports and allocations.
    All,
}

fn leftovers(now: &Instance, host: &str) -> Leftovers {
    if now.deleted || now.task_state == Some(TaskState::Deleting) {
        return Leftovers::All;
    }
    match now.host.as_deref() {
        // It was built after all, or its workflow asks again.
        Some(owner) if owner == host => Leftovers::None,
        // The conductor gave up.
        None if now.vm_state == VmState::Error => Leftovers::All,
        _ => Leftovers::Guest,
    }
}

/// The failure may be this host's own: another one could succeed.
fn is_host_failure(error: &ManagerError) -> bool {
    match error {
        ManagerError::Driver(
            DriverError::ImageUnacceptable { .. } | DriverError::FlavorDiskSmallerThanImage { .. },
        ) => false,
        ManagerError::Driver(_) | ManagerError::Client(ClientError::Unavailable { .. }) => true,
        ManagerError::Client(_) | ManagerError::Invalid(_) | ManagerError::Raised(_) => false,
        // These end a build in other ways.
        ManagerError::Rpc(_) | ManagerError::Elsewhere => false,
        // A build does none of these.
        ManagerError::NotRescuable { .. }
        | ManagerError::PasswordSetFailed { .. }
        | ManagerError::NoDiagnostics { .. } => false,
    }
}

fn rescheduled(instance: Instance, build: BuildAndRunInstance, error: &ManagerError) -> BuildInstances {
    let mut filter_properties = build.filter_properties;
    if let Some(retry) = filter_properties.get_mut("retry").and_then(Value::as_object_mut) {
        retry.insert("exc_reason".to_owned(), json!([error.to_string()]));
    }
    BuildInstances {
        instances: vec![instance],
        image: build.image,
        filter_properties,
        admin_password: build.admin_password,
        injected_files: build.injected_files,
        requested_networks: build.requested_networks,
        security_groups: build.security_groups,
        request_spec: build.request_spec,
        host_lists: vec![build.host_list],
    }
}

/// A tag that no guest can read would be a promise not kept: Nova's answer on hosts without device tagging.
fn refuse_tags(build: &BuildAndRunInstance) -> Result<(), ManagerError> {
    let networks = build.requested_networks.iter().flat_map(|list| &list.objects);
    let disks = &build.block_device_mapping.objects;
    if networks.map(|network| &network.tag).chain(disks.iter().map(|disk| &disk.tag)).any(Option::is_some) {
        let sentence = "Attempt to boot guest with tagged devices on host that does not support tagging.";
        return Err(ManagerError::Invalid(sentence.to_owned()));
    }
    Ok(())
}

pub(super) fn parse_uuid(text: &str) -> Result<Uuid, ManagerError> {
    text.parse().map_err(|_| ManagerError::Invalid(format!("{text:?} is not a UUID")))
}

fn image_properties(image: &Value) -> BTreeMap<String, String> {
    let properties = image.get("properties").and_then(Value::as_object);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    properties.into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
}

fn injected(build: &BuildAndRunInstance) -> Result<Injected, ManagerError> {
    let files = build.injected_files.iter().map(injected_file).collect::<Result<_, _>>()?;
    Ok(Injected { admin_password: build.admin_password.clone(), files })
}

/// A file travels as `[path, base64]`.
pub(super) fn injected_file(pair: &Value) -> Result<(String, Vec<u8>), ManagerError> {
    use base64::Engine as _;
    let part = |at: usize| pair.get(at).and_then(Value::as_str);
    let (Some(path), Some(encoded)) = (part(0), part(1)) else {
        return Err(ManagerError::Invalid(format!("{} is not a file to inject", json!(pair))));
    };
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .map_err(|_| ManagerError::Invalid(format!("the file {path} to inject is not base64")))?;
    Ok((path.to_owned(), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(vm_state: VmState, task_state: Option<TaskState>, host: Option<&str>) -> Instance {
        Instance { vm_state, task_state, host: host.map(str::to_owned), ..Instance::default() }
    }

    #[test]
    fn what_another_host_builds_loses_its_guest_here_and_nothing_else() {
        let elsewhere = instance(VmState::Building, Some(TaskState::Spawning), Some("other"));
        assert_eq!(leftovers(&elsewhere, "here"), Leftovers::Guest);
        let to_be_placed = instance(VmState::Building, Some(TaskState::Scheduling), None);
        assert_eq!(leftovers(&to_be_placed, "here"), Leftovers::Guest);
    }

    #[test]
    fn what_is_built_here_stays_and_what_is_over_goes_whole() {
        let active = instance(VmState::Active, None, Some("here"));
        assert_eq!(leftovers(&active, "here"), Leftovers::None);
        let failed = instance(VmState::Error, None, None);
        assert_eq!(leftovers(&failed, "here"), Leftovers::All);
        let deleting = instance(VmState::Building, Some(TaskState::Deleting), Some("here"));
        assert_eq!(leftovers(&deleting, "here"), Leftovers::All);
    }
}
