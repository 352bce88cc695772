//! What is done to a server on its host, and what is asked of the host: pause, suspend, rescue, passwords, crash dumps,
//! diagnostics.

use kilonova_clients::fake::FakeImage;
use kilonova_db::compute_nodes;
use kilonova_messaging::RemoteException;
use kilonova_objects::{ComputeNode, Wire as _};
use kilonova_rpcapi::compute::{
    GetDiagnostics, GetInstanceDiagnostics, InjectNetworkInfo, RescueInstance, SetAdminPassword, TriggerCrashDump,
};
use kilonova_rpcapi::exception;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{active, create, instance, save};
use crate::tests::cloud::{ADMIN, Cloud, HOST, MEMBER, NOBODY, OTHER, READER, Reply};

const NOT_SUPPORTED: &str = "The requested functionality is not supported.";

async fn act(cloud: &Cloud, token: &str, uuid: Uuid, body: Value) -> Reply {
    cloud.post(token, "2.96", &format!("/servers/{uuid}/action"), body).await
}

/// Action, state that it needs, what its host is asked, task.
const ACTIONS: [(&str, &str, &str, &str); 6] = [
    ("pause", "active", "pause_instance", "pausing"),
    ("unpause", "paused", "unpause_instance", "unpausing"),
    ("suspend", "active", "suspend_instance", "suspending"),
    ("resume", "suspended", "resume_instance", "resuming"),
    ("rescue", "active", "rescue_instance", "rescuing"),
    ("unrescue", "rescued", "unrescue_instance", "unrescuing"),
];

#[tokio::test]
async fn an_action_marks_the_server_is_recorded_and_told_to_the_host() {
    let cloud = Cloud::new().await;
    for (action, vm_state, method, task) in ACTIONS {
        let uuid = active(&cloud, action).await;
        save(&cloud, uuid, json!({"vm_state": vm_state})).await;
        let reply = act(&cloud, MEMBER, uuid, json!({action: null})).await;
        // Of all of them a rescue answers something.
        let status = if action == "rescue" { 200 } else { 202 };
        assert_eq!(reply.status, status, "{action}: {}", reply.body);
        let call = &cloud.wait_for_method(method, 1).await[0]["instance"]["nova_object.data"];
        assert_eq!((&call["uuid"], &call["task_state"]), (&json!(uuid), &json!(task)));
        let row = instance(&cloud, uuid).await;
        assert_eq!((row.vm_state.as_str(), row.task_state.unwrap().as_str()), (vm_state, task));
        let actions = cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}/os-instance-actions")).await.expect(200);
        let newest = &actions.body["instanceActions"][0];
        assert_eq!(newest["action"], action);
        assert_eq!(newest["request_id"], reply.header("x-openstack-request-id"));
        act(&cloud, MEMBER, uuid, json!({action: null})).await.expect_fault(
            409,
            "conflictingRequest",
            &format!("Cannot '{action}' instance {uuid} while it is in task_state {task}"),
        );
    }
}

