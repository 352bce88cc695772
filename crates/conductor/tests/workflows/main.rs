//! The build and delete workflows: every step run twice, failed, and crashed at. The database, placement and the
//! in-process transport are real; scheduler and compute agent are endpoints that record what they are asked.

mod images;
mod moves;
mod notifications;
mod volumes;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kilonova_clients::Clients;
use kilonova_clients::fake::{FakeIdentity, FakeImage, FakeNetwork, FakeVolumes};
use kilonova_clients::placement::{Allocations, Inventory, Placement as _, Resources};
use kilonova_conductor::{Conductor, ConductorConfig, ConductorService};
use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use kilonova_db::instances::{Create, Deleted, NewInstance, QuotaLimits, StartAction};
use kilonova_db::workflows::{NewWorkflow, WorkflowKind};
use kilonova_db::{Db, actions, instances, services, workflows};
use kilonova_messaging::{
    ClientOptions, Dispatcher, Endpoint, MemoryTransport, RpcServer, ServerOptions, Transport, Version,
};
use kilonova_objects::{
    Aggregate, BlockDeviceMapping, BuildRequest, Flavor, Instance, RequestSpec, Selection, Service, TaskState, VmState,
};
use kilonova_placement::PlacementService;
use kilonova_rpcapi::compute::{
    AttachVolume, BuildAndRunInstance, CacheImages, RebuildInstance, ReserveBlockDeviceName, StartInstance,
    TerminateInstance, UnshelveInstance,
};
use kilonova_rpcapi::conductor::{self, BuildInstances, ScheduleAndBuildInstances};
use kilonova_rpcapi::scheduler::SelectDestinations;
use kilonova_rpcapi::workflow::{BuildPayload, STEP_BUILD, STEP_TERMINATE};
use kilonova_rpcapi::{ComputeApi, ConductorApi, Notifications, RpcMethod as _, SchedulerApi, exception, register};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;
use uuid::Uuid;

const HOST: &str = "host1";
const OTHER_HOST: &str = "host2";
const BOUND: Duration = Duration::from_secs(10);
const LEASE: Duration = Duration::from_secs(60);

/// What scheduler and agents were asked, and what they answer.
#[derive(Default)]
struct Asked {
    selects: Vec<Vec<Uuid>>,
    builds: Vec<BuildAndRunInstance>,
    terminates: Vec<Instance>,
    /// Hosts, and the images that they were to fetch.
    cached: Vec<(String, Vec<String>)>,
    starts: Vec<Instance>,
    rebuilds: Vec<RebuildInstance>,
    unshelves: Vec<UnshelveInstance>,
    /// The mappings of volumes that were to be attached.
    attaches: Vec<BlockDeviceMapping>,
    /// The last request to the scheduler.
    spec: Option<RequestSpec>,
    /// Host, method, arguments.
    moves: Vec<(String, &'static str, Value)>,
    /// The scheduler has no host.
    refuses: bool,
}

struct World {
    db: Db,
    placement: Arc<PlacementService>,
    network: Arc<FakeNetwork>,
    image: Arc<FakeImage>,
    volumes: Arc<FakeVolumes>,
    conductor: ConductorApi,
    service: ConductorService,
    nudge: Arc<Notify>,
    asked: Arc<Mutex<Asked>>,
    provider: Uuid,
    _servers: Vec<RpcServer>,
    _dir: TempDir,
}

fn lock(asked: &Mutex<Asked>) -> std::sync::MutexGuard<'_, Asked> {
    asked.lock().expect("nobody panics with it")
}

impl World {
    async fn new() -> Self {
        Self::telling(Notifications::off()).await
    }

    async fn telling(notifications: Notifications) -> Self {
        Self::build(notifications, None).await
    }

    /// With a conductor that confirms resizes by itself.
    async fn confirming_after(window: Duration) -> Self {
        Self::build(Notifications::off(), Some(window)).await
    }

