//! `soft_delete_instance`, `restore_instance`, and the end of what was not restored in time.
//!
//! ```text
//!   soft-deleting ──power off──> SOFT_DELETED ──[DEFAULT] reclaim_instance_interval──> deleting ──> gone
//!                                     └── restoring ──power on──> ACTIVE
//! ```

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use kilonova_objects::{Instance, TaskState, Tracked, VmState};
use kilonova_rpcapi::notifications::InstanceAction;
use kilonova_rpcapi::objects::Expected;
use kilonova_virt::DriverError;

use super::power::PowerAction;
use super::{Manager, ManagerError};

const SOFT_DELETE: PowerAction = PowerAction {
    event: "compute_soft_delete_instance",
    told: Some(InstanceAction::SoftDelete),
    begins_in: TaskState::SoftDeleting,
    tasks: &[Some(TaskState::SoftDeleting)],
    errors_out: false,
};
const RESTORE: PowerAction = PowerAction {
    event: "compute_restore_instance",
    told: Some(InstanceAction::Restore),
    begins_in: TaskState::Restoring,
    tasks: &[Some(TaskState::Restoring)],
    errors_out: false,
};

impl Manager {
    /// Powers an instance off, which stays as it is until it is restored or its time is over.
    pub async fn soft_delete_instance(&self, context: &RequestContext, instance: Instance) -> Result<(), ManagerError> {
        let work = async |instance: &mut Tracked<Instance>| {
            match self.driver.power_off(instance.uuid, Duration::ZERO).await {
                // Also what has no guest any more can be deleted.
                Ok(()) | Err(DriverError::InstanceNotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
            self.settle(context, instance, VmState::SoftDeleted, SOFT_DELETE.tasks).await
        };
        Box::pin(self.power_action(context, instance, &SOFT_DELETE, work)).await
    }

    /// Brings a soft-deleted instance back.
    pub async fn restore_instance(&self, context: &RequestContext, instance: Instance) -> Result<(), ManagerError> {
        let work = async |instance: &mut Tracked<Instance>| {
            self.driver.power_on(instance, &instance.network_info()).await?;
            self.settle(context, instance, VmState::Active, RESTORE.tasks).await
        };
        Box::pin(self.power_action(context, instance, &RESTORE, work)).await
    }

    /// Nova's `_reclaim_queued_deletes`: one pass over the instances of this host. Deletes what was soft-deleted and not
    /// restored in time. What fails is tried again by the next pass.
    pub async fn reclaim_queued_deletes(&self, context: &RequestContext) -> Result<(), ManagerError> {
        let Some(interval) = self.config.reclaim_instance_interval else { return Ok(()) };
        let mut marker = None;
        loop {
            let page = self.page_of_instances(context, &mut marker).await?;
            if page.is_empty() {
                return Ok(());
            }
            for instance in page.into_iter().filter(|instance| is_due(instance, interval, utcnow())) {
                let uuid = instance.uuid;
                tracing::info!(instance = %uuid, "reclaiming a soft-deleted instance");
                if let Err(error) = Box::pin(self.reclaim(context, instance)).await {
                    tracing::warn!(instance = %uuid, error = %super::details(&error), "an instance was not reclaimed");
                }
            }
        }
    }

    /// Deletes a soft-deleted instance, unless it is being restored. One that is marked as being deleted, and was not
    /// deleted because the agent ended, is deleted now.
    pub(super) async fn reclaim(&self, context: &RequestContext, instance: Instance) -> Result<(), ManagerError> {
        let mut instance = Tracked::new(instance);
        if instance.task_state.is_none() {
            instance.task_state = Some(TaskState::Deleting);
            let none = [None];
            let expected = Expected { task_states: Some(&none), vm_states: Some(&[VmState::SoftDeleted]) };
            match self.save(context, &mut instance, expected).await {
                Err(error) if error.is_deletion() || error.is_conflict() => return Ok(()),
                saved => saved?,
            }
        }
        let disks = self.conductor.block_devices(context, instance.uuid).await?;
        Box::pin(self.terminate_instance(context, instance.into_inner(), &disks)).await
    }
}

/// Whether the time of a soft-deleted instance is over.
fn is_due(instance: &Instance, interval: Duration, now: DateTime<Utc>) -> bool {
    let interval = TimeDelta::from_std(interval).unwrap_or(TimeDelta::MAX);
    instance.vm_state == VmState::SoftDeleted
        && instance.task_state.is_none()
        && instance.deleted_at.is_none_or(|deleted_at| now - deleted_at > interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_soft_deleted_long_enough_ago_is_reclaimed() {
        let now = utcnow();
        let deleted = |seconds| Instance {
            vm_state: VmState::SoftDeleted,
            deleted_at: Some(now - TimeDelta::seconds(seconds)),
            ..Instance::default()
        };
        let interval = Duration::from_secs(60);
        assert!(is_due(&deleted(61), interval, now));
        assert!(!is_due(&deleted(60), interval, now));
        let restoring = Instance { task_state: Some(TaskState::Restoring), ..deleted(61) };
        assert!(!is_due(&restoring, interval, now));
        let restored = Instance { vm_state: VmState::Active, ..deleted(61) };
        assert!(!is_due(&restored, interval, now));
    }
}
