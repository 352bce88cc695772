//! `suspend_instance`, `resume_instance`.

use kilonova_core::RequestContext;
use kilonova_objects::{Instance, TaskState, Tracked, VmState};
use kilonova_rpcapi::notifications::InstanceAction;

use super::power::PowerAction;
use super::{Manager, ManagerError};

const SUSPEND: PowerAction = PowerAction {
    event: "compute_suspend_instance",
    told: Some(InstanceAction::Suspend),
    begins_in: TaskState::Suspending,
    tasks: &[Some(TaskState::Suspending)],
    errors_out: true,
};
const RESUME: PowerAction = PowerAction {
    event: "compute_resume_instance",
    told: Some(InstanceAction::Resume),
    begins_in: TaskState::Resuming,
    tasks: &[Some(TaskState::Resuming)],
    errors_out: true,
};

impl Manager {
    /// Suspends a running instance.
    pub async fn suspend_instance(&self, context: &RequestContext, instance: Instance) -> Result<(), ManagerError> {
        let work = async |instance: &mut Tracked<Instance>| {
            self.driver.suspend(instance.uuid).await?;
            self.settle(context, instance, VmState::Suspended, SUSPEND.tasks).await
        };
        Box::pin(self.power_action(context, instance, &SUSPEND, work)).await
    }

    /// Lets a suspended instance go on. It was active: nothing else can be suspended.
    pub async fn resume_instance(&self, context: &RequestContext, instance: Instance) -> Result<(), ManagerError> {
        let work = async |instance: &mut Tracked<Instance>| {
            self.driver.resume(instance, &instance.network_info()).await?;
            self.settle(context, instance, VmState::Active, RESUME.tasks).await
        };
        Box::pin(self.power_action(context, instance, &RESUME, work)).await
    }
}
