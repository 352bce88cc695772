//! Leases: exactly one works on a workflow, and what the dead left is found.

use std::slice::from_ref;
use std::time::Duration;

use chrono::TimeDelta;
use kilonova_core::time::utcnow;
use kilonova_db::Db;
use kilonova_db::workflows::{self, Workflow, WorkflowKind};
use serde_json::json;
use uuid::Uuid;

use super::support::*;

async fn build(db: &Db) -> Workflow {
    let uuid = create_one(db, instance("a")).await.uuid;
    of(db, uuid).await.unwrap()
}

async fn of(db: &Db, uuid: Uuid) -> Option<Workflow> {
    workflows::get(db, WorkflowKind::Build, uuid).await.unwrap()
}

#[tokio::test]
async fn a_workflow_advances_for_its_owner_only() {
    on_database(async |db| {
        let begun = build(db).await;
        let payload = json!({"host": "n1"});
        assert!(!workflows::advance(db, begun.id, "thief", "build", &payload, LEASE).await.unwrap());
        assert_eq!(of(db, begun.instance_uuid).await, Some(begun.clone()));
        let longer = LEASE * 2;
        assert!(workflows::advance(db, begun.id, "host:1", "build", &payload, longer).await.unwrap());
        let moved = of(db, begun.instance_uuid).await.unwrap();
        let expected = Workflow {
            step: "build".into(),
            payload,
            lease_until: moved.updated_at + TimeDelta::from_std(longer).unwrap(),
            updated_at: moved.updated_at,
            ..begun.clone()
        };
        assert!(moved.updated_at > begun.updated_at);
        assert_eq!(moved, expected);
        workflows::finish(db, begun.id).await.unwrap();
        workflows::finish(db, begun.id).await.unwrap();
        assert_eq!(of(db, begun.instance_uuid).await, None);
        assert!(!workflows::advance(db, begun.id, "host:1", "build", &json!({}), LEASE).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn of_many_that_take_a_workflow_one_gets_it() {
    on_database(async |db| {
        let begun = build(db).await;
        let takes = (0..40).map(|n| {
            let (db, id) = (db.clone(), begun.id);
            tokio::spawn(
                async move { workflows::take(&db, id, &format!("host:{n}"), LEASE, "host:1", 0).await.unwrap() },
            )
        });
        let taken = join_all(takes).await;
        let winners: Vec<usize> = (0..40).filter(|n| taken[*n]).collect();
        let after = of(db, begun.instance_uuid).await.unwrap();
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!((after.owner, after.attempts), (format!("host:{}", winners[0]), 1));
        assert!(!workflows::take(db, 999, "host:2", LEASE, "host:1", 0).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn leases_expire_and_the_longest_over_comes_first() {
    on_database(async |db| {
        let (first, second, third) = (build(db).await, build(db).await, build(db).await);
        assert_eq!(workflows::count(db).await.unwrap(), 3);
        assert_eq!(workflows::expired(db, utcnow(), 10).await.unwrap(), []);
        assert_eq!(workflows::expired(db, first.lease_until, 10).await.unwrap(), from_ref(&first));
        let late = third.lease_until + TimeDelta::seconds(1);
        assert_eq!(workflows::expired(db, late, 2).await.unwrap(), [first, second.clone()]);
        workflows::release(db, third.id, "thief", Duration::ZERO).await.unwrap();
        assert_eq!(workflows::expired(db, utcnow(), 10).await.unwrap(), [], "not the thief's");
        workflows::release(db, third.id, "host:1", Duration::ZERO).await.unwrap();
        let expired = workflows::expired(db, utcnow(), 10).await.unwrap();
        assert_eq!(expired.iter().map(|workflow| workflow.id).collect::<Vec<_>>(), [third.id]);
        assert!(workflows::take(db, third.id, "host:2", Duration::MAX, "host:1", 0).await.unwrap());
        assert_eq!(workflows::expired(db, utcnow(), 10).await.unwrap(), [], "leased for ever");
    })
    .await;
}

#[tokio::test]
async fn what_a_dead_process_held_expires_at_once() {
    on_database(async |db| {
        let (mine, other) = (build(db).await, build(db).await);
        workflows::take(db, other.id, "host_1:9", LEASE, "host:1", 0).await.unwrap();
        assert_eq!(workflows::expire_owner(db, "host_").await.unwrap(), 1, "an underscore is one");
        assert_eq!(workflows::expire_owner(db, "host_").await.unwrap(), 0, "expired already");
        assert_eq!(workflows::expire_owner(db, "host:").await.unwrap(), 1);
        let expired = workflows::expired(db, utcnow(), 10).await.unwrap();
        assert_eq!(expired.iter().map(|workflow| workflow.id).collect::<Vec<_>>(), [other.id, mine.id]);
    })
    .await;
}
