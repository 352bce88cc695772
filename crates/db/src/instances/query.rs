//! Reading instances: one, or many by filters, sorted and paged.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use kilonova_objects::{Instance, InstanceFault, VmState};
use sea_orm::sea_query::{Condition, Expr, ExprTrait as _, Query, SelectStatement};
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use uuid::Uuid;

use super::filter::{Matcher, condition};
use super::row::{Decoder, READ, TABLE, sort_column, sort_values};
use super::{Deleted, Expand, InstanceQuery};
use crate::request_specs::{self, Asked};
use crate::sql::{Cell, SortColumn, after, limit_to, order_by};
use crate::{Db, DbError, faults};

/// Rows that are read at once when SQL alone cannot tell which ones match.
const BATCH: u64 = 500;

/// One instance, whole.
pub async fn get(db: &Db, uuid: Uuid, deleted: Deleted) -> Result<Instance, DbError> {
    let mut found = vec![row(db.read(), uuid, deleted, Lock::No).await?];
    add_faults(db.read(), &mut found).await?;
    found.pop().ok_or_else(|| DbError::not_found("instance", uuid))
}

/// The instances that `query` selects, whole, in at most three statements; more only where regular expressions, tags,
/// addresses or system metadata narrow many rows down to few.
pub async fn list(db: &Db, query: &InstanceQuery) -> Result<Vec<Instance>, DbError> {
    Ok(read_list(db, query, false).await?.instances)
}

/// The same in as many statements, with what their request specs say; an instance without a spec has no entry.
pub async fn list_asked(db: &Db, query: &InstanceQuery) -> Result<(Vec<Instance>, HashMap<Uuid, Asked>), DbError> {
    let found = read_list(db, query, true).await?;
    Ok((found.instances, found.asked))
}

#[derive(Default)]
struct Found {
    instances: Vec<Instance>,
    asked: HashMap<Uuid, Asked>,
}

impl Found {
    fn push(&mut self, instance: Instance, row: &QueryResult, has_spec: bool) -> Result<(), DbError> {
        if has_spec && let Some(asked) = request_specs::asked_in(row, READ.len(), instance.uuid)? {
            self.asked.insert(instance.uuid, asked);
        }
        self.instances.push(instance);
        Ok(())
    }
}

async fn read_list(db: &Db, query: &InstanceQuery, with_spec: bool) -> Result<Found, DbError> {
    let sort = sort_columns(query)?;
    let marker = marker(db, query, &sort).await?;
    let mut found = match Matcher::new(query)? {
        Some(matcher) => matching(db, query, &sort, marker, &matcher, with_spec).await?,
        None => {
            let mut statement = page(query, &sort, marker, query.limit);
            if with_spec {
                add_spec(&mut statement);
            }
            let mut decoder = Decoder::new(query.with);
            let mut found = Found::default();
            for row in db.read().query_all(&statement).await? {
                found.push(decoder.instance(&row)?, &row, with_spec)?;
            }
            found
        }
    };
    if query.with.faults {
        add_faults(db.read(), &mut found.instances).await?;
    }
    Ok(found)
}

/// The request spec, in a column after those of [`READ`].
fn add_spec(statement: &mut SelectStatement) {
    let spec = request_specs::of_instance(Expr::col((TABLE, "uuid")));
    statement.expr(Expr::SubQuery(None, Box::new(spec.into())));
}

/// Uuid and name of the instances that `query` selects.
pub async fn list_brief(db: &Db, query: &InstanceQuery) -> Result<Vec<(Uuid, String)>, DbError> {
    let sort = sort_columns(query)?;
    let marker = marker(db, query, &sort).await?;
    if let Some(matcher) = Matcher::new(query)? {
        let found = matching(db, query, &sort, marker, &matcher, false).await?;
        let brief = |found: Instance| (found.uuid, found.display_name.unwrap_or_default());
        return Ok(found.instances.into_iter().map(brief).collect());
    }
    let mut statement = page(query, &sort, marker, query.limit);
    statement.clear_selects().columns(["uuid", "display_name"]);
    let rows = db.read().query_all(&statement).await?;
    let brief = rows.iter().map(|row| {
        let name: Option<String> = row.try_get_by_index(1)?;
        Ok::<_, DbErr>((Uuid::read(row, 0)?, name.unwrap_or_default()))
    });
    Ok(brief.collect::<Result<_, _>>()?)
}

/// The instances on a host that are not deleted, whole.
pub async fn by_host(db: &Db, host: &str) -> Result<Vec<Instance>, DbError> {
    list(db, &InstanceQuery { host: Some(host.to_owned()), ..InstanceQuery::default() }).await
}

