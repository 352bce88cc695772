//! `rebuild_instance` of an instance whose host is down: it is made again here, from its image.
//!
//! ```text
//!   rebuilding ─ports─> rebuild_block_device_mapping ─> rebuild_spawning ──driver──> ACTIVE or STOPPED, and ours
//! ```
//!
//! The row is the old host's until the guest is there, so what an interrupted try left is removed by the search for
//! orphans, and made again.

use std::collections::BTreeMap;
use std::time::Duration;

use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use kilonova_objects::migration::status;
use kilonova_objects::{Instance, InstanceInfoCache, Migration, TaskState, Tracked, VmState};
use kilonova_rpcapi::compute::RebuildInstance;
use kilonova_rpcapi::notifications::InstanceAction;
use kilonova_rpcapi::objects::Expected;
use kilonova_virt::{DriverError, Injected, Spawn};
use serde_json::json;

use super::{Manager, ManagerError};

/// The tasks of an evacuation, in order: one that was interrupted is found in any of them.
const TASKS: [TaskState; 3] = [TaskState::Rebuilding, TaskState::RebuildBlockDeviceMapping, TaskState::RebuildSpawning];
const EXPECTED: [Option<TaskState>; 3] =
    [Some(TaskState::Rebuilding), Some(TaskState::RebuildBlockDeviceMapping), Some(TaskState::RebuildSpawning)];

impl Manager {
    /// Makes an instance of a host that is down again, on this one.
    pub(super) async fn evacuate_here(
        &self,
        context: &RequestContext,
        rebuild: RebuildInstance,
    ) -> Result<(), ManagerError> {
        let _slot = self.builds.acquire().await.map_err(|_| ManagerError::Invalid("shutting down".to_owned()))?;
        let uuid = rebuild.instance.uuid;
        let _lock = self.locks.lock(uuid).await;
        let Some(id) = rebuild.migration.as_ref().map(|migration| migration.id) else {
            return Err(ManagerError::Invalid("an evacuation without a record".to_owned()));
        };
        let wanted = self.wanted_move(context, uuid, id, &TASKS).await?;
        let is_for_me = |(instance, migration): &(Tracked<Instance>, Tracked<Migration>)| {
            self.is_me(&migration.dest_compute) && !self.is_mine(instance)
        };
        let Some((mut instance, mut migration)) = wanted.filter(is_for_me) else {
            tracing::info!(instance = %uuid, "not, or no longer, to be evacuated here");
            return Ok(());
        };
        let made = self.make_again(context, &mut instance, &mut migration, &rebuild);
        match self.with_event(context, uuid, "compute_rebuild_instance", made).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_deletion() || error.is_conflict() => {
                tracing::info!(instance = %uuid, %error, "overtaken by another action");
                Ok(self.driver.destroy(uuid).await?)
            }
            Err(error @ ManagerError::Rpc(_)) => Err(error),
            Err(error) => {
                tracing::warn!(instance = %uuid, error = %super::details(&error), "an instance could not be evacuated here");
                self.tell_move_error(context, &instance, InstanceAction::Rebuild, &error, "_do_rebuild_instance");
                self.driver.destroy(uuid).await?;
                self.give_held_back(context, &migration).await?;
                self.abandon_move(context, (instance, migration), &EXPECTED, &error).await?;
                Err(error)
            }
        }
    }

    async fn make_again(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        migration: &mut Tracked<Migration>,
        rebuild: &RebuildInstance,
    ) -> Result<(), ManagerError> {
        if !self.driver.capabilities().supports_evacuate {
            return Err(DriverError::NotSupported("evacuation").into());
        }
        self.check_trusted_certs(instance)?;
        let vm_state = state_after(instance.vm_state, rebuild.target_state.as_deref());
        self.claim_migration(context, migration, status::PRE_MIGRATING).await?;
        let telling = self.telling(context, instance.uuid, Some(InstanceAction::Rebuild)).await;
        telling.start_now(instance);
        instance.power_state = self.power_state(instance.uuid).await;
        self.next_task(context, instance, TaskState::Rebuilding).await?;
        self.take_ports(context, instance.uuid).await?;
        self.next_task(context, instance, TaskState::RebuildBlockDeviceMapping).await?;
        let network_info = instance.network_info();
        instance.info_cache = Some(InstanceInfoCache::new(instance.uuid, &network_info));
        self.next_task(context, instance, TaskState::RebuildSpawning).await?;
        let image = self.disk_image(context, &json!({"id": instance.image_ref})).await?;
        let spawn = Spawn {
            instance,
            image,
            image_properties: image_properties(instance),
            network_info: &network_info,
            injected: Injected { admin_password: rebuild.new_pass.clone(), files: Vec::new() },
            has_config_drive: self.wants_config_drive(instance),
        };
        let metadata = self.with_lease(context, instance, self.driver.spawn(spawn)).await?;
        if vm_state == VmState::Stopped {
            self.driver.power_off(instance.uuid, Duration::ZERO).await?;
        }
        self.set_migration_status(context, migration, status::DONE).await?;
        self.take_instance(instance).await?;
        if rebuild.instance.availability_zone.is_some() {
            instance.availability_zone.clone_from(&rebuild.instance.availability_zone);
        }
        instance.metadata.extend(metadata);
        instance.power_state = self.power_state(instance.uuid).await;
        instance.vm_state = vm_state;
        instance.launched_at = Some(utcnow());
        instance.progress = Some(0);
        instance.task_state = None;
        self.save(context, instance, Expected::tasks(&EXPECTED)).await?;
        self.saw(instance.uuid, instance.power_state);
        telling.end(instance);
        tracing::info!(instance = %instance.uuid, "instance was evacuated here");
        Ok(())
    }

    async fn next_task(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        task: TaskState,
    ) -> Result<(), ManagerError> {
        instance.task_state = Some(task);
        self.save(context, instance, Expected::tasks(&EXPECTED)).await
    }
}

/// What the instance is after its evacuation: what it was, or what was asked for. One in error runs.
fn state_after(before: VmState, target_state: Option<&str>) -> VmState {
    let wants_stopped = target_state == Some(VmState::Stopped.as_str()) && before != VmState::Error;
    if before == VmState::Stopped || wants_stopped { VmState::Stopped } else { VmState::Active }
}

/// What the image said when the instance was made.
fn image_properties(instance: &Instance) -> BTreeMap<String, String> {
    let stored = instance.system_metadata.iter();
    stored.filter_map(|(key, value)| Some((key.strip_prefix("image_")?.to_owned(), value.clone()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evacuated_instance_is_what_it_was_unless_it_shall_be_stopped() {
        assert_eq!(state_after(VmState::Active, None), VmState::Active);
        assert_eq!(state_after(VmState::Stopped, None), VmState::Stopped);
        assert_eq!(state_after(VmState::Active, Some("stopped")), VmState::Stopped);
        assert_eq!(state_after(VmState::Error, Some("stopped")), VmState::Active);
    }
}
