//! Snapshots, backups, rebuilds, and shelving: done, failed, overtaken, asked for twice, and cut short.

use std::collections::BTreeMap;

use kilonova_clients::image::{ImageService as _, NewImage};
use kilonova_core::RequestContext;
use kilonova_objects::{Instance, PowerState, TaskState, VmState};
use kilonova_rpcapi::compute::{RebuildInstance, UnshelveInstance};
use kilonova_virt::{DriverError, FakeOperation};
use serde_json::json;
use uuid::Uuid;

use crate::support::conductor::Event;
use crate::support::{HOST, OTHER_HOST, World, context};
use crate::volumes::{attached, disk, disks};

type States = (VmState, Option<TaskState>, PowerState);

const ACTIVE: States = (VmState::Active, None, PowerState::Running);

fn out_of_paper() -> DriverError {
    DriverError::Hypervisor("out of paper".to_owned())
}

impl World {
    /// What the API makes before it asks for an image.
    async fn queued_image(&self, instance: &Instance, more: &[(&str, &str)]) -> Uuid {
        let mut properties = BTreeMap::from([("instance_uuid".to_owned(), instance.uuid.to_string())]);
        properties.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let image = NewImage { name: "i".to_owned(), properties, ..NewImage::default() };
        self.image.create(&context(), &image).await.unwrap().id
    }

    fn states_of(&self, instance: &Instance) -> States {
        let row = self.row(instance);
        (row.vm_state, row.task_state, row.power_state)
    }

    /// The tasks that were written since the last look, in order.
    fn tasks(&self) -> Vec<String> {
        let saves = std::mem::take(&mut self.conductor.rows().saves);
        let task = |value: &serde_json::Value| value.as_str().unwrap_or("none").to_owned();
        saves.iter().filter_map(|save| save.get("task_state")).map(task).collect()
    }

    fn image_status(&self, image_id: Uuid) -> Option<String> {
        self.image.get(image_id).map(|image| image.status)
    }

    async fn shelve(&self, instance: &Instance) -> (Instance, Uuid) {
        let image_id = self.queued_image(instance, &[]).await;
        let shelving = self.begin(instance, TaskState::Shelving);
        self.manager.shelve_instance(&context(), shelving, image_id, true).await.unwrap();
        (self.row(instance), image_id)
    }

    /// What scheduler and conductor have written when the agent gets an unshelve.
    fn place_again(&self, instance: &Instance) -> Instance {
        self.placement.consumers.lock().unwrap().insert(instance.uuid, self.claim());
        self.conductor.change(instance.uuid, |row| {
            row.task_state = Some(TaskState::Unshelving);
            row.host = Some(HOST.to_owned());
            row.node = Some(HOST.to_owned());
        })
    }

    fn rebuild_message(&self, instance: &Instance) -> RebuildInstance {
        RebuildInstance {
            instance: instance.clone(),
            new_pass: Some("new".to_owned()),
            injected_files: Some(vec![json!(["/a", "YQ=="])]),
            image_ref: Some(self.disk.id.to_string()),
            orig_image_ref: Some(self.disk.id.to_string()),
            orig_sys_metadata: json!(null),
            bdms: None,
            recreate: false,
            on_shared_storage: Some(false),
            preserve_ephemeral: false,
            migration: None,
            scheduled_node: Some(HOST.to_owned()),
            limits: json!({}),
            request_spec: None,
            accel_uuids: vec![],
            reimage_boot_volume: Some(false),
            target_state: None,
        }
    }
}

fn unshelve_message(instance: &Instance, image_id: Uuid) -> UnshelveInstance {
    UnshelveInstance {
        instance: instance.clone(),
        image: Some(json!({"id": image_id})),
        filter_properties: json!({}),
        node: Some(HOST.to_owned()),
        request_spec: None,
        accel_uuids: vec![],
    }
}

