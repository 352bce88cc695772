//! `/v3/groups`: there are none, and clients that look for some are told so.

use std::collections::HashMap;

use axum::extract::{Path, State};
use kilonova_db::identity::users;

use super::{Answer, Params, Service};
use crate::identity::IdentityError;
use crate::identity::policy::Caller;

/// `GET /v3/groups`.
pub(crate) async fn list(State(service): Service, caller: Caller, params: Params) -> Answer {
    caller.read("identity:list_groups")?;
    Ok(axum::Json(service.collection("/v3/groups", "groups", Vec::new(), &params.0)?))
}

/// `GET /v3/users/{user_id}/groups`.
pub(crate) async fn of_user(State(service): Service, caller: Caller, Path(id): Path<String>, params: Params) -> Answer {
    caller.read_or(caller.user_id() == id, "identity:list_groups_for_user")?;
    users::fetch(service.db.read(), &id).await?;
    Ok(axum::Json(service.collection(&format!("/v3/users/{id}/groups"), "groups", Vec::new(), &params.0)?))
}

/// Whatever is done with a group.
pub(crate) async fn show(caller: Caller, Path(place): Path<HashMap<String, String>>) -> IdentityError {
    let id = place.get("group_id").cloned().unwrap_or_default();
    caller.read("identity:get_group").err().unwrap_or(IdentityError::NotFound { resource: "group", id })
}
