//! The only crate with SQL. One module per resource; nouns are modules and verbs are functions
//! (`instances::create`, `services::list`), each taking the [`Db`] it works on.
//!
//! Reads go to any connection; whatever writes opens a transaction with [`Db::begin`] and sees all or nothing of it.
//! Inside a transaction use only the transaction: SQLite has a single writer, and the other pools can run dry.
//!
//! One path for SQLite, PostgreSQL and MariaDB. What keeps writers apart, and what is tried again, is in `docs/adr/0007`:
//! a row that decides is read with a lock before it is written, and a whole transaction runs inside [`Db::retry`].

pub mod actions;
pub mod aggregates;
pub mod block_devices;
pub mod compute_nodes;
mod connection;
pub mod console_auth_tokens;
pub mod error;
pub mod faults;
pub mod flavors;
pub mod identity;
pub mod image;
pub mod instances;
pub mod keypairs;
mod migrations;
pub mod network;
mod options;
pub mod placement;
mod pool;
pub mod quotas;
pub mod request_specs;
mod retry;
pub mod server_groups;
pub mod server_migrations;
pub mod services;
mod sql;
pub mod task_log;
mod url;
mod wal;
pub mod workflows;

use std::fmt;
use std::sync::Arc;

use sea_orm::{DatabaseConnection, DbBackend, TransactionTrait as _};

pub use connection::{Reader, Transaction};
pub use error::DbError;
pub use options::DbOptions;
pub use retry::Failure;

use retry::{Health, Policy, Transient, transient};
use url::Place;
use wal::Wal;

/// Where the state is. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    read: Reader,
    write: DatabaseConnection,
    wal: Option<Wal>,
    place: Place,
}

impl Db {
    /// Opens `url` with the default options and brings its schema up to date: for a process that owns its database.
    pub async fn open(url: &str) -> Result<Self, DbError> {
        let db = Self::connect(url, &DbOptions::default()).await?;
        db.migrate().await?;
        Ok(db)
    }

    /// Connects to `url`: `sqlite:///PATH`, `postgresql[+DRIVER]://…`, `mysql[+DRIVER]://…`, as SQLAlchemy has them. A
    /// server that is not up yet is waited for. The schema is left as it is.
    pub async fn connect(url: &str, options: &DbOptions) -> Result<Self, DbError> {
        let health = Health::new();
        let place = url::parse(url)?;
        let (write, read, wal) = match &place {
            Place::Sqlite(url) => {
                let (write, read) = pool::sqlite(url).await?;
                let wal = pool::sqlite_wal(url, &write).await?;
                (write, read, Some(wal))
            }
            Place::Postgres(at) => same(pool::postgres(at, options, health.clone()).await?),
            Place::MySql(at) => same(pool::mysql(at, options, health.clone()).await?),
        };
        let read = Reader { pool: read, policy: Policy::new(options), health, asked: Arc::default() };
        Ok(Self { read, write, wal, place })
    }

    /// Brings the schema up to date. Of several at the same time one does it and the others wait.
    pub async fn migrate(&self) -> Result<(), DbError> {
        migrations::migrate(&self.write, &self.place).await
    }

    /// Refuses a schema that is older ([`DbError::SchemaTooOld`]) or newer ([`DbError::SchemaTooNew`]) than this program.
    pub async fn check_schema(&self) -> Result<(), DbError> {
        migrations::check(&self.write).await
    }

    /// The name of the last step of the schema; `None`: there is none.
    pub async fn schema_version(&self) -> Result<Option<String>, DbError> {
        migrations::version(&self.write).await
    }

    /// A connection to read from.
    pub fn read(&self) -> &Reader {
        &self.read
    }

    /// A transaction to write in; rolled back if it is dropped before its commit.
    pub async fn begin(&self) -> Result<Transaction, DbError> {
        let mut retries = 0;
        loop {
            match self.write.begin_with_options(pool::write_lock()).await {
                Ok(inner) => return Ok(Transaction { inner, wal: self.wal.clone() }),
                // Nothing has happened yet.
                Err(error) if self.wait_for(transient(&error), &mut retries).await => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Does `work`, a whole transaction from [`Db::begin`] to its commit, and does it again after a deadlock or a
    /// connection that was lost before the commit. After one that was lost during the commit the error says so.
    pub async fn retry<T, E, F>(&self, work: impl Fn() -> F) -> Result<T, E>
    where
        E: Failure,
        F: Future<Output = Result<T, E>>,
    {
        self.run(work, DbError::is_rolled_back).await
    }

    /// The same for work that does no harm if it is done twice: also after a commit of which nobody knows.
    pub async fn retry_idempotent<T, E, F>(&self, work: impl Fn() -> F) -> Result<T, E>
    where
        E: Failure,
        F: Future<Output = Result<T, E>>,
    {
        self.run(work, DbError::is_transient).await
    }

    async fn run<T, E, F>(&self, work: impl Fn() -> F, again: fn(&DbError) -> Option<Transient>) -> Result<T, E>
    where
        E: Failure,
        F: Future<Output = Result<T, E>>,
    {
        let mut retries = 0;
        loop {
            let error = match work().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let why = error.database().and_then(again);
            if !self.wait_for(why, &mut retries).await {
                return Err(error);
            }
        }
    }

    /// Waits until it is time to try again; `false`: there is no sense in it.
    async fn wait_for(&self, why: Option<Transient>, retries: &mut u32) -> bool {
        let Some(why) = why else { return false };
        if why == Transient::Lost {
            self.read.health.connection_lost();
        }
        let Some(wait) = self.read.policy.wait(why, *retries) else { return false };
        tracing::debug!(?why, retries, "a transaction is tried again");
        *retries += 1;
        tokio::time::sleep(wait).await;
        true
    }

    /// Whether others can write between two statements of a transaction. On SQLite they cannot.
    pub(crate) fn has_other_writers(&self) -> bool {
        self.write.get_database_backend() != DbBackend::Sqlite
    }

    /// Closes all connections; what is committed is on disk.
    pub async fn close(self) -> Result<(), DbError> {
        self.read.pool.close().await?;
        self.write.close().await?;
        Ok(())
    }
}

/// Without what leads into the database.
impl fmt::Debug for Db {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Db").field("backend", &self.write.get_database_backend()).finish_non_exhaustive()
    }
}

fn same(pool: DatabaseConnection) -> (DatabaseConnection, DatabaseConnection, Option<Wal>) {
    (pool.clone(), pool, None)
}
