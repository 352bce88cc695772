//! What the agent tells of each operation, in both forms and in order; and that nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kilonova_clients::image::{ImageService as _, NewImage};
use kilonova_core::Config;
use kilonova_messaging::{Address, Consumer, MemoryTransport, MessagingError, Outgoing, Replies, Transport, envelope};
use kilonova_objects::{BlockDeviceMapping, BlockDeviceMappingList, Instance, TaskState, VmState, Wire as _};
use kilonova_rpcapi::compute::{RebuildInstance, RescueInstance, UnshelveInstance};
use kilonova_rpcapi::{Notifications, RpcMethod as _};
use kilonova_virt::{DriverError, FakeOperation, RebootKind};
use serde_json::{Value, json};

use crate::support::{BOUND, HOST, World, context};

/// Both forms in one queue, so that their order shows.
const BOTH: &str = "[notifications]\nnotification_format = both\nversioned_notifications_topics = n\n\
                    [oslo_messaging_notifications]\ndriver = messagingv2\ntopics = n\n";

fn notifications(config: &str, transport: Arc<dyn Transport>) -> Notifications {
    let config = Config::from_text(config).unwrap();
    Notifications::from_config(&config, transport, "nova-compute", HOST).unwrap()
}

/// A world, and who listens to it.
struct Told {
    world: World,
    listener: Box<dyn Consumer>,
    notifications: Notifications,
}

impl Told {
    async fn new(config: &str) -> Self {
        let transport = MemoryTransport::new();
        let queue = |priority: &str| {
            let (topic, priority) = ("n".to_owned(), priority.to_owned());
            Address::Notification { exchange: None, topic, priority }
        };
        let listener = transport.subscribe(&[queue("info"), queue("error")]).await.unwrap();
        let notifications = notifications(config, transport);
        let world = World::telling(notifications.clone()).await;
        Self { world, listener, notifications }
    }

    /// All that was told since the last look, in the order in which it happened.
    async fn messages(&mut self) -> Vec<Value> {
        assert!(self.notifications.flush(BOUND).await);
        let mut messages: Vec<Value> = Vec::new();
        // What was sent is there.
        while let Ok(delivery) = tokio::time::timeout(Duration::from_millis(20), self.listener.receive()).await {
            let delivery = delivery.unwrap();
            self.listener.ack(delivery.tag).await.unwrap();
            messages.push(envelope::unseal(&delivery.body).unwrap());
        }
        messages.sort_by_key(|message| message["timestamp"].as_str().unwrap().to_owned());
        messages
    }

    /// The event types since the last look, and the versioned payloads by event type.
    async fn events(&mut self) -> Events {
        let messages = self.messages().await;
        let types = messages.iter().map(|message| message["event_type"].as_str().unwrap().to_owned()).collect();
        Events { types, messages }
    }
}

struct Events {
    types: Vec<String>,
    messages: Vec<Value>,
}

impl Events {
    /// Each event first without, then with a version.
    fn assert_are(&self, expected: &[&str]) {
        let both = expected.iter().flat_map(|event| [format!("compute.instance.{event}"), format!("instance.{event}")]);
        assert_eq!(self.types, both.collect::<Vec<_>>());
    }

    fn of(&self, event_type: &str) -> &Value {
        self.messages.iter().find(|message| message["event_type"] == event_type).unwrap()
    }

    fn unversioned(&self, event: &str) -> &Value {
        &self.of(&format!("compute.instance.{event}"))["payload"]
    }

    fn versioned(&self, event: &str) -> &Value {
        &self.of(&format!("instance.{event}"))["payload"]["nova_object.data"]
    }
}

fn out_of_paper() -> DriverError {
    DriverError::Host("out of paper".to_owned())
}

fn fields(payload: &Value, names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| payload[name].clone()).collect()
}

