//! Creating servers: whole, within the quota, all or nothing.

use std::slice::from_ref;

use chrono::TimeDelta;
use kilonova_core::time::utcnow;
use kilonova_db::instances::{self, CreateError, Deleted, InstanceQuery, QuotaLimits, Usage};
use kilonova_db::workflows::{self, Workflow, WorkflowKind};
use kilonova_db::{Db, actions, block_devices, request_specs};
use kilonova_objects::wire::VersionedObject as _;
use kilonova_objects::{Instance, InstanceAction, VmState};
use serde_json::json;

use super::support::*;
use crate::backend::TestDatabase;

/// What `create` must give back for `given`.
fn stored(given: &Instance, got: &Instance) -> Instance {
    Instance { id: got.id, created_at: got.created_at, set: got.set, ..given.clone() }
}

#[tokio::test]
async fn a_created_server_reads_back_whole() {
    on_database(async |db| {
        let (before, given) = (utcnow(), full_instance());
        let created = create_one(db, given.clone()).await;
        assert!(created.id > 0);
        assert!(created.created_at.unwrap() >= before);
        assert_same(&created, &stored(&given, &created));
        assert_eq!(created.launched_at, given.launched_at, "to the microsecond");
        assert_eq!(get(db, given.uuid).await, created);
        let listed = instances::list(db, &InstanceQuery::default()).await.unwrap();
        assert_eq!(listed, from_ref(&created));
        for field in ["metadata", "system_metadata", "tags", "keypairs", "fault", "info_cache"] {
            assert!(created.data().contains_key(field), "{field} would be asked for again");
        }
    })
    .await;
}

#[tokio::test]
async fn an_empty_server_reads_back_as_empty() {
    on_database(async |db| {
        let given = Instance { uuid: uuid::Uuid::new_v4(), ..Instance::default() };
        let created = create_one(db, given.clone()).await;
        assert_same(&created, &stored(&given, &created));
        assert_eq!(get(db, given.uuid).await, created);
    })
    .await;
}

#[tokio::test]
async fn a_create_leaves_disks_spec_action_and_workflow() {
    on_database(async |db| {
        let given = instance("web");
        let created = create_one(db, given.clone()).await;
        let new = new(given.clone());

        let disks = block_devices::list(db, &[given.uuid]).await.unwrap();
        let [disk] = disks[&given.uuid].as_slice() else { panic!("{disks:?}") };
        let mut expected = new.block_devices[0].clone();
        expected.id = disk.id;
        expected.uuid = disk.uuid;
        expected.instance_uuid = Some(given.uuid);
        expected.created_at = disk.created_at;
        assert!(disk.uuid.is_some() && disk.created_at.is_some());
        assert_same(disk, &expected);

        assert_same(&request_specs::get(db, given.uuid).await.unwrap(), &new.request_spec);

        let action = actions::get(db, given.uuid, "req-create").await.unwrap();
        let expected = InstanceAction {
            id: action.id,
            action: Some("create".into()),
            instance_uuid: Some(given.uuid),
            request_id: Some("req-create".into()),
            user_id: Some(USER.into()),
            project_id: Some(PROJECT.into()),
            start_time: action.start_time,
            created_at: action.start_time,
            ..InstanceAction::default()
        };
        assert!(action.start_time >= created.created_at);
        assert_eq!(action, expected);

        let build = workflows::get(db, WorkflowKind::Build, given.uuid).await.unwrap().unwrap();
        let expected = Workflow {
            id: build.id,
            kind: WorkflowKind::Build,
            instance_uuid: given.uuid,
            step: workflows::FIRST_BUILD_STEP.into(),
            payload: json!({"networks": "auto"}),
            owner: "host:1".into(),
            lease_until: build.created_at + TimeDelta::from_std(LEASE).unwrap(),
            attempts: 0,
            created_at: build.created_at,
            updated_at: build.created_at,
        };
        assert_eq!(build, expected);
    })
    .await;
}

#[tokio::test]
async fn a_hundred_servers_come_back_in_the_order_of_the_request() {
    on_database(async |db| {
        let given: Vec<Instance> = (0..100).map(|n| instance(&format!("web-{n}"))).collect();
        let created = create(db, given.clone()).await;
        let ids: Vec<i64> = created.iter().map(|created| created.id).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        for (given, created) in given.iter().zip(&created) {
            assert_same(created, &stored(given, created));
        }
        assert_eq!(workflows::count(db).await.unwrap(), 100);
    })
    .await;
}

async fn assert_nothing(db: &Db) {
    let all = InstanceQuery { deleted: Deleted::Yes, ..InstanceQuery::default() };
    assert_eq!(instances::list(db, &all).await.unwrap(), []);
    assert_eq!(workflows::count(db).await.unwrap(), 0);
}

