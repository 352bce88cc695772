//! What the conductor tells: of what it does itself, and of the rows that it writes for others.

use kilonova_core::Config;
use kilonova_messaging::{Address, Consumer, envelope};
use kilonova_objects::Tracked;
use kilonova_rpcapi::objects::Expected;

use super::*;

/// Both forms in one queue, so that their order shows.
const BOTH: &str = "[notifications]\nnotification_format = both\nversioned_notifications_topics = n\n\
                    [oslo_messaging_notifications]\ndriver = messagingv2\ntopics = n\n";
const FOLLOW: &str = "[notifications]\nnotify_on_state_change = vm_and_task_state\n";

/// A world, and who listens to it.
struct Told {
    world: World,
    listener: Box<dyn Consumer>,
}

impl Told {
    async fn new(config: &str) -> Self {
        let transport = MemoryTransport::new();
        let queue = |priority: &str| {
            let (topic, priority) = ("n".to_owned(), priority.to_owned());
            Address::Notification { exchange: None, topic, priority }
        };
        let listener = transport.subscribe(&[queue("info"), queue("error")]).await.expect("a listener");
        let config = Config::from_text(config).expect("a configuration");
        let told = Notifications::from_config(&config, transport, "nova-conductor", HOST).expect("notifications");
        Self { world: World::telling(told).await, listener }
    }

    async fn next(&mut self) -> Value {
        let delivery = tokio::time::timeout(BOUND, self.listener.receive()).await.expect("a notification comes");
        let delivery = delivery.expect("a notification");
        self.listener.ack(delivery.tag).await.expect("it is ours");
        envelope::unseal(&delivery.body).expect("an envelope")
    }

    /// The next one in both forms, which are of this publisher and type.
    async fn next_as(&mut self, unversioned: [&str; 2], versioned: [&str; 2]) -> (Value, Value) {
        let (first, second) = (self.next().await, self.next().await);
        for (message, expected) in [(&first, unversioned), (&second, versioned)] {
            let is = ["publisher_id", "event_type"].map(|name| message[name].as_str().unwrap_or_default());
            assert_eq!(is, expected);
        }
        (first["payload"].clone(), second["payload"]["nova_object.data"].clone())
    }

    async fn assert_silent(&mut self) {
        let more = tokio::time::timeout(Duration::from_millis(20), self.listener.receive()).await;
        assert!(more.is_err(), "{more:?}");
    }
}

#[tokio::test]
async fn a_build_without_a_valid_host_is_told_as_an_error_of_the_task() {
    let mut told = Told::new(BOTH).await;
    lock(&told.world.asked).refuses = true;
    let (instance, spec) = told.world.create().await;
    told.world.nudge_build(&instance, &spec).await;
    let publishers = (
        ["compute_task.host1", "compute_task.build_instances"],
        ["nova-conductor:host1", "compute_task.build_instances.error"],
    );
    let (legacy, payload) = told.next_as(publishers.0, publishers.1).await;
    assert_eq!(legacy["instance_id"], json!(instance.uuid));
    assert_eq!((&legacy["state"], &legacy["method"]), (&json!("error"), &json!("build_instances")));
    assert_eq!(payload["instance_uuid"], json!(instance.uuid));
    let reason = &payload["reason"]["nova_object.data"];
    assert_eq!(reason["exception"], json!("NoValidHost"));
    let sentence = "No valid host was found. There are not enough hosts available.";
    assert_eq!(reason["exception_message"], json!(sentence));
    let spec = &payload["request_spec"]["nova_object.data"];
    assert_eq!(spec["flavor"]["nova_object.data"]["flavorid"], json!("1"));
    told.assert_silent().await;
}

#[tokio::test]
async fn a_delete_that_is_done_here_is_told() {
    let mut told = Told::new(BOTH).await;
    let (instance, _) = told.world.create().await;
    told.world.begin_delete(&instance, Duration::ZERO).await;
    told.world.crash_and_start_again().await;
    let start = told
        .next_as(["compute.host1", "compute.instance.delete.start"], ["nova-conductor:host1", "instance.delete.start"])
        .await;
    assert_eq!((&start.0["state"], &start.1["task_state"]), (&json!("building"), &json!("deleting")));
    let (legacy, payload) = told
        .next_as(["compute.host1", "compute.instance.delete.end"], ["nova-conductor:host1", "instance.delete.end"])
        .await;
    assert_eq!((&legacy["state"], &payload["state"]), (&json!("deleted"), &json!("deleted")));
    assert!(payload["deleted_at"].is_string());
    told.assert_silent().await;
}

#[tokio::test]
async fn every_change_of_a_row_is_told_where_changes_are_followed() {
    let mut told = Told::new(&format!("{BOTH}{FOLLOW}")).await;
    let (instance, spec) = told.world.create().await;
    told.world.nudge_build(&instance, &spec).await;
    told.world.until_builds(1).await;
    let update = ["compute.instance.update", "instance.update"];
    let (_, made) = told.next_as(["conductor.host1", update[0]], ["nova-conductor:host1", update[1]]).await;
    assert_eq!((&made["host"], &made["state"]), (&Value::Null, &json!("building")));
    let mut built = Tracked::new(told.world.instance(&instance).await);
    (built.vm_state, built.task_state) = (VmState::Active, None);
    told.world.conductor.instance_save(&context(), &mut built, Expected::ANY).await.expect("a save");
    let (_, active) = told.next_as(["compute.host1", update[0]], ["nova-compute:host1", update[1]]).await;
    let expected =
        json!({"old_state": "building", "state": "active", "old_task_state": "scheduling", "new_task_state": null});
    assert_eq!(active["state_update"]["nova_object.data"], expected);
    assert_eq!(active["action_initiator_user"], json!("u"));
    // A sign of life.
    let expected = Expected::tasks(&[None]);
    told.world.conductor.instance_save(&context(), &mut built, expected).await.expect("a save");
    told.assert_silent().await;
}

#[tokio::test]
async fn changes_that_nobody_follows_are_not_told() {
    let mut told = Told::new(BOTH).await;
    let (instance, spec) = told.world.create().await;
    told.world.nudge_build(&instance, &spec).await;
    told.world.until_builds(1).await;
    let mut built = Tracked::new(told.world.instance(&instance).await);
    built.vm_state = VmState::Active;
    told.world.conductor.instance_save(&context(), &mut built, Expected::ANY).await.expect("a save");
    told.assert_silent().await;
}
