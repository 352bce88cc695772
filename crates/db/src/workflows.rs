//! Work in several steps that must end even if the process that does it dies: one row each, with a lease.
//!
//! ```text
//! instances::create / start_action ──▶ row, leased ──advance──▶ … ──finish──▶ gone
//!                                        │ lease over: expired ──take (attempts + 1)──▶ leased again
//! ```

use std::time::Duration;

use chrono::{DateTime, Utc};
use kilonova_core::time::utcnow;
use sea_orm::sea_query::{Condition, Expr, ExprTrait as _, Func, Order, Query, UpdateStatement};
use sea_orm::{ConnectionTrait, QueryResult, Value as SqlValue};
use serde_json::Value;
use uuid::Uuid;

use crate::sql::{Cell, count as count_rows, insert_many, limit_to, select, starts_with, val};
use crate::{Db, DbError};

const TABLE: &str = "workflows";
/// `lease_micros` is how long the last lease was given for: what [`renew`] gives again.
const COLUMNS: &[&str] = &[
    "id",
    "kind",
    "instance_uuid",
    "step",
    "payload",
    "owner",
    "lease_until",
    "attempts",
    "created_at",
    "updated_at",
    "lease_micros",
];

/// The step that `instances::create` leaves a build at.
pub const FIRST_BUILD_STEP: &str = "schedule";

/// What a workflow does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkflowKind {
    /// Makes a server.
    Build,
    /// Removes a server.
    Delete,
    /// Finds a shelved server a host again.
    Unshelve,
    /// Moves a server to another host, or ends that one way or the other.
    Move,
}

impl WorkflowKind {
    /// The word in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Delete => "delete",
            Self::Unshelve => "unshelve",
            Self::Move => "move",
        }
    }
}

/// A workflow that starts.
#[derive(Clone, Debug)]
pub struct NewWorkflow {
    /// What it does.
    pub kind: WorkflowKind,
    /// To which instance.
    pub instance_uuid: Uuid,
    /// Its first step.
    pub step: String,
    /// What the steps need to know.
    pub payload: Value,
    /// Who works on it first.
    pub lease_owner: String,
    /// For how long nobody else does.
    pub lease: Duration,
}

/// A workflow under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Workflow {
    /// Row id.
    pub id: i64,
    /// What it does.
    pub kind: WorkflowKind,
    /// To which instance.
    pub instance_uuid: Uuid,
    /// The step that is next or under way.
    pub step: String,
    /// What the steps need to know.
    pub payload: Value,
    /// Who works, or worked, on it.
    pub owner: String,
    /// Until when nobody else does.
    pub lease_until: DateTime<Utc>,
    /// How often it was taken over.
    pub attempts: i64,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When it last moved.
    pub updated_at: DateTime<Utc>,
}

/// The workflow of this kind for an instance.
pub async fn get(db: &Db, kind: WorkflowKind, instance_uuid: Uuid) -> Result<Option<Workflow>, DbError> {
    let mut statement = select(TABLE, COLUMNS);
    statement.cond_where(is_of(instance_uuid, Some(kind)));
    let row = db.read().query_one(&statement).await?;
    row.as_ref().map(read).transpose()
}

/// Takes a workflow over from `expected_owner`, if it is still as the caller saw it. Of many callers one gets `true`.
pub async fn take(
    db: &Db,
    id: i64,
    owner: &str,
    lease: Duration,
    expected_owner: &str,
    expected_attempts: i64,
) -> Result<bool, DbError> {
    let now = utcnow();
    let mut statement = Query::update();
    statement
        .table(TABLE)
        .value("owner", owner)
        .value("lease_until", micros(now) + span(lease))
        .value("lease_micros", span(lease))
        .value("attempts", expected_attempts + 1)
        .value("updated_at", val(now))
        .and_where(Expr::col("id").eq(id))
        .and_where(Expr::col("owner").eq(expected_owner))
        .and_where(Expr::col("attempts").eq(expected_attempts));
    db.retry(|| changed_one(db, &statement)).await
}

/// Moves a workflow that `owner` holds to `step` and renews the lease. `false`: it is gone, or another's.
pub async fn advance(
    db: &Db,
    id: i64,
    owner: &str,
    step: &str,
    payload: &Value,
    lease: Duration,
) -> Result<bool, DbError> {
    let now = utcnow();
    let mut statement = Query::update();
    statement
        .table(TABLE)
        .value("step", step)
        .value("payload", payload.to_string())
        .value("lease_until", micros(now) + span(lease))
        .value("lease_micros", span(lease))
        .value("updated_at", val(now))
        .and_where(Expr::col("id").eq(id))
        .and_where(Expr::col("owner").eq(owner));
    db.retry_idempotent(|| changed_one(db, &statement)).await
}

/// A workflow is done. Nothing happens if it is gone already.
pub async fn finish(db: &Db, id: i64) -> Result<(), DbError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let mut statement = Query::delete();
        tx.execute(statement.from_table(TABLE).and_where(Expr::col("id").eq(id))).await?;
        tx.commit().await
    })
    .await
}

/// Ends the lease of `owner` after `delay`, so that somebody takes the workflow up then.
pub async fn release(db: &Db, id: i64, owner: &str, delay: Duration) -> Result<(), DbError> {
    let mut statement = end_lease(delay);
    statement.and_where(Expr::col("id").eq(id)).and_where(Expr::col("owner").eq(owner));
    db.retry_idempotent(|| changed_one(db, &statement)).await?;
    Ok(())
}

