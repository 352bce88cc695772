//! Volumes on their way through the conductor.

use kilonova_clients::ClientError;
use kilonova_clients::volume::{Volume, VolumeService as _};
use kilonova_db::instances::{self, Save};
use kilonova_db::workflows::WorkflowKind;
use kilonova_db::{actions, block_devices};
use kilonova_objects::{BlockDeviceMapping, Instance};
use kilonova_rpcapi::conductor::AttachVolume;
use serde_json::{Map, Value, json};

use super::{HOST, LEASE, World, context, lock};

async fn active(world: &World) -> Instance {
    let (instance, _) = world.create().await;
    let changes = json!({"vm_state": "active", "task_state": null, "host": HOST, "node": HOST});
    let changes: Map<String, Value> = changes.as_object().cloned().expect("an object");
    let save = Save { uuid: instance.uuid, changes: &changes, expected_vm_state: None, expected_task_state: None };
    instances::save(&world.db, save).await.expect("a save");
    world.instance(&instance).await
}

fn of(instance: &Instance, volume: &Volume) -> AttachVolume {
    AttachVolume {
        instance: instance.clone(),
        volume: volume.to_dict(),
        device: Some("/dev/vdb".to_owned()),
        disk_bus: None,
        device_type: None,
        tag: None,
        supports_multiattach: false,
        delete_on_termination: true,
    }
}

async fn mappings(world: &World, volume: &Volume) -> Vec<BlockDeviceMapping> {
    block_devices::of_volume(&world.db, &volume.id).await.expect("mappings")
}

async fn attach(world: &World, asked: AttachVolume) -> Result<Option<String>, String> {
    world.conductor.long_call(&context(), asked).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_volume_is_reserved_and_handed_to_the_host() {
    let world = World::new().await;
    let (instance, volume) = (active(&world).await, world.volumes.add("p", 1));
    assert_eq!(attach(&world, of(&instance, &volume)).await, Ok(Some("/dev/vdb".to_owned())));
    let mapping = mappings(&world, &volume).await.remove(0);
    let attachments = world.volumes.attachments(&volume.id);
    assert_eq!(attachments, [(mapping.attachment_id.expect("an attachment"), instance.uuid, false)]);
    assert!(mapping.delete_on_termination);
    world.until("the host to be told", async || !lock(&world.asked).attaches.is_empty()).await;
    let told = lock(&world.asked).attaches.remove(0);
    assert_eq!((told.id, told.attachment_id, told.delete_on_termination), (mapping.id, mapping.attachment_id, true));
    let recorded = actions::list(&world.db, instance.uuid).await.expect("actions");
    assert!(recorded.iter().any(|action| action.action.as_deref() == Some("attach_volume")));
}

#[tokio::test]
async fn what_cannot_be_reserved_leaves_nothing() {
    let world = World::new().await;
    let instance = active(&world).await;
    let (volume, shared) = (world.volumes.add("p", 1), world.volumes.add_multiattach("p", 1));
    world.volumes.fail_next("create_attachment", ClientError::BadRequest("taken".to_owned()));
    assert_eq!(attach(&world, of(&instance, &volume)).await.unwrap_err(), "Invalid input received: taken");
    let message = "Multiattach volumes are only supported starting with compute API version 2.60.";
    assert_eq!(attach(&world, of(&instance, &shared)).await.unwrap_err(), message);
    let message = "The supplied device path (/dev/vda) is in use.";
    let taken = AttachVolume { device: Some("/dev/vda".to_owned()), ..of(&instance, &volume) };
    assert_eq!(attach(&world, taken).await.unwrap_err(), message);
    for volume in [&volume, &shared] {
        assert_eq!(mappings(&world, volume).await, []);
        assert_eq!(world.volumes.attachments(&volume.id), []);
    }
    assert_eq!(lock(&world.asked).attaches, []);
}

#[tokio::test]
async fn a_server_that_goes_without_a_host_gives_its_volumes_back() {
    let world = World::new().await;
    let (instance, _) = world.create().await;
    let (kept, gone) = (world.volumes.add("p", 1), world.volumes.add("p", 1));
    for volume in [&kept, &gone] {
        let attachment =
            world.volumes.create_attachment(&context(), &volume.id, instance.uuid).await.expect("reserved");
        let mapping = BlockDeviceMapping {
            instance_uuid: Some(instance.uuid),
            volume_id: Some(volume.id.clone()),
            attachment_id: Some(attachment.id),
            delete_on_termination: volume.id == gone.id,
            ..BlockDeviceMapping::default()
        };
        block_devices::save(&world.db, &mapping).await.expect("a mapping");
    }
    world.begin_delete(&instance, LEASE).await;
    world.crash_and_start_again().await;
    world.until("the delete", async || world.workflow(WorkflowKind::Delete, &instance).await.is_none()).await;
    let kept = world.volumes.volume(&kept.id).expect("it is kept");
    assert_eq!((kept.status.as_str(), world.volumes.volume(&gone.id)), ("available", None));
}
