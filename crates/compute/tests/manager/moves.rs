//! Moves between hosts, as the agent of one sees them: done, failed, asked for twice, and found half done. The other host
//! is an endpoint that records what it is asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kilonova_clients::placement::Allocations;
use kilonova_messaging::{Dispatcher, Endpoint, RpcServer, ServerOptions};
use kilonova_objects::migration::{migration_type, status};
use kilonova_objects::{Flavor, Instance, LiveMigrateData, Migration, PowerState, Selection, TaskState, VmState};
use kilonova_rpcapi::compute::{
    self, ConfirmResize, FinishResize, FinishRevertResize, LiveMigration, LiveMigrationAbort,
    LiveMigrationForceComplete, PostLiveMigrationAtDestination, PreLiveMigration, PrepResize, RebuildInstance,
    ResizeInstance, RevertResize, RollbackLiveMigrationAtDestination,
};
use kilonova_rpcapi::{RpcMethod, exception, register};
use kilonova_virt::{DriverError, FakeOperation};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{HOST, OTHER_HOST, World, context, flavor};

/// The other host.
#[derive(Clone, Default)]
struct Peer(Arc<Mutex<Vec<(&'static str, Value)>>>);

impl Peer {
    /// Answers as an agent that can do everything; `refuses` names a method that it cannot.
    async fn serve(world: &World, refuses: &'static str) -> (Self, RpcServer) {
        let peer = Self::default();
        let endpoint = Endpoint::new(None, compute::VERSION);
        let endpoint = peer.record::<ResizeInstance>(endpoint, |_| Ok(()));
        let endpoint = peer.record::<FinishResize>(endpoint, |_| Ok(()));
        let endpoint = peer.record::<FinishRevertResize>(endpoint, |_| Ok(()));
        let endpoint = peer.record::<ConfirmResize>(endpoint, |_| Ok(()));
        let endpoint = peer.record::<RollbackLiveMigrationAtDestination>(endpoint, |_| Ok(()));
        let endpoint = peer.record::<PreLiveMigration>(endpoint, move |asked| match refuses {
            PreLiveMigration::NAME => Err(exception::migration_pre_check_error("no room")),
            _ => Ok(asked.migrate_data),
        });
        let conductor = world.conductor.clone();
        let endpoint = peer.record::<PostLiveMigrationAtDestination>(endpoint, move |asked| {
            conductor.change(asked.instance.uuid, |row| {
                (row.host, row.task_state) = (Some(OTHER_HOST.to_owned()), None);
            });
            Ok(())
        });
        let target = kilonova_rpcapi::target(compute::TOPIC).server(OTHER_HOST);
        let dispatcher = Dispatcher::new(vec![endpoint]);
        let server = RpcServer::start(world.transport.clone(), target, dispatcher, ServerOptions::default()).await;
        (peer, server.unwrap())
    }

    fn record<M: RpcMethod>(
        &self,
        endpoint: Endpoint,
        answer: impl Fn(M) -> Result<M::Reply, kilonova_messaging::RemoteException> + Clone + Send + Sync + 'static,
    ) -> Endpoint {
        let calls = self.0.clone();
        register(endpoint, move |_, asked: M| {
            calls.lock().unwrap().push((M::NAME, Value::Object(asked.to_args())));
            let answer = answer.clone();
            async move { answer(asked) }
        })
    }

    fn asked<M: RpcMethod>(&self) -> Vec<Value> {
        let calls = self.0.lock().unwrap();
        calls.iter().filter(|(name, _)| *name == M::NAME).map(|(_, args)| args.clone()).collect()
    }
}

fn larger() -> Flavor {
    Flavor { id: 2, name: Some("larger".to_owned()), flavorid: "2".to_owned(), vcpus: 4, memory_mb: 256, ..flavor() }
}

/// Which flavor it is, and what it grants: a row keeps no projects of it.
fn size(flavor: Option<Flavor>) -> Option<(i64, i64, i64)> {
    flavor.map(|flavor| (flavor.id, flavor.vcpus, flavor.memory_mb))
}

/// A move between the two hosts, with what it holds of its source.
fn record(world: &World, instance: &Instance, kind: &str, status: &str, (from, to): (&str, &str)) -> Migration {
    let migration = Migration {
        id: 7,
        uuid: Uuid::new_v4(),
        instance_uuid: instance.uuid,
        source_compute: Some(from.to_owned()),
        source_node: Some(from.to_owned()),
        dest_compute: Some(to.to_owned()),
        dest_node: Some(to.to_owned()),
        status: status.to_owned(),
        migration_type: kind.to_owned(),
        ..Migration::default()
    };
    let mut consumers = world.placement.consumers.lock().unwrap();
    let held = consumers.remove(&instance.uuid).unwrap_or_default();
    consumers.insert(migration.uuid, held);
    consumers.insert(instance.uuid, Allocations::from([(Uuid::new_v4(), Default::default())]));
    world.conductor.rows().migrations.insert(7, migration.clone());
    migration
}

fn status_of(world: &World) -> String {
    world.conductor.rows().migrations[&7].status.clone()
}

fn held(world: &World, migration: &Migration) -> Option<Allocations> {
    world.placement.consumers.lock().unwrap().get(&migration.uuid).cloned()
}

fn resize_message(instance: &Instance, migration: &Migration) -> ResizeInstance {
    ResizeInstance {
        instance: instance.clone(),
        migration: migration.clone(),
        image: json!({}),
        flavor: larger(),
        clean_shutdown: true,
        request_spec: None,
    }
}

fn prep_message(instance: &Instance, migration: &Migration) -> PrepResize {
    PrepResize {
        image: json!({}),
        instance: Instance { availability_zone: Some("east".to_owned()), ..instance.clone() },
        flavor: larger(),
        request_spec: None,
        filter_properties: json!({"retry": {"num_attempts": 1, "hosts": []}}),
        node: None,
        clean_shutdown: true,
        migration: migration.clone(),
        host_list: vec![Selection { service_host: "host3".to_owned(), ..Selection::default() }],
    }
}

#[tokio::test]
async fn a_destination_claims_and_its_source_is_asked_to_give_away() {
    let world = World::new().await;
    let (peer, _server) = Peer::serve(&world, "").await;
    let instance = world.active().await;
    let coming = world.conductor.change(instance.uuid, |row| {
        (row.host, row.task_state) = (Some(OTHER_HOST.to_owned()), Some(TaskState::ResizePrep));
    });
    let migration = record(&world, &instance, migration_type::RESIZE, status::PRE_MIGRATING, (OTHER_HOST, HOST));
    world.manager.prep_resize(&context(), prep_message(&coming, &migration)).await.unwrap();
    world.until("the source is asked", || peer.asked::<ResizeInstance>().len() == 1).await;
    let row = world.row(&instance);
    assert_eq!(size(row.new_flavor), size(Some(larger())));
    assert_eq!(row.system_metadata["old_vm_state"].as_deref(), Some("active"));
    assert_eq!(row.availability_zone.as_deref(), Some("east"));
    let now = world.conductor.rows().migrations[&7].clone();
    assert_eq!((now.dest_host.as_deref(), now.dest_compute_id), (Some("127.0.0.1"), Some(1)));
    // Late, when the server does something else already: nothing.
    world.begin(&instance, TaskState::ResizeMigrating);
    world.manager.prep_resize(&context(), prep_message(&coming, &migration)).await.unwrap();
    assert_eq!(peer.asked::<ResizeInstance>().len(), 1);
}

#[tokio::test]
async fn a_source_gives_away_once_and_says_again_what_it_gave() {
    let world = World::new().await;
    let (peer, _server) = Peer::serve(&world, "").await;
    let instance = world.begin(&world.active().await, TaskState::ResizePrep);
    let migration = record(&world, &instance, migration_type::RESIZE, status::PRE_MIGRATING, (HOST, OTHER_HOST));
    for _ in 0..2 {
        world.manager.resize_instance(&context(), resize_message(&instance, &migration)).await.unwrap();
    }
    world.until("the destination is asked", || peer.asked::<FinishResize>().len() == 2).await;
    let sent = peer.asked::<FinishResize>();
    assert_eq!(sent[0]["disk_info"], sent[1]["disk_info"]);
    let row = world.row(&instance);
    assert_eq!((row.host.as_deref(), row.task_state), (Some(OTHER_HOST), Some(TaskState::ResizeMigrated)));
    assert_eq!(size(row.old_flavor), size(Some(flavor())));
    assert_eq!(status_of(&world), status::POST_MIGRATING);
    assert_eq!(world.guest(&instance), None);
    assert!(!world.hypervisor.kept(instance.uuid).unwrap().is_running);
    // Who looks for orphans leaves it alone until it is confirmed.
    world.manager.cleanup_running_deleted_instances(&context()).await.unwrap();
    assert!(world.hypervisor.kept(instance.uuid).is_some());
}

#[tokio::test]
async fn a_guest_that_cannot_be_given_away_is_in_error_and_has_what_it_had() {
    let world = World::new().await;
    let instance = world.begin(&world.active().await, TaskState::ResizePrep);
    let migration = record(&world, &instance, migration_type::RESIZE, status::PRE_MIGRATING, (HOST, OTHER_HOST));
    let error = DriverError::Hypervisor("stuck".to_owned());
    world.driver.fake.fail_next(FakeOperation::MigrateDisk, error);
    let done = world.manager.resize_instance(&context(), resize_message(&instance, &migration)).await;
    assert_eq!(done.unwrap_err().to_string(), "stuck");
    let row = world.row(&instance);
    assert_eq!((row.vm_state, row.task_state, row.host.as_deref()), (VmState::Error, None, Some(HOST)));
    assert_eq!((status_of(&world), world.faults()), (status::ERROR.to_owned(), vec!["stuck".to_owned()]));
    assert_eq!((world.allocations(&instance), held(&world, &migration)), (Some(world.claim()), None));
}

#[tokio::test]
async fn a_driver_that_moves_nothing_leaves_the_server_as_it_was() {
    let world = World::new().await;
    let instance = world.begin(&world.active().await, TaskState::ResizePrep);
    let migration = record(&world, &instance, migration_type::RESIZE, status::PRE_MIGRATING, (HOST, OTHER_HOST));
    world.driver.fake.fail_next(FakeOperation::MigrateDisk, DriverError::NotSupported("migration"));
    assert!(world.manager.resize_instance(&context(), resize_message(&instance, &migration)).await.is_err());
    let row = world.row(&instance);
    assert_eq!((row.vm_state, row.task_state, row.new_flavor), (VmState::Active, None, None));
    assert_eq!(world.faults(), ["migration is not supported by this driver"]);
    assert_eq!(world.allocations(&instance), Some(world.claim()));
}

/// A server that has come from the other host and waits to be made.
async fn given(world: &World, task: TaskState) -> (Instance, Migration, FinishResize) {
    let instance = world.active().await;
    let guest = world.guest(&instance).unwrap();
    let disk_info = serde_json::to_string(&kilonova_virt::fake::FakeGuest { is_running: false, ..guest }).unwrap();
    kilonova_virt::Driver::destroy(&*world.driver, instance.uuid).await.unwrap();
    let came = world.conductor.change(instance.uuid, |row| {
        (row.task_state, row.old_flavor, row.new_flavor) = (Some(task), Some(flavor()), Some(larger()));
    });
    let migration = record(world, &instance, migration_type::RESIZE, status::POST_MIGRATING, (OTHER_HOST, HOST));
    let finish = FinishResize {
        instance: came.clone(),
        migration: migration.clone(),
        image: json!({}),
        disk_info: json!(disk_info),
        request_spec: None,
    };
    (came, migration, finish)
}

#[tokio::test]
async fn a_destination_makes_what_was_given_and_the_server_waits() {
    for task in [TaskState::ResizeMigrated, TaskState::ResizeFinish] {
        let world = World::new().await;
        let (instance, migration, finish) = given(&world, task).await;
        world.manager.finish_resize(&context(), finish.clone()).await.unwrap();
        let row = world.row(&instance);
        assert_eq!((row.vm_state, row.task_state, row.power_state), (VmState::Resized, None, PowerState::Running));
        assert_eq!((size(row.flavor), row.vcpus, row.memory_mb), (size(Some(larger())), Some(4), Some(256)));
        assert_eq!(world.guest(&instance).unwrap().boots, 2);
        assert_eq!(status_of(&world), status::FINISHED);
        assert_eq!(world.network.fake.host_of(instance.uuid).as_deref(), Some(HOST));
        assert!(held(&world, &migration).is_some());
        world.manager.finish_resize(&context(), finish).await.unwrap();
        assert_eq!(world.guest(&instance).unwrap().boots, 2, "a second message does nothing");
    }
}

#[tokio::test]
async fn a_guest_that_cannot_be_made_is_in_error_at_its_destination() {
    let world = World::new().await;
    let (instance, migration, finish) = given(&world, TaskState::ResizeMigrated).await;
    world.driver.fake.fail_next(FakeOperation::FinishMigration, DriverError::Host("full".to_owned()));
    assert!(world.manager.finish_resize(&context(), finish).await.is_err());
    let row = world.row(&instance);
    assert_eq!((row.vm_state, row.task_state, row.host.as_deref()), (VmState::Error, None, Some(HOST)));
    assert_eq!((status_of(&world).as_str(), held(&world, &migration)), (status::ERROR, None));
}

/// A server that was given away from here, and resized on the other host.
async fn gone(world: &World) -> (Instance, Migration) {
    let instance = world.begin(&world.active().await, TaskState::ResizePrep);
    let migration = record(world, &instance, migration_type::RESIZE, status::PRE_MIGRATING, (HOST, OTHER_HOST));
    world.conductor.change(instance.uuid, |row| {
        row.new_flavor = Some(larger());
        row.system_metadata.insert("old_vm_state".to_owned(), Some("active".to_owned()));
    });
    world.manager.resize_instance(&context(), resize_message(&instance, &migration)).await.unwrap();
    let instance = world.conductor.change(instance.uuid, |row| {
        (row.vm_state, row.task_state, row.flavor) = (VmState::Resized, None, Some(larger()));
    });
    world.conductor.rows().migrations.get_mut(&7).unwrap().status = status::CONFIRMING.to_owned();
    (instance, migration)
}

#[tokio::test]
async fn a_source_lets_go_when_it_is_confirmed_also_twice() {
    let world = World::new().await;
    let (_peer, _server) = Peer::serve(&world, "").await;
    let (instance, migration) = gone(&world).await;
    let confirm = ConfirmResize { instance: instance.clone(), migration: migration.clone() };
    // The save that ends it is lost with its conductor; the record says confirmed by then.
    let refuse = crate::support::conductor::Mishap::Refuse;
    world.conductor.mishap_at(3, refuse, "Instance.save", "vm_state", json!("active"));
    tokio::time::pause();
    assert!(world.manager.confirm_resize(&context(), confirm.clone()).await.is_err());
    tokio::time::resume();
    assert_eq!((status_of(&world).as_str(), world.row(&instance).vm_state), (status::CONFIRMED, VmState::Resized));
    world.manager.confirm_resize(&context(), confirm).await.unwrap();
    let row = world.row(&instance);
    assert_eq!((row.vm_state, row.old_flavor, row.new_flavor), (VmState::Active, None, None));
    assert!(!row.system_metadata.contains_key("old_vm_state"));
    assert_eq!((world.hypervisor.kept(instance.uuid), held(&world, &migration)), (None, None));
}

#[tokio::test]
async fn a_source_lets_go_of_a_server_that_was_deleted() {
    let world = World::new().await;
    let (_peer, _server) = Peer::serve(&world, "").await;
    let (instance, migration) = gone(&world).await;
    world.begin(&instance, TaskState::Deleting);
    world
        .manager
        .confirm_resize(&context(), ConfirmResize { instance: instance.clone(), migration: migration.clone() })
        .await
        .unwrap();
    assert_eq!((world.hypervisor.kept(instance.uuid), held(&world, &migration)), (None, None));
    assert_eq!(world.row(&instance).task_state, Some(TaskState::Deleting));
}

#[tokio::test]
async fn a_delete_at_the_destination_tells_the_source() {
    let world = World::new().await;
    let (peer, _server) = Peer::serve(&world, "").await;
    let (instance, migration, finish) = given(&world, TaskState::ResizeMigrated).await;
    world.manager.finish_resize(&context(), finish).await.unwrap();
    let instance = world.begin(&instance, TaskState::Deleting);
    world.manager.terminate_instance(&context(), instance.clone(), &[]).await.unwrap();
    world.until("the source is told", || peer.asked::<ConfirmResize>().len() == 1).await;
    assert_eq!(held(&world, &migration), None);
    world.assert_nothing_left(&instance);
}

#[tokio::test]
async fn a_revert_gives_back_and_takes_back() {
    let world = World::new().await;
    let (peer, _server) = Peer::serve(&world, "").await;
    // As the destination.
    let (instance, migration, finish) = given(&world, TaskState::ResizeMigrated).await;
    world.manager.finish_resize(&context(), finish).await.unwrap();
    let reverting = world.begin(&instance, TaskState::ResizeReverting);
    let revert = RevertResize { instance: reverting, migration, request_spec: None };
    world.manager.revert_resize(&context(), revert).await.unwrap();
    world.until("the source is asked", || peer.asked::<FinishRevertResize>().len() == 1).await;
    assert_eq!(world.guest(&instance), None);

    // As the source.
    let world = World::new().await;
    let (_peer, _server) = Peer::serve(&world, "").await;
    let (instance, migration) = gone(&world).await;
    let reverting = world.begin(&instance, TaskState::ResizeReverting);
    let revert = FinishRevertResize { instance: reverting, migration: migration.clone(), request_spec: None };
    for _ in 0..2 {
        world.manager.finish_revert_resize(&context(), revert.clone()).await.unwrap();
    }
    let row = world.row(&instance);
    assert_eq!((row.vm_state, row.task_state, row.host.as_deref()), (VmState::Active, None, Some(HOST)));
    assert_eq!((size(row.flavor), row.old_flavor, row.new_flavor), (size(Some(flavor())), None, None));
    assert_eq!(world.guest(&instance).unwrap().boots, 2);
    assert_eq!(world.allocations(&instance), Some(world.claim()));
    assert_eq!((status_of(&world).as_str(), held(&world, &migration)), (status::REVERTED, None));
}

/// A server that is to be migrated live from here.
async fn migrating(world: &World, status: &str) -> (Instance, Migration, LiveMigration) {
    let instance = world.begin(&world.active().await, TaskState::Migrating);
    let migration = record(world, &instance, migration_type::LIVE_MIGRATION, status, (HOST, OTHER_HOST));
    let asked = LiveMigration {
        instance: instance.clone(),
        dest: OTHER_HOST.to_owned(),
        block_migration: None,
        migrate_data: LiveMigrateData { block_migration: true, ..LiveMigrateData::default() },
        migration: migration.clone(),
    };
    (instance, migration, asked)
}

#[tokio::test]
async fn a_live_migration_leaves_nothing_at_its_source() {
    let world = World::new().await;
    let (peer, _server) = Peer::serve(&world, "").await;
    let (instance, migration, asked) = migrating(&world, status::ACCEPTED).await;
    world.manager.live_migration(&context(), asked).await.unwrap();
    assert_eq!(peer.asked::<PreLiveMigration>()[0]["disk"].as_str().map(str::is_empty), Some(false));
    assert_eq!(world.row(&instance).host.as_deref(), Some(OTHER_HOST));
    assert_eq!((world.guest(&instance), held(&world, &migration)), (None, None));
    assert_eq!(status_of(&world), status::COMPLETED);
}

fn assert_stays(world: &World, instance: &Instance, migration: &Migration, status: &str) {
    let row = world.row(instance);
    assert_eq!((row.vm_state, row.task_state, row.host.as_deref()), (VmState::Active, None, Some(HOST)));
    assert!(world.guest(instance).unwrap().is_running);
    assert_eq!((world.allocations(instance), held(world, migration)), (Some(world.claim()), None));
    assert_eq!(status_of(world), status);
}

#[tokio::test]
async fn a_live_migration_that_the_destination_or_the_driver_refuses_is_rolled_back() {
    let world = World::new().await;
    let (_peer, _server) = Peer::serve(&world, PreLiveMigration::NAME).await;
    let (instance, migration, asked) = migrating(&world, status::ACCEPTED).await;
    assert!(world.manager.live_migration(&context(), asked).await.is_err());
    assert_stays(&world, &instance, &migration, status::ERROR);

    let world = World::new().await;
    let (peer, _server) = Peer::serve(&world, "").await;
    let (instance, migration, asked) = migrating(&world, status::ACCEPTED).await;
    world.driver.fake.fail_next(FakeOperation::LiveMigration, DriverError::Hypervisor("lost".to_owned()));
    assert!(world.manager.live_migration(&context(), asked).await.is_err());
    assert_stays(&world, &instance, &migration, status::FAILED);
    assert_eq!(world.faults(), ["lost"]);
    world.until("the destination is told", || peer.asked::<RollbackLiveMigrationAtDestination>().len() == 1).await;
}

#[tokio::test]
async fn a_live_migration_is_aborted_or_forced_while_it_runs() {
    for is_abort in [true, false] {
        let world = World::new().await;
        let (_peer, _server) = Peer::serve(&world, "").await;
        let (instance, migration, asked) = migrating(&world, status::ACCEPTED).await;
        world.driver.fake.delay(FakeOperation::LiveMigration, Duration::from_secs(3600));
        let manager = world.manager.clone();
        let migration_task = tokio::spawn(async move { manager.live_migration(&context(), asked).await.is_ok() });
        world.until("it runs", || status_of(&world) == status::RUNNING).await;
        let (manager, context) = (&world.manager, context());
        // The driver has it a moment later.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if is_abort {
            let abort = LiveMigrationAbort { instance: instance.clone(), migration_id: 7 };
            manager.live_migration_abort(&context, abort).await.unwrap();
        } else {
            let force = LiveMigrationForceComplete { instance: instance.clone() };
            manager.live_migration_force_complete(&context, force).await.unwrap();
        }
        assert!(migration_task.await.unwrap());
        if is_abort {
            assert_stays(&world, &instance, &migration, status::CANCELLED);
        } else {
            assert_eq!(status_of(&world), status::COMPLETED);
        }
    }
}

#[tokio::test]
async fn a_live_migration_that_waits_for_its_turn_is_cancelled() {
    let world = World::with(|config| config.max_concurrent_live_migrations = 1).await;
    let (_peer, _server) = Peer::serve(&world, "").await;
    let (first, _, asked) = migrating(&world, status::ACCEPTED).await;
    world.driver.fake.delay(FakeOperation::LiveMigration, Duration::from_secs(3600));
    let manager = world.manager.clone();
    let running = tokio::spawn(async move { manager.live_migration(&context(), asked).await.is_ok() });
    world.until("the first runs", || status_of(&world) == status::RUNNING).await;
    let (second, migration, asked) = migrating(&world, status::ACCEPTED).await;
    let manager = world.manager.clone();
    let queued = tokio::spawn(async move { manager.live_migration(&context(), asked).await.is_ok() });
    world.until("the second waits", || status_of(&world) == status::QUEUED).await;
    let abort = LiveMigrationAbort { instance: second.clone(), migration_id: 7 };
    world.manager.live_migration_abort(&context(), abort).await.unwrap();
    assert!(queued.await.unwrap());
    assert_stays(&world, &second, &migration, status::CANCELLED);
    running.abort();
    assert!(world.guest(&first).is_some());
}

#[tokio::test]
async fn a_live_migration_whose_source_died_is_rolled_back_or_finished() {
    let world = World::new().await;
    let (_peer, _server) = Peer::serve(&world, "").await;
    let (instance, migration, asked) = migrating(&world, status::RUNNING).await;
    world.manager.live_migration(&context(), asked).await.unwrap();
    assert_stays(&world, &instance, &migration, status::ERROR);

    let world = World::new().await;
    let (_peer, _server) = Peer::serve(&world, "").await;
    let (instance, migration, asked) = migrating(&world, status::POST_MIGRATING).await;
    world.manager.live_migration(&context(), asked).await.unwrap();
    assert_eq!((world.guest(&instance), held(&world, &migration)), (None, None));
    assert_eq!((status_of(&world).as_str(), world.row(&instance).task_state), (status::COMPLETED, None));
}

#[tokio::test]
async fn an_agent_that_starts_removes_what_moved_away_and_leaves_the_rest_to_the_workflows() {
    // It died after the destination took over.
    let world = World::new().await;
    let (instance, migration, _) = migrating(&world, status::POST_MIGRATING).await;
    world.conductor.change(instance.uuid, |row| {
        (row.host, row.task_state) = (Some(OTHER_HOST.to_owned()), None);
    });
    world.manager.init_host(&context()).await.unwrap();
    assert_eq!((world.guest(&instance), held(&world, &migration)), (None, None));
    assert_eq!(status_of(&world), status::COMPLETED);

    // Evacuated meanwhile.
    let world = World::new().await;
    let instance = world.active().await;
    let migration = record(&world, &instance, migration_type::EVACUATION, status::DONE, (HOST, OTHER_HOST));
    world.conductor.change(instance.uuid, |row| row.host = Some(OTHER_HOST.to_owned()));
    world.manager.init_host(&context()).await.unwrap();
    assert_eq!((world.guest(&instance), held(&world, &migration)), (None, None));
    assert_eq!(status_of(&world), status::COMPLETED);

    // On the move.
    let world = World::new().await;
    let (instance, _, _) = migrating(&world, status::RUNNING).await;
    world.manager.init_host(&context()).await.unwrap();
    assert_eq!(world.row(&instance).task_state, Some(TaskState::Migrating));
    assert!(world.guest(&instance).is_some());
}

/// A server of the other host, which is down.
async fn to_evacuate(world: &World, target_state: Option<&str>) -> (Instance, Migration, RebuildInstance) {
    let instance = world.active().await;
    kilonova_virt::Driver::destroy(&*world.driver, instance.uuid).await.unwrap();
    let migration = record(world, &instance, migration_type::EVACUATION, status::ACCEPTED, (OTHER_HOST, HOST));
    let instance = world.conductor.change(instance.uuid, |row| {
        (row.host, row.task_state) = (Some(OTHER_HOST.to_owned()), Some(TaskState::Rebuilding));
        row.image_ref = Some(world.disk.id.to_string());
    });
    let rebuild = RebuildInstance {
        instance: instance.clone(),
        orig_image_ref: None,
        image_ref: None,
        injected_files: None,
        new_pass: Some("pw".to_owned()),
        orig_sys_metadata: Value::Null,
        bdms: None,
        recreate: true,
        on_shared_storage: None,
        preserve_ephemeral: false,
        migration: Some(migration.clone()),
        scheduled_node: None,
        limits: json!({}),
        request_spec: None,
        accel_uuids: vec![],
        reimage_boot_volume: Some(false),
        target_state: target_state.map(str::to_owned),
    };
    (instance, migration, rebuild)
}

#[tokio::test]
async fn an_evacuated_server_is_made_again_here() {
    for (target, vm_state) in [(None, VmState::Active), (Some("stopped"), VmState::Stopped)] {
        let world = World::new().await;
        let (instance, migration, rebuild) = to_evacuate(&world, target).await;
        for _ in 0..2 {
            world.manager.rebuild_instance(&context(), rebuild.clone()).await.unwrap();
        }
        let row = world.row(&instance);
        assert_eq!((row.vm_state, row.task_state, row.host.as_deref()), (vm_state, None, Some(HOST)));
        let guest = world.guest(&instance).unwrap();
        assert_eq!((guest.boots, guest.is_running), (1, vm_state == VmState::Active));
        assert_eq!((status_of(&world).as_str(), held(&world, &migration).is_some()), (status::DONE, true));
        assert_eq!(world.driver.injected.lock().unwrap().clone().unwrap().admin_password.as_deref(), Some("pw"));
        assert_eq!(world.network.fake.host_of(instance.uuid).as_deref(), Some(HOST));
    }
}

#[tokio::test]
async fn an_evacuation_whose_last_save_was_lost_is_done_again() {
    let world = World::new().await;
    let (instance, migration, rebuild) = to_evacuate(&world, None).await;
    world.conductor.change(instance.uuid, |row| row.task_state = Some(TaskState::RebuildSpawning));
    let done = Migration { status: status::DONE.to_owned(), ..migration };
    world.conductor.rows().migrations.insert(done.id, done);
    world.manager.rebuild_instance(&context(), rebuild).await.unwrap();
    let row = world.row(&instance);
    assert_eq!((row.vm_state, row.task_state, row.host.as_deref()), (VmState::Active, None, Some(HOST)));
    assert_eq!(status_of(&world), status::DONE);
}

#[tokio::test]
async fn an_evacuation_that_fails_leaves_the_server_where_it_was_in_error() {
    let world = World::new().await;
    let (instance, migration, rebuild) = to_evacuate(&world, None).await;
    world.driver.fake.fail_next(FakeOperation::Spawn, DriverError::Host("full".to_owned()));
    assert!(world.manager.rebuild_instance(&context(), rebuild).await.is_err());
    let row = world.row(&instance);
    assert_eq!((row.vm_state, row.task_state, row.host.as_deref()), (VmState::Error, None, Some(OTHER_HOST)));
    assert_eq!(world.guest(&instance), None);
    assert_eq!((world.allocations(&instance), held(&world, &migration)), (Some(world.claim()), None));
    assert_eq!((status_of(&world).as_str(), world.faults()), (status::FAILED, vec!["full".to_owned()]));
}
