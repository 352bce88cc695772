//! The names that operators add: custom traits and custom resource classes. The standard ones are no rows.

use kilonova_core::time::utcnow;
use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict, Order, Query};

use crate::DbError;
use crate::sql::{exists_or, insert_statement, lock_rows, select};

/// A kind of name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// What providers can do or are.
    Traits,
    /// What providers have amounts of.
    ResourceClasses,
}

impl Names {
    fn table(self) -> &'static str {
        match self {
            Self::Traits => "traits",
            Self::ResourceClasses => "resource_classes",
        }
    }

    fn resource(self) -> &'static str {
        match self {
            Self::Traits => "trait",
            Self::ResourceClasses => "resource class",
        }
    }
}

/// All names of a kind, the oldest first.
pub async fn custom_names<C: ConnectionTrait>(conn: &C, kind: Names) -> Result<Vec<String>, DbError> {
    let select = select(kind.table(), &["name"]).order_by("id", Order::Asc).take();
    let rows = conn.query_all(&select).await?;
    rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

/// Those of `names` that there are.
pub async fn known_names<C: ConnectionTrait>(conn: &C, kind: Names, names: &[&str]) -> Result<Vec<String>, DbError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let select = select(kind.table(), &["name"]).and_where(Expr::col("name").is_in(names.iter().copied())).take();
    let rows = conn.query_all(&select).await?;
    rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

/// Those of `names` that there are; they stay until the transaction ends.
pub async fn lock_names<C: ConnectionTrait>(tx: &C, kind: Names, names: &[&str]) -> Result<Vec<String>, DbError> {
    lock_rows(tx, kind.table(), "name", names.iter().map(|name| (*name).into()).collect()).await?;
    known_names(tx, kind, names).await
}

/// Adds names; those that are there already are left alone. How many were not.
pub async fn create_names<C: ConnectionTrait>(tx: &C, kind: Names, names: &[&str]) -> Result<u64, DbError> {
    if names.is_empty() {
        return Ok(0);
    }
    let known = custom_names(tx, kind).await?;
    let unknown = names.iter().filter(|name| !known.iter().any(|known| known == *name));
    let rows: Vec<_> = unknown.map(|name| vec![(*name).into(), utcnow().into()]).collect();
    if rows.is_empty() {
        return Ok(0);
    }
    let mut insert = insert_statement(kind.table(), &["name", "created_at"], rows)?;
    // Somebody else may add the same name at the same time.
    insert.on_conflict(OnConflict::column("name").update_column("name").to_owned());
    Ok(tx.execute(&insert).await?.rows_affected())
}

/// Gives a name another one. [`DbError::Exists`] when that is taken.
pub async fn rename<C: ConnectionTrait>(tx: &C, kind: Names, from: &str, to: &str) -> Result<(), DbError> {
    let mut update = Query::update();
    update.table(kind.table()).value("name", to).and_where(Expr::col("name").eq(from));
    tx.execute(&update).await.map_err(|error| exists_or(error, kind.resource(), to))?;
    Ok(())
}

/// Takes a name away. The caller has it from [`lock_names`] and has seen that nothing is called so.
pub async fn delete_name<C: ConnectionTrait>(tx: &C, kind: Names, name: &str) -> Result<(), DbError> {
    let mut delete = Query::delete();
    delete.from_table(kind.table()).and_where(Expr::col("name").eq(name));
    tx.execute(&delete).await?;
    Ok(())
}
