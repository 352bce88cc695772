//! Volumes: reserved, attached, detached, exchanged, failed, cut off, and with their instance through its life.

use kilonova_clients::ClientError;
use kilonova_clients::volume::{Volume, VolumeService as _};
use kilonova_objects::{BlockDeviceMapping, Instance, TaskState, VmState};
use kilonova_rpcapi::compute::ReserveBlockDeviceName;
use kilonova_virt::{DriverError, FakeOperation};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::conductor::{Event, Mishap};
use crate::support::{World, context};

fn of(instance: &Instance, volume: &Volume) -> ReserveBlockDeviceName {
    ReserveBlockDeviceName {
        instance: instance.clone(),
        device: None,
        volume_id: volume.id.clone(),
        disk_bus: None,
        device_type: None,
        tag: None,
        multiattach: volume.multiattach,
    }
}

async fn reserve(world: &World, asked: ReserveBlockDeviceName) -> Result<BlockDeviceMapping, String> {
    world.manager.reserve_block_device_name(&context(), asked).await.map_err(|error| error.to_string())
}

/// What the conductor does between the two messages.
async fn reserved(world: &World, instance: &Instance, volume: &Volume) -> BlockDeviceMapping {
    let bdm = reserve(world, of(instance, volume)).await.unwrap();
    let attachment = world.volumes.create_attachment(&context(), &volume.id, instance.uuid).await.unwrap();
    let mut rows = world.conductor.rows();
    let row = rows.volumes.iter_mut().find(|row| row.id == bdm.id).unwrap();
    row.attachment_id = Some(attachment.id);
    row.clone()
}

async fn attach(world: &World, instance: &Instance, bdm: BlockDeviceMapping) -> Result<(), String> {
    world.manager.attach_volume(&context(), instance.clone(), bdm).await.map_err(|error| error.to_string())
}

pub(crate) async fn attached(world: &World, instance: &Instance, volume: &Volume) -> BlockDeviceMapping {
    let bdm = reserved(world, instance, volume).await;
    attach(world, instance, bdm).await.unwrap();
    world.conductor.rows().volumes.last().unwrap().clone()
}

/// What the API does first, and the message to the host.
async fn detach(world: &World, instance: &Instance, volume: &Volume) -> Result<(), String> {
    world.volumes.begin_detaching(&context(), &volume.id).await.unwrap();
    let detached = world.manager.detach_volume(&context(), instance.clone(), &volume.id).await;
    detached.map_err(|error| error.to_string())
}

fn mappings(world: &World) -> Vec<BlockDeviceMapping> {
    world.conductor.rows().volumes.clone()
}

fn status(world: &World, volume: &Volume) -> String {
    world.volumes.volume(&volume.id).unwrap().status
}

/// The disks of the guest that are volumes.
pub(crate) fn disks(world: &World, instance: &Instance) -> Vec<(String, String)> {
    world.guest(instance).unwrap().volumes.into_iter().collect()
}

pub(crate) fn disk(device: &str, volume: &Volume) -> (String, String) {
    (device.to_owned(), volume.id.clone())
}

