//! What all moves between hosts share on a host.
//!
//! A message may come twice, or late: each step looks at the row and at the record of the move first, and does nothing
//! where they say that it is done, or another host's. Where the conductor cannot be reached nothing is undone: the move's
//! workflow asks again.

use std::time::Duration;

use kilonova_core::RequestContext;
use kilonova_objects::migration::{migration_type, status};
use kilonova_objects::{Flavor, Instance, Migration, TaskState, Tracked, VmState};
use kilonova_rpcapi::compute::ConfirmResize;
use kilonova_rpcapi::objects::Expected;
use kilonova_virt::DriverError;
use serde_json::json;
use uuid::Uuid;

use super::{Manager, ManagerError};

/// Between signs of life of a step that takes long: a fraction of the lease that the conductor gives a move.
const SIGN_OF_LIFE_INTERVAL: Duration = Duration::from_secs(30);

/// System metadata: what the instance was before its move.
pub(super) const OLD_VM_STATE: &str = "old_vm_state";

impl Manager {
    /// The instance and the record of its move, if the instance is in one of `tasks` and the move is not over.
    pub(super) async fn wanted_move(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        migration_id: i64,
        tasks: &[TaskState],
    ) -> Result<Option<(Tracked<Instance>, Tracked<Migration>)>, ManagerError> {
        let instance = Box::pin(self.find(context, instance_uuid)).await?;
        let is_wanted = |instance: &Instance| instance.task_state.is_some_and(|task| tasks.contains(&task));
        let Some(instance) = instance.filter(is_wanted) else { return Ok(None) };
        let migration = self.conductor.migration_get(context, migration_id).await?;
        let is_open = !migration.is_over();
        Ok(is_open.then(|| (Tracked::new(instance), Tracked::new(migration))))
    }

    /// Whether that is this host.
    pub(super) fn is_me(&self, host: &Option<String>) -> bool {
        host.as_deref() == Some(self.config.host.as_str())
    }

    /// Writes the record's next status, with what else changed.
    pub(super) async fn set_migration_status(
        &self,
        context: &RequestContext,
        migration: &mut Tracked<Migration>,
        status: &str,
    ) -> Result<(), ManagerError> {
        migration.status = status.to_owned();
        Ok(Box::pin(self.conductor.migration_save(context, migration)).await?)
    }

    /// This host is the destination: the record says so by all of Nova's fields.
    pub(super) async fn claim_migration(
        &self,
        context: &RequestContext,
        migration: &mut Tracked<Migration>,
        status: &str,
    ) -> Result<(), ManagerError> {
        let node = self.my_node().await?;
        migration.dest_compute = Some(self.config.host.clone());
        migration.dest_node = node.hypervisor_hostname;
        migration.dest_compute_id = Some(node.id);
        migration.dest_host = Some(self.config.my_ip.clone());
        self.set_migration_status(context, migration, status).await
    }

    async fn my_node(&self) -> Result<kilonova_objects::ComputeNode, ManagerError> {
        let node = self.tracker.node().await;
        node.ok_or_else(|| ManagerError::Invalid("the host is not ready".to_owned()))
    }

    /// The instance is this host's, once it is saved.
    pub(super) async fn take_instance(&self, instance: &mut Instance) -> Result<(), ManagerError> {
        let node = self.my_node().await?;
        instance.host = Some(self.config.host.clone());
        instance.node = node.hypervisor_hostname;
        instance.compute_id = Some(node.id);
        Ok(())
    }

    /// The ports of an instance are on this host.
    pub(super) async fn take_ports(&self, context: &RequestContext, uuid: Uuid) -> Result<(), ManagerError> {
        Ok(self.clients.network.setup_instance_network_on_host(context, uuid, &self.config.host).await?)
    }