#[tokio::test]
async fn an_action_wants_its_state_an_unlocked_server_and_a_host() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    for (action, vm_state, method, _) in ACTIONS {
        let refused = async |message: String| {
            act(&cloud, MEMBER, uuid, json!({action: null})).await.expect_fault(409, "conflictingRequest", &message);
        };
        save(&cloud, uuid, json!({"vm_state": "shelved"})).await;
        refused(format!("Cannot '{action}' instance {uuid} while it is in vm_state shelved")).await;
        save(&cloud, uuid, json!({"vm_state": vm_state, "locked": true})).await;
        refused(format!("Instance {uuid} is locked")).await;
        save(&cloud, uuid, json!({"locked": false, "host": null})).await;
        refused(format!("Instance {uuid} is not ready")).await;
        save(&cloud, uuid, json!({"host": HOST, "launched_at": null})).await;
        refused(format!("Instance {uuid} is in an invalid state for '{action}'")).await;
        save(&cloud, uuid, json!({"launched_at": "2026-11-23T07:00:00Z"})).await;
        let message = format!("Instance {uuid} could not be found.");
        act(&cloud, OTHER, uuid, json!({action: null})).await.expect_fault(404, "itemNotFound", &message);
        act(&cloud, READER, uuid, json!({action: null})).await.expect(403);
        assert_eq!(instance(&cloud, uuid).await.task_state, None);
        assert!(cloud.calls_of(method).is_empty());
    }
    let actions = cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}/os-instance-actions")).await.expect(200);
    assert_eq!(actions.body["instanceActions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_rescue_answers_with_the_password_that_it_gives_the_host() {
    let cloud = Cloud::new().await;
    let given = active(&cloud, "given").await;
    let body = json!({"rescue": {"adminPass": "MySecretPass", "rescue_image_ref": cloud.image.id}});
    let reply = act(&cloud, MEMBER, given, body).await.expect(200);
    assert_eq!(reply.body, json!({"adminPass": "MySecretPass"}));
    let made = active(&cloud, "made").await;
    let reply = act(&cloud, MEMBER, made, json!({"rescue": {}})).await.expect(200);
    let password = reply.body["adminPass"].as_str().unwrap();
    assert_eq!(password.len(), 12);
    let calls = cloud.wait_for::<RescueInstance>(2).await;
    let asked = |uuid: Uuid| {
        let call = calls.iter().find(|call| call["instance"]["nova_object.data"]["uuid"] == json!(uuid)).unwrap();
        [&call["rescue_password"], &call["rescue_image_ref"], &call["clean_shutdown"]].map(Value::clone)
    };
    assert_eq!(asked(given), [json!("MySecretPass"), json!(cloud.image.id), json!(true)]);
    assert_eq!(asked(made), [json!(password), Value::Null, json!(true)]);
}

#[tokio::test]
async fn passwords_are_not_shown_where_that_is_configured() {
    let cloud = Cloud::with_config("[api]\nenable_instance_password = false\n").await;
    let uuid = active(&cloud, "vm").await;
    let reply = act(&cloud, MEMBER, uuid, json!({"rescue": {"adminPass": "x"}})).await.expect(200);
    assert_eq!(reply.body, json!({}));
}

#[tokio::test]
async fn a_rescue_image_must_be_one() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let snapshot = add_image(&cloud.images, "snapshot", &[("block_device_mapping", "[]")]);
    for image in [Uuid::new_v4(), snapshot] {
        act(&cloud, MEMBER, uuid, json!({"rescue": {"rescue_image_ref": image}})).await.expect_fault(
            400,
            "badRequest",
            &format!("Requested rescue image '{image}' is not supported"),
        );
    }
    for body in [json!({"rescue_image_ref": "cirros"}), json!({"adminPass": 1}), json!({"image": "x"}), json!("x")] {
        act(&cloud, MEMBER, uuid, json!({"rescue": body})).await.expect(400);
    }
    assert_eq!(instance(&cloud, uuid).await.task_state, None);
    // The state is looked at first.
    save(&cloud, uuid, json!({"vm_state": "paused"})).await;
    act(&cloud, MEMBER, uuid, json!({"rescue": {"rescue_image_ref": Uuid::new_v4()}})).await.expect(409);
}

#[tokio::test]
async fn a_server_on_a_volume_is_rescued_since_2_87_by_a_stable_rescue_on_a_host_that_can() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    on_volume(&cloud, uuid).await;
    let stable = add_image(&cloud.images, "r", &[("hw_rescue_device", "disk"), ("hw_rescue_bus", "virtio")]);
    let half = add_image(&cloud.images, "h", &[("hw_rescue_device", "disk")]);
    let rescue = async |version: &str, image: Uuid| {
        let body = json!({"rescue": {"rescue_image_ref": image}});
        cloud.post(MEMBER, version, &format!("/servers/{uuid}/action"), body).await
    };
    let refused = |reason: &str| format!("Instance {uuid} cannot be rescued: {reason}");
    let never = refused("Cannot rescue a volume-backed instance");
    rescue("2.86", stable).await.expect_fault(400, "badRequest", &never);
    rescue("2.87", half).await.expect_fault(400, "badRequest", &never);
    rescue("2.87", cloud.image.id).await.expect_fault(400, "badRequest", &never);
    let host = refused("Host unable to rescue a volume-backed instance");
    rescue("2.87", stable).await.expect_fault(400, "badRequest", &host);
    let node = ComputeNode {
        uuid: Uuid::new_v4(),
        host: Some(HOST.to_owned()),
        hypervisor_hostname: Some("node1".to_owned()),
        ..ComputeNode::default()
    };
    compute_nodes::create(&cloud.db, &node).await.unwrap();
    rescue("2.87", stable).await.expect_fault(400, "badRequest", &host);
    *cloud.placement.host_traits.lock().unwrap() = vec!["COMPUTE_RESCUE_BFV".to_owned()];
    rescue("2.87", stable).await.expect(200);
    cloud.wait_for::<RescueInstance>(1).await;
}

