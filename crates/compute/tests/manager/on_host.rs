//! What changes a guest on its host and nothing else: pause, suspend, rescue, soft delete, passwords, and what is asked of
//! a guest.

use std::collections::BTreeMap;
use std::time::Duration;

use kilonova_core::time::utcnow;
use kilonova_objects::{Instance, PowerState, TaskState, VmState};
use kilonova_rpcapi::compute::{
    GetDiagnostics, GetInstanceDiagnostics, InjectNetworkInfo, PauseInstance, RescueInstance, SetAdminPassword,
    TriggerCrashDump,
};
use kilonova_virt::fake::{FakeGuest, FakeRescue};
use kilonova_virt::{DriverError, FakeOperation, RescueDevice};
use serde_json::json;
use uuid::Uuid;

use crate::support::conductor::{Event, Mishap};
use crate::support::{HOST, World, context};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Pause,
    Unpause,
    Suspend,
    Resume,
    Rescue,
    Unrescue,
    SoftDelete,
    Restore,
    Password,
}

/// What is to be seen of an action.
struct Facts {
    /// What the API writes.
    task: TaskState,
    operation: FakeOperation,
    event: &'static str,
    /// After it.
    after: (VmState, PowerState),
    /// What the instance is when the driver fails; `None`: as before.
    failed: Option<VmState>,
}

impl Act {
    const ALL: [Self; 9] = [
        Self::Pause,
        Self::Unpause,
        Self::Suspend,
        Self::Resume,
        Self::Rescue,
        Self::Unrescue,
        Self::SoftDelete,
        Self::Restore,
        Self::Password,
    ];

    fn facts(self) -> Facts {
        use FakeOperation as O;
        use TaskState as T;
        let error = Some(VmState::Error);
        let active = (VmState::Active, PowerState::Running);
        let (task, operation, event, after, failed) = match self {
            Self::Pause => {
                (T::Pausing, O::Pause, "compute_pause_instance", (VmState::Paused, PowerState::Paused), None)
            }
            Self::Unpause => (T::Unpausing, O::Unpause, "compute_unpause_instance", active, None),
            Self::Suspend => {
                let after = (VmState::Suspended, PowerState::Suspended);
                (T::Suspending, O::Suspend, "compute_suspend_instance", after, error)
            }
            Self::Resume => (T::Resuming, O::Resume, "compute_resume_instance", active, error),
            Self::Rescue => {
                let after = (VmState::Rescued, PowerState::Running);
                (T::Rescuing, O::Rescue, "compute_rescue_instance", after, error)
            }
            Self::Unrescue => (T::Unrescuing, O::Unrescue, "compute_unrescue_instance", active, error),
            Self::SoftDelete => {
                let after = (VmState::SoftDeleted, PowerState::Shutdown);
                (T::SoftDeleting, O::PowerOff, "compute_soft_delete_instance", after, None)
            }
            Self::Restore => (T::Restoring, O::PowerOn, "compute_restore_instance", active, None),
            Self::Password => (T::UpdatingPassword, O::SetAdminPassword, "compute_set_admin_password", active, None),
        };
        Facts { task, operation, event, after, failed }
    }

    /// What must have been done before.
    fn before(self) -> Option<Self> {
        match self {
            Self::Unpause => Some(Self::Pause),
            Self::Resume => Some(Self::Suspend),
            Self::Unrescue => Some(Self::Rescue),
            Self::Restore => Some(Self::SoftDelete),
            _ => None,
        }
    }

    /// A server that is ready for it, as the API has marked it; and as it was before that.
    async fn begun(self, world: &World) -> (Instance, Instance) {
        let mut instance = world.active().await;
        if let Some(first) = self.before() {
            let begun = world.begin(&instance, first.facts().task);
            first.run(world, &begun).await.unwrap();
            instance = world.row(&instance);
        }
        (world.begin(&instance, self.facts().task), instance)
    }

    async fn run(self, world: &World, instance: &Instance) -> Result<(), String> {
        let (manager, context, instance) = (&world.manager, context(), instance.clone());
        let result = match self {
            Self::Pause => manager.pause_instance(&context, instance).await,
            Self::Unpause => manager.unpause_instance(&context, instance).await,
            Self::Suspend => manager.suspend_instance(&context, instance).await,
            Self::Resume => manager.resume_instance(&context, instance).await,
            Self::Rescue => manager.rescue_instance(&context, rescue(world, instance, None)).await,
            Self::Unrescue => manager.unrescue_instance(&context, instance).await,
            Self::SoftDelete => manager.soft_delete_instance(&context, instance).await,
            Self::Restore => manager.restore_instance(&context, instance).await,
            Self::Password => manager.set_admin_password(&context, instance, "secret").await,
        };
        result.map_err(|error| error.to_string())
    }
}

