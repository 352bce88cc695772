//! Moves of servers between hosts: Nova's `migrations`. (This crate's `migrations` are those of the schema.)

use chrono::{DateTime, Utc};
use kilonova_core::time::utcnow;
use kilonova_objects::Migration;
use kilonova_objects::migration::status::OVER;
use kilonova_objects::wire::VersionedObject as _;
use sea_orm::sea_query::{Condition, Expr, ExprTrait as _, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait, QueryResult};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::instances::Deleted;
use crate::sql::{Cell as _, SortColumn, after, columns, insert, limit_to, order_by, select, val};
use crate::{Db, DbError};

const TABLE: &str = "server_migrations";
const RESOURCE: &str = "migration";

columns!(
    Migration,
    [
        id,
        uuid,
        source_compute,
        dest_compute,
        source_node,
        dest_node,
        dest_compute_id,
        dest_host,
        old_instance_type_id,
        new_instance_type_id,
        instance_uuid,
        status,
        migration_type,
        hidden,
        memory_total,
        memory_processed,
        memory_remaining,
        disk_total,
        disk_processed,
        disk_remaining,
        cross_cell_move,
        user_id,
        project_id,
        created_at,
        updated_at,
        deleted_at,
        deleted,
    ]
);

/// Newest first, as pages are.
const SORT: [SortColumn; 2] = [
    SortColumn { name: "created_at", nullable: false, desc: true },
    SortColumn { name: "id", nullable: false, desc: true },
];

/// Which moves to list.
#[derive(Clone, Debug, Default)]
pub struct MigrationQuery {
    /// Of this server.
    pub instance_uuid: Option<Uuid>,
    /// From or to this host.
    pub host: Option<String>,
    /// From this host.
    pub source_compute: Option<String>,
    /// To this host.
    pub dest_compute: Option<String>,
    /// From or to this hypervisor.
    pub node: Option<String>,
    /// In one of these.
    pub statuses: Option<Vec<String>>,
    /// In none of these.
    pub not_statuses: Option<Vec<String>>,
    /// Of this type.
    pub migration_type: Option<String>,
    /// Hidden, or not.
    pub hidden: Option<bool>,
    /// Asked for by this user.
    pub user_id: Option<String>,
    /// Asked for in this project.
    pub project_id: Option<String>,
    /// Updated (or, if never, created) at this time or later.
    pub changes_since: Option<DateTime<Utc>>,
    /// Updated (or, if never, created) at this time or earlier.
    pub changes_before: Option<DateTime<Utc>>,
    /// Whether those of deleted servers count.
    pub deleted: Deleted,
    /// Newest first; else oldest first.
    pub newest_first: bool,
    /// At most this many.
    pub limit: Option<u64>,
    /// Only what comes after this move, newest first; [`DbError::NotFound`] with resource `marker`.
    pub marker: Option<Uuid>,
}

impl MigrationQuery {
    /// Those that are not over.
    pub fn open() -> Self {
        Self { not_statuses: Some(OVER.map(str::to_owned).to_vec()), ..Self::default() }
    }

    /// Those of a server that are not over.
    pub fn open_of(instance_uuid: Uuid) -> Self {
        Self { instance_uuid: Some(instance_uuid), ..Self::open() }
    }
}

/// Stores a move.
pub async fn create(db: &Db, migration: &Migration) -> Result<Migration, DbError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let created = insert_new(&tx, migration).await?;
        tx.commit().await?;
        Ok(created)
    })
    .await
}

/// Writes the fields in `changes` (names and values as in `nova_object.data`).
pub async fn save(db: &Db, id: i64, changes: &Map<String, Value>) -> Result<Migration, DbError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let mut statement = select(TABLE, COLUMNS);
        statement.and_where(Expr::col("id").eq(id)).lock_exclusive();
        let row = tx.query_one(&statement).await?;
        let before = read(&row.ok_or_else(|| DbError::not_found(RESOURCE, id))?)?;
        let after = changed(before, changes)?;
        write(&tx, &after).await?;
        tx.commit().await?;
        Ok(after)
    })
    .await
}

/// One move, also of a deleted server.
pub async fn get(db: &Db, id: i64) -> Result<Migration, DbError> {
    let mut statement = select(TABLE, COLUMNS);
    let row = db.read().query_one(statement.and_where(Expr::col("id").eq(id))).await?;
    read(&row.ok_or_else(|| DbError::not_found(RESOURCE, id))?)
}

/// The newest move of a server with that status, also of a deleted one.
pub async fn get_by_instance_and_status(db: &Db, instance_uuid: Uuid, status: &str) -> Result<Migration, DbError> {
    let row = db.read().query_one(&with_status(instance_uuid, status)).await?;
    read(&row.ok_or_else(|| DbError::not_found(RESOURCE, instance_uuid))?)
}

/// The moves that a query asks for.
pub async fn list(db: &Db, query: &MigrationQuery) -> Result<Vec<Migration>, DbError> {
    if query.limit == Some(0) {
        return Ok(Vec::new());
    }
    let mut statement = select(TABLE, COLUMNS);
    statement.cond_where(condition(query));
    if query.newest_first {
        order_by(&mut statement, &SORT);
    } else {
        statement.order_by("id", Order::Asc);
    }
    if let Some(marker) = query.marker {
        let marker = get_by_uuid(db, marker).await?;
        statement.cond_where(after(&SORT, &[marker.created_at.value(), marker.id.into()]));
    }
    limit_to(&mut statement, query.limit);
    let rows = db.read().query_all(&statement).await?;
    rows.iter().map(read).collect()
}

