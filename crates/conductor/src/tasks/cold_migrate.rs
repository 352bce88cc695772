//! `migrate_server`: a resize or a cold migration, up to the destination's turn; and what is asked again of whom.
//!
//! ```text
//!   task               whose turn              asked again
//!   resize_prep        conductor, destination  all of it: another host may be chosen
//!   resize_migrating   source                  resize_instance
//!   resize_migrated    destination             resize_instance: the source sends what the destination needs
//!   resize_finish      destination             the same
//!   resize_reverting   destination, source     revert_resize, or finish_revert_resize once the row is the source's
//!   none, resized      source                  confirm_resize, while the record is `confirming`
//! ```

use kilonova_core::RequestContext;
use kilonova_db::server_migrations;
use kilonova_db::workflows::{self, WorkflowKind};
use kilonova_objects::migration::{migration_type, status};
use kilonova_objects::{Flavor, Instance, Migration, RequestSpec, Selection, TaskState, VmState};
use kilonova_rpcapi::compute::{ConfirmResize, FinishRevertResize, PrepResize, ResizeInstance, RevertResize};
use kilonova_rpcapi::conductor::MigrateServer;
use kilonova_rpcapi::exception;
use kilonova_rpcapi::workflow::STEP_COLD_MIGRATE;
use serde_json::json;
use uuid::Uuid;

use super::TaskError;
use super::build::allocations;
use super::moves::{Move, MoveError, image_of};
use crate::Conductor;

/// The event of the decision.
const EVENT: &str = "cold_migrate";
/// The event of the message.
const METHOD_EVENT: &str = "conductor_migrate_server";

impl Conductor {
    /// A resize or a cold migration was asked for; or, with further hosts to try, its destination gave it back.
    pub(crate) async fn cold_migrate(&self, message: MigrateServer) -> Result<(), TaskError> {
        let uuid = message.instance.uuid;
        let moving = match &message.host_list {
            None => self.begin_move(uuid, STEP_COLD_MIGRATE).await?,
            Some(_) => match workflows::get(&self.db, WorkflowKind::Move, uuid).await? {
                Some(workflow) if workflow.step == STEP_COLD_MIGRATE => self.take_move(workflow).await?,
                _ => None,
            },
        };
        let Some(mut moving) = moving else { return Ok(()) };
        let result = Box::pin(self.choose_destination(&mut moving, message.host_list)).await;
        self.or_move_later(&moving.workflow, result).await;
        Ok(())
    }

    /// A resize or a cold migration was taken over.
    pub(crate) async fn resume_cold_migrate(&self, mut moving: Move) -> Result<(), TaskError> {
        match moving.instance.task_state {
            Some(TaskState::ResizePrep) => Box::pin(self.choose_destination(&mut moving, None)).await,
            Some(TaskState::ResizeMigrating | TaskState::ResizeMigrated | TaskState::ResizeFinish) => {
                let Some(migration) = self.migration_of(&moving).await? else {
                    return self.end_move(&moving.workflow).await;
                };
                let asked: MigrateServer = moving.payload.method(&moving.instance)?;
                let spec = self.spec_of(&moving.instance, asked.request_spec.clone()).await?;
                let source = migration.source_compute.clone();
                let message = resize_message(&asked, *moving.instance, migration, spec);
                self.ask_again(&moving.context, source.as_deref(), message).await
            }
            _ => self.end_move(&moving.workflow).await,
        }
    }

    async fn choose_destination(&self, moving: &mut Move, host_list: Option<Vec<Selection>>) -> Result<(), TaskError> {
        if moving.instance.task_state != Some(TaskState::ResizePrep) {
            return Ok(());
        }
        let asked: MigrateServer = moving.payload.method(&moving.instance)?;
        let (context, uuid) = (moving.context.clone(), moving.uuid());
        let vm_state = moving.instance.vm_state;
        let decided = self.decide(&context, moving, &asked, host_list);
        let decided = self.with_move_event(&context, uuid, EVENT, decided);
        match Box::pin(self.with_move_event(&context, uuid, METHOD_EVENT, decided)).await {
            Ok(()) => Ok(()),
            Err(MoveError::Refused(refusal)) => {
                self.refuse_move(moving, "migrate_server", (vm_state, &[TaskState::ResizePrep]), &refusal).await
            }
            Err(MoveError::Failed(error)) => Err(error),
        }
    }

    async fn decide(
        &self,
        context: &RequestContext,
        moving: &mut Move,
        asked: &MigrateServer,
        host_list: Option<Vec<Selection>>,
    ) -> Result<(), MoveError> {
        let instance = moving.instance.clone();
        let flavor = asked.flavor.clone().or_else(|| instance.flavor.clone()).unwrap_or_default();
        let migration = self.preallocate(moving, &flavor).await?;
        self.hold_allocations(context, &instance, &migration).await?;
        let mut spec = self.spec_of(&instance, asked.request_spec.clone()).await?;
        spec.flavor = flavor.clone();
        let selections = match host_list {
            None => self.schedule_move(context, spec.clone(), instance.uuid, true).await?,
            Some(host_list) => self.claim_alternate(context, &instance, host_list).await?,
        };
        let mut selections = selections.into_iter();
        let Some(selection) = selections.next() else {
            return Err(MoveError::Refused(exception::no_valid_host("There are not enough hosts available.")));
        };
        let changes = json!({"dest_compute": selection.service_host, "dest_node": selection.nodename});
        let migration = self.save_migration(migration.id, changes).await?;
        let message = prep_message(asked, *instance, migration, flavor, spec, &selection, selections.collect());
        Ok(self.compute.cast(context, &selection.service_host, message).await?)
    }