    async fn build(notifications: Notifications, resize_confirm_window: Option<Duration>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}", dir.path().join("db.sqlite").display());
        let db = Db::open(&url).await.expect("a database");
        let placement = PlacementService::open(db.clone());
        let (network, image) = (Arc::new(FakeNetwork::new()), Arc::new(FakeImage::new()));
        let volumes = Arc::new(FakeVolumes::new());
        let provider = Uuid::new_v4();
        let context = RequestContext::admin();
        let class =
            Inventory { total: 100, reserved: 0, min_unit: 1, max_unit: 100, step_size: 1, allocation_ratio: 1.0 };
        let inventory = BTreeMap::from([("VCPU".to_owned(), class)]);
        placement.set_provider(&context, provider, HOST, &inventory, &[]).await.expect("a provider");
        let transport: Arc<dyn Transport> = MemoryTransport::new();
        let asked = Arc::new(Mutex::new(Asked::default()));
        let servers = vec![
            scheduler(&transport, &asked, placement.clone(), provider).await,
            agent(&transport, &asked, HOST).await,
            agent(&transport, &asked, OTHER_HOST).await,
        ];
        let clients = Clients {
            identity: Arc::new(FakeIdentity::new()),
            image: image.clone(),
            network: network.clone(),
            placement: placement.clone(),
            volume: volumes.clone(),
        };
        let nudge = Arc::new(Notify::new());
        let conductor = Conductor::new(
            ConductorConfig {
                host: HOST.to_owned(),
                service_down_time_s: 60,
                report_interval: Duration::ZERO,
                workflow_interval: Duration::from_secs(3600),
                workflow_lease: LEASE,
                workflow_max_attempts: 3,
                reconcile_interval: Duration::from_secs(3600),
                resize_confirm_window,
                is_alone: true,
            },
            db.clone(),
            clients,
            SchedulerApi::new(transport.clone(), ClientOptions::default()),
            ComputeApi::new(transport.clone(), ClientOptions::default()),
            nudge.clone(),
        );
        let conductor = Arc::new(conductor.with_notifications(notifications));
        let service = ConductorService::start(conductor, transport.clone()).await.expect("a conductor");
        let conductor = ConductorApi::new(transport, ClientOptions::default());
        let world = Self {
            db,
            placement,
            network,
            image,
            volumes,
            conductor,
            service,
            nudge,
            asked,
            provider,
            _servers: servers,
            _dir: dir,
        };
        world.compute_is_up(HOST).await;
        world.compute_is_up(OTHER_HOST).await;
        world
    }

    async fn compute_is_up(&self, host: &str) {
        let service = Service {
            host: Some(host.to_owned()),
            binary: Some("nova-compute".to_owned()),
            topic: Some("compute".to_owned()),
            version: 74,
            last_seen_up: Some(utcnow()),
            ..Service::default()
        };
        services::create(&self.db, &service).await.expect("a service");
    }

    /// What the API writes for one server.
    async fn create(&self) -> (Instance, RequestSpec) {
        let instance = Instance {
            uuid: Uuid::new_v4(),
            user_id: Some("u".to_owned()),
            project_id: Some("p".to_owned()),
            display_name: Some("n".to_owned()),
            vm_state: VmState::Building,
            task_state: Some(TaskState::Scheduling),
            flavor: Some(flavor()),
            vcpus: Some(1),
            memory_mb: Some(64),
            ..Instance::default()
        };
        let spec = RequestSpec {
            instance_uuid: instance.uuid,
            flavor: flavor(),
            num_instances: 1,
            project_id: Some("p".to_owned()),
            user_id: Some("u".to_owned()),
            ..RequestSpec::default()
        };
        let payload = BuildPayload {
            context: context(),
            image: json!({"id": "i"}),
            admin_password: Some("pw".to_owned()),
            ..BuildPayload::default()
        };
        let new = NewInstance {
            instance,
            block_devices: vec![],
            request_spec: spec.clone(),
            workflow_payload: payload.to_value(),
        };
        let create = Create {
            new: vec![new],
            request_id: context().request_id().to_owned(),
            user_id: "u".to_owned(),
            project_id: "p".to_owned(),
            quota: QuotaLimits::UNLIMITED,
            group: None,
            lease_owner: format!("{HOST}/api/1"),
            lease: LEASE,
        };
        let made = instances::create(&self.db, create).await.expect("a server").remove(0);
        (made, spec)
    }

    /// The message that follows the rows.
    async fn nudge_build(&self, instance: &Instance, spec: &RequestSpec) {
        let request =
            BuildRequest { instance_uuid: instance.uuid, instance: Some(instance.clone()), ..BuildRequest::default() };
        let message = ScheduleAndBuildInstances {
            build_requests: vec![request],
            request_specs: vec![spec.clone()],
            image: json!({"id": "i"}),
            admin_password: Some("pw".to_owned()),
            injected_files: vec![],
            requested_networks: None,
            block_device_mapping: Default::default(),
            tags: Default::default(),
        };
        self.conductor.cast(&context(), message).await.expect("a cast");
    }

    /// Everything that was held is free, as after a crash, and the passes run.
    async fn crash_and_start_again(&self) {
        workflows::expire_owner(&self.db, "").await.expect("the leases end");
        self.service.start_passes();
        self.nudge.notify_one();
    }

    async fn workflow(&self, kind: WorkflowKind, instance: &Instance) -> Option<workflows::Workflow> {
        workflows::get(&self.db, kind, instance.uuid).await.expect("the database answers")
    }

    async fn instance(&self, instance: &Instance) -> Instance {
        instances::get(&self.db, instance.uuid, Deleted::Yes).await.expect("the row")
    }

    async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let deadline = tokio::time::Instant::now() + BOUND;
        while !holds().await {
            assert!(tokio::time::Instant::now() < deadline, "{what} did not come to hold");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn until_builds(&self, count: usize) {
        self.until("the number of builds", async || lock(&self.asked).builds.len() >= count).await;
    }

    async fn becomes_active(&self, instance: &Instance) {
        let changes = json!({"vm_state": "active", "task_state": null});
        let changes: Map<String, Value> = changes.as_object().cloned().unwrap_or_default();
        let save = instances::Save {
            uuid: instance.uuid,
            changes: &changes,
            expected_vm_state: None,
            expected_task_state: None,
        };
        instances::save(&self.db, save).await.expect("a save");
    }

    async fn begin_delete(&self, instance: &Instance, lease: Duration) {
        let workflow = NewWorkflow {
            kind: WorkflowKind::Delete,
            instance_uuid: instance.uuid,
            step: STEP_TERMINATE.to_owned(),
            payload: json!({"request_id": "req-delete"}),
            lease_owner: format!("{HOST}/api/1"),
            lease,
        };
        let start = StartAction {
            uuid: instance.uuid,
            action: "delete",
            task_state: TaskState::Deleting,
            expected_vm_states: None,
            expected_task_states: None,
            request_id: "req-delete".to_owned(),
            user_id: "u".to_owned(),
            project_id: "p".to_owned(),
            workflow: Some(workflow),
        };
        instances::start_action(&self.db, start).await.expect("a delete begins");
    }

    async fn allocations(&self, instance: &Instance) -> Allocations {
        self.placement.allocations(&RequestContext::admin(), instance.uuid).await.expect("placement answers")
    }
}

