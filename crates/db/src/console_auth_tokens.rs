//! Permissions to connect to consoles. Who reads the table learns no token: only hashes are stored.

use kilonova_core::time::utcnow;
use kilonova_objects::ConsoleAuthToken;
use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::sql::{Cell as _, columns, insert, select};
use crate::{Db, DbError};

const TABLE: &str = "console_auth_tokens";

columns!(
    ConsoleAuthToken,
    [
        id,
        console_type,
        host,
        port,
        tls_port,
        internal_access_path,
        instance_uuid,
        access_url_base,
        expires,
        created_at,
        updated_at,
    ]
);

/// Makes a token that is valid for `ttl_s` seconds, and returns the permission with it. Those that have ended are
/// forgotten on this occasion.
pub async fn authorize(db: &Db, console: &ConsoleAuthToken, ttl_s: i64) -> Result<ConsoleAuthToken, DbError> {
    let now = utcnow();
    let mut console = ConsoleAuthToken {
        token: Uuid::new_v4().to_string(),
        expires: now.timestamp().saturating_add(ttl_s),
        created_at: Some(now),
        updated_at: None,
        ..console.clone()
    };
    console.id = db
        .retry(|| async {
            let tx = db.begin().await?;
            delete(&tx, Expr::col("expires").lte(now.timestamp())).await?;
            let columns: Vec<&'static str> =
                std::iter::once("token_hash").chain(COLUMNS[1..].iter().copied()).collect();
            let mut row = values(&console);
            row[0] = hash(&console.token).into();
            let id = insert(&tx, TABLE, &columns, row).await?;
            tx.commit().await?;
            Ok::<_, DbError>(id)
        })
        .await?;
    Ok(console)
}

/// What the token permits, if it is one that has not ended.
pub async fn validate(db: &Db, token: &str) -> Result<Option<ConsoleAuthToken>, DbError> {
    let mut statement = select(TABLE, COLUMNS);
    statement
        .and_where(Expr::col("token_hash").eq(hash(token)))
        .and_where(Expr::col("expires").gt(utcnow().timestamp()));
    let Some(row) = db.read().query_one(&statement).await? else { return Ok(None) };
    let mut console = ConsoleAuthToken { token: token.to_owned(), ..ConsoleAuthToken::default() };
    read_columns(&row, &mut console)?;
    Ok(Some(console))
}

/// Forgets the permissions of an instance.
pub async fn destroy_all_by_instance(db: &Db, instance_uuid: Uuid) -> Result<(), DbError> {
    destroy(db, Expr::col("instance_uuid").eq(instance_uuid.value())).await
}

/// Forgets those that have ended.
pub async fn destroy_expired(db: &Db) -> Result<(), DbError> {
    destroy(db, Expr::col("expires").lte(utcnow().timestamp())).await
}

/// As [`destroy_all_by_instance`], inside of a transaction.
pub(crate) async fn delete_of_instance(tx: &impl ConnectionTrait, instance_uuid: Uuid) -> Result<(), DbError> {
    delete(tx, Expr::col("instance_uuid").eq(instance_uuid.value())).await
}

async fn destroy(db: &Db, which: Expr) -> Result<(), DbError> {
    db.retry_idempotent(|| async {
        let tx = db.begin().await?;
        delete(&tx, which.clone()).await?;
        tx.commit().await
    })
    .await
}

async fn delete(tx: &impl ConnectionTrait, which: Expr) -> Result<(), DbError> {
    let mut statement = Query::delete();
    tx.execute(statement.from_table(TABLE).and_where(which)).await?;
    Ok(())
}

/// As Nova stores it.
fn hash(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
