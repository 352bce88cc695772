//! What all moves between hosts share: the workflow, the record, what is held at placement, and how one fails.
//!
//! ```text
//!   API        task, action, workflow (and of an evacuation the record) in one transaction ──cast──┐
//!   conductor  record ─> allocations: instance ─> record ─> scheduler claims for the instance ─> record has a destination
//!   agents     … each save of the instance renews the lease; the one that ends its task ends the workflow
//! ```
//!
//! A workflow whose lease is over goes on where the instance's task and the record's status say that it is: either the
//! decision is made again, which replaces the claim, or the agent whose turn it is, is asked again. An agent that is down
//! is waited for: what it has of the guest is not lost.

use kilonova_clients::ClientError;
use kilonova_clients::placement::Allocations;
use kilonova_core::RequestContext;
use kilonova_db::instances::{self, Deleted, Save, SaveError};
use kilonova_db::workflows::{self, Workflow, WorkflowKind};
use kilonova_db::{DbError, actions, faults, request_specs, server_migrations};
use kilonova_messaging::RemoteException;
use kilonova_objects::migration::status;
use kilonova_objects::{Instance, InstanceFault, Migration, RequestSpec, Selection, TaskState, VmState};
use kilonova_rpcapi::notifications::Fault;
use kilonova_rpcapi::scheduler::SelectDestinations;
use kilonova_rpcapi::workflow::{
    MovePayload, STEP_COLD_MIGRATE, STEP_CONFIRM_RESIZE, STEP_EVACUATE, STEP_LIVE_MIGRATE, STEP_REVERT_RESIZE,
};
use kilonova_rpcapi::{RpcError, RpcMethod, exception};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::TaskError;
use crate::Conductor;

/// Why a move does not begin now.
#[derive(Debug)]
pub(crate) enum MoveError {
    /// It never will, by Nova's exception.
    Refused(RemoteException),
    /// Something is in the way that may be gone later.
    Failed(TaskError),
}

impl<E: Into<TaskError>> From<E> for MoveError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Whether an agent wrote down that the move is over, and then could not write what has become of the instance. Of one
/// that is prepared nothing has happened yet: it begins anew.
fn is_cut_short(instance: &Instance, migration: &Migration) -> bool {
    let is_moved = |task: TaskState| task.is_move() && task != TaskState::ResizePrep;
    migration.is_over() && instance.task_state.is_some_and(is_moved)
}

/// What the instance is then.
fn state_after(instance: &Instance, migration: &Migration) -> VmState {
    let was_stopped = || instance.system_metadata.get("old_vm_state").and_then(Option::as_deref) == Some("stopped");
    match instance.task_state {
        Some(TaskState::Migrating) => instance.vm_state,
        _ if migration.status != status::REVERTED => VmState::Error,
        _ if was_stopped() => VmState::Stopped,
        _ => VmState::Active,
    }
}

/// A move that is worked on.
pub(crate) struct Move {
    pub(crate) workflow: Workflow,
    pub(crate) payload: MovePayload,
    /// Who asked, with the rights of a service.
    pub(crate) context: RequestContext,
    /// As it is now.
    pub(crate) instance: Box<Instance>,
}

impl Move {
    pub(crate) fn uuid(&self) -> Uuid {
        self.workflow.instance_uuid
    }
}

impl Conductor {
    /// The move that a message asks for, if nobody works on it yet.
    pub(crate) async fn begin_move(&self, instance_uuid: Uuid, step: &str) -> Result<Option<Move>, TaskError> {
        let found = workflows::get(&self.db, WorkflowKind::Move, instance_uuid).await?;
        match found.filter(|workflow| workflow.step == step && workflow.attempts == 0) {
            Some(workflow) => self.take_move(workflow).await,
            None => Ok(None),
        }
    }

    /// Takes a move over, whoever worked on it.
    pub(crate) async fn take_move(&self, workflow: Workflow) -> Result<Option<Move>, TaskError> {
        match self.take(workflow).await? {
            Some(workflow) => self.read_move(workflow).await,
            None => Ok(None),
        }
    }

