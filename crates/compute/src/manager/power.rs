//! `start_instance`, `stop_instance`, `reboot_instance`, and what they have in common with all actions that change a
//! guest on this host and nothing else.
//!
//! ```text
//!   powering-off, rebooting, … ──driver──> done: new vm_state, no task
//!        │                          └────> failed: vm_state as before (or error, by Nova's rule for some), no task,
//!        │                                 a fault
//!        ├── another action, or a delete, came first: theirs counts
//!        └── the conductor cannot be reached: the task stays, and `repair_stale_tasks` does the action again
//! ```

use std::time::Duration;

use kilonova_core::RequestContext;
use kilonova_objects::{Instance, PowerState, TaskState, Tracked, VmState};
use kilonova_rpcapi::notifications::InstanceAction;
use kilonova_rpcapi::objects::Expected;
use kilonova_virt::RebootKind;
use uuid::Uuid;

use super::notify::Telling;
use super::shelve::forget_shelving;
use super::{Manager, ManagerError};

/// What a power action is, beside what it does.
pub(super) struct PowerAction {
    /// The event that it is recorded as.
    pub(super) event: &'static str,
    /// What it is told as; `None`: nobody is told.
    pub(super) told: Option<InstanceAction>,
    /// The task that it is told to begin in.
    pub(super) begins_in: TaskState,
    /// The tasks that it may be found in when it begins.
    pub(super) tasks: &'static [Option<TaskState>],
    /// Whether a driver that fails leaves the instance in error: nobody knows then what the guest is. One that does not
    /// do such a thing has done nothing.
    pub(super) errors_out: bool,
}

impl PowerAction {
    /// What the instance is when the action failed.
    fn failed_into(&self, before: VmState, error: &ManagerError) -> VmState {
        if self.errors_out && error.is_of_driver() { VmState::Error } else { before }
    }
}

const START: PowerAction = PowerAction {
    event: "compute_start_instance",
    told: Some(InstanceAction::PowerOn),
    begins_in: TaskState::PoweringOn,
    tasks: &[Some(TaskState::PoweringOn)],
    errors_out: false,
};
const STOP: PowerAction = PowerAction {
    event: "compute_stop_instance",
    told: Some(InstanceAction::PowerOff),
    begins_in: TaskState::PoweringOff,
    tasks: &[Some(TaskState::PoweringOff)],
    errors_out: false,
};
const SOFT_REBOOT: PowerAction = PowerAction {
    event: "compute_reboot_instance",
    told: Some(InstanceAction::Reboot),
    begins_in: TaskState::RebootPending,
    tasks: &[Some(TaskState::Rebooting), Some(TaskState::RebootPending), Some(TaskState::RebootStarted)],
    errors_out: false,
};
const HARD_REBOOT: PowerAction = PowerAction {
    event: "compute_reboot_instance",
    told: Some(InstanceAction::Reboot),
    begins_in: TaskState::RebootPendingHard,
    tasks: &[Some(TaskState::RebootingHard), Some(TaskState::RebootPendingHard), Some(TaskState::RebootStartedHard)],
    errors_out: false,
};

/// Somebody else has switched the guest on.
const POWER_UPDATE_ON: PowerAction = PowerAction { event: "compute_power_update", ..START };
/// Somebody else has switched the guest off.
const POWER_UPDATE_OFF: PowerAction = PowerAction { event: "compute_power_update", ..STOP };

