//! Migrations, and the check that a program makes before it begins.

use kilonova_db::{DbError, DbOptions, quotas};

use super::support::*;
use crate::backend::TestDatabase;

const LAST_STEP: &str = "m0014_task_log";

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_migrate_at_once_one_does_it_and_all_are_content() {
    let database = TestDatabase::create().await;
    let url = database.url();
    let migrate = |_| {
        let url = url.clone();
        tokio::spawn(async move {
            let db = kilonova_db::Db::connect(&url, &DbOptions::default()).await?;
            db.migrate().await?;
            db.check_schema().await?;
            db.close().await
        })
    };
    for migrated in join_all((0..8).map(migrate)).await {
        migrated.unwrap();
    }
    database.drop().await;
}

#[tokio::test]
async fn an_empty_database_is_too_old() {
    let database = TestDatabase::create().await;
    let db = database.connect(&DbOptions::default()).await;
    let checked = db.check_schema().await;
    assert!(matches!(&checked, Err(DbError::SchemaTooOld { missing }) if missing == "m0001_compute"), "{checked:?}");
    db.migrate().await.unwrap();
    db.check_schema().await.unwrap();
    db.migrate().await.unwrap();
    db.close().await.unwrap();
    database.drop().await;
}

#[tokio::test]
async fn a_schema_without_the_last_step_is_too_old_until_it_is_migrated() {
    let database = TestDatabase::create().await;
    let db = open(&database).await;
    quotas::set_class(&db, "default", &[("cores".to_owned(), 5)].into()).await.unwrap();
    let forget = format!("DROP TABLE task_log; DELETE FROM seaql_migrations WHERE version = '{LAST_STEP}'");
    database.execute(&forget).await;
    let checked = db.check_schema().await;
    assert!(matches!(&checked, Err(DbError::SchemaTooOld { missing }) if missing == LAST_STEP), "{checked:?}");
    db.migrate().await.unwrap();
    db.check_schema().await.unwrap();
    assert_eq!(quotas::class(&db, "default").await.unwrap()["cores"], 5);
    db.close().await.unwrap();
    database.drop().await;
}

#[tokio::test]
async fn a_schema_of_a_newer_program_is_refused() {
    let database = TestDatabase::create().await;
    let db = open(&database).await;
    database.execute("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_future', 0)").await;
    for refused in [db.check_schema().await, db.migrate().await] {
        assert!(matches!(&refused, Err(DbError::SchemaTooNew { unknown }) if unknown == "m9999_future"), "{refused:?}");
    }
    db.close().await.unwrap();
    database.drop().await;
}
