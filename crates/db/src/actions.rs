//! The record of what was asked of an instance, and of the steps it took.

use kilonova_core::time::utcnow;
use kilonova_objects::{InstanceAction, InstanceActionEvent};
use sea_orm::sea_query::{Expr, ExprTrait as _, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait, QueryResult};
use uuid::Uuid;

use crate::sql::{self, Cell as _, select, val};
use crate::{Db, DbError};

const TABLE: &str = "instance_actions";

/// Result and message of what failed.
const ERROR: &str = "Error";
/// Result of what did not.
const SUCCESS: &str = "Success";

mod action_row {
    use kilonova_objects::InstanceAction;

    crate::sql::columns!(
        InstanceAction,
        [
            id,
            action,
            instance_uuid,
            request_id,
            user_id,
            project_id,
            start_time,
            finish_time,
            message,
            created_at,
            updated_at,
        ]
    );
}

mod event_row {
    use kilonova_objects::InstanceActionEvent;

    pub(super) const TABLE: &str = "instance_actions_events";

    crate::sql::columns!(
        InstanceActionEvent,
        [id, event, action_id, start_time, finish_time, result, traceback, host, details, created_at, updated_at,]
    );
}

/// Who asked for what.
#[derive(Clone, Copy)]
pub(crate) struct Actor<'a> {
    pub(crate) action: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) user_id: &'a str,
    pub(crate) project_id: &'a str,
}

/// The actions of an instance, newest first.
pub async fn list(db: &Db, instance_uuid: Uuid) -> Result<Vec<InstanceAction>, DbError> {
    let statement = actions_of(instance_uuid);
    let rows = db.read().query_all(&statement).await?;
    rows.iter().map(read_action).collect()
}

/// The action that a request started.
pub async fn get(db: &Db, instance_uuid: Uuid, request_id: &str) -> Result<InstanceAction, DbError> {
    find(db.read(), instance_uuid, request_id).await
}

/// The steps of an action, newest first.
pub async fn events(db: &Db, action_id: i64) -> Result<Vec<InstanceActionEvent>, DbError> {
    let mut statement = select(event_row::TABLE, event_row::COLUMNS);
    statement.and_where(Expr::col("action_id").eq(action_id));
    newest_first(&mut statement);
    let rows = db.read().query_all(&statement).await?;
    rows.iter().map(read_event).collect()
}

/// An action begins.
pub async fn start(
    db: &Db,
    instance_uuid: Uuid,
    action: &str,
    request_id: &str,
    user_id: &str,
    project_id: &str,
) -> Result<InstanceAction, DbError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let actor = Actor { action, request_id, user_id, project_id };
        insert(&tx, &[instance_uuid], actor).await?;
        let action = find(&tx, instance_uuid, request_id).await?;
        tx.commit().await?;
        Ok(action)
    })
    .await
}

/// An action without steps is done.
pub async fn finish(db: &Db, action: &InstanceAction) -> Result<(), DbError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        end_action(&tx, action.id, false).await?;
        tx.commit().await
    })
    .await
}

/// A step of the action that `request_id` started begins. Without such an action: [`DbError::NotFound`] with resource
/// `action`.
pub async fn event_start(
    db: &Db,
    instance_uuid: Uuid,
    request_id: &str,
    event: &str,
    host: Option<&str>,
) -> Result<InstanceActionEvent, DbError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let action = find(&tx, instance_uuid, request_id).await?;
        let now = Some(utcnow());
        let mut begun = InstanceActionEvent {
            event: Some(event.to_owned()),
            action_id: Some(action.id),
            host: host.map(str::to_owned),
            start_time: now,
            created_at: now,
            ..InstanceActionEvent::default()
        };
        let values = event_row::values(&begun).split_off(1);
        begun.id = sql::insert(&tx, event_row::TABLE, &event_row::COLUMNS[1..], values).await?;
        tx.commit().await?;
        Ok(begun)
    })
    .await
}