/// The workflows whose lease is over at `now`, the longest over first.
pub async fn expired(db: &Db, now: DateTime<Utc>, limit: u64) -> Result<Vec<Workflow>, DbError> {
    let mut statement = select(TABLE, COLUMNS);
    statement
        .and_where(Expr::col("lease_until").lte(val(now)))
        .order_by("lease_until", Order::Asc)
        .order_by("id", Order::Asc);
    limit_to(&mut statement, Some(limit));
    let rows = db.read().query_all(&statement).await?;
    rows.iter().map(read).collect()
}

/// Ends every lease of owners whose name begins with `owner_prefix`, and says how many: what a dead process held.
pub async fn expire_owner(db: &Db, owner_prefix: &str) -> Result<u64, DbError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let mut statement = end_lease(Duration::ZERO);
        statement.and_where(starts_with("owner", owner_prefix)).and_where(Expr::col("lease_until").gt(val(utcnow())));
        let expired = tx.execute(&statement).await?.rows_affected();
        tx.commit().await?;
        Ok(expired)
    })
    .await
}

/// How many workflows are under way.
pub async fn count(db: &Db) -> Result<i64, DbError> {
    let mut statement = Query::select();
    statement.expr(Func::count(Expr::col("id"))).from(TABLE);
    Ok(count_rows(db.read(), &statement).await?)
}

/// Starts workflows.
pub(crate) async fn insert(tx: &impl ConnectionTrait, new: Vec<NewWorkflow>) -> Result<(), DbError> {
    let now = utcnow();
    let row = |new: NewWorkflow| -> Vec<SqlValue> {
        vec![
            new.kind.as_str().into(),
            new.instance_uuid.value(),
            new.step.into(),
            new.payload.to_string().into(),
            new.lease_owner.into(),
            (micros(now) + span(new.lease)).into(),
            0_i64.into(),
            now.value(),
            now.value(),
            span(new.lease).into(),
        ]
    };
    insert_many(tx, TABLE, &COLUMNS[1..], new.into_iter().map(row).collect()).await?;
    Ok(())
}

/// Starts a workflow unless one of its kind is under way for the instance, whose row the caller has locked.
pub(crate) async fn insert_if_absent(tx: &impl ConnectionTrait, new: NewWorkflow) -> Result<(), DbError> {
    let mut statement = select(TABLE, &["id"]);
    statement.cond_where(is_of(new.instance_uuid, Some(new.kind)));
    match tx.query_one(&statement).await? {
        Some(_) => Ok(()),
        None => insert(tx, vec![new]).await,
    }
}

/// The workflow goes on: its lease is as long as it was at first.
pub(crate) async fn renew(tx: &impl ConnectionTrait, kind: WorkflowKind, instance_uuid: Uuid) -> Result<(), DbError> {
    let now = utcnow();
    let mut statement = Query::update();
    statement
        .table(TABLE)
        .value("lease_until", Expr::col("lease_micros").add(micros(now)))
        .value("updated_at", val(now))
        .cond_where(is_of(instance_uuid, Some(kind)));
    tx.execute(&statement).await?;
    Ok(())
}

/// Ends the workflows of an instance: of one kind, or all.
pub(crate) async fn end(
    tx: &impl ConnectionTrait,
    instance_uuid: Uuid,
    kind: Option<WorkflowKind>,
) -> Result<(), DbError> {
    let mut statement = Query::delete();
    tx.execute(statement.from_table(TABLE).cond_where(is_of(instance_uuid, kind))).await?;
    Ok(())
}

fn is_of(instance_uuid: Uuid, kind: Option<WorkflowKind>) -> Condition {
    Condition::all()
        .add(Expr::col("instance_uuid").eq(instance_uuid.value()))
        .add_option(kind.map(|kind| Expr::col("kind").eq(kind.as_str())))
}

fn end_lease(delay: Duration) -> UpdateStatement {
    let now = utcnow();
    let ended = [("lease_until", (micros(now) + span(delay)).into()), ("updated_at", val(now))];
    Query::update().table(TABLE).values(ended).take()
}

async fn changed_one(db: &Db, statement: &UpdateStatement) -> Result<bool, DbError> {
    let tx = db.begin().await?;
    let changed = tx.execute(statement).await?.rows_affected();
    tx.commit().await?;
    Ok(changed == 1)
}

fn micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

/// A lease in microseconds. One that is too long to count never ends.
fn span(lease: Duration) -> i64 {
    i64::try_from(lease.as_micros()).unwrap_or(i64::MAX / 2)
}

fn read(row: &QueryResult) -> Result<Workflow, DbError> {
    let id = i64::read(row, 0)?;
    let corrupt = |reason: String| DbError::corrupt("workflow", id, reason);
    let payload: String = row.try_get_by_index(4)?;
    Ok(Workflow {
        id,
        kind: kind(row.try_get_by_index(1)?).map_err(corrupt)?,
        instance_uuid: Cell::read(row, 2)?,
        step: row.try_get_by_index(3)?,
        payload: serde_json::from_str(&payload).map_err(|error| corrupt(error.to_string()))?,
        owner: row.try_get_by_index(5)?,
        lease_until: Cell::read(row, 6)?,
        attempts: row.try_get_by_index(7)?,
        created_at: Cell::read(row, 8)?,
        updated_at: Cell::read(row, 9)?,
    })
}

fn kind(text: String) -> Result<WorkflowKind, String> {
    let kinds = [WorkflowKind::Build, WorkflowKind::Delete, WorkflowKind::Unshelve, WorkflowKind::Move];
    let known = kinds.into_iter().find(|kind| kind.as_str() == text);
    known.ok_or_else(|| format!("there is no kind {text}"))
}
