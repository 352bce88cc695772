//! A database on the server that the environment names, or on one that the tests start.

use std::sync::{Arc, Mutex, Weak};

use kilonova_db::{Db, DbOptions};
use kilonova_testing::MARIADB_URL;
use sea_orm::sqlx::mysql::MySqlConnection;
use sea_orm::sqlx::{AssertSqlSafe, Connection as _, Executor as _, query_scalar};
use uuid::Uuid;

use crate::server::shared::{Running, SharedServer};

pub(crate) use kilonova_testing::MariaDb as Server;

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
        match std::env::var(MARIADB_URL) {
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
        database.on("", &format!("CREATE DATABASE {}", database.name)).await;
        database
    }

    /// As `nova.conf` has it.
    pub(crate) fn url(&self) -> String {
        let server = self.server.replacen("mysql://", "mysql+pymysql://", 1);
        format!("{server}/{}?charset=utf8mb4", self.name)
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
        let mut session = MySqlConnection::connect(&self.server).await.unwrap();
        let sessions = query_scalar("SELECT id FROM information_schema.processlist WHERE db = ?");
        let ids: Vec<i64> = sessions.bind(&self.name).fetch_all(&mut session).await.unwrap();
        for id in ids {
            session.execute(AssertSqlSafe(format!("KILL {id}"))).await.unwrap();
        }
        session.close().await.unwrap();
    }

    pub(crate) async fn drop(self) {
        self.on("", &format!("DROP DATABASE {}", self.name)).await;
    }

    async fn on(&self, database: &str, statements: &str) {
        let mut session = MySqlConnection::connect(&format!("{}/{database}", self.server)).await.unwrap();
        session.execute(AssertSqlSafe(statements.to_owned())).await.unwrap();
        session.close().await.unwrap();
    }
}
