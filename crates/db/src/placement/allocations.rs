//! Consumers and what they have.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use kilonova_core::time::utcnow;
use sea_orm::sea_query::{Expr, ExprTrait as _, Func, OnConflict, Query, SelectStatement};
use sea_orm::{ConnectionTrait, QueryResult, Value};
use uuid::Uuid;

use super::providers::{ResourceProvider, lock_providers};
use super::{of_providers, uuid_at};
use crate::DbError;
use crate::sql::{insert_many, insert_statement, lock_rows, select, sum};

/// Who has allocations, and in whose name.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumer {
    /// Of the instance, or of the migration.
    pub uuid: Uuid,
    /// Project.
    pub project_id: String,
    /// User.
    pub user_id: String,
    /// `INSTANCE`, …; `None`: nobody said.
    pub consumer_type: Option<String>,
    /// Rises with every change of its allocations.
    pub generation: i64,
    /// Of the last such change.
    pub updated_at: DateTime<Utc>,
}

/// An amount of a class that a consumer has of a provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    /// Who.
    pub consumer: Uuid,
    /// Of whom: row id.
    pub resource_provider_id: i64,
    /// Of whom.
    pub provider: Uuid,
    /// Generation of the provider.
    pub provider_generation: i64,
    /// Of what.
    pub resource_class: String,
    /// How much.
    pub used: i64,
}

/// Amounts by provider (row id) and resource class.
pub type Usage = BTreeMap<(i64, String), i64>;

/// What nobody else changes until the transaction ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// Those that were asked for, and those that the consumers have something of; by row id.
    pub providers: Vec<ResourceProvider>,
    /// Those that are there.
    pub consumers: Vec<Consumer>,
    /// All that they have.
    pub allocations: Vec<Allocation>,
}

/// What the consumers of one type have in all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProjectUsage {
    /// How many consumers there are.
    pub consumer_count: i64,
    /// Amounts by resource class.
    pub resources: BTreeMap<String, i64>,
}

/// Of a consumer that is new.
const FIRST_GENERATION: i64 = 1;
const CONSUMER_COLUMNS: [&str; 6] = ["uuid", "project_id", "user_id", "consumer_type", "generation", "updated_at"];

/// What is allocated of `providers` (row ids), or of all.
pub async fn usage<C: ConnectionTrait>(conn: &C, providers: Option<&[i64]>) -> Result<Usage, DbError> {
    let mut select = Query::select();
    select
        .columns(["resource_provider_id", "resource_class"])
        .expr(sum(conn.get_database_backend(), "used"))
        .from("allocations")
        .group_by_columns(["resource_provider_id", "resource_class"]);
    of_providers(&mut select, providers);
    let rows = conn.query_all(&select).await?;
    let entry = |row: &QueryResult| -> Result<_, DbError> {
        Ok(((row.try_get_by_index(0)?, row.try_get_by_index(1)?), row.try_get_by_index(2)?))
    };
    rows.iter().map(entry).collect()
}

/// What a project, or one user in it, has in all, by the type of the consumers.
pub async fn project_usage<C: ConnectionTrait>(
    conn: &C,
    project_id: &str,
    user_id: Option<&str>,
) -> Result<BTreeMap<Option<String>, ProjectUsage>, DbError> {
    let of_project = |select: &mut SelectStatement| {
        select
            .from("allocations")
            .inner_join("consumers", Expr::col(("consumers", "uuid")).equals(("allocations", "consumer_uuid")))
            .and_where(Expr::col(("consumers", "project_id")).eq(project_id))
            .and_where_option(user_id.map(|user_id| Expr::col(("consumers", "user_id")).eq(user_id)))
            .group_by_col(("consumers", "consumer_type"));
    };
    let mut counts = Query::select();
    counts
        .column(("consumers", "consumer_type"))
        .expr(Func::count_distinct(Expr::col(("allocations", "consumer_uuid"))));
    of_project(&mut counts);
    let mut sums = Query::select();
    sums.column(("consumers", "consumer_type"))
        .column(("allocations", "resource_class"))
        .expr(sum(conn.get_database_backend(), ("allocations", "used")));
    of_project(&mut sums);
    sums.group_by_col(("allocations", "resource_class"));
    let mut usage = BTreeMap::<Option<String>, ProjectUsage>::new();
    for row in conn.query_all(&counts).await? {
        usage.entry(row.try_get_by_index(0)?).or_default().consumer_count = row.try_get_by_index(1)?;
    }
    for row in conn.query_all(&sums).await? {
        let of_type = usage.entry(row.try_get_by_index(0)?).or_default();
        of_type.resources.insert(row.try_get_by_index(1)?, row.try_get_by_index(2)?);
    }
    Ok(usage)
}

