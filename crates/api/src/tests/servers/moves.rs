//! Moves between hosts, and their records: what is asked of whom, and what is refused.

use kilonova_db::server_migrations;
use kilonova_db::workflows::{self, WorkflowKind};
use kilonova_objects::migration::{migration_type, status};
use kilonova_objects::{ComputeNode, Migration, Service};
use kilonova_rpcapi::compute::{ConfirmResize, LiveMigrationAbort, LiveMigrationForceComplete, RevertResize};
use kilonova_rpcapi::conductor::{LiveMigrateInstance, MigrateServer, RebuildInstance};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{active, instance, save};
use crate::tests::cloud::{ADMIN, Cloud, HOST, MEMBER, NOBODY, OTHER, OTHER_HOST, PROJECT, READER, Reply};

async fn act(cloud: &Cloud, token: &str, version: &str, uuid: Uuid, body: Value) -> Reply {
    cloud.post(token, version, &format!("/servers/{uuid}/action"), body).await
}

fn conflict(reply: &Reply, message: &str) {
    reply.expect_fault(409, "conflictingRequest", message);
}

fn bad(reply: &Reply, message: &str) {
    reply.expect_fault(400, "badRequest", message);
}

/// A second host, with its hypervisor.
async fn second_host(cloud: &Cloud) {
    for host in [HOST, OTHER_HOST] {
        let node = ComputeNode {
            uuid: Uuid::new_v4(),
            host: Some(host.to_owned()),
            hypervisor_hostname: Some(format!("{host}.node")),
            ..ComputeNode::default()
        };
        kilonova_db::compute_nodes::create(&cloud.db, &node).await.unwrap();
    }
    let service = Service {
        host: Some(OTHER_HOST.to_owned()),
        binary: Some("nova-compute".to_owned()),
        last_seen_up: Some(kilonova_core::time::utcnow()),
        ..Service::default()
    };
    kilonova_db::services::create(&cloud.db, &service).await.unwrap();
}

async fn host_is_down(cloud: &Cloud, is_down: bool) {
    let found = kilonova_db::services::get_by_host_and_binary(&cloud.db, HOST, "nova-compute").await.unwrap().unwrap();
    let changes = json!({"forced_down": is_down});
    kilonova_db::services::save(&cloud.db, found.id, changes.as_object().unwrap()).await.unwrap();
}

async fn migration(cloud: &Cloud, uuid: Uuid, kind: &str, status: &str) -> Migration {
    let migration = Migration {
        uuid: Uuid::new_v4(),
        instance_uuid: uuid,
        source_compute: Some(HOST.to_owned()),
        source_node: Some("node1".to_owned()),
        dest_compute: Some(OTHER_HOST.to_owned()),
        dest_node: Some("node2".to_owned()),
        dest_host: Some("10.0.0.2".to_owned()),
        old_instance_type_id: Some(1),
        new_instance_type_id: Some(2),
        status: status.to_owned(),
        migration_type: kind.to_owned(),
        user_id: Some("u".to_owned()),
        project_id: Some(PROJECT.to_owned()),
        memory_total: Some(1024),
        ..Migration::default()
    };
    server_migrations::create(&cloud.db, &migration).await.unwrap()
}

/// A server that was resized from [`HOST`] to [`OTHER_HOST`].
async fn resized(cloud: &Cloud) -> (Uuid, Migration) {
    let uuid = active(cloud, "vm").await;
    let flavor = &instance(cloud, uuid).await.flavor.unwrap();
    let old = kilonova_objects::Wire::to_wire(flavor);
    save(cloud, uuid, json!({"vm_state": "resized", "host": OTHER_HOST, "old_flavor": old})).await;
    let record = migration(cloud, uuid, migration_type::RESIZE, status::FINISHED).await;
    (uuid, record)
}

async fn workflow_step(cloud: &Cloud, uuid: Uuid) -> Option<String> {
    let found = workflows::get(&cloud.db, WorkflowKind::Move, uuid).await.unwrap();
    found.map(|workflow| workflow.step)
}

async fn last_action(cloud: &Cloud, uuid: Uuid) -> String {
    let actions = kilonova_db::actions::list(&cloud.db, uuid).await.unwrap();
    actions[0].action.clone().unwrap()
}

