//! One server, for a caller who may see it.

use kilonova_core::RequestContext;
use kilonova_db::instances::{self, Deleted};
use kilonova_objects::Instance;
use uuid::Uuid;

use super::ComputeError;
use crate::state::ApiState;

/// The server `id`. One of another project is not found, unless the caller is an admin.
pub(crate) async fn get(state: &ApiState, context: &RequestContext, id: &str) -> Result<Instance, ComputeError> {
    get_even(state, context, id, Deleted::No).await
}

/// As [`get`], deleted ones too if asked for.
pub(crate) async fn get_even(
    state: &ApiState,
    context: &RequestContext,
    id: &str,
    deleted: Deleted,
) -> Result<Instance, ComputeError> {
    let not_found = || ComputeError::InstanceNotFound { id: id.to_owned() };
    let uuid: Uuid = id.parse().map_err(|_| not_found())?;
    let instance = instances::get(&state.db, uuid, deleted).await?;
    let visible = context.is_admin || instance.project_id() == context.project_id();
    if visible { Ok(instance) } else { Err(not_found()) }
}
