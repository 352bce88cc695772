//! Hypervisors: what they have and what they gave away.

use kilonova_core::time::utcnow;
use kilonova_objects::ComputeNode;
use kilonova_objects::wire::{FieldSet, VersionedObject as _};
use sea_orm::sea_query::{Condition, Expr, ExprTrait as _, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait, QueryResult, Value as SqlValue};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::sql::{Cell as _, contains, exists_or, insert, select};
use crate::{Db, DbError};

const TABLE: &str = "compute_nodes";
const COLUMNS: &[&str] = &["id", "uuid", "host", "hypervisor_hostname", "created_at", "updated_at", "record"];
/// Fields that this layer sets.
const OWN: &[&str] = &["id", "created_at", "updated_at", "deleted_at", "deleted"];

/// Stores a hypervisor; its uuid is unique, and so are host and hypervisor_hostname.
pub async fn create(db: &Db, node: &ComputeNode) -> Result<ComputeNode, DbError> {
    let node = ComputeNode { created_at: Some(utcnow()), updated_at: None, ..node.clone() };
    db.retry(|| async {
        let tx = db.begin().await?;
        let id = insert(&tx, TABLE, &COLUMNS[1..], values(&node)).await;
        let id = id.map_err(|error| exists_or(error, "compute node", name(&node)))?;
        let created = one(&tx, by("id", id), id).await?;
        tx.commit().await?;
        Ok(created)
    })
    .await
}

/// Writes the fields in `changes` (names and values as in `nova_object.data`).
pub async fn save(db: &Db, uuid: Uuid, changes: &Map<String, Value>) -> Result<ComputeNode, DbError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let mut locked = by("uuid", uuid.value());
        locked.lock_exclusive();
        let before = one(&tx, locked, uuid).await?;
        let mut data = before.data();
        for (name, value) in changes {
            if !can_change(name) {
                let reason = format!("the field {name} cannot be changed");
                return Err(DbError::corrupt("compute node", uuid, reason));
            }
            data.insert(name.clone(), value.clone());
        }
        let after = ComputeNode::from_data(&data).map_err(|error| DbError::corrupt("compute node", uuid, error))?;
        let after = ComputeNode { created_at: before.created_at, updated_at: Some(utcnow()), ..after };
        let columns = COLUMNS[1..].iter().copied().zip(values(&after));
        let mut statement = Query::update();
        statement
            .table(TABLE)
            .values(columns.map(|(name, value)| (name, Expr::val(value))))
            .and_where(Expr::col("id").eq(before.id));
        let updated = tx.execute(&statement).await;
        updated.map_err(|error| exists_or(error, "compute node", name(&after)))?;
        let saved = one(&tx, by("id", before.id), uuid).await?;
        tx.commit().await?;
        Ok(saved)
    })
    .await
}

/// One hypervisor.
pub async fn get(db: &Db, uuid: Uuid) -> Result<ComputeNode, DbError> {
    one(db.read(), by("uuid", uuid.value()), uuid).await
}

/// One hypervisor by its row id, which the API showed before 2.53.
pub async fn get_by_id(db: &Db, id: i64) -> Result<ComputeNode, DbError> {
    one(db.read(), by("id", id), id).await
}

/// Every hypervisor, by id.
pub async fn list(db: &Db) -> Result<Vec<ComputeNode>, DbError> {
    select_where(db, Condition::all()).await
}

/// The hypervisors of a host.
pub async fn list_by_host(db: &Db, host: &str) -> Result<Vec<ComputeNode>, DbError> {
    select_where(db, Condition::all().add(Expr::col("host").eq(host))).await
}

/// The hypervisors whose `hypervisor_hostname` contains `text`.
pub async fn search(db: &Db, text: &str) -> Result<Vec<ComputeNode>, DbError> {
    select_where(db, Condition::all().add(contains("hypervisor_hostname", text))).await
}

/// Forgets a hypervisor.
pub async fn delete(db: &Db, uuid: Uuid) -> Result<(), DbError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let mut statement = Query::delete();
        statement.from_table(TABLE).and_where(Expr::col("uuid").eq(uuid.value()));
        if tx.execute(&statement).await?.rows_affected() == 0 {
            return Err(DbError::not_found("compute node", uuid));
        }
        tx.commit().await
    })
    .await
}

async fn select_where(db: &Db, condition: Condition) -> Result<Vec<ComputeNode>, DbError> {
    let mut statement = select(TABLE, COLUMNS);
    statement.cond_where(condition).order_by("id", Order::Asc);
    let rows = db.read().query_all(&statement).await?;
    rows.iter().map(read).collect()
}

fn by(column: &'static str, value: impl Into<SqlValue>) -> SelectStatement {
    select(TABLE, COLUMNS).and_where(Expr::col(column).eq(value.into())).take()
}

async fn one(
    conn: &impl ConnectionTrait,
    statement: SelectStatement,
    id: impl ToString,
) -> Result<ComputeNode, DbError> {
    let row = conn.query_one(&statement).await?;
    read(&row.ok_or_else(|| DbError::not_found("compute node", id))?)
}

/// `host/node`.
fn name(node: &ComputeNode) -> String {
    let names = [&node.host, &node.hypervisor_hostname];
    names.map(|name| name.as_deref().unwrap_or("-")).join("/")
}

fn can_change(name: &str) -> bool {
    let every = ComputeNode { set: FieldSet::ALL, ..ComputeNode::default() };
    every.data().contains_key(name) && !OWN.contains(&name) && name != "uuid"
}

/// Of all columns but `id`.
fn values(node: &ComputeNode) -> Vec<SqlValue> {
    let mut data = node.data();
    data.retain(|name, _| !OWN.contains(&name.as_str()));
    vec![
        node.uuid.value(),
        node.host.value(),
        node.hypervisor_hostname.value(),
        node.created_at.value(),
        node.updated_at.value(),
        Value::Object(data).to_string().into(),
    ]
}

fn read(row: &QueryResult) -> Result<ComputeNode, DbError> {
    use crate::sql::Cell;
    let uuid = Uuid::read(row, 1)?;
    let record: String = row.try_get_by_index(6)?;
    let node = serde_json::from_str(&record)
        .map_err(|error| error.to_string())
        .and_then(|data| ComputeNode::from_data(&data).map_err(|error| error.to_string()))
        .map_err(|reason| DbError::corrupt("compute node", uuid, reason))?;
    Ok(ComputeNode { id: i64::read(row, 0)?, created_at: Cell::read(row, 4)?, updated_at: Cell::read(row, 5)?, ..node })
}
