//! `/servers/{server_id}/os-volume_attachments`

use kilonova_clients::ClientError;
use kilonova_clients::volume::{AttachedTo, Volume};
use kilonova_db::block_devices;
use kilonova_objects::BlockDeviceMapping;
use kilonova_rpcapi::compute::{DetachVolume, SwapVolume};
use kilonova_rpcapi::conductor::AttachVolume;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{active, save};
use crate::tests::cloud::{ADMIN, Cloud, MEMBER, NOBODY, OTHER, PROJECT, READER};

const ATTACHMENT: Uuid = Uuid::from_u128(0xa7);

fn path(uuid: Uuid) -> String {
    format!("/servers/{uuid}/os-volume_attachments")
}

fn one(uuid: Uuid, volume: &Volume) -> String {
    format!("{}/{}", path(uuid), volume.id)
}

fn body(volume: &Volume) -> Value {
    json!({"volumeAttachment": {"volumeId": volume.id}})
}

/// A server that has a volume, as host and volume service would have left it.
async fn attached(cloud: &Cloud) -> (Uuid, Volume, BlockDeviceMapping) {
    let (uuid, volume) = (active(cloud, "vm").await, cloud.volumes.add(PROJECT, 1));
    let mapping = attach(cloud, uuid, &volume).await;
    (uuid, cloud.volumes.volume(&volume.id).unwrap(), mapping)
}

async fn attach(cloud: &Cloud, uuid: Uuid, volume: &Volume) -> BlockDeviceMapping {
    cloud.volumes.change(&volume.id, |volume| {
        volume.status = "in-use".to_owned();
        volume.attachments.push(AttachedTo {
            server_id: uuid.to_string(),
            attachment_id: Some(ATTACHMENT.to_string()),
            device: Some("/dev/vdb".to_owned()),
        });
    });
    let mapping = BlockDeviceMapping {
        instance_uuid: Some(uuid),
        source_type: Some("volume".to_owned()),
        destination_type: Some("volume".to_owned()),
        volume_id: Some(volume.id.clone()),
        device_name: Some("/dev/vdb".to_owned()),
        attachment_id: Some(ATTACHMENT),
        tag: Some("data".to_owned()),
        ..BlockDeviceMapping::default()
    };
    block_devices::save(&cloud.db, &mapping).await.unwrap()
}

async fn mapping(cloud: &Cloud, uuid: Uuid, volume: &Volume) -> Option<BlockDeviceMapping> {
    block_devices::by_volume_and_instance(&cloud.db, &volume.id, uuid).await.unwrap()
}

fn status(cloud: &Cloud, volume: &Volume) -> String {
    cloud.volumes.volume(&volume.id).unwrap().status
}

async fn actions(cloud: &Cloud, uuid: Uuid) -> Vec<Value> {
    let listed = cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}/os-instance-actions")).await.expect(200);
    listed.body["instanceActions"].as_array().unwrap().iter().map(|action| action["action"].clone()).collect()
}