#[tokio::test]
async fn a_snapshot_goes_through_its_tasks_and_fills_the_image() {
    let world = World::new().await;
    let instance = world.active().await;
    let image_id = world.queued_image(&instance, &[("os_distro", "debian")]).await;
    let instance = world.begin(&instance, TaskState::ImageSnapshotPending);
    world.conductor.ended_events().await;
    world.conductor.rows().events.clear();
    world.tasks();
    world.manager.snapshot_instance(&context(), instance.clone(), image_id).await.unwrap();
    assert_eq!(world.tasks(), ["image_snapshot", "image_pending_upload", "image_uploading", "none"]);
    assert_eq!(world.states_of(&instance), ACTIVE);
    let image = world.image.get(image_id).unwrap();
    assert_eq!((image.status.as_str(), image.disk_format.as_deref()), ("active", Some("raw")));
    assert_eq!(image.container_format.as_deref(), Some("bare"));
    assert_eq!(image.properties["os_distro"], "debian");
    assert_eq!(image.properties["owner_id"], "p");
    assert_eq!(image.size, Some(format!("the disk of {} after boot 1\n", instance.name()).len() as i64));
    let event = |end| Event { name: "compute_snapshot_instance".to_owned(), end };
    assert_eq!(world.conductor.ended_events().await, [event(None), event(Some(None))]);
}

#[tokio::test]
async fn a_snapshot_that_fails_leaves_no_image_and_the_server_as_it_was() {
    let world = World::new().await;
    let instance = world.active().await;
    for fails in [
        |world: &World| world.driver.fake.fail_next(FakeOperation::Snapshot, out_of_paper()),
        |world: &World| world.image.fail_uploads(1),
        |world: &World| world.driver.fake.fail_next(FakeOperation::Snapshot, DriverError::NotSupported("A snapshot")),
    ] {
        let image_id = world.queued_image(&instance, &[]).await;
        let busy = world.begin(&instance, TaskState::ImageSnapshotPending);
        fails(&world);
        world.manager.snapshot_instance(&context(), busy, image_id).await.unwrap_err();
        assert_eq!(world.states_of(&instance), ACTIVE);
        assert_eq!(world.image_status(image_id), None);
    }
    let expected = ["out of paper", "image failed: told to fail", "A snapshot is not supported by this driver"];
    assert_eq!(world.faults(), expected);
}

