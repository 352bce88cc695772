//! The role: what travels over the queues, heartbeats, and the row of the host.

use std::time::Duration;

use kilonova_clients::placement::Inventory;
use kilonova_compute::{ComputeConfig, ComputeService};
use kilonova_core::Config;
use kilonova_objects::{TaskState, VmState};
use kilonova_rpcapi::compute::{GetConsoleOutput, RebootInstance, StopInstance, TerminateInstance};
use uuid::Uuid;

use crate::support::{BOUND, HOST, World, context};

#[tokio::test]
async fn a_server_lives_its_life_over_the_queues() {
    let world = World::serving(|_| {}).await;
    let (api, instance) = (world.compute_api(), world.create());
    api.cast(&context(), HOST, world.message(&instance)).await.unwrap();
    world.until("the build", || world.row(&instance).vm_state == VmState::Active).await;

    let rebooting = world.begin(&instance, TaskState::RebootingHard);
    let message = RebootInstance { instance: rebooting, block_device_info: None, reboot_type: "HARD".to_owned() };
    api.cast(&context(), HOST, message).await.unwrap();
    world.until("the reboot", || world.row(&instance).task_state.is_none()).await;
    assert_eq!(world.guest(&instance).unwrap().boots, 2);

    let console = |tail_length| GetConsoleOutput { instance: instance.clone(), tail_length };
    let whole = api.call(&context(), HOST, console(None)).await.unwrap();
    assert_eq!(whole, world.guest(&instance).unwrap().console);
    assert_eq!(api.call(&context(), HOST, console(Some(2))).await.unwrap(), "n login: \n");
    assert_eq!(api.call(&context(), HOST, console(Some(0))).await.unwrap(), "");

    let message = StopInstance { instance: world.begin(&instance, TaskState::PoweringOff), clean_shutdown: true };
    api.cast(&context(), HOST, message).await.unwrap();
    world.until("the stop", || world.row(&instance).vm_state == VmState::Stopped).await;

    let deleting = world.begin(&instance, TaskState::Deleting);
    let message = TerminateInstance { instance: deleting, bdms: Default::default() };
    api.cast(&context(), HOST, message).await.unwrap();
    world.until("the delete", || world.row(&instance).deleted).await;
    world.assert_nothing_left(&instance);

    let error = api.call(&context(), HOST, console(None)).await.unwrap_err();
    assert!(error.is("InstanceNotFound"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_rise_and_end_with_the_service() {
    let world = World::serving(|config| config.report_interval = Duration::from_secs(10)).await;
    let count = || world.conductor.rows().services[0].report_count;
    let first = count();
    world.until("the first heartbeat", || count() > first).await;
    tokio::time::advance(Duration::from_secs(10)).await;
    world.until("another heartbeat", || count() >= first + 2).await;
    assert!(world.service.stop(BOUND).await);
    let last = count();
    tokio::time::advance(Duration::from_secs(100)).await;
    assert_eq!(count(), last);
}

#[tokio::test]
async fn a_second_start_takes_the_same_service_row_and_reports_at_once() {
    let world = World::new().await;
    let before = world.conductor.rows().services.clone();
    let again = ComputeService::start(world.manager.clone(), world.transport.clone()).await.unwrap();
    assert!(again.stop(BOUND).await);
    let after = world.conductor.rows().services.clone();
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].id, before[0].id);
    assert!(after[0].report_count > before[0].report_count);
    assert_eq!((after[0].host.as_deref(), after[0].binary.as_deref()), (Some(HOST), Some("nova-compute")));
}

#[tokio::test]
async fn the_host_has_one_node_and_one_provider_that_follow_its_allocations() {
    let world = World::new().await;
    let node = world.conductor.rows().nodes[0].clone();
    assert_eq!((node.host.as_deref(), node.hypervisor_hostname.as_deref()), (Some(HOST), Some(HOST)));
    assert_eq!((node.vcpus, node.vcpus_used, node.running_vms), (4_000, 0, Some(0)));
    assert_eq!(node.service_id, Some(1));
    let provider = world.placement.providers.lock().unwrap()[&node.uuid].clone();
    assert_eq!(provider.name, HOST);
    let memory = Inventory {
        total: 8_000_000,
        reserved: 512,
        min_unit: 1,
        max_unit: 8_000_000,
        step_size: 1,
        allocation_ratio: 1.0,
    };
    assert_eq!(provider.inventory["MEMORY_MB"], memory);
    let mut traits = provider.traits;
    traits.sort_unstable();
    let expected = [
        "COMPUTE_NET_ATTACH_INTERFACE",
        "COMPUTE_NET_ATTACH_INTERFACE_WITH_TAG",
        "COMPUTE_NODE",
        "COMPUTE_RESCUE_BFV",
        "COMPUTE_SAME_HOST_COLD_MIGRATE",
        "COMPUTE_TRUSTED_CERTS",
        "COMPUTE_VOLUME_ATTACH_WITH_TAG",
        "COMPUTE_VOLUME_MULTI_ATTACH",
        "OWNER_NOVA",
    ];
    assert_eq!(traits, expected);

    world.active().await;
    let writes = world.conductor.rows().node_writes;
    for expected_writes in [writes + 1, writes + 1] {
        let again = ComputeService::start(world.manager.clone(), world.transport.clone()).await.unwrap();
        assert!(again.stop(BOUND).await);
        assert_eq!(world.conductor.rows().node_writes, expected_writes, "what is the same is not written");
    }
    let rows = world.conductor.rows();
    assert_eq!(rows.nodes.len(), 1);
    let now = &rows.nodes[0];
    assert_eq!((now.uuid, now.vcpus_used, now.memory_mb_used, now.running_vms), (node.uuid, 1, 512 + 64, Some(1)));
    assert_eq!(now.free_ram_mb, Some(8_000_000 - 512 - 64));
    assert_eq!(world.placement.providers.lock().unwrap().keys().copied().collect::<Vec<Uuid>>(), [node.uuid]);
}

#[test]
fn intervals_follow_novas_rules() {
    let text = "[DEFAULT]\nsync_power_state_interval = -1\nupdate_resources_interval = 0\nmax_concurrent_builds = 0\n";
    let config = ComputeConfig::from_config(&Config::from_text(text).unwrap(), HOST).unwrap();
    assert_eq!(config.sync_power_state_interval, Duration::ZERO, "never");
    assert_eq!(config.update_resources_interval, Duration::from_secs(60), "the default pace");
    assert_eq!(config.max_concurrent_builds, 0);
    let defaults = ComputeConfig::from_config(&Config::empty(), HOST).unwrap();
    assert_eq!(defaults.sync_power_state_interval, Duration::from_secs(600));
    assert_eq!(defaults.running_deleted_instance_poll_interval, Duration::from_secs(1800));
}
