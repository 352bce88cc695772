//! The move workflows: begun, refused, and taken up where a crash left them. Agents record what they are asked.

use std::sync::{Arc, Mutex};

use kilonova_db::instances::{self, MoveRecord, StartMove};
use kilonova_db::server_migrations;
use kilonova_messaging::Endpoint;
use kilonova_objects::migration::{migration_type, status};
use kilonova_objects::{Migration, Wire as _};
use kilonova_rpcapi::compute::{
    ConfirmResize, FinishRevertResize, LiveMigration, PrepResize, ResizeInstance, RevertResize,
};
use kilonova_rpcapi::conductor::{self, LiveMigrateInstance, MigrateServer};
use kilonova_rpcapi::workflow::{
    MovePayload, STEP_COLD_MIGRATE, STEP_CONFIRM_RESIZE, STEP_EVACUATE, STEP_LIVE_MIGRATE, STEP_REVERT_RESIZE,
};
use kilonova_rpcapi::{RpcMethod, register};

use super::*;

/// Adds the methods of moves to an agent.
pub(super) fn record_all(endpoint: Endpoint, asked: &Arc<Mutex<Asked>>, host: &str) -> Endpoint {
    fn record<M: RpcMethod<Reply = ()>>(endpoint: Endpoint, asked: &Arc<Mutex<Asked>>, host: &str) -> Endpoint {
        let (asked, host) = (asked.clone(), host.to_owned());
        register(endpoint, move |_, method: M| {
            lock(&asked).moves.push((host.clone(), M::NAME, Value::Object(method.to_args())));
            async { Ok(()) }
        })
    }
    let endpoint = record::<PrepResize>(endpoint, asked, host);
    let endpoint = record::<ResizeInstance>(endpoint, asked, host);
    let endpoint = record::<ConfirmResize>(endpoint, asked, host);
    let endpoint = record::<RevertResize>(endpoint, asked, host);
    let endpoint = record::<FinishRevertResize>(endpoint, asked, host);
    record::<LiveMigration>(endpoint, asked, host)
}

fn larger() -> Flavor {
    Flavor { id: 2, flavorid: "2".to_owned(), ..flavor() }
}

impl World {
    /// A server that runs on `OTHER_HOST`, with what it holds there.
    async fn running(&self) -> Instance {
        let (instance, _) = self.create().await;
        self.save(
            &instance,
            json!({"vm_state": "active", "task_state": null, "power_state": 1, "host": OTHER_HOST, "node": OTHER_HOST,
                "instance_type_id": 1}),
        )
        .await;
        let resources = Resources::from([("VCPU".to_owned(), 1)]);
        let held = Allocations::from([(self.provider, resources)]);
        let admin = RequestContext::admin();
        self.placement.set_allocations(&admin, instance.uuid, "p", "u", &held).await.expect("a claim");
        self.instance(&instance).await
    }

    /// What the API writes; the message is lost unless the test sends it.
    async fn begin<M: RpcMethod>(
        &self,
        instance: &Instance,
        step: &str,
        changes: Value,
        record: MoveRecord,
        method: &M,
    ) -> Option<Migration> {
        let start = self.start(instance, step, changes, record, method);
        instances::start_move(&self.db, start).await.expect("a move begins").1
    }

    fn start<M: RpcMethod>(
        &self,
        instance: &Instance,
        step: &str,
        changes: Value,
        record: MoveRecord,
        method: &M,
    ) -> StartMove {
        StartMove {
            uuid: instance.uuid,
            action: "resize",
            changes: changes.as_object().cloned().unwrap_or_default(),
            expected_vm_states: None,
            expected_task_states: None,
            request_id: context().request_id().to_owned(),
            user_id: "u".to_owned(),
            project_id: "p".to_owned(),
            record,
            workflow: NewWorkflow {
                kind: WorkflowKind::Move,
                instance_uuid: instance.uuid,
                step: step.to_owned(),
                payload: MovePayload::of(&context(), None, method).to_value(),
                lease_owner: format!("{HOST}:api"),
                lease: LEASE,
            },
        }
    }

