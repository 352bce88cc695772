//! A file in a directory that goes with the test.

use kilonova_db::Db;

/// An empty database of a test's own.
pub(crate) struct TestDatabase {
    dir: tempfile::TempDir,
}

impl TestDatabase {
    pub(crate) async fn create() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite://{}", self.dir.path().join("kilonova.sqlite").display())
    }

    pub(crate) async fn open(&self) -> Db {
        Db::open(&self.url()).await.unwrap()
    }

    pub(crate) async fn drop(self) {}
}
