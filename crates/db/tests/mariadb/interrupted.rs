//! MariaDB commits every statement of a migration on its own.

use kilonova_db::{DbError, DbOptions};

use crate::backend::TestDatabase;
use crate::suite::support::{create_one, instance, open};

#[tokio::test]
async fn a_step_that_was_cut_short_is_taken_again() {
    let database = TestDatabase::create().await;
    open(&database).await.close().await.unwrap();
    // As if the program had died in the middle of the first step, and others before their end was written down.
    let cut_short = "DROP TABLE workflows; DROP INDEX ports_device ON ports; DELETE FROM seaql_migrations";
    database.execute(cut_short).await;
    let db = database.connect(&DbOptions::default()).await;
    assert!(matches!(db.check_schema().await, Err(DbError::SchemaTooOld { .. })));
    db.migrate().await.unwrap();
    db.check_schema().await.unwrap();
    create_one(&db, instance("a")).await;
    // It would fail if the index had not been made again.
    database.execute("DROP INDEX ports_device ON ports").await;
    db.close().await.unwrap();
    database.drop().await;
}
