//! Interfaces and addresses: added, taken away, failed, asked for twice.

use kilonova_clients::network::NetworkService as _;
use kilonova_objects::network_model::Vif;
use kilonova_objects::{Instance, TaskState, VmState};
use kilonova_rpcapi::compute::AttachInterface;
use kilonova_virt::{DriverError, FakeOperation};
use serde_json::json;
use uuid::Uuid;

use crate::support::conductor::Event;
use crate::support::{World, context};

fn on(instance: &Instance, network: Uuid) -> AttachInterface {
    AttachInterface {
        instance: instance.clone(),
        network_id: Some(network.to_string()),
        port_id: None,
        requested_ip: None,
        tag: None,
    }
}

/// The cached interfaces.
fn vifs(world: &World, instance: &Instance) -> Vec<Vif> {
    world.row(instance).network_info().0
}

fn ids(vifs: &[Vif]) -> Vec<Uuid> {
    vifs.iter().map(|vif| vif.id).collect()
}

fn ports(world: &World) -> Vec<Uuid> {
    world.network.fake.ports().iter().filter(|port| !port.device_id.is_empty()).map(|port| port.id).collect()
}

async fn attach(world: &World, asked: AttachInterface) -> Result<Uuid, String> {
    let attached = world.manager.attach_interface(&context(), asked).await.map_err(|error| error.to_string())?;
    Ok(attached["id"].as_str().unwrap().parse().unwrap())
}

async fn detach(world: &World, instance: &Instance, port: Uuid) -> Result<(), String> {
    let detached = world.manager.detach_interface(&context(), instance.clone(), &port.to_string()).await;
    detached.map_err(|error| error.to_string())
}

#[tokio::test]
async fn an_interface_is_plugged_in_and_taken_out() {
    let world = World::new().await;
    let instance = world.active().await;
    world.conductor.ended_events().await;
    world.conductor.rows().events.clear();
    let first = ids(&vifs(&world, &instance));
    let asked = AttachInterface { tag: Some("t".to_owned()), ..on(&instance, world.private.id) };
    let port = attach(&world, asked).await.unwrap();
    let both = vifs(&world, &instance);
    assert_eq!(ids(&both), [first[0], port]);
    assert_eq!((both[0].meta.get("tag"), both[1].meta.get("tag")), (None, Some(&json!("t"))));
    assert_eq!(world.guest(&instance).unwrap().interfaces, [first[0], port].into());
    assert_eq!(ports(&world), [first[0], port]);
    let row = world.row(&instance);
    assert_eq!((row.vm_state, row.task_state), (VmState::Active, None));

    detach(&world, &instance, port).await.unwrap();
    assert_eq!(ids(&vifs(&world, &instance)), first);
    assert_eq!(world.guest(&instance).unwrap().interfaces, [first[0]].into());
    assert_eq!(ports(&world), first);
    let event = |name: &str, end| Event { name: name.to_owned(), end };
    assert_eq!(
        world.conductor.ended_events().await,
        [
            event("compute_attach_interface", None),
            event("compute_attach_interface", Some(None)),
            event("compute_detach_interface", None),
            event("compute_detach_interface", Some(None)),
        ]
    );
    assert_eq!(detach(&world, &instance, port).await.unwrap_err(), format!("Port {port} is not attached"));
}

#[tokio::test]
async fn a_port_that_was_given_stays_when_its_interface_goes() {
    let world = World::new().await;
    let instance = world.active().await;
    let port = world.network.fake.add_port(world.private.id, "p").id;
    let asked = AttachInterface { network_id: None, port_id: Some(port.to_string()), ..on(&instance, port) };
    assert_eq!(attach(&world, asked.clone()).await, Ok(port));
    assert_eq!(attach(&world, asked).await.unwrap_err(), format!("Port {port} is still in use."));
    detach(&world, &instance, port).await.unwrap();
    let kept = world.network.fake.ports().into_iter().find(|kept| kept.id == port).unwrap();
    assert_eq!(kept.device_id, "");
}

#[tokio::test]
async fn an_interface_that_the_driver_cannot_plug_in_leaves_nothing_but_a_fault() {
    let world = World::new().await;
    let instance = world.active().await;
    let before = (vifs(&world, &instance), ports(&world));
    world.driver.fake.fail_next(FakeOperation::AttachInterface, DriverError::Hypervisor("no slot".to_owned()));
    let message = format!("Failed to attach network adapter device to {}", instance.uuid);
    assert_eq!(attach(&world, on(&instance, world.private.id)).await.unwrap_err(), message);
    assert_eq!((vifs(&world, &instance), ports(&world)), before);
    assert_eq!((world.row(&instance).vm_state, world.faults()), (VmState::Active, vec![message]));
}

