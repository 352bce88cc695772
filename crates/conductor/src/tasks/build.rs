//! The build workflow.
//!
//! ```text
//!   schedule: scheduler chooses and claims ──> host written to the row ──> build: the host is asked
//!       │ no valid host                             │ deleted meanwhile        │ the instance leaves BUILDING
//!       v                                           v                          v
//!     ERROR with a fault                    claim given back             row gone, workflow gone
//! ```
//!
//! Each step can be done again: a claim replaces what the instance had, and the host builds only what is still to be
//! built.

use kilonova_core::RequestContext;
use kilonova_db::instances::{self, Deleted, Save, SaveError};
use kilonova_db::workflows::{self, Workflow, WorkflowKind};
use kilonova_db::{DbError, actions, block_devices, faults, request_specs, server_groups};
use kilonova_objects::{BlockDeviceMappingList, Instance, InstanceFault, RequestSpec, Selection, TaskState, VmState};
use kilonova_rpcapi::RpcError;
use kilonova_rpcapi::compute::BuildAndRunInstance;
use kilonova_rpcapi::conductor::BuildInstances;
use kilonova_rpcapi::notifications::Fault;
use kilonova_rpcapi::scheduler::SelectDestinations;
use kilonova_rpcapi::workflow::{BuildPayload, STEP_BUILD, STEP_SCHEDULE};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::TaskError;
use crate::Conductor;

/// The event under which a failure to place an instance is recorded.
const SCHEDULE_EVENT: &str = "conductor_schedule_and_build_instances";

// Nova's exceptions for a build that no host does.
pub(super) const NO_VALID_HOST: &str = "NoValidHost";
const MAX_RETRIES_EXCEEDED: &str = "MaxRetriesExceeded";

/// The tasks of a build: one that was interrupted is found in any of them.
const BUILD_TASKS: [Option<TaskState>; 5] = [
    Some(TaskState::Scheduling),
    None,
    Some(TaskState::Networking),
    Some(TaskState::BlockDeviceMapping),
    Some(TaskState::Spawning),
];

impl Conductor {
    /// `schedule_and_build_instances`: the nudge to place what the API has just written, all by one request.
    pub(crate) async fn schedule_and_build_instances(
        &self,
        context: &RequestContext,
        instance_uuids: Vec<Uuid>,
    ) -> Result<(), TaskError> {
        let mut mine = Vec::new();
        for instance_uuid in instance_uuids {
            let found = workflows::get(&self.db, WorkflowKind::Build, instance_uuid).await?;
            let Some(workflow) = found.filter(|workflow| workflow.step == STEP_SCHEDULE && workflow.attempts == 0)
            else {
                continue;
            };
            mine.extend(self.take(workflow).await?);
        }
        let Some(first) = mine.first() else { return Ok(()) };
        let spec = request_specs::get(&self.db, first.instance_uuid).await?;
        Box::pin(self.place(context, spec, mine)).await
    }

    /// `build_instances`: a host gave instances back, with the further hosts to try.
    pub(crate) async fn build_instances(
        &self,
        context: &RequestContext,
        message: BuildInstances,
    ) -> Result<(), TaskError> {
        let host_lists = message.host_lists.into_iter().chain(std::iter::repeat(Vec::new()));
        for (instance, host_list) in message.instances.into_iter().zip(host_lists) {
            let found = workflows::get(&self.db, WorkflowKind::Build, instance.uuid).await?;
            let Some(workflow) = found else { continue };
            if let Some(workflow) = self.take(workflow).await? {
                let last_error = last_error(&message.filter_properties);
                let tried = Box::pin(self.try_next_host(context, &workflow, host_list, &last_error)).await;
                self.or_retry(&workflow, tried).await;
            }
        }
        Ok(())
    }

