//! A resize or a cold migration, on both hosts; and its confirmation or revert.
//!
//! ```text
//!   dest     prep_resize ───────┐             finish_resize ─> RESIZED ─┬─ revert_resize ───┐
//!   source           resize_instance ──┘                                │  finish_revert_resize ─> as before
//!   task     resize_prep ─ resize_migrating ─ resize_migrated ─ resize_finish ─ none │ resize_reverting ─ none
//!   source                                                  confirm_resize ─> ACTIVE or STOPPED
//! ```
//!
//! Both hosts may be one. From `resize_migrated` on the row is the destination's; the source keeps the guest, off, until
//! it is confirmed or reverted.

use std::time::Duration;

use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use kilonova_objects::migration::status;
use kilonova_objects::{Instance, InstanceInfoCache, Migration, PowerState, TaskState, Tracked, VmState};
use kilonova_rpcapi::compute::{
    ConfirmResize, FinishResize, FinishRevertResize, PrepResize, ResizeInstance, RevertResize,
};
use kilonova_rpcapi::conductor::MigrateServer;
use kilonova_rpcapi::notifications::InstanceAction;
use kilonova_rpcapi::objects::Expected;
use kilonova_virt::{DriverError, FinishMigration};
use serde_json::{Value, json};

use super::moves::{OLD_VM_STATE, old_vm_state, set_flavor};
use super::{Manager, ManagerError};

const PREPARED: [Option<TaskState>; 1] = [Some(TaskState::ResizePrep)];
/// The tasks in which the guest is the source's to give away.
const GIVEN_AWAY: [Option<TaskState>; 2] = [Some(TaskState::ResizePrep), Some(TaskState::ResizeMigrating)];
/// The tasks in which it is the destination's to make.
const FINISHED: [Option<TaskState>; 2] = [Some(TaskState::ResizeMigrated), Some(TaskState::ResizeFinish)];
const REVERTED: [Option<TaskState>; 1] = [Some(TaskState::ResizeReverting)];

/// An instance and the record of its move.
type Moving = (Tracked<Instance>, Tracked<Migration>);

impl Manager {
    /// The destination's first step: it claims, and the source gives the guest away.
    pub async fn prep_resize(&self, context: &RequestContext, prep: PrepResize) -> Result<(), ManagerError> {
        let uuid = prep.instance.uuid;
        let _lock = self.locks.lock(uuid).await;
        let wanted = self.wanted_move(context, uuid, prep.migration.id, &[TaskState::ResizePrep]).await?;
        let Some(mut moving) = wanted.filter(|(_, migration)| self.is_me(&migration.dest_compute)) else {
            tracing::info!(instance = %uuid, "not, or no longer, to be moved here");
            return Ok(());
        };
        self.tell_resize_prep(context, &moving.0, &prep.flavor, true);
        let event = "compute_prep_resize";
        let claimed =
            Box::pin(self.with_event(context, uuid, event, self.claim_move(context, &mut moving, &prep))).await;
        self.tell_resize_prep(context, &moving.0, &prep.flavor, false);
        match claimed {
            Ok(()) => Ok(()),
            Err(error) if error.is_deletion() || error.is_conflict() => Ok(()),
            Err(error @ ManagerError::Rpc(_)) => Err(error),
            Err(error) => Box::pin(self.reschedule(context, moving, prep, error)).await,
        }
    }

