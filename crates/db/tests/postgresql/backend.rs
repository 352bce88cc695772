//! A database on the server that the environment names, or on one that the tests start.

use std::sync::{Arc, Mutex, Weak};

use kilonova_db::{Db, DbOptions};
use kilonova_testing::POSTGRESQL_URL;
use sea_orm::sqlx::postgres::PgConnection;
use sea_orm::sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use uuid::Uuid;

use crate::server::shared::{Running, SharedServer};

pub(crate) use kilonova_testing::PostgreSql as Server;

static RUNNING: Running = Mutex::new(Weak::new());

/// An empty database of a test's own.
pub(crate) struct TestDatabase {
    server: String,
    name: String,
    /// Last: it ends when the database is no longer needed.
    _shared: Option<Arc<SharedServer>>,
}

impl TestDatabase {
    pub(crate) async fn create() -> Self {
        match std::env::var(POSTGRESQL_URL) {
            Ok(server) => Self::create_on(server, None).await,
            Err(_) => {
                let shared = SharedServer::get(&RUNNING, || {
                    let server = Server::start().unwrap();
                    let url = server.url();
                    (server, url)
                });
                Self::create_on(shared.url().to_owned(), Some(shared)).await
            }
        }
    }

    pub(crate) async fn create_on(server: String, shared: Option<Arc<SharedServer>>) -> Self {
        let name = format!("kilonova_{}", Uuid::new_v4().simple());
        let database = Self { server, name, _shared: shared };
        database.on("postgres", &format!("CREATE DATABASE {}", database.name)).await;
        database
    }

    /// As `nova.conf` has it.
    pub(crate) fn url(&self) -> String {
        let server = self.server.replacen("postgresql://", "postgresql+psycopg2://", 1);
        format!("{server}/{}", self.name)
    }

    pub(crate) async fn connect(&self, options: &DbOptions) -> Db {
        Db::connect(&self.url(), options).await.unwrap()
    }

    /// Statements of somebody who knows nothing of Kilonova.
    pub(crate) async fn execute(&self, statements: &str) {
        self.on(&self.name, statements).await;
    }

    /// Ends every session, as an administrator can.
    pub(crate) async fn end_sessions(&self) {
        let sessions =
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'", self.name);
        self.on("postgres", &sessions).await;
    }

    pub(crate) async fn drop(self) {
        self.on("postgres", &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }

    async fn on(&self, database: &str, statements: &str) {
        let mut session = PgConnection::connect(&format!("{}/{database}", self.server)).await.unwrap();
        session.execute(AssertSqlSafe(statements.to_owned())).await.unwrap();
        session.close().await.unwrap();
    }
}
