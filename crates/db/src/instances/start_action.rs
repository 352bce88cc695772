//! The begin of an API action.

use std::slice::from_mut;

use kilonova_core::time::utcnow;
use kilonova_objects::Instance;
use serde_json::{Map, Value};

use super::query::{Lock, add_faults, row};
use super::save::{apply, check_states, update};
use super::{Deleted, SaveError, StartAction, metadata};
use crate::{Db, actions, request_specs, workflows};

/// What is written beside the task.
#[derive(Clone, Copy)]
struct Beside<'a> {
    changes: &'a Map<String, Value>,
    /// `Some(None)`: from here on any zone.
    zone: Option<Option<&'a str>>,
}

/// Compare-and-swap of the task together with the action's record and its workflow: all or nothing.
pub async fn start_action(db: &Db, start: StartAction) -> Result<Instance, SaveError> {
    start_action_with(db, start, &Map::new()).await
}

/// [`start_action`] for an action that pins the instance to a zone, or to none: its request spec says so if, and only if,
/// the action begins.
pub async fn start_action_in_zone(db: &Db, start: StartAction, zone: Option<&str>) -> Result<Instance, SaveError> {
    let beside = Beside { changes: &Map::new(), zone: Some(zone) };
    db.retry(|| start_once(db, &start, beside)).await
}

/// [`start_action`] for an action that begins with other changes of the instance: names and values as in
/// `nova_object.data`, written together with the task.
pub async fn start_action_with(
    db: &Db,
    start: StartAction,
    changes: &Map<String, Value>,
) -> Result<Instance, SaveError> {
    db.retry(|| start_once(db, &start, Beside { changes, zone: None })).await
}

async fn start_once(db: &Db, start: &StartAction, beside: Beside<'_>) -> Result<Instance, SaveError> {
    let tx = db.begin().await?;
    let before = Box::new(row(&tx, start.uuid, Deleted::No, Lock::Yes).await?);
    check_states(&before, start.expected_vm_states.as_deref(), start.expected_task_states.as_deref())?;
    let mut after = before.clone();
    apply(&mut after, beside.changes)?;
    after.task_state = Some(start.task_state);
    after.updated_at = Some(utcnow());
    update(&tx, &before, &after).await?;
    if beside.changes.contains_key("metadata") {
        metadata::set(&tx, start.uuid, &after.metadata).await?;
    }
    if let Some(zone) = beside.zone {
        request_specs::set_availability_zone(&tx, start.uuid, zone).await?;
    }
    let actor = actions::Actor {
        action: start.action,
        request_id: &start.request_id,
        user_id: &start.user_id,
        project_id: &start.project_id,
    };
    actions::insert(&tx, &[start.uuid], actor).await?;
    if let Some(workflow) = &start.workflow {
        workflows::insert_if_absent(&tx, workflow.clone()).await?;
    }
    add_faults(&tx, from_mut(&mut *after)).await?;
    tx.commit().await?;
    Ok(*after)
}
