//! `shelve_instance`, `shelve_offload_instance`, `unshelve_instance`.
//!
//! ```text
//!   shelving ──power off──> shelving_image_pending_upload ──driver──> shelving_image_uploading ──upload──> SHELVED
//!                                                                                                             │
//!            shelved_offload_time is over: at once, by default                                                │
//!            ┌────────────────────────────────────────────────────────────────────────────────────────────────┘
//!            v
//!   shelving_offloading ──guest, ports' host, allocations──> SHELVED_OFFLOADED ──conductor, scheduler──> unshelving
//!                                                                   ^                                        │
//!                                                                   └──── failed: a fault ──── spawning <────┘
//!                                                                                                 └──> ACTIVE
//! ```
//!
//! A shelved instance that still has its host is unshelved by a start.

use std::time::Duration;

use kilonova_clients::ClientError;
use kilonova_clients::image::Image;
use kilonova_core::RequestContext;
use kilonova_core::time::{strtime, utcnow};
use kilonova_objects::{Instance, PowerState, TaskState, Tracked, VmState};
use kilonova_rpcapi::compute::UnshelveInstance;
use kilonova_rpcapi::notifications::InstanceAction;
use kilonova_rpcapi::objects::Expected;
use kilonova_virt::{DriverError, Injected, Spawn};
use serde_json::json;
use uuid::Uuid;

use super::build::parse_uuid;
use super::snapshot::CopyTasks;
use super::{Manager, ManagerError};

// Keys of an instance's system metadata, while it is shelved.
const SHELVED_AT: &str = "shelved_at";
const SHELVED_IMAGE_ID: &str = "shelved_image_id";
const SHELVED_HOST: &str = "shelved_host";

const SHELVE_TASKS: [Option<TaskState>; 4] = [
    Some(TaskState::Shelving),
    Some(TaskState::ShelvingImagePendingUpload),
    Some(TaskState::ShelvingImageUploading),
    Some(TaskState::ShelvingOffloading),
];
const OFFLOAD_TASKS: [Option<TaskState>; 2] = [Some(TaskState::ShelvingOffloading), Some(TaskState::Shelving)];
const UNSHELVE_TASKS: [Option<TaskState>; 2] = [Some(TaskState::Unshelving), Some(TaskState::Spawning)];

const COPY_TASKS: CopyTasks =
    CopyTasks { pending: TaskState::ShelvingImagePendingUpload, uploading: TaskState::ShelvingImageUploading };

impl Manager {
    /// Shuts an instance down, makes the image `image_id` of it, and removes it from this host if it may not stay.
    pub async fn shelve_instance(
        &self,
        context: &RequestContext,
        instance: Instance,
        image_id: Uuid,
        clean_shutdown: bool,
    ) -> Result<(), ManagerError> {
        let _lock = self.locks.lock(instance.uuid).await;
        if !self.is_wanted(context, &instance, &[Some(TaskState::Shelving)]).await? {
            tracing::info!(instance = %instance.uuid, "an instance is shelved already, or not to be shelved any more");
            self.delete_unfinished_image(context, image_id).await;
            return Ok(());
        }
        let mut instance = Tracked::new(instance);
        let uuid = instance.uuid;
        let work = Box::pin(async {
            self.shelve(context, &mut instance, image_id, clean_shutdown).await?;
            if instance.task_state == Some(TaskState::ShelvingOffloading) {
                self.shelve_offload(context, &mut instance, Duration::ZERO).await?;
            }
            Ok(())
        });
        let result = self.with_event(context, uuid, "compute_shelve_instance", work).await;
        if result.is_err() {
            self.delete_unfinished_image(context, image_id).await;
        }
        let vm_state = instance.vm_state;
        self.conclude(context, &mut instance, vm_state, &SHELVE_TASKS, result).await
    }

    /// Removes a shelved instance from this host.
    pub async fn shelve_offload_instance(
        &self,
        context: &RequestContext,
        instance: Instance,
        clean_shutdown: bool,
    ) -> Result<(), ManagerError> {
        let _lock = self.locks.lock(instance.uuid).await;
        if !self.is_wanted(context, &instance, &OFFLOAD_TASKS).await? {
            tracing::info!(instance = %instance.uuid, "an instance is offloaded already, or not to be any more");
            return Ok(());
        }
        let mut instance = Tracked::new(instance);
        let (uuid, vm_state) = (instance.uuid, instance.vm_state);
        let grace = if clean_shutdown { self.config.shutdown_timeout } else { Duration::ZERO };
        let work = Box::pin(self.shelve_offload(context, &mut instance, grace));
        let result = self.with_event(context, uuid, "compute_shelve_offload_instance", work).await;
        self.conclude(context, &mut instance, vm_state, &OFFLOAD_TASKS, result).await
    }

