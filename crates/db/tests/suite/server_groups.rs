//! Server groups, their members and their quotas.

use std::collections::BTreeMap;

use kilonova_db::instances::{self, Create, CreateError, JoinGroup, QuotaLimits};
use kilonova_db::server_groups::{self, CreateError as GroupError, Limits};
use kilonova_db::{Db, DbError};
use kilonova_objects::{Instance, InstanceGroup};
use serde_json::json;
use uuid::Uuid;

use super::support::*;
use crate::backend::TestDatabase;

fn group(project_id: &str, user_id: &str, name: &str) -> InstanceGroup {
    InstanceGroup {
        uuid: Uuid::new_v4(),
        name: Some(name.into()),
        project_id: Some(project_id.into()),
        user_id: Some(user_id.into()),
        policy: Some("anti-affinity".into()),
        _rules: BTreeMap::from([("max_server_per_host".into(), "2".into())]),
        ..InstanceGroup::default()
    }
}

async fn created(db: &Db, group: &InstanceGroup) -> InstanceGroup {
    server_groups::create(db, group, Limits::UNLIMITED).await.unwrap()
}

fn into_group(instances: Vec<Instance>, uuid: Uuid, max_members: i64) -> Create {
    Create { group: Some(JoinGroup { uuid, max_members }), ..request(instances, QuotaLimits::UNLIMITED) }
}

#[tokio::test]
async fn a_group_reads_back_whole_and_is_its_projects_own() {
    on_database(async |db| {
        let given = group(PROJECT, USER, "päir");
        let stored = created(db, &given).await;
        assert!(stored.id > 0 && stored.created_at.is_some());
        assert_eq!(
            stored,
            InstanceGroup {
                id: stored.id,
                created_at: stored.created_at,
                policies: Some(vec!["anti-affinity".into()]),
                members: Some(vec![]),
                hosts: Some(vec![]),
                ..given.clone()
            }
        );
        assert_eq!(server_groups::get(db, given.uuid, None).await.unwrap(), stored);
        assert_eq!(server_groups::get(db, given.uuid, Some(PROJECT)).await.unwrap(), stored);
        let id = given.uuid.to_string();
        assert_not_found(server_groups::get(db, given.uuid, Some("other")).await, "server group", &id);
        server_groups::delete(db, given.uuid).await.unwrap();
        assert_not_found(server_groups::delete(db, given.uuid).await, "server group", &id);
        assert_not_found(server_groups::get(db, given.uuid, None).await, "server group", &id);
    })
    .await;
}

