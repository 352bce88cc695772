//! Rows of the built-in placement service: providers, their inventories, and who has what of them.
//!
//! Only storage is here; what fits is decided by the placement crate, which calls this. A claim is exact because its
//! transaction begins with [`lock_providers`]: that writes the providers' rows, so on every database two claims on one
//! provider stand in a queue, and what is read after it is not changed by anybody else until the commit.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kilonova_core::time::utcnow;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait, QueryResult};
use uuid::Uuid;

use crate::DbError;
use crate::sql::{lock_rows, sum};

/// A resource provider.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceProvider {
    /// Row id.
    pub id: i64,
    /// Of the compute node that it stands for.
    pub uuid: Uuid,
    /// Unique.
    pub name: String,
    /// Rises with every change of the provider, its inventory, its traits or its allocations.
    pub generation: i64,
    /// Sorted, without repeats.
    pub traits: Vec<String>,
    /// Of the last such change.
    pub updated_at: DateTime<Utc>,
}

/// How much of a class a provider has.
#[derive(Clone, Debug, PartialEq)]
pub struct Inventory {
    /// Row id of the provider.
    pub resource_provider_id: i64,
    /// `VCPU`, …
    pub resource_class: String,
    /// All of it.
    pub total: i64,
    /// Kept back.
    pub reserved: i64,
    /// Smallest amount of one allocation.
    pub min_unit: i64,
    /// Largest amount of one allocation.
    pub max_unit: i64,
    /// Allocations are multiples of it.
    pub step_size: i64,
    /// Overcommit.
    pub allocation_ratio: f64,
}

/// Who has allocations, and in whose name.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumer {
    /// Of the instance, or of the migration.
    pub uuid: Uuid,
    /// Project.
    pub project_id: String,
    /// User.
    pub user_id: String,
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

/// Which providers are meant; no field is all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProviderFilter<'a> {
    /// The one with this uuid.
    pub uuid: Option<Uuid>,
    /// The one of this name.
    pub name: Option<&'a str>,
}

const RESOURCE: &str = "resource provider";
/// Of a consumer that is new.
const FIRST_GENERATION: i64 = 1;
/// Between the traits in their column; trait names are `[A-Z0-9_]+`.
const TRAIT_SEPARATOR: &str = ",";

/// The providers, by row id.
pub async fn providers<C: ConnectionTrait>(
    conn: &C,
    filter: &ProviderFilter<'_>,
) -> Result<Vec<ResourceProvider>, DbError> {
    let mut select = select_providers();
    if let Some(uuid) = filter.uuid {
        select.and_where(Expr::col("uuid").eq(uuid.to_string()));
    }
    if let Some(name) = filter.name {
        select.and_where(Expr::col("name").eq(name));
    }
    select.order_by("id", Order::Asc);
    conn.query_all(&select).await?.iter().map(provider_row).collect()
}

/// One provider.
pub async fn provider<C: ConnectionTrait>(conn: &C, uuid: Uuid) -> Result<ResourceProvider, DbError> {
    let filter = ProviderFilter { uuid: Some(uuid), name: None };
    let found = providers(conn, &filter).await?.pop();
    found.ok_or_else(|| DbError::not_found(RESOURCE, uuid))
}

/// Makes a provider without inventory and traits. [`DbError::Exists`] when another provider has the name,
/// [`DbError::Overtaken`] when one of that uuid, or another of that name, is made at the same time.
pub async fn create_provider<C: ConnectionTrait>(tx: &C, uuid: Uuid, name: &str) -> Result<(), DbError> {
    let namesakes = providers(tx, &ProviderFilter { uuid: None, name: Some(name) }).await?;
    if namesakes.iter().any(|other| other.uuid != uuid) {
        return Err(DbError::exists(RESOURCE, name));
    }
    let now = utcnow();
    let mut insert = Query::insert();
    insert
        .into_table("resource_providers")
        .columns(["uuid", "name", "generation", "traits", "created_at", "updated_at"])
        .values_panic([uuid.to_string().into(), name.into(), 0i64.into(), "".into(), now.into(), now.into()]);
    match tx.execute(&insert).await {
        Ok(_) => Ok(()),
        Err(error) if DbError::is_unique_violation(&error) => Err(DbError::Overtaken),
        Err(error) => Err(error.into()),
    }
}