#[tokio::test]
async fn a_resize_marks_the_server_and_asks_a_conductor() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let body = json!({"resize": {"flavorRef": 2, "OS-DCF:diskConfig": "AUTO"}});
    let reply = act(&cloud, MEMBER, "2.96", uuid, body.clone()).await.expect(202);
    assert_eq!(reply.body, Value::Null);
    let call = &cloud.wait_for::<MigrateServer>(1).await[0];
    assert_eq!(call["flavor"]["nova_object.data"]["flavorid"], "2");
    assert_eq!(call["request_spec"]["nova_object.data"]["ignore_hosts"], json!([HOST]));
    assert_eq!(call["request_spec"]["nova_object.data"]["requested_destination"], Value::Null);
    assert_eq!((&call["live"], &call["host_list"]), (&json!(false), &Value::Null));
    let sent = &call["instance"]["nova_object.data"];
    assert_eq!((&sent["task_state"], &sent["auto_disk_config"]), (&json!("resize_prep"), &json!(true)));
    assert_eq!(workflow_step(&cloud, uuid).await.as_deref(), Some("cold_migrate"));
    assert_eq!(last_action(&cloud, uuid).await, "resize");
    let shown = cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}")).await.expect(200);
    assert_eq!(shown.body["server"]["status"], "RESIZE");
    let again = act(&cloud, MEMBER, "2.96", uuid, body).await;
    conflict(&again, &format!("Cannot 'resize' instance {uuid} while it is in task_state resize_prep"));
}

#[tokio::test]
async fn a_resize_may_stay_where_the_configuration_says_so() {
    let cloud = Cloud::with_config("[DEFAULT]\nallow_resize_to_same_host = true\n").await;
    let uuid = active(&cloud, "vm").await;
    act(&cloud, MEMBER, "2.1", uuid, json!({"resize": {"flavorRef": "2"}})).await.expect(202);
    let call = &cloud.wait_for::<MigrateServer>(1).await[0];
    assert_eq!(call["request_spec"]["nova_object.data"]["ignore_hosts"], json!([]));
}

#[tokio::test]
async fn a_resize_that_makes_no_sense_is_refused_and_changes_nothing() {
    let cloud = Cloud::with_config("[quota]\ncores = 1\n").await;
    let uuid = active(&cloud, "vm").await;
    let resize = |flavor: &str| act(&cloud, MEMBER, "2.96", uuid, json!({"resize": {"flavorRef": flavor}}));
    bad(&resize("none").await, "Flavor none could not be found.");
    bad(&resize("1").await, "When resizing, instances must change flavor!");
    let over = "Quota exceeded for cores: Requested 1, but already used 1 of 1 cores";
    resize("2").await.expect_fault(403, "forbidden", over);
    let flavor = json!({"flavor": {"name": "diskless", "id": "3", "vcpus": 1, "ram": 512, "disk": 0}});
    cloud.post(ADMIN, "2.1", "/flavors", flavor).await.expect(200);
    let zero = "Server disk was unable to be resized because: Resize to zero disk flavor is not allowed.";
    bad(&resize("3").await, zero);
    save(&cloud, uuid, json!({"system_metadata": {"image_min_ram": "1024", "image_min_disk": "2"}})).await;
    for (id, ram, message) in [
        ("4", 600, "Flavor's memory is too small for requested image."),
        (
            "5",
            2048,
            "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is 1073741824 \
             bytes, minimum size is 2147483648 bytes.",
        ),
    ] {
        let flavor = json!({"flavor": {"name": id, "id": id, "vcpus": 1, "ram": ram, "disk": 1}});
        cloud.post(ADMIN, "2.1", "/flavors", flavor).await.expect(200);
        bad(&resize(id).await, message);
    }
    host_is_down(&cloud, true).await;
    conflict(&resize("2").await, "Service is unavailable at this time.");
    save(&cloud, uuid, json!({"vm_state": "paused"})).await;
    conflict(&resize("2").await, &format!("Cannot 'resize' instance {uuid} while it is in vm_state paused"));
    save(&cloud, uuid, json!({"vm_state": "active", "locked": true})).await;
    conflict(&resize("2").await, &format!("Instance {uuid} is locked"));
    assert!(cloud.calls::<MigrateServer>().is_empty());
    assert_eq!(workflow_step(&cloud, uuid).await, None);
    assert_eq!(instance(&cloud, uuid).await.task_state, None);
}