    /// Works on a build that was taken over.
    pub(crate) async fn resume_build(&self, workflow: &Workflow) -> Result<(), TaskError> {
        let instance = match instances::get(&self.db, workflow.instance_uuid, Deleted::No).await {
            Err(DbError::NotFound { .. }) => return Ok(workflows::finish(&self.db, workflow.id).await?),
            found => found?,
        };
        if instance.vm_state != VmState::Building || instance.task_state == Some(TaskState::Deleting) {
            return Ok(workflows::finish(&self.db, workflow.id).await?);
        }
        let payload = match BuildPayload::from_value(&workflow.payload) {
            Ok(payload) => payload,
            Err(error) => {
                let reason = format!("The build cannot go on: {error}.");
                return self.fail(&RequestContext::admin(), instance.uuid, "NovaException", &reason).await;
            }
        };
        let context = Self::acting_for(&payload.context);
        if workflow.attempts >= self.config.workflow_max_attempts {
            let reason = format!("The build was begun {} times and never finished.", workflow.attempts);
            return self.fail(&context, instance.uuid, MAX_RETRIES_EXCEEDED, &reason).await;
        }
        if workflow.step == STEP_BUILD && self.is_still_at_its_host(&context, &instance, &payload).await? {
            return Box::pin(self.ask_host_to_build(&context, workflow, payload)).await;
        }
        // What an earlier try claimed must not count against this one.
        self.clients.placement.delete_allocations(&context, instance.uuid).await?;
        let spec = request_specs::get(&self.db, instance.uuid).await?;
        Box::pin(self.place(&context, spec, vec![workflow.clone()])).await
    }

    /// Whether the chosen host still has the instance, is up, and has room for it: the claim is made again, as nobody
    /// knows whether a crash came before or after the host gave it back.
    async fn is_still_at_its_host(
        &self,
        context: &RequestContext,
        instance: &Instance,
        payload: &BuildPayload,
    ) -> Result<bool, TaskError> {
        let Some(selection) = payload.selections.first() else { return Ok(false) };
        let is_there = instance.host.as_ref() == Some(&selection.service_host);
        Ok(is_there
            && self.is_compute_up(&selection.service_host).await?
            && self.claim(context, instance.uuid, payload, selection).await?)
    }

    /// Chooses a host for each, all by one request spec, and asks the hosts.
    async fn place(
        &self,
        context: &RequestContext,
        mut spec: RequestSpec,
        workflows: Vec<Workflow>,
    ) -> Result<(), TaskError> {
        if workflows.is_empty() {
            return Ok(());
        }
        let instance_uuids: Vec<Uuid> = workflows.iter().map(|workflow| workflow.instance_uuid).collect();
        self.setup_instance_group(&mut spec, &instance_uuids).await?;
        let request = SelectDestinations {
            spec_obj: spec,
            instance_uuids: instance_uuids.clone(),
            return_objects: true,
            return_alternates: true,
        };
        match self.scheduler.call(context, request).await {
            Ok(hosts) => {
                for (workflow, selections) in workflows.iter().zip(hosts) {
                    let asked = self.build_on(context, workflow, selections).await;
                    self.or_retry(workflow, asked).await;
                }
            }
            Err(RpcError::Remote(exception)) if exception.class == NO_VALID_HOST => {
                for workflow in &workflows {
                    let (uuid, class) = (workflow.instance_uuid, &exception.class);
                    let failed = self.fail(context, uuid, class, &exception.message).await;
                    self.or_retry(workflow, failed).await;
                }
            }
            Err(error) => {
                tracing::error!(%error, instances = workflows.len(), "the scheduler cannot be asked");
                for workflow in &workflows {
                    self.retry_soon(workflow).await;
                }
            }
        }
        Ok(())
    }

    /// The server group as it is now: members come and go. One that was deleted binds nobody any more.
    pub(super) async fn setup_instance_group(&self, spec: &mut RequestSpec, placed: &[Uuid]) -> Result<(), TaskError> {
        let Some(group) = &spec.instance_group else { return Ok(()) };
        spec.instance_group = match server_groups::get_for_scheduling(&self.db, group.uuid, placed).await {
            Err(DbError::NotFound { .. }) => None,
            found => Some(found?),
        };
        Ok(())
    }