    async fn claim_move(
        &self,
        context: &RequestContext,
        (instance, migration): &mut Moving,
        prep: &PrepResize,
    ) -> Result<(), ManagerError> {
        let is_same_flavor = instance.instance_type_id == Some(prep.flavor.id);
        let capabilities = self.driver.capabilities();
        if !self.is_mine(instance) && !capabilities.supports_migrate_to_other_host {
            return Err(DriverError::NotSupported("a move from another host").into());
        }
        if self.is_mine(instance) && is_same_flavor && !capabilities.supports_migrate_to_same_host {
            let (uuid, host) = (instance.uuid, self.host());
            return Err(ManagerError::Invalid(format!(
                "Unable to migrate instance ({uuid}) to current host ({host})."
            )));
        }
        self.claim_migration(context, migration, status::PRE_MIGRATING).await?;
        instance.new_flavor = Some(prep.flavor.clone());
        let vm_state = instance.vm_state.to_string();
        instance.system_metadata.insert(OLD_VM_STATE.to_owned(), Some(vm_state));
        if prep.instance.availability_zone.is_some() {
            instance.availability_zone.clone_from(&prep.instance.availability_zone);
        }
        self.save(context, instance, Expected::tasks(&PREPARED)).await?;
        let message = ResizeInstance {
            instance: (**instance).clone(),
            migration: (**migration).clone(),
            image: prep.image.clone(),
            flavor: prep.flavor.clone(),
            clean_shutdown: prep.clean_shutdown,
            request_spec: prep.request_spec.clone(),
        };
        let source = migration.source_compute.clone().unwrap_or_default();
        Ok(self.peers.cast(context, &source, message).await?)
    }

    /// Another host may try, if there is one; else nothing has happened.
    async fn reschedule(
        &self,
        context: &RequestContext,
        moving: Moving,
        prep: PrepResize,
        error: ManagerError,
    ) -> Result<(), ManagerError> {
        let (instance, migration) = &moving;
        tracing::warn!(instance = %instance.uuid, %error, "an instance cannot be moved here");
        self.tell_move_error(context, instance, InstanceAction::Resize, &error, "_prep_resize");
        if prep.host_list.is_empty() || prep.filter_properties.get("retry").is_none_or(Value::is_null) {
            self.give_held_back(context, migration).await?;
            self.abandon_move(context, moving, &PREPARED, &error).await?;
            return Err(error);
        }
        self.record_fault(context, instance, &error).await;
        let message = MigrateServer {
            instance: (**instance).clone(),
            scheduler_hint: json!({"filter_properties": prep.filter_properties}),
            live: false,
            rebuild: false,
            flavor: Some(prep.flavor),
            block_migration: None,
            disk_over_commit: None,
            reservations: Value::Null,
            clean_shutdown: prep.clean_shutdown,
            request_spec: prep.request_spec,
            host_list: Some(prep.host_list),
        };
        Ok(self.conductor.cast(context, message).await?)
    }

    /// The source's step: the guest is shut down and given away. Asked again, what was given away is sent again.
    pub async fn resize_instance(&self, context: &RequestContext, resize: ResizeInstance) -> Result<(), ManagerError> {
        use TaskState::{ResizeFinish, ResizeMigrated, ResizeMigrating, ResizePrep};
        let uuid = resize.instance.uuid;
        let _lock = self.locks.lock(uuid).await;
        let tasks = [ResizePrep, ResizeMigrating, ResizeMigrated, ResizeFinish];
        let wanted = self.wanted_move(context, uuid, resize.migration.id, &tasks).await?;
        let Some(mut moving) = wanted.filter(|(_, migration)| self.is_me(&migration.source_compute)) else {
            tracing::info!(instance = %uuid, "not, or no longer, to be given away");
            return Ok(());
        };
        let event = "compute_resize_instance";
        let given =
            Box::pin(self.with_event(context, uuid, event, self.give_away(context, &mut moving, &resize))).await;
        match given {
            Ok(()) => Ok(()),
            Err(error) if error.is_deletion() || error.is_conflict() => Ok(()),
            Err(error @ ManagerError::Rpc(_)) => Err(error),
            Err(error) => {
                tracing::warn!(instance = %uuid, error = %super::details(&error), "an instance could not be given away");
                self.tell_move_error(context, &moving.0, InstanceAction::Resize, &error, "_resize_instance");
                self.give_held_back(context, &moving.1).await?;
                self.abandon_move(context, moving, &GIVEN_AWAY, &error).await?;
                Err(error)
            }
        }
    }