#[tokio::test]
async fn a_resize_is_for_members_and_moves_are_for_managers_and_hosts_for_admins() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let cases = [
        (json!({"resize": {"flavorRef": "2"}}), "os_compute_api:servers:resize", &[READER][..]),
        (json!({"confirmResize": null}), "os_compute_api:servers:confirm_resize", &[READER]),
        (json!({"revertResize": null}), "os_compute_api:servers:revert_resize", &[READER]),
        (json!({"migrate": null}), "os_compute_api:os-migrate-server:migrate", &[READER, MEMBER]),
        (json!({"migrate": {"host": "x"}}), "os_compute_api:os-migrate-server:migrate:host", &[READER, MEMBER]),
        (
            json!({"os-migrateLive": {"host": null, "block_migration": "auto"}}),
            "os_compute_api:os-migrate-server:migrate_live",
            &[READER, MEMBER],
        ),
        (
            json!({"os-migrateLive": {"host": "x", "block_migration": "auto"}}),
            "os_compute_api:os-migrate-server:migrate_live:host",
            &[READER, MEMBER],
        ),
        (json!({"evacuate": {}}), "os_compute_api:os-evacuate", &[READER, MEMBER]),
    ];
    for (body, rule, refused) in cases {
        for token in refused.iter().chain(&[NOBODY]) {
            let reply = act(&cloud, token, "2.96", uuid, body.clone()).await;
            reply.expect_fault(403, "forbidden", &format!("Policy doesn't allow {rule} to be performed."));
        }
        let reply = act(&cloud, OTHER, "2.96", uuid, body).await;
        reply.expect_fault(404, "itemNotFound", &format!("Instance {uuid} could not be found."));
    }
    assert_eq!(instance(&cloud, uuid).await.task_state, None);
}

#[tokio::test]
async fn a_resize_is_confirmed_at_its_source() {
    let cloud = Cloud::new().await;
    second_host(&cloud).await;
    let (uuid, record) = resized(&cloud).await;
    let reply = act(&cloud, MEMBER, "2.96", uuid, json!({"confirmResize": null})).await.expect(204);
    assert_eq!(reply.body, Value::Null);
    let call = &cloud.wait_for::<ConfirmResize>(1).await[0];
    assert_eq!(call["migration"]["nova_object.data"]["status"], "confirming");
    assert_eq!(server_migrations::get(&cloud.db, record.id).await.unwrap().status, "confirming");
    assert_eq!(workflow_step(&cloud, uuid).await.as_deref(), Some("confirm_resize"));
    assert_eq!(last_action(&cloud, uuid).await, "confirmResize");
    bad(&act(&cloud, MEMBER, "2.96", uuid, json!({"confirmResize": null})).await, "Instance has not been resized.");
    bad(&act(&cloud, MEMBER, "2.96", uuid, json!({"revertResize": null})).await, "Instance has not been resized.");
}

#[tokio::test]
async fn a_confirmation_needs_its_source_and_a_resize() {
    let cloud = Cloud::new().await;
    let (uuid, record) = resized(&cloud).await;
    host_is_down(&cloud, true).await;
    let reply = act(&cloud, MEMBER, "2.96", uuid, json!({"confirmResize": null})).await;
    conflict(&reply, "Service is unavailable at this time.");
    assert_eq!(server_migrations::get(&cloud.db, record.id).await.unwrap().status, "finished");
    let plain = active(&cloud, "plain").await;
    for action in ["confirmResize", "revertResize"] {
        let reply = act(&cloud, MEMBER, "2.96", plain, json!({action: null})).await;
        conflict(&reply, &format!("Cannot '{action}' instance {plain} while it is in vm_state active"));
    }
}

#[tokio::test]
async fn a_resize_is_reverted_at_its_destination() {
    let cloud = Cloud::new().await;
    second_host(&cloud).await;
    let (uuid, record) = resized(&cloud).await;
    act(&cloud, MEMBER, "2.96", uuid, json!({"revertResize": null})).await.expect(202);
    let call = &cloud.wait_for::<RevertResize>(1).await[0];
    assert_eq!(call["migration"]["nova_object.data"]["status"], "reverting");
    assert_eq!(call["instance"]["nova_object.data"]["task_state"], "resize_reverting");
    assert_eq!(server_migrations::get(&cloud.db, record.id).await.unwrap().status, "reverting");
    assert_eq!(workflow_step(&cloud, uuid).await.as_deref(), Some("revert_resize"));
    assert_eq!(last_action(&cloud, uuid).await, "revertResize");
    let shown = cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}")).await.expect(200);
    assert_eq!(shown.body["server"]["status"], "REVERT_RESIZE");
}

