//! Starting, stopping and rebooting a server.

use kilonova_core::RequestContext;
use kilonova_db::instances::{self, Save, StartAction};
use kilonova_objects::state::Action;
use kilonova_objects::{Instance, TaskState, VmState};
use kilonova_rpcapi::RpcMethod;
use kilonova_rpcapi::compute::{RebootInstance, StartInstance, StopInstance};
use serde_json::{Map, Value};

use super::{ComputeError, checks};
use crate::state::ApiState;

/// `os-stop`
pub(crate) async fn stop(state: &ApiState, context: &RequestContext, instance: Instance) -> Result<(), ComputeError> {
    let method = |instance| StopInstance { instance, clean_shutdown: true };
    run(state, context, instance, Action::Stop, TaskState::PoweringOff, method).await
}

/// `os-start`
pub(crate) async fn start(state: &ApiState, context: &RequestContext, instance: Instance) -> Result<(), ComputeError> {
    let method = |instance| StartInstance { instance };
    run(state, context, instance, Action::Start, TaskState::PoweringOn, method).await
}

/// `reboot`
pub(crate) async fn reboot(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    is_hard: bool,
) -> Result<(), ComputeError> {
    let (action, task_state, reboot_type) = if is_hard {
        (Action::HardReboot, TaskState::RebootingHard, "HARD")
    } else {
        (Action::SoftReboot, TaskState::Rebooting, "SOFT")
    };
    let method = |instance| RebootInstance { instance, block_device_info: None, reboot_type: reboot_type.to_owned() };
    run(state, context, instance, action, task_state, method).await
}

/// Checks, marks the server as busy and tells its host. The mark is compared and swapped: of two at the same time one
/// is refused.
pub(super) async fn run<M: RpcMethod>(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    action: Action,
    task_state: TaskState,
    method: impl FnOnce(Instance) -> M,
) -> Result<(), ComputeError> {
    let (host, busy) = begin(state, context, &instance, action, task_state).await?;
    let cast = state.compute.cast(context, &host, method(busy)).await;
    if let Err(error) = cast {
        free(state, &instance, task_state).await;
        return Err(error.into());
    }
    Ok(())
}

/// The first part of [`run`]: the host, and the server as it is now that it is busy.
pub(super) async fn begin(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    action: Action,
    task_state: TaskState,
) -> Result<(String, Instance), ComputeError> {
    let word = action.method();
    checks::unlocked(context, instance)?;
    // Of starts and stops Nova looks for a host before it looks at the state.
    if !matches!(action, Action::Start | Action::Stop) {
        checks::allowed(action, instance, word)?;
    }
    let host = checks::host(instance)?.to_owned();
    checks::allowed(action, instance, word)?;
    let start = StartAction {
        uuid: instance.uuid,
        action: word,
        task_state,
        expected_vm_states: Some(vec![instance.vm_state]),
        expected_task_states: Some(vec![instance.task_state]),
        request_id: context.request_id().to_owned(),
        user_id: context.user_id().to_owned(),
        project_id: context.project_id().to_owned(),
        workflow: None,
    };
    let busy =
        instances::start_action(&state.db, start).await.map_err(|error| checks::lost_race(error, instance, word))?;
    Ok((host, busy))
}

/// Nobody was told: the server is not busy after all.
pub(super) async fn free(state: &ApiState, instance: &Instance, task_state: TaskState) {
    let before = instance.task_state.map_or(Value::Null, |state| state.as_str().into());
    let changes = Map::from_iter([("task_state".to_owned(), before)]);
    let save = Save {
        uuid: instance.uuid,
        changes: &changes,
        expected_vm_state: None::<Vec<VmState>>,
        expected_task_state: Some(vec![Some(task_state)]),
    };
    if let Err(error) = instances::save(&state.db, save).await {
        tracing::error!(instance = %instance.uuid, %error, "a server stays marked as busy");
    }
}