    async fn shelve(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        image_id: Uuid,
        clean_shutdown: bool,
    ) -> Result<(), ManagerError> {
        let uuid = instance.uuid;
        let telling = self.telling(context, uuid, Some(InstanceAction::Shelve)).await;
        telling.start(instance, TaskState::Shelving);
        let was_running = self.power_state(uuid).await == PowerState::Running;
        // A guest that is paused cannot shut itself down.
        let is_asked = clean_shutdown && instance.power_state != PowerState::Paused;
        let grace = if is_asked { self.config.shutdown_timeout } else { Duration::ZERO };
        self.driver.power_off(uuid, grace).await?;
        let from = [Some(TaskState::Shelving)];
        if let Err(error) = Box::pin(self.copy_to_image(context, instance, image_id, &from, &COPY_TASKS)).await {
            if was_running && !error.is_deletion() && !error.is_conflict() {
                self.power_on_again(instance).await;
            }
            return Err(error);
        }
        for (key, value) in [
            (SHELVED_AT, strtime(utcnow())),
            (SHELVED_IMAGE_ID, image_id.to_string()),
            (SHELVED_HOST, self.config.host.clone()),
        ] {
            instance.system_metadata.insert(key.to_owned(), Some(value));
        }
        let is_offloaded = self.config.shelved_offload_time_s == 0;
        instance.vm_state = VmState::Shelved;
        instance.task_state = is_offloaded.then_some(TaskState::ShelvingOffloading);
        instance.power_state = self.power_state(uuid).await;
        self.save(context, instance, Expected::tasks(&[Some(COPY_TASKS.uploading)])).await?;
        self.saw(uuid, instance.power_state);
        telling.end(instance);
        tracing::info!(instance = %uuid, image = %image_id, "instance shelved");
        Ok(())
    }

    /// No image could be made: the guest goes on as if nothing had been asked.
    async fn power_on_again(&self, instance: &Instance) {
        if let Err(error) = self.driver.power_on(instance, &instance.network_info()).await {
            tracing::error!(instance = %instance.uuid, %error, "a guest that could not be shelved stays off");
        }
    }

    /// Can be done again at any point of it.
    async fn shelve_offload(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        grace: Duration,
    ) -> Result<(), ManagerError> {
        let uuid = instance.uuid;
        let telling = self.telling(context, uuid, Some(InstanceAction::ShelveOffload)).await;
        telling.start(instance, TaskState::ShelvingOffloading);
        match self.driver.power_off(uuid, grace).await {
            Err(DriverError::InstanceNotFound(_)) => {}
            stopped => stopped?,
        }
        self.clients.network.setup_instance_network_on_host(context, uuid, "").await?;
        self.driver.destroy(uuid).await?;
        self.disconnect_volumes(context, uuid).await?;
        // Before the state says so: who waits for it may have this host's room.
        self.clients.placement.delete_allocations(context, uuid).await?;
        let before = instance.vm_state;
        instance.power_state = PowerState::Shutdown;
        instance.vm_state = VmState::ShelvedOffloaded;
        instance.task_state = None;
        forget_host(instance);
        if let Err(error) = self.save(context, instance, Expected::tasks(&OFFLOAD_TASKS)).await {
            instance.vm_state = before;
            return Err(error);
        }
        telling.end(instance);
        tracing::info!(instance = %uuid, "instance offloaded");
        Ok(())
    }