#[tokio::test]
async fn an_interface_that_the_driver_cannot_take_out_stays() {
    let world = World::new().await;
    let instance = world.active().await;
    let before = vifs(&world, &instance);
    world.driver.fake.fail_next(FakeOperation::DetachInterface, DriverError::NotSupported("detach_interface"));
    let message = format!("Failed to detach network adapter device from {}", instance.uuid);
    assert_eq!(detach(&world, &instance, before[0].id).await.unwrap_err(), message);
    assert_eq!((vifs(&world, &instance), ports(&world)), (before.clone(), ids(&before)));
    detach(&world, &instance, before[0].id).await.unwrap();
    assert_eq!((vifs(&world, &instance), ports(&world)), (vec![], vec![]));
}

#[tokio::test]
async fn the_only_network_is_meant_where_none_is_named() {
    let world = World::new().await;
    let instance = world.active().await;
    let unnamed = AttachInterface { network_id: None, ..on(&instance, world.private.id) };
    attach(&world, unnamed.clone()).await.unwrap();
    world.network.fake.add_network("second", "p", false);
    let message = "Multiple possible networks found, use a Network ID to be more specific.";
    assert_eq!(attach(&world, unnamed).await.unwrap_err(), message);
    let nowhere = Uuid::new_v4();
    let message = format!("Network {nowhere} could not be found.");
    assert_eq!(attach(&world, on(&instance, nowhere)).await.unwrap_err(), message);
    let taken = vifs(&world, &instance)[0].network.subnets[0].ips[0].address.clone();
    let asked = AttachInterface { requested_ip: Some(taken.clone()), ..on(&instance, world.private.id) };
    assert_eq!(attach(&world, asked).await.unwrap_err(), format!("Fixed IP {taken} is already in use."));
}

#[tokio::test]
async fn what_the_api_has_seen_may_be_over() {
    let world = World::new().await;
    let instance = world.active().await;
    world.begin(&instance, TaskState::PoweringOff);
    let message =
        format!("Cannot 'attach_interface' instance {} while it is in task_state powering-off", instance.uuid);
    assert_eq!(attach(&world, on(&instance, world.private.id)).await.unwrap_err(), message);
    world.conductor.change(instance.uuid, |row| row.host = Some("elsewhere".to_owned()));
    let message = format!("Instance {} could not be found.", instance.uuid);
    assert_eq!(attach(&world, on(&instance, world.private.id)).await.unwrap_err(), message);
    assert_eq!(ports(&world).len(), 1);
}

#[tokio::test]
async fn an_attach_that_was_cut_off_is_taken_up_by_the_next_one() {
    let world = World::new().await;
    let instance = world.active().await;
    let held = ids(&vifs(&world, &instance));
    let request = kilonova_clients::network::PortRequest { network_id: Some(world.private.id), ..Default::default() };
    let network = &world.network;
    let lost =
        network.allocate_port_for_instance(&context(), instance.uuid, "p", "host1", &request, &held).await.unwrap();
    assert_eq!(attach(&world, on(&instance, world.private.id)).await, Ok(lost.id));
    assert_eq!(ports(&world), [held[0], lost.id]);
}

#[tokio::test]
async fn addresses_are_added_and_removed() {
    let world = World::new().await;
    let instance = world.active().await;
    let network = world.private.id.to_string();
    let addresses = || -> Vec<String> {
        let vifs = vifs(&world, &instance);
        vifs[0].network.subnets[0].ips.iter().map(|ip| ip.address.clone()).collect()
    };
    let first = addresses();
    world.manager.add_fixed_ip_to_instance(&context(), instance.clone(), &network).await.unwrap();
    let both = addresses();
    assert_eq!((both.len(), &both[0]), (2, &first[0]));
    world.manager.remove_fixed_ip_from_instance(&context(), instance.clone(), &first[0]).await.unwrap();
    assert_eq!(addresses(), both[1..]);

    let gone = world.manager.remove_fixed_ip_from_instance(&context(), instance.clone(), &first[0]).await;
    let message = format!("Instance {} does not have fixed IP '{}'.", instance.uuid, first[0]);
    assert_eq!(gone.unwrap_err().to_string(), message);
    let other = world.network.fake.add_network("other", "p", false).id.to_string();
    let added = world.manager.add_fixed_ip_to_instance(&context(), instance.clone(), &other).await;
    let no_network = format!("Network could not be found for instance {}.", instance.uuid);
    assert_eq!(added.unwrap_err().to_string(), no_network);
    assert_eq!(world.faults(), [message, no_network]);
}
