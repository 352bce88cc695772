//! Host aggregates.

use std::collections::BTreeMap;

use kilonova_db::aggregates::{self, Before, Change};
use kilonova_db::{Db, DbError};
use kilonova_objects::Aggregate;
use serde_json::json;
use uuid::Uuid;

use super::support::*;
use crate::backend::TestDatabase;

fn aggregate(name: &str, zone: Option<&str>) -> Aggregate {
    let metadata = zone.map(|zone| ("availability_zone".to_owned(), zone.to_owned())).into_iter().collect();
    Aggregate { uuid: Uuid::new_v4(), name: name.into(), metadata: Some(metadata), ..Aggregate::default() }
}

async fn change(db: &Db, id: i64, changes: Vec<Change>) -> Result<Aggregate, DbError> {
    aggregates::change(db, id, |_: &Before| Ok::<_, DbError>(changes.clone())).await
}

#[tokio::test]
async fn an_aggregate_is_stored_changed_and_deleted() {
    on_database(async |db| {
        let given = aggregate("Äste", Some("east"));
        let stored = aggregates::create(db, &given).await.unwrap();
        assert!(stored.id > 0 && stored.created_at.is_some());
        let expected = Aggregate { id: stored.id, created_at: stored.created_at, hosts: Some(vec![]), ..given.clone() };
        assert_eq!(stored, expected);
        assert_eq!(aggregates::get(db, stored.id).await.unwrap(), stored);
        assert_exists(aggregates::create(db, &aggregate("Äste", None)).await, "aggregate", "Äste");
        let other = aggregates::create(db, &aggregate("other", None)).await.unwrap();
        assert_exists(change(db, other.id, vec![Change::Name("Äste".into())]).await, "aggregate", "Äste");

        let metadata = BTreeMap::from([("availability_zone".into(), None), ("ssd".into(), Some("true".to_owned()))]);
        let changes = vec![
            Change::Name("äste".into()),
            Change::Metadata(metadata),
            Change::AddHost("b".into()),
            Change::AddHost("a".into()),
        ];
        let changed = change(db, stored.id, changes).await.unwrap();
        assert!(changed.updated_at.is_some());
        assert_eq!((changed.name.as_str(), changed.hosts()), ("äste", ["a".to_owned(), "b".to_owned()].as_slice()));
        assert_eq!(changed.metadata.as_ref().unwrap(), &BTreeMap::from([("ssd".to_owned(), "true".to_owned())]));
        assert_eq!(aggregates::list(db).await.unwrap(), [changed.clone(), other.clone()]);
        assert_exists(change(db, stored.id, vec![Change::AddHost("a".into())]).await, "aggregate host", "a");
        let left = change(db, stored.id, vec![Change::RemoveHost("a".into())]).await.unwrap();
        assert_eq!(left.hosts(), ["b"]);
        aggregates::forget_host(db, "b").await.unwrap();
        assert_eq!(aggregates::get(db, stored.id).await.unwrap().hosts(), [] as [String; 0]);

        change(db, stored.id, vec![Change::Delete]).await.unwrap();
        let id = stored.id.to_string();
        assert_not_found(aggregates::get(db, stored.id).await, "aggregate", &id);
        assert_not_found(change(db, stored.id, vec![]).await, "aggregate", &id);
        assert_eq!(aggregates::list(db).await.unwrap(), [other]);
    })
    .await;
}

#[tokio::test]
async fn a_change_is_decided_on_what_is_there() {
    on_database(async |db| {
        let east = aggregates::create(db, &aggregate("east", Some("east"))).await.unwrap();
        let plain = aggregates::create(db, &aggregate("plain", None)).await.unwrap();
        for id in [east.id, plain.id] {
            change(db, id, vec![Change::AddHost("node1".into())]).await.unwrap();
        }
        let web = create_one(db, instance("web")).await;
        let gone = create_one(db, instance("gone")).await;
        for uuid in [web.uuid, gone.uuid] {
            save(db, uuid, json!({"host": "node1"})).await.unwrap();
        }
        kilonova_db::instances::destroy(db, gone.uuid).await.unwrap();
        let refused = aggregates::change(db, plain.id, |before| {
            assert_eq!(before.servers, BTreeMap::from([("node1".to_owned(), 1)]));
            assert_eq!(before.other_zones("node1").collect::<Vec<_>>(), ["east"]);
            assert_eq!(before.other_zones("node2").count(), 0);
            assert_eq!(before.aggregate.name, "plain");
            Err::<Vec<Change>, _>(DbError::not_found("reason", "none"))
        });
        assert_not_found(refused.await, "reason", "none");
        assert_eq!(aggregates::zones_by_host(db).await.unwrap(), BTreeMap::from([("node1".into(), "east".into())]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_zones_that_take_a_host_at_the_same_time_one_gets_it() {
    let database = TestDatabase::create().await;
    let db = open(&database).await;
    let mut ids = Vec::new();
    for zone in ["a", "b", "c", "d"] {
        ids.push(aggregates::create(&db, &aggregate(zone, Some(zone))).await.unwrap().id);
    }
    let add = |id: i64| {
        let db = db.clone();
        tokio::spawn(async move {
            aggregates::change(&db, id, |before| match before.other_zones("node1").next() {
                Some(zone) => Err(DbError::exists("zone", zone)),
                None => Ok(vec![Change::AddHost("node1".into())]),
            })
            .await
        })
    };
    let added = join_all(ids.into_iter().map(add)).await;
    assert_eq!(added.iter().filter(|added| added.is_ok()).count(), 1, "{added:?}");
    db.close().await.unwrap();
    database.drop().await;
}