/// The message of a rescue, from the image that the server was made from.
fn rescue(world: &World, mut instance: Instance, image_ref: Option<Uuid>) -> RescueInstance {
    let base = Some(world.disk.id.to_string());
    instance.system_metadata.insert("image_base_image_ref".to_owned(), base);
    RescueInstance {
        instance,
        rescue_password: Some("secret".to_owned()),
        rescue_image_ref: image_ref.map(|id| id.to_string()),
        clean_shutdown: true,
    }
}

fn out_of_paper() -> DriverError {
    DriverError::Hypervisor("out of paper".to_owned())
}

fn states(instance: &Instance) -> (VmState, Option<TaskState>, PowerState) {
    (instance.vm_state, instance.task_state, instance.power_state)
}

impl World {
    fn guest_is(&self, instance: &Instance, is: impl FnOnce(&FakeGuest) -> bool) -> bool {
        is(&self.guest(instance).unwrap())
    }
}

#[tokio::test]
async fn each_action_does_what_it_says_and_is_recorded() {
    for act in Act::ALL {
        let world = World::new().await;
        let facts = act.facts();
        let (instance, _) = act.begun(&world).await;
        world.conductor.ended_events().await;
        world.conductor.rows().events.clear();
        act.run(&world, &instance).await.unwrap();
        let row = world.row(&instance);
        assert_eq!(states(&row), (facts.after.0, None, facts.after.1), "{act:?}");
        let event = |end| Event { name: facts.event.to_owned(), end };
        assert_eq!(world.conductor.ended_events().await, [event(None), event(Some(None))], "{act:?}");
        assert_eq!(world.faults(), Vec::<String>::new(), "{act:?}");
    }
}

#[tokio::test]
async fn an_action_that_the_driver_fails_leaves_a_fault_and_the_state_that_nova_leaves() {
    for act in Act::ALL {
        let world = World::new().await;
        let facts = act.facts();
        let (instance, before) = act.begun(&world).await;
        world.driver.fake.fail_next(facts.operation, out_of_paper());
        let message = match act {
            Act::Rescue => format!("Instance {} cannot be rescued: Driver Error: out of paper", instance.uuid),
            Act::Password => {
                format!("Failed to set admin password on {} because error setting admin password", instance.uuid)
            }
            _ => "out of paper".to_owned(),
        };
        assert_eq!(act.run(&world, &instance).await.unwrap_err(), message, "{act:?}");
        let vm_state = facts.failed.unwrap_or(before.vm_state);
        assert_eq!(states(&world.row(&instance)), (vm_state, None, before.power_state), "{act:?}");
        assert_eq!(world.faults(), [message], "{act:?}");
    }
}

#[tokio::test]
async fn an_action_that_the_driver_does_not_do_leaves_the_server_as_it_was_with_a_fault() {
    for act in Act::ALL.into_iter().filter(|act| !matches!(act, Act::SoftDelete | Act::Restore)) {
        let world = World::new().await;
        let (instance, before) = act.begun(&world).await;
        let guest = world.guest(&instance);
        world.driver.fake.fail_next(act.facts().operation, DriverError::NotSupported("that"));
        let message = "that is not supported by this driver";
        assert_eq!(act.run(&world, &instance).await.unwrap_err(), message, "{act:?}");
        assert_eq!(states(&world.row(&instance)), states(&before), "{act:?}");
        assert_eq!(world.guest(&instance), guest, "{act:?}");
        assert_eq!(world.faults(), [message], "{act:?}");
    }
}

#[tokio::test]
async fn an_action_on_a_server_that_is_being_deleted_does_nothing() {
    for act in Act::ALL {
        let world = World::new().await;
        let (message, _) = act.begun(&world).await;
        let guest = world.guest(&message);
        let row = world.begin(&message, TaskState::Deleting);
        act.run(&world, &message).await.unwrap();
        assert_eq!((world.guest(&message), world.row(&message)), (guest, row), "{act:?}");
    }
}

