//! `/os-quota-sets/{id}`

use std::collections::BTreeMap;

use axum::http::StatusCode;
use futures::try_join;
use kilonova_db::quotas;
use serde_json::{Map, Value, json};

use super::values::{boolean, integer};
use crate::call::{Answer, Call, empty, ok};
use crate::compute::projects;
use crate::compute::quota_sets::{self, Amounts, FILES, NETWORK};
use crate::error::ApiError;
use crate::policy::Target;
use crate::versions::{V2_36, V2_57};

/// `GET /os-quota-sets/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    let project_id = existing_project(&call).await?;
    let limits = quota_sets::limits(&call.state, project_id, user_id(&call)).await?;
    render(&call, Some(project_id), &limits)
}

/// `GET /os-quota-sets/{id}/detail`
pub(crate) async fn detail(call: Call) -> Answer {
    let project_id = existing_project(&call).await?;
    let user_id = user_id(&call);
    let (limits, used) = try_join!(
        quota_sets::limits(&call.state, project_id, user_id),
        quota_sets::used(&call.state, project_id, user_id)
    )?;
    let whole = |(resource, limit): (&&str, &i64)| {
        let in_use = used.get(resource).copied().unwrap_or(0);
        // Nothing is ever reserved: servers count from the moment that they are accepted.
        ((*resource).to_owned(), json!({"in_use": in_use, "reserved": 0, "limit": limit}))
    };
    let set = limits.iter().filter(|(resource, _)| is_shown(&call, resource)).map(whole);
    answer(Some(project_id), set.collect())
}

/// `GET /os-quota-sets/{id}/defaults`
pub(crate) async fn defaults(call: Call) -> Answer {
    let project_id = existing_project(&call).await?;
    render(&call, Some(project_id), &quota_sets::defaults(&call.state).await?)
}

/// `PUT /os-quota-sets/{id}`
pub(crate) async fn update(call: Call) -> Answer {
    let project_id = existing_project(&call).await?;
    let user_id = user_id(&call);
    let body = call.body["quota_set"].as_object().cloned().unwrap_or_default();
    let force = body.get("force").and_then(boolean).unwrap_or(false);
    let wanted = limits(&body);
    quota_sets::update(&call.state, project_id, user_id, &wanted, force).await?;
    render(&call, None, &quota_sets::limits(&call.state, project_id, user_id).await?)
}

/// `DELETE /os-quota-sets/{id}`: back to the defaults.
pub(crate) async fn delete(call: Call) -> Answer {
    let project_id = call.param("id");
    call.authorize(Target { project_id, ..Target::default() })?;
    match user_id(&call) {
        Some(user_id) => quotas::delete_project_user(&call.state.db, project_id, user_id).await?,
        None => quotas::delete_project(&call.state.db, project_id).await?,
    }
    Ok(empty(StatusCode::ACCEPTED))
}

/// The project of the path, which the caller may ask about and which exists.
async fn existing_project(call: &Call) -> Result<&str, ApiError> {
    let project_id = call.param("id");
    call.authorize(Target { project_id, ..Target::default() })?;
    projects::check(&call.state, project_id).await?;
    Ok(project_id)
}

fn user_id(call: &Call) -> Option<&str> {
    call.query.all("user_id").find(|user_id| !user_id.is_empty())
}

/// The limits of a body that the schema let through.
pub(super) fn limits(body: &Map<String, Value>) -> BTreeMap<String, i64> {
    let limits = body.iter().filter(|(resource, _)| *resource != "force");
    limits.filter_map(|(resource, limit)| Some((resource.clone(), integer(limit)?))).collect()
}

fn is_shown(call: &Call, resource: &str) -> bool {
    !(call.since(V2_36) && NETWORK.contains(&resource) || call.since(V2_57) && FILES.contains(&resource))
}

fn render(call: &Call, project_id: Option<&str>, amounts: &Amounts) -> Answer {
    let set = amounts.iter().filter(|(resource, _)| is_shown(call, resource));
    answer(project_id, set.map(|(resource, amount)| ((*resource).to_owned(), json!(amount))).collect())
}

fn answer(project_id: Option<&str>, mut set: Map<String, Value>) -> Answer {
    if let Some(project_id) = project_id {
        set.insert("id".to_owned(), json!(project_id));
    }
    ok(&json!({"quota_set": set}))
}