    async fn build_on(
        &self,
        context: &RequestContext,
        workflow: &Workflow,
        selections: Vec<Selection>,
    ) -> Result<(), TaskError> {
        let mut payload = BuildPayload::from_value(&workflow.payload)?;
        payload.selections = selections;
        Box::pin(self.ask_host_to_build(context, workflow, payload)).await
    }

    /// One server of many that does not get on keeps no other from it.
    pub(super) async fn or_retry(&self, workflow: &Workflow, result: Result<(), TaskError>) {
        if let Err(error) = result {
            tracing::error!(instance = %workflow.instance_uuid, %error, "a build did not get on; it will be taken up again");
            self.retry_soon(workflow).await;
        }
    }

    async fn try_next_host(
        &self,
        context: &RequestContext,
        workflow: &Workflow,
        host_list: Vec<Selection>,
        last_error: &str,
    ) -> Result<(), TaskError> {
        let uuid = workflow.instance_uuid;
        let mut payload = BuildPayload::from_value(&workflow.payload)?;
        let mut remaining = host_list.into_iter();
        while let Some(selection) = remaining.next() {
            if self.claim(context, uuid, &payload, &selection).await? {
                payload.selections = std::iter::once(selection).chain(remaining).collect();
                return Box::pin(self.ask_host_to_build(context, workflow, payload)).await;
            }
        }
        let reason = "Exceeded maximum number of retries. Exhausted all hosts available for retrying build failures \
                      for instance";
        self.fail(context, uuid, MAX_RETRIES_EXCEEDED, &format!("{reason} {uuid}.{last_error}")).await
    }