/// Its root disk was made a volume.
async fn on_volume(cloud: &Cloud, uuid: Uuid) {
    let mut disks = kilonova_db::block_devices::list(&cloud.db, &[uuid]).await.unwrap().remove(&uuid).unwrap();
    let root = disks.iter_mut().find(|disk| disk.boot_index == Some(0)).unwrap();
    root.destination_type = Some("volume".to_owned());
    kilonova_db::block_devices::save(&cloud.db, root).await.unwrap();
}

fn add_image(images: &FakeImage, name: &str, properties: &[(&str, &str)]) -> Uuid {
    let mut image = images.add(name, "/nowhere");
    image.properties = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let id = image.id;
    images.put(image, "/nowhere");
    id
}

#[tokio::test]
async fn a_password_is_set_before_the_answer() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let body = json!({"changePassword": {"adminPass": "secret"}});
    let reply = act(&cloud, MEMBER, uuid, body.clone()).await.expect(202);
    assert_eq!(reply.body, Value::Null);
    let calls = cloud.calls::<SetAdminPassword>();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0]["new_pass"], "secret");
    assert_eq!(calls[0]["instance"]["nova_object.data"]["task_state"], "updating_password");
    let shown = cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}")).await.expect(200);
    assert_eq!(shown.body["server"]["status"], "PASSWORD");
    act(&cloud, MEMBER, uuid, body).await.expect_fault(
        409,
        "conflictingRequest",
        &format!("Cannot 'changePassword' instance {uuid} while it is in task_state updating_password"),
    );
    for body in [json!({}), json!({"adminPass": null}), json!({"adminPass": "x", "other": 1}), Value::Null] {
        act(&cloud, MEMBER, uuid, json!({"changePassword": body})).await.expect(400);
    }
}

#[tokio::test]
async fn a_password_that_cannot_be_set_has_novas_reason() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let set = async || {
        save(&cloud, uuid, json!({"task_state": null})).await;
        act(&cloud, MEMBER, uuid, json!({"changePassword": {"adminPass": "secret"}})).await
    };
    cloud.refuse::<SetAdminPassword>(exception::not_implemented("no"));
    set().await.expect_fault(501, "notImplemented", "Unable to set password on instance");
    let reason = format!("instance {uuid} is not running");
    cloud.refuse::<SetAdminPassword>(exception::instance_password_set_failed(uuid, &reason));
    let message = format!("Failed to set admin password on {uuid} because {reason}");
    set().await.expect_fault(409, "conflictingRequest", &message);
    let no_agent =
        RemoteException::new("nova.exception", "QemuGuestAgentNotEnabled", "QEMU guest agent is not enabled");
    cloud.refuse::<SetAdminPassword>(no_agent);
    set().await.expect_fault(409, "conflictingRequest", "QEMU guest agent is not enabled");
    cloud.refuse::<SetAdminPassword>(RemoteException::new("builtins", "ValueError", "secret"));
    assert!(!set().await.expect(500).body.to_string().contains("secret"));
    save(&cloud, uuid, json!({"task_state": null, "locked": true})).await;
    // Nova has no word of the lock here.
    act(&cloud, MEMBER, uuid, json!({"changePassword": {"adminPass": "secret"}})).await.expect_fault(
        409,
        "conflictingRequest",
        &format!("Instance {uuid} is in an invalid state for 'changePassword'"),
    );
}