/// Both at once would lose the guest on both hosts.
#[tokio::test]
async fn of_a_confirmation_and_a_revert_at_the_same_time_one_happens_and_the_other_leaves_no_trace() {
    let cloud = Cloud::new().await;
    second_host(&cloud).await;
    for _ in 0..10 {
        let (uuid, record) = resized(&cloud).await;
        // What it was resized to.
        let larger = kilonova_objects::Flavor { id: 77, ..instance(&cloud, uuid).await.flavor.unwrap() };
        save(&cloud, uuid, json!({"flavor": kilonova_objects::Wire::to_wire(&larger)})).await;
        let ask = |action: &str| act(&cloud, MEMBER, "2.96", uuid, json!({action: null}));
        let (confirm, revert) = futures::join!(ask("confirmResize"), ask("revertResize"));
        let (status, step) = match (confirm.status.as_u16(), revert.status.as_u16()) {
            (204, 400 | 409) => ("confirming", "confirm_resize"),
            (400 | 409, 202) => ("reverting", "revert_resize"),
            other => panic!("{other:?}"),
        };
        assert_eq!(server_migrations::get(&cloud.db, record.id).await.unwrap().status, status);
        assert_eq!(workflow_step(&cloud, uuid).await.as_deref(), Some(step));
        // It follows the server, which still has it.
        let spec = kilonova_db::request_specs::get(&cloud.db, uuid).await.unwrap();
        assert_eq!(spec.flavor.id, 77, "{step}");
    }
}

#[tokio::test]
async fn a_migration_may_name_its_host_since_2_56() {
    let cloud = Cloud::new().await;
    second_host(&cloud).await;
    let uuid = active(&cloud, "vm").await;
    let to = |host: &str| json!({"migrate": {"host": host}});
    bad(&act(&cloud, ADMIN, "2.56", uuid, to("nowhere")).await, "Compute host nowhere could not be found.");
    let here = act(&cloud, ADMIN, "2.56", uuid, to(HOST)).await;
    bad(&here, "Cannot migrate to the host where the server exists.");
    act(&cloud, ADMIN, "2.56", uuid, to(OTHER_HOST)).await.expect(202);
    let call = &cloud.wait_for::<MigrateServer>(1).await[0];
    let destination = &call["request_spec"]["nova_object.data"]["requested_destination"]["nova_object.data"];
    assert_eq!((&destination["host"], &destination["node"]), (&json!(OTHER_HOST), &json!("compute2.node")));
    assert_eq!(last_action(&cloud, uuid).await, "migrate");
    // Before, whatever is said of it is not looked at.
    save(&cloud, uuid, json!({"task_state": null})).await;
    act(&cloud, ADMIN, "2.55", uuid, to("nowhere")).await.expect(202);
    let call = &cloud.wait_for::<MigrateServer>(2).await[1];
    assert_eq!(call["request_spec"]["nova_object.data"]["requested_destination"], Value::Null);
}

#[tokio::test]
async fn a_live_migration_has_the_body_of_its_microversion() {
    let cloud = Cloud::new().await;
    second_host(&cloud).await;
    let uuid = active(&cloud, "vm").await;
    let body = |more: Value| {
        let mut wanted = json!({"host": OTHER_HOST, "block_migration": true});
        wanted.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"os-migrateLive": wanted})
    };
    let over = json!({"disk_over_commit": false});
    let (auto, force) = (json!({"block_migration": "auto"}), json!({"force": true}));
    let cases = [
        ("2.1", &over, 202),
        ("2.24", &over, 202),
        ("2.24", &auto, 400),
        ("2.25", &over, 400),
        ("2.25", &auto, 202),
        ("2.29", &force, 400),
        ("2.30", &force, 202),
        ("2.67", &force, 202),
        ("2.68", &force, 400),
        ("2.68", &auto, 202),
    ];
    for (version, more, expected) in cases {
        let reply = act(&cloud, ADMIN, version, uuid, body(more.clone())).await;
        assert_eq!(reply.status.as_u16(), expected, "{version} {more} {}", reply.body);
        save(&cloud, uuid, json!({"task_state": null})).await;
    }
    // Up to 2.33 the answer waits for the checks.
    assert_eq!(cloud.calls::<MigrateServer>().len(), 4);
    cloud.wait_for::<LiveMigrateInstance>(2).await;
    let headless = json!({"os-migrateLive": {"host": null, "block_migration": true, "force": true}});
    bad(&act(&cloud, ADMIN, "2.30", uuid, headless).await, "Can't force to a non-provided destination");
}

