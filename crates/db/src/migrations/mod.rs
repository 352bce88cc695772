//! The schema, step by step. A released step is never changed; a change is a new step at the end.
//!
//! A step is written once for all databases: [`create_table`] and [`create_index`] adapt it.

use std::collections::BTreeSet;

use sea_orm::sqlx::mysql::MySqlConnection;
use sea_orm::sqlx::postgres::PgConnection;
use sea_orm::sqlx::{self, Connection as _, Executor as _};
use sea_orm::{DatabaseConnection, RuntimeErr};
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::DbError;
use crate::url::Place;

mod m0001_compute;
mod m0002_identity;
mod m0003_image;
mod m0004_network;
mod m0005_placement;
mod m0006_project_locks;

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_compute::Migration),
            Box::new(m0002_identity::Migration),
            Box::new(m0003_image::Migration),
            Box::new(m0004_network::Migration),
            Box::new(m0005_placement::Migration),
            Box::new(m0006_project_locks::Migration),
        ]
    }
}

/// Takes the steps that are missing, alone: who migrates holds a lock on the server. A newer schema is refused.
pub(crate) async fn migrate(pool: &DatabaseConnection, place: &Place) -> Result<(), DbError> {
    let lock = Lock::take(place).await?;
    let migrated = match check(pool).await {
        Err(DbError::SchemaTooOld { .. }) => Migrator::up(pool, None).await.map_err(DbError::from),
        checked => checked,
    };
    lock.give_back().await?;
    migrated
}

/// Compares the steps that were taken with those that there are.
pub(crate) async fn check(pool: &DatabaseConnection) -> Result<(), DbError> {
    let taken = taken(pool).await?;
    let known: Vec<String> = Migrator::migrations().iter().map(|step| step.name().to_owned()).collect();
    if let Some(unknown) = taken.iter().find(|step| !known.contains(step)) {
        return Err(DbError::SchemaTooNew { unknown: unknown.clone() });
    }
    match known.into_iter().find(|step| !taken.contains(step)) {
        Some(missing) => Err(DbError::SchemaTooOld { missing }),
        None => Ok(()),
    }
}

/// The last step that was taken.
pub(crate) async fn version(pool: &DatabaseConnection) -> Result<Option<String>, DbError> {
    Ok(taken(pool).await?.pop_last())
}

async fn taken(pool: &DatabaseConnection) -> Result<BTreeSet<String>, DbError> {
    Ok(match SchemaManager::new(pool).has_table("seaql_migrations").await? {
        true => Migrator::get_migration_models(pool).await?.into_iter().map(|step| step.version).collect(),
        false => BTreeSet::new(),
    })
}

/// A lock of the whole database, held by a session of its own: it is gone when the session is.
enum Lock {
    /// A file is migrated by the process that owns it.
    Sqlite,
    Postgres(PgConnection),
    MySql(MySqlConnection),
}

/// "kilonova", as the number that PostgreSQL wants.
const POSTGRES_LOCK: &str = "SELECT pg_advisory_lock(7739836660462876257)";
/// MySQL's are of the whole server.
const MYSQL_LOCK: &str = "DO GET_LOCK(CONCAT('kilonova-', MD5(DATABASE())), 86400)";

impl Lock {
    async fn take(place: &Place) -> Result<Self, DbError> {
        let lock = async {
            Ok(match place {
                Place::Sqlite(_) => Self::Sqlite,
                Place::Postgres(at) => {
                    let mut session = PgConnection::connect_with(at).await?;
                    session.execute(POSTGRES_LOCK).await?;
                    Self::Postgres(session)
                }
                Place::MySql(at) => {
                    let mut session = MySqlConnection::connect_with(at).await?;
                    session.execute(MYSQL_LOCK).await?;
                    Self::MySql(session)
                }
            })
        };
        lock.await.map_err(failed)
    }

    async fn give_back(self) -> Result<(), DbError> {
        let closed = match self {
            Self::Sqlite => Ok(()),
            Self::Postgres(session) => session.close().await,
            Self::MySql(session) => session.close().await,
        };
        closed.map_err(failed)
    }
}

fn failed(error: sqlx::Error) -> DbError {
    DbError::Database(DbErr::Conn(RuntimeErr::SqlxError(error.into())))
}

/// Makes a table with the types that hold what we store, and texts that compare byte by byte, on every database.
async fn create_table(manager: &SchemaManager<'_>, table: TableCreateStatement) -> Result<(), DbErr> {
    manager.create_table(adapted(&table, manager.get_database_backend())).await
}

/// Makes an index. MySQL commits every statement on its own, so that a step may have to be taken again.
async fn create_index(
    manager: &SchemaManager<'_>,
    table: &str,
    name: &str,
    index: IndexCreateStatement,
) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::MySql && manager.has_index(table, name).await? {
        return Ok(());
    }
    manager.create_index(index).await
}

fn adapted(table: &TableCreateStatement, backend: DbBackend) -> TableCreateStatement {
    let mut adapted = Table::create();
    if let Some(name) = table.get_table_name() {
        adapted.table(name.clone());
    }
    for column in table.get_columns() {
        adapted.col(adapted_column(column, backend));
    }
    for index in table.get_indexes() {
        adapted.index(&mut index.clone());
    }
    for key in table.get_foreign_key_create_stmts() {
        adapted.foreign_key(&mut key.clone());
    }
    if backend == DbBackend::MySql {
        adapted.if_not_exists().engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
    }
    adapted
}

fn adapted_column(column: &ColumnDef, backend: DbBackend) -> ColumnDef {
    let mut column = column.clone();
    match (backend, column.get_column_type()) {
        // TEXT ends at 64 KiB, which user data alone may fill.
        (DbBackend::MySql, Some(ColumnType::Text)) => column.custom("longtext"),
        // TIMESTAMP ends in 2038, and both count seconds if nothing is said.
        (DbBackend::MySql, Some(ColumnType::TimestampWithTimeZone)) => column.custom("datetime(6)"),
        // The database's own collation may sort by a language's rules.
        (DbBackend::Postgres, Some(ColumnType::Text | ColumnType::String(_))) => column.extra("COLLATE \"C\""),
        _ => &mut column,
    };
    column
}
