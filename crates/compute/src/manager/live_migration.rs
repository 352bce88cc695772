//! Live migration, on both hosts.
//!
//! ```text
//!   dest    check_…_destination ─> (source: check_…_source)
//!   source  live_migration: queued ─turn─> preparing ─> (dest: pre_live_migration) ─> running ──driver──┐
//!                 │ abort                     │ abort, failure                    │ abort, failure      │
//!                 └───────────── rollback: cancelled, failed or error <───────────┘                     │
//!           post-migrating <────────────────────────────────────────────────────────────────────────────┘
//!                 └─> (dest: post_live_migration_at_destination) ─> completed
//! ```
//!
//! The row is the source's until the destination has the guest. A message that comes again finds in `Underway` that the
//! source still works on it; else its process died meanwhile: what had not left is rolled back, what had is finished.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kilonova_core::RequestContext;
use kilonova_objects::migration::status;
use kilonova_objects::{Instance, LiveMigrateData, Migration, TaskState, Tracked, VmState};
use kilonova_rpcapi::compute::{
    CheckCanLiveMigrateDestination, CheckCanLiveMigrateSource, LiveMigration, LiveMigrationAbort,
    LiveMigrationForceComplete, PostLiveMigrationAtDestination, PreLiveMigration, RollbackLiveMigrationAtDestination,
};
use kilonova_rpcapi::notifications::InstanceAction;
use kilonova_rpcapi::objects::Expected;
use kilonova_rpcapi::{RpcError, exception};
use kilonova_virt::LiveMigration as Outcome;
use serde_json::{Value, json};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{Manager, ManagerError};

const MIGRATING: [Option<TaskState>; 1] = [Some(TaskState::Migrating)];

/// The live migrations from this host that somebody works on, each with the way to end it before the driver has it.
#[derive(Default)]
pub(super) struct Underway(Mutex<HashMap<Uuid, Arc<Stage>>>);

#[derive(Default)]
struct Stage {
    /// Rung to end one that waits.
    cancelled: Notify,
    /// Whether the driver has it: only the driver can end it then.
    is_running: Mutex<bool>,
    is_cancelled: Mutex<bool>,
}

impl Stage {
    /// False: the driver has it.
    fn cancel(&self) -> bool {
        let is_running = lock(&self.is_running);
        if *is_running {
            return false;
        }
        *lock(&self.is_cancelled) = true;
        self.cancelled.notify_one();
        true
    }

    /// The driver gets it, unless it was cancelled.
    fn run(&self) -> bool {
        let mut is_running = lock(&self.is_running);
        *is_running = !*lock(&self.is_cancelled);
        *is_running
    }
}

/// One that is underway is so until it ends, by whatever way.
struct Entered<'a> {
    underway: &'a Underway,
    uuid: Uuid,
    stage: Arc<Stage>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        lock(&self.underway.0).remove(&self.uuid);
    }
}