/// A consumer; one without allocations is not kept.
pub async fn consumer<C: ConnectionTrait>(conn: &C, uuid: Uuid) -> Result<Option<Consumer>, DbError> {
    let select = select("consumers", &CONSUMER_COLUMNS).and_where(Expr::col("uuid").eq(uuid.to_string())).take();
    conn.query_one(&select).await?.as_ref().map(consumer_row).transpose()
}

/// Takes the turn at `providers` and at everybody of whom `consumers` have something, then at the consumers.
///
/// A consumer that is not there cannot be locked: of two that make it, one gets [`DbError::Overtaken`] and does its
/// transaction again. So does one whose consumers got something elsewhere while it waited.
pub async fn lock_claim<C: ConnectionTrait>(
    tx: &C,
    providers: &BTreeSet<Uuid>,
    consumers: &[Uuid],
) -> Result<Claimed, DbError> {
    let before = allocations_of_consumers(tx, consumers).await?;
    let uuids: BTreeSet<Uuid> = providers.iter().copied().chain(before.iter().map(|row| row.provider)).collect();
    let providers = lock_providers(tx, &Vec::from_iter(uuids)).await?;
    lock_rows(tx, "consumers", "uuid", consumers.iter().map(|uuid| uuid.to_string().into()).collect()).await?;
    let select = select("consumers", &CONSUMER_COLUMNS).and_where(those_consumers("uuid", consumers)).take();
    let locked = tx.query_all(&select).await?.iter().map(consumer_row).collect::<Result<Vec<_>, _>>()?;
    let allocations = allocations_of_consumers(tx, consumers).await?;
    let is_locked = |row: &Allocation| providers.iter().any(|provider| provider.id == row.resource_provider_id);
    if !allocations.iter().all(is_locked) {
        return Err(DbError::Overtaken);
    }
    Ok(Claimed { providers, consumers: locked, allocations })
}

fn those_consumers(column: &'static str, consumers: &[Uuid]) -> Expr {
    Expr::col(column).is_in(consumers.iter().map(Uuid::to_string))
}

/// Consumers that have something of a provider (row id).
pub async fn consumers_of_provider<C: ConnectionTrait>(conn: &C, provider: i64) -> Result<Vec<Consumer>, DbError> {
    let having = Query::select()
        .column("consumer_uuid")
        .from("allocations")
        .and_where(Expr::col("resource_provider_id").eq(provider))
        .take();
    let select = select("consumers", &CONSUMER_COLUMNS).and_where(Expr::col("uuid").in_subquery(having)).take();
    conn.query_all(&select).await?.iter().map(consumer_row).collect()
}

/// What a consumer has.
pub async fn allocations_of_consumer<C: ConnectionTrait>(conn: &C, consumer: Uuid) -> Result<Vec<Allocation>, DbError> {
    allocations_of_consumers(conn, &[consumer]).await
}

async fn allocations_of_consumers<C: ConnectionTrait>(
    conn: &C,
    consumers: &[Uuid],
) -> Result<Vec<Allocation>, DbError> {
    if consumers.is_empty() {
        return Ok(Vec::new());
    }
    let mut select = select_allocations();
    select.and_where(Expr::col(("allocations", "consumer_uuid")).is_in(consumers.iter().map(Uuid::to_string)));
    conn.query_all(&select).await?.iter().map(allocation_row).collect()
}

/// Who has what of a provider (row id).
pub async fn allocations_of_provider<C: ConnectionTrait>(conn: &C, provider: i64) -> Result<Vec<Allocation>, DbError> {
    let mut select = select_allocations();
    select.and_where(Expr::col(("allocations", "resource_provider_id")).eq(provider));
    conn.query_all(&select).await?.iter().map(allocation_row).collect()
}

