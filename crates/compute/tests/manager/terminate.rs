//! Deletes: done, done twice, and cut short at each of their steps.

use kilonova_objects::TaskState;
use kilonova_virt::{DriverError, FakeOperation};

use crate::support::conductor::Mishap;
use crate::support::{World, context};

#[tokio::test]
async fn a_delete_removes_all_and_a_second_one_is_nothing() {
    let world = World::new().await;
    let deleting = world.begin(&world.active().await, TaskState::Deleting);
    for _ in 0..2 {
        world.manager.terminate_instance(&context(), deleting.clone(), &[]).await.unwrap();
        world.assert_nothing_left(&deleting);
        assert!(world.row(&deleting).deleted);
    }
    assert_eq!(world.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn a_port_that_was_there_before_the_server_stays() {
    use kilonova_objects::{NetworkRequest, NetworkRequestList};
    let world = World::new().await;
    let port = world.network.fake.add_port(world.private.id, "p");
    let instance = world.create();
    let mut message = world.message(&instance);
    let request = NetworkRequest { port_id: Some(port.id), ..NetworkRequest::default() };
    message.requested_networks = Some(NetworkRequestList::from(vec![request]));
    world.manager.build_and_run_instance(&context(), message).await.unwrap();
    world.manager.terminate_instance(&context(), world.row(&instance), &[]).await.unwrap();
    assert_eq!(world.network.fake.ports(), [port]);
}

#[tokio::test]
async fn a_delete_that_fails_at_any_step_keeps_the_row_and_is_finished_by_the_next() {
    type Break = fn(&World);
    let steps: [(&str, Break, &str); 4] = [
        (
            "driver",
            |world| {
                world.driver.fake.fail_next(FakeOperation::Destroy, DriverError::Host("the disk is stuck".to_owned()))
            },
            "the disk is stuck",
        ),
        ("network", |world| *world.network.failing_releases.lock().unwrap() = 1, "network failed: told to fail"),
        ("placement", |world| *world.placement.failing_releases.lock().unwrap() = 1, "placement failed: told to fail"),
        ("conductor", |world| world.conductor.mishap(1, Mishap::Refuse, "Instance.destroy"), "the database went away"),
    ];
    for (step, break_it, sentence) in steps {
        let world = World::new().await;
        let deleting = world.begin(&world.active().await, TaskState::Deleting);
        break_it(&world);
        let error = world.manager.terminate_instance(&context(), deleting.clone(), &[]).await.unwrap_err();
        assert_eq!(error.to_string(), sentence);
        assert_eq!(world.row(&deleting), deleting, "{step}");
        assert_eq!(world.faults(), [sentence]);
        world.manager.terminate_instance(&context(), deleting.clone(), &[]).await.unwrap();
        world.assert_nothing_left(&deleting);
        assert!(world.row(&deleting).deleted, "{step}");
    }
}
