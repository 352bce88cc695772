//! Start, stop and reboot: done, failed, overtaken, and asked for twice.

use std::time::Duration;

use kilonova_objects::{Instance, PowerState, TaskState, VmState};
use kilonova_virt::{DriverError, FakeOperation, RebootKind};

use crate::support::conductor::Event;
use crate::support::{World, context, metadata};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Start,
    Stop,
    Soft,
    Hard,
}

impl Act {
    const ALL: [Self; 4] = [Self::Start, Self::Stop, Self::Soft, Self::Hard];

    /// What the API writes, what the driver does, what it is recorded as, and what the instance is after it.
    fn facts(self) -> (TaskState, FakeOperation, &'static str, VmState) {
        match self {
            Self::Start => (TaskState::PoweringOn, FakeOperation::PowerOn, "compute_start_instance", VmState::Active),
            Self::Stop => (TaskState::PoweringOff, FakeOperation::PowerOff, "compute_stop_instance", VmState::Stopped),
            Self::Soft => (TaskState::Rebooting, FakeOperation::Reboot, "compute_reboot_instance", VmState::Active),
            Self::Hard => (TaskState::RebootingHard, FakeOperation::Reboot, "compute_reboot_instance", VmState::Active),
        }
    }

    async fn before(self, world: &World) -> Instance {
        if self == Self::Start { world.stopped().await } else { world.active().await }
    }

    async fn run(self, world: &World, instance: &Instance) -> Result<(), String> {
        let (manager, context, instance) = (&world.manager, context(), instance.clone());
        let result = match self {
            Self::Start => manager.start_instance(&context, instance).await,
            Self::Stop => manager.stop_instance(&context, instance, true).await,
            Self::Soft => manager.reboot_instance(&context, instance, RebootKind::Soft).await,
            Self::Hard => manager.reboot_instance(&context, instance, RebootKind::Hard).await,
        };
        result.map_err(|error| error.to_string())
    }
}

fn out_of_paper() -> DriverError {
    DriverError::Hypervisor("out of paper".to_owned())
}

fn power_state(vm_state: VmState) -> PowerState {
    if vm_state == VmState::Active { PowerState::Running } else { PowerState::Shutdown }
}