#[tokio::test]
async fn a_build_is_told_from_its_start_to_its_end() {
    let mut told = Told::new(BOTH).await;
    let active = told.world.active().await;
    let events = told.events().await;
    events.assert_are(&["create.start", "create.end"]);
    let start = events.of("compute.instance.create.start");
    assert_eq!(fields(start, &["publisher_id", "priority"]), [json!("compute.host1"), json!("INFO")]);
    assert_eq!(fields(start, &["_context_request_id", "_context_user_id"]), [json!("req-1"), json!("u")]);
    assert_eq!(events.of("instance.create.end")["publisher_id"], json!("nova-compute:host1"));
    let states = ["host", "node", "state", "state_description", "launched_at"];
    let nothing = json!("");
    let start = fields(events.unversioned("create.start"), &states);
    assert_eq!(start, [json!(null), json!(null), json!("building"), nothing.clone(), nothing.clone()]);
    let end = fields(events.unversioned("create.end"), &states[..4]);
    assert_eq!(end, [json!(HOST), json!(HOST), json!("active"), nothing]);
    assert_eq!(events.unversioned("create.end")["message"], json!("Success"));
    let address = active.network_info().0[0].network.subnets[0].ips[0].address.clone();
    assert_eq!(events.unversioned("create.end")["fixed_ips"][0]["address"], json!(address));
    let shown = ["uuid", "state", "task_state", "power_state", "host", "instance_name", "block_devices", "fault"];
    let expected = [
        json!(active.uuid),
        json!("active"),
        json!(null),
        json!("running"),
        json!(HOST),
        json!(active.name()),
        json!([]),
        json!(null),
    ];
    assert_eq!(fields(events.versioned("create.end"), &shown), expected);
    assert_eq!(events.versioned("create.end")["ip_addresses"][0]["nova_object.data"]["address"], json!(address));
}

#[tokio::test]
async fn a_build_that_fails_is_told_with_its_error() {
    let mut told = Told::new(BOTH).await;
    let world = &told.world;
    world.driver.fake.fail_next(FakeOperation::Spawn, out_of_paper());
    let instance = world.create();
    world.manager.build_and_run_instance(&context(), world.message(&instance)).await.unwrap();
    assert_eq!(world.row(&instance).vm_state, VmState::Error);
    let events = told.events().await;
    events.assert_are(&["create.start", "create.error"]);
    assert_eq!(events.of("instance.create.error")["priority"], json!("ERROR"));
    let legacy = fields(events.unversioned("create.error"), &["host", "message", "code", "state"]);
    assert_eq!(legacy, [json!(null), json!("out of paper"), json!(500), json!("building")]);
    let fault = &events.versioned("create.error")["fault"];
    assert_eq!(fault["nova_object.name"], json!("ExceptionPayload"));
    let expected = json!({
        "module_name": "kilonova_compute::manager", "function_name": "_build_and_run_instance",
        "exception": "NovaException", "exception_message": "out of paper", "traceback": "out of paper",
    });
    assert_eq!(fault["nova_object.data"], expected);
}

#[tokio::test]
async fn a_build_that_is_not_this_hosts_is_not_told() {
    let mut told = Told::new(BOTH).await;
    let world = &told.world;
    let instance = world.create();
    let message = world.message(&instance);
    world.conductor.change(instance.uuid, |row| row.task_state = Some(TaskState::Deleting));
    world.manager.build_and_run_instance(&context(), message).await.unwrap();
    told.events().await.assert_are(&[]);
}