/// Replaces all that consumers have by amounts of (provider's row id, class); nothing there removes the consumer.
///
/// The caller has the turn by [`lock_claim`], has raised the consumers' generations by one (from 0 where one was not
/// there), and has seen that the amounts fit.
pub async fn replace_allocations<C: ConnectionTrait>(tx: &C, claims: &[(Consumer, Usage)]) -> Result<(), DbError> {
    let uuids: Vec<Uuid> = claims.iter().map(|(consumer, _)| consumer.uuid).collect();
    delete_rows(tx, "allocations", "consumer_uuid", &uuids).await?;
    let gone: Vec<Uuid> =
        claims.iter().filter(|(_, amounts)| amounts.is_empty()).map(|(consumer, _)| consumer.uuid).collect();
    delete_rows(tx, "consumers", "uuid", &gone).await?;
    put_consumers(tx, claims.iter().filter(|(_, amounts)| !amounts.is_empty()).map(|(consumer, _)| consumer)).await?;
    let mut rows = Vec::new();
    for (consumer, amounts) in claims {
        rows.extend(amounts.iter().map(|((provider, resource_class), used)| -> Vec<Value> {
            vec![consumer.uuid.to_string().into(), (*provider).into(), resource_class.as_str().into(), (*used).into()]
        }));
    }
    let columns = ["consumer_uuid", "resource_provider_id", "resource_class", "used"];
    Ok(insert_many(tx, "allocations", &columns, rows).await?)
}

/// Takes everything from a consumer; how many rows that were. The caller has the turn by [`lock_claim`].
pub async fn delete_allocations<C: ConnectionTrait>(tx: &C, consumer: Uuid) -> Result<u64, DbError> {
    let deleted = delete_rows(tx, "allocations", "consumer_uuid", &[consumer]).await?;
    delete_rows(tx, "consumers", "uuid", &[consumer]).await?;
    Ok(deleted)
}

async fn delete_rows<C: ConnectionTrait>(
    tx: &C,
    table: &'static str,
    column: &'static str,
    consumers: &[Uuid],
) -> Result<u64, DbError> {
    if consumers.is_empty() {
        return Ok(0);
    }
    let mut delete = Query::delete();
    delete.from_table(table).and_where(those_consumers(column, consumers));
    Ok(tx.execute(&delete).await?.rows_affected())
}

async fn put_consumers<'a, C: ConnectionTrait>(
    tx: &C,
    consumers: impl Iterator<Item = &'a Consumer>,
) -> Result<(), DbError> {
    let (new, known): (Vec<_>, Vec<_>) = consumers.partition(|consumer| consumer.generation == FIRST_GENERATION);
    let columns: Vec<&'static str> = CONSUMER_COLUMNS.into_iter().chain(["created_at"]).collect();
    let row = |consumer: &Consumer| -> Vec<Value> {
        vec![
            consumer.uuid.to_string().into(),
            consumer.project_id.as_str().into(),
            consumer.user_id.as_str().into(),
            consumer.consumer_type.clone().into(),
            consumer.generation.into(),
            consumer.updated_at.into(),
            utcnow().into(),
        ]
    };
    if !new.is_empty() {
        let insert = insert_statement("consumers", &columns, new.into_iter().map(row))?;
        match tx.execute(&insert).await {
            Ok(_) => (),
            Err(error) if DbError::is_unique_violation(&error) => return Err(DbError::Overtaken),
            Err(error) => return Err(error.into()),
        }
    }
    if !known.is_empty() {
        let mut update = insert_statement("consumers", &columns, known.into_iter().map(row))?;
        let changing = CONSUMER_COLUMNS.into_iter().filter(|column| *column != "uuid");
        update.on_conflict(OnConflict::column("uuid").update_columns(changing).to_owned());
        tx.execute(&update).await?;
    }
    Ok(())
}

fn select_allocations() -> SelectStatement {
    Query::select()
        .column(("allocations", "consumer_uuid"))
        .column(("allocations", "resource_provider_id"))
        .column(("resource_providers", "uuid"))
        .column(("resource_providers", "generation"))
        .column(("allocations", "resource_class"))
        .column(("allocations", "used"))
        .from("allocations")
        .inner_join(
            "resource_providers",
            Expr::col(("resource_providers", "id")).equals(("allocations", "resource_provider_id")),
        )
        .take()
}

fn consumer_row(row: &QueryResult) -> Result<Consumer, DbError> {
    Ok(Consumer {
        uuid: uuid_at(row, 0, "consumer")?,
        project_id: row.try_get_by_index(1)?,
        user_id: row.try_get_by_index(2)?,
        consumer_type: row.try_get_by_index(3)?,
        generation: row.try_get_by_index(4)?,
        updated_at: row.try_get_by_index(5)?,
    })
}

fn allocation_row(row: &QueryResult) -> Result<Allocation, DbError> {
    Ok(Allocation {
        consumer: uuid_at(row, 0, "consumer")?,
        resource_provider_id: row.try_get_by_index(1)?,
        provider: uuid_at(row, 2, "resource provider")?,
        provider_generation: row.try_get_by_index(3)?,
        resource_class: row.try_get_by_index(4)?,
        used: row.try_get_by_index(5)?,
    })
}
