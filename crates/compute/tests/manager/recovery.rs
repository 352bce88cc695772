//! What an agent does when it starts, and in its passes, about what does not fit together.

use kilonova_objects::{Instance, PowerState, TaskState, VmState};
use kilonova_virt::{DriverError, FakeOperation, RebootKind};

use crate::support::conductor::Mishap;
use crate::support::{HOST, OTHER_HOST, World, context};

impl World {
    /// The agent starts again on what is there.
    async fn restart(&self) {
        self.manager.init_host(&context()).await.unwrap();
    }

    fn goes_down(&self, instance: &Instance) {
        self.hypervisor.change(instance.uuid, |guest| guest.is_running = false).unwrap();
    }

    fn comes_up(&self, instance: &Instance) {
        self.hypervisor.change(instance.uuid, |guest| guest.is_running = true).unwrap();
    }

    fn states(&self, instance: &Instance) -> (VmState, Option<TaskState>, PowerState) {
        let row = self.row(instance);
        (row.vm_state, row.task_state, row.power_state)
    }
}

const ACTIVE: (VmState, Option<TaskState>, PowerState) = (VmState::Active, None, PowerState::Running);
const STOPPED: (VmState, Option<TaskState>, PowerState) = (VmState::Stopped, None, PowerState::Shutdown);

#[tokio::test]
async fn a_restart_finishes_power_actions() {
    let world = World::new().await;
    let stopping = world.begin(&world.active().await, TaskState::PoweringOff);
    let stopped_unheard = world.begin(&world.active().await, TaskState::PoweringOff);
    world.goes_down(&stopped_unheard);
    let starting = world.begin(&world.stopped().await, TaskState::PoweringOn);
    world.restart().await;
    assert_eq!(world.states(&stopping), STOPPED);
    assert_eq!(world.states(&stopped_unheard), STOPPED);
    assert_eq!(world.states(&starting), ACTIVE);
    assert!(!world.guest(&stopping).unwrap().is_running);
    assert!(world.guest(&starting).unwrap().is_running);
    assert_eq!(world.faults(), Vec::<String>::new());
}

#[tokio::test]
async fn a_restart_ends_reboots_and_boots_only_guests_that_are_down() {
    use TaskState as T;
    for task in
        [T::Rebooting, T::RebootPending, T::RebootStarted, T::RebootingHard, T::RebootPendingHard, T::RebootStartedHard]
    {
        let world = World::new().await;
        let up = world.begin(&world.active().await, task);
        let down = world.begin(&world.active().await, task);
        world.goes_down(&down);
        world.restart().await;
        assert_eq!(world.states(&up), ACTIVE, "{task}");
        assert_eq!(world.guest(&up).unwrap().boots, 1, "{task}");
        assert_eq!(world.states(&down), ACTIVE, "{task}");
        assert_eq!(world.guest(&down).unwrap().boots, 2, "{task}");
        assert_eq!(*world.driver.reboots.lock().unwrap(), [RebootKind::Hard], "{task}");
    }
}

#[tokio::test]
async fn a_restart_leaves_builds_and_deletes_to_their_workflows() {
    let world = World::new().await;
    let mut untouched = vec![world.begin(&world.active().await, TaskState::Deleting)];
    for task in [TaskState::Networking, TaskState::Spawning, TaskState::Deleting] {
        untouched.push(world.begin(&world.create(), task));
    }
    let guest = world.guest(&untouched[0]);
    world.restart().await;
    for instance in untouched {
        assert_eq!(world.row(&instance), instance);
    }
    assert_eq!(world.hypervisor.guest(guest.clone().unwrap().uuid), guest);
}

#[tokio::test]
async fn a_restart_clears_the_task_of_an_action_that_nobody_knows() {
    let world = World::new().await;
    let instance = world.begin(&world.active().await, TaskState::ImageSnapshot);
    world.restart().await;
    assert_eq!(world.states(&instance), ACTIVE);
}

#[tokio::test]
async fn after_a_host_reboot_guests_come_back_where_that_is_configured() {
    for (resumes, expected) in [(true, true), (false, false)] {
        let world = World::with(|config| config.resume_guests_state_on_host_boot = resumes).await;
        let instance = world.active().await;
        let stopped = world.stopped().await;
        world.goes_down(&instance);
        world.restart().await;
        assert_eq!(world.guest(&instance).unwrap().is_running, expected);
        assert_eq!(world.row(&instance).task_state, None);
        assert!(!world.guest(&stopped).unwrap().is_running);
    }
}

#[tokio::test]
async fn an_instance_that_cannot_be_looked_at_is_repaired_by_the_passes() {
    let world = World::new().await;
    let rebooting = world.begin(&world.active().await, TaskState::RebootStarted);
    world.driver.fake.fail_next(FakeOperation::GuestInfo, DriverError::Hypervisor("busy".to_owned()));
    world.restart().await;
    assert_eq!(world.row(&rebooting), rebooting);
    assert_eq!(world.guest(&rebooting).unwrap().boots, 1, "a guest that may run is not rebooted");
    for _ in 0..2 {
        world.manager.repair_stale_tasks(&context()).await.unwrap();
    }
    assert_eq!(world.states(&rebooting), ACTIVE);
}