    /// Makes a shelved instance on this host again.
    pub async fn unshelve_instance(
        &self,
        context: &RequestContext,
        message: UnshelveInstance,
    ) -> Result<(), ManagerError> {
        let _lock = self.locks.lock(message.instance.uuid).await;
        let uuid = message.instance.uuid;
        if !self.is_to_be_unshelved(context, uuid).await? {
            tracing::info!(instance = %uuid, "an instance is unshelved already, or not, or not here, to be unshelved");
            return Ok(());
        }
        let mut instance = Tracked::new(message.instance.clone());
        let work = Box::pin(self.unshelve(context, &mut instance, &message));
        let result = self.with_event(context, uuid, "compute_unshelve_instance", work).await;
        if let Err(error) = &result
            && !matches!(error, ManagerError::Rpc(_))
            && !error.is_conflict()
        {
            self.undo_unshelve(context, &mut instance).await;
        }
        self.conclude(context, &mut instance, VmState::ShelvedOffloaded, &UNSHELVE_TASKS, result).await
    }

    /// Unshelves an instance that a crash, or a lost message, has left on this host without a guest.
    pub(super) async fn unshelve_again(
        &self,
        context: &RequestContext,
        instance: Instance,
    ) -> Result<(), ManagerError> {
        let image = instance.system_metadata.get(SHELVED_IMAGE_ID).cloned().flatten().map(|id| json!({"id": id}));
        let message = UnshelveInstance {
            image,
            filter_properties: json!({}),
            node: instance.node.clone(),
            request_spec: None,
            accel_uuids: Vec::new(),
            instance,
        };
        Box::pin(self.unshelve_instance(context, message)).await
    }

    /// Nova's conductor leaves it to the host to write itself down; ours did so before it sent the message.
    async fn is_to_be_unshelved(&self, context: &RequestContext, uuid: Uuid) -> Result<bool, ManagerError> {
        Ok(self.find(context, uuid).await?.is_some_and(|now| {
            let is_here = self.is_mine(&now) || now.host.is_none();
            is_here && now.vm_state == VmState::ShelvedOffloaded && UNSHELVE_TASKS.contains(&now.task_state)
        }))
    }

    async fn unshelve(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        message: &UnshelveInstance,
    ) -> Result<(), ManagerError> {
        let uuid = instance.uuid;
        let telling = self.telling(context, uuid, Some(InstanceAction::Unshelve)).await;
        telling.start(instance, TaskState::Unshelving);
        self.claim_to_unshelve(context, instance, message).await?;
        let image = self.shelved_image(context, message).await?;
        self.clients.network.setup_instance_network_on_host(context, uuid, &self.config.host).await?;
        let metadata = {
            let spawn = Spawn {
                instance,
                image: image.as_ref().map(|image| self.disk_of(context, image)),
                image_properties: image.as_ref().map(|image| image.properties.clone()).unwrap_or_default(),
                network_info: &instance.network_info(),
                injected: Injected::default(),
                has_config_drive: self.wants_config_drive(instance),
            };
            self.driver.spawn(spawn).await?
        };
        self.connect_volumes(context, instance).await?;
        instance.metadata.extend(metadata);
        instance.power_state = self.power_state(uuid).await;
        instance.vm_state = VmState::Active;
        instance.task_state = None;
        instance.launched_at = Some(utcnow());
        let shelved_image = forget_shelving(instance);
        self.save_mine(context, instance, Expected::tasks(&[Some(TaskState::Spawning)])).await?;
        self.saw(uuid, instance.power_state);
        self.delete_shelved_image(context, uuid, shelved_image).await;
        telling.end(instance);
        tracing::info!(instance = %uuid, "instance unshelved");
        Ok(())
    }

    /// The instance is this host's, if it has what the scheduler claimed for it.
    async fn claim_to_unshelve(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        message: &UnshelveInstance,
    ) -> Result<(), ManagerError> {
        let node =
            self.tracker.node().await.ok_or_else(|| ManagerError::Invalid("the host is not ready".to_owned()))?;
        instance.host = Some(self.config.host.clone());
        instance.node = message.node.clone().or(node.hypervisor_hostname);
        instance.compute_id = Some(node.id);
        instance.launched_on = Some(self.config.host.clone());
        instance.availability_zone.get_or_insert_with(|| self.config.availability_zone.clone());
        instance.task_state = Some(TaskState::Spawning);
        let expected = Expected { task_states: Some(&UNSHELVE_TASKS), vm_states: Some(&[VmState::ShelvedOffloaded]) };
        self.save_mine(context, instance, expected).await?;
        let allocations = self.clients.placement.allocations(context, instance.uuid).await?;
        if !allocations.contains_key(&node.uuid) {
            return Err(ManagerError::Invalid("nothing is allocated on this host for the instance".to_owned()));
        }
        Ok(())
    }

