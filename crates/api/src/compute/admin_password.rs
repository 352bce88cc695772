//! Setting the administrator's password of a running server.

use kilonova_core::RequestContext;
use kilonova_objects::state::Action;
use kilonova_objects::{Instance, TaskState};
use kilonova_rpcapi::RpcError;
use kilonova_rpcapi::compute::SetAdminPassword;

use super::{ComputeError, checks, power};
use crate::state::ApiState;

/// Nova's exceptions for a server of which it cannot be set.
const NOT_SET: [&str; 4] =
    ["InstancePasswordSetFailed", "SetAdminPasswdNotSupported", "InstanceAgentNotEnabled", "QemuGuestAgentNotEnabled"];

/// `changePassword`: waits until it is set.
pub(crate) async fn set(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    password: String,
) -> Result<(), ComputeError> {
    checks::unlocked_for(context, &instance, Action::ChangePassword.method())?;
    let task_state = TaskState::UpdatingPassword;
    let (host, busy) = power::begin(state, context, &instance, Action::ChangePassword, task_state).await?;
    let method = SetAdminPassword { instance: busy, new_pass: Some(password) };
    match state.compute.call(context, &host, method).await {
        Ok(()) => Ok(()),
        Err(error) if error.is("NotImplementedError") => Err(ComputeError::PasswordUnsupported),
        Err(error) if NOT_SET.iter().any(|class| error.is(class)) => {
            Err(ComputeError::PasswordNotSet(error.to_string()))
        }
        // The host may be at it: its passes end what nobody works on.
        Err(error) if error.is_timeout() => Err(error.into()),
        Err(error @ RpcError::Messaging(_)) => {
            power::free(state, &instance, task_state).await;
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}
