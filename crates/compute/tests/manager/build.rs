//! Builds that succeed, fail, are given to another host, deleted meanwhile, and asked for twice.

use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use kilonova_clients::network::PortRequest;
use kilonova_core::RequestContext;
use kilonova_objects::{
    Instance, InstanceFault, NETWORK_ID_AUTO, NETWORK_ID_NONE, NetworkRequest, NetworkRequestList, PowerState,
    TaskState, VmState,
};
use kilonova_rpcapi::compute::BuildAndRunInstance;
use kilonova_virt::{DriverError, FakeOperation};
use serde_json::json;
use uuid::Uuid;

use crate::support::conductor::{Event, Mishap};
use crate::support::{HOST, OTHER_HOST, World, context, metadata};

fn networks(requests: Vec<NetworkRequest>) -> Option<NetworkRequestList> {
    Some(NetworkRequestList::from(requests))
}

fn network(id: impl ToString) -> NetworkRequest {
    NetworkRequest { network_id: Some(id.to_string()), ..NetworkRequest::default() }
}

fn out_of_paper() -> DriverError {
    DriverError::Host("The host is out of paper.".to_owned())
}

impl World {
    async fn build(&self, message: BuildAndRunInstance) -> Instance {
        let instance = message.instance.clone();
        self.manager.build_and_run_instance(&context(), message).await.unwrap();
        self.row(&instance)
    }

    fn the_fault(&self) -> InstanceFault {
        let [fault] = &self.conductor.rows().faults[..] else { panic!("not one fault: {:?}", self.faults()) };
        fault.clone()
    }

    /// In error, with this sentence and nothing left.
    fn assert_failed(&self, instance: &Instance, sentence: &str) {
        assert_eq!((instance.vm_state, instance.task_state), (VmState::Error, None));
        assert_eq!((&instance.host, &instance.node), (&None, &None));
        let fault = self.the_fault();
        assert_eq!((fault.instance_uuid, fault.message.as_deref()), (instance.uuid, Some(sentence)));
        assert_eq!(fault.host.as_deref(), Some(HOST));
        self.assert_nothing_left(instance);
        assert_eq!(self.conductor.rows().given_back.len(), 0);
    }
}

#[tokio::test]
async fn a_build_ends_active_with_all_that_the_api_shows() {
    let world = World::new().await;
    *world.driver.metadata.lock().unwrap() = metadata(&[("ssh", "127.0.0.1:2200")]);
    let instance = world.create_as(Instance { metadata: metadata(&[("mine", "1")]), ..world.create() });
    let active = world.build(world.message(&instance)).await;
    assert_eq!((active.vm_state, active.task_state), (VmState::Active, None));
    assert_eq!((active.host.as_deref(), active.node.as_deref()), (Some(HOST), Some(HOST)));
    assert_eq!((active.launched_on.as_deref(), active.compute_id), (Some(HOST), Some(1)));
    assert_eq!(active.availability_zone.as_deref(), Some("nova"));
    assert_eq!(active.power_state, PowerState::Running);
    assert!(active.launched_at.is_some());
    assert_eq!(active.metadata, metadata(&[("mine", "1"), ("ssh", "127.0.0.1:2200")]));
    let vifs = active.network_info().0;
    assert_eq!(vifs.iter().map(|vif| vif.id).collect::<Vec<_>>(), [world.network.fake.ports()[0].id]);
    assert!(world.guest(&instance).unwrap().is_running);
    assert_eq!(world.allocations(&instance), Some(world.claim()));
    assert_eq!(world.faults(), Vec::<String>::new());
    let event = |end| Event { name: "compute__do_build_and_run_instance".to_owned(), end };
    assert_eq!(world.conductor.ended_events().await, [event(None), event(Some(None))]);
}

/// Nova 34 makes 22 round trips. The end of the event is a cast, for which nobody waits.
#[tokio::test]
async fn a_build_takes_four_round_trips_to_the_conductor() {
    let world = World::new().await;
    let message = world.message(&world.create());
    world.conductor.rows().asked.clear();
    world.build(message).await;
    world.conductor.ended_events().await;
    let asked = world.conductor.rows().asked.clone();
    let calls = ["Instance.save", "InstanceActionEvent.event_start", "Instance.save", "Instance.save"];
    assert_eq!(asked[..4], calls);
    assert_eq!(asked[4..], ["InstanceActionEvent.event_finish_with_failure"]);
}