/// The driver has done it, and how it ended could not be written: the agent, started again, finds out.
#[tokio::test(start_paused = true)]
async fn an_action_whose_end_was_not_written_is_ended_by_a_restart() {
    for act in Act::ALL {
        let world = World::new().await;
        let facts = act.facts();
        let (instance, before) = act.begun(&world).await;
        world.conductor.mishap_at(3, Mishap::Refuse, "Instance.save", "task_state", json!(null));
        act.run(&world, &instance).await.unwrap_err();
        assert_eq!(world.row(&instance).task_state, Some(facts.task), "{act:?}");
        world.manager.init_host(&context()).await.unwrap();
        let row = world.row(&instance);
        // Nobody knows any more with which image it was rescued, so it runs from its own disk.
        let expected = if act == Act::Rescue { states(&before) } else { (facts.after.0, None, facts.after.1) };
        assert_eq!(states(&row), expected, "{act:?}");
        assert!(act != Act::Rescue || world.guest_is(&instance, |guest| guest.rescue.is_none()));
        assert_eq!(world.faults(), Vec::<String>::new(), "{act:?}");
    }
}

/// The message was lost: nobody carries the action out, until two passes have seen it so.
#[tokio::test]
async fn an_action_that_nobody_carries_out_is_done_or_cleared_by_the_passes() {
    for act in Act::ALL {
        let world = World::new().await;
        let (instance, before) = act.begun(&world).await;
        world.manager.repair_stale_tasks(&context()).await.unwrap();
        assert_eq!(world.row(&instance).task_state, Some(act.facts().task), "{act:?}");
        world.manager.repair_stale_tasks(&context()).await.unwrap();
        let done = (act.facts().after.0, None, act.facts().after.1);
        let expected = match act {
            Act::Pause | Act::Suspend | Act::Rescue | Act::Password => states(&before),
            _ => done,
        };
        assert_eq!(states(&world.row(&instance)), expected, "{act:?}");
    }
}

#[tokio::test]
async fn a_rescue_boots_from_the_image_named_or_from_the_one_of_the_server() {
    let world = World::new().await;
    let mut own = world.image.add("rescue", "/nowhere");
    own.properties = BTreeMap::from([("hw_rescue_bus".to_owned(), "usb".to_owned())]);
    let other = own.id;
    world.image.put(own, "/nowhere");
    let stable = Some(RescueDevice { device: "disk".to_owned(), bus: Some("usb".to_owned()) });
    for (image_ref, image_id, device) in [(None, world.disk.id, None), (Some(other), other, stable)] {
        let long_ago = utcnow() - chrono::TimeDelta::days(1);
        let active = world.active().await;
        world.conductor.change(active.uuid, |row| row.launched_at = Some(long_ago));
        let instance = world.begin(&active, TaskState::Rescuing);
        world.manager.rescue_instance(&context(), rescue(&world, instance.clone(), image_ref)).await.unwrap();
        let guest = world.guest(&instance).unwrap();
        assert_eq!(guest.rescue, Some(FakeRescue { image_id, device }));
        assert_eq!((guest.boots, guest.admin_password.as_deref()), (2, Some("secret")));
        assert!(world.row(&instance).launched_at > Some(long_ago));
        let unrescuing = world.begin(&instance, TaskState::Unrescuing);
        world.manager.unrescue_instance(&context(), unrescuing).await.unwrap();
        let guest = world.guest(&instance).unwrap();
        assert_eq!((guest.rescue, guest.boots), (None, 3));
    }
    assert_eq!(*world.driver.graces.lock().unwrap(), [Duration::from_secs(60); 2]);
}

#[tokio::test]
async fn a_rescue_that_takes_too_long_is_ended() {
    let world = World::with(|config| config.rescue_timeout = Some(Duration::from_secs(60))).await;
    let rescued = async |seconds: i64| {
        let (instance, _) = Act::Rescue.begun(&world).await;
        Act::Rescue.run(&world, &instance).await.unwrap();
        let since = utcnow() - chrono::TimeDelta::seconds(seconds);
        world.conductor.change(instance.uuid, |row| row.launched_at = Some(since))
    };
    let (recent, long) = (rescued(50).await, rescued(70).await);
    world.manager.poll_rescued_instances(&context()).await.unwrap();
    assert_eq!(world.row(&recent), recent);
    assert_eq!(states(&world.row(&long)), (VmState::Active, None, PowerState::Running));
    assert!(world.guest_is(&long, |guest| guest.rescue.is_none()));
}

#[tokio::test]
async fn a_rescue_without_a_usable_image_leaves_the_server_running() {
    let world = World::new().await;
    let missing = Uuid::new_v4();
    let mut odd = world.image.add("odd", "/nowhere");
    odd.properties = BTreeMap::from([("hw_rescue_device".to_owned(), "tape".to_owned())]);
    let tape = odd.id;
    world.image.put(odd, "/nowhere");
    let instance = world.active().await;
    let rescue_with = async |image: Uuid| {
        let begun = world.begin(&instance, TaskState::Rescuing);
        let message = rescue(&world, begun, Some(image));
        let failed = world.manager.rescue_instance(&context(), message).await.unwrap_err().to_string();
        (world.row(&instance).vm_state, failed)
    };
    let (vm_state, message) = rescue_with(missing).await;
    assert_eq!(vm_state, VmState::Active, "{message}");
    let (vm_state, message) = rescue_with(tape).await;
    let reason = "Requested rescue device 'tape' is not supported";
    let expected = format!("Instance {} cannot be rescued: Driver Error: {reason}", instance.uuid);
    assert_eq!((vm_state, message), (VmState::Error, expected));
    assert_eq!(world.guest(&instance).unwrap().boots, 1);
}