fn context() -> RequestContext {
    RequestContext { request_id: Some("req-create".to_owned()), ..RequestContext::new("u", "p") }
}

fn flavor() -> Flavor {
    Flavor { id: 1, name: Some("f".to_owned()), flavorid: "1".to_owned(), vcpus: 1, memory_mb: 64, ..Flavor::default() }
}

/// Chooses `HOST` with `OTHER_HOST` as the alternate, and claims, as the real one does.
async fn scheduler(
    transport: &Arc<dyn Transport>,
    asked: &Arc<Mutex<Asked>>,
    placement: Arc<PlacementService>,
    provider: Uuid,
) -> RpcServer {
    let asked = asked.clone();
    let endpoint = register(Endpoint::new(None, Version::new(4, 5)), move |_, request: SelectDestinations| {
        let (asked, placement) = (asked.clone(), placement.clone());
        async move {
            {
                let mut asked = lock(&asked);
                asked.selects.push(request.instance_uuids.clone());
                asked.spec = Some(request.spec_obj.clone());
                if asked.refuses {
                    return Err(exception::no_valid_host("There are not enough hosts available."));
                }
            }
            let resources = Resources::from([("VCPU".to_owned(), 1)]);
            for uuid in &request.instance_uuids {
                let claim = Allocations::from([(provider, resources.clone())]);
                let claimed = placement.set_allocations(&RequestContext::admin(), *uuid, "p", "u", &claim).await;
                claimed.map_err(|error| exception::internal(&error))?;
            }
            let selection = |host: &str| Selection {
                compute_node_uuid: provider,
                service_host: host.to_owned(),
                nodename: host.to_owned(),
                allocation_request: Some(
                    json!({"allocations": {provider.to_string(): {"resources": {"VCPU": 1}}}}).to_string(),
                ),
                ..Selection::default()
            };
            Ok(request.instance_uuids.iter().map(|_| vec![selection(HOST), selection(OTHER_HOST)]).collect())
        }
    });
    let target = kilonova_rpcapi::target("scheduler").server(HOST);
    let dispatcher = Dispatcher::new(vec![endpoint]);
    RpcServer::start(transport.clone(), target, dispatcher, ServerOptions::default()).await.expect("a scheduler")
}

