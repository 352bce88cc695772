//! Pausing a server, and letting it go on.

use kilonova_core::RequestContext;
use kilonova_objects::state::Action;
use kilonova_objects::{Instance, TaskState};
use kilonova_rpcapi::compute::{PauseInstance, UnpauseInstance};

use super::{ComputeError, power};
use crate::state::ApiState;

/// `pause`
pub(crate) async fn pause(state: &ApiState, context: &RequestContext, instance: Instance) -> Result<(), ComputeError> {
    let method = |instance| PauseInstance { instance };
    power::run(state, context, instance, Action::Pause, TaskState::Pausing, method).await
}

/// `unpause`
pub(crate) async fn unpause(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
) -> Result<(), ComputeError> {
    let method = |instance| UnpauseInstance { instance };
    power::run(state, context, instance, Action::Unpause, TaskState::Unpausing, method).await
}