#[tokio::test]
async fn a_volume_is_attached_and_detached() {
    let world = World::new().await;
    let (instance, volume) = (world.active().await, world.volumes.add("p", 2));
    world.conductor.ended_events().await;
    world.conductor.rows().events.clear();
    let bdm = attached(&world, &instance, &volume).await;
    assert_eq!((bdm.device_name.as_deref(), bdm.volume_size), (Some("/dev/sdb"), Some(2)));
    let info: Value = serde_json::from_str(bdm.connection_info.as_deref().unwrap()).unwrap();
    assert_eq!((&info["serial"], &info["driver_volume_type"]), (&json!(volume.id), &json!("fake")));
    assert_eq!(disks(&world, &instance), [disk("/dev/sdb", &volume)]);
    let connector = json!({"ip": "127.0.0.1", "initiator": "fake", "host": "host1", "mountpoint": "/dev/sdb"});
    assert_eq!(world.volumes.connector(bdm.attachment_id.unwrap()), connector);
    assert_eq!(status(&world, &volume), "in-use");
    assert_eq!(world.volumes.attachments(&volume.id), [(bdm.attachment_id.unwrap(), instance.uuid, true)]);

    detach(&world, &instance, &volume).await.unwrap();
    assert_eq!((disks(&world, &instance), mappings(&world)), (vec![], vec![]));
    assert_eq!((status(&world, &volume), world.volumes.attachments(&volume.id)), ("available".to_owned(), vec![]));
    let event = |name: &str, end| Event { name: name.to_owned(), end };
    let (attach, detach) = ("compute_attach_volume", "compute_detach_volume");
    assert_eq!(
        world.conductor.ended_events().await,
        [event(attach, None), event(attach, Some(None)), event(detach, None), event(detach, Some(None))]
    );
    assert_eq!(world.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn names_are_not_given_twice_and_a_volume_is_not_reserved_twice() {
    let world = World::with(|config| config.max_disk_devices_to_attach = 3).await;
    let instance = world.active().await;
    let volumes: Vec<Volume> = (1..=3).map(|size| world.volumes.add("p", size)).collect();
    let first = reserve(&world, of(&instance, &volumes[0])).await.unwrap();
    assert_eq!((first.device_name.as_deref(), first.instance_uuid), (Some("/dev/sdb"), Some(instance.uuid)));
    let again = format!("Invalid volume: volume {} already attached", volumes[0].id);
    assert_eq!(reserve(&world, of(&instance, &volumes[0])).await.unwrap_err(), again);
    let in_use = ReserveBlockDeviceName { device: Some("/dev/vdb".to_owned()), ..of(&instance, &volumes[1]) };
    let message = "The supplied device path (/dev/vdb) is in use.";
    assert_eq!(reserve(&world, in_use).await.unwrap_err(), message);
    let invalid = ReserveBlockDeviceName { device: Some("vdb".to_owned()), ..of(&instance, &volumes[1]) };
    assert_eq!(reserve(&world, invalid).await.unwrap_err(), "The supplied device path (vdb) is invalid.");
    let named = ReserveBlockDeviceName {
        device: Some("/dev/sdf".to_owned()),
        tag: Some("t".to_owned()),
        ..of(&instance, &volumes[1])
    };
    let second = reserve(&world, named).await.unwrap();
    assert_eq!((second.device_name.as_deref(), second.tag.as_deref()), (Some("/dev/sdf"), Some("t")));
    let message = "The maximum allowed number of disk devices (3) to attach to a single instance has been exceeded.";
    assert_eq!(reserve(&world, of(&instance, &volumes[2])).await.unwrap_err(), message);
    let ids: Vec<i64> = mappings(&world).iter().map(|bdm| bdm.id).collect();
    assert_eq!(ids, [first.id, second.id]);
}

#[tokio::test]
async fn an_attach_that_fails_leaves_nothing() {
    let world = World::new().await;
    let (instance, volume) = (world.active().await, world.volumes.add("p", 1));
    let bdm = reserved(&world, &instance, &volume).await;
    world.driver.fake.fail_next(FakeOperation::AttachVolume, DriverError::Hypervisor("no".to_owned()));
    assert_eq!(attach(&world, &instance, bdm).await.unwrap_err(), "no");
    let bdm = reserved(&world, &instance, &volume).await;
    world.volumes.fail_next("update_attachment", ClientError::BadRequest("bad connector".to_owned()));
    let message = "Invalid input received: bad connector";
    assert_eq!(attach(&world, &instance, bdm).await.unwrap_err(), message);
    // The guest has it already.
    let bdm = reserved(&world, &instance, &volume).await;
    world.volumes.fail_next("complete_attachment", ClientError::unavailable("volume", "down"));
    assert_eq!(attach(&world, &instance, bdm).await.unwrap_err(), "volume failed: down");
    let bdm = reserved(&world, &instance, &volume).await;
    world.conductor.mishap(1, Mishap::Refuse, "BlockDeviceMapping.save");
    assert_eq!(attach(&world, &instance, bdm).await.unwrap_err(), "the database went away");

    assert_eq!((disks(&world, &instance), mappings(&world)), (vec![], vec![]));
    assert_eq!((status(&world, &volume), world.volumes.attachments(&volume.id)), ("available".to_owned(), vec![]));
    assert_eq!(world.faults(), ["no", message, "volume failed: down", "the database went away"]);
    assert_eq!(world.row(&instance).vm_state, VmState::Active);
}

#[tokio::test]
async fn a_volume_that_the_guest_keeps_stays_in_use() {
    let world = World::new().await;
    let (instance, volume) = (world.active().await, world.volumes.add("p", 1));
    let bdm = attached(&world, &instance, &volume).await;
    world.driver.fake.fail_next(FakeOperation::DetachVolume, DriverError::Hypervisor("busy".to_owned()));
    assert_eq!(detach(&world, &instance, &volume).await.unwrap_err(), "busy");
    assert_eq!((status(&world, &volume), mappings(&world)), ("in-use".to_owned(), vec![bdm]));
    assert_eq!(disks(&world, &instance), [disk("/dev/sdb", &volume)]);
    detach(&world, &instance, &volume).await.unwrap();

    let nobodys = world.manager.detach_volume(&context(), instance, &volume.id).await.unwrap_err();
    assert_eq!(nobodys.to_string(), format!("No volume Block Device Mapping with id {}.", volume.id));
}

#[tokio::test]
async fn several_instances_have_a_volume_that_allows_it() {
    let world = World::new().await;
    let (first, second) = (world.active().await, world.active().await);
    let volume = world.volumes.add_multiattach("p", 1);
    attached(&world, &first, &volume).await;
    let bdm = attached(&world, &second, &volume).await;
    let info: Value = serde_json::from_str(bdm.connection_info.as_deref().unwrap()).unwrap();
    assert_eq!(info["multiattach"], true);
    detach(&world, &first, &volume).await.unwrap();
    assert_eq!((status(&world, &volume), mappings(&world)), ("in-use".to_owned(), vec![bdm]));
    assert_eq!((disks(&world, &first), disks(&world, &second)), (vec![], vec![disk("/dev/sdb", &volume)]));
}

async fn swap(world: &World, instance: &Instance, old: &Volume, new: &Volume) -> Result<Uuid, String> {
    world.volumes.change(&old.id, |volume| volume.migration_status = Some("migrating".to_owned()));
    world.volumes.begin_detaching(&context(), &old.id).await.unwrap();
    let attachment = world.volumes.create_attachment(&context(), &new.id, instance.uuid).await.unwrap().id;
    let id = attachment.to_string();
    let swapped = world.manager.swap_volume(&context(), instance.clone(), &old.id, &new.id, Some(&id)).await;
    swapped.map(|()| attachment).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_volume_that_moves_is_exchanged_under_its_own_id() {
    let world = World::new().await;
    let (instance, old, new) = (world.active().await, world.volumes.add("p", 1), world.volumes.add("p", 3));
    let before = attached(&world, &instance, &old).await;
    let attachment = swap(&world, &instance, &old, &new).await.unwrap();
    let bdm = mappings(&world).pop().unwrap();
    assert_eq!((bdm.id, bdm.volume_id.as_ref(), bdm.attachment_id), (before.id, Some(&old.id), Some(attachment)));
    assert_eq!(bdm.volume_size, Some(3));
    let info: Value = serde_json::from_str(bdm.connection_info.as_deref().unwrap()).unwrap();
    assert_eq!((&info["serial"], &info["data"]["volume_id"]), (&json!(old.id), &json!(old.id)));
    assert_eq!(disks(&world, &instance), [disk("/dev/sdb", &new)]);
    assert_eq!(world.volumes.attachments(&old.id), [(attachment, instance.uuid, true)]);
    assert_eq!(world.volumes.volume(&new.id), None);
}

#[tokio::test]
async fn an_exchange_that_fails_changes_nothing() {
    let world = World::new().await;
    let (instance, old, new) = (world.active().await, world.volumes.add("p", 1), world.volumes.add("p", 1));
    let before = attached(&world, &instance, &old).await;
    world.driver.fake.fail_next(FakeOperation::SwapVolume, DriverError::Hypervisor("no".to_owned()));
    assert_eq!(swap(&world, &instance, &old, &new).await.unwrap_err(), "no");
    assert_eq!(mappings(&world), [before]);
    assert_eq!(disks(&world, &instance), [disk("/dev/sdb", &old)]);
    assert_eq!((status(&world, &old), status(&world, &new)), ("in-use".to_owned(), "available".to_owned()));
    assert_eq!(world.volumes.volume(&old.id).unwrap().migration_status.as_deref(), Some("error"));
}

#[tokio::test]
async fn a_deleted_instance_gives_its_volumes_back_and_takes_along_what_is_to_go_with_it() {
    let world = World::new().await;
    let instance = world.active().await;
    let (kept, gone) = (world.volumes.add("p", 1), world.volumes.add("p", 1));
    attached(&world, &instance, &kept).await;
    attached(&world, &instance, &gone).await;
    world.conductor.rows().volumes[1].delete_on_termination = true;
    let bdms = mappings(&world);
    // A volume service that fails does not keep an instance from going.
    world.volumes.fail_next("delete_attachment", ClientError::unavailable("volume", "down"));
    let instance = world.begin(&instance, TaskState::Deleting);
    world.manager.terminate_instance(&context(), instance.clone(), &bdms).await.unwrap();
    world.assert_nothing_left(&instance);
    assert_eq!((status(&world, &kept), world.volumes.volume(&gone.id)), ("in-use".to_owned(), None));
}

#[tokio::test]
async fn a_restart_finishes_what_was_cut_off() {
    let world = World::new().await;
    let instance = world.active().await;
    let [attaching, detaching, kept, lost, new] = [1, 2, 3, 4, 5].map(|size| world.volumes.add("p", size));
    attached(&world, &instance, &detaching).await;
    attached(&world, &instance, &kept).await;
    reserved(&world, &instance, &attaching).await;
    for volume in [&lost, &new] {
        reserve(&world, of(&instance, volume)).await.unwrap();
    }
    world.conductor.rows().volumes[3].created_at = kilonova_core::time::utcnow().checked_sub_days(chrono::Days::new(1));
    world.volumes.begin_detaching(&context(), &detaching.id).await.unwrap();

    world.manager.init_host(&context()).await.unwrap();
    let volumes: Vec<Option<String>> = mappings(&world).into_iter().map(|bdm| bdm.volume_id).collect();
    assert_eq!(volumes, [Some(kept.id.clone()), Some(attaching.id.clone()), Some(new.id.clone())]);
    assert_eq!(disks(&world, &instance), [disk("/dev/sdc", &kept), disk("/dev/sdd", &attaching)]);
    let statuses = [&attaching, &detaching, &kept].map(|volume| status(&world, volume));
    assert_eq!(statuses, ["in-use", "available", "in-use"]);
    assert_eq!(world.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn a_restart_does_not_take_an_exchange_for_a_detach() {
    let world = World::new().await;
    let (instance, volume) = (world.active().await, world.volumes.add("p", 1));
    let bdm = attached(&world, &instance, &volume).await;
    world.volumes.begin_detaching(&context(), &volume.id).await.unwrap();
    world.volumes.change(&volume.id, |volume| volume.migration_status = Some("migrating".to_owned()));
    world.manager.init_host(&context()).await.unwrap();
    assert_eq!((status(&world, &volume), mappings(&world)), ("in-use".to_owned(), vec![bdm]));
    assert_eq!(disks(&world, &instance), [disk("/dev/sdb", &volume)]);
}