#[tokio::test]
async fn a_named_host_is_forced_or_put_to_the_scheduler() {
    let cloud = Cloud::new().await;
    second_host(&cloud).await;
    let uuid = active(&cloud, "vm").await;
    let wanted = |force: bool| json!({"host": OTHER_HOST, "block_migration": "auto", "force": force});
    for (force, hint, destination) in [(true, json!(OTHER_HOST), false), (false, Value::Null, true)] {
        act(&cloud, ADMIN, "2.67", uuid, json!({"os-migrateLive": wanted(force)})).await.expect(202);
        let calls = cloud.wait_for::<LiveMigrateInstance>(if force { 1 } else { 2 }).await;
        let call = calls.last().unwrap();
        assert_eq!(call["scheduler_hint"]["host"], hint);
        assert_eq!(call["block_migration"], Value::Null);
        let spec = &call["request_spec"]["nova_object.data"];
        assert_eq!(!spec["requested_destination"].is_null(), destination);
        assert_eq!(call["instance"]["nova_object.data"]["task_state"], "migrating");
        save(&cloud, uuid, json!({"task_state": null})).await;
    }
    assert_eq!(last_action(&cloud, uuid).await, "live-migration");
    let nowhere = json!({"os-migrateLive": {"host": "nowhere", "block_migration": "auto"}});
    bad(&act(&cloud, ADMIN, "2.96", uuid, nowhere).await, "Compute host nowhere could not be found.");
    save(&cloud, uuid, json!({"vm_state": "stopped"})).await;
    let reply = act(&cloud, ADMIN, "2.96", uuid, json!({"os-migrateLive": {"host": null, "block_migration": "auto"}}));
    conflict(&reply.await, &format!("Cannot 'os-migrateLive' instance {uuid} while it is in vm_state stopped"));
}

#[tokio::test]
async fn an_evacuation_has_the_body_and_the_answer_of_its_microversion() {
    let cloud = Cloud::new().await;
    second_host(&cloud).await;
    let uuid = active(&cloud, "vm").await;
    host_is_down(&cloud, true).await;
    let cases = [
        ("2.1", json!({}), 400),
        ("2.13", json!({"onSharedStorage": false}), 200),
        ("2.14", json!({"onSharedStorage": false}), 400),
        ("2.14", json!({}), 200),
        ("2.28", json!({"force": false}), 400),
        ("2.29", json!({"host": OTHER_HOST, "force": true}), 200),
        ("2.68", json!({"force": false}), 400),
        ("2.68", json!({"host": OTHER_HOST}), 200),
        ("2.95", json!({}), 200),
    ];
    for (version, wanted, expected) in &cases {
        let reply = act(&cloud, ADMIN, version, uuid, json!({"evacuate": wanted})).await;
        assert_eq!(reply.status.as_u16(), *expected, "{version} {wanted} {}", reply.body);
        let shows_password = *version == "2.13" && *expected == 200;
        assert_eq!(reply.body["adminPass"].is_string(), shows_password, "{version}");
    }
    let calls = cloud.wait_for::<RebuildInstance>(5).await;
    assert!(calls.iter().all(|call| call["recreate"] == true));
    let forced: Vec<_> = calls.iter().map(|call| call["host"].clone()).collect();
    assert_eq!(json!(forced), json!([null, null, OTHER_HOST, null, null]));
    assert_eq!((&calls[3]["target_state"], &calls[4]["target_state"]), (&Value::Null, &json!("stopped")));
    let record = server_migrations::get_by_instance_and_status(&cloud.db, uuid, "accepted").await.unwrap();
    assert_eq!((record.migration_type.as_str(), record.source_compute.as_deref()), ("evacuation", Some(HOST)));
    let workflow = workflows::get(&cloud.db, WorkflowKind::Move, uuid).await.unwrap().unwrap();
    assert_eq!((workflow.step.as_str(), &workflow.payload["migration_id"]), ("evacuate", &json!(record.id)));
}

