//! `start_instance`, `stop_instance`, `reboot_instance`.

use std::time::Duration;

use kilonova_core::RequestContext;
use kilonova_objects::{Instance, TaskState, Tracked, VmState};
use kilonova_rpcapi::objects::Expected;
use kilonova_virt::RebootKind;

use super::{Manager, ManagerError};

/// The tasks that a reboot may be found in when it begins.
const SOFT_REBOOT_TASKS: [Option<TaskState>; 3] =
    [Some(TaskState::Rebooting), Some(TaskState::RebootPending), Some(TaskState::RebootStarted)];
const HARD_REBOOT_TASKS: [Option<TaskState>; 3] =
    [Some(TaskState::RebootingHard), Some(TaskState::RebootPendingHard), Some(TaskState::RebootStartedHard)];

impl Manager {
    /// Starts a stopped instance.
    pub async fn start_instance(&self, context: &RequestContext, instance: Instance) -> Result<(), ManagerError> {
        let work = async |instance: &mut Tracked<Instance>| {
            self.driver.power_on(instance, &instance.network_info()).await?;
            self.settle(context, instance, VmState::Active, &[Some(TaskState::PoweringOn)]).await
        };
        self.power_action(context, instance, "compute_start_instance", work).await
    }

    /// Stops a running instance: asks the guest first if `clean_shutdown`.
    pub async fn stop_instance(
        &self,
        context: &RequestContext,
        instance: Instance,
        clean_shutdown: bool,
    ) -> Result<(), ManagerError> {
        let grace = if clean_shutdown { self.config.shutdown_timeout } else { Duration::ZERO };
        let work = async |instance: &mut Tracked<Instance>| {
            self.driver.power_off(instance.uuid, grace).await?;
            self.settle(context, instance, VmState::Stopped, &[Some(TaskState::PoweringOff)]).await
        };
        self.power_action(context, instance, "compute_stop_instance", work).await
    }

    /// Reboots an instance.
    pub async fn reboot_instance(
        &self,
        context: &RequestContext,
        instance: Instance,
        kind: RebootKind,
    ) -> Result<(), ManagerError> {
        let (started, expected) = match kind {
            RebootKind::Soft => (TaskState::RebootStarted, &SOFT_REBOOT_TASKS),
            RebootKind::Hard => (TaskState::RebootStartedHard, &HARD_REBOOT_TASKS),
        };
        let work = async |instance: &mut Tracked<Instance>| {
            instance.task_state = Some(started);
            self.conductor.instance_save(context, instance, Expected::tasks(expected)).await?;
            self.driver.reboot(instance, &instance.network_info(), kind).await?;
            self.settle(context, instance, VmState::Active, &[Some(started)]).await
        };
        self.power_action(context, instance, "compute_reboot_instance", work).await
    }

    /// One power action: alone on the instance, recorded, and with the task state cleared when it fails.
    async fn power_action(
        &self,
        context: &RequestContext,
        instance: Instance,
        event: &str,
        work: impl AsyncFnOnce(&mut Tracked<Instance>) -> Result<(), ManagerError>,
    ) -> Result<(), ManagerError> {
        let _lock = self.locks.lock(instance.uuid).await;
        let mut instance = Tracked::new(instance);
        let uuid = instance.uuid;
        let result = self.with_event(context, uuid, event, work(&mut instance)).await;
        match result {
            Err(error) if error.is_deletion() || error.is_conflict() => {
                tracing::info!(instance = %uuid, event, %error, "overtaken by another action");
                Ok(())
            }
            Err(error) => {
                tracing::warn!(instance = %uuid, event, error = %super::details(&error), "the action failed");
                self.record_fault(context, &instance, &error).await;
                self.abandon_task(context, &mut instance).await;
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// The action is done: no task any more, and the power state as the hypervisor says.
    async fn settle(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        vm_state: VmState,
        expected: &[Option<TaskState>],
    ) -> Result<(), ManagerError> {
        instance.power_state = self.power_state(instance).await;
        instance.vm_state = vm_state;
        instance.task_state = None;
        if vm_state == VmState::Active {
            // What the driver says of a guest (such as a forwarded port) may be different after a new start.
            let metadata = self.driver.guest_metadata(instance.uuid).await?;
            instance.metadata.extend(metadata);
        }
        Ok(self.conductor.instance_save(context, instance, Expected::tasks(expected)).await?)
    }

    /// The action failed: the instance is as it was, with the power state that it now has.
    async fn abandon_task(&self, context: &RequestContext, instance: &mut Tracked<Instance>) {
        let task_state = instance.task_state;
        instance.power_state = self.power_state(instance).await;
        instance.task_state = None;
        let expected = [task_state];
        if let Err(error) = self.conductor.instance_save(context, instance, Expected::tasks(&expected)).await {
            tracing::warn!(instance = %instance.uuid, %error, "the task state could not be cleared");
        }
    }
}