#[tokio::test]
async fn attachments_show_more_with_each_microversion() {
    let cloud = Cloud::new().await;
    let (uuid, volume, mapping) = attached(&cloud).await;
    let with = |more: &[(&str, Value)], without: &str| {
        let mut view = json!({"id": volume.id, "volumeId": volume.id, "serverId": uuid, "device": "/dev/vdb"});
        for (name, value) in more {
            view[name] = value.clone();
        }
        view.as_object_mut().unwrap().remove(without);
        view
    };
    let (tag, termination) = (("tag", json!("data")), ("delete_on_termination", json!(false)));
    let ids = [("attachment_id", json!(ATTACHMENT)), ("bdm_uuid", json!(mapping.uuid))];
    for (version, expected) in [
        ("2.1", with(&[], "")),
        ("2.69", with(&[], "")),
        ("2.70", with(std::slice::from_ref(&tag), "")),
        ("2.78", with(std::slice::from_ref(&tag), "")),
        ("2.79", with(&[tag.clone(), termination.clone()], "")),
        ("2.88", with(&[tag.clone(), termination.clone()], "")),
        ("2.89", with(&[tag, termination, ids[0].clone(), ids[1].clone()], "id")),
    ] {
        let listed = cloud.get(READER, version, &path(uuid)).await.expect(200);
        assert_eq!(listed.body, json!({"volumeAttachments": [expected]}), "{version}");
        let shown = cloud.get(READER, version, &one(uuid, &volume)).await.expect(200);
        assert_eq!(shown.body, json!({"volumeAttachment": expected}), "{version}");
    }
    for (token, expected) in [(NOBODY, 403), (OTHER, 404)] {
        cloud.get(token, "2.89", &path(uuid)).await.expect(expected);
        cloud.get(token, "2.89", &one(uuid, &volume)).await.expect(expected);
    }
    let nowhere = format!("{}/{}", path(uuid), Uuid::nil());
    let message = format!("Instance {uuid} is not attached to volume {}", Uuid::nil());
    cloud.get(READER, "2.89", &nowhere).await.expect_fault(404, "itemNotFound", &message);
    // The image's disk counts, and is not shown.
    for (query, count) in [("?limit=1", 0), ("?offset=1", 1), ("?limit=0", 1)] {
        let listed = cloud.get(READER, "2.75", &format!("{}{query}", path(uuid))).await.expect(200);
        assert_eq!(listed.body["volumeAttachments"].as_array().unwrap().len(), count, "{query}");
    }
    cloud.get(READER, "2.74", &format!("{}?unknown=1", path(uuid))).await.expect(200);
    cloud.get(READER, "2.75", &format!("{}?unknown=1", path(uuid))).await.expect(400);
}

#[tokio::test]
async fn an_attachment_without_its_id_is_not_shown_from_2_89_on() {
    let cloud = Cloud::new().await;
    let (uuid, volume, mapping) = attached(&cloud).await;
    let early = serde_json::Map::from_iter([("attachment_id".to_owned(), Value::Null)]);
    block_devices::update(&cloud.db, mapping.id, &early).await.unwrap();
    cloud.get(READER, "2.88", &one(uuid, &volume)).await.expect(200);
    let message = format!("Instance {uuid} is not attached to volume {}", volume.id);
    cloud.get(READER, "2.89", &one(uuid, &volume)).await.expect_fault(404, "itemNotFound", &message);
    let listed = cloud.get(READER, "2.89", &path(uuid)).await.expect(200);
    assert_eq!(listed.body, json!({"volumeAttachments": []}));
}

#[tokio::test]
async fn servers_name_their_volumes() {
    let cloud = Cloud::new().await;
    let (uuid, volume, _) = attached(&cloud).await;
    let without = active(&cloud, "other").await;
    let key = "os-extended-volumes:volumes_attached";
    for (version, expected) in
        [("2.2", json!([{"id": volume.id}])), ("2.3", json!([{"id": volume.id, "delete_on_termination": false}]))]
    {
        let shown = cloud.get(READER, version, &format!("/servers/{uuid}")).await.expect(200);
        assert_eq!(shown.body["server"][key], expected);
        let listed =
            cloud.get(READER, version, "/servers/detail?sort_key=display_name&sort_dir=desc").await.expect(200);
        let servers = &listed.body["servers"];
        assert_eq!((&servers[0][key], &servers[1][key]), (&expected, &json!([])), "{without}");
    }
}