    async fn shelved_image(
        &self,
        context: &RequestContext,
        message: &UnshelveInstance,
    ) -> Result<Option<Image>, ManagerError> {
        match message.image.as_ref().and_then(|image| image.get("id")?.as_str()) {
            Some(id) => Ok(Some(self.clients.image.show(context, parse_uuid(id)?).await?)),
            None => Ok(None),
        }
    }

    /// Nothing of an unshelve that failed stays here. The row is written after that: whoever unshelves again then gets
    /// a claim that nobody takes away.
    async fn undo_unshelve(&self, context: &RequestContext, instance: &mut Tracked<Instance>) {
        let uuid = instance.uuid;
        self.remove_guest(uuid).await;
        if let Err(error) = self.disconnect_volumes(context, uuid).await {
            tracing::warn!(instance = %uuid, error = %super::details(&error), "volumes stay connected to a host without the guest");
        }
        if let Err(error) = self.clients.network.setup_instance_network_on_host(context, uuid, "").await {
            tracing::warn!(instance = %uuid, %error, "ports stay bound to a host without the guest");
        }
        self.release_allocations(context, uuid).await;
        forget_host(instance);
    }

    /// Offloads the shelved instances of this host that have stayed for `shelved_offload_time`.
    pub async fn poll_shelved_instances(&self, context: &RequestContext) -> Result<(), ManagerError> {
        let stay = self.config.shelved_offload_time_s;
        if stay <= 0 {
            return Ok(());
        }
        let mut marker = None;
        loop {
            let page = self.page_of_instances(context, &mut marker).await?;
            if page.is_empty() {
                return Ok(());
            }
            for instance in page.into_iter().filter(|instance| has_stayed(instance, stay)) {
                let uuid = instance.uuid;
                if let Err(error) = self.offload(context, instance).await {
                    tracing::warn!(instance = %uuid, %error, "a shelved instance was not offloaded");
                }
            }
        }
    }

    async fn offload(&self, context: &RequestContext, instance: Instance) -> Result<(), ManagerError> {
        let mut instance = Tracked::new(instance);
        instance.task_state = Some(TaskState::ShelvingOffloading);
        self.save(context, &mut instance, Expected::tasks(&[None])).await?;
        Box::pin(self.shelve_offload_instance(context, instance.into_inner(), false)).await
    }

    /// The image of an instance that is not shelved any more is of no use.
    pub(super) async fn delete_shelved_image(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        image_id: Option<String>,
    ) {
        let Some(image_id) = image_id.and_then(|id| id.parse::<Uuid>().ok()) else { return };
        match self.clients.image.delete(context, image_id).await {
            Ok(()) | Err(ClientError::NotFound { .. }) => {}
            Err(error) => {
                tracing::warn!(instance = %instance_uuid, image = %image_id, %error, "the image of a shelved instance stays");
            }
        }
    }
}

/// Whether a shelved instance has stayed on its host for so many seconds.
fn has_stayed(instance: &Instance, stay_s: i64) -> bool {
    let shelved_at = instance.system_metadata.get(SHELVED_AT).cloned().flatten();
    let shelved_at = shelved_at.and_then(|at| chrono::NaiveDateTime::parse_from_str(&at, "%Y-%m-%dT%H:%M:%S%.f").ok());
    instance.vm_state == VmState::Shelved
        && instance.task_state.is_none()
        && shelved_at.is_some_and(|at| (utcnow() - at.and_utc()).num_seconds() >= stay_s)
}

/// The instance is on no host any more.
fn forget_host(instance: &mut Instance) {
    instance.host = None;
    instance.node = None;
    instance.compute_id = None;
    instance.launched_on = None;
    instance.availability_zone = None;
}

/// The instance is shelved no more; returns the image that it was kept in.
pub(super) fn forget_shelving(instance: &mut Instance) -> Option<String> {
    // Only where there is something to remove: a change of the map is written.
    if !instance.system_metadata.contains_key(SHELVED_IMAGE_ID) {
        return None;
    }
    instance.system_metadata.remove(SHELVED_AT);
    instance.system_metadata.remove(SHELVED_HOST);
    instance.system_metadata.remove(SHELVED_IMAGE_ID).flatten()
}