impl Underway {
    /// `None`: somebody works on it.
    fn enter(&self, uuid: Uuid) -> Option<Entered<'_>> {
        let mut underway = lock(&self.0);
        if underway.contains_key(&uuid) {
            return None;
        }
        let stage = Arc::<Stage>::default();
        underway.insert(uuid, stage.clone());
        Some(Entered { underway: self, uuid, stage })
    }

    fn stage(&self, uuid: Uuid) -> Option<Arc<Stage>> {
        lock(&self.0).get(&uuid).cloned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An instance, the record of its move, and what the hosts tell each other.
struct Moving {
    instance: Tracked<Instance>,
    migration: Tracked<Migration>,
    /// As the conductor sent it, with the zone that the instance will have.
    sent: Instance,
    dest: String,
    block_migration: Option<bool>,
    data: LiveMigrateData,
}

impl Manager {
    /// Whether an instance may come here while it runs: asks the driver, and then its host.
    pub async fn check_can_live_migrate_destination(
        &self,
        context: &RequestContext,
        check: CheckCanLiveMigrateDestination,
    ) -> Result<LiveMigrateData, ManagerError> {
        let CheckCanLiveMigrateDestination { instance, block_migration, disk_over_commit, .. } = check;
        let uuid = instance.uuid;
        let step = async {
            let driver = &self.driver;
            let data = driver.check_can_live_migrate_destination(&instance, block_migration, disk_over_commit).await;
            let data = data.map_err(|error| pre_check(&error.to_string()))?;
            let source = instance.host.clone().unwrap_or_default();
            let method = CheckCanLiveMigrateSource { instance: instance.clone(), dest_check_data: data };
            self.peers.call(context, &source, method).await.map_err(|error| {
                let class = match &error {
                    RpcError::Remote(exception) => exception.class.clone(),
                    _ => "MessagingTimeout".to_owned(),
                };
                let dest = self.host();
                pre_check(&format!(
                    "Error while check_can_live_migrate_source from {source} to host {dest}: {class} {error}"
                ))
            })
        };
        Box::pin(self.with_event(context, uuid, "compute_check_can_live_migrate_destination", step)).await
    }

    /// Whether an instance may leave while it runs, by what its destination says.
    pub async fn check_can_live_migrate_source(
        &self,
        context: &RequestContext,
        check: CheckCanLiveMigrateSource,
    ) -> Result<LiveMigrateData, ManagerError> {
        let CheckCanLiveMigrateSource { instance, dest_check_data } = check;
        let data = LiveMigrateData { is_volume_backed: instance.image_ref.is_none(), ..dest_check_data };
        let step = async {
            let checked = self.driver.check_can_live_migrate_source(&instance, data).await;
            checked.map_err(|error| pre_check(&error.to_string()))
        };
        self.with_event(context, instance.uuid, "compute_check_can_live_migrate_source", step).await
    }

    /// Makes room for an instance that comes while it runs.
    pub async fn pre_live_migration(
        &self,
        context: &RequestContext,
        prepare: PreLiveMigration,
    ) -> Result<LiveMigrateData, ManagerError> {
        let PreLiveMigration { instance, disk, migrate_data } = prepare;
        let _lock = self.locks.lock(instance.uuid).await;
        let telling = self.telling(context, instance.uuid, Some(InstanceAction::LiveMigrationPre)).await;
        telling.start_now(&instance);
        let network_info = instance.network_info();
        let step = async {
            let prepared = self.driver.pre_live_migration(&instance, &network_info, disk.as_str(), migrate_data).await;
            Ok(prepared?)
        };
        let data = self.with_event(context, instance.uuid, "compute_pre_live_migration", step).await?;
        telling.end(&instance);
        Ok(data)
    }

    /// Sends an instance away while it runs.
    pub async fn live_migration(&self, context: &RequestContext, asked: LiveMigration) -> Result<(), ManagerError> {
        let uuid = asked.instance.uuid;
        let Some(entered) = self.underway.enter(uuid) else {
            tracing::debug!(instance = %uuid, "asked to migrate what is being migrated");
            return Ok(());
        };
        let wanted = self.wanted_move(context, uuid, asked.migration.id, &[TaskState::Migrating]).await?;
        let is_from_here = |(instance, migration): &(Tracked<Instance>, Tracked<Migration>)| {
            self.is_mine(instance) && self.is_me(&migration.source_compute)
        };
        let Some((instance, migration)) = wanted.filter(is_from_here) else {
            tracing::info!(instance = %uuid, "not, or no longer, to be migrated from here");
            return Ok(());
        };
        let before = migration.status.clone();
        let mut moving = Moving {
            instance,
            migration,
            sent: asked.instance,
            dest: asked.dest,
            block_migration: asked.block_migration,
            data: asked.migrate_data,
        };
        match before.as_str() {
            status::ACCEPTED => {
                let step = self.migrate_live(context, &mut moving, &entered.stage);
                match Box::pin(self.with_event(context, uuid, "compute_live_migration", step)).await {
                    Err(error) if error.is_deletion() => {
                        tracing::info!(instance = %uuid, %error, "the instance was deleted while it moved");
                        self.release_held(context, &moving.migration).await
                    }
                    done => done,
                }
            }
            status::POST_MIGRATING => self.finish_live_migration(context, &mut moving).await,
            _ => {
                tracing::warn!(instance = %uuid, status = before, "a live migration was interrupted");
                self.roll_back(context, &mut moving, status::ERROR, true).await
            }
        }
    }

    async fn migrate_live(
        &self,
        context: &RequestContext,
        moving: &mut Moving,
        stage: &Stage,
    ) -> Result<(), ManagerError> {
        self.set_migration_status(context, &mut moving.migration, status::QUEUED).await?;
        let turn = self.with_lease(context, &moving.instance, async {
            tokio::select! {
                turn = self.live_migrations.acquire() => turn.ok(),
                () = stage.cancelled.notified() => None,
            }
        });
        let Some(_turn) = turn.await else {
            return self.roll_back(context, moving, status::CANCELLED, false).await;
        };
        self.set_migration_status(context, &mut moving.migration, status::PREPARING).await?;
        if let Err(error) = Box::pin(self.prepare_destination(context, moving)).await {
            tracing::warn!(instance = %moving.instance.uuid, error = %super::details(&error), "the destination of a live migration cannot be made ready");
            self.record_fault(context, &moving.instance, &error).await;
            self.roll_back(context, moving, status::ERROR, true).await?;
            return Err(error);
        }
        if !stage.run() {
            self.roll_back(context, moving, status::CANCELLED, true).await?;
            self.tell_abort_end(context, &moving.instance);
            return Ok(());
        }
        self.set_migration_status(context, &mut moving.migration, status::RUNNING).await?;
        let work = self.driver.live_migration(&moving.instance, &moving.dest, &moving.data);
        match self.with_lease(context, &moving.instance, work).await {
            Ok(Outcome::Completed) => {
                self.set_migration_status(context, &mut moving.migration, status::POST_MIGRATING).await?;
                self.finish_live_migration(context, moving).await
            }
            Ok(Outcome::Aborted) => self.roll_back(context, moving, status::CANCELLED, true).await,
            Err(error) => {
                let error = ManagerError::from(error);
                tracing::warn!(instance = %moving.instance.uuid, error = %super::details(&error), "a live migration failed");
                self.record_fault(context, &moving.instance, &error).await;
                self.roll_back(context, moving, status::FAILED, true).await?;
                Err(error)
            }
        }
    }

    async fn prepare_destination(&self, context: &RequestContext, moving: &mut Moving) -> Result<(), ManagerError> {
        let disk = if moving.data.block_migration {
            json!(self.driver.instance_disk_info(moving.instance.uuid).await?)
        } else {
            Value::Null
        };
        let method = PreLiveMigration { instance: (*moving.instance).clone(), disk, migrate_data: moving.data.clone() };
        let answer = self.peers.call(context, &moving.dest, method);
        moving.data = Box::pin(self.with_lease(context, &moving.instance, answer)).await?;
        Ok(())
    }

    /// The guest runs on the other host: it gets the row, and nothing stays here.
    async fn finish_live_migration(&self, context: &RequestContext, moving: &mut Moving) -> Result<(), ManagerError> {
        let uuid = moving.instance.uuid;
        let telling = self.telling(context, uuid, Some(InstanceAction::LiveMigrationPost)).await;
        telling.start_now(&moving.instance);
        let instance =
            Instance { availability_zone: moving.sent.availability_zone.clone(), ..(*moving.instance).clone() };
        let method = PostLiveMigrationAtDestination { instance, block_migration: moving.block_migration };
        match self.peers.call(context, &moving.dest, method).await {
            Ok(()) => {}
            // Whether it was done is not known: it is asked again.
            Err(error @ RpcError::Messaging(_)) => return Err(error.into()),
            Err(error) => {
                let error = ManagerError::from(error);
                if error.is_deletion() {
                    return Err(error);
                }
                return self.lose(context, moving, error).await;
            }
        }
        self.driver.destroy(uuid).await?;
        self.release_held(context, &moving.migration).await?;
        self.set_migration_status(context, &mut moving.migration, status::COMPLETED).await?;
        telling.end(&moving.instance);
        tracing::info!(instance = %uuid, dest = moving.dest, "instance has moved");
        Ok(())
    }

    /// The destination has not got a guest that is no more here: the row is the destination's by Nova's rule, and in
    /// error.
    async fn lose(
        &self,
        context: &RequestContext,
        moving: &mut Moving,
        error: ManagerError,
    ) -> Result<(), ManagerError> {
        let Moving { instance, migration, .. } = moving;
        tracing::error!(instance = %instance.uuid, error = %super::details(&error), "the destination did not take over a guest that left");
        self.record_fault(context, instance, &error).await;
        self.release_held(context, migration).await?;
        instance.host.clone_from(&migration.dest_compute);
        instance.node.clone_from(&migration.dest_node);
        instance.compute_id = migration.dest_compute_id;
        instance.vm_state = VmState::Error;
        instance.task_state = None;
        self.save(context, instance, Expected::tasks(&MIGRATING)).await?;
        self.set_migration_status(context, migration, status::ERROR).await?;
        Err(error)
    }

    /// The guest stays here. `is_prepared`: the destination may have made room.
    async fn roll_back(
        &self,
        context: &RequestContext,
        moving: &mut Moving,
        status: &str,
        is_prepared: bool,
    ) -> Result<(), ManagerError> {
        let uuid = moving.instance.uuid;
        let telling = self.telling(context, uuid, Some(InstanceAction::LiveMigrationRollback)).await;
        telling.start_now(&moving.instance);
        self.give_held_back(context, &moving.migration).await?;
        if is_prepared {
            let method = RollbackLiveMigrationAtDestination {
                instance: (*moving.instance).clone(),
                destroy_disks: true,
                migrate_data: moving.data.clone(),
            };
            self.peers.cast(context, &moving.dest, method).await?;
        }
        self.set_migration_status(context, &mut moving.migration, status).await?;
        moving.instance.task_state = None;
        moving.instance.progress = Some(0);
        let saved = self.save(context, &mut moving.instance, Expected::tasks(&MIGRATING)).await;
        telling.end(&moving.instance);
        tracing::info!(instance = %uuid, status, "a live migration was rolled back");
        saved
    }

    /// An instance has come: it is this host's now.
    pub async fn post_live_migration_at_destination(
        &self,
        context: &RequestContext,
        post: PostLiveMigrationAtDestination,
    ) -> Result<(), ManagerError> {
        let uuid = post.instance.uuid;
        let _lock = self.locks.lock(uuid).await;
        let found = self.find(context, uuid).await?;
        let found = found.filter(|instance| instance.task_state != Some(TaskState::Deleting));
        let Some(instance) = found else {
            self.driver.rollback_live_migration_at_destination(uuid).await?;
            return Err(RpcError::Remote(exception::instance_not_found(uuid)).into());
        };
        if self.is_mine(&instance) {
            return Ok(());
        }
        let step = self.take_over(context, Tracked::new(instance), post.instance.availability_zone);
        Box::pin(self.with_event(context, uuid, "compute_post_live_migration_at_destination", step)).await
    }

    async fn take_over(
        &self,
        context: &RequestContext,
        mut instance: Tracked<Instance>,
        availability_zone: Option<String>,
    ) -> Result<(), ManagerError> {
        let telling = self.telling(context, instance.uuid, Some(InstanceAction::LiveMigrationPostDest)).await;
        telling.start_now(&instance);
        self.take_ports(context, instance.uuid).await?;
        let network_info = instance.network_info();
        self.driver.post_live_migration_at_destination(&instance, &network_info).await?;
        self.take_instance(&mut instance).await?;
        if availability_zone.is_some() {
            instance.availability_zone = availability_zone;
        }
        instance.power_state = self.power_state(instance.uuid).await;
        instance.progress = Some(0);
        instance.task_state = None;
        match self.save(context, &mut instance, Expected::tasks(&MIGRATING)).await {
            Err(error) if error.is_deletion() => {
                self.driver.destroy(instance.uuid).await?;
                return Err(error);
            }
            saved => saved?,
        }
        self.saw(instance.uuid, instance.power_state);
        telling.end(&instance);
        Ok(())
    }

    /// An instance does not come after all.
    pub async fn rollback_live_migration_at_destination(
        &self,
        context: &RequestContext,
        rollback: RollbackLiveMigrationAtDestination,
    ) -> Result<(), ManagerError> {
        let instance = rollback.instance;
        let _lock = self.locks.lock(instance.uuid).await;
        let telling = self.telling(context, instance.uuid, Some(InstanceAction::LiveMigrationRollbackDest)).await;
        telling.start_now(&instance);
        self.driver.rollback_live_migration_at_destination(instance.uuid).await?;
        telling.end(&instance);
        Ok(())
    }

    /// Lets a live migration end soon.
    pub async fn live_migration_force_complete(
        &self,
        context: &RequestContext,
        asked: LiveMigrationForceComplete,
    ) -> Result<(), ManagerError> {
        let instance = asked.instance;
        let telling = self.telling(context, instance.uuid, Some(InstanceAction::LiveMigrationForceComplete)).await;
        telling.start_now(&instance);
        let step = async { Ok(self.driver.live_migration_force_complete(instance.uuid).await?) };
        let event = "compute_live_migration_force_complete";
        if let Err(error) = self.with_event(context, instance.uuid, event, step).await {
            self.record_fault(context, &instance, &error).await;
            return Err(error);
        }
        telling.end(&instance);
        Ok(())
    }

    /// Ends a live migration: one that waits here, one that runs by the driver.
    pub async fn live_migration_abort(
        &self,
        context: &RequestContext,
        abort: LiveMigrationAbort,
    ) -> Result<(), ManagerError> {
        let LiveMigrationAbort { instance, migration_id } = abort;
        let uuid = instance.uuid;
        let telling = self.telling(context, uuid, Some(InstanceAction::LiveMigrationAbort)).await;
        telling.start_now(&instance);
        let step = async {
            if self.underway.stage(uuid).is_some_and(|stage| stage.cancel()) {
                return Ok(());
            }
            let migration = self.conductor.migration_get(context, migration_id).await?;
            if migration.status != status::RUNNING {
                let method = "abort live migration";
                let refusal = exception::invalid_migration_state(migration_id, uuid, &migration.status, method);
                return Err(RpcError::Remote(refusal).into());
            }
            Ok(self.driver.live_migration_abort(uuid).await?)
        };
        if let Err(error) = self.with_event(context, uuid, "compute_live_migration_abort", step).await {
            self.record_fault(context, &instance, &error).await;
            return Err(error);
        }
        self.tell_abort_end(context, &instance);
        Ok(())
    }

    fn tell_abort_end(&self, context: &RequestContext, instance: &Instance) {
        let event = kilonova_rpcapi::notifications::InstanceEvent::end(InstanceAction::LiveMigrationAbort);
        self.notifications.instance(context, instance, &event);
    }
}

/// What the conductor tries another host after.
fn pre_check(reason: &str) -> ManagerError {
    RpcError::Remote(exception::migration_pre_check_error(reason)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_waits_can_be_cancelled_and_one_that_the_driver_has_cannot() {
        let (waits, runs) = (Stage::default(), Stage::default());
        assert!(waits.cancel());
        assert!(!waits.run());
        assert!(runs.run());
        assert!(!runs.cancel());
    }

    #[test]
    fn one_instance_is_migrated_once_at_a_time() {
        let (underway, uuid) = (Underway::default(), Uuid::new_v4());
        let entered = underway.enter(uuid);
        assert!(entered.is_some() && underway.enter(uuid).is_none());
        drop(entered);
        assert!(underway.enter(uuid).is_some());
    }
}