    /// `None`: the instance is gone, or about to; so is its move.
    async fn read_move(&self, workflow: Workflow) -> Result<Option<Move>, TaskError> {
        let instance = match instances::get(&self.db, workflow.instance_uuid, Deleted::No).await {
            Err(DbError::NotFound { .. }) => None,
            found => Some(found?),
        };
        let Some(instance) = instance.filter(|instance| instance.task_state != Some(TaskState::Deleting)) else {
            workflows::finish(&self.db, workflow.id).await?;
            return Ok(None);
        };
        let payload = MovePayload::from_value(&workflow.payload)?;
        let context = Self::acting_for(&payload.context);
        Ok(Some(Move { workflow, payload, context, instance: Box::new(instance) }))
    }

    /// Works on a move that was taken over.
    pub(crate) async fn resume_move(&self, workflow: &Workflow) -> Result<(), TaskError> {
        let Some(moving) = self.read_move(workflow.clone()).await? else { return Ok(()) };
        if let Some(migration) = self.migration_of(&moving).await?
            && is_cut_short(&moving.instance, &migration)
        {
            tracing::info!(instance = %moving.uuid(), status = migration.status, "a move is over on record only");
            self.leave_task(&moving, state_after(&moving.instance, &migration), vec![moving.instance.task_state])
                .await?;
            return Ok(());
        }
        match workflow.step.as_str() {
            STEP_COLD_MIGRATE => Box::pin(self.resume_cold_migrate(moving)).await,
            STEP_LIVE_MIGRATE => Box::pin(self.resume_live_migrate(moving)).await,
            STEP_EVACUATE => Box::pin(self.resume_evacuate(moving)).await,
            STEP_CONFIRM_RESIZE => Box::pin(self.resume_confirm_resize(moving)).await,
            STEP_REVERT_RESIZE => Box::pin(self.resume_revert_resize(moving)).await,
            unknown => {
                tracing::error!(instance = %workflow.instance_uuid, step = unknown, "a move with an unknown step ends here");
                self.end_move(workflow).await
            }
        }
    }

    /// The move is over, by whatever way: nothing is left to do for its workflow.
    pub(crate) async fn end_move(&self, workflow: &Workflow) -> Result<(), TaskError> {
        Ok(workflows::finish(&self.db, workflow.id).await?)
    }

    /// Asks a host again, if it is up; else the lease goes by and it is looked at again.
    pub(crate) async fn ask_again<M: RpcMethod>(
        &self,
        context: &RequestContext,
        host: Option<&str>,
        method: M,
    ) -> Result<(), TaskError> {
        match host {
            Some(host) if self.is_compute_up(host).await? => Ok(self.compute.cast(context, host, method).await?),
            _ => {
                tracing::info!(host, method = M::NAME, "a move waits for a host that is down");
                Ok(())
            }
        }
    }

    /// The record of a move that has one.
    pub(crate) async fn migration_of(&self, moving: &Move) -> Result<Option<Migration>, TaskError> {
        match moving.payload.migration_id {
            Some(id) => Ok(Some(server_migrations::get(&self.db, id).await?)),
            None => Ok(None),
        }
    }

    /// The workflow knows its record from here on: taken up again, it makes no second one.
    pub(crate) async fn remember(&self, moving: &mut Move, migration: &Migration) -> Result<(), TaskError> {
        moving.payload.migration_id = Some(migration.id);
        moving.workflow.payload = moving.payload.to_value();
        let Workflow { id, owner, step, payload, .. } = &moving.workflow;
        workflows::advance(&self.db, *id, owner, step, payload, self.lease()).await?;
        Ok(())
    }

    /// Changes a record.
    pub(crate) async fn save_migration(&self, id: i64, changes: Value) -> Result<Migration, TaskError> {
        let Value::Object(changes) = changes else { return Ok(server_migrations::get(&self.db, id).await?) };
        Ok(server_migrations::save(&self.db, id, &changes).await?)
    }

