//! A database that a released program made goes on with this one.

use kilonova_db::instances::{self, InstanceQuery};
use kilonova_db::workflows::{self, WorkflowKind};
use kilonova_db::{DbError, DbOptions, block_devices, flavors, identity, placement, request_specs};
use sea_orm::sqlx::sqlite::SqliteConnection;
use sea_orm::sqlx::{Connection as _, query_as};
use uuid::Uuid;

use crate::backend::TestDatabase;
use crate::suite::support::{assert_same, create_one, full_instance, open};

const RELEASED: &str = include_str!("released.sql");

/// Every table and index, as it was made.
async fn schema(database: &TestDatabase) -> Vec<(String, String)> {
    let mut session = SqliteConnection::connect(&database.url()).await.unwrap();
    let made =
        query_as("SELECT name, coalesce(sql, '') FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name");
    made.fetch_all(&mut session).await.unwrap()
}

#[tokio::test]
async fn a_released_database_becomes_what_a_new_one_is() {
    let (released, new) = (TestDatabase::create().await, TestDatabase::create().await);
    released.execute(RELEASED).await;
    open(&released).await.close().await.unwrap();
    open(&new).await.close().await.unwrap();
    // The dump has made the tables with a clause more.
    let mut migrated = schema(&released).await;
    migrated.iter_mut().for_each(|(_, sql)| *sql = sql.replacen("CREATE TABLE IF NOT EXISTS", "CREATE TABLE", 1));
    assert_eq!(migrated, schema(&new).await);
}

#[tokio::test]
async fn a_released_database_keeps_its_rows() {
    let database = TestDatabase::create().await;
    database.execute(RELEASED).await;
    let db = database.connect(&DbOptions::default()).await;
    assert!(matches!(db.check_schema().await, Err(DbError::SchemaTooOld { .. })));
    db.migrate().await.unwrap();
    db.check_schema().await.unwrap();

    let [server] = &instances::list(&db, &InstanceQuery::default()).await.unwrap()[..] else { panic!("no server") };
    let given = full_instance();
    assert_eq!((&server.metadata, &server.system_metadata), (&given.metadata, &given.system_metadata));
    assert_same(server.flavor.as_ref().unwrap(), given.flavor.as_ref().unwrap());
    assert_same(server.old_flavor.as_ref().unwrap(), given.old_flavor.as_ref().unwrap());
    assert_eq!((server.launched_at, &server.display_name), (given.launched_at, &given.display_name));
    assert!(workflows::get(&db, WorkflowKind::Build, server.uuid).await.unwrap().is_some());
    assert_eq!(block_devices::list(&db, &[server.uuid]).await.unwrap()[&server.uuid].len(), 1);
    assert_eq!(request_specs::get(&db, server.uuid).await.unwrap().num_instances, 1);
    assert_eq!(flavors::get(&db, "2", None).await.unwrap().name.as_deref(), Some("m1.small"));
    assert_eq!(identity::domains::fetch(db.read(), "default").await.unwrap().name, "Default");
    assert_eq!(placement::provider(db.read(), Uuid::nil()).await.unwrap().name, "node1");
    create_one(&db, full_instance()).await;
    db.close().await.unwrap();
}
