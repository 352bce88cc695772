//! Changes of a server that only the database sees: its name and description, locks, its state by hand.

use std::future::Future;

use kilonova_core::RequestContext;
use kilonova_db::actions;
use kilonova_db::instances::{self, Save};
use kilonova_objects::{Instance, VmState, Wire as _};
use serde_json::{Map, Value, json};

use super::{ComputeError, checks};
use crate::state::ApiState;

/// Writes `changes` (names and values as in `nova_object.data`), whatever the server's state.
pub(crate) async fn update(
    state: &ApiState,
    instance: &Instance,
    changes: Map<String, Value>,
) -> Result<Instance, ComputeError> {
    if changes.is_empty() {
        return Ok(instance.clone());
    }
    let save = Save { uuid: instance.uuid, changes: &changes, expected_vm_state: None, expected_task_state: None };
    instances::save(&state.db, save).await.map_err(|error| checks::lost_race(error, instance, "update"))
}

/// `lock`. The owner does not lock what is locked already; an admin takes the lock over.
pub(crate) async fn lock(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    reason: Option<&str>,
) -> Result<(), ComputeError> {
    let is_owner = instance.project_id() == context.project_id();
    if instance.locked && is_owner {
        return Ok(());
    }
    let mut changes = Map::from_iter([
        ("locked".to_owned(), json!(true)),
        ("locked_by".to_owned(), json!(if is_owner { "owner" } else { "admin" })),
    ]);
    if let Some(reason) = reason {
        let mut system_metadata = instance.system_metadata.clone();
        system_metadata.insert("locked_reason".to_owned(), Some(reason.to_owned()));
        changes.insert("system_metadata".to_owned(), system_metadata.to_wire());
    }
    recorded(state, context, instance, "lock", "api_lock", update(state, instance, changes)).await
}

/// Whether the caller is the one who may unlock without more rights: the owner what the owner locked, an admin of
/// another project what an admin locked.
pub(crate) fn is_expected_locked_by(context: &RequestContext, instance: &Instance) -> bool {
    let is_owner = instance.project_id() == context.project_id();
    let expected = if is_owner { "owner" } else { "admin" };
    instance.locked_by.as_deref().is_none_or(|locked_by| locked_by == expected)
}

/// `unlock`
pub(crate) async fn unlock(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
) -> Result<(), ComputeError> {
    let mut system_metadata = instance.system_metadata.clone();
    system_metadata.remove("locked_reason");
    let changes = Map::from_iter([
        ("locked".to_owned(), json!(false)),
        ("locked_by".to_owned(), Value::Null),
        ("system_metadata".to_owned(), system_metadata.to_wire()),
    ]);
    recorded(state, context, instance, "unlock", "api_unlock", update(state, instance, changes)).await
}

/// `os-resetState`: the state by hand, and no task. It is an action without steps.
pub(crate) async fn reset_state(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    vm_state: VmState,
) -> Result<(), ComputeError> {
    let (user_id, project_id) = (context.user_id(), context.project_id());
    let request_id = context.request_id();
    let action = actions::start(&state.db, instance.uuid, "resetState", request_id, user_id, project_id).await?;
    let changes = Map::from_iter([("vm_state".to_owned(), vm_state.to_wire()), ("task_state".to_owned(), Value::Null)]);
    update(state, instance, changes).await?;
    Ok(actions::finish(&state.db, &action).await?)
}

/// Does it, with an action and an event of it on record.
async fn recorded(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    action: &str,
    event: &str,
    work: impl Future<Output = Result<Instance, ComputeError>>,
) -> Result<(), ComputeError> {
    let (uuid, request_id) = (instance.uuid, context.request_id());
    actions::start(&state.db, uuid, action, request_id, context.user_id(), context.project_id()).await?;
    actions::event_start(&state.db, uuid, request_id, event, None).await?;
    let done = work.await;
    let failure = done.as_ref().err().map(|error| (error.to_string(), String::new()));
    actions::event_finish(&state.db, uuid, request_id, event, failure).await?;
    done.map(|_| ())
}
