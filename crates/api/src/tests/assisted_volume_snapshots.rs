//! `/os-assisted-volume-snapshots`

use kilonova_db::block_devices;
use kilonova_db::instances::{self, Save};
use kilonova_objects::{BlockDeviceMapping, Instance};
use kilonova_rpcapi::compute::{VolumeSnapshotCreate, VolumeSnapshotDelete};
use serde_json::{Value, json};
use uuid::Uuid;

use super::cloud::{ADMIN, Cloud, MEMBER, PROJECT};
use super::hosts::{RUNNING, Ran, server};

const PATH: &str = "/os-assisted-volume-snapshots";
const SNAPSHOT: &str = "421752a6-acf6-4b2d-bc7a-119f9148cd8c";
const VOLUME: &str = "521752a6-acf6-4b2d-bc7a-119f9148cd8c";

fn create(volume_id: &str) -> Value {
    let create_info = json!({"snapshot_id": "s", "type": "qcow2", "new_file": "f", "id": SNAPSHOT});
    json!({"snapshot": {"volume_id": volume_id, "create_info": create_info}})
}

fn delete(info: &Value) -> String {
    let text = info.to_string().replace('"', "%22").replace(' ', "").replace('{', "%7B").replace('}', "%7D");
    format!("{PATH}/snapshot-1?delete_info={text}")
}

/// A server with a volume.
async fn with_volume(cloud: &Cloud, volume_id: &str, ran: Ran) -> Instance {
    let instance = server(cloud, PROJECT, "user", ran).await;
    let mapping = BlockDeviceMapping {
        instance_uuid: Some(instance.uuid),
        source_type: Some("volume".to_owned()),
        destination_type: Some("volume".to_owned()),
        volume_id: Some(volume_id.to_owned()),
        ..BlockDeviceMapping::default()
    };
    block_devices::save(&cloud.db, &mapping).await.unwrap();
    instance
}

async fn save(cloud: &Cloud, uuid: Uuid, changes: Value) {
    let changes = changes.as_object().unwrap();
    let save = Save { uuid, changes, expected_vm_state: None, expected_task_state: None };
    instances::save(&cloud.db, save).await.unwrap();
}

#[tokio::test]
async fn the_host_of_the_server_with_the_volume_is_told() {
    let cloud = Cloud::new().await;
    let instance = with_volume(&cloud, VOLUME, RUNNING).await;
    save(&cloud, instance.uuid, json!({"task_state": null})).await;
    let reply = cloud.post(ADMIN, "2.1", PATH, create(VOLUME)).await.expect(200);
    assert_eq!(reply.body, json!({"snapshot": {"id": SNAPSHOT, "volumeId": VOLUME}}));
    let told = cloud.wait_for::<VolumeSnapshotCreate>(1).await.remove(0);
    assert_eq!(told["instance"]["nova_object.data"]["uuid"], json!(instance.uuid));
    assert_eq!((&told["volume_id"], &told["create_info"]["new_file"]), (&json!(VOLUME), &json!("f")));

    let info = json!({"volume_id": VOLUME, "merge_target_file": "g"});
    cloud.delete(ADMIN, "2.75", &delete(&info)).await.expect(204);
    let told = cloud.wait_for::<VolumeSnapshotDelete>(1).await.remove(0);
    assert_eq!((&told["snapshot_id"], &told["delete_info"]), (&json!("snapshot-1"), &info));
}

#[tokio::test]
async fn a_server_that_cannot_do_it_now_is_400() {
    let cloud = Cloud::new().await;
    let nowhere = Ran { host: None, ..RUNNING };
    let lost = with_volume(&cloud, "volume-0", nowhere).await;
    save(&cloud, lost.uuid, json!({"task_state": null})).await;
    let reply = cloud.post(ADMIN, "2.1", PATH, create("volume-0")).await;
    reply.expect_fault(400, "badRequest", &format!("Instance {} is not ready", lost.uuid));

    let uuid = with_volume(&cloud, "volume-1", RUNNING).await.uuid;
    save(&cloud, uuid, json!({"task_state": "rebooting"})).await;
    let refused = |action: &str, attr: &str, state: &str| {
        format!("Cannot '{action}' instance {uuid} while it is in {attr} {state}")
    };
    let reply = cloud.post(ADMIN, "2.1", PATH, create("volume-1")).await;
    reply.expect_fault(400, "badRequest", &refused("volume_snapshot_create", "task_state", "rebooting"));
    save(&cloud, uuid, json!({"task_state": null, "vm_state": "stopped"})).await;
    let merge = json!({"volume_id": "volume-1", "merge_target_file": "g"});
    let reply = cloud.delete(ADMIN, "2.1", &delete(&merge)).await;
    reply.expect_fault(400, "badRequest", &refused("volume_snapshot_delete", "vm_state", "stopped"));
    cloud.delete(ADMIN, "2.1", &delete(&json!({"volume_id": "volume-1"}))).await.expect(204);
    assert_eq!(cloud.calls::<VolumeSnapshotCreate>(), [] as [Value; 0]);
}

#[tokio::test]
async fn unknown_volumes_and_malformed_requests_are_400() {
    let cloud = Cloud::new().await;
    // A part of a name, or what means something in a pattern, is not the name.
    let uuid = with_volume(&cloud, "volume-1", RUNNING).await.uuid;
    save(&cloud, uuid, json!({"task_state": null})).await;
    for volume in ["volume", "volume_1", "%", "volume-2"] {
        let reply = cloud.post(ADMIN, "2.1", PATH, create(volume)).await;
        reply.expect_fault(400, "badRequest", &format!("No volume Block Device Mapping with id {volume}."));
    }
    let mut body = create("volume-1");
    body["snapshot"]["create_info"]["type"] = json!("raw");
    cloud.post(ADMIN, "2.1", PATH, body).await.expect(400);
    for (query, message) in [("", "'delete_info'"), ("?delete_info=%7B%7D", "'volume_id'")] {
        let reply = cloud.delete(ADMIN, "2.1", &format!("{PATH}/x{query}")).await;
        reply.expect_fault(400, "badRequest", message);
    }
    cloud.delete(ADMIN, "2.1", &format!("{PATH}/x?delete_info=x")).await.expect(400);
    let info = json!({"volume_id": "volume-1"});
    cloud.delete(ADMIN, "2.74", &format!("{}&x=1", delete(&info))).await.expect(204);
    cloud.delete(ADMIN, "2.75", &format!("{}&x=1", delete(&info))).await.expect(400);
}

#[tokio::test]
async fn only_services_and_admins_ask() {
    let cloud = Cloud::new().await;
    cloud.post(MEMBER, "2.1", PATH, create("volume-1")).await.expect(403);
    cloud.delete(MEMBER, "2.1", &delete(&json!({"volume_id": "volume-1"}))).await.expect(403);
}