#[tokio::test]
async fn a_delete_is_told_with_the_shutdown_inside_it() {
    let mut told = Told::new(BOTH).await;
    let deleting = told.world.begin(&told.world.active().await, TaskState::Deleting);
    told.events().await;
    let volume = BlockDeviceMapping {
        volume_id: Some("v".to_owned()),
        device_name: Some("/dev/vdb".to_owned()),
        ..BlockDeviceMapping::default()
    };
    let disks = [BlockDeviceMapping::default(), volume];
    told.world.manager.terminate_instance(&context(), deleting, &disks).await.unwrap();
    let events = told.events().await;
    events.assert_are(&["delete.start", "shutdown.start", "shutdown.end", "delete.end"]);
    let shown = ["state", "task_state", "power_state"];
    let running = [json!("active"), json!("deleting"), json!("running")];
    for event in ["delete.start", "shutdown.start", "shutdown.end"] {
        assert_eq!(fields(events.versioned(event), &shown), running, "{event}");
        let ports = events.versioned(event)["ip_addresses"].as_array().unwrap().len();
        assert_eq!(ports, usize::from(event != "shutdown.end"), "{event}");
    }
    let end = events.versioned("delete.end");
    assert_eq!(fields(end, &shown), [json!("deleted"), json!(null), json!("pending")]);
    assert!(end["deleted_at"].is_string() && end["terminated_at"].is_string());
    assert_eq!(end["ip_addresses"], json!([]));
    assert_eq!(end["block_devices"][0]["nova_object.data"]["device_name"], json!("/dev/vdb"));
    assert_eq!(end["block_devices"].as_array().unwrap().len(), 1);
    assert_eq!(events.of("instance.delete.start")["_context_is_admin"], json!(false));
    assert_eq!(events.of("instance.shutdown.start")["_context_is_admin"], json!(true));
}

#[tokio::test]
async fn a_delete_that_fails_is_told_as_far_as_it_came() {
    let mut told = Told::new(BOTH).await;
    let deleting = told.world.begin(&told.world.active().await, TaskState::Deleting);
    told.events().await;
    told.world.driver.fake.fail_next(FakeOperation::Destroy, out_of_paper());
    told.world.manager.terminate_instance(&context(), deleting, &[]).await.unwrap_err();
    told.events().await.assert_are(&["delete.start", "shutdown.start"]);
}

#[tokio::test]
async fn stop_and_start_are_told_from_start_to_end() {
    let mut told = Told::new(BOTH).await;
    let stopping = told.world.begin(&told.world.active().await, TaskState::PoweringOff);
    told.events().await;
    told.world.manager.stop_instance(&context(), stopping.clone(), true).await.unwrap();
    let starting = told.world.begin(&stopping, TaskState::PoweringOn);
    told.world.manager.start_instance(&context(), starting).await.unwrap();
    let events = told.events().await;
    events.assert_are(&["power_off.start", "power_off.end", "power_on.start", "power_on.end"]);
    let shown = ["state", "task_state", "power_state"];
    let expected = [
        ("power_off.start", ["active", "powering-off", "running"]),
        ("power_off.end", ["stopped", "", "shutdown"]),
        ("power_on.start", ["stopped", "powering-on", "shutdown"]),
        ("power_on.end", ["active", "", "running"]),
    ];
    for (event, states) in expected {
        let states = states.map(|state| if state.is_empty() { Value::Null } else { json!(state) });
        assert_eq!(fields(events.versioned(event), &shown), states, "{event}");
        assert_eq!(events.versioned(event)["block_devices"], Value::Null, "{event}");
    }
}

#[tokio::test]
async fn a_reboot_is_told_with_its_disks() {
    for (kind, task, pending) in [
        (RebootKind::Soft, TaskState::Rebooting, "reboot_pending"),
        (RebootKind::Hard, TaskState::RebootingHard, "reboot_pending_hard"),
    ] {
        let mut told = Told::new(BOTH).await;
        let volume = BlockDeviceMapping { volume_id: Some("v".to_owned()), ..BlockDeviceMapping::default() };
        told.world.conductor.rows().disks = BlockDeviceMappingList::from(vec![volume]);
        let rebooting = told.world.begin(&told.world.active().await, task);
        told.events().await;
        told.world.manager.reboot_instance(&context(), rebooting, kind).await.unwrap();
        let events = told.events().await;
        events.assert_are(&["reboot.start", "reboot.end"]);
        assert_eq!(events.versioned("reboot.start")["task_state"], json!(pending));
        assert_eq!(events.versioned("reboot.end")["task_state"], Value::Null);
        assert_eq!(events.versioned("reboot.end")["block_devices"][0]["nova_object.data"]["volume_id"], json!("v"));
    }
}

