//! The unshelve workflow, and rebuilds on their way through the conductor.

use std::time::Duration;

use kilonova_db::instances::{self, Save, StartAction};
use kilonova_db::workflows::{self, NewWorkflow, WorkflowKind};
use kilonova_db::{actions, request_specs};
use kilonova_objects::{Instance, TaskState, VmState};
use kilonova_rpcapi::conductor::{RebuildInstance, UnshelveInstance};
use kilonova_rpcapi::workflow::{STEP_UNSHELVE, UnshelvePayload};
use serde_json::{Map, Value, json};

use super::{HOST, LEASE, OTHER_HOST, World, context, lock};

impl World {
    pub(super) async fn save(&self, instance: &Instance, changes: Value) {
        let changes: Map<String, Value> = changes.as_object().cloned().expect("an object");
        let (uuid, changes) = (instance.uuid, &changes);
        let save = Save { uuid, changes, expected_vm_state: None, expected_task_state: None };
        instances::save(&self.db, save).await.expect("a save");
    }

    /// A server that was shelved, with its image; and without its host if `is_offloaded`.
    async fn shelved(&self, is_offloaded: bool) -> Instance {
        let (instance, _) = self.create().await;
        let image = self.image.add("shelved", "/nowhere");
        let host = (!is_offloaded).then_some(HOST);
        let changes = json!({
            "vm_state": if is_offloaded { "shelved_offloaded" } else { "shelved" },
            "task_state": null, "host": host, "node": host, "launched_at": "2026-11-23T07:00:00Z",
            "system_metadata": {"shelved_image_id": image.id},
        });
        self.save(&instance, changes).await;
        self.instance(&instance).await
    }

    /// What the API writes; without the message.
    async fn begin_unshelve(&self, instance: &Instance, host: Option<&str>, lease: Duration) -> Instance {
        let payload = UnshelvePayload { context: context(), host: host.map(str::to_owned) };
        let workflow = NewWorkflow {
            kind: WorkflowKind::Unshelve,
            instance_uuid: instance.uuid,
            step: STEP_UNSHELVE.to_owned(),
            payload: payload.to_value(),
            lease_owner: format!("{HOST}/api/1"),
            lease,
        };
        let start = StartAction {
            uuid: instance.uuid,
            action: "unshelve",
            task_state: TaskState::Unshelving,
            expected_vm_states: None,
            expected_task_states: None,
            request_id: "req-unshelve".to_owned(),
            user_id: "u".to_owned(),
            project_id: "p".to_owned(),
            workflow: Some(workflow),
        };
        instances::start_action(&self.db, start).await.expect("an action begins")
    }

    async fn nudge_unshelve(&self, instance: &Instance) {
        let context = kilonova_core::RequestContext { request_id: Some("req-unshelve".to_owned()), ..context() };
        let message = UnshelveInstance { instance: instance.clone(), request_spec: None };
        self.conductor.cast(&context, message).await.expect("a cast");
    }

    async fn until_unshelves(&self, count: usize) {
        self.until("the unshelve", async || lock(&self.asked).unshelves.len() >= count).await;
    }