#[tokio::test]
async fn a_snapshot_whose_image_was_deleted_meanwhile_is_no_failure() {
    let world = World::new().await;
    let instance = world.begin(&world.active().await, TaskState::ImageSnapshotPending);
    world.manager.snapshot_instance(&context(), instance.clone(), Uuid::new_v4()).await.unwrap();
    assert_eq!(world.states_of(&instance), ACTIVE);
    assert_eq!(world.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn a_snapshot_that_a_delete_overtook_leaves_neither_image_nor_fault() {
    let world = World::new().await;
    let instance = world.active().await;
    let image_id = world.queued_image(&instance, &[]).await;
    let asked = world.begin(&instance, TaskState::ImageSnapshotPending);
    world.begin(&instance, TaskState::Deleting);
    world.manager.snapshot_instance(&context(), asked, image_id).await.unwrap();
    assert_eq!(world.row(&instance).task_state, Some(TaskState::Deleting));
    assert_eq!(world.image_status(image_id), None);
    assert_eq!(world.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn a_snapshot_asked_for_twice_is_made_once_and_its_image_stays() {
    let world = World::new().await;
    let instance = world.active().await;
    let image_id = world.queued_image(&instance, &[]).await;
    let asked = world.begin(&instance, TaskState::ImageSnapshotPending);
    for _ in 0..2 {
        world.manager.snapshot_instance(&context(), asked.clone(), image_id).await.unwrap();
    }
    assert_eq!(world.image_status(image_id).as_deref(), Some("active"));
    assert_eq!(world.states_of(&instance), ACTIVE);
}

#[tokio::test]
async fn of_the_backups_of_a_type_the_newest_stay() {
    let world = World::new().await;
    let instance = world.active().await;
    let mut made = Vec::new();
    for (backup_type, rotation) in [("daily", 2), ("weekly", 2), ("daily", 2), ("daily", 2), ("weekly", 0)] {
        let more = [("image_type", "backup"), ("backup_type", backup_type)];
        let image_id = world.queued_image(&instance, &more).await;
        let busy = world.begin(&instance, TaskState::ImageBackup);
        let kind = backup_type.to_owned();
        world.manager.backup_instance(&context(), busy, image_id, kind, rotation).await.unwrap();
        made.push(image_id);
    }
    let stays: Vec<bool> = made.iter().map(|id| world.image.get(*id).is_some()).collect();
    assert_eq!(stays, [false, false, true, true, false]);
    assert_eq!(world.states_of(&instance), ACTIVE);
}

#[tokio::test]
async fn a_rebuild_makes_the_guest_anew_from_the_image() {
    let world = World::new().await;
    let instance = world.begin(&world.active().await, TaskState::Rebuilding);
    world.hypervisor.change(instance.uuid, |guest| guest.boots = 7).unwrap();
    world.tasks();
    world.manager.rebuild_instance(&context(), world.rebuild_message(&instance)).await.unwrap();
    assert_eq!(world.tasks(), ["rebuild_block_device_mapping", "rebuild_spawning", "none"]);
    assert_eq!(world.states_of(&instance), ACTIVE);
    let guest = world.guest(&instance).unwrap();
    assert_eq!((guest.boots, guest.image_id), (1, Some(world.disk.id)));
    let injected = world.driver.injected.lock().unwrap().clone().unwrap();
    assert_eq!(injected.admin_password.as_deref(), Some("new"));
    assert_eq!(injected.files, [("/a".to_owned(), b"a".to_vec())]);
    assert!(world.allocations(&instance).is_some());
}

#[tokio::test]
async fn a_stopped_server_is_stopped_after_its_rebuild_too() {
    let world = World::new().await;
    let instance = world.begin(&world.stopped().await, TaskState::Rebuilding);
    world.manager.rebuild_instance(&context(), world.rebuild_message(&instance)).await.unwrap();
    assert_eq!(world.states_of(&instance), (VmState::Stopped, None, PowerState::Shutdown));
    assert!(!world.guest(&instance).unwrap().is_running);
}

#[tokio::test]
async fn a_rebuild_that_fails_is_in_error_and_can_be_tried_again() {
    let world = World::new().await;
    let instance = world.begin(&world.active().await, TaskState::Rebuilding);
    world.driver.fake.fail_next(FakeOperation::Spawn, out_of_paper());
    world.manager.rebuild_instance(&context(), world.rebuild_message(&instance)).await.unwrap_err();
    assert_eq!(world.states_of(&instance), (VmState::Error, None, PowerState::NoState));
    assert_eq!(world.faults(), ["out of paper"]);
    let again = world.begin(&instance, TaskState::Rebuilding);
    world.manager.rebuild_instance(&context(), world.rebuild_message(&again)).await.unwrap();
    assert_eq!(world.states_of(&instance), ACTIVE);
}

#[tokio::test]
async fn a_rebuild_without_its_image_destroys_nothing() {
    let world = World::new().await;
    let instance = world.begin(&world.active().await, TaskState::Rebuilding);
    let message = RebuildInstance { image_ref: Some(Uuid::nil().to_string()), ..world.rebuild_message(&instance) };
    world.manager.rebuild_instance(&context(), message).await.unwrap_err();
    assert_eq!(world.states_of(&instance), ACTIVE);
    assert_eq!(world.guest(&instance).unwrap().boots, 1);
    assert_eq!(world.faults().len(), 1);
}

#[tokio::test]
async fn ephemeral_disks_are_not_preserved_and_that_is_said() {
    let world = World::new().await;
    let instance = world.begin(&world.active().await, TaskState::Rebuilding);
    let message = RebuildInstance { preserve_ephemeral: true, ..world.rebuild_message(&instance) };
    world.manager.rebuild_instance(&context(), message).await.unwrap_err();
    assert_eq!(world.states_of(&instance).0, VmState::Error);
    assert_eq!(world.faults(), ["The current driver does not support preserving ephemeral partitions."]);
    assert_eq!(world.guest(&instance).unwrap().boots, 1);
}

#[tokio::test]
async fn a_shelved_server_leaves_its_host_at_once_and_comes_back_from_its_image() {
    let world = World::new().await;
    let active = world.active().await;
    world.tasks();
    let (shelved, image_id) = world.shelve(&active).await;
    let tasks = ["shelving_image_pending_upload", "shelving_image_uploading", "shelving_offloading", "none"];
    assert_eq!(world.tasks(), tasks);
    assert_eq!((shelved.vm_state, shelved.task_state), (VmState::ShelvedOffloaded, None));
    assert_eq!(shelved.power_state, PowerState::Shutdown);
    assert_eq!(
        (shelved.host.as_deref(), shelved.node.as_deref(), shelved.availability_zone.as_deref()),
        (None, None, None)
    );
    assert_eq!(shelved.system_metadata["shelved_image_id"], Some(image_id.to_string()));
    assert_eq!(shelved.system_metadata["shelved_host"].as_deref(), Some(HOST));
    assert_eq!((world.guest(&active), world.allocations(&active)), (None, None));
    assert_eq!(world.network.fake.host_of(active.uuid).as_deref(), Some(""));
    assert_eq!(world.network.fake.ports().len(), 1, "the port stays the server's");
    assert_eq!(world.image_status(image_id).as_deref(), Some("active"));

    let placed = world.place_again(&shelved);
    world.manager.unshelve_instance(&context(), unshelve_message(&placed, image_id)).await.unwrap();
    let row = world.row(&active);
    assert_eq!(world.states_of(&active), ACTIVE);
    assert_eq!((row.host.as_deref(), row.compute_id), (Some(HOST), active.compute_id));
    assert!(row.system_metadata.keys().all(|key| !key.starts_with("shelved_")), "{:?}", row.system_metadata);
    assert_eq!(row.network_info(), active.network_info());
    assert_eq!(world.guest(&active).unwrap().image_id, Some(image_id));
    assert_eq!(world.network.fake.host_of(active.uuid).as_deref(), Some(HOST));
    assert_eq!(world.image_status(image_id), None, "the image is of no use any more");
}

#[tokio::test]
async fn volumes_stay_a_servers_while_its_guest_is_made_anew_or_is_nowhere() {
    let world = World::new().await;
    let (instance, volume) = (world.active().await, world.volumes.add("p", 1));
    let first = attached(&world, &instance, &volume).await.attachment_id.unwrap();
    let rebuilding = world.begin(&instance, TaskState::Rebuilding);
    world.manager.rebuild_instance(&context(), world.rebuild_message(&rebuilding)).await.unwrap();
    assert_eq!(disks(&world, &instance), [disk("/dev/sdb", &volume)]);
    assert_eq!(world.volumes.attachments(&volume.id), [(first, instance.uuid, true)]);

    let (shelved, image_id) = world.shelve(&instance).await;
    assert_eq!(shelved.vm_state, VmState::ShelvedOffloaded);
    let (second, of, is_complete) = world.volumes.attachments(&volume.id)[0];
    assert_eq!((second == first, of, is_complete), (false, instance.uuid, false));
    assert_eq!(world.volumes.connector(second), json!(null));

    let placed = world.place_again(&instance);
    world.manager.unshelve_instance(&context(), unshelve_message(&placed, image_id)).await.unwrap();
    assert_eq!(disks(&world, &instance), [disk("/dev/sdb", &volume)]);
    assert_eq!(world.volumes.attachments(&volume.id), [(second, instance.uuid, true)]);
    assert_eq!(world.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn a_shelved_server_that_may_stay_keeps_its_disk_and_is_started_again() {
    let world = World::with(|config| config.shelved_offload_time_s = -1).await;
    let active = world.active().await;
    let (shelved, image_id) = world.shelve(&active).await;
    assert_eq!(
        (shelved.vm_state, shelved.task_state, shelved.power_state),
        (VmState::Shelved, None, PowerState::Shutdown)
    );
    assert_eq!(shelved.host.as_deref(), Some(HOST));
    assert!(!world.guest(&active).unwrap().is_running);
    assert!(world.allocations(&active).is_some());
    let starting = world.begin(&shelved, TaskState::PoweringOn);
    world.manager.start_instance(&context(), starting).await.unwrap();
    assert_eq!(world.states_of(&active), ACTIVE);
    assert_eq!(world.guest(&active).unwrap().boots, 2);
    assert!(!world.row(&active).system_metadata.contains_key("shelved_image_id"));
    assert_eq!(world.image_status(image_id), None);
}

#[tokio::test]
async fn a_shelved_server_is_offloaded_by_hand_or_when_its_time_is_over() {
    let world = World::with(|config| config.shelved_offload_time_s = 60).await;
    let (shelved, _) = world.shelve(&world.active().await).await;
    let offloading = world.begin(&shelved, TaskState::ShelvingOffloading);
    world.manager.shelve_offload_instance(&context(), offloading, true).await.unwrap();
    assert_eq!(world.row(&shelved).vm_state, VmState::ShelvedOffloaded);

    let (old, _) = world.shelve(&world.active().await).await;
    let (young, _) = world.shelve(&world.active().await).await;
    world.conductor.change(old.uuid, |row| {
        row.system_metadata.insert("shelved_at".to_owned(), Some("2026-01-01T00:00:00.000000".to_owned()));
    });
    world.manager.poll_shelved_instances(&context()).await.unwrap();
    assert_eq!((world.row(&old).vm_state, world.row(&old).host), (VmState::ShelvedOffloaded, None));
    assert_eq!(world.row(&young).vm_state, VmState::Shelved);
}

#[tokio::test]
async fn a_server_that_cannot_be_shelved_runs_on() {
    let world = World::new().await;
    let active = world.active().await;
    let image_id = world.queued_image(&active, &[]).await;
    let shelving = world.begin(&active, TaskState::Shelving);
    world.driver.fake.fail_next(FakeOperation::Snapshot, DriverError::NotSupported("A snapshot"));
    world.manager.shelve_instance(&context(), shelving, image_id, true).await.unwrap_err();
    assert_eq!(world.states_of(&active), ACTIVE);
    assert!(world.guest(&active).unwrap().is_running);
    assert_eq!(world.image_status(image_id), None);
    assert_eq!(world.faults(), ["A snapshot is not supported by this driver"]);
}

#[tokio::test]
async fn an_unshelve_that_fails_leaves_the_server_shelved_and_nothing_on_the_host() {
    let world = World::new().await;
    let (shelved, image_id) = world.shelve(&world.active().await).await;
    let placed = world.place_again(&shelved);
    world.driver.fake.fail_next(FakeOperation::Spawn, out_of_paper());
    world.manager.unshelve_instance(&context(), unshelve_message(&placed, image_id)).await.unwrap_err();
    let row = world.row(&shelved);
    assert_eq!((row.vm_state, row.task_state, row.host), (VmState::ShelvedOffloaded, None, None));
    assert_eq!(row.system_metadata["shelved_image_id"], Some(image_id.to_string()));
    assert_eq!((world.guest(&shelved), world.allocations(&shelved)), (None, None));
    assert_eq!(world.image_status(image_id).as_deref(), Some("active"));
    assert_eq!(world.faults(), ["out of paper"]);
}

#[tokio::test]
async fn an_unshelve_that_is_another_hosts_or_claimed_nothing_makes_no_guest() {
    let world = World::new().await;
    let (shelved, image_id) = world.shelve(&world.active().await).await;
    let placed = world.place_again(&shelved);
    world.conductor.change(shelved.uuid, |row| row.host = Some(OTHER_HOST.to_owned()));
    world.manager.unshelve_instance(&context(), unshelve_message(&placed, image_id)).await.unwrap();
    assert_eq!((world.guest(&shelved), world.row(&shelved).task_state), (None, Some(TaskState::Unshelving)));
    assert!(world.allocations(&shelved).is_some());

    let placed = world.place_again(&shelved);
    world.placement.consumers.lock().unwrap().remove(&shelved.uuid);
    world.manager.unshelve_instance(&context(), unshelve_message(&placed, image_id)).await.unwrap_err();
    assert_eq!((world.guest(&shelved), world.row(&shelved).vm_state), (None, VmState::ShelvedOffloaded));
}

#[tokio::test]
async fn a_restart_drops_images_that_were_not_finished_and_keeps_the_others() {
    use TaskState as T;
    for task in [T::ImageSnapshotPending, T::ImageSnapshot, T::ImageBackup, T::ImagePendingUpload, T::ImageUploading] {
        let world = World::new().await;
        let active = world.active().await;
        let cut = world.queued_image(&active, &[]).await;
        let complete = world.image.add("complete", "/nowhere");
        let of_another = world.queued_image(&Instance { uuid: Uuid::new_v4(), ..active.clone() }, &[]).await;
        world.begin(&active, task);
        world.manager.init_host(&RequestContext::admin()).await.unwrap();
        assert_eq!(world.states_of(&active), ACTIVE, "{task}");
        let stays = [cut, complete.id, of_another].map(|id| world.image.get(id).is_some());
        assert_eq!(stays, [false, true, true], "{task}");
    }
}

#[tokio::test]
async fn a_restart_runs_a_guest_again_that_was_being_shelved() {
    let world = World::new().await;
    let active = world.begin(&world.active().await, TaskState::ShelvingImagePendingUpload);
    world.hypervisor.change(active.uuid, |guest| guest.is_running = false).unwrap();
    world.manager.init_host(&RequestContext::admin()).await.unwrap();
    assert_eq!(world.states_of(&active), ACTIVE);
    assert!(world.guest(&active).unwrap().is_running);
}

#[tokio::test]
async fn a_rebuild_that_a_restart_cut_short_is_in_error() {
    use TaskState as T;
    for task in [T::Rebuilding, T::RebuildBlockDeviceMapping, T::RebuildSpawning] {
        let world = World::new().await;
        let active = world.begin(&world.active().await, task);
        world.manager.init_host(&context()).await.unwrap();
        assert_eq!(world.states_of(&active).0, VmState::Error, "{task}");
        assert_eq!(world.states_of(&active).1, None, "{task}");
        assert_eq!(world.faults(), ["The rebuild was interrupted."]);
    }
}

#[tokio::test]
async fn a_restart_finishes_what_leaves_the_host_and_what_comes_back() {
    let world = World::with(|config| config.shelved_offload_time_s = -1).await;
    let (shelved, _) = world.shelve(&world.active().await).await;
    world.begin(&shelved, TaskState::ShelvingOffloading);
    world.manager.init_host(&context()).await.unwrap();
    let offloaded = world.row(&shelved);
    assert_eq!((offloaded.vm_state, offloaded.task_state), (VmState::ShelvedOffloaded, None));
    assert_eq!((offloaded.host, world.guest(&shelved)), (None, None));
    // Once more, as if the row had not been written.
    world.conductor.change(shelved.uuid, |row| {
        (row.vm_state, row.task_state) = (VmState::Shelved, Some(TaskState::ShelvingOffloading));
        row.host = Some(HOST.to_owned());
    });
    world.manager.init_host(&context()).await.unwrap();
    assert_eq!(world.row(&shelved).vm_state, VmState::ShelvedOffloaded);
    for task in [TaskState::Unshelving, TaskState::Spawning] {
        let (shelved, _) = world.shelve(&world.active().await).await;
        let offloading = world.begin(&shelved, TaskState::ShelvingOffloading);
        world.manager.shelve_offload_instance(&context(), offloading, false).await.unwrap();
        world.place_again(&shelved);
        world.begin(&shelved, task);
        world.manager.init_host(&RequestContext::admin()).await.unwrap();
        assert_eq!(world.states_of(&shelved), ACTIVE, "{task}");
        assert!(world.guest(&shelved).unwrap().is_running);
    }
}

#[tokio::test]
async fn an_action_whose_message_was_lost_is_repaired_after_two_passes() {
    let world = World::new().await;
    let active = world.active().await;
    let image_id = world.queued_image(&active, &[]).await;
    world.begin(&active, TaskState::ImageSnapshotPending);
    world.manager.repair_stale_tasks(&RequestContext::admin()).await.unwrap();
    assert_eq!(world.row(&active).task_state, Some(TaskState::ImageSnapshotPending));
    world.manager.repair_stale_tasks(&RequestContext::admin()).await.unwrap();
    assert_eq!(world.states_of(&active), ACTIVE);
    assert_eq!(world.image_status(image_id), None);
}