    /// The record of the move; of one that is taken up again the one that it has.
    async fn preallocate(&self, moving: &mut Move, flavor: &Flavor) -> Result<Migration, TaskError> {
        if let Some(migration) = self.migration_of(moving).await?
            && migration.status == status::PRE_MIGRATING
        {
            return Ok(migration);
        }
        let instance = &moving.instance;
        let old = instance.flavor.as_ref().map(|flavor| flavor.id);
        let kind = if old == Some(flavor.id) { migration_type::MIGRATION } else { migration_type::RESIZE };
        let migration = Migration {
            uuid: Uuid::new_v4(),
            instance_uuid: instance.uuid,
            source_compute: instance.host.clone(),
            source_node: instance.node.clone(),
            old_instance_type_id: old,
            new_instance_type_id: Some(flavor.id),
            status: status::PRE_MIGRATING.to_owned(),
            migration_type: kind.to_owned(),
            user_id: moving.context.user_id.clone(),
            project_id: moving.context.project_id.clone(),
            ..Migration::default()
        };
        let migration = server_migrations::create(&self.db, &migration).await?;
        self.remember(moving, &migration).await?;
        Ok(migration)
    }

    /// The first of the further hosts that has room, and those after it.
    async fn claim_alternate(
        &self,
        context: &RequestContext,
        instance: &Instance,
        host_list: Vec<Selection>,
    ) -> Result<Vec<Selection>, MoveError> {
        let mut remaining = host_list.into_iter();
        while let Some(selection) = remaining.next() {
            let Some(allocations) = allocations(&selection) else { continue };
            if self.claim_for_move(context, instance, &allocations).await? {
                return Ok(std::iter::once(selection).chain(remaining).collect());
            }
        }
        let uuid = instance.uuid;
        let reason = format!("Exhausted all hosts available for retrying build failures for instance {uuid}.");
        Err(MoveError::Refused(exception::max_retries_exceeded(&reason)))
    }

    /// A confirmation was taken over: nobody lets go of what the source has.
    pub(crate) async fn resume_confirm_resize(&self, moving: Move) -> Result<(), TaskError> {
        let migration = self.migration_of(&moving).await?;
        match migration.filter(|_| moving.instance.vm_state == VmState::Resized) {
            Some(migration) => {
                let source = migration.source_compute.clone();
                let message = ConfirmResize { instance: *moving.instance, migration };
                self.ask_again(&moving.context, source.as_deref(), message).await
            }
            None => self.end_move(&moving.workflow).await,
        }
    }

    /// A revert was taken over: the destination removes its guest, then the source takes back its own.
    pub(crate) async fn resume_revert_resize(&self, moving: Move) -> Result<(), TaskError> {
        let is_reverting = moving.instance.task_state == Some(TaskState::ResizeReverting);
        let Some(migration) = self.migration_of(&moving).await?.filter(|_| is_reverting) else {
            return self.end_move(&moving.workflow).await;
        };
        let request_spec = Some(self.spec_of(&moving.instance, None).await?);
        let (source, dest) = (migration.source_compute.clone(), migration.dest_compute.clone());
        let instance = *moving.instance;
        // Once the flavor is the old one again the destination is done, also where both are one host.
        let has_given_back = instance.new_flavor.is_none() || (source != dest && instance.host == source);
        if has_given_back {
            let message = FinishRevertResize { instance, migration, request_spec };
            self.ask_again(&moving.context, source.as_deref(), message).await
        } else {
            let message = RevertResize { instance, migration, request_spec };
            self.ask_again(&moving.context, dest.as_deref(), message).await
        }
    }
}

fn prep_message(
    asked: &MigrateServer,
    instance: Instance,
    migration: Migration,
    flavor: Flavor,
    spec: RequestSpec,
    selection: &Selection,
    host_list: Vec<Selection>,
) -> PrepResize {
    let host = json!([selection.service_host, selection.nodename]);
    // Where the host was asked for, no other one will do.
    let is_targeted = spec.requested_destination.as_ref().is_some_and(|destination| destination.host.is_some());
    let retry = json!({"num_attempts": 1, "hosts": [host]});
    let filter_properties = if is_targeted { json!({"limits": {}}) } else { json!({"limits": {}, "retry": retry}) };
    PrepResize {
        image: image_of(&spec),
        instance: Instance { availability_zone: selection.availability_zone.clone(), ..instance },
        flavor,
        request_spec: Some(spec),
        filter_properties,
        node: Some(selection.nodename.clone()),
        clean_shutdown: asked.clean_shutdown,
        migration,
        host_list,
    }
}

fn resize_message(
    asked: &MigrateServer,
    instance: Instance,
    migration: Migration,
    spec: RequestSpec,
) -> ResizeInstance {
    ResizeInstance {
        image: image_of(&spec),
        flavor: asked.flavor.clone().or_else(|| instance.flavor.clone()).unwrap_or_default(),
        instance,
        migration,
        clean_shutdown: asked.clean_shutdown,
        request_spec: Some(spec),
    }
}
