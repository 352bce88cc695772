//! `/os-security-groups` and `/os-security-group-rules`: the network service's, for clients of old (to 2.35).

mod new_rule;
pub(crate) mod rules;

use axum::http::StatusCode;
use kilonova_clients::ClientError;
use kilonova_clients::neutron::security_groups::{self, SecurityGroup};
use serde_json::json;
use uuid::Uuid;

use super::paging::Page;
use super::values::uuid_like;
use crate::call::{Answer, Call, empty, ok};
use crate::error::ApiError;
use crate::views::security_groups::Groups;

/// `GET /os-security-groups`: of the caller's project, or all if an admin asks for them.
pub(crate) async fn index(call: Call) -> Answer {
    call.authorize_own()?;
    let (network, context) = (&*call.state.clients.network, &*call.context);
    let is_of_all = context.is_admin && call.query.has("all_tenants");
    let project_id = (!is_of_all).then(|| context.project_id());
    let found = security_groups::list(network, context, project_id).await?;
    let page = Page::of(&call);
    // No limit is the longest list here.
    let limit = if page.limit == 0 { usize::MAX } else { page.len() };
    let offset = call.query.get("offset").map_or(0, |offset| offset.parse().unwrap_or(usize::MAX));
    let found: Vec<SecurityGroup> = found.into_iter().skip(offset).take(limit).collect();
    let groups = Groups::look_up(network, context, &found).await?;
    ok(&json!({"security_groups": groups.views()}))
}

/// `GET /os-security-groups/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    call.authorize_own()?;
    let group = named(&call).await?;
    shown(&call, group).await
}

/// `POST /os-security-groups`
pub(crate) async fn create(call: Call) -> Answer {
    call.authorize_own()?;
    let (name, description) = name_and_description(&call);
    let made = security_groups::create(&*call.state.clients.network, &call.context, name, description).await;
    let made = made.map_err(|error| match error {
        // Nova takes every conflict for a quota.
        ClientError::Conflict(message) => ApiError::Forbidden(message),
        other => other.into(),
    })?;
    shown(&call, made).await
}

/// `PUT /os-security-groups/{id}`
pub(crate) async fn update(call: Call) -> Answer {
    call.authorize_own()?;
    let id = named(&call).await?.id;
    let (name, description) = name_and_description(&call);
    let updated = security_groups::update(&*call.state.clients.network, &call.context, id, name, description).await;
    shown(&call, updated.map_err(|error| refused(error, "security group"))?).await
}

/// `DELETE /os-security-groups/{id}`
pub(crate) async fn delete(call: Call) -> Answer {
    call.authorize_own()?;
    let id = named(&call).await?.id;
    let deleted = security_groups::delete(&*call.state.clients.network, &call.context, id).await;
    deleted.map_err(|error| refused(error, "security group"))?;
    Ok(empty(StatusCode::ACCEPTED))
}

async fn named(call: &Call) -> Result<SecurityGroup, ApiError> {
    find(call, group_id(call.param("id"))?).await
}

/// What is no uuid is refused, and not looked for.
fn group_id(text: &str) -> Result<Uuid, ApiError> {
    uuid_like(text).ok_or_else(|| ApiError::BadRequest("Security group id should be uuid".to_owned()))
}

async fn find(call: &Call, id: Uuid) -> Result<SecurityGroup, ApiError> {
    let found = security_groups::show(&*call.state.clients.network, &call.context, id).await;
    found.map_err(|error| refused(error, "security group"))
}

fn name_and_description(call: &Call) -> (&str, &str) {
    let text = |name: &str| call.body["security_group"][name].as_str().unwrap_or_default();
    (text("name"), text("description"))
}

async fn shown(call: &Call, group: SecurityGroup) -> Answer {
    let groups = [group];
    let known = Groups::look_up(&*call.state.clients.network, &call.context, &groups).await?;
    ok(&json!({"security_group": known.view(&groups[0])}))
}

/// In Neutron's words. A conflict is one with what the group is used for.
fn refused(error: ClientError, what: &str) -> ApiError {
    match error {
        ClientError::NotFound { id, .. } => {
            let (first, rest) = what.split_at(1);
            ApiError::NotFound(format!("{}{rest} {id} does not exist", first.to_uppercase()))
        }
        ClientError::Conflict(message) => ApiError::BadRequest(message),
        other => other.into(),
    }
}