#[tokio::test]
async fn a_config_drive_is_made_where_the_server_or_the_host_wants_it() {
    for (asked, is_forced, expected) in
        [(None, false, false), (Some("True"), false, true), (Some(""), false, false), (None, true, true)]
    {
        let world = World::with(|config| config.force_config_drive = is_forced).await;
        let asked = asked.map(str::to_owned);
        let instance = world.create_as(Instance { config_drive: asked.clone(), ..world.create() });
        let active = world.build(world.message(&instance)).await;
        assert_eq!(world.guest(&instance).unwrap().has_config_drive, expected, "{asked:?}, forced: {is_forced}");
        assert_eq!(active.config_drive.as_deref() == Some("True"), expected);
    }
}

#[tokio::test]
async fn a_server_without_networks_gets_no_port() {
    let world = World::new().await;
    let message = world.message(&world.create());
    let active = world
        .build(BuildAndRunInstance { requested_networks: networks(vec![network(NETWORK_ID_NONE)]), ..message })
        .await;
    assert_eq!(active.network_info().0, []);
    assert_eq!(world.network.fake.ports(), []);
}

#[tokio::test]
async fn auto_and_nothing_are_the_projects_own_network() {
    for asked in [None, networks(vec![]), networks(vec![network(NETWORK_ID_AUTO)])] {
        let world = World::new().await;
        world.network.fake.add_network("other project's", "q", false);
        let message = world.message(&world.create());
        let active = world.build(BuildAndRunInstance { requested_networks: asked, ..message }).await;
        let networks: Vec<_> = active.network_info().0.iter().map(|vif| vif.network.id).collect();
        assert_eq!(networks, [world.private.id]);
    }
}

#[tokio::test]
async fn auto_has_a_network_made_for_a_project_without_one() {
    let world = World::new().await;
    world.network.fake.enable_auto_allocation();
    let instance = world.create_as(Instance { project_id: Some("q".to_owned()), ..world.create() });
    let auto = networks(vec![network(NETWORK_ID_AUTO)]);
    let message = BuildAndRunInstance { requested_networks: auto, ..world.message(&instance) };
    let caller = RequestContext::new("u", "q");
    world.manager.build_and_run_instance(&caller, message).await.unwrap();
    let labels: Vec<_> = world.row(&instance).network_info().0.into_iter().map(|vif| vif.network.label).collect();
    assert_eq!(labels, ["auto_allocated_network"]);
}

#[tokio::test]
async fn explicit_networks_ports_and_addresses_are_taken_in_their_order() {
    let world = World::new().await;
    let second = world.network.fake.add_network("second", "p", false);
    let port = world.network.fake.add_port(world.private.id, "p");
    let asked = vec![
        NetworkRequest { address: Some("10.1.7.7".to_owned()), ..network(second.id) },
        NetworkRequest { port_id: Some(port.id), ..NetworkRequest::default() },
    ];
    let message = world.message(&world.create());
    let active = world.build(BuildAndRunInstance { requested_networks: networks(asked), ..message }).await;
    let vifs = active.network_info().0;
    assert_eq!(vifs.iter().map(|vif| vif.network.id).collect::<Vec<_>>(), [second.id, world.private.id]);
    assert_eq!(vifs[0].network.subnets[0].ips[0].address, "10.1.7.7");
    assert_eq!(vifs[1].id, port.id);
}

#[tokio::test]
async fn security_groups_go_to_the_ports_by_name_and_by_id() {
    let world = World::new().await;
    let by_name = world.network.fake.add_security_group("web", "p");
    let by_id = world.network.fake.add_security_group("db", "p");
    let message = world.message(&world.create());
    world.build(BuildAndRunInstance { security_groups: vec!["web".to_owned(), by_id.id.to_string()], ..message }).await;
    let expected = PortRequest {
        network_id: Some(world.private.id),
        security_group_ids: vec![by_name.id, by_id.id],
        ..PortRequest::default()
    };
    assert_eq!(*world.network.requests.lock().unwrap(), [expected]);
}

#[tokio::test]
async fn an_unknown_security_group_fails_the_build_and_no_other_host_tries() {
    let world = World::new().await;
    let message = world.message_with_alternate(&world.create());
    let failed = world.build(BuildAndRunInstance { security_groups: vec!["nobody".to_owned()], ..message }).await;
    world.assert_failed(&failed, "Security group nobody not found for project p.");
}

