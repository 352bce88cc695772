//! One compute agent and the world around it: the in-process transport, the manager and the fake hypervisor are real
//! (as far as a fake can be), conductor, placement, network and image are in memory.
#![allow(unreachable_pub, missing_docs, reason = "a support module")]

pub mod conductor;
pub mod driver;
pub mod services;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use conductor::FakeConductor;
use driver::TestDriver;
use kilonova_clients::Clients;
use kilonova_clients::fake::{FakeIdentity, FakeImage, FakeVolumes};
use kilonova_clients::image::Image;
use kilonova_clients::network::Network;
use kilonova_clients::placement::{Allocations, Resources};
use kilonova_compute::{ComputeConfig, ComputeService, Manager};
use kilonova_core::{Config, RequestContext};
use kilonova_messaging::{ClientOptions, MemoryTransport, RpcServer, Transport};
use kilonova_objects::{Flavor, Instance, Selection, TaskState, VmState};
use kilonova_rpcapi::compute::BuildAndRunInstance;
use kilonova_rpcapi::{ComputeApi, ConductorApi, Notifications};
use kilonova_virt::fake::{FakeDriver, FakeGuest, FakeHypervisor};
use serde_json::json;
use services::{FlakyNetwork, MemoryPlacement};
use uuid::Uuid;

pub const HOST: &str = "host1";
pub const OTHER_HOST: &str = "host2";
pub const BOUND: Duration = Duration::from_secs(10);

pub struct World {
    pub conductor: FakeConductor,
    pub network: Arc<FlakyNetwork>,
    pub image: Arc<FakeImage>,
    pub placement: Arc<MemoryPlacement>,
    pub volumes: Arc<FakeVolumes>,
    pub hypervisor: FakeHypervisor,
    pub driver: Arc<TestDriver>,
    pub manager: Arc<Manager>,
    pub service: ComputeService,
    pub private: Network,
    pub disk: Image,
    pub transport: Arc<dyn Transport>,
    _conductor_server: RpcServer,
}

impl World {
    /// An agent whose queues and passes are stopped: the test calls its manager.
    pub async fn new() -> Self {
        let world = Self::serving(|_| {}).await;
        assert!(world.service.stop(BOUND).await);
        world
    }

    /// The same, with other options.
    pub async fn with(change: impl FnOnce(&mut ComputeConfig)) -> Self {
        let world = Self::serving(change).await;
        assert!(world.service.stop(BOUND).await);
        world
    }

    /// The same, which tells what it does.
    pub async fn telling(notifications: Notifications) -> Self {
        let world = Self::start(|_| {}, notifications).await;
        assert!(world.service.stop(BOUND).await);
        world
    }

    /// An agent that takes messages.
    pub async fn serving(change: impl FnOnce(&mut ComputeConfig)) -> Self {
        Self::start(change, Notifications::off()).await
    }

    async fn start(change: impl FnOnce(&mut ComputeConfig), notifications: Notifications) -> Self {
        let transport: Arc<dyn Transport> = MemoryTransport::new();
        let conductor = FakeConductor::default();
        let conductor_server = conductor.serve(transport.clone()).await;
        let network = Arc::new(FlakyNetwork::new());
        let private = network.fake.add_network("private", "p", false);
        let image = Arc::new(FakeImage::new());
        let disk = image.add("disk", "/nowhere/disk.raw");
        let placement = Arc::new(MemoryPlacement::default());
        let volumes = Arc::new(FakeVolumes::new());
        let clients = Clients {
            identity: Arc::new(FakeIdentity::new()),
            image: image.clone(),
            network: network.clone(),
            placement: placement.clone(),
            volume: volumes.clone(),
        };
        let hypervisor = FakeHypervisor::new();
        let driver = Arc::new(TestDriver::new(FakeDriver::with_hypervisor(hypervisor.clone())));
        let mut config = config();
        change(&mut config);
        let conductor_api = ConductorApi::new(transport.clone(), ClientOptions::default());
        let manager = Manager::new(config, conductor_api, clients, driver.clone());
        let manager = Arc::new(manager.with_notifications(notifications));
        let service = ComputeService::start(manager.clone(), transport.clone()).await.unwrap();
        Self {
            conductor,
            network,
            image,
            placement,
            volumes,
            hypervisor,
            driver,
            manager,
            service,
            private,
            disk,
            transport,
            _conductor_server: conductor_server,
        }
    }

    pub fn compute_api(&self) -> ComputeApi {
        ComputeApi::new(self.transport.clone(), ClientOptions::default())
    }

    pub fn provider(&self) -> Uuid {
        self.conductor.rows().nodes[0].uuid
    }

    /// What API, scheduler and conductor have written when the agent gets a build: the row, with its host, and a claim.
    pub fn create(&self) -> Instance {
        self.create_as(Instance {
            uuid: Uuid::new_v4(),
            user_id: Some("u".to_owned()),
            project_id: Some("p".to_owned()),
            display_name: Some("n".to_owned()),
            hostname: Some("n".to_owned()),
            vm_state: VmState::Building,
            task_state: Some(TaskState::Scheduling),
            host: Some(HOST.to_owned()),
            node: Some(HOST.to_owned()),
            flavor: Some(flavor()),
            vcpus: Some(1),
            memory_mb: Some(64),
            ..Instance::default()
        })
    }

