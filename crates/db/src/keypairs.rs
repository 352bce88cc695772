//! Public keys of users.

use kilonova_core::time::utcnow;
use kilonova_objects::KeyPair;
use sea_orm::sea_query::{Expr, ExprTrait as _, Func, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait, QueryResult};

use crate::sql::{columns, count as count_rows, exists_or, insert, limit_to, select};
use crate::{Db, DbError};

const TABLE: &str = "key_pairs";

columns!(KeyPair, [id, name, user_id, fingerprint, public_key, r#type, created_at, updated_at]);

/// The key pairs of a user by name, at most `limit`, after the one named `marker`, which is [`DbError::NotFound`] with
/// resource `marker` if the user has none of that name.
pub async fn list(db: &Db, user_id: &str, limit: Option<u64>, marker: Option<&str>) -> Result<Vec<KeyPair>, DbError> {
    let mut statement = of_user(user_id);
    statement.order_by("name", Order::Asc);
    if let Some(marker) = marker {
        let row = db.read().query_one(&named(user_id, marker)).await?;
        row.ok_or_else(|| DbError::not_found("marker", marker))?;
        statement.and_where(Expr::col("name").gt(marker));
    }
    limit_to(&mut statement, limit);
    let rows = db.read().query_all(&statement).await?;
    rows.iter().map(read).collect()
}

/// One key pair.
pub async fn get(db: &Db, user_id: &str, name: &str) -> Result<KeyPair, DbError> {
    let row = db.read().query_one(&named(user_id, name)).await?;
    read(&row.ok_or_else(|| DbError::not_found("keypair", name))?)
}

/// Stores a key pair; its user and name are unique.
pub async fn create(db: &Db, keypair: &KeyPair) -> Result<KeyPair, DbError> {
    let mut keypair = KeyPair {
        created_at: Some(utcnow()),
        updated_at: None,
        deleted_at: None,
        deleted: false,
        set: KeyPair::default().set,
        ..keypair.clone()
    };
    keypair.id = db
        .retry(|| async {
            let tx = db.begin().await?;
            let id = insert(&tx, TABLE, &COLUMNS[1..], values(&keypair).split_off(1)).await;
            let id = id.map_err(|error| exists_or(error, "keypair", &keypair.name))?;
            tx.commit().await?;
            Ok::<_, DbError>(id)
        })
        .await?;
    Ok(keypair)
}

/// Deletes a key pair. Instances keep their copy.
pub async fn delete(db: &Db, user_id: &str, name: &str) -> Result<(), DbError> {
    db.retry(|| async {
        let tx = db.begin().await?;
        let mut statement = Query::delete();
        statement.from_table(TABLE).and_where(Expr::col("user_id").eq(user_id)).and_where(Expr::col("name").eq(name));
        if tx.execute(&statement).await?.rows_affected() == 0 {
            return Err(DbError::not_found("keypair", name));
        }
        tx.commit().await
    })
    .await
}

/// How many a user has.
pub async fn count(db: &Db, user_id: &str) -> Result<i64, DbError> {
    let mut statement = Query::select();
    statement.expr(Func::count(Expr::col("name"))).from(TABLE).and_where(Expr::col("user_id").eq(user_id));
    Ok(count_rows(db.read(), &statement).await?)
}

fn of_user(user_id: &str) -> SelectStatement {
    select(TABLE, COLUMNS).and_where(Expr::col("user_id").eq(user_id)).take()
}

fn named(user_id: &str, name: &str) -> SelectStatement {
    of_user(user_id).and_where(Expr::col("name").eq(name)).take()
}

fn read(row: &QueryResult) -> Result<KeyPair, DbError> {
    let mut keypair = KeyPair::default();
    read_columns(row, &mut keypair)?;
    Ok(keypair)
}