    /// Claims an alternate; false if it has no room any more.
    async fn claim(
        &self,
        context: &RequestContext,
        uuid: Uuid,
        payload: &BuildPayload,
        selection: &Selection,
    ) -> Result<bool, TaskError> {
        let (project_id, user_id) = (payload.context.project_id(), payload.context.user_id());
        let Some(allocations) = allocations(selection) else { return Ok(false) };
        let placement = &self.clients.placement;
        match placement.set_allocations(context, uuid, project_id, user_id, &allocations).await {
            Ok(()) => Ok(true),
            Err(kilonova_clients::ClientError::Conflict(_) | kilonova_clients::ClientError::ConcurrentUpdate(_)) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the chosen host down, then asks it to build.
    async fn ask_host_to_build(
        &self,
        context: &RequestContext,
        workflow: &Workflow,
        payload: BuildPayload,
    ) -> Result<(), TaskError> {
        let uuid = workflow.instance_uuid;
        let Some(selection) = payload.selections.first().cloned() else {
            let reason = "No valid host was found. The scheduler chose none.";
            return self.fail(context, uuid, NO_VALID_HOST, reason).await;
        };
        let (id, owner, value) = (workflow.id, &workflow.owner, payload.to_value());
        if !workflows::advance(&self.db, id, owner, STEP_BUILD, &value, self.lease()).await? {
            return self.give_claim_back(context, uuid).await;
        }
        let instance = match self.write_host(uuid, &selection).await {
            Ok((before, instance)) => {
                self.tell_chosen(context, workflow, &before, &instance);
                *instance
            }
            Err(SaveError::Db(error)) if !matches!(error, DbError::NotFound { .. }) => return Err(error.into()),
            Err(error) => {
                tracing::info!(instance = %uuid, %error, "not to be built any more");
                workflows::finish(&self.db, workflow.id).await?;
                return self.give_claim_back(context, uuid).await;
            }
        };
        let mut bdms = block_devices::list(&self.db, &[uuid]).await?;
        let spec = request_specs::get(&self.db, uuid).await?;
        let bdms = BlockDeviceMappingList::from(bdms.remove(&uuid).unwrap_or_default());
        let build = build_message(instance, spec, bdms, payload, &selection);
        Ok(self.compute.cast(context, &selection.service_host, build).await?)
    }

    /// The instance before and after.
    async fn write_host(&self, uuid: Uuid, selection: &Selection) -> Result<(Box<Instance>, Box<Instance>), SaveError> {
        let mut changes = Map::new();
        changes.insert("host".to_owned(), json!(selection.service_host));
        changes.insert("node".to_owned(), json!(selection.nodename));
        if let Some(zone) = &selection.availability_zone {
            changes.insert("availability_zone".to_owned(), json!(zone));
        }
        self.save_building(uuid, &changes).await
    }

    /// An instance has a host to be built on. For its first one Nova makes the row only now, without the host.
    fn tell_chosen(&self, context: &RequestContext, workflow: &Workflow, before: &Instance, after: &Instance) {
        if !self.notifications.follows_changes() {
            return;
        }
        if workflow.step == STEP_SCHEDULE {
            let made = Instance { host: None, node: None, ..after.clone() };
            self.notifications.instance_created(context, &made);
        } else {
            self.notifications.instance_saved(context, before, after);
        }
    }

    /// Saves an instance that is still being built, and only such a one: as it was before, and after.
    async fn save_building(
        &self,
        uuid: Uuid,
        changes: &Map<String, Value>,
    ) -> Result<(Box<Instance>, Box<Instance>), SaveError> {
        let expected_vm_state = Some(vec![VmState::Building]);
        let expected_task_state = Some(BUILD_TASKS.to_vec());
        let save = Save { uuid, changes, expected_vm_state, expected_task_state };
        instances::save_and_get_original(&self.db, save).await
    }

    /// What was claimed for an instance that is gone, being deleted, or in error without a host belongs to nobody.
    async fn give_claim_back(&self, context: &RequestContext, uuid: Uuid) -> Result<(), TaskError> {
        let holds = match instances::get(&self.db, uuid, Deleted::No).await {
            Ok(now) => {
                let has_failed = now.vm_state == VmState::Error && now.host.is_none();
                !has_failed && now.task_state != Some(TaskState::Deleting)
            }
            Err(DbError::NotFound { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        if !holds {
            self.clients.placement.delete_allocations(context, uuid).await?;
        }
        Ok(())
    }

    /// The instance is in error, with a fault that says why (`class` is Nova's exception for it); its workflow ends with
    /// that. Where a host has it, that host is told, and lets go of what it has made.
    pub(crate) async fn fail(
        &self,
        context: &RequestContext,
        uuid: Uuid,
        class: &str,
        message: &str,
    ) -> Result<(), TaskError> {
        tracing::warn!(instance = %uuid, message, "an instance could not be built");
        let before = match instances::get(&self.db, uuid, Deleted::No).await {
            Err(DbError::NotFound { .. }) => return Ok(()),
            found => found?,
        };
        self.record_failure(context, uuid, message).await;
        let mut changes = Map::new();
        changes.insert("vm_state".to_owned(), json!(VmState::Error.as_str()));
        for name in ["task_state", "host", "node"] {
            changes.insert(name.to_owned(), Value::Null);
        }
        match self.save_building(uuid, &changes).await {
            Ok((saved, after)) => {
                self.notifications.instance_saved(context, &saved, &after);
                self.tell_failure(context, uuid, class, message).await;
                self.release(context, &before).await
            }
            Err(SaveError::Db(error)) if !matches!(error, DbError::NotFound { .. }) => Err(error.into()),
            // It is being deleted, or is no longer being built: nothing to fail.
            Err(_) => Ok(()),
        }
    }

    async fn tell_failure(&self, context: &RequestContext, uuid: Uuid, class: &str, message: &str) {
        if !self.notifications.is_enabled() {
            return;
        }
        let spec = request_specs::get(&self.db, uuid).await;
        let spec = spec.inspect_err(|error| tracing::debug!(instance = %uuid, %error, "told without its request spec"));
        let reason = Fault {
            class: class.to_owned(),
            message: message.to_owned(),
            code: 500,
            module: "kilonova_conductor::tasks",
            function: "schedule_and_build_instances",
            traceback: message.to_owned(),
        };
        self.notifications.build_instances_error(context, uuid, spec.ok().as_ref(), VmState::Error, &reason);
    }

    /// Nothing is kept for an instance that failed.
    async fn release(&self, context: &RequestContext, failed: &Instance) -> Result<(), TaskError> {
        if let Some(host) = &failed.host {
            // An instance that is not to be built any more is what an agent lets go of when it is asked to build it.
            let selection = Selection { service_host: host.clone(), ..Selection::default() };
            let spec = request_specs::get(&self.db, failed.uuid).await?;
            let bdms = BlockDeviceMappingList::default();
            let message = build_message(failed.clone(), spec, bdms, BuildPayload::default(), &selection);
            self.compute.cast(context, host, message).await?;
        }
        self.clients.placement.delete_allocations(context, failed.uuid).await?;
        Ok(self.clients.network.deallocate_for_instance(context, failed.uuid).await?)
    }

    async fn record_failure(&self, context: &RequestContext, uuid: Uuid, message: &str) {
        let fault = InstanceFault {
            instance_uuid: uuid,
            code: 500,
            message: Some(message.to_owned()),
            details: Some(message.to_owned()),
            ..InstanceFault::default()
        };
        if let Err(error) = faults::create(&self.db, &fault).await {
            tracing::error!(instance = %uuid, %error, "a fault could not be recorded");
        }
        let request_id = context.request_id();
        let failure = Some((message.to_owned(), String::new()));
        let started = actions::event_start(&self.db, uuid, request_id, SCHEDULE_EVENT, Some(&self.config.host)).await;
        if started.is_ok()
            && let Err(error) = actions::event_finish(&self.db, uuid, request_id, SCHEDULE_EVENT, failure).await
        {
            tracing::debug!(instance = %uuid, %error, "the end of an event was not recorded");
        }
    }
}

/// Why the last host gave back, as a sentence to add: Nova's clients know the first one, a person needs this one.
fn last_error(filter_properties: &Value) -> String {
    let reason = filter_properties.pointer("/retry/exc_reason/0").and_then(Value::as_str);
    reason.map(|reason| format!(" The last host said: {reason}")).unwrap_or_default()
}

/// The allocations that a selection's text asks for.
pub(super) fn allocations(selection: &Selection) -> Option<kilonova_clients::placement::Allocations> {
    let request: Value = serde_json::from_str(selection.allocation_request.as_deref()?).ok()?;
    let providers = request.get("allocations")?.as_object()?;
    let resources = |provider: &Value| serde_json::from_value(provider.get("resources")?.clone()).ok();
    providers.iter().map(|(uuid, provider)| Some((uuid.parse().ok()?, resources(provider)?))).collect()
}

fn build_message(
    instance: Instance,
    spec: RequestSpec,
    block_device_mapping: BlockDeviceMappingList,
    payload: BuildPayload,
    selection: &Selection,
) -> BuildAndRunInstance {
    let hosts = json!([[selection.service_host, selection.nodename]]);
    BuildAndRunInstance {
        instance,
        image: payload.image,
        request_spec: Some(spec),
        filter_properties: json!({"retry": {"num_attempts": 1, "hosts": hosts}, "limits": {}}),
        admin_password: payload.admin_password,
        injected_files: payload.injected_files,
        requested_networks: payload.requested_networks,
        security_groups: payload.security_groups,
        block_device_mapping,
        node: Some(selection.nodename.clone()),
        limits: json!({}),
        host_list: payload.selections.into_iter().skip(1).collect(),
        accel_uuids: Vec::new(),
    }
}
