//! Real servers for tests and measurements: RabbitMQ, PostgreSQL, MariaDB, from the machine's packages.
//!
//! Each runs in the foreground, on a free port of the loopback, in a directory of its own under the temporary one, and
//! ends when its value is dropped or when the thread that started it ends. It can be killed and started again, on the same port and
//! with what it kept. As root, PostgreSQL runs as the user `postgres`, because it refuses to run as root.
//!
//! `cargo xtask test` starts one of each and names it in the environment ([`RABBITMQ_URL`], [`POSTGRESQL_URL`],
//! [`MARIADB_URL`]): tests that only need somewhere to connect share those. Tests that kill servers start their own.

mod mariadb;
mod postgresql;
mod process;
mod rabbitmq;

pub use mariadb::MariaDb;
pub use postgresql::PostgreSql;
pub use process::free_port;
pub use rabbitmq::RabbitMq;

/// Names the variable with the `rabbit://` URL of the shared broker.
pub const RABBITMQ_URL: &str = "KILONOVA_TEST_RABBITMQ_URL";
/// Names the variable with the `postgresql://` URL of the shared server: a superuser's, without a database.
pub const POSTGRESQL_URL: &str = "KILONOVA_TEST_POSTGRESQL_URL";
/// Names the variable with the `mysql://` URL of the shared server: a superuser's, without a database.
pub const MARIADB_URL: &str = "KILONOVA_TEST_MARIADB_URL";