async fn agent(transport: &Arc<dyn Transport>, asked: &Arc<Mutex<Asked>>, host: &str) -> RpcServer {
    let (builds, terminates) = (asked.clone(), asked.clone());
    let endpoint = register(Endpoint::new(None, Version::new(6, 5)), move |_, build: BuildAndRunInstance| {
        lock(&builds).builds.push(build);
        async { Ok(()) }
    });
    let endpoint = register(endpoint, move |_, TerminateInstance { instance, .. }| {
        lock(&terminates).terminates.push(instance);
        async { Ok(()) }
    });
    let (caches, name) = (asked.clone(), host.to_owned());
    let endpoint = register(endpoint, move |_, CacheImages { image_ids }| {
        lock(&caches).cached.push((name.clone(), image_ids.clone()));
        let result = |image: String| (image, "cached".to_owned());
        std::future::ready(Ok(image_ids.into_iter().map(result).collect()))
    });
    let seen = asked.clone();
    let endpoint = register(endpoint, move |_, StartInstance { instance }| {
        lock(&seen).starts.push(instance);
        async { Ok(()) }
    });
    let (seen, name) = (asked.clone(), host.to_owned());
    let endpoint = register(endpoint, move |_, message: RebuildInstance| {
        let mut seen = lock(&seen);
        seen.moves.push((name.clone(), RebuildInstance::NAME, Value::Object(message.to_args())));
        seen.rebuilds.push(message);
        async { Ok(()) }
    });
    let seen = asked.clone();
    let endpoint = register(endpoint, move |_, message: UnshelveInstance| {
        lock(&seen).unshelves.push(message);
        async { Ok(()) }
    });
    let seen = asked.clone();
    let endpoint = register(endpoint, move |_, message: AttachVolume| {
        lock(&seen).attaches.push(message.bdm);
        async { Ok(()) }
    });
    let objects = ConductorApi::new(transport.clone(), ClientOptions::default());
    let endpoint = register(endpoint, move |context, asked: ReserveBlockDeviceName| {
        let objects = objects.clone();
        async move {
            if asked.device.as_deref() == Some("/dev/vda") {
                let message = "The supplied device path (/dev/vda) is in use.".to_owned();
                return Err(exception::nova("DevicePathInUse", message, 409, &[]));
            }
            let bdm = BlockDeviceMapping {
                instance_uuid: Some(asked.instance.uuid),
                volume_id: Some(asked.volume_id),
                device_name: asked.device,
                ..BlockDeviceMapping::default()
            };
            objects.block_device_create(&context, &bdm).await.map_err(|error| exception::internal(&error))
        }
    });
    let endpoint = moves::record_all(endpoint, asked, host);
    let target = kilonova_rpcapi::target("compute").server(host);
    let dispatcher = Dispatcher::new(vec![endpoint]);
    RpcServer::start(transport.clone(), target, dispatcher, ServerOptions::default()).await.expect("an agent")
}

