//! Runs of tasks that are done once per period and host.

use chrono::{DateTime, Utc};
use kilonova_core::time::utcnow;
use kilonova_objects::TaskLog;
use sea_orm::sea_query::{Expr, ExprTrait as _, Order, Query};
use sea_orm::{ConnectionTrait, QueryResult};

use crate::sql::{columns, exists_or, insert, select, val};
use crate::{Db, DbError};

const TABLE: &str = "task_log";
const RUNNING: &str = "RUNNING";
const DONE: &str = "DONE";

columns!(
    TaskLog,
    [id, task_name, state, host, period_beginning, period_ending, message, task_items, errors, created_at, updated_at,]
);

/// A run begins. [`DbError::Exists`]: it did before, on that host and for that period.
pub async fn begin(db: &Db, run: &TaskLog) -> Result<TaskLog, DbError> {
    let mut run = TaskLog { state: RUNNING.to_owned(), created_at: Some(utcnow()), updated_at: None, ..run.clone() };
    run.id = db
        .retry(|| async {
            let tx = db.begin().await?;
            let id = insert(&tx, TABLE, &COLUMNS[1..], values(&run).split_off(1)).await;
            let id = id.map_err(|error| exists_or(error, "task log", &run.host))?;
            tx.commit().await?;
            Ok::<_, DbError>(id)
        })
        .await?;
    Ok(run)
}

/// A run ends, with `errors` and `message`. [`DbError::NotFound`]: it does not run.
pub async fn end(db: &Db, run: &TaskLog) -> Result<(), DbError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let mut statement = Query::update();
        statement
            .table(TABLE)
            .value("state", Expr::val(DONE))
            .value("message", Expr::val(run.message.as_str()))
            .value("errors", Expr::val(run.errors))
            .value("updated_at", val(utcnow()))
            .and_where(Expr::col("task_name").eq(run.task_name.as_str()))
            .and_where(Expr::col("period_beginning").eq(val(run.period_beginning)))
            .and_where(Expr::col("period_ending").eq(val(run.period_ending)))
            .and_where(Expr::col("host").eq(run.host.as_str()))
            .and_where(Expr::col("state").is_in([RUNNING, DONE]));
        if tx.execute(&statement).await?.rows_affected() == 0 {
            return Err(DbError::not_found("task log", &run.host));
        }
        tx.commit().await
    })
    .await
}

/// The runs for a period, by host.
pub async fn list(
    db: &Db,
    task_name: &str,
    period_beginning: DateTime<Utc>,
    period_ending: DateTime<Utc>,
) -> Result<Vec<TaskLog>, DbError> {
    let mut statement = select(TABLE, COLUMNS);
    statement
        .and_where(Expr::col("task_name").eq(task_name))
        .and_where(Expr::col("period_beginning").eq(val(period_beginning)))
        .and_where(Expr::col("period_ending").eq(val(period_ending)))
        .order_by("host", Order::Asc);
    let rows = db.read().query_all(&statement).await?;
    rows.iter().map(read).collect()
}

fn read(row: &QueryResult) -> Result<TaskLog, DbError> {
    let mut run = TaskLog::default();
    read_columns(row, &mut run)?;
    Ok(run)
}