impl Manager {
    /// Starts a stopped instance.
    pub async fn start_instance(&self, context: &RequestContext, instance: Instance) -> Result<(), ManagerError> {
        let work = async |instance: &mut Tracked<Instance>| {
            self.driver.power_on(instance, &instance.network_info()).await?;
            let shelved_image = forget_shelving(instance);
            self.settle(context, instance, VmState::Active, START.tasks).await?;
            self.delete_shelved_image(context, instance.uuid, shelved_image).await;
            Ok(())
        };
        Box::pin(self.power_action(context, instance, &START, work)).await
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
            self.settle(context, instance, VmState::Stopped, STOP.tasks).await
        };
        Box::pin(self.power_action(context, instance, &STOP, work)).await
    }

    /// Reboots an instance.
    pub async fn reboot_instance(
        &self,
        context: &RequestContext,
        instance: Instance,
        kind: RebootKind,
    ) -> Result<(), ManagerError> {
        let (started, action) = match kind {
            RebootKind::Soft => (TaskState::RebootStarted, &SOFT_REBOOT),
            RebootKind::Hard => (TaskState::RebootStartedHard, &HARD_REBOOT),
        };
        let work = async |instance: &mut Tracked<Instance>| {
            instance.task_state = Some(started);
            self.save(context, instance, Expected::tasks(action.tasks)).await?;
            self.driver.reboot(instance, &instance.network_info(), kind).await?;
            self.settle(context, instance, VmState::Active, &[Some(started)]).await
        };
        Box::pin(self.power_action(context, instance, action, work)).await
    }

    /// Follows what somebody else has done to a guest, if it is not known yet and nothing else is being done.
    pub(super) async fn power_update(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        is_on: bool,
    ) -> Result<(), ManagerError> {
        let (action, before, power_state, after) = if is_on {
            (&POWER_UPDATE_ON, VmState::Stopped, PowerState::Shutdown, VmState::Active)
        } else {
            (&POWER_UPDATE_OFF, VmState::Active, PowerState::Running, VmState::Stopped)
        };
        let mut instance = self.mine(context, instance_uuid).await?;
        let is_news =
            instance.vm_state == before && instance.power_state == power_state && instance.task_state.is_none();
        instance.task_state = Some(action.begins_in);
        let expected = Expected { task_states: Some(&[None]), vm_states: Some(&[before]) };
        let is_begun = match is_news {
            true => self.save(context, &mut instance, expected).await,
            false => Err(ManagerError::Elsewhere),
        };
        match is_begun {
            Err(error) if error.is_deletion() || error.is_conflict() => {
                tracing::info!(instance = %instance_uuid, is_on, "a power-update is no news, or comes in between");
                return self.with_event(context, instance_uuid, action.event, std::future::ready(Ok(()))).await;
            }
            begun => begun?,
        }
        let work = async |instance: &mut Tracked<Instance>| {
            self.driver.power_update_event(instance, is_on).await?;
            self.settle(context, instance, after, action.tasks).await
        };
        Box::pin(self.power_action(context, instance.into_inner(), action, work)).await
    }

    /// One power action: alone on the instance, recorded, and with the task state cleared when it fails.
    pub(super) async fn power_action(
        &self,
        context: &RequestContext,
        instance: Instance,
        action: &PowerAction,
        work: impl AsyncFnOnce(&mut Tracked<Instance>) -> Result<(), ManagerError>,
    ) -> Result<(), ManagerError> {
        let telling = self.telling(context, instance.uuid, action.told);
        self.told_power_action(context, instance, action, telling, work).await
    }

    /// The same, told by `telling`.
    pub(super) async fn told_power_action<'a>(
        &'a self,
        context: &'a RequestContext,
        instance: Instance,
        action: &PowerAction,
        telling: impl Future<Output = Telling<'a>>,
        work: impl AsyncFnOnce(&mut Tracked<Instance>) -> Result<(), ManagerError>,
    ) -> Result<(), ManagerError> {
        let PowerAction { event, tasks, .. } = *action;
        let _lock = self.locks.lock(instance.uuid).await;
        let (is_wanted, telling) = tokio::join!(self.is_wanted(context, &instance, tasks), telling);
        if !is_wanted? {
            tracing::info!(instance = %instance.uuid, event, "the action is done already, or not wanted any more");
            return Ok(());
        }
        let mut instance = Tracked::new(instance);
        let (uuid, vm_state) = (instance.uuid, instance.vm_state);
        telling.start(&instance, action.begins_in);
        let result = self.with_event(context, uuid, event, work(&mut instance)).await;
        match result {
            Err(error) if error.is_deletion() || error.is_conflict() => {
                tracing::info!(instance = %uuid, event, %error, "overtaken by another action");
                Ok(())
            }
            Err(error @ ManagerError::Rpc(_)) => {
                tracing::error!(instance = %uuid, event, error = %super::details(&error), "how the action ended could not be saved; it will be done again");
                Err(error)
            }
            Err(error) => {
                tracing::warn!(instance = %uuid, event, error = %super::details(&error), "the action failed");
                telling.error(&instance, &error);
                instance.vm_state = action.failed_into(vm_state, &error);
                self.abandon_task(context, &mut instance, tasks, &error).await?;
                telling.end_after_error(&instance);
                Err(error)
            }
            Ok(()) => {
                telling.end(&instance);
                Ok(())
            }
        }
    }

    /// A message may come twice, or late: an action that is over must not be done to what the instance is by now.
    pub(super) async fn is_wanted(
        &self,
        context: &RequestContext,
        instance: &Instance,
        tasks: &[Option<TaskState>],
    ) -> Result<bool, ManagerError> {
        let now = self.find(context, instance.uuid).await?;
        Ok(now.is_some_and(|now| self.is_mine(&now) && tasks.contains(&now.task_state)))
    }

    /// The action is done: no task any more, and the power state as the hypervisor says.
    pub(super) async fn settle(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        vm_state: VmState,
        expected: &[Option<TaskState>],
    ) -> Result<(), ManagerError> {
        if vm_state == VmState::Active {
            self.update_metadata(context, instance).await?;
        }
        instance.power_state = self.power_state(instance.uuid).await;
        instance.vm_state = vm_state;
        instance.task_state = None;
        self.save(context, instance, Expected::tasks(expected)).await
    }

    /// What the driver says of a guest (such as a forwarded port) may be different after a new start.
    async fn update_metadata(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
    ) -> Result<(), ManagerError> {
        let metadata = match self.driver.guest_metadata(instance.uuid).await {
            Ok(metadata) => metadata,
            // The guest runs; that nobody knows its address by now does not undo the action.
            Err(error) => {
                tracing::warn!(instance = %instance.uuid, %error, "the metadata of a guest are not known");
                return Ok(());
            }
        };
        if metadata.iter().any(|(key, value)| instance.metadata.get(key) != Some(value)) {
            // All are saved together, and the user may have changed some since the message was sent.
            let now = self.find(context, instance.uuid).await?;
            instance.metadata = now.map(|now| now.metadata).unwrap_or_default();
            instance.metadata.extend(metadata);
        }
        Ok(())
    }

    /// The action failed: the instance is as it was, with the power state that it now has, and a fault. Who came
    /// first meanwhile is not bothered with either.
    pub(super) async fn abandon_task(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        tasks: &[Option<TaskState>],
        why: &ManagerError,
    ) -> Result<(), ManagerError> {
        instance.power_state = self.power_state(instance.uuid).await;
        instance.task_state = None;
        match self.save(context, instance, Expected::tasks(tasks)).await {
            Err(error) if error.is_deletion() || error.is_conflict() => {
                tracing::info!(instance = %instance.uuid, %error, "overtaken by another action");
            }
            saved => {
                self.record_fault(context, instance, why).await;
                saved?;
            }
        }
        Ok(())
    }
}
