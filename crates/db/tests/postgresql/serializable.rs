//! Serialization failures: PostgreSQL has them where an operator makes SERIALIZABLE the isolation of all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use kilonova_db::{DbError, quotas};
use sea_orm::ConnectionTrait as _;
use tokio::sync::Barrier;

use crate::suite::support::{join_all, on_database};

#[tokio::test(flavor = "multi_thread")]
async fn a_serialization_failure_is_tried_again() {
    on_database(async |db| {
        quotas::set_project(db, "a", &[("cores".to_owned(), 0)].into()).await.unwrap();
        let (both_have_read, tries) = (Arc::new(Barrier::new(2)), Arc::new(AtomicU32::new(0)));
        let writers = (0..2).map(|_| {
            let (db, both_have_read, tries) = (db.clone(), both_have_read.clone(), tries.clone());
            tokio::spawn(async move {
                db.retry(|| async {
                    let tx = db.begin().await?;
                    tx.execute_unprepared("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").await?;
                    tx.execute_unprepared("SELECT hard_limit FROM quotas").await?;
                    if tries.fetch_add(1, Ordering::Relaxed) < 2 {
                        both_have_read.wait().await;
                    }
                    tx.execute_unprepared("UPDATE quotas SET hard_limit = hard_limit + 1").await?;
                    tx.commit().await
                })
                .await
            })
        });
        let written: Vec<Result<(), DbError>> = join_all(writers).await;
        assert!(written.iter().all(Result::is_ok), "{written:?}");
        assert_eq!(quotas::project(db, "a").await.unwrap()["cores"], 2);
        assert_eq!(tries.load(Ordering::Relaxed), 3, "one of them twice");
    })
    .await;
}