#[tokio::test]
async fn images_are_cached_on_the_hosts_of_an_aggregate_that_are_up() {
    let world = World::new().await;
    let gone = "host3";
    let aggregate = Aggregate {
        name: "fast".to_owned(),
        hosts: Some([gone, HOST, OTHER_HOST].map(str::to_owned).to_vec()),
        ..Aggregate::default()
    };
    let image_ids = vec!["a".to_owned(), "b".to_owned()];
    let method = conductor::CacheImages { aggregate, image_ids: image_ids.clone() };
    world.conductor.cast(&RequestContext::admin(), method).await.unwrap();
    world.until("both hosts to be asked", async || lock(&world.asked).cached.len() == 2).await;
    let expected = [HOST, OTHER_HOST].map(|host| (host.to_owned(), image_ids.clone()));
    assert_eq!(lock(&world.asked).cached, expected);
}

#[tokio::test]
async fn a_build_is_placed_written_down_and_sent_to_its_host() {
    let world = World::new().await;
    let (instance, spec) = world.create().await;
    world.nudge_build(&instance, &spec).await;
    world.until_builds(1).await;
    let build = lock(&world.asked).builds[0].clone();
    assert_eq!(build.instance.uuid, instance.uuid);
    assert_eq!(build.instance.host.as_deref(), Some(HOST));
    assert_eq!(build.admin_password.as_deref(), Some("pw"));
    assert_eq!(build.host_list.iter().map(|s| s.service_host.as_str()).collect::<Vec<_>>(), [OTHER_HOST]);
    assert_eq!(world.instance(&instance).await.host.as_deref(), Some(HOST));
    let workflow = world.workflow(WorkflowKind::Build, &instance).await.unwrap();
    assert_eq!(workflow.step, STEP_BUILD);
    world.becomes_active(&instance).await;
    assert_eq!(world.workflow(WorkflowKind::Build, &instance).await, None);
}

#[tokio::test]
async fn a_message_that_comes_twice_places_once() {
    let world = World::new().await;
    let (instance, spec) = world.create().await;
    world.nudge_build(&instance, &spec).await;
    world.nudge_build(&instance, &spec).await;
    world.until_builds(1).await;
    // Another instance, asked for afterwards, shows that the second message was handled.
    let (next, spec) = world.create().await;
    world.nudge_build(&next, &spec).await;
    world.until_builds(2).await;
    assert_eq!(lock(&world.asked).selects, [vec![instance.uuid], vec![next.uuid]]);
}

#[tokio::test]
async fn a_build_whose_message_was_lost_is_placed_by_the_pass() {
    let world = World::new().await;
    let (instance, _) = world.create().await;
    world.crash_and_start_again().await;
    world.until_builds(1).await;
    assert_eq!(lock(&world.asked).builds[0].instance.uuid, instance.uuid);
    assert_eq!(lock(&world.asked).builds[0].admin_password.as_deref(), Some("pw"));
}

#[tokio::test]
async fn a_crash_after_the_claim_claims_once_more_and_leaves_one_claim() {
    let world = World::new().await;
    let (instance, _) = world.create().await;
    let claim = Allocations::from([(world.provider, Resources::from([("VCPU".to_owned(), 1)]))]);
    world.placement.set_allocations(&context(), instance.uuid, "p", "u", &claim).await.unwrap();
    world.crash_and_start_again().await;
    world.until_builds(1).await;
    assert_eq!(world.allocations(&instance).await, claim);
}