#[tokio::test]
async fn a_password_is_set_of_running_guests_only() {
    let world = World::new().await;
    let instance = world.begin(&world.active().await, TaskState::UpdatingPassword);
    Act::Password.run(&world, &instance).await.unwrap();
    assert_eq!(world.guest(&instance).unwrap().admin_password.as_deref(), Some("secret"));
    let again = world.begin(&instance, TaskState::UpdatingPassword);
    world.hypervisor.change(instance.uuid, |guest| guest.is_running = false).unwrap();
    let uuid = instance.uuid;
    let message = format!("Failed to set admin password on {uuid} because instance {uuid} is not running");
    assert_eq!(Act::Password.run(&world, &again).await.unwrap_err(), message);
    let row = world.row(&instance);
    assert_eq!((row.vm_state, row.task_state, row.power_state), (VmState::Active, None, PowerState::Shutdown));
}

#[tokio::test]
async fn what_has_no_guest_is_soft_deleted_too() {
    let world = World::new().await;
    let instance = world.begin(&world.active().await, TaskState::SoftDeleting);
    world.driver.fake.fail_next(FakeOperation::PowerOff, DriverError::InstanceNotFound(instance.uuid));
    Act::SoftDelete.run(&world, &instance).await.unwrap();
    assert_eq!(world.row(&instance).vm_state, VmState::SoftDeleted);
}

#[tokio::test]
async fn what_was_not_restored_in_time_is_deleted_and_nothing_else() {
    let hour = Duration::from_secs(3600);
    let world = World::with(|config| config.reclaim_instance_interval = Some(hour)).await;
    let soft_deleted = async || {
        let instance = world.begin(&world.active().await, TaskState::SoftDeleting);
        Act::SoftDelete.run(&world, &instance).await.unwrap();
        world.row(&instance)
    };
    let ago = |instance: &Instance, seconds: i64| {
        world.conductor.change(instance.uuid, |row| {
            row.deleted_at = Some(utcnow() - chrono::TimeDelta::seconds(seconds));
        })
    };
    let (running, recent, restoring, due) =
        (world.active().await, soft_deleted().await, soft_deleted().await, soft_deleted().await);
    let recent = ago(&recent, 3500);
    ago(&restoring, 3700);
    let restoring = world.begin(&restoring, TaskState::Restoring);
    ago(&due, 3700);
    world.manager.reclaim_queued_deletes(&context()).await.unwrap();
    assert!(world.row(&due).deleted);
    assert_eq!(world.guest(&due), None);
    assert_eq!(world.allocations(&due), None);
    for kept in [&running, &recent, &restoring] {
        assert_eq!(&world.row(kept), kept);
        assert!(world.guest(kept).is_some() && world.allocations(kept).is_some());
    }
}

#[tokio::test]
async fn a_reclaim_that_was_cut_short_is_finished_by_a_restart() {
    let world = World::new().await;
    let instance = world.begin(&world.active().await, TaskState::SoftDeleting);
    Act::SoftDelete.run(&world, &instance).await.unwrap();
    world.begin(&instance, TaskState::Deleting);
    world.manager.init_host(&context()).await.unwrap();
    assert!(world.row(&instance).deleted);
    world.assert_nothing_left(&instance);
}

#[tokio::test]
async fn nothing_is_reclaimed_where_nothing_is_soft_deleted() {
    let world = World::new().await;
    let asked = world.conductor.rows().asked.len();
    world.manager.reclaim_queued_deletes(&context()).await.unwrap();
    assert_eq!(world.conductor.rows().asked.len(), asked);
}

#[tokio::test]
async fn a_guest_that_was_paused_behind_our_back_is_still_active() {
    let world = World::new().await;
    let instance = world.active().await;
    world.hypervisor.change(instance.uuid, |guest| guest.is_paused = true).unwrap();
    world.manager.sync_power_states(&context()).await.unwrap();
    assert_eq!(states(&world.row(&instance)), (VmState::Active, None, PowerState::Paused));
    let pausing = world.begin(&instance, TaskState::Pausing);
    Act::Pause.run(&world, &pausing).await.unwrap();
    world.hypervisor.change(instance.uuid, |guest| guest.is_running = false).unwrap();
    world.manager.sync_power_states(&context()).await.unwrap();
    assert_eq!(states(&world.row(&instance)), (VmState::Stopped, None, PowerState::Shutdown));
}