#[tokio::test]
async fn a_create_over_quota_leaves_nothing() {
    on_database(async |db| {
        let limits = QuotaLimits { instances: 2, cores: 5, ram: -1 };
        let three: Vec<Instance> = (0..3).map(|n| instance(&format!("{n}"))).collect();
        let uuids: Vec<_> = three.iter().map(|instance| instance.uuid).collect();
        let refused = instances::create(db, request(three, limits)).await;
        let Err(CreateError::OverQuota { overs, used, limits: of }) = refused else { panic!("{refused:?}") };
        assert_eq!((overs, used, of), (vec!["instances", "cores"], Usage::default(), limits));
        assert_nothing(db).await;
        assert!(block_devices::list(db, &uuids).await.unwrap().is_empty());
        assert_not_found(request_specs::get(db, uuids[0]).await, "request spec", &uuids[0].to_string());
        assert_eq!(actions::list(db, uuids[0]).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_quota_can_be_used_up_but_not_passed() {
    on_database(async |db| {
        let limits = QuotaLimits { instances: 2, cores: 4, ram: 4096 };
        instances::create(db, request(vec![instance("a"), instance("b")], limits)).await.unwrap();
        let refused = instances::create(db, request(vec![instance("c")], limits)).await;
        let Err(CreateError::OverQuota { overs, used, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(overs, ["instances", "cores", "ram"]);
        assert_eq!(used, Usage { instances: 2, cores: 4, ram: 4096 });
    })
    .await;
}

#[tokio::test]
async fn fifty_creates_at_once_fill_a_quota_of_ten_exactly() {
    on_database(async |db| {
        let limits = QuotaLimits { instances: 10, cores: -1, ram: -1 };
        let creates = (0..50).map(|n| {
            let db = db.clone();
            tokio::spawn(async move { instances::create(&db, request(vec![instance(&format!("{n}"))], limits)).await })
        });
        let results = join_all(creates).await;
        let made = results.iter().filter(|result| result.is_ok()).count();
        let refused = results.iter().filter(|result| matches!(result, Err(CreateError::OverQuota { .. }))).count();
        assert_eq!((made, refused), (10, 40));
        assert_eq!(instances::usage(db, PROJECT, None).await.unwrap().instances, 10);
    })
    .await;
}

#[tokio::test]
async fn a_uuid_that_is_taken_leaves_nothing_of_the_request() {
    on_database(async |db| {
        let taken = create_one(db, instance("first")).await;
        let again = Instance { uuid: taken.uuid, ..instance("again") };
        let refused = instances::create(db, request(vec![instance("other"), again], QuotaLimits::UNLIMITED)).await;
        assert!(
            matches!(refused, Err(CreateError::Db(kilonova_db::DbError::Exists { resource: "instance", .. }))),
            "{refused:?}"
        );
        let all = instances::list(db, &InstanceQuery::default()).await.unwrap();
        assert_eq!(all, [taken]);
    })
    .await;
}

#[tokio::test]
async fn usage_counts_what_is_in_error_but_not_what_is_deleted() {
    on_database(async |db| {
        let bobs = Instance { user_id: Some("bob".into()), vm_state: VmState::Error, ..instance("b") };
        let others = Instance { project_id: Some("other".into()), ..instance("o") };
        let made = create(db, vec![instance("a"), bobs, others, instance("gone")]).await;
        instances::destroy(db, made[3].uuid).await.unwrap();
        let two = Usage { instances: 2, cores: 4, ram: 4096 };
        assert_eq!(instances::usage(db, PROJECT, None).await.unwrap(), two);
        let one = Usage { instances: 1, cores: 2, ram: 2048 };
        assert_eq!(instances::usage(db, PROJECT, Some("bob")).await.unwrap(), one);
        assert_eq!(instances::usage(db, "nobody", None).await.unwrap(), Usage::default());
    })
    .await;
}

#[tokio::test]
async fn everything_is_there_after_the_database_is_opened_again() {
    let database = TestDatabase::create().await;
    let db = open(&database).await;
    let created = create(&db, vec![full_instance(), instance("b")]).await;
    let build = workflows::get(&db, WorkflowKind::Build, created[0].uuid).await.unwrap();
    db.close().await.unwrap();

    let db = open(&database).await;
    assert_eq!(get(&db, created[0].uuid).await, created[0]);
    assert_eq!(get(&db, created[1].uuid).await, created[1]);
    assert_eq!(workflows::get(&db, WorkflowKind::Build, created[0].uuid).await.unwrap(), build);
    db.close().await.unwrap();
    database.drop().await;
}
