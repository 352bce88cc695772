//! Pools of connections: how they are made, and what every session is told.
//!
//! | | SQLite | PostgreSQL | MariaDB, MySQL |
//! |---|---|---|---|
//! | pools | one connection writes, four read | one pool for both | one pool for both |
//! | isolation | one writer | READ COMMITTED | READ COMMITTED |
//! | time zone | | UTC | UTC |

use std::time::Duration;

use sea_orm::sqlx::mysql::{MySql, MySqlConnectOptions};
use sea_orm::sqlx::pool::PoolOptions;
use sea_orm::sqlx::postgres::{PgConnectOptions, Postgres};
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{self, Connection as _, Executor as _};
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DbErr, RuntimeErr, SqlxMySqlConnector, SqlxPostgresConnector,
};

use crate::retry::{Health, Transient, transient_sqlx};
use crate::{DbError, DbOptions};

/// Readers of an SQLite file beside its one writer.
const SQLITE_READERS: u32 = 4;
/// How long a request waits for SQLite's writer before it fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection that nobody needed for this long is closed: the burst that it was opened for is over.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// Rows that a transaction locked are read as they are then, not as they were when it began; and no locks on gaps.
const POSTGRES_SESSION: &str = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED";
const MYSQL_SESSION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, \
                             SESSION sql_mode = 'TRADITIONAL,NO_ENGINE_SUBSTITUTION,PIPES_AS_CONCAT'";

/// The pool to write with and the pool to read from.
pub(crate) async fn sqlite(url: &str) -> Result<(DatabaseConnection, DatabaseConnection), DbErr> {
    let write = Database::connect(sqlite_options(url, 1)).await?;
    Ok((write, Database::connect(sqlite_options(url, SQLITE_READERS)).await?))
}

fn sqlite_options(url: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(move |options| {
            options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(ACQUIRE_TIMEOUT)
                // LIKE means the same as in the other databases.
                .pragma("case_sensitive_like", "ON")
                .statement_cache_capacity(crate::url::STATEMENTS)
        });
    options
}

/// A pool, once the server answers.
pub(crate) async fn postgres(
    at: &PgConnectOptions,
    options: &DbOptions,
    health: Health,
) -> Result<DatabaseConnection, DbError> {
    use sea_orm::sqlx::ConnectOptions as _;
    let at = at.clone().disable_statement_logging();
    await_server::<Postgres>(&at, options).await?;
    let pool = pool_options::<Postgres>(options)
        .after_connect(|connection, _| Box::pin(async move { connection.execute(POSTGRES_SESSION).await.map(drop) }))
        .before_acquire(move |connection, made| {
            let is_doubtful = health.is_doubtful(made.age, made.idle_for);
            Box::pin(async move { Ok(!is_doubtful || connection.ping().await.is_ok()) })
        })
        .connect_lazy_with(at);
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

/// A pool, once the server answers.
pub(crate) async fn mysql(
    at: &MySqlConnectOptions,
    options: &DbOptions,
    health: Health,
) -> Result<DatabaseConnection, DbError> {
    use sea_orm::sqlx::ConnectOptions as _;
    let at = at.clone().disable_statement_logging();
    await_server::<MySql>(&at, options).await?;
    let pool = pool_options::<MySql>(options)
        .after_connect(|connection, _| Box::pin(async move { connection.execute(MYSQL_SESSION).await.map(drop) }))
        .before_acquire(move |connection, made| {
            let is_doubtful = health.is_doubtful(made.age, made.idle_for);
            Box::pin(async move { Ok(!is_doubtful || connection.ping().await.is_ok()) })
        })
        .connect_lazy_with(at);
    Ok(SqlxMySqlConnector::from_sqlx_mysql_pool(pool))
}

fn pool_options<D: sqlx::Database>(options: &DbOptions) -> PoolOptions<D> {
    PoolOptions::new()
        .max_connections(options.max_connections())
        .acquire_timeout(options.pool_timeout)
        .max_lifetime(options.connection_recycle_time)
        .idle_timeout(IDLE_TIMEOUT)
        // `before_acquire` asks those that need it.
        .test_before_acquire(false)
}

/// Connects once. A server that is not there yet is waited for; one that refuses the password is not.
async fn await_server<D: sqlx::Database>(
    at: &<D::Connection as sqlx::Connection>::Options,
    options: &DbOptions,
) -> Result<(), DbError> {
    let mut retries = 0;
    loop {
        let error = match D::Connection::connect_with(at).await {
            Ok(connection) => {
                // Whether the server heard the goodbye makes no difference.
                let _ = connection.close().await;
                return Ok(());
            }
            Err(error) => error,
        };
        let may_retry = options.max_retries.is_none_or(|most| retries < most);
        if !may_retry || transient_sqlx(&error) != Some(Transient::Lost) {
            return Err(DbError::Database(DbErr::Conn(RuntimeErr::SqlxError(error.into()))));
        }
        tracing::warn!(%error, retries, "the database cannot be reached yet");
        retries += 1;
        tokio::time::sleep(options.retry_interval).await;
    }
}
