//! `/os-server-groups`

use std::collections::BTreeMap;

use axum::http::StatusCode;
use kilonova_db::server_groups;
use kilonova_objects::InstanceGroup;
use serde_json::{Value, json};

use super::paging::Page;
use super::values::integer;
use crate::call::{Answer, Call, empty, ok};
use crate::compute;
use crate::error::ApiError;
use crate::policy::Target;
use crate::versions::V2_64;
use crate::views::server_groups::ServerGroup;

/// `GET /os-server-groups`: of the caller's project, or of all if an admin asks for them.
pub(crate) async fn index(call: Call) -> Answer {
    call.authorize_own()?;
    let all_projects = call.query.has("all_projects") && call.context.is_admin;
    if all_projects {
        call.require("os_compute_api:os-server-groups:index:all_projects", call.own())?;
    }
    let project_id = (!all_projects).then(|| call.context.project_id());
    let page = Page::of(&call);
    // No limit is the longest list here.
    let limit = if page.limit == 0 { call.state.config.max_limit } else { page.limit };
    // Digits that do not fit a u64 are more than any list is long.
    let offset = call.query.get("offset").map_or(0, |offset| offset.parse().unwrap_or(u64::MAX));
    let found = server_groups::list(&call.state.db, project_id, offset, limit).await?;
    let shown: Vec<_> = found.iter().map(|group| ServerGroup::new(group, call.version)).collect();
    ok(&json!({"server_groups": shown}))
}

/// `POST /os-server-groups`
pub(crate) async fn create(call: Call) -> Answer {
    call.authorize_own()?;
    let body = &call.body["server_group"];
    let name = body["name"].as_str().unwrap_or_default();
    let policy = if call.since(V2_64) { &body["policy"] } else { &body["policies"][0] };
    let policy = policy.as_str().unwrap_or_default();
    let rules = rules(&body["rules"]);
    if policy != "anti-affinity" && !rules.is_empty() {
        return Err(ApiError::BadRequest("Only anti-affinity policy supports rules.".to_owned()));
    }
    let created = compute::server_groups::create(&call.state, &call.context, name, policy, rules).await?;
    answer(&call, &created)
}

/// `GET /os-server-groups/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    let group = authorized(&call).await?;
    answer(&call, &group)
}

/// `DELETE /os-server-groups/{id}`
pub(crate) async fn delete(call: Call) -> Answer {
    let group = authorized(&call).await?;
    server_groups::delete(&call.state.db, group.uuid).await.map_err(compute::ComputeError::from)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn authorized(call: &Call) -> Result<InstanceGroup, ApiError> {
    let group = compute::server_groups::get(&call.state, &call.context, call.param("id")).await?;
    call.authorize(Target { project_id: group.project_id.as_deref().unwrap_or_default(), ..Target::default() })?;
    Ok(group)
}

fn answer(call: &Call, group: &InstanceGroup) -> Answer {
    ok(&json!({"server_group": ServerGroup::new(group, call.version)}))
}

/// Numbers become the texts that they are on the wire.
fn rules(rules: &Value) -> BTreeMap<String, String> {
    let rules = rules.as_object().into_iter().flatten();
    rules.filter_map(|(name, value)| Some((name.clone(), integer(value)?.to_string()))).collect()
}
