//! Builds and power actions whose conductor is gone for a moment, or for longer. The clock is paused: a lost message
//! takes its timeout at once.

use kilonova_objects::{Instance, PowerState, TaskState, VmState};
use kilonova_virt::RebootKind;
use serde_json::{Value, json};

use crate::support::conductor::Mishap;
use crate::support::{World, context};

/// The saves of a build, by what each changes.
const SAVES: [(&str, &str); 3] = [("task_state", "networking"), ("task_state", "spawning"), ("vm_state", "active")];
const MISHAPS: [Mishap; 3] = [Mishap::Refuse, Mishap::LoseRequest, Mishap::LoseReply];
const ALL_TRIES: usize = 3;

fn assert_built_once(world: &World, instance: &Instance, what: &str) {
    let row = world.row(instance);
    assert_eq!((row.vm_state, row.task_state), (VmState::Active, None), "{what}");
    assert_eq!(row.power_state, PowerState::Running, "{what}");
    assert_eq!(world.guest(instance).unwrap().boots, 1, "{what}");
    assert_eq!(world.network.fake.ports().len(), 1, "{what}");
    assert_eq!(world.allocations(instance), Some(world.claim()), "{what}");
    assert_eq!(world.faults(), Vec::<String>::new(), "{what}");
    let activations = world.conductor.rows().saves.iter().filter(|save| save.get("vm_state").is_some()).count();
    assert_eq!(activations, 1, "{what}");
}