    async fn begin_resize(&self, instance: &Instance) -> MigrateServer {
        let message = MigrateServer {
            instance: instance.clone(),
            scheduler_hint: json!({}),
            live: false,
            rebuild: false,
            flavor: Some(larger()),
            block_migration: None,
            disk_over_commit: None,
            reservations: Value::Null,
            clean_shutdown: true,
            request_spec: None,
            host_list: None,
        };
        let changes = json!({"task_state": "resize_prep"});
        self.begin(instance, STEP_COLD_MIGRATE, changes, MoveRecord::None, &message).await;
        message
    }

    fn asked_moves(&self, name: &str) -> Vec<(String, Value)> {
        let asked = lock(&self.asked);
        let moves = asked.moves.iter().filter(|(_, method, _)| *method == name);
        moves.map(|(host, _, arguments)| (host.clone(), arguments.clone())).collect()
    }

    async fn until_asked(&self, name: &'static str, count: usize) -> (String, Value) {
        self.until(name, async || self.asked_moves(name).len() >= count).await;
        self.asked_moves(name).swap_remove(count - 1)
    }

    async fn held(&self, migration: &Migration) -> Allocations {
        self.placement.allocations(&RequestContext::admin(), migration.uuid).await.expect("placement answers")
    }

    /// The only record there is.
    async fn record(&self) -> Migration {
        let mut found = server_migrations::list(&self.db, &Default::default()).await.expect("the records");
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }
}

fn a_record(instance: &Instance, kind: &str, status: &str, dest: Option<&str>) -> Migration {
    Migration {
        uuid: Uuid::new_v4(),
        instance_uuid: instance.uuid,
        source_compute: Some(OTHER_HOST.to_owned()),
        dest_compute: dest.map(str::to_owned),
        dest_node: dest.map(str::to_owned),
        status: status.to_owned(),
        migration_type: kind.to_owned(),
        ..Migration::default()
    }
}

#[tokio::test]
async fn a_resize_holds_what_there_was_and_asks_the_chosen_host() {
    let world = World::new().await;
    let instance = world.running().await;
    let message = world.begin_resize(&instance).await;
    world.conductor.cast(&context(), message).await.unwrap();
    let (host, arguments) = world.until_asked("prep_resize", 1).await;
    assert_eq!(host, HOST);
    assert_eq!(arguments["host_list"].as_array().unwrap().len(), 1);
    let record = world.record().await;
    assert_eq!((record.status.as_str(), record.migration_type.as_str()), (status::PRE_MIGRATING, "resize"));
    assert_eq!((record.dest_compute.as_deref(), record.user_id.as_deref()), (Some(HOST), Some("u")));
    assert_eq!((world.held(&record).await.len(), world.allocations(&instance).await.len()), (1, 1));
    assert_eq!(arguments["request_spec"]["nova_object.data"]["flavor"]["nova_object.data"]["id"], 2);
    let spec = kilonova_db::request_specs::get(&world.db, instance.uuid).await.unwrap();
    assert_eq!(spec.flavor.id, 1, "it is resized when it is");
}

#[tokio::test]
async fn a_resize_whose_message_or_whose_host_was_lost_is_begun_again_with_the_same_record() {
    let world = World::new().await;
    let instance = world.running().await;
    world.begin_resize(&instance).await;
    world.crash_and_start_again().await;
    world.until_asked("prep_resize", 1).await;
    let record = world.record().await;
    world.crash_and_start_again().await;
    world.until_asked("prep_resize", 2).await;
    assert_eq!(world.record().await.id, record.id);
    assert_eq!((world.held(&record).await.len(), world.allocations(&instance).await.len()), (1, 1));
}

#[tokio::test]
async fn a_resize_without_a_host_leaves_the_server_as_it_was() {
    let world = World::new().await;
    lock(&world.asked).refuses = true;
    let instance = world.running().await;
    let before = world.allocations(&instance).await;
    let message = world.begin_resize(&instance).await;
    world.conductor.cast(&context(), message).await.unwrap();
    world.until("no task", async || world.instance(&instance).await.task_state.is_none()).await;
    let after = world.instance(&instance).await;
    assert_eq!((after.vm_state, after.host.as_deref()), (VmState::Active, Some(OTHER_HOST)));
    let record = world.record().await;
    assert_eq!((record.status.as_str(), world.held(&record).await), (status::ERROR, Allocations::new()));
    assert_eq!(world.allocations(&instance).await, before);
    assert!(world.workflow(WorkflowKind::Move, &instance).await.is_none());
    let action = actions::get(&world.db, instance.uuid, context().request_id()).await.unwrap();
    assert_eq!(action.message.as_deref(), Some("Error"));
}

