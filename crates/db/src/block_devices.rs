//! Block device mappings of instances.

use std::collections::BTreeMap;

use kilonova_core::time::utcnow;
use kilonova_objects::BlockDeviceMapping;
use kilonova_objects::wire::VersionedObject as _;
use sea_orm::sea_query::{Expr, ExprTrait as _, Order, Query};
use sea_orm::{ConnectionTrait, QueryResult, Value as SqlValue};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::sql::{self, Cell, chunks, select, uuid_in};
use crate::{Db, DbError};

const TABLE: &str = "block_device_mapping";
const COLUMNS: &[&str] = &["id", "uuid", "instance_uuid", "created_at", "updated_at", "record"];
/// Fields that are columns, or that are not stored.
const NOT_IN_RECORD: &[&str] =
    &["id", "uuid", "instance_uuid", "instance", "created_at", "updated_at", "deleted_at", "deleted"];

/// The mappings of several instances, each list in the order of creation; an instance without any has no entry.
pub async fn list(db: &Db, instance_uuids: &[Uuid]) -> Result<BTreeMap<Uuid, Vec<BlockDeviceMapping>>, DbError> {
    let mut found: BTreeMap<Uuid, Vec<BlockDeviceMapping>> = BTreeMap::new();
    for uuids in chunks(instance_uuids) {
        let mut statement = select(TABLE, COLUMNS);
        statement.and_where(uuid_in("instance_uuid", uuids)).order_by("id", Order::Asc);
        for row in db.read().query_all(&statement).await? {
            found.entry(Uuid::read(&row, 2)?).or_default().push(read(&row)?);
        }
    }
    Ok(found)
}

/// The mappings of volumes of several servers, each list in the order of creation; a server without any has no entry.
pub async fn volumes(db: &Db, instance_uuids: &[Uuid]) -> Result<BTreeMap<Uuid, Vec<BlockDeviceMapping>>, DbError> {
    let mut found: BTreeMap<Uuid, Vec<BlockDeviceMapping>> = BTreeMap::new();
    for uuids in chunks(instance_uuids) {
        let mut statement = select(TABLE, COLUMNS);
        // Of disks that are no volumes it is null.
        statement.and_where(uuid_in("instance_uuid", uuids)).and_where(sql::contains("record", "\"volume_id\":\""));
        for row in db.read().query_all(statement.order_by("id", Order::Asc)).await? {
            found.entry(Uuid::read(&row, 2)?).or_default().push(read(&row)?);
        }
    }
    Ok(found)
}

/// The mappings of a volume, one for each server that has it, the latest last.
pub async fn of_volume(db: &Db, volume_id: &str) -> Result<Vec<BlockDeviceMapping>, DbError> {
    let mut statement = select(TABLE, COLUMNS);
    statement.and_where(is_of_volume(volume_id)).order_by("id", Order::Asc);
    db.read().query_all(&statement).await?.iter().map(read).collect()
}

/// The mapping of a volume of one server.
pub async fn by_volume_and_instance(
    db: &Db,
    volume_id: &str,
    instance_uuid: Uuid,
) -> Result<Option<BlockDeviceMapping>, DbError> {
    let mut statement = select(TABLE, COLUMNS);
    statement
        .and_where(Expr::col("instance_uuid").eq(instance_uuid.value()))
        .and_where(is_of_volume(volume_id))
        .order_by("id", Order::Desc);
    db.read().query_one(statement.limit(1)).await?.map(|row| read(&row)).transpose()
}

fn is_of_volume(volume_id: &str) -> Expr {
    let quoted = Value::from(volume_id).to_string();
    sql::contains("record", &format!("\"volume_id\":{quoted}"))
}

/// The mapping of a volume, of the server that got it last; `None` where no server has it.
pub async fn by_volume(db: &Db, volume_id: &str) -> Result<Option<BlockDeviceMapping>, DbError> {
    let mut statement = select(TABLE, COLUMNS);
    statement.and_where(is_of_volume(volume_id)).order_by("id", Order::Desc);
    db.read().query_one(statement.limit(1)).await?.map(|row| read(&row)).transpose()
}

/// Writes a mapping: a new one when its `id` is 0, else over the row with that id.
pub async fn save(db: &Db, mapping: &BlockDeviceMapping) -> Result<BlockDeviceMapping, DbError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let id = if mapping.id == 0 {
            let instance_uuid = mapping
                .instance_uuid
                .ok_or_else(|| DbError::corrupt("block device mapping", 0, "it belongs to no instance"))?;
            sql::insert(&tx, TABLE, &COLUMNS[1..], values(instance_uuid, mapping)).await?
        } else {
            overwrite(&tx, mapping).await?;
            mapping.id
        };
        let mut statement = select(TABLE, COLUMNS);
        let row = tx.query_one(statement.and_where(Expr::col("id").eq(id))).await?;
        let saved = read(&row.ok_or_else(|| not_found(id))?)?;
        tx.commit().await?;
        Ok(saved)
    })
    .await
}

