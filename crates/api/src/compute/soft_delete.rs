//! Deletes that can be undone for a while, where `[DEFAULT] reclaim_instance_interval` is above zero.

use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use kilonova_db::instances::{self, SaveError, StartAction};
use kilonova_db::services;
use kilonova_objects::state::Action;
use kilonova_objects::{Instance, TaskState, VmState};
use kilonova_rpcapi::compute::{RestoreInstance, SoftDeleteInstance};

use super::{ComputeError, checks, delete, power, quota};
use crate::state::ApiState;

/// Has a server powered off, and deleted when its time is over. What never ran, or whose host is not up, is deleted at
/// once: nobody could power it off. So is one that is resized and not confirmed, which is on two hosts.
pub(crate) async fn soft_delete(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
) -> Result<(), ComputeError> {
    checks::unlocked(context, instance)?;
    let can_wait = instance.launched_at.is_some() && instance.vm_state != VmState::Resized;
    let host = match checks::host(instance) {
        Ok(host) if can_wait && is_up(state, host).await? => host,
        _ => return delete::delete(state, context, instance).await,
    };
    let start = StartAction {
        uuid: instance.uuid,
        action: "delete",
        task_state: TaskState::SoftDeleting,
        expected_vm_states: None,
        expected_task_states: Some(not_deleting()),
        request_id: context.request_id().to_owned(),
        user_id: context.user_id().to_owned(),
        project_id: context.project_id().to_owned(),
        workflow: None,
    };
    let busy = match instances::start_action(&state.db, start).await {
        Ok(busy) => busy,
        Err(SaveError::Db(error)) => return Err(error.into()),
        // It is being deleted, this way or at once.
        Err(_) => return Ok(()),
    };
    if let Err(error) = state.compute.cast(context, host, SoftDeleteInstance { instance: busy }).await {
        power::free(state, instance, TaskState::SoftDeleting).await;
        return Err(error.into());
    }
    Ok(())
}

/// `restore`
pub(crate) async fn restore(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
) -> Result<(), ComputeError> {
    let word = Action::Restore.method();
    checks::unlocked_for(context, &instance, word)?;
    checks::allowed(Action::Restore, &instance, word)?;
    quota::check_one_more(state, &instance).await?;
    let method = |instance| RestoreInstance { instance };
    power::run(state, context, instance, Action::Restore, TaskState::Restoring, method).await
}

/// Whatever is done to a server, a delete overtakes it.
fn not_deleting() -> Vec<Option<TaskState>> {
    let other = |task: &TaskState| !matches!(task, TaskState::Deleting | TaskState::SoftDeleting);
    std::iter::once(None).chain(TaskState::ALL.iter().copied().filter(other).map(Some)).collect()
}

async fn is_up(state: &ApiState, host: &str) -> Result<bool, ComputeError> {
    let service = services::get_by_host_and_binary(&state.db, host, "nova-compute").await?;
    Ok(service.is_some_and(|service| service.is_up(utcnow(), state.config.service_down_time_s)))
}
