//! Two transactions that wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use kilonova_db::{DbError, Transaction, quotas};
use sea_orm::ConnectionTrait as _;
use tokio::sync::Barrier;

use crate::suite::support::{join_all, on_database};

async fn add_one(tx: &Transaction, project: &str) -> Result<(), DbError> {
    let statement = format!("UPDATE quotas SET hard_limit = hard_limit + 1 WHERE project_id = '{project}'");
    tx.execute_unprepared(&statement).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_tried_again_and_nothing_is_done_twice() {
    on_database(async |db| {
        for project in ["a", "b"] {
            quotas::set_project(db, project, &[("cores".to_owned(), 0)].into()).await.unwrap();
        }
        let (both_hold_one, tries) = (Arc::new(Barrier::new(2)), Arc::new(AtomicU32::new(0)));
        let writers = [("a", "b"), ("b", "a")].into_iter().map(|(first, second)| {
            let (db, both_hold_one, tries) = (db.clone(), both_hold_one.clone(), tries.clone());
            tokio::spawn(async move {
                db.retry(|| async {
                    let tx = db.begin().await?;
                    add_one(&tx, first).await?;
                    if tries.fetch_add(1, Ordering::Relaxed) < 2 {
                        both_hold_one.wait().await;
                    }
                    add_one(&tx, second).await?;
                    tx.commit().await
                })
                .await
            })
        });
        let written: Vec<Result<(), DbError>> = join_all(writers).await;
        assert!(written.iter().all(Result::is_ok), "{written:?}");
        for project in ["a", "b"] {
            assert_eq!(quotas::project(db, project).await.unwrap()["cores"], 2, "{project}");
        }
        assert_eq!(tries.load(Ordering::Relaxed), 3, "one of them twice");
    })
    .await;
}
