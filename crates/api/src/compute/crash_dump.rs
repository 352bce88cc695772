//! Having a server dump its memory.

use kilonova_core::RequestContext;
use kilonova_db::actions;
use kilonova_objects::Instance;
use kilonova_objects::state::Action;
use kilonova_rpcapi::compute::TriggerCrashDump;

use super::{ComputeError, checks};
use crate::state::ApiState;

/// `trigger_crash_dump`: the server is not busy meanwhile.
pub(crate) async fn trigger(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
) -> Result<(), ComputeError> {
    let word = Action::TriggerCrashDump.method();
    checks::unlocked(context, &instance)?;
    let host = checks::host(&instance)?.to_owned();
    checks::allowed(Action::TriggerCrashDump, &instance, word)?;
    let (request_id, user_id, project_id) = (context.request_id(), context.user_id(), context.project_id());
    actions::start(&state.db, instance.uuid, word, request_id, user_id, project_id).await?;
    Ok(state.compute.cast(context, &host, TriggerCrashDump { instance }).await?)
}