#[tokio::test]
async fn an_evacuation_that_makes_no_sense_is_refused() {
    let cloud = Cloud::new().await;
    second_host(&cloud).await;
    let uuid = active(&cloud, "vm").await;
    let evacuate =
        |version: &'static str, wanted: Value| act(&cloud, ADMIN, version, uuid, json!({"evacuate": wanted}));
    let in_use = format!("Compute service of {HOST} is still in use.");
    bad(&evacuate("2.96", json!({})).await, &in_use);
    host_is_down(&cloud, true).await;
    let nowhere = evacuate("2.96", json!({"host": "nowhere"})).await;
    nowhere.expect_fault(404, "itemNotFound", "Compute host nowhere not found.");
    bad(&evacuate("2.96", json!({"host": HOST})).await, "The target host can't be the same one.");
    bad(&evacuate("2.29", json!({"force": true})).await, "Can't force to a non-provided destination");
    let shared = json!({"onSharedStorage": true, "adminPass": "secret"});
    bad(&evacuate("2.1", shared).await, "admin password can't be changed on existing disk");
    save(&cloud, uuid, json!({"vm_state": "paused"})).await;
    let refused = format!("Cannot 'evacuate' instance {uuid} while it is in vm_state paused");
    conflict(&evacuate("2.96", json!({})).await, &refused);
    assert!(cloud.calls::<RebuildInstance>().is_empty());
    // A task that nobody ends any more is no reason.
    save(&cloud, uuid, json!({"vm_state": "active", "task_state": "powering-off"})).await;
    evacuate("2.96", json!({})).await.expect(200);
}

#[tokio::test]
async fn the_list_of_all_moves_is_that_of_its_microversion() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let resize = migration(&cloud, uuid, migration_type::RESIZE, status::FINISHED).await;
    let live = migration(&cloud, uuid, migration_type::LIVE_MIGRATION, status::RUNNING).await;
    let at = |version: &'static str| cloud.get(ADMIN, version, "/os-migrations");
    let first = at("2.1").await.expect(200).body["migrations"][0].clone();
    let created = kilonova_core::time::strtime(resize.created_at.unwrap());
    let mut expected = json!({
        "id": resize.id, "instance_uuid": uuid, "status": "finished", "source_compute": HOST, "source_node": "node1",
        "dest_compute": OTHER_HOST, "dest_node": "node2", "dest_host": "10.0.0.2", "old_instance_type_id": 1,
        "new_instance_type_id": 2, "created_at": created, "updated_at": null,
    });
    assert_eq!(first, expected);
    expected["migration_type"] = json!("resize");
    let body = at("2.23").await.expect(200).body;
    assert_eq!(body["migrations"][0], expected);
    let href = format!("http://cloud:8774/v2.1/servers/{uuid}/migrations/{}", live.id);
    assert_eq!(body["migrations"][1]["links"][0], json!({"rel": "self", "href": href}));
    expected["uuid"] = json!(resize.uuid);
    let body = at("2.59").await.expect(200).body;
    assert_eq!(body["migrations"][1], expected, "newest first");
    expected["user_id"] = json!("u");
    expected["project_id"] = json!(PROJECT);
    assert_eq!(at("2.80").await.expect(200).body["migrations"][1], expected);
}