#[tokio::test]
async fn a_crash_dump_changes_no_state_and_its_failure_is_a_fault() {
    let world = World::new().await;
    let instance = world.active().await;
    world.conductor.ended_events().await;
    world.conductor.rows().events.clear();
    world.manager.trigger_crash_dump(&context(), instance.clone()).await.unwrap();
    assert_eq!(world.guest(&instance).unwrap().crash_dumps, 1);
    assert_eq!(world.row(&instance), instance);
    world.hypervisor.change(instance.uuid, |guest| guest.is_running = false).unwrap();
    let message = format!("Instance {} is not running.", instance.uuid);
    let error = world.manager.trigger_crash_dump(&context(), instance.clone()).await.unwrap_err();
    assert_eq!(error.to_string(), message);
    assert_eq!(world.faults(), std::slice::from_ref(&message));
    assert_eq!(world.conductor.rows().faults[0].code, 400);
    let event = |end| Event { name: "compute_trigger_crash_dump".to_owned(), end };
    let expected = [event(None), event(Some(None)), event(None), event(Some(Some(message)))];
    assert_eq!(world.conductor.ended_events().await, expected);
}

#[tokio::test]
async fn addresses_are_injected_and_a_failure_is_a_fault() {
    let world = World::new().await;
    let instance = world.active().await;
    world.manager.inject_network_info(&context(), instance.clone()).await.unwrap();
    assert_eq!(world.guest(&instance).unwrap().network_injections, 1);
    world.driver.fake.fail_next(FakeOperation::InjectNetworkInfo, out_of_paper());
    world.manager.inject_network_info(&context(), instance).await.unwrap_err();
    assert_eq!(world.faults(), ["out of paper"]);
}

/// Over the wire: each method is served under its name, and errors are the exceptions that the API knows.
#[tokio::test]
async fn the_agent_serves_them_under_novas_names() {
    let world = World::serving(|_| {}).await;
    let api = world.compute_api();
    let instance = world.active().await;
    let pausing = world.begin(&instance, TaskState::Pausing);
    api.cast(&context(), HOST, PauseInstance { instance: pausing }).await.unwrap();
    world.until("the pause", || world.row(&instance).vm_state == VmState::Paused).await;
    world.until("its end", || world.row(&instance).task_state.is_none()).await;

    let look = async || api.call(&context(), HOST, GetInstanceDiagnostics { instance: instance.clone() }).await;
    let refused = look().await.unwrap_err();
    assert!(refused.is("InstanceInvalidState"), "{refused}");
    world.hypervisor.change(instance.uuid, |guest| guest.is_paused = false).unwrap();
    let counted = look().await.unwrap();
    assert_eq!((counted.state.as_str(), counted.num_cpus, counted.num_disks), ("running", 1, 1));
    assert_eq!(counted.memory_details.maximum, Some(64));
    let mac = &instance.network_info().0[0].address;
    assert_eq!(counted.nic_details[0].mac_address.as_ref(), Some(mac));
    let legacy = api.call(&context(), HOST, GetDiagnostics { instance: instance.clone() }).await.unwrap();
    assert_eq!((&legacy["memory"], &legacy["vda_read"]), (&json!(64 * 1024), &json!(0)));
    world.driver.fake.fail_next(FakeOperation::Diagnostics, DriverError::NotSupported("diagnostics"));
    assert!(look().await.unwrap_err().is("NotImplementedError"));

    let set = SetAdminPassword {
        instance: world.begin(&instance, TaskState::UpdatingPassword),
        new_pass: Some("secret".to_owned()),
    };
    world.driver.fake.fail_next(FakeOperation::SetAdminPassword, out_of_paper());
    assert!(api.call(&context(), HOST, set.clone()).await.unwrap_err().is("InstancePasswordSetFailed"));
    world.begin(&instance, TaskState::UpdatingPassword);
    api.call(&context(), HOST, set).await.unwrap();
    api.call(&context(), HOST, TriggerCrashDump { instance: instance.clone() }).await.unwrap();
    api.call(&context(), HOST, InjectNetworkInfo { instance: instance.clone() }).await.unwrap();
    let guest = world.guest(&instance).unwrap();
    assert_eq!((guest.crash_dumps, guest.network_injections), (1, 1));
    assert_eq!(guest.admin_password.as_deref(), Some("secret"));
}