    async fn give_away(
        &self,
        context: &RequestContext,
        (instance, migration): &mut Moving,
        resize: &ResizeInstance,
    ) -> Result<(), ManagerError> {
        let telling = self.telling(context, instance.uuid, Some(InstanceAction::Resize)).await;
        let is_given = FINISHED.contains(&instance.task_state);
        if !is_given {
            self.set_migration_status(context, migration, status::MIGRATING).await?;
            instance.task_state = Some(TaskState::ResizeMigrating);
            self.save(context, instance, Expected::tasks(&GIVEN_AWAY)).await?;
            telling.start(instance, TaskState::ResizeMigrating);
        }
        let grace = if resize.clean_shutdown { self.config.shutdown_timeout } else { Duration::ZERO };
        let dest = migration.dest_host.clone().unwrap_or_default();
        let work = self.driver.migrate_disk_and_power_off(instance, &dest, &resize.flavor, grace);
        let disk_info = self.with_lease(context, instance, work).await?;
        if !is_given {
            self.set_migration_status(context, migration, status::POST_MIGRATING).await?;
            instance.host.clone_from(&migration.dest_compute);
            instance.node.clone_from(&migration.dest_node);
            instance.compute_id = migration.dest_compute_id;
            instance.old_flavor = instance.flavor.clone();
            instance.task_state = Some(TaskState::ResizeMigrated);
            let expected = [Some(TaskState::ResizeMigrating)];
            self.save(context, instance, Expected::tasks(&expected)).await?;
        }
        let message = FinishResize {
            instance: (**instance).clone(),
            migration: (**migration).clone(),
            image: resize.image.clone(),
            disk_info: json!(disk_info),
            request_spec: resize.request_spec.clone(),
        };
        let dest = migration.dest_compute.clone().unwrap_or_default();
        self.peers.cast(context, &dest, message).await?;
        telling.end(instance);
        Ok(())
    }

    /// The destination's last step: it makes the guest.
    pub async fn finish_resize(&self, context: &RequestContext, finish: FinishResize) -> Result<(), ManagerError> {
        let uuid = finish.instance.uuid;
        let _lock = self.locks.lock(uuid).await;
        let tasks = [TaskState::ResizeMigrated, TaskState::ResizeFinish];
        let wanted = self.wanted_move(context, uuid, finish.migration.id, &tasks).await?;
        let Some(mut moving) = wanted.filter(|(instance, _)| self.is_mine(instance)) else {
            tracing::info!(instance = %uuid, "not, or no longer, to be finished here");
            return Ok(());
        };
        let event = "compute_finish_resize";
        let made = self.with_event(context, uuid, event, self.make_moved(context, &mut moving, &finish)).await;
        match made {
            Ok(()) => Ok(()),
            Err(error) if error.is_deletion() || error.is_conflict() => Ok(()),
            Err(error @ ManagerError::Rpc(_)) => Err(error),
            Err(error) => {
                tracing::warn!(instance = %uuid, error = %super::details(&error), "an instance that came could not be made");
                // The row is this host's by now; what the source has left of it an operator may want.
                self.release_held(context, &moving.1).await?;
                self.abandon_move(context, moving, &FINISHED, &error).await?;
                Err(error)
            }
        }
    }