#[tokio::test]
async fn each_action_does_what_it_says_and_is_recorded() {
    for act in Act::ALL {
        let world = World::new().await;
        let (task, _, event, after) = act.facts();
        let instance = world.begin(&act.before(&world).await, task);
        let boots = world.guest(&instance).unwrap().boots;
        world.conductor.ended_events().await;
        world.conductor.rows().events.clear();
        act.run(&world, &instance).await.unwrap();
        let row = world.row(&instance);
        assert_eq!((row.vm_state, row.task_state, row.power_state), (after, None, power_state(after)), "{act:?}");
        let guest = world.guest(&instance).unwrap();
        assert_eq!(guest.is_running, after == VmState::Active);
        assert_eq!(guest.boots, if act == Act::Stop { boots } else { boots + 1 });
        let event = |end| Event { name: event.to_owned(), end };
        assert_eq!(world.conductor.ended_events().await, [event(None), event(Some(None))]);
        assert_eq!(world.faults(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_action_that_the_driver_fails_leaves_the_server_as_it_was_with_a_fault() {
    for act in Act::ALL {
        let world = World::new().await;
        let (task, operation, ..) = act.facts();
        let before = act.before(&world).await;
        let instance = world.begin(&before, task);
        world.driver.fake.fail_next(operation, out_of_paper());
        assert_eq!(act.run(&world, &instance).await.unwrap_err(), "out of paper", "{act:?}");
        let row = world.row(&instance);
        assert_eq!(
            (row.vm_state, row.task_state, row.power_state),
            (before.vm_state, None, before.power_state),
            "{act:?}"
        );
        assert_eq!(world.faults(), ["out of paper"]);
    }
}

#[tokio::test]
async fn a_failed_action_shows_the_power_state_that_the_guest_has_now() {
    let world = World::new().await;
    let instance = world.begin(&world.active().await, TaskState::RebootingHard);
    world.driver.fake.fail_next(FakeOperation::Reboot, out_of_paper());
    world.hypervisor.change(instance.uuid, |guest| guest.is_running = false).unwrap();
    assert!(Act::Hard.run(&world, &instance).await.is_err());
    let row = world.row(&instance);
    assert_eq!((row.vm_state, row.power_state), (VmState::Active, PowerState::Shutdown));
}

/// A delete begins while the driver works; it fails, or not.
#[tokio::test(start_paused = true)]
async fn an_action_that_a_delete_overtakes_leaves_no_fault() {
    for act in Act::ALL {
        for fails in [false, true] {
            let world = World::new().await;
            let (task, operation, ..) = act.facts();
            let instance = world.begin(&act.before(&world).await, task);
            world.driver.fake.delay(operation, Duration::from_secs(1));
            if fails {
                world.driver.fake.fail_next(operation, out_of_paper());
            }
            let events = world.conductor.rows().events.len();
            let (ended, ()) = tokio::join!(act.run(&world, &instance), async {
                let has_begun = || world.conductor.rows().events.len() > events && begun(&world, act, &instance);
                world.until("the action", has_begun).await;
                world.begin(&instance, TaskState::Deleting);
            });
            assert_eq!(world.faults(), Vec::<String>::new(), "{act:?}, fails: {fails}");
            assert_eq!(ended.is_err(), fails, "{act:?}");
            assert_eq!(world.row(&instance).task_state, Some(TaskState::Deleting));
        }
    }
}

/// A reboot writes that it has begun, before the driver is asked.
fn begun(world: &World, act: Act, instance: &Instance) -> bool {
    let task = world.row(instance).task_state;
    match act {
        Act::Soft => task == Some(TaskState::RebootStarted),
        Act::Hard => task == Some(TaskState::RebootStartedHard),
        _ => true,
    }
}

#[tokio::test]
async fn an_action_on_a_server_that_is_being_deleted_or_gone_does_nothing() {
    for act in Act::ALL {
        let world = World::new().await;
        let (task, ..) = act.facts();
        let message = world.begin(&act.before(&world).await, task);
        let guest = world.guest(&message);
        world.begin(&message, TaskState::Deleting);
        act.run(&world, &message).await.unwrap();
        assert_eq!(world.guest(&message), guest, "{act:?}");
        world.conductor.change(message.uuid, |row| row.deleted = true);
        act.run(&world, &message).await.unwrap();
        assert_eq!(world.guest(&message), guest, "{act:?}");
        assert_eq!(world.faults(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_stop_that_comes_late_does_not_stop_what_was_started_since() {
    let world = World::new().await;
    let message = world.begin(&world.active().await, TaskState::PoweringOff);
    Act::Stop.run(&world, &message).await.unwrap();
    let starting = world.begin(&message, TaskState::PoweringOn);
    Act::Start.run(&world, &starting).await.unwrap();
    let started = world.row(&message);
    Act::Stop.run(&world, &message).await.unwrap();
    assert!(world.guest(&message).unwrap().is_running);
    assert_eq!(world.row(&message), started);
}

#[tokio::test(start_paused = true)]
async fn a_hard_reboot_overtakes_a_soft_one() {
    let world = World::new().await;
    let soft = world.begin(&world.active().await, TaskState::Rebooting);
    world.driver.fake.delay(FakeOperation::Reboot, Duration::from_secs(1));
    let (softly, hardly) = tokio::join!(Act::Soft.run(&world, &soft), async {
        world.until("the reboot", || begun(&world, Act::Soft, &soft)).await;
        let hard = world.begin(&soft, TaskState::RebootingHard);
        Act::Hard.run(&world, &hard).await
    });
    assert_eq!((softly, hardly), (Ok(()), Ok(())));
    assert_eq!(*world.driver.reboots.lock().unwrap(), [RebootKind::Soft, RebootKind::Hard]);
    let row = world.row(&soft);
    assert_eq!((row.vm_state, row.task_state), (VmState::Active, None));
    assert_eq!(world.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn a_hard_reboot_starts_a_stopped_server() {
    let world = World::new().await;
    let instance = world.begin(&world.stopped().await, TaskState::RebootingHard);
    Act::Hard.run(&world, &instance).await.unwrap();
    assert_eq!(world.row(&instance).vm_state, VmState::Active);
    assert!(world.guest(&instance).unwrap().is_running);
}

#[tokio::test]
async fn only_a_clean_shutdown_gives_the_guest_time() {
    for (is_clean, expected) in [(true, Duration::from_secs(60)), (false, Duration::ZERO)] {
        let world = World::new().await;
        let instance = world.begin(&world.active().await, TaskState::PoweringOff);
        world.manager.stop_instance(&context(), instance, is_clean).await.unwrap();
        assert_eq!(*world.driver.graces.lock().unwrap(), [expected]);
    }
}

#[tokio::test]
async fn what_the_driver_says_after_a_start_joins_what_the_user_wrote_since() {
    let world = World::new().await;
    let message = world.begin(&world.stopped().await, TaskState::PoweringOn);
    *world.driver.metadata.lock().unwrap() = metadata(&[("ssh", "127.0.0.1:2201")]);
    world.conductor.change(message.uuid, |row| row.metadata = metadata(&[("mine", "new")]));
    Act::Start.run(&world, &message).await.unwrap();
    assert_eq!(world.row(&message).metadata, metadata(&[("mine", "new"), ("ssh", "127.0.0.1:2201")]));
}
