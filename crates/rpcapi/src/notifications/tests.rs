//! What is sent, against what Nova's own code sent for the same objects (`tests/data/notifications.json`; what is not
//! the same twice, such as dates of sending and tracebacks, is left out there).

use std::sync::Arc;
use std::time::Duration;

use kilonova_messaging::{Address, Consumer, MemoryTransport};
use kilonova_objects::{BlockDeviceMappingList, TaskState, Wire as _};
use serde_json::json;

use super::*;

const BOUND: Duration = Duration::from_secs(10);
const BOTH: &str = "[notifications]\nnotification_format = both\nnotify_on_state_change = vm_and_task_state\n\
                    [oslo_messaging_notifications]\ndriver = messagingv2\n[glance]\napi_servers = http://image:9292\n";

struct Golden(Value);

impl Golden {
    fn read() -> Self {
        Self(serde_json::from_str(include_str!("../../tests/data/notifications.json")).unwrap())
    }

    fn instance(&self) -> Instance {
        Instance::from_wire(&self.0["instance"]).unwrap()
    }

    fn bdms(&self) -> BlockDeviceMappingList {
        BlockDeviceMappingList::from_wire(&self.0["bdms"]).unwrap()
    }

    fn spec(&self) -> RequestSpec {
        RequestSpec::from_wire(&self.0["request_spec"]).unwrap()
    }

    fn context(&self) -> RequestContext {
        RequestContext::from_map(self.0["context"].as_object().unwrap().clone()).unwrap()
    }

    fn sent(&self, name: &str) -> Value {
        let sent = self.0["sent"][name].clone();
        assert!(sent.is_object(), "{name}");
        sent
    }
}

fn fault(class: &str, message: &str, code: i64) -> Fault {
    let (class, message, traceback) = (class.to_owned(), message.to_owned(), "trace".to_owned());
    Fault { class, message, code, module: "module", function: "function", traceback }
}

struct Bus {
    transport: Arc<MemoryTransport>,
    notifications: Notifications,
}

impl Bus {
    fn new(config: &str, binary: &str) -> Self {
        let transport = MemoryTransport::new();
        let config = Config::from_text(config).unwrap();
        let notifications = Notifications::from_config(&config, transport.clone(), binary, "h1").unwrap();
        Self { transport, notifications }
    }

    async fn listener(&self, topic: &str, priority: &str) -> Box<dyn Consumer> {
        let (topic, priority) = (topic.to_owned(), priority.to_owned());
        self.transport.subscribe(&[Address::Notification { exchange: None, topic, priority }]).await.unwrap()
    }

    /// The next notification of a topic, without what is different every time, as the golden file has it.
    async fn next(&self, topic: &str, priority: &str) -> Value {
        let mut listener = self.listener(topic, priority).await;
        let delivery = tokio::time::timeout(BOUND, listener.receive()).await.expect("no notification").unwrap();
        listener.ack(delivery.tag).await.unwrap();
        listener.cancel().await;
        let message: Value = kilonova_messaging::envelope::unseal(&delivery.body).unwrap();
        let (mut fields, mut context) = (Map::new(), Map::new());
        for (name, value) in message.as_object().unwrap() {
            match name.strip_prefix("_context_") {
                Some("timestamp") => {}
                Some(name) => drop(context.insert(name.to_owned(), value.clone())),
                None if ["message_id", "timestamp", "_unique_id"].contains(&name.as_str()) => {}
                None => drop(fields.insert(name.clone(), value.clone())),
            }
        }
        fields.insert("context".to_owned(), context.into());
        fields.into()
    }

    async fn assert_sent(&self, golden: &Golden, name: &str, priority: &str) {
        assert_eq!(
            self.next("notifications", priority).await,
            golden.sent(&format!("{name}.unversioned")),
            "{name} unversioned"
        );
        assert_eq!(
            self.next("versioned_notifications", priority).await,
            golden.sent(&format!("{name}.versioned")),
            "{name} versioned"
        );
    }