    async fn make_moved(
        &self,
        context: &RequestContext,
        (instance, migration): &mut Moving,
        finish: &FinishResize,
    ) -> Result<(), ManagerError> {
        let telling = self.telling(context, instance.uuid, Some(InstanceAction::ResizeFinish)).await;
        self.take_ports(context, instance.uuid).await?;
        let old = instance.old_flavor.clone();
        if let Some(flavor) = instance.new_flavor.clone() {
            set_flavor(instance, flavor);
        }
        let network_info = instance.network_info();
        instance.info_cache = Some(InstanceInfoCache::new(instance.uuid, &network_info));
        instance.task_state = Some(TaskState::ResizeFinish);
        self.save(context, instance, Expected::tasks(&FINISHED)).await?;
        telling.start(instance, TaskState::ResizeFinish);
        let disks = |flavor: &kilonova_objects::Flavor| (flavor.root_gb, flavor.ephemeral_gb, flavor.swap);
        let work = FinishMigration {
            instance,
            disk_info: finish.disk_info.as_str().unwrap_or_default(),
            network_info: &network_info,
            resizes_disks: old.as_ref().map(disks) != instance.flavor.as_ref().map(disks),
            power_on: old_vm_state(instance) != VmState::Stopped,
        };
        self.with_lease(context, instance, self.driver.finish_migration(work)).await?;
        self.set_migration_status(context, migration, status::FINISHED).await?;
        instance.power_state = self.power_state(instance.uuid).await;
        instance.vm_state = VmState::Resized;
        instance.launched_at = Some(utcnow());
        instance.task_state = None;
        let expected = [Some(TaskState::ResizeFinish)];
        self.save(context, instance, Expected::tasks(&expected)).await?;
        self.saw(instance.uuid, instance.power_state);
        telling.end(instance);
        tracing::info!(instance = %instance.uuid, "instance has moved here and waits for its confirmation");
        Ok(())
    }