#[tokio::test]
async fn the_conductor_is_asked_and_answers_with_the_name_of_the_disk_until_2_101() {
    let cloud = Cloud::new().await;
    let (uuid, volume) = (active(&cloud, "vm").await, cloud.volumes.add(PROJECT, 1));
    let asked = json!({"volumeAttachment": {
        "volumeId": volume.id, "device": "/dev/vdc", "tag": "t", "delete_on_termination": "true",
    }});
    let view = json!({"id": volume.id, "volumeId": volume.id, "serverId": uuid, "device": "/dev/vdb"});
    let made = cloud.post(MEMBER, "2.1", &path(uuid), body(&volume)).await.expect(200);
    assert_eq!(made.body, json!({"volumeAttachment": view}));
    let made = cloud.post(MEMBER, "2.100", &path(uuid), asked.clone()).await.expect(200);
    let mut expected = view.clone();
    expected["tag"] = json!("t");
    expected["delete_on_termination"] = json!(true);
    assert_eq!(made.body, json!({"volumeAttachment": expected}));
    let made = cloud.post(MEMBER, "2.101", &path(uuid), asked.clone()).await.expect(202);
    assert_eq!(made.body, Value::Null);

    let calls = cloud.wait_for::<AttachVolume>(3).await;
    assert_eq!(calls[0]["instance"]["nova_object.data"]["uuid"], json!(uuid));
    let names = ["device", "tag", "supports_multiattach", "delete_on_termination"];
    let of = |call: &Value| names.map(|name| call[name].clone());
    assert_eq!(of(&calls[0]), [Value::Null, Value::Null, json!(false), json!(false)]);
    assert_eq!(of(&calls[2]), [json!("/dev/vdc"), json!("t"), json!(true), json!(true)]);
    let dict = &calls[0]["volume"];
    assert_eq!(
        (&dict["id"], &dict["attach_status"], &dict["size"]),
        (&json!(volume.id), &json!("detached"), &json!(1))
    );

    cloud.post(MEMBER, "2.48", &path(uuid), asked.clone()).await.expect(400);
    cloud.post(MEMBER, "2.78", &path(uuid), asked.clone()).await.expect(400);
    cloud.post(READER, "2.101", &path(uuid), asked.clone()).await.expect(403);
    cloud.post(OTHER, "2.101", &path(uuid), asked).await.expect(404);
    let bad = json!({"volumeAttachment": {"volumeId": volume.id, "device": "vdb"}});
    cloud.post(MEMBER, "2.101", &path(uuid), bad).await.expect(400);
    assert_eq!(cloud.calls::<AttachVolume>().len(), 3);
}

#[tokio::test]
async fn what_cannot_be_attached_is_refused_before_anybody_is_asked() {
    let cloud = Cloud::with_config("[cinder]\ncross_az_attach = false\n").await;
    let (uuid, taken, _) = attached(&cloud).await;
    let other = active(&cloud, "other").await;
    let post = async |server: Uuid, volume: &Volume| cloud.post(MEMBER, "2.60", &path(server), body(volume)).await;
    let message = format!("Invalid volume: volume {} is already attached to instances: {uuid}", taken.id);
    post(other, &taken).await.expect_fault(400, "badRequest", &message);
    let shared = cloud.volumes.add_multiattach(PROJECT, 1);
    attach(&cloud, uuid, &shared).await;
    let message = format!("Invalid volume: volume {} already attached", shared.id);
    post(uuid, &shared).await.expect_fault(400, "badRequest", &message);
    post(other, &shared).await.expect(200);
    let nowhere = Volume { id: Uuid::nil().to_string(), ..Volume::default() };
    let message = format!("Volume {} could not be found.", Uuid::nil());
    post(uuid, &nowhere).await.expect_fault(404, "itemNotFound", &message);
    post(uuid, &cloud.volumes.add("project-b", 1)).await.expect(404);
    let elsewhere = cloud.volumes.add(PROJECT, 1);
    cloud.volumes.change(&elsewhere.id, |volume| volume.availability_zone = Some("far".to_owned()));
    let message = format!(
        "Invalid volume: Instance {other} and volume {} are not in the same availability_zone. Instance is in nova. \
         Volume is in far",
        elsewhere.id
    );
    post(other, &elsewhere).await.expect_fault(400, "badRequest", &message);

    let free = cloud.volumes.add(PROJECT, 1);
    save(&cloud, other, json!({"task_state": "powering-off"})).await;
    let message = format!("Cannot 'attach_volume' instance {other} while it is in task_state powering-off");
    post(other, &free).await.expect_fault(409, "conflictingRequest", &message);
    save(&cloud, other, json!({"task_state": null, "vm_state": "suspended"})).await;
    let message = format!("Cannot 'attach_volume' instance {other} while it is in vm_state suspended");
    post(other, &free).await.expect_fault(409, "conflictingRequest", &message);
    save(&cloud, other, json!({"vm_state": "active", "locked": true, "locked_by": "admin"})).await;
    post(other, &free).await.expect_fault(409, "conflictingRequest", &format!("Instance {other} is locked"));
    assert_eq!(cloud.calls::<AttachVolume>().len(), 1);
}

