//! The begin of an API action.

use std::slice::from_mut;

use kilonova_core::time::utcnow;
use kilonova_objects::Instance;
use serde_json::{Map, Value};

use super::query::{Lock, add_faults, row};
use super::save::{apply, check_states, update};
use super::{Deleted, SaveError, StartAction, metadata};
use crate::{Db, actions, workflows};

/// Compare-and-swap of the task together with the action's record and its workflow: all or nothing.
pub async fn start_action(db: &Db, start: StartAction) -> Result<Instance, SaveError> {
    start_action_with(db, start, &Map::new()).await
}

/// [`start_action`] for an action that begins with other changes of the instance: names and values as in
/// `nova_object.data`, written together with the task.
pub async fn start_action_with(
    db: &Db,
    start: StartAction,
    changes: &Map<String, Value>,
) -> Result<Instance, SaveError> {
    db.retry(|| start_once(db, &start, changes)).await
}

async fn start_once(db: &Db, start: &StartAction, changes: &Map<String, Value>) -> Result<Instance, SaveError> {
    let tx = db.begin().await?;
    let before = Box::new(row(&tx, start.uuid, Deleted::No, Lock::Yes).await?);
    check_states(&before, start.expected_vm_states.as_deref(), start.expected_task_states.as_deref())?;
    let mut after = before.clone();
    apply(&mut after, changes)?;
    after.task_state = Some(start.task_state);
    after.updated_at = Some(utcnow());
    update(&tx, &before, &after).await?;
    if changes.contains_key("metadata") {
        metadata::set(&tx, start.uuid, &after.metadata).await?;
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