#[tokio::test]
async fn a_crash_dump_is_triggered_since_2_17_and_the_server_is_not_busy() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let path = format!("/servers/{uuid}/action");
    let body = json!({"trigger_crash_dump": null});
    cloud.post(MEMBER, "2.16", &path, body.clone()).await.expect(404);
    for (count, vm_state) in ["active", "paused", "rescued", "resized", "error"].into_iter().enumerate() {
        save(&cloud, uuid, json!({"vm_state": vm_state})).await;
        cloud.post(MEMBER, "2.17", &path, body.clone()).await.expect(202);
        cloud.wait_for::<TriggerCrashDump>(count + 1).await;
        assert_eq!(instance(&cloud, uuid).await.task_state, None);
    }
    let actions = cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}/os-instance-actions")).await.expect(200);
    assert_eq!(actions.body["instanceActions"][0]["action"], "trigger_crash_dump");
    cloud.post(MEMBER, "2.17", &path, json!({"trigger_crash_dump": {}})).await.expect(400);
    save(&cloud, uuid, json!({"vm_state": "stopped"})).await;
    cloud.post(MEMBER, "2.17", &path, body).await.expect_fault(
        409,
        "conflictingRequest",
        &format!("Cannot 'trigger_crash_dump' instance {uuid} while it is in vm_state stopped"),
    );
}

#[tokio::test]
async fn admins_inject_addresses_in_any_state_but_not_without_a_host() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let body = json!({"injectNetworkInfo": null});
    act(&cloud, MEMBER, uuid, body.clone()).await.expect_fault(
        403,
        "forbidden",
        "Policy doesn't allow os_compute_api:os-admin-actions:inject_network_info to be performed.",
    );
    save(&cloud, uuid, json!({"vm_state": "error", "task_state": "rebuilding", "locked": true})).await;
    act(&cloud, ADMIN, uuid, body.clone()).await.expect(202);
    let call = &cloud.wait_for::<InjectNetworkInfo>(1).await[0];
    assert_eq!(call["instance"]["nova_object.data"]["uuid"], json!(uuid));
    let unplaced = create(&cloud, "unplaced").await;
    act(&cloud, ADMIN, unplaced, body).await.expect(409);
}

#[tokio::test]
async fn diagnostics_are_the_drivers_words_before_2_48_and_novas_since() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let path = format!("/servers/{uuid}/diagnostics");
    for token in [MEMBER, READER, NOBODY] {
        cloud.get(token, "2.96", &path).await.expect(403);
    }
    let old = cloud.get(ADMIN, "2.47", &path).await.expect(200);
    assert_eq!(old.body, json!({"cpu0_time": 17, "memory": 524_288}));
    let new = cloud.get(ADMIN, "2.48", &path).await.expect(200);
    assert_eq!(
        new.body,
        json!({
            "state": "running", "driver": "libvirt", "hypervisor": "kvm", "hypervisor_os": "linux", "uptime": 46_664,
            "config_drive": true, "num_cpus": 1, "num_nics": 0, "num_disks": 0, "disk_details": [],
            "cpu_details": [{"id": 0, "time": 17, "utilisation": null}], "nic_details": [],
            "memory_details": {"maximum": 512, "used": null},
        })
    );
}

#[tokio::test]
async fn diagnostics_are_of_running_guests_on_hosts_that_count() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let path = format!("/servers/{uuid}/diagnostics");
    let off = exception::instance_invalid_state(uuid, "power state", "shutdown", "get_diagnostics");
    cloud.refuse::<GetDiagnostics>(off.clone());
    cloud.refuse::<GetInstanceDiagnostics>(off);
    let message = format!("Cannot 'get_diagnostics' instance {uuid} while it is in power state shutdown");
    for version in ["2.1", "2.48"] {
        cloud.get(ADMIN, version, &path).await.expect_fault(409, "conflictingRequest", &message);
    }
    cloud.refuse::<GetInstanceDiagnostics>(exception::not_implemented("no"));
    cloud.get(ADMIN, "2.48", &path).await.expect_fault(501, "notImplemented", NOT_SUPPORTED);
    save(&cloud, uuid, json!({"host": null})).await;
    let message = format!("Instance {uuid} is not ready");
    cloud.get(ADMIN, "2.48", &path).await.expect_fault(409, "conflictingRequest", &message);
}