/// Nova ends a reboot that failed as one that did not, if the guest runs.
#[tokio::test]
async fn a_reboot_that_fails_is_told_with_its_error() {
    for (is_running, expected) in
        [(true, &["reboot.start", "reboot.error", "reboot.end"][..]), (false, &["reboot.start", "reboot.error"][..])]
    {
        let mut told = Told::new(BOTH).await;
        let world = &told.world;
        let rebooting = world.begin(&world.active().await, TaskState::RebootingHard);
        world.hypervisor.change(rebooting.uuid, |guest| guest.is_running = is_running).unwrap();
        world.driver.fake.fail_next(FakeOperation::Reboot, out_of_paper());
        told.events().await;
        told.world.manager.reboot_instance(&context(), rebooting, RebootKind::Hard).await.unwrap_err();
        let events = told.events().await;
        events.assert_are(expected);
        let error = events.versioned("reboot.error");
        assert_eq!(error["task_state"], json!("reboot_started_hard"));
        assert_eq!(error["fault"]["nova_object.data"]["exception_message"], json!("out of paper"));
    }
}

#[tokio::test]
async fn pause_and_suspend_are_told_in_the_name_of_an_administrator_and_a_resume_with_its_disks() {
    let mut told = Told::new(BOTH).await;
    let active = told.world.active().await;
    let begin = |world: &World, task| world.begin(&active, task);
    told.events().await;
    let manager = told.world.manager.clone();
    manager.pause_instance(&context(), begin(&told.world, TaskState::Pausing)).await.unwrap();
    manager.unpause_instance(&context(), begin(&told.world, TaskState::Unpausing)).await.unwrap();
    manager.suspend_instance(&context(), begin(&told.world, TaskState::Suspending)).await.unwrap();
    manager.resume_instance(&context(), begin(&told.world, TaskState::Resuming)).await.unwrap();
    let events = told.events().await;
    let expected =
        ["pause", "unpause", "suspend", "resume"].map(|action| [format!("{action}.start"), format!("{action}.end")]);
    let expected: Vec<&str> = expected.iter().flatten().map(String::as_str).collect();
    events.assert_are(&expected);
    assert_eq!(events.of("compute.instance.pause.start")["_context_is_admin"], json!(true));
    let shown = ["state", "task_state", "power_state", "block_devices"];
    let states = |event| fields(events.versioned(event), &shown);
    assert_eq!(states("pause.start"), [json!("active"), json!("pausing"), json!("running"), Value::Null]);
    assert_eq!(states("pause.end"), [json!("paused"), Value::Null, json!("paused"), Value::Null]);
    assert_eq!(states("suspend.end")[..3], [json!("suspended"), Value::Null, json!("suspended")]);
    assert_eq!(states("resume.end"), [json!("active"), Value::Null, json!("running"), json!([])]);
}

