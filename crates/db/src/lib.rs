//! The only crate with SQL. One module per resource; nouns are modules and verbs are functions
//! (`instances::create`, `services::list`), each taking the [`Db`] it works on.
//!
//! Reads go to any connection; whatever writes opens a transaction with [`Db::begin`] and sees all or nothing of it.
//! Inside a transaction use only the transaction: SQLite has a single writer.

pub mod actions;
pub mod block_devices;
pub mod compute_nodes;
pub mod error;
pub mod faults;
pub mod flavors;
pub mod identity;
pub mod image;
pub mod instances;
pub mod keypairs;
mod migrations;
pub mod network;
pub mod placement;
pub mod quotas;
pub mod request_specs;
pub mod services;
mod sql;
pub mod workflows;

use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DatabaseTransaction, TransactionTrait as _};
use sea_orm_migration::MigratorTrait as _;

pub use error::DbError;

/// Where the state is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    read: DatabaseConnection,
    write: DatabaseConnection,
}

/// Readers of an SQLite file beside its one writer.
const SQLITE_READERS: u32 = 4;
/// How long a request waits for a connection before it fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

impl Db {
    /// Opens `url` (`sqlite://PATH`) and brings its schema up to date.
    pub async fn open(url: &str) -> Result<Self, DbError> {
        let db = Self {
            write: Database::connect(sqlite_options(url, 1, SqliteSynchronous::Full)).await?,
            read: Database::connect(sqlite_options(url, SQLITE_READERS, SqliteSynchronous::Full)).await?,
        };
        migrations::Migrator::up(&db.write, None).await?;
        Ok(db)
    }

    /// A connection to read from.
    pub fn read(&self) -> &DatabaseConnection {
        &self.read
    }

    /// A transaction to write in; rolled back if it is dropped before its commit.
    pub async fn begin(&self) -> Result<DatabaseTransaction, DbError> {
        Ok(self.write.begin().await?)
    }

    /// Closes all connections; what is committed is on disk.
    pub async fn close(self) -> Result<(), DbError> {
        self.read.close().await?;
        self.write.close().await?;
        Ok(())
    }
}

fn sqlite_options(url: &str, connections: u32, synchronous: SqliteSynchronous) -> ConnectOptions {
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
                .synchronous(synchronous)
                .foreign_keys(true)
                .busy_timeout(ACQUIRE_TIMEOUT)
                .statement_cache_capacity(256)
        });
    options
}