/// The instances on a host, deleted ones too, that ran between two instants.
pub async fn active_by_window(
    db: &Db,
    host: &str,
    begin: DateTime<Utc>,
    end: DateTime<Utc>,
) -> Result<Vec<Instance>, DbError> {
    let living = InstanceQuery { host: Some(host.to_owned()), ..InstanceQuery::default() };
    // Deleted rows are kept for ever, but one that ends in the window or after it was changed after its beginning.
    let gone = InstanceQuery { deleted: Deleted::Only, changes_since: Some(begin), ..living.clone() };
    let mut found = list(db, &living).await?;
    found.extend(list(db, &gone).await?);
    found.retain(|instance| {
        instance.launched_at.is_some_and(|at| at < end) && instance.terminated_at.is_none_or(|at| at > begin)
    });
    found.sort_by_key(|instance| instance.id);
    // One that was deleted between the two queries is in both.
    found.dedup_by_key(|instance| instance.uuid);
    Ok(found)
}

/// Whether the row is kept from others until the transaction ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    No,
    /// SQLite has one writer and nothing to lock; the others say `FOR UPDATE`.
    Yes,
}

/// One instance without its fault.
pub(super) async fn row(
    conn: &impl ConnectionTrait,
    uuid: Uuid,
    deleted: Deleted,
    lock: Lock,
) -> Result<Instance, DbError> {
    let mut statement = Query::select();
    statement.columns(READ).from(TABLE).and_where(Expr::col("uuid").eq(uuid.value()));
    match deleted {
        Deleted::No => statement.and_where(Expr::col("deleted").eq(false)),
        Deleted::Yes => &mut statement,
        Deleted::Only => statement.and_where(Expr::col("deleted").eq(true)),
    };
    if lock == Lock::Yes {
        statement.lock_exclusive();
    }
    let row = conn.query_one(&statement).await?;
    let row = row.ok_or_else(|| DbError::not_found("instance", uuid))?;
    Decoder::new(Expand::default()).instance(&row)
}

/// Nova shows a fault only with instances that are in error or deleted.
pub(super) async fn add_faults(conn: &impl ConnectionTrait, instances: &mut [Instance]) -> Result<(), DbError> {
    let failed = |instance: &&Instance| matches!(instance.vm_state, VmState::Error | VmState::Deleted);
    let uuids: Vec<Uuid> = instances.iter().filter(failed).map(|found| found.uuid).collect();
    let mut newest: HashMap<Uuid, InstanceFault> = faults::newest(conn, &uuids).await?;
    for instance in instances {
        instance.fault = newest.remove(&instance.uuid);
    }
    Ok(())
}

/// The keys that were asked for, then `created_at` and `id`, which make the order total.
fn sort_columns(query: &InstanceQuery) -> Result<Vec<SortColumn>, DbError> {
    let desc = query.sort.first().is_none_or(|(_, desc)| *desc);
    let asked = query.sort.iter().map(|(key, desc)| (key.as_str(), *desc));
    let mut sort: Vec<SortColumn> = Vec::with_capacity(query.sort.len() + 2);
    for (key, desc) in asked.chain([("created_at", desc), ("id", desc)]) {
        let column = sort_column(key, desc)?;
        if sort.iter().all(|other| other.name != column.name) {
            sort.push(column);
        }
    }
    Ok(sort)
}

async fn marker(db: &Db, query: &InstanceQuery, sort: &[SortColumn]) -> Result<Option<Condition>, DbError> {
    let Some(uuid) = query.marker else { return Ok(None) };
    let marker = row(db.read(), uuid, Deleted::Yes, Lock::No).await.map_err(|error| match error {
        DbError::NotFound { id, .. } => DbError::not_found("marker", id),
        other => other,
    })?;
    Ok(Some(after(sort, &sort_values(&marker, sort))))
}

fn page(query: &InstanceQuery, sort: &[SortColumn], after: Option<Condition>, limit: Option<u64>) -> SelectStatement {
    let mut statement = Query::select();
    let all = condition(query);
    let all = if let Some(after) = after { all.add(after) } else { all };
    statement.columns(READ).from(TABLE).cond_where(all);
    order_by(&mut statement, sort);
    limit_to(&mut statement, limit);
    statement
}

/// Reads on, batch by batch, until enough rows match or none is left.
async fn matching(
    db: &Db,
    query: &InstanceQuery,
    sort: &[SortColumn],
    mut from: Option<Condition>,
    matcher: &Matcher<'_>,
    with_spec: bool,
) -> Result<Found, DbError> {
    let mut decoder = Decoder::new(query.with);
    let limit = query.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut found = Found::default();
    while found.instances.len() < limit {
        let mut statement = page(query, sort, from.take(), Some(BATCH));
        if with_spec {
            add_spec(&mut statement);
        }
        let rows = db.read().query_all(&statement).await?;
        let mut last = None;
        for row in &rows {
            let instance = decoder.instance(row)?;
            last = Some(sort_values(&instance, sort));
            if found.instances.len() < limit && matcher.matches(&instance) {
                found.push(instance, row, with_spec)?;
            }
        }
        match last {
            Some(last) if rows.len() as u64 == BATCH => from = Some(after(sort, &last)),
            _ => break,
        }
    }
    Ok(found)
}
