//! The network model of an instance as last known, changed by others than its host.

use kilonova_core::time::utcnow;
use kilonova_objects::{InstanceInfoCache, NetworkInfo};
use uuid::Uuid;

use super::Deleted;
use super::query::{Lock, row};
use super::save::update;
use crate::{Db, DbError};

/// Changes the model with nobody else writing in between.
pub async fn update_network_info(
    db: &Db,
    uuid: Uuid,
    change: impl Fn(&mut NetworkInfo) + Send + Sync,
) -> Result<(), DbError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let before = Box::new(row(&tx, uuid, Deleted::No, Lock::Yes).await?);
        let mut network_info = before.network_info();
        change(&mut network_info);
        if network_info != before.network_info() {
            let mut after = before.clone();
            after.info_cache = Some(InstanceInfoCache::new(uuid, &network_info));
            after.updated_at = Some(utcnow());
            update(&tx, &before, &after).await?;
        }
        tx.commit().await
    })
    .await
}
