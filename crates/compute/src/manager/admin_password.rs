//! `set_admin_password`.

use kilonova_core::RequestContext;
use kilonova_objects::{Instance, PowerState, TaskState, Tracked};
use kilonova_rpcapi::objects::Expected;
use kilonova_virt::DriverError;

use super::power::PowerAction;
use super::{Manager, ManagerError};

const SET_ADMIN_PASSWORD: PowerAction = PowerAction {
    event: "compute_set_admin_password",
    told: None,
    begins_in: TaskState::UpdatingPassword,
    tasks: &[Some(TaskState::UpdatingPassword)],
    errors_out: false,
};

impl Manager {
    /// Sets the administrator's password of a running instance. Errors say nothing that could hold the password.
    pub async fn set_admin_password(
        &self,
        context: &RequestContext,
        instance: Instance,
        new_pass: &str,
    ) -> Result<(), ManagerError> {
        let work = async |instance: &mut Tracked<Instance>| {
            let uuid = instance.uuid;
            let failed = |reason: String| ManagerError::PasswordSetFailed { uuid, reason };
            if self.guest_power_state(uuid).await? != PowerState::Running {
                return Err(failed(format!("instance {uuid} is not running")));
            }
            self.driver.set_admin_password(instance, new_pass).await.map_err(|error| match error {
                error @ DriverError::NotSupported(_) => error.into(),
                error => {
                    tracing::error!(instance = %uuid, %error, "a password could not be set");
                    failed("error setting admin password".to_owned())
                }
            })?;
            instance.task_state = None;
            self.save(context, instance, Expected::tasks(SET_ADMIN_PASSWORD.tasks)).await
        };
        Box::pin(self.power_action(context, instance, &SET_ADMIN_PASSWORD, work)).await
    }
}
