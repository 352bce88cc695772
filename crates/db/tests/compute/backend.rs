//! A file in a directory that goes with the test.

use kilonova_db::{Db, DbOptions};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sea_orm::sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};

/// An empty database of a test's own.
pub(crate) struct TestDatabase {
    dir: tempfile::TempDir,
}

impl TestDatabase {
    pub(crate) async fn create() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite://{}", self.path().display())
    }

    pub(crate) async fn connect(&self, options: &DbOptions) -> Db {
        Db::connect(&self.url(), options).await.unwrap()
    }

    /// Statements of somebody who knows nothing of Kilonova.
    pub(crate) async fn execute(&self, statements: &str) {
        let mut session: SqliteConnection =
            SqliteConnectOptions::new().filename(self.path()).create_if_missing(true).connect().await.unwrap();
        session.execute(AssertSqlSafe(statements.to_owned())).await.unwrap();
        session.close().await.unwrap();
    }

    pub(crate) async fn drop(self) {}

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("kilonova.sqlite")
    }
}