    async fn until_over(&self, instance: &Instance) {
        self.until("the workflow's end", async || {
            workflows::get(&self.db, WorkflowKind::Unshelve, instance.uuid)
                .await
                .expect("the database answers")
                .is_none()
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_without_a_host_is_placed_claimed_and_sent_to_its_host() {
    let world = World::new().await;
    let instance = world.shelved(true).await;
    let mut spec = request_specs::get(&world.db, instance.uuid).await.unwrap();
    spec.force_hosts = Some(vec!["old".to_owned()]);
    request_specs::save(&world.db, &spec).await.unwrap();
    let asked = world.begin_unshelve(&instance, Some(OTHER_HOST), LEASE).await;
    world.nudge_unshelve(&asked).await;
    world.until_unshelves(1).await;
    let message = lock(&world.asked).unshelves[0].clone();
    assert_eq!((message.instance.host.as_deref(), message.node.as_deref()), (Some(HOST), Some(HOST)));
    let image_id = instance.system_metadata["shelved_image_id"].clone().unwrap();
    assert_eq!(message.image.unwrap()["id"], json!(image_id));
    let row = world.instance(&instance).await;
    assert_eq!((row.vm_state, row.task_state), (VmState::ShelvedOffloaded, Some(TaskState::Unshelving)));
    assert_eq!(row.host.as_deref(), Some(HOST));
    assert_eq!(world.allocations(&instance).await.len(), 1);
    let spec = lock(&world.asked).spec.clone().unwrap();
    assert_eq!((spec.force_hosts, spec.num_instances), (None, 1));
    assert_eq!(spec.requested_destination.unwrap().host.as_deref(), Some(OTHER_HOST));
    let action = actions::get(&world.db, instance.uuid, "req-unshelve").await.unwrap();
    let events = actions::events(&world.db, action.id).await.unwrap();
    let names: Vec<_> = events.iter().filter_map(|event| event.event.as_deref()).collect();
    assert_eq!(names, ["schedule_instances", "get_image_info"]);
    assert!(world.workflow(WorkflowKind::Unshelve, &instance).await.is_some());
    // The host has begun.
    world.save(&instance, json!({"task_state": "spawning"})).await;
    assert_eq!(world.workflow(WorkflowKind::Unshelve, &instance).await, None);
}

#[tokio::test]
async fn a_server_that_still_has_its_host_is_started_there() {
    let world = World::new().await;
    let instance = world.shelved(false).await;
    let asked = world.begin_unshelve(&instance, None, LEASE).await;
    world.nudge_unshelve(&asked).await;
    world.until("the start", async || !lock(&world.asked).starts.is_empty()).await;
    world.until_over(&instance).await;
    assert_eq!(lock(&world.asked).starts[0].task_state, Some(TaskState::PoweringOn));
    assert_eq!(lock(&world.asked).selects.len(), 0);
    assert_eq!(world.instance(&instance).await.task_state, Some(TaskState::PoweringOn));
}

#[tokio::test]
async fn an_unshelve_whose_message_was_lost_is_done_by_the_pass_and_once() {
    let world = World::new().await;
    let instance = world.shelved(true).await;
    let asked = world.begin_unshelve(&instance, None, LEASE).await;
    world.crash_and_start_again().await;
    world.until_unshelves(1).await;
    world.nudge_unshelve(&asked).await;
    // Another one, asked for afterwards, shows that the late message was handled.
    let next = world.shelved(true).await;
    let next = world.begin_unshelve(&next, None, LEASE).await;
    world.nudge_unshelve(&next).await;
    world.until_unshelves(2).await;
    let of = lock(&world.asked).unshelves.iter().map(|message| message.instance.uuid).collect::<Vec<_>>();
    assert_eq!(of, [instance.uuid, next.uuid]);
}

#[tokio::test]
async fn a_crash_after_the_host_was_written_asks_that_host() {
    let world = World::new().await;
    let instance = world.shelved(true).await;
    world.begin_unshelve(&instance, None, LEASE).await;
    world.save(&instance, json!({"host": OTHER_HOST, "node": OTHER_HOST})).await;
    world.crash_and_start_again().await;
    world.until_unshelves(1).await;
    assert_eq!(lock(&world.asked).selects.len(), 0, "the scheduler is not asked again");
    assert_eq!(lock(&world.asked).unshelves[0].node.as_deref(), Some(OTHER_HOST));
}

#[tokio::test]
async fn without_a_valid_host_the_server_stays_shelved() {
    let world = World::new().await;
    lock(&world.asked).refuses = true;
    let instance = world.shelved(true).await;
    let asked = world.begin_unshelve(&instance, None, LEASE).await;
    world.nudge_unshelve(&asked).await;
    world.until_over(&instance).await;
    let row = world.instance(&instance).await;
    assert_eq!((row.vm_state, row.task_state, row.host), (VmState::ShelvedOffloaded, None, None));
    let action = actions::get(&world.db, instance.uuid, "req-unshelve").await.unwrap();
    assert_eq!(action.message.as_deref(), Some("Error"));
}

#[tokio::test]
async fn a_server_whose_image_is_gone_is_in_error_and_says_so() {
    let world = World::new().await;
    let instance = world.shelved(true).await;
    let image_id = instance.system_metadata["shelved_image_id"].clone().unwrap();
    world.image.remove(image_id.parse().unwrap());
    let asked = world.begin_unshelve(&instance, None, LEASE).await;
    world.nudge_unshelve(&asked).await;
    world.until_over(&instance).await;
    let row = world.instance(&instance).await;
    assert_eq!((row.vm_state, row.task_state), (VmState::Error, None));
    let message = row.fault.unwrap().message.unwrap();
    assert_eq!(message, format!("Unshelve attempted but the image {image_id} cannot be found."));
    assert_eq!(lock(&world.asked).selects.len(), 0);
}

#[tokio::test]
async fn an_unshelve_that_a_delete_overtook_keeps_no_claim() {
    let world = World::new().await;
    let instance = world.shelved(true).await;
    let asked = world.begin_unshelve(&instance, None, LEASE).await;
    world.begin_delete(&instance, LEASE).await;
    world.nudge_unshelve(&asked).await;
    world.until_over(&instance).await;
    assert_eq!(world.allocations(&instance).await.len(), 0);
    assert_eq!(lock(&world.asked).unshelves.len(), 0);
}

/// A running server that the API has marked as being rebuilt from the image `new`.
async fn rebuilding(world: &World) -> (Instance, RebuildInstance) {
    let (instance, spec) = world.create().await;
    world
        .save(
            &instance,
            json!({
                "vm_state": "active", "task_state": "rebuilding", "host": HOST, "node": HOST, "image_ref": "new",
                "system_metadata": {"image_base_image_ref": "new"},
            }),
        )
        .await;
    let instance = world.instance(&instance).await;
    let message = RebuildInstance {
        instance: instance.clone(),
        new_pass: Some("pw".to_owned()),
        injected_files: Some(vec![]),
        image_ref: Some("new".to_owned()),
        orig_image_ref: Some("old".to_owned()),
        orig_sys_metadata: json!({"image_base_image_ref": "old"}),
        bdms: None,
        recreate: false,
        on_shared_storage: Some(false),
        preserve_ephemeral: false,
        host: None,
        request_spec: Some(spec),
        reimage_boot_volume: false,
        target_state: None,
    };
    (instance, message)
}

#[tokio::test]
async fn a_rebuild_from_the_same_image_asks_its_host_and_no_scheduler() {
    let world = World::new().await;
    let (_, message) = rebuilding(&world).await;
    let message = RebuildInstance { host: Some(HOST.to_owned()), ..message };
    world.conductor.cast(&context(), message).await.unwrap();
    world.until("the rebuild", async || !lock(&world.asked).rebuilds.is_empty()).await;
    assert_eq!(lock(&world.asked).selects.len(), 0);
    assert_eq!(lock(&world.asked).rebuilds[0].new_pass.as_deref(), Some("pw"));
}

#[tokio::test]
async fn a_rebuild_from_another_image_asks_the_scheduler_first() {
    let world = World::new().await;
    let (instance, message) = rebuilding(&world).await;
    world.conductor.cast(&context(), message.clone()).await.unwrap();
    world.until("the rebuild", async || !lock(&world.asked).rebuilds.is_empty()).await;
    assert_eq!(lock(&world.asked).selects, [vec![instance.uuid]]);
    assert_eq!(lock(&world.asked).rebuilds[0].scheduled_node.as_deref(), Some(HOST));
}

#[tokio::test]
async fn a_host_that_may_not_have_the_new_image_leaves_the_server_in_error_with_the_old_one() {
    let world = World::new().await;
    lock(&world.asked).refuses = true;
    let (instance, message) = rebuilding(&world).await;
    world.conductor.cast(&context(), message).await.unwrap();
    world.until("the error", async || world.instance(&instance).await.vm_state == VmState::Error).await;
    let row = world.instance(&instance).await;
    assert_eq!((row.task_state, row.image_ref.as_deref(), row.host.as_deref()), (None, Some("old"), Some(HOST)));
    assert_eq!(row.system_metadata["image_base_image_ref"].as_deref(), Some("old"));
    world.until("the fault", async || world.instance(&instance).await.fault.is_some()).await;
    let message = world.instance(&instance).await.fault.unwrap().message.unwrap();
    assert!(message.starts_with("No valid host was found."), "{message}");
    assert_eq!(lock(&world.asked).rebuilds.len(), 0);
}
