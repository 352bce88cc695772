//! Pools of connections: how they are made, and what every session is told.
//!
//! | | SQLite | PostgreSQL | MariaDB, MySQL |
//! |---|---|---|---|
//! | pools | one connection writes, four read | one pool for both | one pool for both |
//! | isolation | one writer | READ COMMITTED | READ COMMITTED |
//! | time zone | | UTC | UTC |
//! | a commit is on disk | when the log was synced after it: [`Wal`] | when it returns | when it returns |

use std::str::FromStr as _;
use std::time::{Duration, Instant};

use sea_orm::sqlx::mysql::{MySql, MySqlConnectOptions};
use sea_orm::sqlx::pool::{Pool, PoolOptions};
use sea_orm::sqlx::postgres::{PgConnectOptions, Postgres};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{self, Connection, Executor};
use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DbErr, RuntimeErr, SqliteTransactionMode,
    SqlxMySqlConnector, SqlxPostgresConnector, TransactionOptions,
};

use crate::retry::{Health, Transient, transient, transient_sqlx};
use crate::wal::Wal;
use crate::{DbError, DbOptions};

/// Readers of an SQLite file beside its one writer.
const SQLITE_READERS: u32 = 4;
/// How long a request waits for SQLite's writer before it fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two tries to open an SQLite file that others are opening.
const SQLITE_BUSY_WAIT: Duration = Duration::from_millis(10);
/// A connection that nobody needed for this long is closed: the burst that it was opened for is over, and the server has
/// only so many for all. Less than [`ACQUIRE_TIMEOUT`] and oslo.db's `pool_timeout`, so that who found none left gets one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// What every session is told. Rows that a transaction locked are read as they are then, not as they were when it began;
/// and MySQL puts no locks on gaps.
const POSTGRES_SESSION: &[&str] = &["SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED"];
const MYSQL_SESSION: &[&str] = &[
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION sql_mode = 'TRADITIONAL,NO_ENGINE_SUBSTITUTION,PIPES_AS_CONCAT'",
];

/// The pool to write with and the pool to read from.
pub(crate) async fn sqlite(url: &str) -> Result<(DatabaseConnection, DatabaseConnection), DbErr> {
    let write = sqlite_pool(url, 1).await?;
    Ok((write, sqlite_pool(url, SQLITE_READERS).await?))
}

/// A pool, once the file can be opened. SQLite does not wait where several turn a new file to write-ahead logging, or the
/// last of another process closes it: all but one are told at once that it is busy.
async fn sqlite_pool(url: &str, connections: u32) -> Result<DatabaseConnection, DbErr> {
    let since = Instant::now();
    loop {
        let opened = Box::pin(Database::connect(sqlite_options(url, connections))).await;
        match &opened {
            Err(error) if transient(error) == Some(Transient::Deadlock) && since.elapsed() < ACQUIRE_TIMEOUT => {
                tokio::time::sleep(SQLITE_BUSY_WAIT).await;
            }
            _ => return opened,
        }
    }
}

/// The log of a file that is open.
pub(crate) async fn sqlite_wal(url: &str, open: &DatabaseConnection) -> Result<Wal, DbError> {
    // SQLite makes it when somebody reads.
    open.execute_unprepared("SELECT count(*) FROM sqlite_master").await?;
    let options =
        SqliteConnectOptions::from_str(url).map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))?;
    Wal::open(options.get_filename()).map_err(|error| DbErr::Conn(RuntimeErr::Internal(error.to_string())).into())
}

/// How a transaction that writes begins: on SQLite with the file's write lock, which is waited for. Taken by the first
/// statement that writes, it would be refused where another process has written since the first one that read.
pub(crate) fn write_lock() -> TransactionOptions {
    TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    }
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
                // `Wal` does the rest.
                .synchronous(SqliteSynchronous::Normal)
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
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool::<Postgres>(at, POSTGRES_SESSION, options, health).await?))
}

/// A pool, once the server answers.
pub(crate) async fn mysql(
    at: &MySqlConnectOptions,
    options: &DbOptions,
    health: Health,
) -> Result<DatabaseConnection, DbError> {
    use sea_orm::sqlx::ConnectOptions as _;
    let at = at.clone().disable_statement_logging();
    Ok(SqlxMySqlConnector::from_sqlx_mysql_pool(pool::<MySql>(at, MYSQL_SESSION, options, health).await?))
}

async fn pool<D>(
    at: <D::Connection as Connection>::Options,
    session: &'static [&'static str],
    options: &DbOptions,
    health: Health,
) -> Result<Pool<D>, DbError>
where
    D: sqlx::Database,
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
{
    await_server::<D>(&at, session, options).await?;
    Ok(PoolOptions::<D>::new()
        .max_connections(options.max_connections())
        .acquire_timeout(options.pool_timeout)
        .max_lifetime(options.connection_recycle_time)
        .idle_timeout(IDLE_TIMEOUT)
        // Only those that need it are asked.
        .test_before_acquire(false)
        .before_acquire(move |connection, made| {
            let is_doubtful = health.is_doubtful(made.age, made.idle_for);
            Box::pin(async move { Ok(!is_doubtful || connection.ping().await.is_ok()) })
        })
        .after_connect(move |connection, _| Box::pin(begin_session::<D>(connection, session)))
        .connect_lazy_with(at))
}

async fn begin_session<D>(connection: &mut D::Connection, session: &[&'static str]) -> Result<(), sqlx::Error>
where
    D: sqlx::Database,
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
{
    for statement in session {
        connection.execute(*statement).await?;
    }
    Ok(())
}

/// Begins a session and ends it. A server that is not there yet is waited for; one that refuses the password is not.
async fn await_server<D>(
    at: &<D::Connection as Connection>::Options,
    session: &[&'static str],
    options: &DbOptions,
) -> Result<(), DbError>
where
    D: sqlx::Database,
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
{
    let mut retries = 0;
    loop {
        let Err(error) = try_server::<D>(at, session).await else { return Ok(()) };
        let may_retry = options.max_retries.is_none_or(|most| retries < most);
        if !may_retry || transient_sqlx(&error) != Some(Transient::Lost) {
            return Err(DbError::Database(DbErr::Conn(RuntimeErr::SqlxError(error.into()))));
        }
        tracing::warn!(%error, retries, "the database cannot be reached yet");
        retries += 1;
        tokio::time::sleep(options.retry_interval).await;
    }
}

async fn try_server<D>(at: &<D::Connection as Connection>::Options, session: &[&'static str]) -> Result<(), sqlx::Error>
where
    D: sqlx::Database,
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
{
    let mut connection = D::Connection::connect_with(at).await?;
    begin_session::<D>(&mut connection, session).await?;
    connection.close().await
}