#[tokio::test]
async fn the_topology_is_shown_since_2_78_and_the_hosts_part_to_admins() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let path = format!("/servers/{uuid}/topology");
    cloud.get(MEMBER, "2.77", &path).await.expect(404);
    let none = cloud.get(READER, "2.78", &path).await.expect(200);
    assert_eq!(none.body, json!({"nodes": [], "pagesize_kb": null}));
    save(&cloud, uuid, json!({"numa_topology": numa_topology(uuid)})).await;
    let shown = cloud.get(MEMBER, "2.78", &path).await.expect(200);
    assert_eq!(
        shown.body,
        json!({
            "nodes": [
                {"vcpu_set": [0, 1, 2, 3], "siblings": [[0, 1], [2, 3]], "memory_mb": 1024},
                {"vcpu_set": [4], "siblings": [], "memory_mb": 512},
            ],
            "pagesize_kb": 4,
        })
    );
    let whole = cloud.get(ADMIN, "2.78", &path).await.expect(200);
    let nodes = whole.body["nodes"].as_array().unwrap();
    let host: Vec<_> = nodes.iter().map(|node| (node["host_node"].clone(), node["cpu_pinning"].clone())).collect();
    assert_eq!(host, [(json!(3), json!({"0": 0, "1": 5})), (json!(1), json!({}))]);
}

fn numa_topology(uuid: Uuid) -> Value {
    let object = |name: &str, data: Value| {
        json!({
            "nova_object.name": name, "nova_object.namespace": "nova", "nova_object.version": "1.4",
            "nova_object.data": data,
        })
    };
    let threads = object("VirtCPUTopology", json!({"sockets": 1, "cores": 2, "threads": 2}));
    let first = json!({
        "id": 3, "cpuset": [1, 0], "pcpuset": [2, 3], "memory": 1024, "pagesize": 4, "cpu_topology": threads,
        "cpu_pinning_raw": {"0": 0, "1": 5},
    });
    let second = json!({"id": 1, "cpuset": [4], "pcpuset": [], "memory": 512, "pagesize": null, "cpu_topology": null});
    let cells = [object("InstanceNUMACell", first), object("InstanceNUMACell", second)];
    object("InstanceNUMATopology", json!({"instance_uuid": uuid, "cells": cells}))
}

#[tokio::test]
async fn the_guests_own_password_is_shown_in_one_piece_and_forgotten() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let path = format!("/servers/{uuid}/os-server-password");
    let password = async |token: &str| cloud.get(token, "2.1", &path).await.expect(200).body;
    assert_eq!(password(READER).await, json!({"password": ""}));
    let mut system_metadata = instance(&cloud, uuid).await.system_metadata;
    for (key, piece) in [("password_1", "def"), ("password_0", "abc"), ("password_2", "")] {
        system_metadata.insert(key.to_owned(), Some(piece.to_owned()));
    }
    save(&cloud, uuid, json!({"system_metadata": system_metadata.to_wire()})).await;
    assert_eq!(password(MEMBER).await, json!({"password": "abcdef"}));
    cloud.get(NOBODY, "2.1", &path).await.expect(403);
    cloud.delete(READER, "2.1", &path).await.expect(403);
    cloud.get(OTHER, "2.1", &path).await.expect(404);
    cloud.delete(MEMBER, "2.1", &path).await.expect(204);
    assert_eq!(password(MEMBER).await, json!({"password": ""}));
    assert!(instance(&cloud, uuid).await.system_metadata.contains_key("image_base_image_ref"));
}

#[tokio::test]
async fn a_reset_state_is_an_action_without_steps() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    save(&cloud, uuid, json!({"task_state": "pausing"})).await;
    let reply = act(&cloud, ADMIN, uuid, json!({"os-resetState": {"state": "active"}})).await.expect(202);
    let request_id = reply.header("x-openstack-request-id").to_owned();
    let path = format!("/servers/{uuid}/os-instance-actions/{request_id}");
    let action = cloud.get(ADMIN, "2.96", &path).await.expect(200).body["instanceAction"].take();
    assert_eq!(
        (&action["action"], &action["events"], &action["message"]),
        (&json!("resetState"), &json!([]), &Value::Null)
    );
    let row = kilonova_db::actions::get(&cloud.db, uuid, &request_id).await.unwrap();
    assert!(row.finish_time.is_some());
    assert_eq!(instance(&cloud, uuid).await.task_state, None);
}