#[tokio::test]
async fn a_crash_after_the_host_was_asked_asks_the_same_host_again() {
    let world = World::new().await;
    let (instance, spec) = world.create().await;
    world.nudge_build(&instance, &spec).await;
    world.until_builds(1).await;
    world.crash_and_start_again().await;
    world.until_builds(2).await;
    let asked = lock(&world.asked);
    assert_eq!(asked.selects.len(), 1, "the scheduler was not asked again");
    assert_eq!(asked.builds[1].node.as_deref(), Some(HOST));
    assert_eq!(asked.builds[1].instance.uuid, instance.uuid);
}

#[tokio::test]
async fn a_build_that_never_ends_is_given_up_after_its_attempts() {
    let world = World::new().await;
    let (instance, _) = world.create().await;
    for attempt in 1..=2 {
        world.crash_and_start_again().await;
        // An attempt that asked its host is at rest: it renews its lease no more.
        world.until_builds(attempt).await;
    }
    world.crash_and_start_again().await;
    world.until("the error", async || world.instance(&instance).await.vm_state == VmState::Error).await;
    let failed = world.instance(&instance).await;
    let message = failed.fault.unwrap().message.unwrap();
    assert_eq!(message, "The build was begun 3 times and never finished.");
    world.until("the claim's end", async || world.allocations(&instance).await.is_empty()).await;
    assert_eq!(world.workflow(WorkflowKind::Build, &instance).await, None);
}

#[tokio::test]
async fn without_a_valid_host_the_instance_is_in_error_and_its_action_says_so() {
    let world = World::new().await;
    lock(&world.asked).refuses = true;
    let (instance, spec) = world.create().await;
    world.nudge_build(&instance, &spec).await;
    world.until("the error", async || world.instance(&instance).await.vm_state == VmState::Error).await;
    let failed = world.instance(&instance).await;
    assert_eq!(failed.task_state, None);
    let fault = failed.fault.unwrap();
    assert_eq!(fault.code, 500);
    assert_eq!(fault.message.as_deref(), Some("No valid host was found. There are not enough hosts available."));
    let action = actions::get(&world.db, instance.uuid, "req-create").await.unwrap();
    assert_eq!(action.message.as_deref(), Some("Error"));
    assert_eq!(world.workflow(WorkflowKind::Build, &instance).await, None);
}

#[tokio::test]
async fn a_server_that_is_deleted_before_it_has_a_host_keeps_no_claim() {
    let world = World::new().await;
    let (instance, spec) = world.create().await;
    world.begin_delete(&instance, LEASE).await;
    world.nudge_build(&instance, &spec).await;
    world.until("the build's end", async || world.workflow(WorkflowKind::Build, &instance).await.is_none()).await;
    world.until("the claim's end", async || world.allocations(&instance).await.is_empty()).await;
    assert_eq!(lock(&world.asked).builds.len(), 0);
}

#[tokio::test]
async fn a_host_that_gives_back_leads_to_the_next_with_the_rest_of_the_list() {
    let world = World::new().await;
    let (instance, spec) = world.create().await;
    world.nudge_build(&instance, &spec).await;
    world.until_builds(1).await;
    let build = lock(&world.asked).builds[0].clone();
    let given_back = |instances: Vec<Instance>, host_lists| BuildInstances {
        instances,
        image: build.image.clone(),
        filter_properties: build.filter_properties.clone(),
        admin_password: build.admin_password.clone(),
        injected_files: vec![],
        requested_networks: None,
        security_groups: vec![],
        request_spec: build.request_spec.clone(),
        host_lists,
    };
    let message = given_back(vec![build.instance.clone()], vec![build.host_list.clone()]);
    world.conductor.cast(&context(), message).await.unwrap();
    world.until_builds(2).await;
    let second = lock(&world.asked).builds[1].clone();
    assert_eq!(second.node.as_deref(), Some(OTHER_HOST));
    assert!(second.host_list.is_empty());

    let mut message = given_back(vec![second.instance], vec![vec![]]);
    message.filter_properties["retry"]["exc_reason"] = json!(["the disk is full"]);
    world.conductor.cast(&context(), message).await.unwrap();
    world.until("the error", async || world.instance(&instance).await.vm_state == VmState::Error).await;
    let message = world.instance(&instance).await.fault.unwrap().message.unwrap();
    assert!(message.starts_with("Exceeded maximum number of retries."), "{message}");
    assert!(message.ends_with("The last host said: the disk is full"), "{message}");
}

