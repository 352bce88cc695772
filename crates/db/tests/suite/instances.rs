//! What happens to servers after their creation.

use std::collections::BTreeMap;

use kilonova_core::time::utcnow;
use kilonova_db::instances::{self, Deleted, InstanceQuery, Save, SaveError, StartAction};
use kilonova_db::workflows::{self, NewWorkflow, WorkflowKind};
use kilonova_db::{Db, DbError, actions, block_devices, faults};
use kilonova_objects::wire::Wire as _;
use kilonova_objects::{Flavor, Instance, InstanceFault, InstanceInfoCache, PowerState, TaskState, VmState};
use serde_json::json;
use uuid::Uuid;

use super::support::*;

#[tokio::test]
async fn a_save_writes_what_it_names_and_nothing_else() {
    on_database(async |db| {
        let created = create_one(db, full_instance()).await;
        let cache = InstanceInfoCache { instance_uuid: created.uuid, network_info: Some("[1]".into()), ..InstanceInfoCache::default() };
        let bigger = Flavor { vcpus: 8, ..flavor() };
        let changes = json!({
            "vm_state": "active", "task_state": null, "power_state": 1, "host": "node2", "launched_at": "2026-02-03T04:05:06Z",
            "metadata": {"new": "one"}, "system_metadata": {"only": null}, "info_cache": cache.to_wire(),
            "flavor": bigger.to_wire(), "old_flavor": null, "progress": null, "locked": false, "cell_name": "cell2",
        });
        let saved = save(db, created.uuid, changes).await.unwrap();
        let expected = Instance {
            vm_state: VmState::Active,
            task_state: None,
            power_state: PowerState::Running,
            host: Some("node2".into()),
            launched_at: Some("2026-02-03T04:05:06Z".parse().unwrap()),
            metadata: BTreeMap::from([("new".into(), "one".into())]),
            system_metadata: BTreeMap::from([("only".into(), None)]),
            info_cache: Some(cache),
            flavor: Some(bigger),
            old_flavor: None,
            progress: None,
            locked: false,
            cell_name: Some("cell2".into()),
            updated_at: saved.updated_at,
            ..created.clone()
        };
        assert!(saved.updated_at > created.created_at);
        assert_same(&saved, &expected);
        assert_same(&get(db, created.uuid).await, &saved);
        assert_eq!(get(db, created.uuid).await.updated_at, saved.updated_at);
        let cleared = save(db, created.uuid, json!({"info_cache": null})).await.unwrap();
        assert_eq!(cleared.info_cache, None);
    })
    .await;
}