#[tokio::test]
async fn injected_files_and_the_password_reach_the_driver() {
    let world = World::new().await;
    let bytes = b"\x00hello\xff".to_vec();
    let file = json!(["/etc/motd", base64::engine::general_purpose::STANDARD.encode(&bytes)]);
    let message = world.message(&world.create());
    world.build(BuildAndRunInstance { injected_files: vec![file], ..message }).await;
    let injected = world.driver.injected.lock().unwrap().clone().unwrap();
    assert_eq!(injected.files, [("/etc/motd".to_owned(), bytes)]);
    assert_eq!(injected.admin_password.as_deref(), Some("pw"));
}

#[tokio::test]
async fn a_file_that_is_not_base64_fails_the_build_and_no_other_host_tries() {
    let world = World::new().await;
    let message = world.message_with_alternate(&world.create());
    let failed =
        world.build(BuildAndRunInstance { injected_files: vec![json!(["/a", "not base64!"])], ..message }).await;
    world.assert_failed(&failed, "the file /a to inject is not base64");
}

#[tokio::test]
async fn a_host_that_looks_at_no_signatures_refuses_certificates_and_no_other_host_tries() {
    for lacks in [false, true] {
        let world = World::new().await;
        world.driver.has_no_certificates.store(lacks, Ordering::SeqCst);
        let mut message = world.message_with_alternate(&world.create());
        message.instance.trusted_certs = Some(json!({"nova_object.data": {"ids": ["c"]}}));
        let built = world.build(message).await;
        let sentence = "Trusted image certificates provided on host that does not support certificate validation.";
        if lacks {
            world.assert_failed(&built, sentence);
        } else {
            assert_eq!(built.vm_state, VmState::Active);
        }
    }
}

#[tokio::test]
async fn a_failure_of_the_host_hands_the_build_to_the_next() {
    let world = World::new().await;
    world.driver.fake.fail_next(FakeOperation::Spawn, out_of_paper());
    let message = world.message_with_alternate(&world.create());
    let given_back = world.build(message.clone()).await;
    assert_eq!((given_back.vm_state, given_back.task_state), (VmState::Building, Some(TaskState::Scheduling)));
    assert_eq!((given_back.host, given_back.node, given_back.compute_id), (None, None, None));
    assert_eq!(given_back.info_cache.unwrap().network_info().0, []);
    world.assert_nothing_left(&message.instance);
    world.until("the message", || !world.conductor.rows().given_back.is_empty()).await;
    let sent = world.conductor.rows().given_back.remove(0);
    assert_eq!(sent.instances.iter().map(|instance| instance.uuid).collect::<Vec<_>>(), [message.instance.uuid]);
    assert_eq!(sent.instances[0].host, None);
    assert_eq!(sent.host_lists.len(), 1);
    assert_eq!(sent.host_lists[0][0].service_host, OTHER_HOST);
    assert_eq!(sent.filter_properties["retry"]["exc_reason"], json!(["The host is out of paper."]));
    assert_eq!(sent.filter_properties["retry"]["hosts"], json!([[HOST, HOST]]));
    assert_eq!((sent.image, sent.admin_password.as_deref()), (message.image, Some("pw")));
}

#[tokio::test]
async fn a_failure_of_the_last_host_is_the_servers_fault_message() {
    let world = World::new().await;
    world.driver.fake.fail_next(FakeOperation::Spawn, out_of_paper());
    let failed = world.build(world.message(&world.create())).await;
    world.assert_failed(&failed, "The host is out of paper.");
    let events = world.conductor.ended_events().await;
    assert_eq!(events.last().unwrap().end, Some(Some("The host is out of paper.".to_owned())));
}

#[tokio::test]
async fn a_network_service_that_does_not_answer_this_host_may_answer_the_next() {
    let world = World::new().await;
    world.network.fake.fail_allocations(1);
    let given_back = world.build(world.message_with_alternate(&world.create())).await;
    assert_eq!(given_back.task_state, Some(TaskState::Scheduling));
    world.until("the message", || world.conductor.rows().given_back.len() == 1).await;
}