    /// Renews the lease of the move while `work` goes on: by saves without changes.
    pub(super) async fn with_lease<T>(
        &self,
        context: &RequestContext,
        instance: &Tracked<Instance>,
        work: impl Future<Output = T>,
    ) -> T {
        let task = [instance.task_state];
        let signs = async {
            loop {
                tokio::time::sleep(SIGN_OF_LIFE_INTERVAL).await;
                let expected = Expected::tasks(&task);
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

    /// What a move holds of its source is nobody's any more.
    pub(super) async fn release_held(
        &self,
        context: &RequestContext,
        migration: &Migration,
    ) -> Result<(), ManagerError> {
        Ok(self.clients.placement.delete_allocations(context, migration.uuid).await?)
    }

    /// What a move holds of its source is the instance's again, and nothing else.
    pub(super) async fn give_held_back(
        &self,
        context: &RequestContext,
        migration: &Migration,
    ) -> Result<(), ManagerError> {
        let placement = &self.clients.placement;
        Ok(placement.move_allocations(context, migration.uuid, migration.instance_uuid).await?)
    }

    /// An instance that is deleted may be on two hosts: the other one, and what the move holds, is let go of too.
    pub(super) async fn end_moves_of_deleted(
        &self,
        context: &RequestContext,
        instance: &Instance,
    ) -> Result<(), ManagerError> {
        if instance.old_flavor.is_none() && instance.new_flavor.is_none() {
            return Ok(());
        }
        let filters = json!({"instance_uuid": instance.uuid});
        let moves = self.conductor.migrations(context, filters).await?;
        for migration in moves.into_iter().filter(|migration| !migration.is_over()) {
            self.release_held(context, &migration).await?;
            match migration.source_compute.clone() {
                Some(source) if source != self.config.host => {
                    let message = ConfirmResize { instance: instance.clone(), migration };
                    self.peers.cast(context, &source, message).await?;
                }
                _ => self.forget_kept(instance.uuid).await?,
            }
        }
        Ok(())
    }

    /// What is kept of a guest that was given away goes. A driver that gives none away keeps nothing.
    pub(super) async fn forget_kept(&self, uuid: Uuid) -> Result<(), ManagerError> {
        match self.driver.confirm_migration(uuid).await {
            Err(DriverError::NotSupported(_)) => Ok(()),
            done => Ok(done?),
        }
    }

    /// What moves from this host left here when it was down: guests that run on another host by now, and what is held for
    /// them.
    pub(super) async fn finish_left_moves(&self, context: &RequestContext) {
        let everything = RequestContext { read_deleted: "yes".to_owned(), ..context.clone() };
        let statuses = [status::ACCEPTED, status::PRE_MIGRATING, status::DONE, status::POST_MIGRATING];
        let filters = json!({"source_compute": self.config.host, "status": statuses});
        let moves = match self.conductor.migrations(&everything, filters).await {
            Ok(moves) => moves,
            Err(error) => return tracing::warn!(%error, "what moves left here is not known now"),
        };
        for migration in moves {
            let Some(_lock) = self.locks.try_lock(migration.instance_uuid) else { continue };
            let uuid = migration.instance_uuid;
            if let Err(error) = self.finish_left_move(&everything, Tracked::new(migration)).await {
                tracing::error!(instance = %uuid, error = %super::details(&error), "what a move left here stays for now");
            }
        }
    }

    /// Whether an evacuation takes an instance of this host away.
    pub(super) async fn is_evacuated(&self, context: &RequestContext, uuid: Uuid) -> Result<bool, ManagerError> {
        let filters = json!({
            "instance_uuid": uuid, "source_compute": self.config.host, "migration_type": migration_type::EVACUATION,
            "status": [status::ACCEPTED, status::PRE_MIGRATING],
        });
        Ok(!self.conductor.migrations(context, filters).await?.is_empty())
    }

    async fn finish_left_move(
        &self,
        context: &RequestContext,
        mut migration: Tracked<Migration>,
    ) -> Result<(), ManagerError> {
        let uuid = migration.instance_uuid;
        let is_evacuation = migration.migration_type == migration_type::EVACUATION;
        let instance = match self.conductor.instance_get(context, uuid).await {
            Err(error) if error.is("InstanceNotFound") => None,
            found => Some(found?),
        };
        let has_left = instance.is_none_or(|instance| instance.deleted || !self.is_mine(&instance));
        // Of an evacuation that goes on the guest must not come back to life beside the one that is made.
        let is_left_over = is_evacuation || (migration.is_live_migration() && has_left);
        if !is_left_over {
            return Ok(());
        }
        tracing::info!(instance = %uuid, kind = migration.migration_type, "removing what a move left here");
        self.driver.destroy(uuid).await?;
        if has_left {
            self.release_held(context, &migration).await?;
            if !migration.deleted {
                self.set_migration_status(context, &mut migration, status::COMPLETED).await?;
            }
        }
        Ok(())
    }

    /// The move failed here. The record and a fault say so; the instance has no task any more, and is in error unless
    /// nothing has happened to it.
    pub(super) async fn abandon_move(
        &self,
        context: &RequestContext,
        (mut instance, mut migration): (Tracked<Instance>, Tracked<Migration>),
        tasks: &[Option<TaskState>],
        error: &ManagerError,
    ) -> Result<(), ManagerError> {
        let is_untouched = matches!(
            error,
            ManagerError::Driver(DriverError::NotSupported(_) | DriverError::Resize(_)) | ManagerError::Invalid(_)
        );
        // What a step changed and could not save is not what the instance is.
        if let Some(now) = self.find(context, instance.uuid).await? {
            instance = Tracked::new(now);
        }
        if is_untouched {
            (instance.new_flavor, instance.old_flavor) = (None, None);
            instance.system_metadata.remove(OLD_VM_STATE);
        } else {
            instance.vm_state = VmState::Error;
        }
        instance.task_state = None;
        // Nova's words for it.
        let is_evacuation = migration.migration_type == migration_type::EVACUATION;
        let failed = if is_evacuation { status::FAILED } else { status::ERROR };
        self.set_migration_status(context, &mut migration, failed).await?;
        match self.save(context, &mut instance, Expected::tasks(tasks)).await {
            Err(overtaken) if overtaken.is_deletion() || overtaken.is_conflict() => {
                tracing::info!(instance = %instance.uuid, error = %overtaken, "overtaken by another action");
                Ok(())
            }
            saved => {
                self.record_fault(context, &instance, error).await;
                saved
            }
        }
    }
}

/// The instance has that flavor, by all fields that say so.
pub(super) fn set_flavor(instance: &mut Instance, flavor: Flavor) {
    instance.instance_type_id = Some(flavor.id);
    instance.memory_mb = Some(flavor.memory_mb);
    instance.vcpus = Some(flavor.vcpus);
    instance.root_gb = Some(flavor.root_gb);
    instance.ephemeral_gb = Some(flavor.ephemeral_gb);
    instance.flavor = Some(flavor);
}

/// What the instance was before its move.
pub(super) fn old_vm_state(instance: &Instance) -> VmState {
    let stored = instance.system_metadata.get(OLD_VM_STATE).and_then(Option::as_deref);
    if stored == Some(VmState::Stopped.as_str()) { VmState::Stopped } else { VmState::Active }
}
