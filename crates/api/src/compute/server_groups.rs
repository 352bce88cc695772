//! Server groups: which servers want to be together, or apart.

use std::collections::BTreeMap;

use futures::try_join;
use kilonova_core::RequestContext;
use kilonova_db::server_groups::{self, CreateError, Limits};
use kilonova_objects::InstanceGroup;
use uuid::Uuid;

use super::{ComputeError, quota};
use crate::state::ApiState;

const QUOTA: &str = "server_groups";

/// One group. One of another project is not found, unless the caller is an admin.
pub(crate) async fn get(state: &ApiState, context: &RequestContext, id: &str) -> Result<InstanceGroup, ComputeError> {
    let not_found = || ComputeError::InstanceGroupNotFound { id: id.to_owned() };
    let uuid: Uuid = id.parse().map_err(|_| not_found())?;
    Ok(server_groups::get(&state.db, uuid, visible_to(context)).await?)
}

/// The group that a server is in, if the caller may see it.
pub(crate) async fn of_server(
    state: &ApiState,
    context: &RequestContext,
    server: Uuid,
) -> Result<Option<Uuid>, ComputeError> {
    Ok(server_groups::of_instance(&state.db, server, visible_to(context)).await?)
}

/// Makes a group of the caller's, within the limits of the project and of the user.
pub(crate) async fn create(
    state: &ApiState,
    context: &RequestContext,
    name: &str,
    policy: &str,
    rules: BTreeMap<String, String>,
) -> Result<InstanceGroup, ComputeError> {
    let of_project = quota::limits(state, context.project_id(), None);
    let (of_project, of_user) = try_join!(of_project, quota::of_caller(state, context))?;
    let limits = Limits { project: of_project.get(QUOTA), user: of_user.get(QUOTA) };
    let group = InstanceGroup {
        uuid: Uuid::new_v4(),
        name: Some(name.to_owned()),
        project_id: context.project_id.clone(),
        user_id: context.user_id.clone(),
        policy: Some(policy.to_owned()),
        _rules: rules,
        ..InstanceGroup::default()
    };
    server_groups::create(&state.db, &group, limits).await.map_err(|error| match error {
        CreateError::OverQuota => ComputeError::ServerGroupLimitExceeded,
        CreateError::Db(error) => error.into(),
    })
}

fn visible_to(context: &RequestContext) -> Option<&str> {
    (!context.is_admin).then(|| context.project_id())
}
