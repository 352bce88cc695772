//! Whether something may be done to a server now.

use kilonova_core::RequestContext;
use kilonova_db::instances::SaveError;
use kilonova_objects::Instance;
use kilonova_objects::state::{Action, Refusal};

use super::ComputeError;

/// A locked server is for admins only.
pub(crate) fn unlocked(context: &RequestContext, instance: &Instance) -> Result<(), ComputeError> {
    if instance.locked && !context.is_admin {
        return Err(ComputeError::InstanceIsLocked { uuid: instance.uuid });
    }
    Ok(())
}

/// The same for actions of which Nova calls a locked server one in an invalid state.
pub(crate) fn unlocked_for(
    context: &RequestContext,
    instance: &Instance,
    action: &'static str,
) -> Result<(), ComputeError> {
    unlocked(context, instance).map_err(|_| ComputeError::InstanceNeverLaunched { uuid: instance.uuid, action })
}

/// What needs a host agent needs a host.
pub(crate) fn host(instance: &Instance) -> Result<&str, ComputeError> {
    let host = instance.host.as_deref().filter(|host| !host.is_empty());
    host.ok_or(ComputeError::InstanceNotReady { uuid: instance.uuid })
}

/// Asks the state table. `word` is what the refusal calls the action.
pub(crate) fn allowed(action: Action, instance: &Instance, word: &'static str) -> Result<(), ComputeError> {
    let was_launched = instance.launched_at.is_some();
    let checked = action.check(instance.vm_state, instance.task_state, was_launched);
    checked.map_err(|refusal| refused(refusal, instance, word))
}

fn refused(refusal: Refusal, instance: &Instance, action: &'static str) -> ComputeError {
    let uuid = instance.uuid;
    let (attr, state) = match refusal {
        Refusal::VmState(state) => ("vm_state", state.as_str()),
        Refusal::TaskState(Some(state)) => ("task_state", state.as_str()),
        Refusal::TaskState(None) | Refusal::NeverLaunched => {
            return ComputeError::InstanceNeverLaunched { uuid, action };
        }
    };
    ComputeError::InstanceInvalidState { uuid, action, attr, state: state.to_owned() }
}

/// Somebody else was faster: the state changed between the check and the write.
pub(crate) fn lost_race(error: SaveError, instance: &Instance, action: &'static str) -> ComputeError {
    let uuid = instance.uuid;
    match error {
        SaveError::Db(error) => error.into(),
        SaveError::UnexpectedVmState { actual, .. } => {
            ComputeError::InstanceInvalidState { uuid, action, attr: "vm_state", state: actual.to_string() }
        }
        SaveError::UnexpectedTaskState { actual, .. } | SaveError::UnexpectedDeletingTaskState { actual, .. } => {
            match actual {
                Some(actual) => {
                    ComputeError::InstanceInvalidState { uuid, action, attr: "task_state", state: actual.to_string() }
                }
                None => ComputeError::InstanceNeverLaunched { uuid, action },
            }
        }
    }
}
