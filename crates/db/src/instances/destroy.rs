//! The end of an instance.

use std::slice::from_mut;

use kilonova_core::time::utcnow;
use kilonova_objects::{Instance, VmState};
use uuid::Uuid;

use super::Deleted;
use super::query::{Lock, add_faults, row};
use super::save::update;
use crate::{Db, DbError, block_devices, console_auth_tokens, server_migrations, workflows};

/// Marks an instance deleted, removes its block devices, its permissions to connect to consoles and the records of its
/// moves, and ends its workflows. Its metadata stay. A second time it changes nothing and returns the row.
pub async fn destroy(db: &Db, uuid: Uuid) -> Result<Instance, DbError> {
    db.retry_idempotent(|| destroy_once(db, uuid)).await
}

async fn destroy_once(db: &Db, uuid: Uuid) -> Result<Instance, DbError> {
    let tx = db.begin().await?;
    let before = Box::new(row(&tx, uuid, Deleted::Yes, Lock::Yes).await?);
    let mut after = before.clone();
    if !before.deleted {
        mark_deleted(&mut after);
        update(&tx, &before, &after).await?;
        block_devices::delete_of(&tx, uuid).await?;
        console_auth_tokens::delete_of_instance(&tx, uuid).await?;
        server_migrations::delete_of(&tx, uuid).await?;
        workflows::end(&tx, uuid, None).await?;
    }
    add_faults(&tx, from_mut(&mut *after)).await?;
    tx.commit().await?;
    Ok(*after)
}

fn mark_deleted(instance: &mut Instance) {
    let now = Some(utcnow());
    instance.deleted = true;
    instance.deleted_at = now;
    instance.terminated_at = instance.terminated_at.or(now);
    instance.updated_at = now;
    instance.vm_state = VmState::Deleted;
    instance.task_state = None;
}