#[tokio::test]
async fn a_restart_repairs_all_of_many_instances() {
    let world = World::new().await;
    let mut stopping = Vec::new();
    for _ in 0..205 {
        stopping.push(world.begin(&world.active().await, TaskState::PoweringOff));
    }
    world.restart().await;
    assert!(stopping.iter().all(|instance| world.states(instance) == STOPPED));
}

#[tokio::test]
async fn guests_that_no_instance_owns_are_removed_and_all_others_stay() {
    for at_start in [true, false] {
        let world = World::new().await;
        let kept = world.active().await;
        let building = world.create();
        let deleting = world.begin(&world.active().await, TaskState::Deleting);
        let deleted = world.active().await;
        world.conductor.change(deleted.uuid, |row| row.deleted = true);
        let elsewhere = world.active().await;
        world.conductor.change(elsewhere.uuid, |row| row.host = Some(OTHER_HOST.to_owned()));
        let given_up = world.active().await;
        world.conductor.change(given_up.uuid, |row| row.host = None);
        let unknown = world.active().await;
        world.conductor.rows().instances.remove(&unknown.uuid);
        if at_start {
            world.restart().await;
        } else {
            world.manager.cleanup_running_deleted_instances(&context()).await.unwrap();
        }
        for orphan in [&deleted, &elsewhere, &given_up] {
            assert_eq!(world.guest(orphan), None);
        }
        for owned in [&kept, &deleting] {
            assert!(world.guest(owned).unwrap().is_running);
        }
        assert!(world.guest(&unknown).is_some(), "a database that has never heard of it may be the wrong one");
        assert_eq!(world.row(&building), building);
    }
}

#[tokio::test]
async fn a_guest_of_which_the_conductor_cannot_tell_stays() {
    let world = World::new().await;
    let deleted = world.active().await;
    world.conductor.change(deleted.uuid, |row| row.deleted = true);
    world.conductor.mishap(1, Mishap::Refuse, "Instance.get_by_uuid");
    world.restart().await;
    assert!(world.guest(&deleted).is_some());
    world.restart().await;
    assert_eq!(world.guest(&deleted), None);
}

#[tokio::test]
async fn power_states_follow_the_hypervisor_in_both_directions() {
    let world = World::new().await;
    let went_down = world.active().await;
    world.goes_down(&went_down);
    let came_up = world.stopped().await;
    world.comes_up(&came_up);
    let (same, busy) = (world.active().await, world.begin(&world.active().await, TaskState::PoweringOff));
    world.goes_down(&busy);
    let elsewhere = world.create_as(Instance {
        host: Some(OTHER_HOST.to_owned()),
        vm_state: VmState::Active,
        task_state: None,
        uuid: uuid::Uuid::new_v4(),
        ..world.create()
    });
    world.manager.sync_power_states(&context()).await.unwrap();
    assert_eq!(world.states(&went_down), STOPPED);
    assert_eq!(world.states(&came_up), ACTIVE);
    assert_eq!(world.row(&same), same);
    assert_eq!(world.row(&busy), busy);
    assert_eq!(world.row(&elsewhere), elsewhere);
    assert_eq!(world.row(&went_down).host.as_deref(), Some(HOST));
}

#[tokio::test]
async fn a_guest_that_goes_down_by_itself_is_noticed_at_the_next_look() {
    let world = World::new().await;
    let (victim, other) = (world.active().await, world.active().await);
    world.goes_down(&victim);
    world.manager.watch_guests(&context()).await.unwrap();
    assert_eq!(world.states(&victim), STOPPED);
    assert_eq!(world.row(&other), other);
    world.comes_up(&victim);
    world.manager.watch_guests(&context()).await.unwrap();
    assert_eq!(world.states(&victim), ACTIVE);
}

#[tokio::test]
async fn a_guest_that_goes_down_while_its_agent_starts_is_noticed_at_the_next_look() {
    let world = World::new().await;
    let victim = world.active().await;
    world.manager.init_host(&context()).await.unwrap();
    world.goes_down(&victim);
    world.manager.watch_guests(&context()).await.unwrap();
    assert_eq!(world.states(&victim), STOPPED);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_goes_down_while_no_conductor_answers_is_noticed_later() {
    let world = World::new().await;
    let victim = world.active().await;
    world.goes_down(&victim);
    world.conductor.mishap(1, Mishap::Refuse, "Instance.get_by_uuid");
    world.manager.watch_guests(&context()).await.unwrap();
    assert_eq!(world.states(&victim), ACTIVE);
    world.manager.watch_guests(&context()).await.unwrap();
    assert_eq!(world.states(&victim), STOPPED);
}

/// The hypervisor's list is older than what the conductor says by the time that a pass gets to an instance.
#[tokio::test(start_paused = true)]
async fn a_server_that_became_active_during_the_pass_is_not_called_stopped() {
    let world = World::new().await;
    world.conductor.mishap(1, Mishap::Slow, "InstanceList.get_by_filters");
    let context = context();
    // The pass is polled first: it has its list of guests when the build begins.
    let (passed, active) = tokio::join!(world.manager.sync_power_states(&context), world.active());
    passed.unwrap();
    assert_eq!(world.row(&active), active);
}