/// Writes the fields in `changes` (names and values as in `nova_object.data`) of one mapping; returns it as it is then.
pub async fn update(db: &Db, id: i64, changes: &Map<String, Value>) -> Result<BlockDeviceMapping, DbError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let mut statement = select(TABLE, COLUMNS);
        statement.and_where(Expr::col("id").eq(id)).lock_exclusive();
        let row = tx.query_one(&statement).await?;
        let mut data = read(&row.ok_or_else(|| not_found(id))?)?.data();
        data.extend(changes.iter().map(|(name, value)| (name.clone(), value.clone())));
        let changed = BlockDeviceMapping::from_data(&data)
            .map_err(|error| DbError::corrupt("block device mapping", id, error.to_string()))?;
        overwrite(&tx, &BlockDeviceMapping { id, ..changed }).await?;
        let mut statement = select(TABLE, COLUMNS);
        let row = tx.query_one(statement.and_where(Expr::col("id").eq(id))).await?;
        let saved = read(&row.ok_or_else(|| not_found(id))?)?;
        tx.commit().await?;
        Ok(saved)
    })
    .await
}

/// Removes a mapping; one that is gone already is success.
pub async fn destroy(db: &Db, id: i64) -> Result<(), DbError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let mut statement = Query::delete();
        tx.execute(statement.from_table(TABLE).and_where(Expr::col("id").eq(id))).await?;
        tx.commit().await
    })
    .await
}

/// Writes new mappings, each for its instance.
pub(crate) async fn insert(tx: &impl ConnectionTrait, mappings: &[(Uuid, &BlockDeviceMapping)]) -> Result<(), DbError> {
    let rows = mappings.iter().map(|(uuid, mapping)| values(*uuid, mapping)).collect();
    sql::insert_many(tx, TABLE, &COLUMNS[1..], rows).await?;
    Ok(())
}

/// Removes all mappings of an instance.
pub(crate) async fn delete_of(tx: &impl ConnectionTrait, instance_uuid: Uuid) -> Result<(), DbError> {
    let mut statement = Query::delete();
    statement.from_table(TABLE).and_where(Expr::col("instance_uuid").eq(instance_uuid.value()));
    tx.execute(&statement).await?;
    Ok(())
}

async fn overwrite(tx: &impl ConnectionTrait, mapping: &BlockDeviceMapping) -> Result<(), DbError> {
    let mut statement = Query::update();
    statement
        .table(TABLE)
        .value("record", record(mapping))
        .value("updated_at", sql::val(utcnow()))
        .and_where(Expr::col("id").eq(mapping.id));
    match tx.execute(&statement).await?.rows_affected() {
        0 => Err(not_found(mapping.id)),
        _ => Ok(()),
    }
}

fn not_found(id: i64) -> DbError {
    DbError::not_found("block device mapping", id)
}

/// Of all columns but `id`.
fn values(instance_uuid: Uuid, mapping: &BlockDeviceMapping) -> Vec<SqlValue> {
    vec![
        mapping.uuid.unwrap_or_else(Uuid::new_v4).value(),
        instance_uuid.value(),
        utcnow().value(),
        None::<i64>.into(),
        record(mapping).into(),
    ]
}

fn record(mapping: &BlockDeviceMapping) -> String {
    let mut data = mapping.data();
    data.retain(|name, _| !NOT_IN_RECORD.contains(&name.as_str()));
    Value::Object(data).to_string()
}

fn read(row: &QueryResult) -> Result<BlockDeviceMapping, DbError> {
    let id = i64::read(row, 0)?;
    let record: String = row.try_get_by_index(5)?;
    let mapping = serde_json::from_str(&record)
        .map_err(|error| error.to_string())
        .and_then(|data| BlockDeviceMapping::from_data(&data).map_err(|error| error.to_string()))
        .map_err(|reason| DbError::corrupt("block device mapping", id, reason))?;
    Ok(BlockDeviceMapping {
        id,
        uuid: Some(Uuid::read(row, 1)?),
        instance_uuid: Some(Uuid::read(row, 2)?),
        created_at: Cell::read(row, 3)?,
        updated_at: Cell::read(row, 4)?,
        ..mapping
    })
}
