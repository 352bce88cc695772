//! What statements run on: a transaction, or any connection of the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement,
};

use crate::DbError;
use crate::retry::{Health, Policy, Transient, transient};
use crate::wal::Wal;

/// A transaction; rolled back if it is dropped before its commit.
#[derive(Debug)]
pub struct Transaction {
    pub(crate) inner: DatabaseTransaction,
    /// SQLite's log, which is synced after the commit.
    pub(crate) wal: Option<Wal>,
}

impl Transaction {
    /// Makes everything in it last. [`DbError::CommitUnknown`]: perhaps it does.
    pub async fn commit(self) -> Result<(), DbError> {
        self.inner.commit().await.map_err(|error| match transient(&error) {
            Some(Transient::Lost) => DbError::CommitUnknown(error),
            _ => DbError::Database(error),
        })?;
        match self.wal {
            Some(wal) => wal.synced().await.map_err(DbError::NotOnDisk),
            None => Ok(()),
        }
    }

    /// Takes everything in it back, now rather than when it is dropped.
    pub async fn rollback(self) -> Result<(), DbError> {
        Ok(self.inner.rollback().await?)
    }
}

#[async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.inner.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.inner.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.inner.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.inner.query_all_raw(statement).await
    }
}

/// The pool, to read from. A query that meets a broken connection is asked again on another.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) pool: DatabaseConnection,
    pub(crate) policy: Policy,
    pub(crate) health: Health,
    pub(crate) asked: Arc<AtomicU64>,
}

impl Reader {
    /// How many queries were asked since the start, of this pool.
    pub fn queries(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits if the query may be asked again, or gives the error back.
    async fn wait(&self, error: DbErr, retries: &mut u32) -> Result<(), DbErr> {
        let Some(why) = transient(&error) else { return Err(error) };
        if why == Transient::Lost {
            self.health.connection_lost();
        }
        let Some(wait) = self.policy.wait(why, *retries) else { return Err(error) };
        tracing::debug!(%error, retries, "a query is asked again");
        *retries += 1;
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

#[async_trait]
impl ConnectionTrait for Reader {
    fn get_database_backend(&self) -> DbBackend {
        self.pool.get_database_backend()
    }

    /// Not tried again: who executes may write.
    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.pool.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.pool.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.count();
        // A file has no connection to lose.
        if self.get_database_backend() == DbBackend::Sqlite {
            return self.pool.query_one_raw(statement).await;
        }
        let mut retries = 0;
        loop {
            match self.pool.query_one_raw(statement.clone()).await {
                Ok(row) => return Ok(row),
                Err(error) => self.wait(error, &mut retries).await?,
            }
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.count();
        if self.get_database_backend() == DbBackend::Sqlite {
            return self.pool.query_all_raw(statement).await;
        }
        let mut retries = 0;
        loop {
            match self.pool.query_all_raw(statement.clone()).await {
                Ok(rows) => return Ok(rows),
                Err(error) => self.wait(error, &mut retries).await?,
            }
        }
    }
}
