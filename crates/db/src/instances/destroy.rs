//! The end of an instance.

use kilonova_core::time::utcnow;
use kilonova_objects::{Instance, VmState};
use uuid::Uuid;

use super::Deleted;
use super::query::{Lock, row};
use super::save::{update, whole};
use crate::{Db, DbError, block_devices, workflows};

/// Marks an instance deleted, removes its block devices and ends its workflows. Its metadata stay. A second time it
/// changes nothing and returns the row.
pub async fn destroy(db: &Db, uuid: Uuid) -> Result<Instance, DbError> {
    let tx = db.begin().await?;
    let before = row(&tx, uuid, Deleted::Yes, Lock::Yes).await?;
    if before.deleted {
        return whole(&tx, before).await;
    }
    let now = utcnow();
    let after = Instance {
        deleted: true,
        deleted_at: Some(now),
        terminated_at: before.terminated_at.or(Some(now)),
        updated_at: Some(now),
        vm_state: VmState::Deleted,
        task_state: None,
        ..before.clone()
    };
    update(&tx, &before, &after).await?;
    block_devices::delete_of(&tx, uuid).await?;
    workflows::end(&tx, uuid, None).await?;
    let whole = whole(&tx, after).await?;
    tx.commit().await?;
    Ok(whole)
}