#[tokio::test]
async fn a_host_that_gives_a_resize_back_is_followed_by_the_next_and_by_an_end() {
    let world = World::new().await;
    let instance = world.running().await;
    let mut message = world.begin_resize(&instance).await;
    world.conductor.cast(&context(), message.clone()).await.unwrap();
    let (_, arguments) = world.until_asked("prep_resize", 1).await;
    message.host_list = Some(Vec::from_wire(&arguments["host_list"]).unwrap());
    world.conductor.cast(&context(), message.clone()).await.unwrap();
    let (host, _) = world.until_asked("prep_resize", 2).await;
    assert_eq!((host.as_str(), world.record().await.dest_compute.as_deref()), (OTHER_HOST, Some(OTHER_HOST)));
    message.host_list = Some(Vec::new());
    world.conductor.cast(&context(), message).await.unwrap();
    world.until("no task", async || world.instance(&instance).await.task_state.is_none()).await;
    assert_eq!(world.record().await.status, status::ERROR);
}

#[tokio::test]
async fn what_is_left_of_a_resize_is_asked_of_the_source_again() {
    for task in ["resize_migrating", "resize_migrated", "resize_finish"] {
        let world = World::new().await;
        let instance = world.running().await;
        world.begin_resize(&instance).await;
        world.crash_and_start_again().await;
        world.until_asked("prep_resize", 1).await;
        world.save(&instance, json!({"task_state": task})).await;
        world.crash_and_start_again().await;
        let (host, arguments) = world.until_asked("resize_instance", 1).await;
        assert_eq!(host, OTHER_HOST, "{task}");
        assert_eq!(arguments["flavor"]["nova_object.data"]["id"], 2);
    }
}

#[tokio::test]
async fn a_confirmation_and_a_revert_are_asked_again_of_whoever_is_next() {
    let world = World::new().await;
    let instance = world.running().await;
    let larger = larger().to_wire();
    let resized = json!({"vm_state": "resized", "host": HOST, "old_flavor": flavor().to_wire(), "new_flavor": larger});
    world.save(&instance, resized).await;
    let record = a_record(&instance, migration_type::RESIZE, status::FINISHED, Some(HOST));
    let record = server_migrations::create(&world.db, &record).await.unwrap();
    let advance = |to| MoveRecord::Advance { id: record.id, from: status::FINISHED, to };
    let confirm = ConfirmResize { instance: instance.clone(), migration: record.clone() };
    world.begin(&instance, STEP_CONFIRM_RESIZE, json!({}), advance(status::CONFIRMING), &confirm).await;
    world.crash_and_start_again().await;
    assert_eq!(world.until_asked("confirm_resize", 1).await.0, OTHER_HOST);

    let changes = json!({"status": status::FINISHED});
    server_migrations::save(&world.db, record.id, changes.as_object().unwrap()).await.unwrap();
    let reverting = json!({"task_state": "resize_reverting"});
    world.begin(&instance, STEP_REVERT_RESIZE, reverting, advance(status::REVERTING), &confirm).await;
    world.crash_and_start_again().await;
    assert_eq!(world.until_asked("revert_resize", 1).await.0, HOST);
    world.save(&instance, json!({"host": OTHER_HOST, "old_flavor": null, "new_flavor": null})).await;
    world.crash_and_start_again().await;
    assert_eq!(world.until_asked("finish_revert_resize", 1).await.0, OTHER_HOST);
    world.save(&instance, json!({"task_state": null, "vm_state": "active"})).await;
    assert!(world.workflow(WorkflowKind::Move, &instance).await.is_none());
}

