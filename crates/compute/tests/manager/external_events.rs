//! What other services tell of instances.

use kilonova_objects::{BlockDeviceMapping, BlockDeviceMappingList, Instance, InstanceExternalEvent};
use kilonova_objects::{PowerState, TaskState, VmState};
use kilonova_virt::{DriverError, FakeOperation};

use crate::support::conductor::Event;
use crate::support::{World, context};

async fn tell(world: &World, instance: &Instance, name: &str, tag: Option<&str>) {
    let event = InstanceExternalEvent {
        instance_uuid: instance.uuid,
        name: name.to_owned(),
        status: "completed".to_owned(),
        tag: tag.map(str::to_owned),
        ..InstanceExternalEvent::default()
    };
    world.manager.external_instance_event(&context(), std::slice::from_ref(instance), &[event]).await;
}

/// What was recorded since the last look.
async fn events(world: &World) -> Vec<Event> {
    let events = world.conductor.ended_events().await;
    world.conductor.rows().events.clear();
    events
}

fn ended(name: &str, failure: Option<&str>) -> Vec<Event> {
    [None, Some(failure.map(str::to_owned))].map(|end| Event { name: name.to_owned(), end }).into()
}

#[tokio::test]
async fn a_changed_network_is_read_again() {
    let world = World::new().await;
    let instance = world.active().await;
    let port = instance.network_info().0[0].id;
    let (network, admin) = (&*world.network, kilonova_core::RequestContext::admin());
    let private = world.private.id.to_string();
    kilonova_clients::neutron::ports::add_fixed_ip(network, &admin, instance.uuid, &private).await.unwrap();
    tell(&world, &instance, "network-changed", Some(&port.to_string())).await;
    assert_eq!(world.row(&instance).network_info().0[0].network.subnets[0].ips.len(), 2);
    let writes = world.conductor.rows().saves.len();
    tell(&world, &instance, "network-changed", None).await;
    assert_eq!(world.conductor.rows().saves.len(), writes);
}

#[tokio::test]
async fn a_port_that_its_owner_deletes_takes_the_interface_along() {
    let world = World::new().await;
    let instance = world.active().await;
    let port = instance.network_info().0[0].id;
    world.driver.fake.fail_next(FakeOperation::DetachInterface, DriverError::Hypervisor("busy".to_owned()));
    tell(&world, &instance, "network-vif-deleted", Some(&port.to_string())).await;
    assert_eq!(world.row(&instance).network_info().0.len(), 1);
    tell(&world, &instance, "network-vif-deleted", Some("another")).await;
    assert_eq!(world.row(&instance).network_info().0.len(), 1);
    tell(&world, &instance, "network-vif-deleted", Some(&port.to_string())).await;
    assert_eq!(world.row(&instance).network_info().0, []);
    assert!(world.guest(&instance).unwrap().interfaces.is_empty());
}

#[tokio::test]
async fn a_guest_that_is_switched_elsewhere_is_followed_once() {
    let world = World::new().await;
    let instance = world.active().await;
    events(&world).await;
    for (tag, vm_state, power_state) in [
        ("POWER_OFF", VmState::Stopped, PowerState::Shutdown),
        ("POWER_OFF", VmState::Stopped, PowerState::Shutdown),
        ("POWER_ON", VmState::Active, PowerState::Running),
    ] {
        tell(&world, &instance, "power-update", Some(tag)).await;
        let row = world.row(&instance);
        assert_eq!((row.vm_state, row.power_state, row.task_state), (vm_state, power_state, None), "{tag}");
        assert_eq!(world.guest(&instance).unwrap().is_running, vm_state == VmState::Active);
        assert_eq!(events(&world).await, ended("compute_power_update", None));
    }
    world.begin(&instance, TaskState::Rebooting);
    tell(&world, &instance, "power-update", Some("POWER_OFF")).await;
    let row = world.row(&instance);
    assert_eq!((row.vm_state, row.task_state), (VmState::Active, Some(TaskState::Rebooting)));
}

#[tokio::test]
async fn a_driver_that_does_not_follow_leaves_the_server_as_it_was() {
    let world = World::new().await;
    let instance = world.active().await;
    events(&world).await;
    world.driver.fake.fail_next(FakeOperation::PowerUpdateEvent, DriverError::NotSupported("power_update_event"));
    tell(&world, &instance, "power-update", Some("POWER_OFF")).await;
    let row = world.row(&instance);
    assert_eq!((row.vm_state, row.task_state), (VmState::Active, None));
    let message = "power_update_event is not supported by this driver";
    assert_eq!(world.faults(), [message]);
    assert_eq!(events(&world).await, ended("compute_power_update", Some(message)));
}

#[tokio::test]
async fn a_volume_that_grows_is_nothing_to_a_server_without_it() {
    let world = World::new().await;
    let instance = world.active().await;
    events(&world).await;
    tell(&world, &instance, "volume-extended", Some("v")).await;
    assert_eq!(events(&world).await, ended("compute_extend_volume", None));
    let disk = BlockDeviceMapping { volume_id: Some("v".to_owned()), ..BlockDeviceMapping::default() };
    world.conductor.rows().disks = BlockDeviceMappingList::from(vec![disk]);
    tell(&world, &instance, "volume-extended", Some("v")).await;
    let message = "extend_volume is not supported by this driver";
    assert_eq!(events(&world).await, ended("compute_extend_volume", Some(message)));
    assert_eq!(world.faults(), [message]);
}
