//! How much of a class a provider has.

use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict, Query};
use sea_orm::{ConnectionTrait, QueryResult};

use super::of_providers;
use crate::DbError;
use crate::sql::{insert_statement, select};

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

const TABLE: &str = "inventories";
const KEY: [&str; 2] = ["resource_provider_id", "resource_class"];
const COLUMNS: [&str; 8] = [
    "resource_provider_id",
    "resource_class",
    "total",
    "reserved",
    "min_unit",
    "max_unit",
    "step_size",
    "allocation_ratio",
];

/// The inventories of `providers` (row ids), or all.
pub async fn inventories<C: ConnectionTrait>(conn: &C, providers: Option<&[i64]>) -> Result<Vec<Inventory>, DbError> {
    let mut select = select(TABLE, &COLUMNS);
    of_providers(&mut select, providers);
    conn.query_all(&select).await?.iter().map(inventory_row).collect()
}

/// Sets what providers have of classes, in one statement.
pub async fn put_inventories<C: ConnectionTrait>(tx: &C, inventories: &[Inventory]) -> Result<(), DbError> {
    if inventories.is_empty() {
        return Ok(());
    }
    let row = |inventory: &Inventory| {
        vec![
            inventory.resource_provider_id.into(),
            inventory.resource_class.as_str().into(),
            inventory.total.into(),
            inventory.reserved.into(),
            inventory.min_unit.into(),
            inventory.max_unit.into(),
            inventory.step_size.into(),
            inventory.allocation_ratio.into(),
        ]
    };
    let mut insert = insert_statement(TABLE, &COLUMNS, inventories.iter().map(row))?;
    let amounts = COLUMNS.into_iter().filter(|column| !KEY.contains(column));
    insert.on_conflict(OnConflict::columns(KEY).update_columns(amounts).to_owned());
    tx.execute(&insert).await?;
    Ok(())
}

/// A provider has nothing of these classes any more.
pub async fn delete_inventories<C: ConnectionTrait>(tx: &C, provider: i64, classes: &[String]) -> Result<(), DbError> {
    if classes.is_empty() {
        return Ok(());
    }
    let mut delete = Query::delete();
    delete
        .from_table(TABLE)
        .and_where(Expr::col("resource_provider_id").eq(provider))
        .and_where(Expr::col("resource_class").is_in(classes.iter().map(String::as_str)));
    tx.execute(&delete).await?;
    Ok(())
}

/// Whether some provider has a class.
pub async fn has_inventory<C: ConnectionTrait>(conn: &C, class: &str) -> Result<bool, DbError> {
    let select = select(TABLE, &["resource_class"]).and_where(Expr::col("resource_class").eq(class)).limit(1).take();
    Ok(conn.query_one(&select).await?.is_some())
}

/// Calls a class by another name wherever providers have it, or consumers have of it.
pub async fn rename_resource_class<C: ConnectionTrait>(tx: &C, from: &str, to: &str) -> Result<(), DbError> {
    for table in [TABLE, "allocations"] {
        let mut update = Query::update();
        update.table(table).value("resource_class", to).and_where(Expr::col("resource_class").eq(from));
        tx.execute(&update).await?;
    }
    let having =
        Query::select().column("resource_provider_id").from(TABLE).and_where(Expr::col("resource_class").eq(to)).take();
    let mut update = Query::update();
    update
        .table("resource_providers")
        .value("revision", Expr::col("revision").add(1i64))
        .and_where(Expr::col("id").in_subquery(having));
    tx.execute(&update).await?;
    Ok(())
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