#[tokio::test]
async fn a_crash_after_a_host_gave_back_places_and_claims_again() {
    let world = World::new().await;
    let (instance, spec) = world.create().await;
    world.nudge_build(&instance, &spec).await;
    world.until_builds(1).await;
    // The host undid its claim and wrote the instance back; its message to the conductor was lost.
    world.placement.delete_allocations(&context(), instance.uuid).await.unwrap();
    let changes = json!({"host": null, "node": null, "task_state": "scheduling"});
    let changes = changes.as_object().cloned().unwrap();
    let uuid = instance.uuid;
    let save = instances::Save { uuid, changes: &changes, expected_vm_state: None, expected_task_state: None };
    instances::save(&world.db, save).await.unwrap();
    world.crash_and_start_again().await;
    world.until_builds(2).await;
    assert_eq!(lock(&world.asked).selects.len(), 2, "the scheduler was asked again");
    assert_eq!(world.allocations(&instance).await.len(), 1);
    assert_eq!(world.instance(&instance).await.host.as_deref(), Some(HOST));
}

#[tokio::test]
async fn a_delete_without_a_host_is_done_here_and_a_second_time_is_nothing() {
    let world = World::new().await;
    let (instance, _) = world.create().await;
    world.begin_delete(&instance, Duration::ZERO).await;
    world.service.start_passes();
    world.until("the delete", async || world.instance(&instance).await.deleted).await;
    world.nudge.notify_one();
    assert_eq!(world.workflow(WorkflowKind::Delete, &instance).await, None);
    assert_eq!(world.workflow(WorkflowKind::Build, &instance).await, None);
    assert_eq!(lock(&world.asked).terminates.len(), 0);
}

#[tokio::test]
async fn a_delete_whose_message_was_lost_asks_the_host_again() {
    let world = World::new().await;
    let (instance, spec) = world.create().await;
    world.nudge_build(&instance, &spec).await;
    world.until_builds(1).await;
    world.becomes_active(&instance).await;
    world.begin_delete(&instance, LEASE).await;
    world.crash_and_start_again().await;
    world.until("the terminate", async || !lock(&world.asked).terminates.is_empty()).await;
    assert_eq!(lock(&world.asked).terminates[0].uuid, instance.uuid);
}

#[tokio::test]
async fn allocations_and_ports_that_no_instance_owns_are_removed() {
    let world = World::new().await;
    let (instance, spec) = world.create().await;
    world.nudge_build(&instance, &spec).await;
    world.until_builds(1).await;
    let claim = Allocations::from([(world.provider, Resources::from([("VCPU".to_owned(), 2)]))]);
    let orphan = Uuid::new_v4();
    world.placement.set_allocations(&context(), orphan, "p", "u", &claim).await.unwrap();
    let node = kilonova_objects::ComputeNode {
        uuid: world.provider,
        host: Some(HOST.to_owned()),
        hypervisor_hostname: Some(HOST.to_owned()),
        ..Default::default()
    };
    kilonova_db::compute_nodes::create(&world.db, &node).await.unwrap();
    let network = world.network.add_network("private", "p", true);
    let request = kilonova_clients::network::PortRequest { network_id: Some(network.id), ..Default::default() };
    let network_service: &dyn kilonova_clients::network::NetworkService = &*world.network;
    network_service.allocate_for_instance(&context(), orphan, "p", HOST, &[request]).await.unwrap();
    world.service.start_passes();
    let admin = RequestContext::admin();
    world
        .until("the orphan's end", async || {
            world.placement.allocations(&admin, orphan).await.unwrap().is_empty() && world.network.ports().is_empty()
        })
        .await;
    assert_eq!(world.allocations(&instance).await.len(), 1, "the live instance keeps its own");
}