#[tokio::test]
async fn moves_are_filtered_and_paged() {
    let cloud = Cloud::new().await;
    let (one, two) = (active(&cloud, "one").await, active(&cloud, "two").await);
    let first = migration(&cloud, one, migration_type::RESIZE, status::FINISHED).await;
    let second = migration(&cloud, two, migration_type::EVACUATION, status::DONE).await;
    let third = migration(&cloud, two, migration_type::MIGRATION, status::ERROR).await;
    let ids = |body: &Value| -> Vec<i64> {
        body["migrations"].as_array().unwrap().iter().map(|one| one["id"].as_i64().unwrap()).collect()
    };
    let list = |version: &'static str, query: String| {
        let cloud = &cloud;
        async move { cloud.get(ADMIN, version, &format!("/os-migrations?{query}")).await }
    };
    for (query, expected) in [
        (format!("instance_uuid={one}"), vec![first.id]),
        ("instance_uuid=nothing".to_owned(), vec![]),
        ("status=done".to_owned(), vec![second.id]),
        ("migration_type=migration".to_owned(), vec![third.id]),
        (format!("host={OTHER_HOST}&source_compute=x"), vec![first.id, second.id, third.id]),
        (format!("source_compute={OTHER_HOST}"), vec![]),
        ("hidden=true".to_owned(), vec![]),
    ] {
        assert_eq!(ids(&list("2.1", query.clone()).await.expect(200).body), expected, "{query}");
    }
    let page = list("2.59", "limit=2".to_owned()).await.expect(200).body;
    assert_eq!(ids(&page), [third.id, second.id]);
    let next = format!("http://cloud:8774/v2.1/os-migrations?limit=2&marker={}", second.uuid);
    assert_eq!(page["migrations_links"], json!([{"rel": "next", "href": next}]));
    let page = list("2.59", format!("limit=2&marker={}", second.uuid)).await.expect(200).body;
    assert_eq!((ids(&page), &page["migrations_links"]), (vec![first.id], &Value::Null));
    bad(&list("2.59", format!("marker={one}")).await, &format!("Marker {one} could not be found."));
    list("2.58", "limit=0&marker=x".to_owned()).await.expect(200);
    list("2.59", "changes-before=2026-01-01T00:00:00Z".to_owned()).await.expect(400);
    let none = list("2.66", "changes-before=2020-01-01T00:00:00Z".to_owned()).await.expect(200).body;
    assert!(ids(&none).is_empty());
    let message = "The value of changes-since must be less than or equal to changes-before.";
    let query = "changes-since=2021-01-01T00:00:00Z&changes-before=2020-01-01T00:00:00Z";
    bad(&list("2.66", query.to_owned()).await, message);
    list("2.79", "user_id=u".to_owned()).await.expect(400);
    assert_eq!(ids(&list("2.80", "user_id=u".to_owned()).await.expect(200).body).len(), 3);
    assert!(ids(&list("2.80", "project_id=p".to_owned()).await.expect(200).body).is_empty());
    // Those of a server go with it.
    kilonova_db::instances::destroy(&cloud.db, two).await.unwrap();
    assert_eq!(ids(&list("2.1", String::new()).await.expect(200).body), [first.id]);
}

#[tokio::test]
async fn the_list_of_all_moves_is_for_managers_and_of_all_projects_for_admins() {
    let cloud = Cloud::new().await;
    for token in [MEMBER, READER, NOBODY] {
        let reply = cloud.get(token, "2.96", "/os-migrations").await;
        let message = "Policy doesn't allow os_compute_api:os-migrations:index to be performed.";
        reply.expect_fault(403, "forbidden", message);
    }
    cloud.get(ADMIN, "2.96", "/os-migrations").await.expect(200);
    let cloud = Cloud::with_policy("\"os_compute_api:os-migrations:index\": \"role:member\"\n").await;
    let uuid = active(&cloud, "vm").await;
    migration(&cloud, uuid, migration_type::RESIZE, status::FINISHED).await;
    let message = "Policy doesn't allow os_compute_api:os-migrations:index:all_projects to be performed.";
    cloud.get(MEMBER, "2.96", "/os-migrations").await.expect_fault(403, "forbidden", message);
    let own = cloud.get(MEMBER, "2.96", &format!("/os-migrations?project_id={PROJECT}")).await.expect(200);
    let shown = &own.body["migrations"][0];
    assert_eq!((&shown["status"], &shown["source_compute"]), (&json!("finished"), &Value::Null));
}

#[tokio::test]
async fn live_migrations_that_go_on_are_shown_below_their_server() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let path = format!("/servers/{uuid}/migrations");
    cloud.get(ADMIN, "2.22", &path).await.expect(404);
    let resize = migration(&cloud, uuid, migration_type::RESIZE, status::FINISHED).await;
    let over = migration(&cloud, uuid, migration_type::LIVE_MIGRATION, status::COMPLETED).await;
    let live = migration(&cloud, uuid, migration_type::LIVE_MIGRATION, status::RUNNING).await;
    // Nobody has written it since it was begun.
    let begun = kilonova_core::time::strtime(live.created_at.unwrap());
    let mut expected = json!({
        "id": live.id, "server_uuid": uuid, "status": "running", "source_compute": HOST, "source_node": "node1",
        "dest_compute": OTHER_HOST, "dest_node": "node2", "dest_host": "10.0.0.2", "memory_total_bytes": 1024,
        "memory_processed_bytes": null, "memory_remaining_bytes": null, "disk_total_bytes": null,
        "disk_processed_bytes": null, "disk_remaining_bytes": null,
        "created_at": begun, "updated_at": begun,
    });
    assert_eq!(cloud.get(ADMIN, "2.23", &path).await.expect(200).body, json!({"migrations": [expected]}));
    let one = format!("{path}/{}", live.id);
    assert_eq!(cloud.get(ADMIN, "2.23", &one).await.expect(200).body, json!({"migration": expected}));
    expected["uuid"] = json!(live.uuid);
    assert_eq!(cloud.get(ADMIN, "2.59", &one).await.expect(200).body["migration"], expected);
    expected["user_id"] = json!("u");
    expected["project_id"] = json!(PROJECT);
    assert_eq!(cloud.get(ADMIN, "2.80", &one).await.expect(200).body["migration"], expected);
    for (id, message) in [
        (resize.id, format!("Migration {} for server {uuid} is not live-migration.", resize.id)),
        (over.id, format!("Live migration {} for server {uuid} is not in progress.", over.id)),
        (99, format!("In-progress live migration 99 is not found for server {uuid}.")),
    ] {
        cloud.get(ADMIN, "2.96", &format!("{path}/{id}")).await.expect_fault(404, "itemNotFound", &message);
    }
    cloud.get(MEMBER, "2.96", &path).await.expect(403);
    cloud.get(MEMBER, "2.96", &one).await.expect(403);
}