/// Takes the turn at `uuids`: raises their generations and gives the rows as they are now, by row id.
///
/// Those that do not exist are left out. Everything that a transaction decides by is read after this.
pub async fn lock_providers<C: ConnectionTrait>(tx: &C, uuids: &[Uuid]) -> Result<Vec<ResourceProvider>, DbError> {
    if uuids.is_empty() {
        return Ok(Vec::new());
    }
    if uuids.len() > 1 {
        lock_rows(tx, "resource_providers", "uuid", uuids.iter().map(|uuid| uuid.to_string().into()).collect()).await?;
    }
    let those = Expr::col("uuid").is_in(uuids.iter().map(Uuid::to_string));
    let mut update = Query::update();
    update
        .table("resource_providers")
        .value("generation", Expr::col("generation").add(1i64))
        .value("updated_at", utcnow())
        .and_where(those.clone());
    tx.execute(&update).await?;
    let select = select_providers().and_where(those).order_by("id", Order::Asc).take();
    tx.query_all(&select).await?.iter().map(provider_row).collect()
}

/// Replaces name and traits of a provider. [`DbError::Exists`] when another provider has the name.
pub async fn update_provider<C: ConnectionTrait>(
    tx: &C,
    id: i64,
    name: &str,
    traits: &[String],
) -> Result<(), DbError> {
    let mut update = Query::update();
    update
        .table("resource_providers")
        .value("name", name)
        .value("traits", traits.join(TRAIT_SEPARATOR))
        .and_where(Expr::col("id").eq(id));
    match tx.execute(&update).await {
        Ok(_) => Ok(()),
        Err(error) if DbError::is_unique_violation(&error) => Err(DbError::exists(RESOURCE, name)),
        Err(error) => Err(error.into()),
    }
}

/// Deletes a provider and its inventory. The caller has seen that nothing is allocated on it.
pub async fn delete_provider<C: ConnectionTrait>(tx: &C, id: i64) -> Result<(), DbError> {
    let mut delete = Query::delete();
    delete.from_table("resource_providers").and_where(Expr::col("id").eq(id));
    tx.execute(&delete).await?;
    Ok(())
}

/// The inventories of `providers` (row ids), or all.
pub async fn inventories<C: ConnectionTrait>(conn: &C, providers: Option<&[i64]>) -> Result<Vec<Inventory>, DbError> {
    let mut select = Query::select();
    select
        .columns([
            "resource_provider_id",
            "resource_class",
            "total",
            "reserved",
            "min_unit",
            "max_unit",
            "step_size",
            "allocation_ratio",
        ])
        .from("inventories");
    of_providers(&mut select, providers);
    conn.query_all(&select).await?.iter().map(inventory_row).collect()
}

/// Sets what a provider has of one class.
pub async fn put_inventory<C: ConnectionTrait>(tx: &C, inventory: &Inventory) -> Result<(), DbError> {
    let amounts = ["total", "reserved", "min_unit", "max_unit", "step_size", "allocation_ratio"];
    let mut insert = Query::insert();
    insert
        .into_table("inventories")
        .columns(["resource_provider_id", "resource_class"].into_iter().chain(amounts))
        .values_panic([
            inventory.resource_provider_id.into(),
            inventory.resource_class.as_str().into(),
            inventory.total.into(),
            inventory.reserved.into(),
            inventory.min_unit.into(),
            inventory.max_unit.into(),
            inventory.step_size.into(),
            inventory.allocation_ratio.into(),
        ])
        .on_conflict(
            OnConflict::columns(["resource_provider_id", "resource_class"]).update_columns(amounts).to_owned(),
        );
    tx.execute(&insert).await?;
    Ok(())
}

/// A provider has nothing of a class any more.
pub async fn delete_inventory<C: ConnectionTrait>(tx: &C, provider: i64, resource_class: &str) -> Result<(), DbError> {
    let mut delete = Query::delete();
    delete
        .from_table("inventories")
        .and_where(Expr::col("resource_provider_id").eq(provider))
        .and_where(Expr::col("resource_class").eq(resource_class));
    tx.execute(&delete).await?;
    Ok(())
}