#[tokio::test]
async fn a_rescue_is_told_with_its_image() {
    let mut told = Told::new(BOTH).await;
    let world = &told.world;
    let instance = world.begin(&world.active().await, TaskState::Rescuing);
    told.events().await;
    let message = RescueInstance {
        instance: instance.clone(),
        rescue_password: None,
        rescue_image_ref: Some(told.world.disk.id.to_string()),
        clean_shutdown: false,
    };
    told.world.manager.rescue_instance(&context(), message).await.unwrap();
    let unrescuing = told.world.begin(&instance, TaskState::Unrescuing);
    told.world.manager.unrescue_instance(&context(), unrescuing).await.unwrap();
    let events = told.events().await;
    events.assert_are(&["rescue.start", "rescue.end", "unrescue.start", "unrescue.end"]);
    for event in ["rescue.start", "rescue.end"] {
        assert_eq!(events.unversioned(event)["rescue_image_name"], json!("disk"));
        assert_eq!(events.versioned(event)["rescue_image_ref"], json!(told.world.disk.id));
        let payload = &events.of(&format!("instance.{event}"))["payload"];
        let object = fields(payload, &["nova_object.name", "nova_object.version"]);
        assert_eq!(object, [json!("InstanceActionRescuePayload"), json!("1.4")]);
    }
    assert_eq!(events.versioned("rescue.end")["state"], json!("rescued"));
    assert!(events.versioned("unrescue.end").get("rescue_image_ref").is_none());
}

/// Nova ends a soft delete also if it failed.
#[tokio::test]
async fn soft_delete_and_restore_are_told_and_so_is_a_crash_dump() {
    let mut told = Told::new(BOTH).await;
    let active = told.world.active().await;
    told.events().await;
    let manager = told.world.manager.clone();
    told.world.driver.fake.fail_next(FakeOperation::PowerOff, out_of_paper());
    let deleting = told.world.begin(&active, TaskState::SoftDeleting);
    manager.soft_delete_instance(&context(), deleting).await.unwrap_err();
    told.events().await.assert_are(&["soft_delete.start", "soft_delete.end"]);
    let deleting = told.world.begin(&active, TaskState::SoftDeleting);
    manager.soft_delete_instance(&context(), deleting).await.unwrap();
    let restoring = told.world.begin(&active, TaskState::Restoring);
    manager.restore_instance(&context(), restoring).await.unwrap();
    manager.trigger_crash_dump(&context(), told.world.row(&active)).await.unwrap();
    let password = told.world.begin(&active, TaskState::UpdatingPassword);
    manager.set_admin_password(&context(), password, "secret").await.unwrap();
    let events = told.events().await;
    events.assert_are(&[
        "soft_delete.start",
        "soft_delete.end",
        "restore.start",
        "restore.end",
        "trigger_crash_dump.start",
        "trigger_crash_dump.end",
    ]);
    assert_eq!(events.versioned("soft_delete.end")["state"], json!("soft-delete"));
    assert_eq!(events.versioned("trigger_crash_dump.end")["task_state"], Value::Null);
}

#[tokio::test]
async fn an_action_that_is_not_wanted_any_more_is_not_told() {
    let mut told = Told::new(BOTH).await;
    let active = told.world.active().await;
    told.events().await;
    told.world.manager.stop_instance(&context(), active, true).await.unwrap();
    told.events().await.assert_are(&[]);
}

/// One that asks for disks asks the conductor, and only where somebody is told of them.
#[tokio::test]
async fn telling_adds_no_round_trip_to_a_build_and_disks_are_asked_for_only_where_they_are_shown() {
    async fn asked(config: &str) -> (Vec<String>, usize) {
        let told = Told::new(config).await;
        let world = &told.world;
        let message = world.message(&world.create());
        let instance = message.instance.clone();
        world.conductor.rows().asked.clear();
        world.manager.build_and_run_instance(&context(), message).await.unwrap();
        world.conductor.ended_events().await;
        let build = std::mem::take(&mut world.conductor.rows().asked);
        let stopping = world.begin(&world.row(&instance), TaskState::PoweringOff);
        world.manager.stop_instance(&context(), stopping, true).await.unwrap();
        let asked = &world.conductor.rows().asked;
        (build, asked.iter().filter(|method| method.starts_with("BlockDeviceMappingList")).count())
    }
    let (quiet, without) = asked("").await;
    let (told, with) = asked(&format!("{BOTH}[notifications]\nbdms_in_notifications = true\n")).await;
    assert_eq!((quiet.len(), without), (5, 0));
    assert_eq!((told, with), (quiet, 1));
    assert_eq!(asked(BOTH).await.1, 0);
}

