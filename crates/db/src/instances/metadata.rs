//! The metadata that users give instances.

use std::collections::BTreeMap;

use kilonova_core::time::utcnow;
use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use uuid::Uuid;

use super::query::{Lock, row};
use super::row::TABLE as INSTANCES;
use super::{Deleted, Expand};
use crate::sql::{Cell as _, insert_many, val};
use crate::{Db, DbError};

const TABLE: &str = "instance_metadata";

/// Adds `metadata` to what the instance has, or replaces it all; returns what it has then.
pub async fn update_metadata(
    db: &Db,
    uuid: Uuid,
    metadata: &BTreeMap<String, String>,
    replace: bool,
) -> Result<BTreeMap<String, String>, DbError> {
    let tx = db.begin().await?;
    let mut items = locked(&tx, uuid).await?;
    if replace {
        items.clear();
    }
    items.extend(metadata.clone());
    set(&tx, uuid, &items).await?;
    touch(&tx, uuid).await?;
    tx.commit().await?;
    Ok(items)
}

/// Removes one item; [`DbError::NotFound`] with resource `metadata` if it is not there.
pub async fn delete_metadata(db: &Db, uuid: Uuid, key: &str) -> Result<(), DbError> {
    let tx = db.begin().await?;
    if !locked(&tx, uuid).await?.contains_key(key) {
        return Err(DbError::not_found("metadata", key));
    }
    let mut statement = Query::delete();
    statement.from_table(TABLE).and_where(Expr::col("instance_uuid").eq(uuid.value()));
    tx.execute(statement.and_where(Expr::col("key").eq(key))).await?;
    touch(&tx, uuid).await?;
    tx.commit().await?;
    Ok(())
}

/// What the instance has, which nobody else changes until the transaction ends.
async fn locked(tx: &impl ConnectionTrait, uuid: Uuid) -> Result<BTreeMap<String, String>, DbError> {
    let mut instance = [row(tx, uuid, Deleted::No, Lock::Yes).await?];
    super::query::expand(tx, &mut instance, Expand { metadata: true, faults: false }).await?;
    let [instance] = instance;
    Ok(instance.metadata)
}

/// Replaces all metadata.
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

/// Writes metadata of instances that have none.
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

async fn touch(tx: &impl ConnectionTrait, uuid: Uuid) -> Result<(), DbError> {
    let mut statement = Query::update();
    statement.table(INSTANCES).value("updated_at", val(utcnow())).and_where(Expr::col("uuid").eq(uuid.value()));
    tx.execute(&statement).await?;
    Ok(())
}
