//! Suspending a server, and letting it go on.

use kilonova_core::RequestContext;
use kilonova_objects::state::Action;
use kilonova_objects::{Instance, TaskState};
use kilonova_rpcapi::compute::{ResumeInstance, SuspendInstance};

use super::{ComputeError, power};
use crate::state::ApiState;

/// `suspend`
pub(crate) async fn suspend(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
) -> Result<(), ComputeError> {
    let method = |instance| SuspendInstance { instance };
    power::run(state, context, instance, Action::Suspend, TaskState::Suspending, method).await
}

/// `resume`
pub(crate) async fn resume(state: &ApiState, context: &RequestContext, instance: Instance) -> Result<(), ComputeError> {
    let method = |instance| ResumeInstance { instance };
    power::run(state, context, instance, Action::Resume, TaskState::Resuming, method).await
}