    pub fn create_as(&self, instance: Instance) -> Instance {
        self.placement.consumers.lock().unwrap().insert(instance.uuid, self.claim());
        self.conductor.put(instance)
    }

    pub fn claim(&self) -> Allocations {
        let resources = Resources::from([("VCPU".to_owned(), 1), ("MEMORY_MB".to_owned(), 64)]);
        Allocations::from([(self.provider(), resources)])
    }

    pub fn message(&self, instance: &Instance) -> BuildAndRunInstance {
        BuildAndRunInstance {
            instance: instance.clone(),
            image: json!({"id": self.disk.id, "properties": {"hw_disk_bus": "virtio"}}),
            request_spec: None,
            filter_properties: json!({"retry": {"num_attempts": 1, "hosts": [[HOST, HOST]]}, "limits": {}}),
            admin_password: Some("pw".to_owned()),
            injected_files: vec![],
            requested_networks: None,
            security_groups: vec!["default".to_owned()],
            block_device_mapping: Default::default(),
            node: Some(HOST.to_owned()),
            limits: json!({}),
            host_list: vec![],
            accel_uuids: vec![],
        }
    }

    /// The same message, with a further host to try.
    pub fn message_with_alternate(&self, instance: &Instance) -> BuildAndRunInstance {
        let alternate =
            Selection { service_host: OTHER_HOST.to_owned(), nodename: OTHER_HOST.to_owned(), ..Selection::default() };
        BuildAndRunInstance { host_list: vec![alternate], ..self.message(instance) }
    }

    /// A build in a task of its own, as messages are.
    pub fn spawn_build(&self, message: BuildAndRunInstance) -> tokio::task::JoinHandle<bool> {
        let manager = self.manager.clone();
        tokio::spawn(async move { manager.build_and_run_instance(&context(), message).await.is_ok() })
    }

    /// A server that runs.
    pub async fn active(&self) -> Instance {
        let instance = self.create();
        self.manager.build_and_run_instance(&context(), self.message(&instance)).await.unwrap();
        let active = self.row(&instance);
        assert_eq!(active.vm_state, VmState::Active);
        active
    }

    /// A server that was stopped.
    pub async fn stopped(&self) -> Instance {
        let instance = self.active().await;
        let instance = self.begin(&instance, TaskState::PoweringOff);
        self.manager.stop_instance(&context(), instance.clone(), true).await.unwrap();
        self.row(&instance)
    }

    /// What the API writes when it accepts an action.
    pub fn begin(&self, instance: &Instance, task: TaskState) -> Instance {
        self.conductor.change(instance.uuid, |row| row.task_state = Some(task))
    }

    pub fn row(&self, instance: &Instance) -> Instance {
        self.conductor.instance(instance.uuid)
    }

    pub fn guest(&self, instance: &Instance) -> Option<FakeGuest> {
        self.hypervisor.guest(instance.uuid)
    }

    pub fn allocations(&self, instance: &Instance) -> Option<Allocations> {
        self.placement.consumers.lock().unwrap().get(&instance.uuid).cloned()
    }

    pub fn faults(&self) -> Vec<String> {
        self.conductor.rows().faults.iter().map(|fault| fault.message.clone().unwrap()).collect()
    }

    /// Neither guest nor ports nor allocations.
    pub fn assert_nothing_left(&self, instance: &Instance) {
        assert_eq!(self.guest(instance), None);
        assert_eq!(self.network.fake.ports(), []);
        assert_eq!(self.allocations(instance), None);
    }

    pub async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = tokio::time::Instant::now() + BOUND;
        while !holds() {
            assert!(tokio::time::Instant::now() < deadline, "{what} did not come to hold");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub async fn until_at_gate(&self, count: usize) {
        let at_gate = &self.driver.at_gate;
        self.until("the spawns", || at_gate.load(std::sync::atomic::Ordering::SeqCst) == count).await;
    }
}

/// Nothing periodic runs but what a test asks for.
fn config() -> ComputeConfig {
    let parsed = ComputeConfig::from_config(&Config::default(), HOST).unwrap();
    ComputeConfig {
        host: HOST.to_owned(),
        report_interval: Duration::ZERO,
        update_resources_interval: Duration::ZERO,
        sync_power_state_interval: Duration::ZERO,
        running_deleted_instance_poll_interval: Duration::ZERO,
        ..parsed
    }
}

pub fn context() -> RequestContext {
    RequestContext { request_id: Some("req-1".to_owned()), ..RequestContext::new("u", "p") }
}

pub fn flavor() -> Flavor {
    Flavor { id: 1, name: Some("f".to_owned()), flavorid: "1".to_owned(), vcpus: 1, memory_mb: 64, ..Flavor::default() }
}

pub fn metadata(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