    /// What the instance has on its host is held by the record from here on; what an earlier try claimed goes.
    pub(crate) async fn hold_allocations(
        &self,
        context: &RequestContext,
        instance: &Instance,
        migration: &Migration,
    ) -> Result<(), MoveError> {
        let placement = &self.clients.placement;
        if !placement.allocations(context, migration.uuid).await?.is_empty() {
            return Ok(placement.delete_allocations(context, instance.uuid).await?);
        }
        match placement.move_allocations(context, instance.uuid, migration.uuid).await {
            Err(ClientError::Conflict(reason)) => {
                tracing::warn!(instance = %instance.uuid, reason, "the allocations of an instance cannot be held for its move");
                Err(MoveError::Refused(exception::no_valid_host("Unable to replace instance claim on source")))
            }
            moved => Ok(moved?),
        }
    }

    /// The instance has what it had before its move, and only that.
    pub(crate) async fn give_allocations_back(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        migration: &Migration,
    ) -> Result<(), TaskError> {
        Ok(self.clients.placement.move_allocations(context, migration.uuid, instance_uuid).await?)
    }

    /// A host for an instance that moves, claimed, and others after it.
    pub(crate) async fn schedule_move(
        &self,
        context: &RequestContext,
        mut spec: RequestSpec,
        instance_uuid: Uuid,
        return_alternates: bool,
    ) -> Result<Vec<Selection>, MoveError> {
        // Where the server was once forced to says nothing about where it goes.
        (spec.force_hosts, spec.force_nodes) = (None, None);
        spec.requested_destination = spec.requested_destination.filter(|destination| destination.host.is_some());
        self.setup_instance_group(&mut spec, &[instance_uuid]).await?;
        let request = SelectDestinations {
            spec_obj: spec,
            instance_uuids: vec![instance_uuid],
            return_objects: true,
            return_alternates,
        };
        match self.scheduler.call(context, request).await {
            Ok(mut hosts) => Ok(hosts.pop().unwrap_or_default()),
            Err(RpcError::Remote(refusal)) if refusal.class == "NoValidHost" => Err(MoveError::Refused(refusal)),
            Err(error) => Err(error.into()),
        }
    }