async fn get_by_uuid(db: &Db, uuid: Uuid) -> Result<Migration, DbError> {
    let mut statement = select(TABLE, COLUMNS);
    let row = db.read().query_one(statement.and_where(Expr::col("uuid").eq(uuid.value()))).await?;
    read(&row.ok_or_else(|| DbError::not_found("marker", uuid))?)
}

/// Stores a move together with what begins it.
pub(crate) async fn insert_new(tx: &impl ConnectionTrait, migration: &Migration) -> Result<Migration, DbError> {
    let mut new = Migration {
        created_at: Some(utcnow()),
        updated_at: None,
        deleted_at: None,
        deleted: false,
        set: Migration::default().set,
        ..migration.clone()
    };
    new.id = insert(tx, TABLE, &COLUMNS[1..], values(&new).split_off(1)).await?;
    Ok(new)
}

/// Moves on a move of the server, whose row the caller's transaction keeps from others: the newest that has status
/// `from`, and only if that is the one the caller has seen.
pub(crate) async fn advance(
    tx: &impl ConnectionTrait,
    instance_uuid: Uuid,
    id: i64,
    (from, to): (&str, &str),
) -> Result<Migration, DbError> {
    let row = tx.query_one(with_status(instance_uuid, from).lock_exclusive()).await?;
    let newest = row.as_ref().map(read).transpose()?;
    let before = newest.filter(|newest| newest.id == id);
    let before = before.ok_or_else(|| DbError::not_found(RESOURCE, id))?;
    let after = Migration { status: to.to_owned(), updated_at: Some(utcnow()), ..before };
    write(tx, &after).await?;
    Ok(after)
}

/// The moves of a server are deleted with it: no list shows them any more.
pub(crate) async fn delete_of(tx: &impl ConnectionTrait, instance_uuid: Uuid) -> Result<(), DbError> {
    let mut statement = Query::update();
    statement
        .table(TABLE)
        .value("deleted", true)
        .value("deleted_at", val(utcnow()))
        .and_where(Expr::col("instance_uuid").eq(instance_uuid.value()))
        .and_where(Expr::col("deleted").eq(false));
    tx.execute(&statement).await?;
    Ok(())
}

fn with_status(instance_uuid: Uuid, status: &str) -> SelectStatement {
    let mut statement = select(TABLE, COLUMNS);
    statement
        .and_where(Expr::col("instance_uuid").eq(instance_uuid.value()))
        .and_where(Expr::col("status").eq(status))
        .order_by("id", Order::Desc)
        .limit(1);
    statement
}

fn condition(query: &MigrationQuery) -> Condition {
    let is = |column: &'static str, value: &Option<String>| value.clone().map(|value| Expr::col(column).eq(value));
    let either = |source: &'static str, dest: &'static str, value: &Option<String>| {
        let value = value.clone()?;
        Some(Condition::any().add(Expr::col(source).eq(value.clone())).add(Expr::col(dest).eq(value)))
    };
    let changed = || Expr::col("updated_at").if_null(Expr::col("created_at"));
    let is_deleted = match query.deleted {
        Deleted::No => Some(false),
        Deleted::Only => Some(true),
        Deleted::Yes => None,
    };
    Condition::all()
        .add_option(query.instance_uuid.map(|uuid| Expr::col("instance_uuid").eq(uuid.value())))
        .add_option(either("source_compute", "dest_compute", &query.host))
        .add_option(is("source_compute", &query.source_compute))
        .add_option(is("dest_compute", &query.dest_compute))
        .add_option(either("source_node", "dest_node", &query.node))
        .add_option(query.statuses.clone().map(|statuses| Expr::col("status").is_in(statuses)))
        .add_option(query.not_statuses.clone().map(|statuses| Expr::col("status").is_not_in(statuses)))
        .add_option(is("migration_type", &query.migration_type))
        .add_option(query.hidden.map(|hidden| Expr::col("hidden").eq(hidden)))
        .add_option(is("user_id", &query.user_id))
        .add_option(is("project_id", &query.project_id))
        .add_option(query.changes_since.map(|since| changed().gte(val(since))))
        .add_option(query.changes_before.map(|before| changed().lte(val(before))))
        .add_option(is_deleted.map(|deleted| Expr::col("deleted").eq(deleted)))
}

fn changed(before: Migration, changes: &Map<String, Value>) -> Result<Migration, DbError> {
    const FIXED: [&str; 6] = ["id", "uuid", "instance_uuid", "created_at", "deleted_at", "deleted"];
    let id = before.id;
    if let Some(fixed) = changes.keys().find(|name| FIXED.contains(&name.as_str())) {
        return Err(DbError::corrupt(RESOURCE, id, format!("the field {fixed} cannot be changed")));
    }
    let mut data = before.data();
    data.extend(changes.clone());
    let mut after = Migration::from_data(&data).map_err(|error| DbError::corrupt(RESOURCE, id, error))?;
    // The form on the wire knows whole seconds only.
    (after.created_at, after.updated_at, after.set) = (before.created_at, Some(utcnow()), before.set);
    Ok(after)
}

async fn write(tx: &impl ConnectionTrait, migration: &Migration) -> Result<(), DbError> {
    let columns = COLUMNS.iter().copied().zip(values(migration)).skip(1);
    let mut statement = Query::update();
    statement
        .table(TABLE)
        .values(columns.map(|(name, value)| (name, Expr::val(value))))
        .and_where(Expr::col("id").eq(migration.id));
    tx.execute(&statement).await?;
    Ok(())
}

fn read(row: &QueryResult) -> Result<Migration, DbError> {
    let mut migration = Migration::default();
    read_columns(row, &mut migration)?;
    Ok(migration)
}
