//! The begin of a move between hosts, and of its end.

use std::slice::from_mut;

use kilonova_core::time::utcnow;
use kilonova_objects::{Instance, Migration, TaskState, VmState};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::query::{Lock, add_faults, row};
use super::save::{apply, check_states, update};
use super::{Deleted, SaveError};
use crate::workflows::{NewWorkflow, WorkflowKind};
use crate::{Db, actions, server_migrations, workflows};

/// A move that begins, or that is to be confirmed or reverted.
#[derive(Clone, Debug)]
pub struct StartMove {
    /// Of which instance.
    pub uuid: Uuid,
    /// Nova's name of the action: `resize`, `confirmResize`.
    pub action: &'static str,
    /// What changes in the instance, such as its task: field name → value as in `nova_object.data`.
    pub changes: Map<String, Value>,
    /// The states that it must be in; `None`: any.
    pub expected_vm_states: Option<Vec<VmState>>,
    /// The tasks that it must be in; `None`: any.
    pub expected_task_states: Option<Vec<Option<TaskState>>>,
    /// The request that asked.
    pub request_id: String,
    /// Who asked.
    pub user_id: String,
    /// For which project.
    pub project_id: String,
    /// What becomes of the record of the move.
    pub record: MoveRecord,
    /// The work that it starts, in place of any other move's. Its payload is told the record's id, as `migration_id`.
    pub workflow: NewWorkflow,
}

/// What becomes of the record of a move when it begins.
#[derive(Clone, Debug)]
pub enum MoveRecord {
    /// It is made later.
    None,
    /// It is made now.
    New(Box<Migration>),
    /// The one with this id gets status `to`, if it is the instance's newest with status `from`; else
    /// [`crate::DbError::NotFound`] with resource `migration`.
    Advance {
        /// Which one.
        id: i64,
        /// What it must be in.
        from: &'static str,
        /// What it is in then.
        to: &'static str,
    },
}

/// Compare-and-swap of the instance together with the action's record, the move's and the workflow: all or nothing.
pub async fn start_move(db: &Db, start: StartMove) -> Result<(Box<Instance>, Option<Migration>), SaveError> {
    db.retry(|| start_once(db, &start)).await
}

/// The workflow knows the record from the start.
fn workflow(start: &StartMove, migration: Option<&Migration>) -> NewWorkflow {
    let mut workflow = start.workflow.clone();
    if let (Some(migration), Some(payload)) = (migration, workflow.payload.as_object_mut()) {
        payload.insert("migration_id".to_owned(), migration.id.into());
    }
    workflow
}

async fn start_once(db: &Db, start: &StartMove) -> Result<(Box<Instance>, Option<Migration>), SaveError> {
    let tx = db.begin().await?;
    let before = Box::new(row(&tx, start.uuid, Deleted::No, Lock::Yes).await?);
    check_states(&before, start.expected_vm_states.as_deref(), start.expected_task_states.as_deref())?;
    let migration = match &start.record {
        MoveRecord::None => None,
        MoveRecord::New(migration) => Some(server_migrations::insert_new(&tx, migration).await?),
        MoveRecord::Advance { id, from, to } => {
            Some(server_migrations::advance(&tx, start.uuid, *id, (from, to)).await?)
        }
    };
    let mut after = before.clone();
    apply(&mut after, &start.changes)?;
    after.updated_at = Some(utcnow());
    update(&tx, &before, &after).await?;
    let actor = actions::Actor {
        action: start.action,
        request_id: &start.request_id,
        user_id: &start.user_id,
        project_id: &start.project_id,
    };
    actions::insert(&tx, &[start.uuid], actor).await?;
    workflows::end(&tx, start.uuid, Some(WorkflowKind::Move)).await?;
    workflows::insert(&tx, vec![workflow(start, migration.as_ref())]).await?;
    add_faults(&tx, from_mut(&mut *after)).await?;
    tx.commit().await?;
    Ok((after, migration))
}