    async fn assert_silent(&self) {
        assert!(self.notifications.flush(BOUND).await);
        for topic in ["notifications", "versioned_notifications"] {
            for priority in ["info", "error"] {
                let mut listener = self.listener(topic, priority).await;
                let more = tokio::time::timeout(Duration::from_millis(1), listener.receive()).await;
                assert!(more.is_err(), "{topic}.{priority}: {more:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_of_an_instance_is_what_nova_sends() {
    let (golden, bus) = (Golden::read(), Bus::new(BOTH, "nova-compute"));
    let (instance, context, bdms) = (golden.instance(), golden.context(), golden.bdms());
    let disks = Some(bdms.objects.as_slice());
    let create = InstanceAction::Create;
    let fault = fault("ImageUnacceptable", "Image i is unacceptable: it's too big", 400);
    let events = [
        InstanceEvent::start(create).with_disks(disks).with_usage("image_name", json!("cirros")),
        InstanceEvent::end(create).with_disks(disks).with_fixed_ips().with_usage("message", json!("Success")),
        InstanceEvent::error(create, &fault).with_disks(disks),
        InstanceEvent::start(InstanceAction::PowerOff),
    ];
    for event in &events {
        bus.notifications.instance(&context, &instance, event);
    }
    bus.assert_sent(&golden, "create.start", "info").await;
    bus.assert_sent(&golden, "create.end", "info").await;
    bus.assert_sent(&golden, "create.error", "error").await;
    bus.assert_sent(&golden, "power_off.start", "info").await;
    bus.assert_silent().await;
}

#[tokio::test(start_paused = true)]
async fn what_an_instance_does_not_have_is_shown_as_nova_does() {
    let (golden, bus) = (Golden::read(), Bus::new(BOTH, "nova-compute"));
    let bare = Instance::from_wire(&golden.0["bare_instance"]).unwrap();
    assert_eq!((bare.info_cache.as_ref(), bare.keypairs.objects.len()), (None, 0));
    let user_identity = Some("- - - - -".to_owned());
    let context = RequestContext { request_id: Some("req-2".to_owned()), user_identity, ..RequestContext::admin() };
    let bdms = golden.bdms();
    let event = InstanceEvent::end(InstanceAction::Shutdown).with_disks(Some(&bdms.objects));
    bus.notifications.instance(&context, &bare, &event);
    bus.assert_sent(&golden, "shutdown.end", "info").await;
}

#[tokio::test(start_paused = true)]
async fn a_change_of_state_is_told_with_the_states_before_it() {
    let (golden, bus) = (Golden::read(), Bus::new(BOTH, "nova-conductor"));
    let after = golden.instance();
    let before = Instance { vm_state: VmState::Building, task_state: Some(TaskState::Spawning), ..golden.instance() };
    bus.notifications.instance_saved(&golden.context(), &before, &after);
    check_update(&bus, &golden, "update").await;
    let before = Instance { display_name: Some("older".to_owned()), ..golden.instance() };
    bus.notifications.instance_saved(&golden.context(), &before, &after);
    check_update(&bus, &golden, "renamed").await;
    bus.assert_silent().await;
}

/// The end of an audit period is now.
async fn check_update(bus: &Bus, golden: &Golden, name: &str) {
    let mut unversioned = bus.next("notifications", "info").await;
    let mut versioned = bus.next("versioned_notifications", "info").await;
    let (mut expected, mut expected_versioned) =
        (golden.sent(&format!("{name}.unversioned")), golden.sent(&format!("{name}.versioned")));
    for payload in [&mut unversioned, &mut expected] {
        for (field, length) in [("audit_period_beginning", 26), ("audit_period_ending", 26)] {
            let at = payload["payload"][field].take();
            assert_eq!(at.as_str().unwrap().len(), length);
        }
    }
    for payload in [&mut versioned, &mut expected_versioned] {
        let period = &mut payload["payload"]["nova_object.data"]["audit_period"]["nova_object.data"];
        for field in ["audit_period_beginning", "audit_period_ending"] {
            assert_eq!(period[field].take().as_str().unwrap().len(), 20);
        }
    }
    assert_eq!(unversioned, expected, "{name} unversioned");
    assert_eq!(versioned, expected_versioned, "{name} versioned");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_not_followed_is_told_without_the_states_before_it() {
    let config = BOTH.replace("vm_and_task_state", "vm_state");
    let (golden, bus) = (Golden::read(), Bus::new(&config, "nova-conductor"));
    let after = golden.instance();
    let before = Instance { task_state: Some(TaskState::Spawning), ..golden.instance() };
    bus.notifications.instance_saved(&golden.context(), &before, &after);
    let payload = bus.next("notifications", "info").await["payload"].take();
    assert_eq!((&payload["old_state"], &payload["state"]), (&json!("active"), &json!("active")));
    assert_eq!(payload["old_task_state"], json!("powering-off"));
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_only_where_that_is_asked_for() {
    let config = BOTH.replace("notify_on_state_change = vm_and_task_state\n", "");
    let (golden, bus) = (Golden::read(), Bus::new(&config, "nova-conductor"));
    assert!(bus.notifications.is_enabled() && !bus.notifications.follows_changes());
    let before = Instance { vm_state: VmState::Building, ..golden.instance() };
    bus.notifications.instance_saved(&golden.context(), &before, &golden.instance());
    bus.notifications.instance_created(&golden.context(), &before);
    bus.assert_silent().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_instance_is_the_conductors_news() {
    let (golden, bus) = (Golden::read(), Bus::new(BOTH, "nova-conductor"));
    let building = Instance { vm_state: VmState::Building, task_state: None, ..golden.instance() };
    bus.notifications.instance_created(&golden.context(), &building);
    let (unversioned, versioned) =
        (bus.next("notifications", "info").await, bus.next("versioned_notifications", "info").await);
    assert_eq!(
        (&unversioned["publisher_id"], &unversioned["event_type"]),
        (&json!("conductor.h1"), &json!("compute.instance.update"))
    );
    assert_eq!(
        (&versioned["publisher_id"], &versioned["event_type"]),
        (&json!("nova-conductor:h1"), &json!("instance.update"))
    );
    let states = &versioned["payload"]["nova_object.data"]["state_update"]["nova_object.data"];
    let expected =
        json!({"old_state": "building", "state": "building", "old_task_state": null, "new_task_state": null});
    assert_eq!(*states, expected);
}

#[tokio::test(start_paused = true)]
async fn a_build_without_a_host_is_what_nova_sends() {
    let (golden, bus) = (Golden::read(), Bus::new(BOTH, "nova-conductor"));
    let (uuid, spec) = (golden.instance().uuid, golden.spec());
    let reason = fault("NoValidHost", "No valid host was found. ", 500);
    bus.notifications.build_instances_error(&golden.context(), uuid, Some(&spec), VmState::Error, &reason);
    let mut unversioned = bus.next("notifications", "error").await;
    // There Nova writes the insides of a Python object, with the context and the user's token in it.
    for path in ["/payload/instance_properties", "/payload/request_spec/instance_properties"] {
        let properties = unversioned.pointer_mut(path).and_then(Value::as_object_mut).unwrap();
        assert_eq!(properties.remove("pci_requests"), Some(json!({"requests": []})));
    }
    assert_eq!(unversioned, golden.sent("build_instances.error.unversioned"));
    assert_eq!(bus.next("versioned_notifications", "error").await, golden.sent("build_instances.error.versioned"));
}

#[tokio::test(start_paused = true)]
async fn disks_and_shares_that_are_not_at_hand_are_shown_where_that_is_asked_for() {
    let more = "[notifications]\nbdms_in_notifications = true\ninclude_share_mapping = true\n";
    let (golden, bus) = (Golden::read(), Bus::new(&format!("{BOTH}{more}"), "nova-compute"));
    assert!(bus.notifications.shows_disks(InstanceAction::PowerOff));
    bus.notifications.instance(&golden.context(), &golden.instance(), &InstanceEvent::end(InstanceAction::PowerOff));
    let payload = bus.next("versioned_notifications", "info").await["payload"]["nova_object.data"].take();
    assert_eq!((&payload["block_devices"], &payload["shares"]), (&Value::Null, &json!([])));
    let plain = Bus::new(BOTH, "nova-compute").notifications;
    assert!(plain.shows_disks(InstanceAction::Reboot) && !plain.shows_disks(InstanceAction::PowerOff));
    let unversioned = Bus::new("[oslo_messaging_notifications]\ndriver = messagingv2\n", "nova-compute").notifications;
    assert!(unversioned.is_enabled() && !unversioned.shows_disks(InstanceAction::Reboot));
}

#[tokio::test(start_paused = true)]
async fn a_form_that_is_not_asked_for_is_not_sent() {
    let golden = Golden::read();
    let (context, instance) = (golden.context(), golden.instance());
    let formats = [
        ("unversioned", Some("compute.instance.reboot.start"), None),
        ("versioned", None, Some("instance.reboot.start")),
    ];
    for (format, unversioned, versioned) in formats {
        let bus = Bus::new(&BOTH.replace("= both", &format!("= {format}")), "nova-compute");
        bus.notifications.instance(&context, &instance, &InstanceEvent::start(InstanceAction::Reboot));
        for (topic, expected) in [("notifications", unversioned), ("versioned_notifications", versioned)] {
            if let Some(expected) = expected {
                assert_eq!(bus.next(topic, "info").await["event_type"], json!(expected));
            }
        }
        bus.assert_silent().await;
    }
}

#[tokio::test(start_paused = true)]
async fn by_default_nobody_is_told_anything() {
    let golden = Golden::read();
    for config in [
        "",
        "[notifications]\nnotification_format = both\n",
        "[notifications]\nnotification_format = both\n[oslo_messaging_notifications]\ndriver = noop\n",
    ] {
        let bus = Bus::new(config, "nova-compute");
        assert!(!bus.notifications.is_enabled() && !bus.notifications.shows_disks(InstanceAction::Reboot));
        let event = InstanceEvent::start(InstanceAction::Create);
        bus.notifications.instance(&golden.context(), &golden.instance(), &event);
        bus.assert_silent().await;
    }
}
