//! The schema, step by step. A released step is never changed; a change is a new step at the end.
//!
//! A step is written once for all databases: [`create_table`], [`add_column`] and [`create_index`] adapt it.

use std::collections::BTreeSet;

use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection};
use sea_orm::sqlx::{self, Connection as _, Executor as _};
use sea_orm::{ConnectionTrait, DatabaseConnection, RuntimeErr, TransactionTrait as _};
use sea_orm_migration::IntoSchemaManagerConnection;
use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::DbError;
use crate::pool::write_lock;
use crate::sql::select;
use crate::url::Place;

mod m0001_compute;
mod m0002_identity;
mod m0003_image;
mod m0004_network;
mod m0005_placement;
mod m0006_project_locks;
mod m0007_server_groups;
mod m0008_aggregates;
mod m0011_server_migrations;
mod m0012_console_auth_tokens;
mod m0013_routers;
mod m0014_task_log;
mod m0016_placement_trees;
mod m0017_trunks;

/// Where sea-orm-migration keeps the steps that were taken.
const STEPS: &str = "seaql_migrations";

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
            Box::new(m0007_server_groups::Migration),
            Box::new(m0008_aggregates::Migration),
            Box::new(m0011_server_migrations::Migration),
            Box::new(m0012_console_auth_tokens::Migration),
            Box::new(m0013_routers::Migration),
            Box::new(m0014_task_log::Migration),
            Box::new(m0016_placement_trees::Migration),
            Box::new(m0017_trunks::Migration),
        ]
    }
}

/// Takes the steps that are missing, alone: who migrates holds a lock. A newer schema is refused.
pub(crate) async fn migrate(pool: &DatabaseConnection, place: &Place) -> Result<(), DbError> {
    let lock = match place {
        Place::Sqlite(_) => {
            let tx = pool.begin_with_options(write_lock()).await?;
            take_steps(&tx).await?;
            return Ok(tx.commit().await?);
        }
        Place::Postgres(at) => Lock::postgres(at).await.map_err(failed)?,
        Place::MySql(at) => Lock::mysql(at).await.map_err(failed)?,
    };
    let migrated = take_steps(pool).await;
    lock.give_back().await.map_err(failed)?;
    migrated
}

async fn take_steps<'c>(connection: impl IntoSchemaManagerConnection<'c> + Copy) -> Result<(), DbError> {
    match check(connection).await {
        Err(DbError::SchemaTooOld { .. }) => Ok(Migrator::up(connection, None).await?),
        checked => checked,
    }
}

/// Compares the steps that were taken with those that there are.
pub(crate) async fn check<'c>(connection: impl IntoSchemaManagerConnection<'c>) -> Result<(), DbError> {
    let taken = taken(connection).await?;
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

async fn taken<'c>(connection: impl IntoSchemaManagerConnection<'c>) -> Result<BTreeSet<String>, DbError> {
    let manager = SchemaManager::new(connection);
    let mut taken = BTreeSet::new();
    if manager.has_table(STEPS).await? {
        for row in manager.get_connection().query_all(&select(STEPS, &["version"])).await? {
            taken.insert(row.try_get_by_index::<String>(0)?);
        }
    }
    Ok(taken)
}

/// A lock of the whole database, held by a session of its own: it is gone when the session is. SQLite needs none: its
/// steps are one transaction.
enum Lock {
    Postgres(PgConnection),
    MySql(MySqlConnection),
}

/// "kilonova", as the number that PostgreSQL wants.
const POSTGRES_LOCK: &str = "SELECT pg_advisory_lock(7739836660462876257)";
/// MySQL's are of the whole server.
const MYSQL_LOCK: &str = "DO GET_LOCK(CONCAT('kilonova-', MD5(DATABASE())), 86400)";

impl Lock {
    async fn postgres(at: &PgConnectOptions) -> Result<Self, sqlx::Error> {
        let mut session = PgConnection::connect_with(at).await?;
        session.execute(POSTGRES_LOCK).await?;
        Ok(Self::Postgres(session))
    }

    async fn mysql(at: &MySqlConnectOptions) -> Result<Self, sqlx::Error> {
        let mut session = MySqlConnection::connect_with(at).await?;
        session.execute(MYSQL_LOCK).await?;
        Ok(Self::MySql(session))
    }

    async fn give_back(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Postgres(session) => session.close().await,
            Self::MySql(session) => session.close().await,
        }
    }
}

fn failed(error: sqlx::Error) -> DbError {
    DbError::Database(DbErr::Conn(RuntimeErr::SqlxError(error.into())))
}

/// Makes a table with the types that hold what we store, and texts that compare byte by byte, on every database.
async fn create_table(manager: &SchemaManager<'_>, table: TableCreateStatement) -> Result<(), DbErr> {
    let backend = manager.get_database_backend();
    let mut table = adapted(&table, backend);
    if backend == DbBackend::MySql {
        let collation = mysql_collation(manager.get_connection()).await?;
        table.if_not_exists().engine("InnoDB").character_set("utf8mb4").collate(collation);
    }
    manager.create_table(table).await
}

/// Adds a column to a table that there is. MySQL may have taken this part of its step already.
async fn add_column(
    manager: &SchemaManager<'_>,
    table: &'static str,
    name: &'static str,
    column: ColumnDef,
) -> Result<(), DbErr> {
    if manager.has_column(table, name).await? {
        return Ok(());
    }
    let mut column = adapted_column(&column, manager.get_database_backend());
    manager.alter_table(Table::alter().table(table).add_column(&mut column).take()).await
}

/// The collation of bytes that does not pad: with `utf8mb4_bin` a name would equal itself with a space behind it. MariaDB
/// and MySQL each have their own.
async fn mysql_collation(connection: &impl ConnectionTrait) -> Result<String, DbErr> {
    let mut statement = Query::select();
    statement
        .column("COLLATION_NAME")
        .from(("information_schema", "COLLATIONS"))
        .and_where(Expr::col("COLLATION_NAME").is_in(["utf8mb4_nopad_bin", "utf8mb4_0900_bin"]))
        .order_by("COLLATION_NAME", Order::Desc)
        .limit(1);
    let row = connection.query_one(&statement).await?;
    let none = || DbErr::Custom("MariaDB 10.2 or MySQL 8.0.17 is the oldest that can be used".to_owned());
    row.ok_or_else(none)?.try_get_by_index(0)
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

#[cfg(test)]
mod tests {
    use sea_orm_migration::MigratorTrait;

    use super::Migrator;
    use crate::{Db, DbOptions};

    #[tokio::test]
    async fn every_step_leads_to_the_last_one() {
        for taken in 0..=u32::try_from(Migrator::migrations().len()).unwrap() {
            let dir = tempfile::tempdir().unwrap();
            let url = format!("sqlite://{}", dir.path().join("kilonova.sqlite").display());
            let db = Db::connect(&url, &DbOptions::default()).await.unwrap();
            Migrator::up(&db.write, Some(taken)).await.unwrap();
            db.migrate().await.unwrap();
            db.check_schema().await.unwrap();
            db.close().await.unwrap();
        }
    }
}
