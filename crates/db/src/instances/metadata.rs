//! The metadata that users give instances: in the instance's row, and in a table of its own for the filter.

use std::collections::BTreeMap;

use kilonova_core::time::utcnow;
use kilonova_objects::Instance;
use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use uuid::Uuid;

use super::Deleted;
use super::query::{Lock, row};
use super::save::update;
use crate::sql::{Cell as _, insert_many};
use crate::{Db, DbError};

const TABLE: &str = "instance_metadata";

/// Adds `metadata` to what the instance has, or replaces it all; returns what it has then.
pub async fn update_metadata(
    db: &Db,
    uuid: Uuid,
    metadata: &BTreeMap<String, String>,
    replace: bool,
) -> Result<BTreeMap<String, String>, DbError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let before = Box::new(row(&tx, uuid, Deleted::No, Lock::Yes).await?);
        let mut items = before.metadata.clone();
        if replace {
            items.clear();
        }
        items.extend(metadata.clone());
        change(&tx, &before, items.clone()).await?;
        tx.commit().await?;
        Ok(items)
    })
    .await
}

/// Removes one item; [`DbError::NotFound`] with resource `metadata` if it is not there.
pub async fn delete_metadata(db: &Db, uuid: Uuid, key: &str) -> Result<(), DbError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let before = Box::new(row(&tx, uuid, Deleted::No, Lock::Yes).await?);
        let mut items = before.metadata.clone();
        items.remove(key).ok_or_else(|| DbError::not_found("metadata", key))?;
        change(&tx, &before, items).await?;
        tx.commit().await
    })
    .await
}

async fn change(
    tx: &impl ConnectionTrait,
    before: &Instance,
    metadata: BTreeMap<String, String>,
) -> Result<(), DbError> {
    set(tx, before.uuid, &metadata).await?;
    let after = Box::new(Instance { metadata, updated_at: Some(utcnow()), ..before.clone() });
    update(tx, before, &after).await
}

/// Replaces what the metadata filter looks at.
pub(super) async fn set(
    tx: &impl ConnectionTrait,
    uuid: Uuid,
    metadata: &BTreeMap<String, String>,
) -> Result<(), DbError> {
    let mut old = Query::delete();
    old.from_table(TABLE).and_where(Expr::col("instance_uuid").eq(uuid.value()));
    tx.execute(&old).await?;
    insert(tx, &[(uuid, metadata)]).await
}

/// Writes what the metadata filter looks at, for instances that are new.
pub(super) async fn insert(
    tx: &impl ConnectionTrait,
    metadata: &[(Uuid, &BTreeMap<String, String>)],
) -> Result<(), DbError> {
    let mut rows = Vec::new();
    for (uuid, items) in metadata {
        rows.extend(items.iter().map(|(key, value)| vec![uuid.value(), key.value(), value.value()]));
    }
    insert_many(tx, TABLE, &["instance_uuid", "key", "value"], rows).await?;
    Ok(())
}