#[tokio::test]
async fn nothing_is_told_by_default() {
    let mut told = Told::new("[notifications]\nnotification_format = both\nversioned_notifications_topics = n\n").await;
    told.world.active().await;
    assert_eq!(told.messages().await, Vec::<Value>::new());
}

/// A broker that is gone, or takes a message and never answers.
#[derive(Default)]
struct Gone {
    hangs: bool,
    asked: AtomicUsize,
    replies: Replies,
}

#[async_trait]
impl Transport for Gone {
    async fn send(&self, _: &Address, _: Outgoing) -> Result<(), MessagingError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Err(MessagingError::Transport("nobody listens".into()))
    }

    async fn subscribe(&self, _: &[Address]) -> Result<Box<dyn Consumer>, MessagingError> {
        Err(MessagingError::Closed)
    }

    fn replies(&self) -> &Replies {
        &self.replies
    }

    async fn close(&self) {}
}

#[tokio::test]
async fn a_broker_that_is_gone_fails_and_delays_no_operation() {
    for hangs in [false, true] {
        let broker = Arc::new(Gone { hangs, ..Gone::default() });
        let world = World::telling(notifications(BOTH, broker.clone())).await;
        let active = tokio::time::timeout(BOUND, world.active()).await.expect("a build waits");
        let deleting: Instance = world.begin(&active, TaskState::Deleting);
        world.manager.terminate_instance(&context(), deleting.clone(), &[]).await.unwrap();
        assert!(world.row(&deleting).deleted);
        world.until("a try", || broker.asked.load(Ordering::Relaxed) > 0).await;
        assert_eq!(world.faults(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_audit_tells_of_every_instance_once_in_a_period() {
    let mut told = Told::new(BOTH).await;
    let instance = told.world.active().await;
    told.events().await;
    for _ in 0..2 {
        told.world.manager.instance_usage_audit(&context()).await.unwrap();
    }
    let events = told.events().await;
    events.assert_are(&["exists"]);
    let run = told.world.conductor.rows().task_logs[0].clone();
    assert_eq!((run.state.as_str(), run.host.as_str(), run.task_items, run.errors), ("DONE", HOST, 1, 0));
    assert!(run.message.starts_with("Instance usage audit ran for host host1, 1 instances in "), "{}", run.message);
    let (begin, end) = (run.period_beginning, run.period_ending);
    let old = events.unversioned("exists");
    assert_eq!(old["instance_id"], json!(instance.uuid));
    let printed = |at: chrono::DateTime<chrono::Utc>| json!(at.format("%Y-%m-%d %H:%M:%S").to_string());
    assert_eq!((&old["audit_period_beginning"], &old["audit_period_ending"]), (&printed(begin), &printed(end)));
    let new = events.versioned("exists");
    assert_eq!(new["uuid"], json!(instance.uuid));
    let period = &new["audit_period"]["nova_object.data"];
    assert_eq!(period["audit_period_beginning"], json!(kilonova_core::time::isotime(begin)));
    assert_eq!(period["audit_period_ending"], json!(kilonova_core::time::isotime(end)));
}

/// An image without bytes.
async fn queued(world: &World) -> uuid::Uuid {
    let image = NewImage { name: "i".to_owned(), ..NewImage::default() };
    world.image.create(&context(), &image).await.unwrap().id
}

#[tokio::test]
async fn a_snapshot_is_told_with_its_image() {
    let mut told = Told::new(BOTH).await;
    let instance = told.world.begin(&told.world.active().await, TaskState::ImageSnapshotPending);
    let image_id = queued(&told.world).await;
    told.events().await;
    told.world.manager.snapshot_instance(&context(), instance, image_id).await.unwrap();
    let events = told.events().await;
    events.assert_are(&["snapshot.start", "snapshot.end"]);
    assert_eq!(events.of("instance.snapshot.start")["payload"]["nova_object.name"], "InstanceActionSnapshotPayload");
    for (event, task) in [("snapshot.start", json!("image_snapshot")), ("snapshot.end", json!(null))] {
        let expected = [task, json!(image_id)];
        assert_eq!(fields(events.versioned(event), &["task_state", "snapshot_image_id"]), expected);
    }
}

#[tokio::test]
async fn shelving_and_unshelving_are_told_step_by_step() {
    let mut told = Told::new(BOTH).await;
    let instance = told.world.begin(&told.world.active().await, TaskState::Shelving);
    let image_id = queued(&told.world).await;
    told.events().await;
    told.world.manager.shelve_instance(&context(), instance.clone(), image_id, true).await.unwrap();
    let events = told.events().await;
    events.assert_are(&["shelve.start", "shelve.end", "shelve_offload.start", "shelve_offload.end"]);
    let shown = ["state", "task_state", "power_state", "host"];
    for (event, states) in [
        ("shelve.start", [json!("active"), json!("shelving"), json!("running"), json!(HOST)]),
        ("shelve.end", [json!("shelved"), json!("shelving_offloading"), json!("shutdown"), json!(HOST)]),
        ("shelve_offload.start", [json!("shelved"), json!("shelving_offloading"), json!("shutdown"), json!(HOST)]),
        ("shelve_offload.end", [json!("shelved_offloaded"), json!(null), json!("shutdown"), json!(null)]),
    ] {
        assert_eq!(fields(events.versioned(event), &shown), states, "{event}");
    }
    let world = &told.world;
    world.placement.consumers.lock().unwrap().insert(instance.uuid, world.claim());
    let instance = world.begin(&instance, TaskState::Unshelving);
    let message = UnshelveInstance {
        instance,
        image: Some(json!({"id": image_id})),
        filter_properties: json!({}),
        node: None,
        request_spec: None,
        accel_uuids: vec![],
    };
    world.manager.unshelve_instance(&context(), message).await.unwrap();
    let events = told.events().await;
    events.assert_are(&["unshelve.start", "unshelve.end"]);
    let states = [json!("active"), json!(null), json!("running"), json!(HOST)];
    assert_eq!(fields(events.versioned("unshelve.end"), &shown), states);
}

#[tokio::test]
async fn a_rebuild_that_fails_is_told_with_its_error() {
    let mut told = Told::new(BOTH).await;
    let instance = told.world.begin(&told.world.active().await, TaskState::Rebuilding);
    told.events().await;
    let message = |instance: &Instance| {
        let args = json!({
            "instance": instance.to_wire(), "image_ref": told.world.disk.id, "recreate": false,
            "preserve_ephemeral": false, "limits": {}, "accel_uuids": [], "reimage_boot_volume": false,
        });
        RebuildInstance::from_args(args.as_object().unwrap()).unwrap()
    };
    told.world.driver.fake.fail_next(FakeOperation::Spawn, out_of_paper());
    let (first, again) = (message(&instance), message(&instance));
    told.world.manager.rebuild_instance(&context(), first).await.unwrap_err();
    let events = told.events().await;
    events.assert_are(&["rebuild.start", "rebuild.error"]);
    let payload = &events.of("instance.rebuild.error")["payload"];
    assert_eq!(payload["nova_object.name"], "InstanceActionRebuildPayload");
    assert_eq!(events.unversioned("rebuild.start")["image_name"], "disk");
    let fault = &events.versioned("rebuild.error")["fault"]["nova_object.data"];
    assert_eq!(
        fields(fault, &["function_name", "exception_message"]),
        [json!("rebuild_instance"), json!("out of paper")]
    );
    told.world.begin(&instance, TaskState::Rebuilding);
    told.world.manager.rebuild_instance(&context(), again).await.unwrap();
    told.events().await.assert_are(&["rebuild.start", "rebuild.end"]);
}