#[tokio::test]
async fn what_host_and_conductor_refuse_is_refused() {
    let cloud = Cloud::new().await;
    let (uuid, volume) = (active(&cloud, "vm").await, cloud.volumes.add(PROJECT, 1));
    for (class, status, name) in [
        ("VolumeTaggedAttachNotSupported", 400, "badRequest"),
        ("MultiattachNotSupportedByVirtDriver", 400, "badRequest"),
        ("MultiattachNotSupportedOldMicroversion", 400, "badRequest"),
        ("InvalidVolume", 400, "badRequest"),
        ("InvalidDevicePath", 400, "badRequest"),
        ("InvalidInput", 400, "badRequest"),
        ("DevicePathInUse", 409, "conflictingRequest"),
        ("TooManyDiskDevices", 403, "forbidden"),
        ("VolumeNotFound", 404, "itemNotFound"),
    ] {
        cloud.raise::<AttachVolume>(class, "because");
        let reply = cloud.post(MEMBER, "2.100", &path(uuid), body(&volume)).await;
        reply.expect_fault(status, name, "because");
    }
    // Nobody waits for it any more.
    cloud.post(MEMBER, "2.101", &path(uuid), body(&volume)).await.expect(202);
}

#[tokio::test]
async fn a_volume_is_detached_by_the_host() {
    let cloud = Cloud::new().await;
    let (uuid, volume, _) = attached(&cloud).await;
    let path = one(uuid, &volume);
    cloud.delete(READER, "2.1", &path).await.expect(403);
    cloud.delete(OTHER, "2.1", &path).await.expect(404);
    assert_eq!(cloud.delete(MEMBER, "2.1", &path).await.expect(202).body, Value::Null);
    let call = cloud.wait_for::<DetachVolume>(1).await.remove(0);
    assert_eq!((&call["volume_id"], &call["attachment_id"]), (&json!(volume.id), &json!(ATTACHMENT)));
    assert_eq!(
        (status(&cloud, &volume), actions(&cloud, uuid).await[0].clone()),
        ("detaching".to_owned(), json!("detach_volume"))
    );
    let message = format!(
        "Invalid volume: Invalid input received: Invalid volume: Volume {} status must be in-use, but the current status \
         is detaching.",
        volume.id
    );
    cloud.delete(MEMBER, "2.1", &path).await.expect_fault(400, "badRequest", &message);

    let free = cloud.volumes.add(PROJECT, 1);
    let message = format!("Instance {uuid} is not attached to volume {}", free.id);
    cloud.delete(MEMBER, "2.1", &one(uuid, &free)).await.expect_fault(404, "itemNotFound", &message);
    let nowhere = Volume { id: Uuid::nil().to_string(), ..Volume::default() };
    let message = format!("Volume {} could not be found.", Uuid::nil());
    cloud.delete(MEMBER, "2.1", &one(uuid, &nowhere)).await.expect_fault(404, "itemNotFound", &message);
    assert_eq!(cloud.calls::<DetachVolume>().len(), 1);
}

#[tokio::test]
async fn a_root_disk_or_one_of_a_busy_server_is_not_detached() {
    let cloud = Cloud::new().await;
    let (uuid, volume, mapping) = attached(&cloud).await;
    save(&cloud, uuid, json!({"vm_state": "rescued"})).await;
    let message = format!("Cannot 'detach_volume' instance {uuid} while it is in vm_state rescued");
    cloud.delete(MEMBER, "2.1", &one(uuid, &volume)).await.expect_fault(409, "conflictingRequest", &message);
    let root = serde_json::Map::from_iter([("boot_index".to_owned(), json!(0))]);
    block_devices::update(&cloud.db, mapping.id, &root).await.unwrap();
    let message = "Cannot detach a root device volume";
    cloud.delete(MEMBER, "2.1", &one(uuid, &volume)).await.expect_fault(400, "badRequest", message);
    assert_eq!(status(&cloud, &volume), "in-use");
}