/// A server that was resized and waits on `HOST`, and the record of that.
async fn waiting(world: &World) -> (Instance, Migration) {
    let instance = world.running().await;
    let resized = json!({"vm_state": "resized", "host": HOST, "node": HOST});
    world.save(&instance, resized).await;
    let record = a_record(&instance, migration_type::RESIZE, status::FINISHED, Some(HOST));
    let record = server_migrations::create(&world.db, &record).await.expect("a record");
    (world.instance(&instance).await, record)
}

impl World {
    async fn status(&self, record: &Migration) -> String {
        server_migrations::get(&self.db, record.id).await.expect("the record").status
    }

    /// How often the source was asked to let go of the server.
    fn confirmations(&self, instance: &Instance) -> usize {
        let of = |arguments: &Value| arguments["instance"]["nova_object.data"]["uuid"].clone();
        self.asked_moves("confirm_resize").iter().filter(|(_, asked)| of(asked) == json!(instance.uuid)).count()
    }
}

#[tokio::test]
async fn a_resize_that_nobody_confirms_is_confirmed_after_the_window() {
    let world = World::confirming_after(Duration::from_millis(50)).await;
    let (instance, record) = waiting(&world).await;
    // Reset to another state, and busy: not a matter of the clock.
    let (reset, left) = waiting(&world).await;
    world.save(&reset, json!({"vm_state": "active"})).await;
    let (busy, held) = waiting(&world).await;
    world.save(&busy, json!({"task_state": "deleting"})).await;
    world.service.start_passes();
    let (host, arguments) = world.until_asked("confirm_resize", 1).await;
    assert_eq!(host, OTHER_HOST);
    assert_eq!(arguments["migration"]["nova_object.data"]["status"], "confirming");
    assert_eq!(world.status(&record).await, "confirming");
    let workflow = world.workflow(WorkflowKind::Move, &instance).await.expect("the promise");
    assert_eq!((workflow.step.as_str(), &workflow.payload["migration_id"]), (STEP_CONFIRM_RESIZE, &json!(record.id)));
    let action = actions::list(&world.db, instance.uuid).await.unwrap().swap_remove(0);
    assert_eq!((action.action.as_deref(), action.user_id, action.project_id), (Some("confirmResize"), None, None));

    // A later pass has nothing to do with any of them.
    let (next, _) = waiting(&world).await;
    world.until("the next one", async || world.confirmations(&next) == 1).await;
    assert_eq!(world.confirmations(&instance), 1);
    for (instance, record) in [(&reset, &left), (&busy, &held)] {
        assert_eq!((world.status(record).await.as_str(), world.confirmations(instance)), ("finished", 0));
    }
}

#[tokio::test]
async fn a_confirmation_by_the_clock_waits_for_its_source() {
    let world = World::confirming_after(Duration::from_millis(20)).await;
    let source = services::get_by_host_and_binary(&world.db, OTHER_HOST, "nova-compute").await.unwrap();
    let source = source.expect("a service").id;
    let down = |down: bool| json!({"forced_down": down}).as_object().cloned().unwrap();
    services::save(&world.db, source, &down(true)).await.unwrap();
    let (instance, record) = waiting(&world).await;
    // Another one, looked at after it, whose source is up.
    let (other, moved) = waiting(&world).await;
    let from_here = json!({"source_compute": HOST});
    server_migrations::save(&world.db, moved.id, from_here.as_object().unwrap()).await.unwrap();
    world.service.start_passes();
    world.until("the other one", async || world.confirmations(&other) == 1).await;
    assert_eq!((world.status(&record).await.as_str(), world.confirmations(&instance)), ("finished", 0));
    services::save(&world.db, source, &down(false)).await.unwrap();
    world.until("the confirmation", async || world.confirmations(&instance) == 1).await;
}

#[tokio::test]
async fn without_a_window_a_resize_waits_for_ever() {
    let world = World::new().await;
    let (instance, record) = waiting(&world).await;
    world.crash_and_start_again().await;
    // A pass over workflows has come and gone.
    let (next, _) = world.create().await;
    workflows::expire_owner(&world.db, "").await.unwrap();
    world.nudge.notify_one();
    world
        .until("the next build", async || lock(&world.asked).builds.iter().any(|b| b.instance.uuid == next.uuid))
        .await;
    assert_eq!((world.status(&record).await.as_str(), world.confirmations(&instance)), ("finished", 0));
}