#[tokio::test]
async fn a_live_migration_is_forced_to_its_end_while_it_runs() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let live = migration(&cloud, uuid, migration_type::LIVE_MIGRATION, status::RUNNING).await;
    let force = |version: &'static str, id: String| {
        let path = format!("/servers/{uuid}/migrations/{id}/action");
        let cloud = &cloud;
        async move { cloud.post(ADMIN, version, &path, json!({"force_complete": null})).await }
    };
    let id = live.id.to_string();
    force("2.21", id.clone()).await.expect(404);
    conflict(&force("2.22", id.clone()).await, &format!("Instance {uuid} is in an invalid state for 'force_complete'"));
    save(&cloud, uuid, json!({"task_state": "migrating"})).await;
    bad(&force("2.22", "99".to_owned()).await, &format!("Migration 99 not found for instance {uuid}"));
    force("2.22", id.clone()).await.expect(202);
    cloud.wait_for::<LiveMigrationForceComplete>(1).await;
    assert_eq!(last_action(&cloud, uuid).await, "live_migration_force_complete");
    let queued = json!({"status": "queued"});
    server_migrations::save(&cloud.db, live.id, queued.as_object().unwrap()).await.unwrap();
    let message = format!(
        "Migration {id} state of instance {uuid} is queued. Cannot force complete while the migration is in this state."
    );
    bad(&force("2.22", id).await, &message);
}

#[tokio::test]
async fn a_live_migration_is_aborted_and_since_2_65_also_one_that_waits() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let live = migration(&cloud, uuid, migration_type::LIVE_MIGRATION, status::QUEUED).await;
    let abort = |version: &'static str, id: i64| {
        let path = format!("/servers/{uuid}/migrations/{id}");
        let cloud = &cloud;
        async move { cloud.delete(ADMIN, version, &path).await }
    };
    abort("2.23", live.id).await.expect(404);
    let message = format!("Instance {uuid} is in an invalid state for 'abort live migration'");
    conflict(&abort("2.24", live.id).await, &message);
    save(&cloud, uuid, json!({"task_state": "migrating"})).await;
    let message = format!("Migration 99 not found for instance {uuid}");
    abort("2.24", 99).await.expect_fault(404, "itemNotFound", &message);
    let message = format!(
        "Migration {} state of instance {uuid} is queued. Cannot abort live migration while the migration is in this \
         state.",
        live.id
    );
    bad(&abort("2.64", live.id).await, &message);
    abort("2.65", live.id).await.expect(202);
    let call = &cloud.wait_for::<LiveMigrationAbort>(1).await[0];
    assert_eq!(call["migration_id"], live.id);
    assert_eq!(last_action(&cloud, uuid).await, "live_migration_cancel");
}

#[tokio::test]
async fn a_host_that_servers_move_to_is_not_forgotten() {
    let cloud = Cloud::new().await;
    second_host(&cloud).await;
    let uuid = active(&cloud, "vm").await;
    migration(&cloud, uuid, migration_type::LIVE_MIGRATION, status::RUNNING).await;
    let services = cloud.get(ADMIN, "2.53", &format!("/os-services?host={OTHER_HOST}")).await.expect(200);
    let id = services.body["services"][0]["id"].as_str().unwrap();
    let reply = cloud.delete(ADMIN, "2.53", &format!("/os-services/{id}")).await;
    assert_eq!(reply.status, 409, "{}", reply.body);
}
