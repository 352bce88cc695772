//! What other services tell of servers, on its way to their hosts.

use std::collections::{BTreeMap, BTreeSet};

use kilonova_core::RequestContext;
use kilonova_db::actions;
use kilonova_db::instances::{self, InstanceQuery};
use kilonova_objects::{Instance, InstanceExternalEvent};
use kilonova_rpcapi::compute::ExternalInstanceEvent;
use uuid::Uuid;

use super::ComputeError;
use crate::state::ApiState;

/// Events that say nothing without a tag.
const TAG_REQUIRED: [&str; 3] = ["volume-extended", "power-update", "accelerator-request-bound"];

/// What became of an event, as the answer has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Accepted = 200,
    WithoutTag = 400,
    UnknownServer = 404,
    WithoutHost = 422,
}

/// Sends each event to the host of its server, all of a host's in one message; says what became of each, in their order.
pub(crate) async fn dispatch(
    state: &ApiState,
    context: &RequestContext,
    events: Vec<InstanceExternalEvent>,
) -> Result<Vec<Outcome>, ComputeError> {
    let uuids: BTreeSet<Uuid> = events.iter().map(|event| event.instance_uuid).collect();
    let query = InstanceQuery { uuids: Some(uuids.into_iter().collect()), ..InstanceQuery::default() };
    let found = instances::list(&state.db, &query).await?;
    let found: BTreeMap<Uuid, Instance> = found.into_iter().map(|instance| (instance.uuid, instance)).collect();
    let outcomes: Vec<Outcome> = events.iter().map(|event| outcome(event, found.get(&event.instance_uuid))).collect();
    let mut by_host: BTreeMap<String, ExternalInstanceEvent> = BTreeMap::new();
    for (event, _) in events.into_iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Accepted) {
        let Some(instance) = found.get(&event.instance_uuid) else { continue };
        if !begin(state, context, &event).await? {
            continue;
        }
        let host = instance.host.clone().unwrap_or_default();
        let message =
            by_host.entry(host).or_insert_with(|| ExternalInstanceEvent { instances: Vec::new(), events: Vec::new() });
        if message.instances.iter().all(|known| known.uuid != instance.uuid) {
            message.instances.push(instance.clone());
        }
        message.events.push(event);
    }
    for (host, message) in by_host {
        // One host that cannot be told keeps no other from it.
        if let Err(error) = state.compute.cast(context, &host, message).await {
            tracing::error!(host, %error, "a host was not told of external events");
        }
    }
    Ok(outcomes)
}

fn outcome(event: &InstanceExternalEvent, instance: Option<&Instance>) -> Outcome {
    let Some(instance) = instance else { return Outcome::UnknownServer };
    if event.tag.is_none() && TAG_REQUIRED.contains(&event.name.as_str()) {
        return Outcome::WithoutTag;
    }
    match instance.host.as_deref() {
        None | Some("") => Outcome::WithoutHost,
        Some(_) => Outcome::Accepted,
    }
}

/// Records what a user may want to follow. False: the event means nothing.
async fn begin(
    state: &ApiState,
    context: &RequestContext,
    event: &InstanceExternalEvent,
) -> Result<bool, ComputeError> {
    let action = match (event.name.as_str(), event.tag.as_deref()) {
        ("volume-extended", _) => "extend_volume",
        ("power-update", Some("POWER_ON")) => "start",
        ("power-update", Some("POWER_OFF")) => "stop",
        ("power-update", tag) => {
            tracing::warn!(instance = %event.instance_uuid, tag, "a power-update to no power state");
            return Ok(false);
        }
        _ => return Ok(true),
    };
    let (request_id, user_id, project_id) = (context.request_id(), context.user_id(), context.project_id());
    actions::start(&state.db, event.instance_uuid, action, request_id, user_id, project_id).await?;
    Ok(true)
}