    /// The source lets go of what it has given away; also where the instance is deleted meanwhile.
    pub async fn confirm_resize(&self, context: &RequestContext, confirm: ConfirmResize) -> Result<(), ManagerError> {
        let uuid = confirm.instance.uuid;
        let _lock = self.locks.lock(uuid).await;
        let everything = RequestContext { read_deleted: "yes".to_owned(), ..context.clone() };
        let mut migration = Tracked::new(self.conductor.migration_get(&everything, confirm.migration.id).await?);
        let instance = self.find(context, uuid).await?;
        let Some(instance) = instance.filter(|instance| instance.task_state != Some(TaskState::Deleting)) else {
            self.forget_kept(uuid).await?;
            return self.release_held(context, &migration).await;
        };
        let can_be = [status::FINISHED, status::CONFIRMING, status::CONFIRMED];
        if instance.vm_state != VmState::Resized || !can_be.contains(&migration.status.as_str()) {
            tracing::info!(instance = %uuid, status = migration.status, "not, or no longer, to be confirmed");
            return Ok(());
        }
        let mut instance = Tracked::new(instance);
        let step = self.let_go_of_source(context, &mut instance, &mut migration);
        match self.with_event(context, uuid, "compute_confirm_resize", step).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_deletion() || error.is_conflict() => Ok(()),
            Err(error @ ManagerError::Rpc(_)) => Err(error),
            Err(error) => {
                tracing::error!(instance = %uuid, error = %super::details(&error), "what is left of an instance that moved away stays");
                self.release_held(context, &migration).await?;
                self.abandon_move(context, (instance, migration), &[None], &error).await?;
                Err(error)
            }
        }
    }

    async fn let_go_of_source(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        migration: &mut Tracked<Migration>,
    ) -> Result<(), ManagerError> {
        let telling = self.telling(context, instance.uuid, Some(InstanceAction::ResizeConfirm)).await;
        telling.start_now(instance);
        self.driver.confirm_migration(instance.uuid).await?;
        self.release_held(context, migration).await?;
        self.set_migration_status(context, migration, status::CONFIRMED).await?;
        let is_down = instance.power_state == PowerState::Shutdown;
        instance.vm_state = if is_down { VmState::Stopped } else { VmState::Active };
        (instance.old_flavor, instance.new_flavor) = (None, None);
        instance.system_metadata.remove(OLD_VM_STATE);
        let expected = Expected { task_states: Some(&[None]), vm_states: Some(&[VmState::Resized]) };
        self.save(context, instance, expected).await?;
        telling.end(instance);
        Ok(())
    }

    /// The destination's step of a revert: its guest goes.
    pub async fn revert_resize(&self, context: &RequestContext, revert: RevertResize) -> Result<(), ManagerError> {
        let uuid = revert.instance.uuid;
        let _lock = self.locks.lock(uuid).await;
        let wanted = self.wanted_move(context, uuid, revert.migration.id, &[TaskState::ResizeReverting]).await?;
        let is_here = |(instance, _): &Moving| self.is_mine(instance) && instance.new_flavor.is_some();
        let Some(moving) = wanted.filter(is_here) else {
            tracing::info!(instance = %uuid, "not, or no longer, to be given back");
            return Ok(());
        };
        let step = async {
            let (instance, migration) = &moving;
            self.with_lease(context, instance, self.driver.revert_migration(uuid)).await?;
            let source = migration.source_compute.clone().unwrap_or_default();
            let message = FinishRevertResize {
                instance: (**instance).clone(),
                migration: (**migration).clone(),
                request_spec: revert.request_spec,
            };
            Ok(self.peers.cast(context, &source, message).await?)
        };
        match Box::pin(self.with_event(context, uuid, "compute_revert_resize", step)).await {
            Err(error) if !matches!(error, ManagerError::Rpc(_)) => {
                self.abandon_move(context, moving, &REVERTED, &error).await?;
                Err(error)
            }
            done => done,
        }
    }

    /// The source's step of a revert: everything is as before.
    pub async fn finish_revert_resize(
        &self,
        context: &RequestContext,
        revert: FinishRevertResize,
    ) -> Result<(), ManagerError> {
        let uuid = revert.instance.uuid;
        let _lock = self.locks.lock(uuid).await;
        let wanted = self.wanted_move(context, uuid, revert.migration.id, &[TaskState::ResizeReverting]).await?;
        let Some(mut moving) = wanted.filter(|(_, migration)| self.is_me(&migration.source_compute)) else {
            tracing::info!(instance = %uuid, "not, or no longer, to be taken back");
            return Ok(());
        };
        let event = "compute_finish_revert_resize";
        match self.with_event(context, uuid, event, self.take_back(context, &mut moving)).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_deletion() || error.is_conflict() => Ok(()),
            Err(error @ ManagerError::Rpc(_)) => Err(error),
            Err(error) => {
                tracing::error!(instance = %uuid, error = %super::details(&error), "an instance could not be taken back");
                self.abandon_move(context, moving, &REVERTED, &error).await?;
                Err(error)
            }
        }
    }

    async fn take_back(
        &self,
        context: &RequestContext,
        (instance, migration): &mut Moving,
    ) -> Result<(), ManagerError> {
        let telling = self.telling(context, instance.uuid, Some(InstanceAction::ResizeRevert)).await;
        telling.start_now(instance);
        let vm_state = old_vm_state(instance);
        if let Some(flavor) = instance.old_flavor.clone() {
            set_flavor(instance, flavor);
        }
        (instance.old_flavor, instance.new_flavor) = (None, None);
        self.take_instance(instance).await?;
        self.save(context, instance, Expected::tasks(&REVERTED)).await?;
        self.give_held_back(context, migration).await?;
        self.take_ports(context, instance.uuid).await?;
        let network_info = instance.network_info();
        let power_on = vm_state != VmState::Stopped;
        let work = self.driver.finish_revert_migration(instance, &network_info, power_on);
        self.with_lease(context, instance, work).await?;
        self.set_migration_status(context, migration, status::REVERTED).await?;
        instance.vm_state = vm_state;
        instance.power_state = self.power_state(instance.uuid).await;
        instance.launched_at = Some(utcnow());
        instance.system_metadata.remove(OLD_VM_STATE);
        instance.task_state = None;
        self.save(context, instance, Expected::tasks(&REVERTED)).await?;
        self.saw(instance.uuid, instance.power_state);
        telling.end(instance);
        tracing::info!(instance = %instance.uuid, "instance is back");
        Ok(())
    }
}
