//! `/os-security-group-rules` (to 2.35)

use axum::http::StatusCode;
use kilonova_clients::ClientError;
use kilonova_clients::neutron::security_groups::{self, SecurityGroup};
use serde_json::json;

use super::new_rule::Asked;
use super::{find, group_id, refused};
use crate::call::{Answer, Call, empty, ok};
use crate::error::ApiError;
use crate::views::security_groups::Groups;

/// `POST /os-security-group-rules`
pub(crate) async fn create(call: Call) -> Answer {
    call.authorize_own()?;
    let asked = Asked::of(&call.body["security_group_rule"]);
    let parent = find(&call, asked.parent_group_id).await?;
    let source = match asked.group_id {
        Some(id) => Some(find(&call, id).await?),
        None => None,
    };
    let rule = asked.rule()?;
    if asked.exists_in(&parent, &rule) {
        return Err(ApiError::BadRequest(format!("This rule already exists in group {}", parent.id)));
    }
    let made = security_groups::create_rule(&*call.state.clients.network, &call.context, &rule).await;
    let made = made.map_err(|error| match error {
        // Nova takes every conflict for a quota.
        ClientError::Conflict(message) => ApiError::Forbidden(message),
        other => refused(other, "security group"),
    })?;
    let groups: Vec<SecurityGroup> = source.into_iter().collect();
    let known = Groups::look_up(&*call.state.clients.network, &call.context, &groups).await?;
    ok(&json!({"security_group_rule": known.rule(&made)}))
}

/// `DELETE /os-security-group-rules/{id}`
pub(crate) async fn delete(call: Call) -> Answer {
    call.authorize_own()?;
    let (network, context) = (&*call.state.clients.network, &*call.context);
    let id = group_id(call.param("id"))?;
    security_groups::show_rule(network, context, id).await.map_err(|error| refused(error, "security group rule"))?;
    let deleted = security_groups::delete_rule(network, context, id).await;
    deleted.map_err(|error| refused(error, "security group rule"))?;
    Ok(empty(StatusCode::ACCEPTED))
}