/// The classes that some provider has.
pub async fn resource_classes<C: ConnectionTrait>(conn: &C) -> Result<Vec<String>, DbError> {
    let mut select = Query::select();
    select.distinct().column("resource_class").from("inventories").order_by("resource_class", Order::Asc);
    let rows = conn.query_all(&select).await?;
    rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

/// What is allocated of `providers` (row ids), or of all, without what `except` has.
pub async fn usage<C: ConnectionTrait>(
    conn: &C,
    providers: Option<&[i64]>,
    except: Option<Uuid>,
) -> Result<Usage, DbError> {
    let mut select = Query::select();
    select
        .columns(["resource_provider_id", "resource_class"])
        .expr(sum(conn.get_database_backend(), "used"))
        .from("allocations")
        .group_by_columns(["resource_provider_id", "resource_class"]);
    of_providers(&mut select, providers);
    if let Some(consumer) = except {
        select.and_where(Expr::col("consumer_uuid").ne(consumer.to_string()));
    }
    let rows = conn.query_all(&select).await?;
    let entry = |row: &QueryResult| -> Result<_, DbError> {
        Ok(((row.try_get_by_index(0)?, row.try_get_by_index(1)?), row.try_get_by_index(2)?))
    };
    rows.iter().map(entry).collect()
}

/// What a project, or one user in it, has in all, by resource class.
pub async fn project_usage<C: ConnectionTrait>(
    conn: &C,
    project_id: &str,
    user_id: Option<&str>,
) -> Result<BTreeMap<String, i64>, DbError> {
    let mut select = Query::select();
    select
        .column(("allocations", "resource_class"))
        .expr(sum(conn.get_database_backend(), ("allocations", "used")))
        .from("allocations")
        .inner_join("consumers", Expr::col(("consumers", "uuid")).equals(("allocations", "consumer_uuid")))
        .and_where(Expr::col(("consumers", "project_id")).eq(project_id))
        .group_by_col(("allocations", "resource_class"));
    if let Some(user_id) = user_id {
        select.and_where(Expr::col(("consumers", "user_id")).eq(user_id));
    }
    let rows = conn.query_all(&select).await?;
    rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}

/// A consumer; one without allocations is not kept.
pub async fn consumer<C: ConnectionTrait>(conn: &C, uuid: Uuid) -> Result<Option<Consumer>, DbError> {
    conn.query_one(&select_consumer(uuid)).await?.as_ref().map(consumer_row).transpose()
}

/// A consumer whose allocations nobody else changes until the transaction ends; after [`lock_providers`].
///
/// One that is not there cannot be locked: of two that make it, one gets [`DbError::Overtaken`] and does its transaction
/// again.
pub async fn lock_consumer<C: ConnectionTrait>(tx: &C, uuid: Uuid) -> Result<Option<Consumer>, DbError> {
    let select = select_consumer(uuid).lock_exclusive().take();
    tx.query_one(&select).await?.as_ref().map(consumer_row).transpose()
}

fn select_consumer(uuid: Uuid) -> SelectStatement {
    Query::select()
        .columns(["uuid", "project_id", "user_id", "generation", "updated_at"])
        .from("consumers")
        .and_where(Expr::col("uuid").eq(uuid.to_string()))
        .take()
}

/// Consumers that have something of a provider (row id).
pub async fn consumers_of_provider<C: ConnectionTrait>(conn: &C, provider: i64) -> Result<Vec<Consumer>, DbError> {
    let having = Query::select()
        .column("consumer_uuid")
        .from("allocations")
        .and_where(Expr::col("resource_provider_id").eq(provider))
        .take();
    let mut select = Query::select();
    select
        .columns(["uuid", "project_id", "user_id", "generation", "updated_at"])
        .from("consumers")
        .and_where(Expr::col("uuid").in_subquery(having));
    conn.query_all(&select).await?.iter().map(consumer_row).collect()
}

/// What a consumer has.
pub async fn allocations_of_consumer<C: ConnectionTrait>(conn: &C, consumer: Uuid) -> Result<Vec<Allocation>, DbError> {
    let mut select = select_allocations();
    select.and_where(Expr::col(("allocations", "consumer_uuid")).eq(consumer.to_string()));
    conn.query_all(&select).await?.iter().map(allocation_row).collect()
}

/// Who has what of a provider (row id).
pub async fn allocations_of_provider<C: ConnectionTrait>(conn: &C, provider: i64) -> Result<Vec<Allocation>, DbError> {
    let mut select = select_allocations();
    select.and_where(Expr::col(("allocations", "resource_provider_id")).eq(provider));
    conn.query_all(&select).await?.iter().map(allocation_row).collect()
}

/// Replaces all that a consumer has by `amounts` of (provider's row id, class); nothing there removes the consumer.
///
/// The caller holds the turn at the providers, has the consumer from [`lock_consumer`] with its generation raised by one
/// (from 0 if it was not there), and has seen that the amounts fit.
pub async fn replace_allocations<C: ConnectionTrait>(
    tx: &C,
    consumer: &Consumer,
    amounts: &Usage,
) -> Result<(), DbError> {
    delete_rows_of_consumer(tx, "allocations", "consumer_uuid", consumer.uuid).await?;
    if amounts.is_empty() {
        delete_rows_of_consumer(tx, "consumers", "uuid", consumer.uuid).await?;
        return Ok(());
    }
    put_consumer(tx, consumer).await?;
    let mut insert = Query::insert();
    insert.into_table("allocations").columns(["consumer_uuid", "resource_provider_id", "resource_class", "used"]);
    for ((provider, resource_class), used) in amounts {
        insert.values_panic([
            consumer.uuid.to_string().into(),
            (*provider).into(),
            resource_class.as_str().into(),
            (*used).into(),
        ]);
    }
    tx.execute(&insert).await?;
    Ok(())
}

/// Takes everything from a consumer; how many rows that were.
pub async fn delete_allocations<C: ConnectionTrait>(tx: &C, consumer: Uuid) -> Result<u64, DbError> {
    // A claim for the same consumer ends first, or begins after this.
    lock_rows(tx, "consumers", "uuid", vec![consumer.to_string().into()]).await?;
    let deleted = delete_rows_of_consumer(tx, "allocations", "consumer_uuid", consumer).await?;
    delete_rows_of_consumer(tx, "consumers", "uuid", consumer).await?;
    Ok(deleted)
}

async fn delete_rows_of_consumer<C: ConnectionTrait>(
    tx: &C,
    table: &'static str,
    column: &'static str,
    consumer: Uuid,
) -> Result<u64, DbError> {
    let mut delete = Query::delete();
    delete.from_table(table).and_where(Expr::col(column).eq(consumer.to_string()));
    Ok(tx.execute(&delete).await?.rows_affected())
}

async fn put_consumer<C: ConnectionTrait>(tx: &C, consumer: &Consumer) -> Result<(), DbError> {
    if consumer.generation == FIRST_GENERATION {
        return insert_consumer(tx, consumer).await;
    }
    let mut update = Query::update();
    update
        .table("consumers")
        .value("project_id", consumer.project_id.as_str())
        .value("user_id", consumer.user_id.as_str())
        .value("generation", consumer.generation)
        .value("updated_at", consumer.updated_at)
        .and_where(Expr::col("uuid").eq(consumer.uuid.to_string()));
    tx.execute(&update).await?;
    Ok(())
}

async fn insert_consumer<C: ConnectionTrait>(tx: &C, consumer: &Consumer) -> Result<(), DbError> {
    let mut insert = Query::insert();
    insert
        .into_table("consumers")
        .columns(["uuid", "project_id", "user_id", "generation", "created_at", "updated_at"])
        .values_panic([
            consumer.uuid.to_string().into(),
            consumer.project_id.as_str().into(),
            consumer.user_id.as_str().into(),
            consumer.generation.into(),
            consumer.updated_at.into(),
            consumer.updated_at.into(),
        ]);
    match tx.execute(&insert).await {
        Ok(_) => Ok(()),
        Err(error) if DbError::is_unique_violation(&error) => Err(DbError::Overtaken),
        Err(error) => Err(error.into()),
    }
}

fn select_providers() -> SelectStatement {
    Query::select()
        .columns(["id", "uuid", "name", "generation", "traits", "updated_at"])
        .from("resource_providers")
        .take()
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

fn of_providers(select: &mut SelectStatement, providers: Option<&[i64]>) {
    if let Some(ids) = providers {
        select.and_where(Expr::col("resource_provider_id").is_in(ids.iter().copied()));
    }
}

fn uuid_at(row: &QueryResult, index: usize, resource: &'static str) -> Result<Uuid, DbError> {
    let text: String = row.try_get_by_index(index)?;
    text.parse().map_err(|error| DbError::corrupt(resource, &text, error))
}

fn provider_row(row: &QueryResult) -> Result<ResourceProvider, DbError> {
    let traits: String = row.try_get_by_index(4)?;
    Ok(ResourceProvider {
        id: row.try_get_by_index(0)?,
        uuid: uuid_at(row, 1, RESOURCE)?,
        name: row.try_get_by_index(2)?,
        generation: row.try_get_by_index(3)?,
        traits: traits.split(TRAIT_SEPARATOR).filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        updated_at: row.try_get_by_index(5)?,
    })
}

fn inventory_row(row: &QueryResult) -> Result<Inventory, DbError> {
    Ok(Inventory {
        resource_provider_id: row.try_get_by_index(0)?,
        resource_class: row.try_get_by_index(1)?,
        total: row.try_get_by_index(2)?,
        reserved: row.try_get_by_index(3)?,
        min_unit: row.try_get_by_index(4)?,
        max_unit: row.try_get_by_index(5)?,
        step_size: row.try_get_by_index(6)?,
        allocation_ratio: row.try_get_by_index(7)?,
    })
}

fn consumer_row(row: &QueryResult) -> Result<Consumer, DbError> {
    Ok(Consumer {
        uuid: uuid_at(row, 0, "consumer")?,
        project_id: row.try_get_by_index(1)?,
        user_id: row.try_get_by_index(2)?,
        generation: row.try_get_by_index(3)?,
        updated_at: row.try_get_by_index(4)?,
    })
}

fn allocation_row(row: &QueryResult) -> Result<Allocation, DbError> {
    Ok(Allocation {
        consumer: uuid_at(row, 0, "consumer")?,
        resource_provider_id: row.try_get_by_index(1)?,
        provider: uuid_at(row, 2, RESOURCE)?,
        provider_generation: row.try_get_by_index(3)?,
        resource_class: row.try_get_by_index(4)?,
        used: row.try_get_by_index(5)?,
    })
}
