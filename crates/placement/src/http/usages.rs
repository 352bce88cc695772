//! `/usages`: what a project has in all.

use axum::extract::State;
use kilonova_db::placement as rows;
use serde_json::json;

use super::error::ApiError;
use super::query::Params;
use super::{Caller, Reply, Service, reply};

/// `GET /usages?project_id=…`
pub(super) async fn list(State(service): Service, caller: Caller, params: Params) -> Reply {
    caller.route_since(9)?;
    params.allow(&caller, &[("project_id", 9), ("user_id", 9)])?;
    let project_id = params
        .one("project_id")?
        .filter(|id| !id.is_empty())
        .ok_or_else(|| ApiError::bad_request("Invalid query string parameters: 'project_id' is a required property"))?;
    caller.require_reader_of(project_id)?;
    let user_id = params.one("user_id")?;
    let usages = rows::project_usage(service.db().read(), project_id, user_id).await?;
    Ok(reply::json(&caller, json!({"usages": usages}), None))
}