#[tokio::test(start_paused = true)]
async fn a_build_survives_one_mishap_at_each_of_its_saves() {
    for (field, value) in SAVES {
        for mishap in MISHAPS {
            let world = World::new().await;
            let instance = world.create();
            world.conductor.mishap_at(1, mishap, "Instance.save", field, json!(value));
            world.conductor.mishap(1, mishap, "Instance.get_by_uuid");
            world.manager.build_and_run_instance(&context(), world.message(&instance)).await.unwrap();
            assert_built_once(&world, &instance, &format!("{mishap:?} at {value}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_build_that_was_cut_off_for_good_is_finished_by_the_next_message() {
    for (field, value) in SAVES {
        for mishap in [Mishap::Refuse, Mishap::LoseRequest] {
            let world = World::new().await;
            let what = format!("{mishap:?} at {value}");
            let message = world.message_with_alternate(&world.create());
            let instance = message.instance.clone();
            world.conductor.mishap_at(ALL_TRIES, mishap, "Instance.save", field, json!(value));
            assert!(world.manager.build_and_run_instance(&context(), message.clone()).await.is_err(), "{what}");
            let row = world.row(&instance);
            assert_eq!(row.vm_state, VmState::Building, "{what}");
            assert_eq!(
                world.allocations(&instance),
                Some(world.claim()),
                "what is built again must be claimed: {what}"
            );
            world.manager.build_and_run_instance(&context(), message).await.unwrap();
            assert_built_once(&world, &instance, &what);
            assert_eq!(world.conductor.rows().given_back.len(), 0, "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_build_that_ended_unheard_is_found_active() {
    let world = World::new().await;
    let message = world.message(&world.create());
    world.driver.close_gate();
    let build = world.spawn_build(message.clone());
    world.until_at_gate(1).await;
    world.conductor.mishap_at(1, Mishap::LoseReply, "Instance.save", "vm_state", json!("active"));
    world.conductor.mishap(ALL_TRIES, Mishap::LoseRequest, "Instance.get_by_uuid");
    world.driver.open_gate();
    assert!(!build.await.unwrap());
    world.manager.build_and_run_instance(&context(), message.clone()).await.unwrap();
    assert_built_once(&world, &message.instance, "a lost reply");
}

#[tokio::test(start_paused = true)]
async fn a_give_back_that_cannot_be_saved_leaves_the_build_to_its_workflow_with_its_claim() {
    let world = World::new().await;
    let message = world.message_with_alternate(&world.create());
    let error = kilonova_virt::DriverError::Host("out of paper".to_owned());
    world.driver.fake.fail_next(kilonova_virt::FakeOperation::Spawn, error);
    world.conductor.mishap_at(ALL_TRIES, Mishap::LoseRequest, "Instance.save", "task_state", json!("scheduling"));
    assert!(world.manager.build_and_run_instance(&context(), message.clone()).await.is_err());
    assert_eq!(world.allocations(&message.instance), Some(world.claim()));
    assert_eq!(world.conductor.rows().given_back.len(), 0);
    world.manager.build_and_run_instance(&context(), message.clone()).await.unwrap();
    assert_eq!(world.row(&message.instance).vm_state, VmState::Active);
    assert_eq!(world.guest(&message.instance).unwrap().boots, 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_whose_end_is_lost_once_is_told_again() {
    for mishap in MISHAPS {
        let world = World::new().await;
        let stopping = world.begin(&world.active().await, TaskState::PoweringOff);
        world.conductor.mishap_at(1, mishap, "Instance.save", "task_state", Value::Null);
        world.manager.stop_instance(&context(), stopping.clone(), true).await.unwrap();
        let row = world.row(&stopping);
        assert_eq!((row.vm_state, row.task_state), (VmState::Stopped, None), "{mishap:?}");
        assert_eq!(world.faults(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_whose_end_is_lost_for_good_is_done_again_by_the_pass() {
    let world = World::new().await;
    let stopping = world.begin(&world.active().await, TaskState::PoweringOff);
    world.conductor.mishap_at(ALL_TRIES, Mishap::LoseRequest, "Instance.save", "task_state", Value::Null);
    assert!(world.manager.stop_instance(&context(), stopping.clone(), true).await.is_err());
    assert_eq!(world.row(&stopping).task_state, Some(TaskState::PoweringOff));
    world.manager.repair_stale_tasks(&context()).await.unwrap();
    assert_eq!(world.row(&stopping).task_state, Some(TaskState::PoweringOff), "one look is not enough");
    world.manager.repair_stale_tasks(&context()).await.unwrap();
    let row = world.row(&stopping);
    assert_eq!((row.vm_state, row.task_state, row.power_state), (VmState::Stopped, None, PowerState::Shutdown));
    assert_eq!(world.faults(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_reboot_whose_beginning_is_lost_for_good_does_not_stay_in_its_task() {
    let world = World::new().await;
    let rebooting = world.begin(&world.active().await, TaskState::Rebooting);
    world.conductor.mishap_at(ALL_TRIES, Mishap::LoseReply, "Instance.save", "task_state", json!("reboot_started"));
    let rebooted = world.manager.reboot_instance(&context(), rebooting.clone(), RebootKind::Soft).await;
    assert!(rebooted.is_err());
    for _ in 0..2 {
        world.manager.repair_stale_tasks(&context()).await.unwrap();
    }
    let row = world.row(&rebooting);
    assert_eq!((row.vm_state, row.task_state), (VmState::Active, None));
}

#[tokio::test]
async fn a_start_whose_message_was_lost_is_done_by_the_pass_and_a_late_message_finds_it_done() {
    let world = World::new().await;
    let starting = world.begin(&world.stopped().await, TaskState::PoweringOn);
    for _ in 0..2 {
        world.manager.repair_stale_tasks(&context()).await.unwrap();
    }
    let row = world.row(&starting);
    assert_eq!((row.vm_state, row.task_state), (VmState::Active, None));
    world.manager.start_instance(&context(), starting.clone()).await.unwrap();
    assert_eq!(world.row(&starting), row);
    assert_eq!(world.faults(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_pass_leaves_alone_what_is_being_done_here_and_what_others_do() {
    let world = World::new().await;
    world.driver.fake.delay(kilonova_virt::FakeOperation::PowerOff, std::time::Duration::from_secs(30));
    let stopping = world.begin(&world.active().await, TaskState::PoweringOff);
    let deleting = world.begin(&world.active().await, TaskState::Deleting);
    let manager = world.manager.clone();
    let message = stopping.clone();
    let stop = tokio::spawn(async move { manager.stop_instance(&context(), message, true).await.is_ok() });
    let graces = &world.driver.graces;
    world.until("the stop", || graces.lock().unwrap().len() == 1).await;
    for _ in 0..3 {
        world.manager.repair_stale_tasks(&context()).await.unwrap();
    }
    assert_eq!(world.row(&stopping).task_state, Some(TaskState::PoweringOff), "no pass waits for the stop");
    assert!(stop.await.unwrap());
    assert_eq!(graces.lock().unwrap().len(), 1, "the guest was shut down once");
    assert_eq!(world.row(&deleting), deleting);
}