#[tokio::test]
async fn a_server_without_a_host_has_volumes_on_record_from_2_20_on() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    save(&cloud, uuid, json!({"vm_state": "shelved_offloaded", "host": null, "node": null})).await;
    let (volume, shared) = (cloud.volumes.add(PROJECT, 1), cloud.volumes.add_multiattach(PROJECT, 1));
    let message = format!("Cannot 'attach_volume' instance {uuid} while it is in vm_state shelved_offloaded");
    let reply = cloud.post(MEMBER, "2.19", &path(uuid), body(&volume)).await;
    reply.expect_fault(409, "conflictingRequest", &message);
    let tagged = json!({"volumeAttachment": {"volumeId": volume.id, "tag": "t"}});
    let message = "Tagged volume attachment is not supported for shelved-offloaded instances.";
    cloud.post(MEMBER, "2.49", &path(uuid), tagged).await.expect_fault(400, "badRequest", message);
    let message = "Attaching multiattach volumes is not supported for shelved-offloaded instances.";
    cloud.post(MEMBER, "2.60", &path(uuid), body(&shared)).await.expect_fault(400, "badRequest", message);

    cloud.volumes.fail_next("complete_attachment", ClientError::BadRequest("no".to_owned()));
    cloud.post(MEMBER, "2.20", &path(uuid), body(&volume)).await.expect(400);
    assert_eq!((mapping(&cloud, uuid, &volume).await, status(&cloud, &volume)), (None, "available".to_owned()));

    let made = cloud.post(MEMBER, "2.20", &path(uuid), body(&volume)).await.expect(200);
    assert_eq!(made.body["volumeAttachment"]["device"], Value::Null);
    let attachments = cloud.volumes.attachments(&volume.id);
    let found = mapping(&cloud, uuid, &volume).await.unwrap();
    assert_eq!((attachments.len(), found.attachment_id), (1, Some(attachments[0].0)));
    assert_eq!(
        (status(&cloud, &volume), actions(&cloud, uuid).await[0].clone()),
        ("in-use".to_owned(), json!("attach_volume"))
    );

    let message = format!("Cannot 'detach_volume' instance {uuid} while it is in vm_state shelved_offloaded");
    cloud.delete(MEMBER, "2.19", &one(uuid, &volume)).await.expect_fault(409, "conflictingRequest", &message);
    cloud.delete(MEMBER, "2.20", &one(uuid, &volume)).await.expect(202);
    assert_eq!((mapping(&cloud, uuid, &volume).await, status(&cloud, &volume)), (None, "available".to_owned()));
    assert_eq!((cloud.calls::<AttachVolume>(), cloud.calls::<DetachVolume>()), (vec![], vec![]));
}

