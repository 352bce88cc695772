//! `/servers/{server_id}/os-instance-actions`

use kilonova_db::instances::Deleted;
use kilonova_db::{DbError, actions};
use kilonova_objects::{Instance, InstanceAction};

use super::target;
use crate::call::{Answer, Call, ok};
use crate::compute;
use crate::error::ApiError;
use crate::validation::parse_isotime;
use crate::versions::{V2_21, V2_51, V2_58, V2_62, V2_84};
use crate::views::instance_actions::{Action, Actions, Event, OneAction};

/// `GET /servers/{server_id}/os-instance-actions`
pub(crate) async fn index(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let mut found = actions::list(&call.state.db, instance.uuid).await?;
    if !call.since(V2_58) {
        let shown = found.iter().map(|action| Action::new(action, call.version)).collect();
        return ok(&Actions { instance_actions: shown, links: None });
    }
    page(&call, &mut found)?;
    let collection = format!("servers/{}/os-instance-actions", call.param("server_id"));
    let last = found.last().and_then(|action| action.request_id.as_deref());
    let next = call.links.next(&collection, &call.query, call.state.config.max_limit, found.len(), last);
    let shown = found.iter().map(|action| Action::new(action, call.version)).collect();
    ok(&Actions { instance_actions: shown, links: next.map(|link| [link]) })
}

/// `GET /servers/{server_id}/os-instance-actions/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let id = call.param("id");
    let action = actions::get(&call.state.db, instance.uuid, id).await.map_err(|error| match error {
        DbError::NotFound { .. } => ApiError::NotFound(format!("Action {id} not found")),
        other => other.into(),
    })?;
    let all = call.can("os_compute_api:os-instance-actions:events", target(&instance));
    let details = call.since(V2_84) && call.can("os_compute_api:os-instance-actions:events:details", target(&instance));
    let events = if all || call.since(V2_51) { Some(actions::events(&call.state.db, action.id).await?) } else { None };
    let project_id = action.project_id.as_deref().unwrap_or(instance.project_id());
    let event =
        |event| Event::new(event, all, all && call.since(V2_62), call.since(V2_62).then_some(project_id), details);
    let events = events.as_ref().map(|events| events.iter().map(event).collect());
    ok(&OneAction::new(Action::new(&action, call.version), events))
}

/// Since 2.21 deleted servers have actions too.
async fn authorized(call: &Call) -> Result<Instance, ApiError> {
    let deleted = if call.since(V2_21) { Deleted::Yes } else { Deleted::No };
    let instance = compute::get::get_even(&call.state, &call.context, call.param("server_id"), deleted).await?;
    call.authorize(target(&instance))?;
    Ok(instance)
}

/// Since 2.58: changed since (2.66: before), after the marker, not more than the limit.
fn page(call: &Call, found: &mut Vec<InstanceAction>) -> Result<(), ApiError> {
    let since = call.query.get("changes-since").and_then(parse_isotime);
    let before = call.query.get("changes-before").and_then(parse_isotime);
    if let (Some(since), Some(before)) = (since, before)
        && before < since
    {
        let message = "The value of changes-since must be less than or equal to changes-before.";
        return Err(ApiError::BadRequest(message.to_owned()));
    }
    if let Some(marker) = call.query.get("marker") {
        let at = found.iter().position(|action| action.request_id.as_deref() == Some(marker));
        let at = at.ok_or_else(|| ApiError::BadRequest(format!("Marker {marker} could not be found.")))?;
        found.drain(..=at);
    }
    found.retain(|action| {
        let changed = action.updated_at.or(action.created_at);
        since.is_none_or(|since| changed >= Some(since)) && before.is_none_or(|before| changed <= Some(before))
    });
    let max = call.state.config.max_limit;
    let limit = call.query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(max).min(max);
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(())
}