#[tokio::test]
async fn groups_are_listed_by_project_in_order_and_in_parts() {
    on_database(async |db| {
        for (project, name) in [("p", "a"), ("q", "b"), ("p", "c"), ("p", "d")] {
            created(db, &group(project, USER, name)).await;
        }
        let names = async |project, offset, limit| -> Vec<String> {
            let found = server_groups::list(db, project, offset, limit).await.unwrap();
            found.into_iter().filter_map(|group| group.name).collect()
        };
        assert_eq!(names(None, 0, 1000).await, ["a", "b", "c", "d"]);
        assert_eq!(names(Some("p"), 0, 2).await, ["a", "c"]);
        assert_eq!(names(Some("p"), 2, 2).await, ["d"]);
        assert_eq!(names(Some("p"), u64::MAX, u64::MAX).await, Vec::<String>::new());
        assert_eq!(names(Some("r"), 0, 2).await, Vec::<String>::new());
        assert_eq!(server_groups::usage(db, "p", None).await.unwrap(), 3);
        assert_eq!(server_groups::usage(db, "p", Some("bob")).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn servers_join_with_their_rows_and_leave_when_they_are_deleted() {
    on_database(async |db| {
        let (group, other) = (created(db, &group("p", USER, "g")).await, created(db, &group("p", USER, "h")).await);
        let given: Vec<Instance> = ["a", "b", "c"].map(instance).into();
        let uuids: Vec<Uuid> = given.iter().map(|given| given.uuid).collect();
        instances::create(db, into_group(given, group.uuid, 3)).await.unwrap();
        save(db, uuids[0], json!({"host": "node1"})).await.unwrap();
        save(db, uuids[1], json!({"host": "node1"})).await.unwrap();
        let now = server_groups::get(db, group.uuid, None).await.unwrap();
        assert_eq!(now.members.unwrap(), uuids.iter().map(Uuid::to_string).collect::<Vec<_>>());
        assert_eq!(now.hosts.unwrap(), ["node1"]);
        let placed = server_groups::get_for_scheduling(db, group.uuid, &uuids[..2]).await.unwrap();
        assert_eq!((placed.members.unwrap().len(), placed.hosts.unwrap()), (3, vec![]));
        instances::destroy(db, uuids[1]).await.unwrap();
        let listed = server_groups::list(db, None, 0, 10).await.unwrap();
        let members: Vec<_> = listed.into_iter().map(|group| group.members.unwrap()).collect();
        assert_eq!(members, [vec![uuids[0].to_string(), uuids[2].to_string()], vec![]]);
        assert_eq!(server_groups::of_instance(db, uuids[0], None).await.unwrap(), Some(group.uuid));
        assert_eq!(server_groups::of_instance(db, uuids[0], Some("q")).await.unwrap(), None);
        assert_eq!(server_groups::of_instance(db, other.uuid, None).await.unwrap(), None);
        server_groups::delete(db, group.uuid).await.unwrap();
        assert_eq!(server_groups::of_instance(db, uuids[0], Some("p")).await.unwrap(), None);
        assert!(!get(db, uuids[0]).await.deleted);
    })
    .await;
}

#[tokio::test]
async fn a_full_or_missing_group_keeps_every_server_out() {
    on_database(async |db| {
        let group = created(db, &group("p", USER, "g")).await;
        let gone = Uuid::new_v4();
        let two = || ["a", "b"].map(instance).into();
        let refused = instances::create(db, into_group(two(), group.uuid, 1)).await;
        assert!(matches!(refused, Err(CreateError::GroupIsFull)), "{refused:?}");
        let refused = instances::create(db, into_group(two(), gone, 5)).await;
        let Err(CreateError::Db(error)) = refused else { panic!("{refused:?}") };
        assert_not_found(Err::<(), DbError>(error), "server group", &gone.to_string());
        assert_eq!(instances::usage(db, PROJECT, None).await.unwrap().instances, 0);
        // Those of another user do not count, nor those that are deleted.
        let bobs = Create { user_id: "bob".into(), ..into_group(two(), group.uuid, 0) };
        assert!(matches!(instances::create(db, bobs).await, Err(CreateError::GroupIsFull)));
        let bobs: Vec<Instance> =
            ["c", "d"].map(|name| Instance { user_id: Some("bob".into()), ..instance(name) }).into();
        let bobs = Create { user_id: "bob".into(), ..into_group(bobs, group.uuid, 2) };
        instances::create(db, bobs).await.unwrap();
        let mine = instances::create(db, into_group(two(), group.uuid, 2)).await.unwrap();
        instances::destroy(db, mine[0].uuid).await.unwrap();
        instances::create(db, into_group(vec![instance("e")], group.uuid, 2)).await.unwrap();
        instances::create(db, into_group(vec![instance("f")], group.uuid, -1)).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_same_time_no_quota_is_oversold() {
    let database = TestDatabase::create().await;
    let db = open(&database).await;
    let limits = Limits { project: 3, user: -1 };
    let make = |n: usize| {
        let db = db.clone();
        tokio::spawn(async move { server_groups::create(&db, &group("p", USER, &format!("g{n}")), limits).await })
    };
    let (made, refused): (Vec<_>, Vec<_>) = join_all((0..8).map(make)).await.into_iter().partition(Result::is_ok);
    assert!(refused.iter().all(|refused| matches!(refused, Err(GroupError::OverQuota))), "{refused:?}");
    assert_eq!((made.len(), server_groups::usage(&db, "p", None).await.unwrap()), (3, 3));
    let full = server_groups::create(&db, &group("q", USER, "g"), Limits { project: -1, user: 0 }).await;
    assert!(matches!(full, Err(GroupError::OverQuota)), "{full:?}");

    let uuid = made[0].as_ref().unwrap().uuid;
    let join = |n: usize| {
        let db = db.clone();
        // From several projects: the group alone keeps them apart.
        let create = Create { project_id: format!("p{n}"), ..into_group(vec![instance(&format!("web-{n}"))], uuid, 3) };
        tokio::spawn(async move { instances::create(&db, create).await })
    };
    let (joined, refused): (Vec<_>, Vec<_>) = join_all((0..8).map(join)).await.into_iter().partition(Result::is_ok);
    assert!(refused.iter().all(|refused| matches!(refused, Err(CreateError::GroupIsFull))), "{refused:?}");
    assert_eq!(joined.len(), 3);
    assert_eq!(server_groups::get(&db, uuid, None).await.unwrap().members.unwrap().len(), 3);
    db.close().await.unwrap();
    database.drop().await;
}