/// A step ends: well, or with `failure` (the error's text, and its trace). Ends the newest step of this name, which is
/// [`DbError::NotFound`] with resource `action event` if it never began.
pub async fn event_finish(
    db: &Db,
    instance_uuid: Uuid,
    request_id: &str,
    event: &str,
    failure: Option<(String, String)>,
) -> Result<InstanceActionEvent, DbError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        let action = find(&tx, instance_uuid, request_id).await?;
        let begun = newest_event(&tx, action.id, event).await?;
        let failed = failure.is_some();
        let (details, traceback) = failure.clone().unzip();
        let now = Some(utcnow());
        let ended = InstanceActionEvent {
            finish_time: now,
            updated_at: now,
            result: Some(if failed { ERROR } else { SUCCESS }.to_owned()),
            details,
            traceback,
            ..begun
        };
        write_event(&tx, &ended).await?;
        end_action(&tx, action.id, failed).await?;
        tx.commit().await?;
        Ok(ended)
    })
    .await
}

/// Records that an action begins on several instances.
pub(crate) async fn insert(
    tx: &impl ConnectionTrait,
    instance_uuids: &[Uuid],
    actor: Actor<'_>,
) -> Result<(), DbError> {
    let now = Some(utcnow());
    // What a service does by itself nobody asked for.
    let who = |id: &str| (!id.is_empty()).then(|| id.to_owned());
    let row = |uuid: &Uuid| {
        let action = InstanceAction {
            action: Some(actor.action.to_owned()),
            instance_uuid: Some(*uuid),
            request_id: Some(actor.request_id.to_owned()),
            user_id: who(actor.user_id),
            project_id: who(actor.project_id),
            start_time: now,
            created_at: now,
            ..InstanceAction::default()
        };
        action_row::values(&action).split_off(1)
    };
    let rows = instance_uuids.iter().map(row).collect();
    sql::insert_many(tx, TABLE, &action_row::COLUMNS[1..], rows).await?;
    Ok(())
}

async fn find(conn: &impl ConnectionTrait, instance_uuid: Uuid, request_id: &str) -> Result<InstanceAction, DbError> {
    let mut statement = actions_of(instance_uuid);
    statement.and_where(Expr::col("request_id").eq(request_id)).limit(1);
    let row = conn.query_one(&statement).await?;
    read_action(&row.ok_or_else(|| DbError::not_found("action", request_id))?)
}

fn actions_of(instance_uuid: Uuid) -> SelectStatement {
    let mut statement = select(TABLE, action_row::COLUMNS);
    statement.and_where(Expr::col("instance_uuid").eq(instance_uuid.value()));
    newest_first(&mut statement);
    statement
}

fn newest_first(statement: &mut SelectStatement) {
    statement.order_by("created_at", Order::Desc).order_by("id", Order::Desc);
}

async fn newest_event(tx: &impl ConnectionTrait, action_id: i64, event: &str) -> Result<InstanceActionEvent, DbError> {
    let mut statement = select(event_row::TABLE, event_row::COLUMNS);
    statement.and_where(Expr::col("action_id").eq(action_id)).and_where(Expr::col("event").eq(event)).limit(1);
    newest_first(&mut statement);
    statement.lock_exclusive();
    let row = tx.query_one(&statement).await?;
    read_event(&row.ok_or_else(|| DbError::not_found("action event", event))?)
}

async fn write_event(tx: &impl ConnectionTrait, event: &InstanceActionEvent) -> Result<(), DbError> {
    let columns = event_row::COLUMNS.iter().copied().zip(event_row::values(event));
    let mut statement = Query::update();
    statement
        .table(event_row::TABLE)
        .values(columns.skip(1).map(|(name, value)| (name, Expr::val(value))))
        .and_where(Expr::col("id").eq(event.id));
    tx.execute(&statement).await?;
    Ok(())
}

/// The action's end is that of its last step; one failed step marks it for good.
async fn end_action(tx: &impl ConnectionTrait, action_id: i64, failed: bool) -> Result<(), DbError> {
    let now = utcnow();
    let mut statement = Query::update();
    statement
        .table(TABLE)
        .value("finish_time", val(now))
        .value("updated_at", val(now))
        .and_where(Expr::col("id").eq(action_id));
    if failed {
        statement.value("message", ERROR);
    }
    tx.execute(&statement).await?;
    Ok(())
}

fn read_action(row: &QueryResult) -> Result<InstanceAction, DbError> {
    let mut action = InstanceAction::default();
    action_row::read_columns(row, &mut action)?;
    Ok(action)
}

fn read_event(row: &QueryResult) -> Result<InstanceActionEvent, DbError> {
    let mut event = InstanceActionEvent::default();
    event_row::read_columns(row, &mut event)?;
    Ok(event)
}