    /// Claims amounts of a host for an instance that moves; false if it has no room.
    pub(crate) async fn claim_for_move(
        &self,
        context: &RequestContext,
        instance: &Instance,
        allocations: &Allocations,
    ) -> Result<bool, TaskError> {
        let (project_id, user_id) = (instance.project_id(), instance.user_id.as_deref().unwrap_or_default());
        let placement = &self.clients.placement;
        match placement.set_allocations(context, instance.uuid, project_id, user_id, allocations).await {
            Ok(()) => Ok(true),
            Err(ClientError::Conflict(_) | ClientError::ConcurrentUpdate(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What the instance was asked with, in the flavor that it has, or gets.
    pub(crate) async fn spec_of(
        &self,
        instance: &Instance,
        given: Option<RequestSpec>,
    ) -> Result<RequestSpec, TaskError> {
        let mut spec = match given {
            Some(spec) => spec,
            None => request_specs::get(&self.db, instance.uuid).await?,
        };
        if let Some(flavor) = &instance.flavor {
            spec.flavor = flavor.clone();
        }
        spec.project_id.get_or_insert_with(|| instance.project_id().to_owned());
        spec.user_id = spec.user_id.or_else(|| instance.user_id.clone());
        Ok(spec)
    }

    /// The move does not happen: all that it has taken is given back, the record and a fault say why, and the instance is
    /// in `vm_state` without a task, which ends the workflow. Nothing is done to an instance in another task.
    pub(crate) async fn refuse_move(
        &self,
        moving: &Move,
        method: &'static str,
        (vm_state, tasks): (VmState, &[TaskState]),
        refusal: &RemoteException,
    ) -> Result<(), TaskError> {
        let (uuid, context) = (moving.uuid(), &moving.context);
        tracing::warn!(instance = %uuid, method, message = refusal.message, "an instance is not moved");
        if let Some(migration) = self.migration_of(moving).await? {
            self.give_allocations_back(context, uuid, &migration).await?;
            self.save_migration(migration.id, json!({"status": status::ERROR})).await?;
        }
        self.record_move_fault(uuid, refusal).await;
        if self.leave_task(moving, vm_state, tasks.iter().copied().map(Some).collect()).await? {
            self.tell_move_refused(moving, method, vm_state, refusal).await;
        }
        Ok(())
    }

    /// The instance is in no task any more, which ends the workflow; false: somebody did something else to it meanwhile.
    async fn leave_task(
        &self,
        moving: &Move,
        vm_state: VmState,
        tasks: Vec<Option<TaskState>>,
    ) -> Result<bool, TaskError> {
        let mut changes = Map::from_iter([("task_state".to_owned(), Value::Null)]);
        changes.insert("vm_state".to_owned(), json!(vm_state.as_str()));
        let save =
            Save { uuid: moving.uuid(), changes: &changes, expected_vm_state: None, expected_task_state: Some(tasks) };
        match instances::save_and_get_original(&self.db, save).await {
            Ok((before, after)) => {
                self.notifications.instance_saved(&moving.context, &before, &after);
                Ok(true)
            }
            Err(SaveError::Db(error)) if !matches!(error, DbError::NotFound { .. }) => Err(error.into()),
            Err(_) => {
                self.end_move(&moving.workflow).await?;
                Ok(false)
            }
        }
    }

    async fn tell_move_refused(&self, moving: &Move, method: &'static str, state: VmState, refusal: &RemoteException) {
        if !self.notifications.is_enabled() {
            return;
        }
        let spec = request_specs::get(&self.db, moving.uuid()).await.ok();
        let reason = Fault {
            class: refusal.class.clone(),
            message: refusal.message.clone(),
            code: 500,
            module: "kilonova_conductor::tasks",
            function: method,
            traceback: refusal.message.clone(),
        };
        self.notifications.compute_task_error(&moving.context, method, moving.uuid(), spec.as_ref(), state, &reason);
    }

    async fn record_move_fault(&self, instance_uuid: Uuid, refusal: &RemoteException) {
        let fault = InstanceFault {
            instance_uuid,
            code: refusal.kwargs.get("code").and_then(Value::as_i64).unwrap_or(500),
            message: Some(refusal.message.clone()),
            details: Some(refusal.message.clone()),
            ..InstanceFault::default()
        };
        if let Err(error) = faults::create(&self.db, &fault).await {
            tracing::error!(instance = %instance_uuid, %error, "a fault could not be recorded");
        }
    }

    /// Records a step of the move's action: begun, and ended as `step` ended.
    pub(crate) async fn with_move_event<T>(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        event: &str,
        step: impl Future<Output = Result<T, MoveError>>,
    ) -> Result<T, MoveError> {
        let request_id = context.request_id();
        let started = actions::event_start(&self.db, instance_uuid, request_id, event, Some(&self.config.host)).await;
        let result = Box::pin(step).await;
        let failure = match &result {
            Ok(_) => None,
            Err(MoveError::Refused(refusal)) => Some((refusal.message.clone(), String::new())),
            Err(MoveError::Failed(error)) => Some((error.to_string(), String::new())),
        };
        if started.is_ok()
            && let Err(error) = actions::event_finish(&self.db, instance_uuid, request_id, event, failure).await
        {
            tracing::debug!(instance = %instance_uuid, %error, "the end of an event was not recorded");
        }
        result
    }

    /// A move that could not get on is taken up again soon.
    pub(crate) async fn or_move_later(&self, workflow: &Workflow, result: Result<(), TaskError>) {
        if let Err(error) = result {
            tracing::error!(instance = %workflow.instance_uuid, %error, "a move did not get on; it will be taken up again");
            self.retry_soon(workflow).await;
        }
    }
}

/// The image that a server was asked with, as the dict that messages carry.
pub(crate) fn image_of(spec: &RequestSpec) -> Value {
    use kilonova_objects::wire::VersionedObject as _;
    let Some(image) = &spec.image else { return json!({}) };
    let mut data = image.data();
    data.insert("properties".to_owned(), json!(image.properties.0));
    Value::Object(data)
}