#[tokio::test]
async fn a_confirmation_by_the_clock_that_got_lost_is_asked_again() {
    let world = World::confirming_after(Duration::from_millis(20)).await;
    let (instance, record) = waiting(&world).await;
    world.service.start_passes();
    world.until_asked("confirm_resize", 1).await;
    world.crash_and_start_again().await;
    let (host, arguments) = world.until_asked("confirm_resize", 2).await;
    assert_eq!((host.as_str(), &arguments["migration"]["nova_object.data"]["id"]), (OTHER_HOST, &json!(record.id)));
    assert_eq!(world.confirmations(&instance), 2);
}

/// Nothing is confirmed and reverted: the guest would be lost on both hosts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_confirmation_by_the_clock_and_one_or_a_revert_by_the_user_one_happens() {
    let world = Arc::new(World::confirming_after(Duration::from_millis(1)).await);
    let mut waiting_ones = Vec::new();
    for _ in 0..30 {
        waiting_ones.push(waiting(&world).await);
    }
    let (mut by_user, mut by_clock) = (0, 0);
    for (number, (instance, record)) in waiting_ones.iter().enumerate() {
        // The first three are certainly the user's, the last three the clock's: between them the two race.
        if number == 3 {
            world.service.start_passes();
        }
        if number >= 27 {
            world.until("the clock", async || world.confirmations(instance) == 1).await;
        }
        let is_revert = number % 2 == 0;
        let (step, to, changes) = match is_revert {
            true => (STEP_REVERT_RESIZE, status::REVERTING, json!({"task_state": "resize_reverting"})),
            false => (STEP_CONFIRM_RESIZE, status::CONFIRMING, json!({})),
        };
        let message = ConfirmResize { instance: instance.clone(), migration: record.clone() };
        let start = StartMove {
            expected_vm_states: Some(vec![VmState::Resized]),
            expected_task_states: Some(vec![None]),
            ..world.start(
                instance,
                step,
                changes,
                MoveRecord::Advance { id: record.id, from: status::FINISHED, to },
                &message,
            )
        };
        match instances::start_move(&world.db, start).await {
            Ok(_) => {
                by_user += 1;
                assert_eq!(world.status(record).await, to);
            }
            Err(_) => {
                by_clock += 1;
                assert_eq!(world.status(record).await, status::CONFIRMING);
                assert_eq!(world.instance(instance).await.task_state, None);
                world.until("the confirmation", async || world.confirmations(instance) == 1).await;
            }
        }
    }
    assert!(by_user >= 3 && by_clock >= 3, "{by_user} by users, {by_clock} by the clock");
    // What the user has begun the clock leaves alone: nobody was asked by it.
    let (late, _) = waiting(&world).await;
    world.until("a whole pass after the last", async || world.confirmations(&late) == 1).await;
    let asked: usize = waiting_ones.iter().map(|(instance, _)| world.confirmations(instance)).sum();
    assert_eq!(asked, by_clock);
}

#[tokio::test]
async fn a_server_whose_move_is_over_on_record_only_is_freed() {
    for (status, changes, expected) in [
        (status::REVERTED, json!({"task_state": "resize_reverting", "vm_state": "resized"}), "active"),
        (
            status::REVERTED,
            json!({"task_state": "resize_reverting", "vm_state": "resized", "system_metadata": {"old_vm_state": "stopped"}}),
            "stopped",
        ),
        (status::ERROR, json!({"task_state": "resize_migrating"}), "error"),
        (status::FAILED, json!({"task_state": "rebuild_spawning"}), "error"),
        (status::CANCELLED, json!({"task_state": "migrating", "vm_state": "paused"}), "paused"),
    ] {
        let world = World::new().await;
        let instance = world.running().await;
        let record = a_record(&instance, migration_type::RESIZE, status, Some(HOST));
        let message = ConfirmResize { instance: instance.clone(), migration: record.clone() };
        world.begin(&instance, STEP_REVERT_RESIZE, changes, MoveRecord::New(Box::new(record)), &message).await;
        world.crash_and_start_again().await;
        world.until("the end", async || world.workflow(WorkflowKind::Move, &instance).await.is_none()).await;
        let row = world.instance(&instance).await;
        assert_eq!((row.vm_state.as_str(), row.task_state), (expected, None), "{status}");
    }
}