#[tokio::test]
async fn a_save_of_what_cannot_be_changed_changes_nothing() {
    on_database(async |db| {
        let created = create_one(db, full_instance()).await;
        let bad = [
            (json!({"host": "x", "no_such_field": 1}), "no_such_field"),
            (json!({"host": "x", "id": 99}), "id"),
            (json!({"host": "x", "uuid": created.uuid.to_string()}), "uuid"),
            (json!({"host": "x", "deleted": true}), "deleted"),
            (json!({"host": "x", "vm_state": "on fire"}), "vm_state"),
            (json!({"host": "x", "memory_mb": "much"}), "memory_mb"),
        ];
        for (changes, word) in bad {
            match save(db, created.uuid, changes).await {
                Err(SaveError::Db(error)) => assert_corrupt(Err::<(), _>(error), word),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(get(db, created.uuid).await, created);
    })
    .await;
}

#[tokio::test]
async fn a_save_of_a_server_that_is_gone_is_not_found() {
    on_database(async |db| {
        let created = create_one(db, instance("a")).await;
        instances::destroy(db, created.uuid).await.unwrap();
        for uuid in [created.uuid, Uuid::nil()] {
            match save(db, uuid, json!({"host": "x"})).await {
                Err(SaveError::Db(error)) => assert_not_found(Err::<(), _>(error), "instance", &uuid.to_string()),
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_save_in_an_unexpected_state_says_which_one_and_changes_nothing() {
    on_database(async |db| {
        let created = create_one(db, instance("a")).await;
        let uuid = created.uuid;
        let changes = fields(json!({"host": "x"}));
        let attempt = async |vm: Option<VmState>, task: Option<Option<TaskState>>| {
            let expected_vm_state = vm.map(|state| vec![state]);
            let expected_task_state = task.map(|state| vec![state]);
            let save = Save { uuid, changes: &changes, expected_vm_state, expected_task_state };
            instances::save(db, save).await.unwrap_err()
        };
        let spawning = Some(Some(TaskState::Spawning));
        assert!(matches!(
            attempt(Some(VmState::Active), spawning).await,
            SaveError::UnexpectedTaskState { expected, actual: None } if expected == [Some(TaskState::Spawning)]
        ));
        assert!(matches!(
            attempt(Some(VmState::Active), Some(None)).await,
            SaveError::UnexpectedVmState { expected, actual: VmState::Building } if expected == [VmState::Active]
        ));
        assert_eq!(get(db, uuid).await, created);
        save(db, uuid, json!({"task_state": "deleting"})).await.unwrap();
        assert!(matches!(
            attempt(None, spawning).await,
            SaveError::UnexpectedDeletingTaskState { actual: Some(TaskState::Deleting), .. }
        ));
    })
    .await;
}

#[tokio::test]
async fn of_many_saves_that_expect_the_same_task_one_wins() {
    on_database(async |db| {
        let uuid = create_one(db, instance("a")).await.uuid;
        let saves = (0..40).map(|n| {
            let db = db.clone();
            tokio::spawn(async move {
                let changes = fields(json!({"task_state": "spawning", "host": format!("node{n}")}));
                let save =
                    Save { uuid, changes: &changes, expected_vm_state: None, expected_task_state: Some(vec![None]) };
                instances::save(&db, save).await
            })
        });
        let results = join_all(saves).await;
        let won: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
        let [winner] = won.as_slice() else { panic!("{} won", won.len()) };
        assert_eq!(get(db, uuid).await.host, winner.host);
        let lost = results.iter().filter(|result| {
            matches!(result, Err(SaveError::UnexpectedTaskState { actual: Some(TaskState::Spawning), .. }))
        });
        assert_eq!(lost.count(), 39);
    })
    .await;
}

#[tokio::test]
async fn saves_of_different_fields_at_once_all_last() {
    on_database(async |db| {
        let uuid = create_one(db, instance("a")).await.uuid;
        let names = ["host", "node", "cell_name", "os_type", "vm_mode", "launched_on", "key_data", "hostname"];
        let saves = names.map(|name| {
            let db = db.clone();
            tokio::spawn(async move { save(&db, uuid, json!({name: "set"})).await })
        });
        for result in join_all(saves.into_iter()).await {
            result.unwrap();
        }
        let after = get(db, uuid).await;
        let values = [
            after.host,
            after.node,
            after.cell_name,
            after.os_type,
            after.vm_mode,
            after.launched_on,
            after.key_data,
            after.hostname,
        ];
        assert_eq!(values, [const { Some("set") }; 8].map(|value| value.map(str::to_owned)));
    })
    .await;
}

#[tokio::test]
async fn the_build_workflow_is_renewed_by_saves_and_ends_with_the_building() {
    on_database(async |db| {
        let uuid = create_one(db, instance("a")).await.uuid;
        let begun = workflows::get(db, WorkflowKind::Build, uuid).await.unwrap().unwrap();
        save(db, uuid, json!({"task_state": "spawning"})).await.unwrap();
        let renewed = workflows::get(db, WorkflowKind::Build, uuid).await.unwrap().unwrap();
        assert!(renewed.lease_until > begun.lease_until);
        assert_eq!(renewed.lease_until - renewed.updated_at, begun.lease_until - begun.updated_at);
        save(db, uuid, json!({"vm_state": "active", "task_state": null})).await.unwrap();
        assert_eq!(workflows::get(db, WorkflowKind::Build, uuid).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_destroyed_server_stays_readable_and_its_disks_and_workflows_go() {
    on_database(async |db| {
        let created = create_one(db, full_instance()).await;
        let kept = create_one(db, instance("kept")).await;
        let uuid = created.uuid;
        let gone = instances::destroy(db, uuid).await.unwrap();
        let expected = Instance {
            deleted: true,
            deleted_at: gone.deleted_at,
            terminated_at: gone.deleted_at,
            updated_at: gone.deleted_at,
            vm_state: VmState::Deleted,
            task_state: None,
            ..created.clone()
        };
        assert!(gone.deleted_at > created.created_at);
        assert_same(&gone, &expected);
        assert_eq!(instances::destroy(db, uuid).await.unwrap(), gone, "a second time changes nothing");
        assert_not_found(instances::get(db, uuid, Deleted::No).await, "instance", &uuid.to_string());
        assert_eq!(instances::get(db, uuid, Deleted::Yes).await.unwrap(), gone);
        assert_eq!(instances::get(db, uuid, Deleted::Only).await.unwrap(), gone);
        assert_not_found(instances::get(db, kept.uuid, Deleted::Only).await, "instance", &kept.uuid.to_string());
        let disks = block_devices::list(db, &[uuid, kept.uuid]).await.unwrap();
        assert_eq!(disks.keys().copied().collect::<Vec<_>>(), [kept.uuid]);
        assert_eq!(workflows::get(db, WorkflowKind::Build, uuid).await.unwrap(), None);
        assert_eq!(workflows::count(db).await.unwrap(), 1);
        let only = InstanceQuery { deleted: Deleted::Only, ..InstanceQuery::default() };
        assert_eq!(instances::list(db, &only).await.unwrap(), [gone]);
        assert_eq!(instances::list(db, &InstanceQuery::default()).await.unwrap(), [kept]);
        assert_not_found(instances::destroy(db, Uuid::nil()).await, "instance", &Uuid::nil().to_string());
    })
    .await;
}

fn stop(uuid: Uuid, request_id: &str) -> StartAction {
    StartAction {
        uuid,
        action: "stop",
        task_state: TaskState::PoweringOff,
        expected_vm_states: Some(vec![VmState::Active]),
        expected_task_states: Some(vec![None]),
        request_id: request_id.into(),
        user_id: USER.into(),
        project_id: PROJECT.into(),
        workflow: None,
    }
}

async fn active(db: &Db) -> Instance {
    let created = create_one(db, instance("a")).await;
    save(db, created.uuid, json!({"vm_state": "active"})).await.unwrap()
}

#[tokio::test]
async fn an_action_begins_with_its_task_and_its_record() {
    on_database(async |db| {
        let before = active(db).await;
        let started = instances::start_action(db, stop(before.uuid, "req-stop")).await.unwrap();
        let expected =
            Instance { task_state: Some(TaskState::PoweringOff), updated_at: started.updated_at, ..before.clone() };
        assert_eq!(started, expected);
        assert_eq!(get(db, before.uuid).await, started);
        let action = actions::get(db, before.uuid, "req-stop").await.unwrap();
        assert_eq!(action.action.as_deref(), Some("stop"));
    })
    .await;
}

#[tokio::test]
async fn an_action_that_may_not_begin_leaves_no_record() {
    on_database(async |db| {
        let building = create_one(db, instance("a")).await;
        let refused = instances::start_action(db, stop(building.uuid, "req-1")).await;
        assert!(matches!(refused, Err(SaveError::UnexpectedVmState { actual: VmState::Building, .. })));
        assert_not_found(actions::get(db, building.uuid, "req-1").await, "action", "req-1");
        assert_eq!(get(db, building.uuid).await, building);
        let unknown = instances::start_action(db, stop(Uuid::nil(), "req-1")).await;
        assert!(matches!(unknown, Err(SaveError::Db(DbError::NotFound { resource: "instance", .. }))));
    })
    .await;
}

#[tokio::test]
async fn an_action_may_begin_with_changes_which_are_written_with_its_task_or_not_at_all() {
    on_database(async |db| {
        let before = active(db).await;
        let changes = json!({"image_ref": "new", "metadata": {"a": "1"}, "user_data": null});
        let changes = changes.as_object().unwrap();
        let started = instances::start_action_with(db, stop(before.uuid, "req-1"), changes).await.unwrap();
        assert_eq!((started.image_ref.as_deref(), started.user_data.as_deref()), (Some("new"), None));
        assert_eq!(started.metadata, BTreeMap::from([("a".into(), "1".into())]));
        assert_eq!(get(db, before.uuid).await, started);
        let other = json!({"image_ref": "newer"});
        let refused = instances::start_action_with(db, stop(before.uuid, "req-2"), other.as_object().unwrap()).await;
        assert!(matches!(refused, Err(SaveError::UnexpectedTaskState { .. })));
        assert_eq!(get(db, before.uuid).await, started);
    })
    .await;
}

#[tokio::test]
async fn the_workflow_of_an_unshelve_ends_with_its_task() {
    on_database(async |db| {
        let uuid = active(db).await.uuid;
        let unshelve = StartAction {
            action: "unshelve",
            task_state: TaskState::Unshelving,
            workflow: Some(NewWorkflow {
                kind: WorkflowKind::Unshelve,
                instance_uuid: uuid,
                step: "unshelve".into(),
                payload: json!({}),
                lease_owner: "first".into(),
                lease: LEASE,
            }),
            ..stop(uuid, "req-1")
        };
        instances::start_action(db, unshelve).await.unwrap();
        let workflow = async || workflows::get(db, WorkflowKind::Unshelve, uuid).await.unwrap();
        save(db, uuid, json!({"host": "n1"})).await.unwrap();
        assert!(workflow().await.is_some());
        save(db, uuid, json!({"task_state": "spawning"})).await.unwrap();
        assert_eq!(workflow().await, None);
    })
    .await;
}

#[tokio::test]
async fn an_action_that_does_not_begin_pins_nothing() {
    on_database(async |db| {
        let uuid = active(db).await.uuid;
        let spec = async || kilonova_db::request_specs::get(db, uuid).await.unwrap();
        let before = spec().await;
        let west = instances::start_action_in_zone(db, stop(uuid, "req-1"), Some("west")).await.unwrap();
        assert_eq!(west.task_state, Some(TaskState::PoweringOff));
        let pinned = kilonova_objects::RequestSpec { availability_zone: Some("west".to_owned()), ..before.clone() };
        assert_same(&spec().await, &pinned);
        let late = instances::start_action_in_zone(db, stop(uuid, "req-2"), Some("east")).await;
        assert!(matches!(late, Err(SaveError::UnexpectedTaskState { .. })), "{late:?}");
        assert_same(&spec().await, &pinned);
        save(db, uuid, json!({"task_state": null})).await.unwrap();
        instances::start_action_in_zone(db, stop(uuid, "req-3"), None).await.unwrap();
        assert_eq!(spec().await.availability_zone, None);
    })
    .await;
}

#[tokio::test]
async fn of_many_actions_at_once_one_begins() {
    on_database(async |db| {
        let uuid = active(db).await.uuid;
        let starts = (0..40).map(|n| {
            let db = db.clone();
            tokio::spawn(async move { instances::start_action(&db, stop(uuid, &format!("req-{n}"))).await })
        });
        let results = join_all(starts).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        let stops = actions::list(db, uuid).await.unwrap();
        assert_eq!(stops.iter().filter(|action| action.action.as_deref() == Some("stop")).count(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_second_delete_goes_on_with_the_first_ones_workflow() {
    on_database(async |db| {
        let uuid = active(db).await.uuid;
        let delete = |request: &str, owner: &str| StartAction {
            action: "delete",
            task_state: TaskState::Deleting,
            expected_vm_states: None,
            expected_task_states: None,
            workflow: Some(NewWorkflow {
                kind: WorkflowKind::Delete,
                instance_uuid: uuid,
                step: "delete".into(),
                payload: json!({}),
                lease_owner: owner.into(),
                lease: LEASE,
            }),
            ..stop(uuid, request)
        };
        instances::start_action(db, delete("req-1", "first")).await.unwrap();
        let first = workflows::get(db, WorkflowKind::Delete, uuid).await.unwrap().unwrap();
        instances::start_action(db, delete("req-2", "second")).await.unwrap();
        let second = workflows::get(db, WorkflowKind::Delete, uuid).await.unwrap().unwrap();
        assert_eq!((first.owner.as_str(), &second), ("first", &first));
        instances::destroy(db, uuid).await.unwrap();
        assert_eq!(workflows::count(db).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn metadata_is_added_to_replaced_and_removed() {
    on_database(async |db| {
        let uuid = create_one(db, full_instance()).await.uuid;
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
        };
        let added = instances::update_metadata(db, uuid, &map(&[("env", "test"), ("x", "1")]), false).await.unwrap();
        assert_eq!(added, map(&[("env", "test"), ("päth", ""), ("x", "1")]));
        let after = get(db, uuid).await;
        assert_eq!(after.metadata, added);
        assert!(after.updated_at.unwrap() <= utcnow());
        let replaced = instances::update_metadata(db, uuid, &map(&[("only", "1")]), true).await.unwrap();
        assert_eq!(replaced, map(&[("only", "1")]));
        assert_not_found(instances::delete_metadata(db, uuid, "env").await, "metadata", "env");
        instances::delete_metadata(db, uuid, "only").await.unwrap();
        assert_eq!(get(db, uuid).await.metadata, BTreeMap::new());
        let nowhere = instances::update_metadata(db, Uuid::nil(), &map(&[]), true).await;
        assert_not_found(nowhere, "instance", &Uuid::nil().to_string());
    })
    .await;
}

#[tokio::test]
async fn the_newest_fault_is_shown_while_the_server_is_in_error() {
    on_database(async |db| {
        let uuid = active(db).await.uuid;
        let fault = |message: &str| InstanceFault {
            instance_uuid: uuid,
            code: 500,
            message: Some(message.into()),
            ..InstanceFault::default()
        };
        faults::create(db, &fault("old")).await.unwrap();
        let newest = faults::create(db, &fault("new")).await.unwrap();
        assert!(newest.id > 0 && newest.created_at.is_some());
        assert_eq!(get(db, uuid).await.fault, None, "not in error");
        let saved = save(db, uuid, json!({"vm_state": "error"})).await.unwrap();
        assert_eq!(saved.fault, Some(newest.clone()));
        assert_eq!(get(db, uuid).await.fault, Some(newest.clone()));
        let listed = instances::list(db, &InstanceQuery::default()).await.unwrap();
        assert_eq!(listed[0].fault, Some(newest));
    })
    .await;
}

#[tokio::test]
async fn a_disk_is_changed_and_added() {
    on_database(async |db| {
        let uuid = create_one(db, instance("a")).await.uuid;
        let mut disk = block_devices::list(db, &[uuid]).await.unwrap()[&uuid][0].clone();
        disk.device_name = Some("/dev/vda".into());
        let saved = block_devices::save(db, &disk).await.unwrap();
        disk.updated_at = saved.updated_at;
        disk.set = saved.set;
        assert!(saved.updated_at.is_some());
        assert_same(&saved, &disk);
        let second = kilonova_objects::BlockDeviceMapping { id: 0, uuid: None, ..disk.clone() };
        let added = block_devices::save(db, &second).await.unwrap();
        assert!(added.id > disk.id);
        assert_eq!(block_devices::list(db, &[uuid]).await.unwrap()[&uuid], [saved, added]);
        let lost = kilonova_objects::BlockDeviceMapping { id: 999, ..disk };
        assert_not_found(block_devices::save(db, &lost).await, "block device mapping", "999");
    })
    .await;
}

#[tokio::test]
async fn a_request_spec_is_written_over() {
    on_database(async |db| {
        let uuid = create_one(db, instance("a")).await.uuid;
        let mut spec = kilonova_db::request_specs::get(db, uuid).await.unwrap();
        spec.ignore_hosts = Some(vec!["node1".into()]);
        kilonova_db::request_specs::save(db, &spec).await.unwrap();
        assert_same(&kilonova_db::request_specs::get(db, uuid).await.unwrap(), &spec);
        spec.instance_uuid = Uuid::new_v4();
        kilonova_db::request_specs::save(db, &spec).await.unwrap();
        assert_same(&kilonova_db::request_specs::get(db, spec.instance_uuid).await.unwrap(), &spec);
    })
    .await;
}

#[tokio::test]
async fn a_request_spec_has_the_flavor_of_its_instance() {
    on_database(async |db| {
        let uuid = create_one(db, instance("a")).await.uuid;
        let old = instances::get(db, uuid, Deleted::No).await.unwrap().flavor.unwrap();
        let new = Flavor { id: old.id + 1, vcpus: old.vcpus + 1, ..old.clone() };
        for flavor in [&new, &old] {
            save(db, uuid, json!({"flavor": flavor.to_wire(), "new_flavor": new.to_wire()})).await.unwrap();
            let spec = kilonova_db::request_specs::get(db, uuid).await.unwrap();
            assert_eq!((spec.flavor.id, spec.flavor.vcpus), (flavor.id, flavor.vcpus));
        }
    })
    .await;
}

#[tokio::test]
async fn a_soft_deleted_server_has_the_time_of_its_last_delete_and_uses_nothing() {
    on_database(async |db| {
        let uuid = create_one(db, Instance { vm_state: VmState::Active, ..instance("vm") }).await.uuid;
        let used = async || instances::usage(db, PROJECT, None).await.unwrap().instances;
        assert_eq!(used().await, 1);
        save(db, uuid, json!({"task_state": "soft-deleting"})).await.unwrap();
        assert_eq!(get(db, uuid).await.deleted_at, None);
        let first = save(db, uuid, json!({"vm_state": "soft-delete", "task_state": null})).await.unwrap();
        assert_eq!(first.deleted_at, first.updated_at);
        assert_eq!(used().await, 0);
        let touched = save(db, uuid, json!({"power_state": 4})).await.unwrap();
        assert_eq!(touched.deleted_at, first.deleted_at);
        save(db, uuid, json!({"task_state": "soft-deleting"})).await.unwrap();
        let again = save(db, uuid, json!({"vm_state": "soft-delete", "task_state": null})).await.unwrap();
        assert!(again.deleted_at > first.deleted_at);
        save(db, uuid, json!({"task_state": "restoring"})).await.unwrap();
        assert_eq!(get(db, uuid).await.deleted_at, again.deleted_at);
        let restored = save(db, uuid, json!({"vm_state": "active", "task_state": null})).await.unwrap();
        assert_eq!((restored.deleted_at, restored.deleted), (None, false));
        assert_eq!(used().await, 1);
    })
    .await;
}

#[tokio::test]
async fn volumes_are_found_by_their_ids_changed_field_by_field_and_removed() {
    on_database(async |db| {
        let (first, second) = (create_one(db, instance("a")).await.uuid, create_one(db, instance("b")).await.uuid);
        let volume = |uuid, id: &str| kilonova_objects::BlockDeviceMapping {
            instance_uuid: Some(uuid),
            volume_id: Some(id.to_owned()),
            ..kilonova_objects::BlockDeviceMapping::default()
        };
        let one = block_devices::save(db, &volume(first, "v_1")).await.unwrap();
        let two = block_devices::save(db, &volume(second, "v_1")).await.unwrap();
        let other = block_devices::save(db, &volume(first, "vx1")).await.unwrap();
        assert_eq!(block_devices::of_volume(db, "v_1").await.unwrap(), [one.clone(), two.clone()]);
        assert_eq!(block_devices::by_volume_and_instance(db, "v_1", first).await.unwrap(), Some(one.clone()));
        assert_eq!(block_devices::by_volume_and_instance(db, "vx1", second).await.unwrap(), None);
        // Disks that are no volumes are not among them.
        let volumes = block_devices::volumes(db, &[first, second]).await.unwrap();
        assert_eq!(volumes.into_values().collect::<Vec<_>>(), {
            let mut expected = [(first, vec![one.clone(), other]), (second, vec![two.clone()])];
            expected.sort_by_key(|(uuid, _)| *uuid);
            expected.map(|(_, volumes)| volumes)
        });

        let info = r#"{"volume_id": "vx1"}"#;
        let changes = serde_json::json!({"connection_info": info, "delete_on_termination": true});
        let changed = block_devices::update(db, two.id, changes.as_object().unwrap()).await.unwrap();
        assert_eq!((changed.connection_info.as_deref(), changed.delete_on_termination), (Some(info), true));
        assert_eq!((&changed.volume_id, changed.created_at), (&two.volume_id, two.created_at));
        assert_eq!(block_devices::by_volume_and_instance(db, "vx1", second).await.unwrap(), None);
        for _ in 0..2 {
            block_devices::destroy(db, one.id).await.unwrap();
        }
        assert_eq!(block_devices::of_volume(db, "v_1").await.unwrap(), [changed]);
        assert_not_found(
            block_devices::update(db, one.id, &Default::default()).await,
            "block device mapping",
            &one.id.to_string(),
        );
    })
    .await;
}