#[tokio::test]
async fn an_unacceptable_image_is_not_tried_elsewhere() {
    let world = World::new().await;
    let unacceptable = DriverError::ImageUnacceptable { image_id: "i".to_owned(), reason: "it is a poem".to_owned() };
    world.driver.fake.fail_next(FakeOperation::Spawn, unacceptable);
    let failed = world.build(world.message_with_alternate(&world.create())).await;
    world.assert_failed(&failed, "Image i is unacceptable: it is a poem");
    assert_eq!(world.the_fault().code, 400);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_gone_leaves_no_port_behind() {
    let world = World::new().await;
    *world.network.slowness.lock().unwrap() = Duration::from_secs(5);
    let message = world.message_with_alternate(&world.create());
    world.image.remove(world.disk.id);
    let failed = world.build(message).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.assert_failed(&failed, &format!("image {} could not be found", world.disk.id));
}

#[tokio::test(start_paused = true)]
async fn a_build_that_fails_when_it_is_taken_up_again_removes_the_guest_of_the_first_try() {
    let world = World::new().await;
    let message = world.message(&world.create());
    world.conductor.mishap_at(3, Mishap::LoseRequest, "Instance.save", "vm_state", json!("active"));
    assert!(world.manager.build_and_run_instance(&context(), message.clone()).await.is_err());
    assert!(world.guest(&message.instance).is_some());
    world.image.remove(world.disk.id);
    let failed = world.build(message).await;
    world.assert_failed(&failed, &format!("image {} could not be found", world.disk.id));
}

#[tokio::test]
async fn a_server_that_is_deleted_while_it_is_built_leaves_nothing_and_no_fault() {
    let world = World::new().await;
    world.driver.close_gate();
    let instance = world.create();
    let build = world.spawn_build(world.message(&instance));
    world.until_at_gate(1).await;
    let deleting = world.begin(&instance, TaskState::Deleting);
    world.driver.open_gate();
    assert!(build.await.unwrap());
    world.assert_nothing_left(&instance);
    assert_eq!(world.faults(), Vec::<String>::new());
    assert_eq!(world.row(&instance).task_state, Some(TaskState::Deleting));
    world.manager.terminate_instance(&context(), deleting, &[]).await.unwrap();
    assert!(world.row(&instance).deleted);
}

#[tokio::test]
async fn a_spawn_that_fails_in_a_deleted_server_leaves_no_fault() {
    let world = World::new().await;
    world.driver.close_gate();
    world.driver.fake.fail_next(FakeOperation::Spawn, out_of_paper());
    let instance = world.create();
    let build = world.spawn_build(world.message_with_alternate(&instance));
    world.until_at_gate(1).await;
    world.begin(&instance, TaskState::Deleting);
    world.driver.open_gate();
    assert!(build.await.unwrap());
    world.assert_nothing_left(&instance);
    assert_eq!(world.faults(), Vec::<String>::new());
    assert_eq!(world.row(&instance).task_state, Some(TaskState::Deleting));
}

#[tokio::test(start_paused = true)]
async fn a_long_spawn_shows_signs_of_life() {
    let world = World::new().await;
    world.driver.close_gate();
    let instance = world.create();
    let build = world.spawn_build(world.message(&instance));
    world.until_at_gate(1).await;
    let signs = || world.conductor.rows().saves.iter().filter(|save| save.is_empty()).count();
    assert_eq!(signs(), 0);
    for expected in 1..=3 {
        tokio::time::advance(Duration::from_secs(30)).await;
        world.until("a sign of life", || signs() == expected).await;
    }
    world.driver.open_gate();
    assert!(build.await.unwrap());
    assert_eq!(world.row(&instance).vm_state, VmState::Active);
    tokio::time::advance(Duration::from_secs(300)).await;
    assert_eq!(signs(), 3);
}

#[tokio::test]
async fn a_server_that_is_gone_before_its_build_is_not_built() {
    let world = World::new().await;
    let instance = world.create();
    let message = world.message(&instance);
    world.manager.terminate_instance(&context(), instance.clone(), &[]).await.unwrap();
    world.manager.build_and_run_instance(&context(), message).await.unwrap();
    world.assert_nothing_left(&instance);
    assert_eq!(world.faults(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_same_message_twice_at_once_makes_one_guest() {
    let world = World::new().await;
    world.driver.close_gate();
    let message = world.message(&world.create());
    let first = world.spawn_build(message.clone());
    world.until_at_gate(1).await;
    let both = [first, world.spawn_build(message.clone())];
    // The clock moves on when nothing else does: the second is where it has to wait.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.driver.at_gate.load(Ordering::SeqCst), 1, "one after the other");
    world.driver.open_gate();
    for build in both {
        assert!(build.await.unwrap());
    }
    assert_eq!(world.row(&message.instance).vm_state, VmState::Active);
    assert_eq!(world.guest(&message.instance).unwrap().boots, 1);
    assert_eq!(world.network.fake.ports().len(), 1);
    assert_eq!(world.allocations(&message.instance), Some(world.claim()));
}

#[tokio::test]
async fn the_same_message_after_the_build_changes_nothing_and_records_no_failure() {
    let world = World::new().await;
    let message = world.message(&world.create());
    let active = world.build(message.clone()).await;
    let events = world.conductor.ended_events().await;
    assert_eq!(world.build(message.clone()).await, active);
    assert_eq!(world.guest(&message.instance).unwrap().boots, 1);
    assert_eq!(world.conductor.rows().events, events);
    assert_eq!(world.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn a_late_message_does_not_take_the_server_from_the_host_that_builds_it() {
    let world = World::new().await;
    let message = world.message(&world.create());
    let elsewhere = world.conductor.change(message.instance.uuid, |row| {
        row.host = Some(OTHER_HOST.to_owned());
        row.task_state = Some(TaskState::Spawning);
    });
    assert_eq!(world.build(message.clone()).await, elsewhere);
    assert_eq!(world.guest(&message.instance), None);
    assert_eq!(world.allocations(&message.instance), Some(world.claim()), "they are the other host's");
}

#[tokio::test]
async fn a_server_that_went_to_another_host_while_it_was_built_loses_its_guest_here_only() {
    for task in [TaskState::Networking, TaskState::Spawning] {
        let world = World::new().await;
        world.driver.close_gate();
        let instance = world.create();
        let build = world.spawn_build(world.message(&instance));
        world.until_at_gate(1).await;
        world.conductor.change(instance.uuid, |row| {
            row.host = Some(OTHER_HOST.to_owned());
            row.task_state = Some(task);
        });
        world.driver.open_gate();
        assert!(build.await.unwrap());
        assert_eq!(world.row(&instance).host.as_deref(), Some(OTHER_HOST));
        assert_eq!(world.guest(&instance), None, "{task}");
        assert_eq!(world.network.fake.ports().len(), 1, "they are the other host's");
        assert_eq!(world.allocations(&instance), Some(world.claim()));
    }
}

#[tokio::test]
async fn a_build_that_the_conductor_gave_up_leaves_nothing_when_it_ends() {
    let world = World::new().await;
    world.driver.close_gate();
    let instance = world.create();
    let build = world.spawn_build(world.message(&instance));
    world.until_at_gate(1).await;
    let failed = world.conductor.change(instance.uuid, |row| {
        (row.vm_state, row.task_state, row.host) = (VmState::Error, None, None);
    });
    world.driver.open_gate();
    assert!(build.await.unwrap());
    assert_eq!(world.row(&instance), failed);
    world.assert_nothing_left(&instance);
}

#[tokio::test]
async fn a_conductor_of_nova_leaves_it_to_the_host_to_write_itself_down() {
    let world = World::new().await;
    let instance = world.create_as(Instance { host: None, node: None, uuid: Uuid::new_v4(), ..world.create() });
    let active = world.build(world.message(&instance)).await;
    assert_eq!((active.vm_state, active.host.as_deref()), (VmState::Active, Some(HOST)));
}

#[tokio::test]
async fn no_more_guests_are_made_at_a_time_than_allowed() {
    let world = World::with(|config| config.max_concurrent_builds = 3).await;
    world.driver.close_gate();
    let messages: Vec<_> = (0..8).map(|_| world.message(&world.create())).collect();
    let builds: Vec<_> = messages.iter().map(|message| world.spawn_build(message.clone())).collect();
    world.until_at_gate(3).await;
    world.driver.open_gate();
    for build in builds {
        assert!(build.await.unwrap());
    }
    assert_eq!(world.driver.most_at_gate.load(Ordering::SeqCst), 3);
    assert!(messages.iter().all(|message| world.row(&message.instance).vm_state == VmState::Active));
}

#[tokio::test]
async fn zero_concurrent_builds_are_any_number() {
    let world = World::with(|config| config.max_concurrent_builds = 0).await;
    world.driver.close_gate();
    let builds: Vec<_> = (0..20).map(|_| world.spawn_build(world.message(&world.create()))).collect();
    world.until_at_gate(20).await;
    world.driver.open_gate();
    for build in builds {
        assert!(build.await.unwrap());
    }
}