#[tokio::test]
async fn a_live_migration_that_nobody_works_on_is_asked_of_its_source_again() {
    let world = World::new().await;
    let instance = world.running().await;
    let message = LiveMigrateInstance {
        instance: instance.clone(),
        scheduler_hint: json!({"host": null}),
        block_migration: None,
        disk_over_commit: None,
        request_spec: None,
    };
    let record = a_record(&instance, migration_type::LIVE_MIGRATION, status::RUNNING, Some(HOST));
    let migrating = json!({"task_state": "migrating"});
    world.begin(&instance, STEP_LIVE_MIGRATE, migrating, MoveRecord::New(Box::new(record)), &message).await;
    world.crash_and_start_again().await;
    let (host, arguments) = world.until_asked("live_migration", 1).await;
    assert_eq!((host.as_str(), &arguments["dest"]), (OTHER_HOST, &json!(HOST)));
}

#[tokio::test]
async fn a_live_migration_of_a_server_that_does_not_run_is_refused_to_who_waits() {
    let world = World::new().await;
    let instance = world.running().await;
    world.save(&instance, json!({"power_state": 4})).await;
    let message = LiveMigrateInstance {
        instance: instance.clone(),
        scheduler_hint: json!({"host": null}),
        block_migration: None,
        disk_over_commit: None,
        request_spec: None,
    };
    let migrating = json!({"task_state": "migrating"});
    world.begin(&instance, STEP_LIVE_MIGRATE, migrating, MoveRecord::None, &message).await;
    let waited = MigrateServer {
        instance: instance.clone(),
        scheduler_hint: json!({"host": null}),
        live: true,
        rebuild: false,
        flavor: None,
        block_migration: None,
        disk_over_commit: None,
        reservations: Value::Null,
        clean_shutdown: true,
        request_spec: None,
        host_list: None,
    };
    let refused = world.conductor.call(&context(), waited).await.unwrap_err();
    assert!(refused.is("InstanceInvalidState"), "{refused}");
    let after = world.instance(&instance).await;
    assert_eq!((after.task_state, after.vm_state), (None, VmState::Active));
    assert_eq!(world.record().await.status, status::ERROR);
}

#[tokio::test]
async fn an_evacuation_is_begun_asked_again_or_in_error() {
    for refuses in [false, true] {
        let world = World::new().await;
        lock(&world.asked).refuses = refuses;
        let instance = world.running().await;
        let before = world.allocations(&instance).await;
        let message = conductor::RebuildInstance {
            instance: instance.clone(),
            new_pass: None,
            injected_files: None,
            image_ref: None,
            orig_image_ref: None,
            orig_sys_metadata: Value::Null,
            bdms: None,
            recreate: true,
            on_shared_storage: None,
            preserve_ephemeral: false,
            host: None,
            request_spec: None,
            reimage_boot_volume: false,
            target_state: Some("stopped".to_owned()),
        };
        let record = a_record(&instance, migration_type::EVACUATION, status::ACCEPTED, None);
        let rebuilding = json!({"task_state": "rebuilding"});
        world.begin(&instance, STEP_EVACUATE, rebuilding, MoveRecord::New(Box::new(record)), &message).await;
        world.conductor.cast(&context(), message).await.unwrap();
        if refuses {
            world.until("an error", async || world.instance(&instance).await.vm_state == VmState::Error).await;
            let record = world.record().await;
            assert_eq!((record.status.as_str(), world.held(&record).await), (status::ERROR, Allocations::new()));
            assert_eq!(world.allocations(&instance).await, before);
            continue;
        }
        let (host, arguments) = world.until_asked("rebuild_instance", 1).await;
        assert_eq!((host.as_str(), &arguments["target_state"]), (HOST, &json!("stopped")));
        world.crash_and_start_again().await;
        assert_eq!(world.until_asked("rebuild_instance", 2).await.0, HOST);
        assert_eq!(world.held(&world.record().await).await, before);
    }
}
