//! `pause_instance`, `unpause_instance`.

use kilonova_core::RequestContext;
use kilonova_objects::{Instance, TaskState, Tracked, VmState};
use kilonova_rpcapi::notifications::InstanceAction;

use super::power::PowerAction;
use super::{Manager, ManagerError};

const PAUSE: PowerAction = PowerAction {
    event: "compute_pause_instance",
    told: Some(InstanceAction::Pause),
    begins_in: TaskState::Pausing,
    tasks: &[Some(TaskState::Pausing)],
    errors_out: false,
};
const UNPAUSE: PowerAction = PowerAction {
    event: "compute_unpause_instance",
    told: Some(InstanceAction::Unpause),
    begins_in: TaskState::Unpausing,
    tasks: &[Some(TaskState::Unpausing)],
    errors_out: false,
};

impl Manager {
    /// Pauses a running instance.
    pub async fn pause_instance(&self, context: &RequestContext, instance: Instance) -> Result<(), ManagerError> {
        let work = async |instance: &mut Tracked<Instance>| {
            self.driver.pause(instance.uuid).await?;
            self.settle(context, instance, VmState::Paused, PAUSE.tasks).await
        };
        Box::pin(self.power_action(context, instance, &PAUSE, work)).await
    }

    /// Lets a paused instance go on.
    pub async fn unpause_instance(&self, context: &RequestContext, instance: Instance) -> Result<(), ManagerError> {
        let work = async |instance: &mut Tracked<Instance>| {
            self.driver.unpause(instance.uuid).await?;
            self.settle(context, instance, VmState::Active, UNPAUSE.tasks).await
        };
        Box::pin(self.power_action(context, instance, &UNPAUSE, work)).await
    }
}
