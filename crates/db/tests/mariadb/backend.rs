//! A database on the server that the environment names, or on one of the test's own.

use kilonova_db::Db;
use kilonova_testing::{MARIADB_URL, MariaDb};
use sea_orm::sqlx::mysql::MySqlConnection;
use sea_orm::sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use uuid::Uuid;

/// An empty database of a test's own.
pub(crate) struct TestDatabase {
    server: String,
    name: String,
    /// Last: it ends when the database is no longer needed.
    _own: Option<MariaDb>,
}

impl TestDatabase {
    pub(crate) async fn create() -> Self {
        match std::env::var(MARIADB_URL) {
            Ok(server) => Self::create_on(server, None).await,
            Err(_) => {
                let own = MariaDb::start().unwrap();
                Self::create_on(own.url(), Some(own)).await
            }
        }
    }

    pub(crate) async fn create_on(server: String, own: Option<MariaDb>) -> Self {
        let name = format!("kilonova_{}", Uuid::new_v4().simple());
        let database = Self { server, name, _own: own };
        database.on_server(&format!("CREATE DATABASE {}", database.name)).await;
        database
    }

    /// As `nova.conf` has it.
    pub(crate) fn url(&self) -> String {
        let server = self.server.replacen("mysql://", "mysql+pymysql://", 1);
        format!("{server}/{}?charset=utf8mb4", self.name)
    }

    pub(crate) async fn open(&self) -> Db {
        Db::open(&self.url()).await.unwrap()
    }

    /// A session that knows nothing of Kilonova.
    pub(crate) async fn session(&self) -> MySqlConnection {
        MySqlConnection::connect(&format!("{}/{}", self.server, self.name)).await.unwrap()
    }

    pub(crate) async fn drop(self) {
        self.on_server(&format!("DROP DATABASE {}", self.name)).await;
    }

    async fn on_server(&self, statement: &str) {
        let mut session = MySqlConnection::connect(&format!("{}", self.server)).await.unwrap();
        session.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
        session.close().await.unwrap();
    }
}