#[tokio::test]
async fn an_attachment_is_changed_from_2_85_on_and_little_of_it() {
    let cloud = Cloud::new().await;
    let (uuid, volume, _) = attached(&cloud).await;
    let put = async |token: &str, version: &str, more: Value| {
        let mut body = body(&volume);
        for (name, value) in more.as_object().unwrap() {
            body["volumeAttachment"][name] = value.clone();
        }
        cloud.put(token, version, &one(uuid, &volume), body).await
    };
    let same =
        json!({"id": volume.id, "serverId": uuid, "device": "/dev/vdb", "tag": "data", "delete_on_termination": true});
    put(READER, "2.85", same.clone()).await.expect(403);
    put(OTHER, "2.85", same.clone()).await.expect(404);
    put(MEMBER, "2.84", same.clone()).await.expect(400);
    assert_eq!(put(MEMBER, "2.85", same).await.expect(202).body, Value::Null);
    assert!(mapping(&cloud, uuid, &volume).await.unwrap().delete_on_termination);
    put(MEMBER, "2.85", json!({})).await.expect(202);
    put(MEMBER, "2.85", json!({"delete_on_termination": "no"})).await.expect(202);
    assert!(!mapping(&cloud, uuid, &volume).await.unwrap().delete_on_termination);
    for (name, value) in [
        ("id", json!(Uuid::nil())),
        ("serverId", json!(Uuid::nil())),
        ("device", json!("/dev/vdz")),
        ("tag", json!("other")),
    ] {
        let message = format!("The {name} property is not mutable");
        put(MEMBER, "2.85", json!({name: value, "delete_on_termination": true})).await.expect_fault(
            400,
            "badRequest",
            &message,
        );
    }
    assert!(!mapping(&cloud, uuid, &volume).await.unwrap().delete_on_termination);
    let free = cloud.volumes.add(PROJECT, 1);
    let message = format!("No volume Block Device Mapping with id {}.", free.id);
    cloud.put(MEMBER, "2.85", &one(uuid, &free), body(&free)).await.expect_fault(404, "itemNotFound", &message);
}

#[tokio::test]
async fn volumes_are_exchanged_for_services_while_they_move() {
    let cloud = Cloud::new().await;
    let (uuid, old, _) = attached(&cloud).await;
    let new = cloud.volumes.add(PROJECT, 1);
    let swap =
        async |token: &str, version: &str, new: &Volume| cloud.put(token, version, &one(uuid, &old), body(new)).await;
    let message = "Policy doesn't allow os_compute_api:os-volumes-attachments:swap to be performed.";
    for version in ["2.1", "2.84", "2.85"] {
        swap(MEMBER, version, &new).await.expect_fault(403, "forbidden", message);
    }
    let message = format!("volume {} is not migrating; this API should only be called by Cinder", old.id);
    swap(ADMIN, "2.1", &new).await.expect_fault(409, "conflictingRequest", &message);
    cloud.volumes.change(&old.id, |volume| volume.migration_status = Some("migrating".to_owned()));
    let nowhere = Volume { id: Uuid::nil().to_string(), ..Volume::default() };
    let message = format!("Volume {} could not be found.", Uuid::nil());
    swap(ADMIN, "2.1", &nowhere).await.expect_fault(400, "badRequest", &message);
    cloud.volumes.change(&old.id, |volume| volume.size = 2);
    let message = "Invalid volume: New volume must be the same size or larger.";
    swap(ADMIN, "2.1", &new).await.expect_fault(400, "badRequest", message);
    cloud.volumes.change(&old.id, |volume| volume.size = 1);
    save(&cloud, uuid, json!({"vm_state": "stopped"})).await;
    let message = format!("Cannot 'swap_volume' instance {uuid} while it is in vm_state stopped");
    swap(ADMIN, "2.1", &new).await.expect_fault(409, "conflictingRequest", &message);
    save(&cloud, uuid, json!({"vm_state": "active"})).await;
    cloud.volumes.fail_next("create_attachment", ClientError::BadRequest("no".to_owned()));
    swap(ADMIN, "2.1", &new).await.expect_fault(400, "badRequest", "Invalid input received: no");
    assert_eq!((status(&cloud, &old), status(&cloud, &new)), ("in-use".to_owned(), "available".to_owned()));
    assert_eq!(cloud.calls::<SwapVolume>(), [] as [Value; 0]);

    swap(ADMIN, "2.85", &new).await.expect(202);
    let call = cloud.wait_for::<SwapVolume>(1).await.remove(0);
    let attachment = cloud.volumes.attachments(&new.id)[0].0;
    assert_eq!((&call["old_volume_id"], &call["new_volume_id"]), (&json!(old.id), &json!(new.id)));
    assert_eq!(call["new_attachment_id"], json!(attachment));
    assert_eq!((status(&cloud, &old), status(&cloud, &new)), ("detaching".to_owned(), "reserved".to_owned()));
    assert_eq!(actions(&cloud, uuid).await[0], "swap_volume");
}
