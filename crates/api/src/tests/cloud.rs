//! A compute API with everything around it, in one process: an SQLite file, fakes for identity, image and network, and
//! a conductor and a compute agent that only write down what they are asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use kilonova_clients::Clients;
use kilonova_clients::fake::{FakeIdentity, FakeImage, FakeNetwork, FakeVolumes};
use kilonova_clients::identity::Identity;
use kilonova_clients::image::Image;
use kilonova_clients::network::{Network, NetworkService as _, PortRequest};
use kilonova_core::Config;
use kilonova_db::Db;
use kilonova_messaging::{
    ClientOptions, Dispatcher, Endpoint, MemoryTransport, RemoteException, RpcServer, ServerOptions, Version,
};
use kilonova_objects::{CpuDiagnostics, Diagnostics, Flavor, MemoryDiagnostics, PowerState, Service};
use kilonova_rpcapi::compute::{
    AddFixedIpToInstance, AttachInterface, BackupInstance, ConfirmResize, DetachInterface, DetachVolume,
    ExternalInstanceEvent, GetConsoleOutput, GetDiagnostics, GetInstanceDiagnostics, GetMksConsole, GetSerialConsole,
    GetSpiceConsole, GetVncConsole, HostMaintenanceMode, HostPowerAction, InjectNetworkInfo, LiveMigrationAbort,
    LiveMigrationForceComplete, PauseInstance, RebootInstance, RemoveFixedIpFromInstance, RescueInstance,
    RestoreInstance, ResumeInstance, RevertResize, SetAdminPassword, SetHostEnabled, ShelveInstance,
    ShelveOffloadInstance, SnapshotInstance, SoftDeleteInstance, StartInstance, StopInstance, SuspendInstance,
    SwapVolume, TerminateInstance, TriggerCrashDump, UnpauseInstance, UnrescueInstance, VolumeSnapshotCreate,
    VolumeSnapshotDelete,
};
use kilonova_rpcapi::conductor::{
    AttachVolume, CacheImages, LiveMigrateInstance, MigrateServer, RebuildInstance, ScheduleAndBuildInstances,
    UnshelveInstance,
};
use kilonova_rpcapi::{ComputeApi, ConductorApi, RpcMethod, exception, register};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;
use tower::ServiceExt as _;

use super::placement::RecordingPlacement;
use crate::{ApiConfig, ApiState, Policy, router};

/// Tokens. All but the last two belong to [`PROJECT`].
pub(super) const ADMIN: &str = "admin";
pub(super) const MEMBER: &str = "member";
pub(super) const READER: &str = "reader";
/// A token without any role.
pub(super) const NOBODY: &str = "nobody";
/// A member of [`OTHER_PROJECT`].
pub(super) const OTHER: &str = "other";
pub(super) const PROJECT: &str = "project-a";
pub(super) const OTHER_PROJECT: &str = "project-b";
/// The only compute host.
pub(super) const HOST: &str = "compute1";
/// Another one, that only agents of tests of moves know: it is no service until they make it one.
pub(super) const OTHER_HOST: &str = "compute2";

/// What was asked over RPC.
#[derive(Clone, Default)]
struct Calls {
    /// The method, and its arguments on the wire.
    made: Arc<Mutex<Vec<(&'static str, Value)>>>,
    /// What is raised instead of an answer, by method.
    refusals: Arc<Mutex<BTreeMap<&'static str, RemoteException>>>,
}

impl Calls {
    /// Writes a call down.
    fn called<M: RpcMethod>(&self, method: &M) -> Result<(), RemoteException> {
        self.made.lock().unwrap().push((M::NAME, json!(method.to_args())));
        self.refusals.lock().unwrap().get(M::NAME).cloned().map_or(Ok(()), Err)
    }
}

pub(super) struct Cloud {
    pub router: Router,
    pub policy: Arc<Policy>,
    pub db: Db,
    pub identity: Arc<FakeIdentity>,
    pub images: Arc<FakeImage>,
    pub networks: Arc<FakeNetwork>,
    pub placement: Arc<RecordingPlacement>,
    pub volumes: Arc<FakeVolumes>,
    /// A network of [`PROJECT`].
    pub network: Network,
    pub image: Image,
    calls: Calls,
    _servers: Vec<RpcServer>,
    dir: TempDir,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Null where there is none.
    pub body: Value,
}

impl Reply {
    /// The message of a fault body.
    pub(crate) fn message(&self) -> &str {
        let fault = self.body.as_object().and_then(|body| body.values().next());
        fault.and_then(|fault| fault["message"].as_str()).unwrap_or_default()
    }

    /// Shows the whole answer where the status is another one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self
    }

    /// The same for a fault: status, name and message.
    #[track_caller]
    pub(crate) fn expect_fault(&self, status: u16, name: &str, message: &str) {
        let expected = json!({name: {"code": status, "message": message}});
        assert_eq!((self.status.as_u16(), &self.body), (status, &expected));
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Cloud {
    pub(crate) async fn new() -> Self {
        Self::with_config("").await
    }

    /// With the text of a `nova.conf`.
    pub(crate) async fn with_config(config: &str) -> Self {
        Self::build(config, None).await
    }

    /// With another identity service.
    pub(crate) async fn with_identity(identity: Arc<dyn Identity>) -> Self {
        Self::build("", Some(identity)).await
    }

    /// With the text of a `policy.yaml`.
    pub(crate) async fn with_policy(policy: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("policy.yaml");
        std::fs::write(&path, policy).unwrap();
        Self::build_in(dir, &format!("[oslo_policy]\npolicy_file = {}\n", path.display()), None).await
    }

    /// The file of [`Cloud::with_policy`].
    pub(crate) fn policy_file(&self) -> std::path::PathBuf {
        self.dir.path().join("policy.yaml")
    }

    async fn build(config: &str, other_identity: Option<Arc<dyn Identity>>) -> Self {
        Self::build_in(TempDir::new().unwrap(), config, other_identity).await
    }

    async fn build_in(dir: TempDir, config: &str, other_identity: Option<Arc<dyn Identity>>) -> Self {
        let config = Config::from_text(config).unwrap();
        let db = Db::open(&format!("sqlite://{}/nova.sqlite", dir.path().display())).await.unwrap();
        let identity = Arc::new(
            FakeIdentity::new()
                .with_token(ADMIN, PROJECT, &["admin", "manager", "member", "reader"])
                .with_token(MEMBER, PROJECT, &["member", "reader"])
                .with_token(READER, PROJECT, &["reader"])
                .with_token(NOBODY, PROJECT, &[])
                .with_token(OTHER, OTHER_PROJECT, &["member", "reader"]),
        );
        let (images, networks) = (Arc::new(FakeImage::new()), Arc::new(FakeNetwork::new()));
        let image = images.add("cirros", dir.path().join("cirros"));
        let network = networks.add_network("private", PROJECT, false);
        let placement = Arc::new(RecordingPlacement::default());
        let volumes = Arc::new(FakeVolumes::new());
        let transport = MemoryTransport::new();
        let calls = Calls::default();
        let servers = vec![
            serve(&transport, "conductor", HOST, conductor(&calls)).await,
            serve(&transport, "compute", HOST, compute(&calls, &networks)).await,
            serve(&transport, "compute", OTHER_HOST, compute(&calls, &networks)).await,
        ];
        let options = ClientOptions { timeout: Duration::from_secs(5), ..ClientOptions::default() };
        let clients = Clients {
            identity: other_identity.unwrap_or_else(|| identity.clone()),
            image: images.clone(),
            network: networks.clone(),
            placement: placement.clone(),
            volume: volumes.clone(),
        };
        let state = ApiState::new(
            db.clone(),
            clients,
            ConductorApi::new(transport.clone(), options),
            ComputeApi::new(transport, options),
            ApiConfig::from_config(&config).unwrap(),
            Arc::new(Notify::new()),
            Arc::new(Policy::load(&config).unwrap()),
        );
        let policy = state.policy.clone();
        let cloud = Self {
            router: router(Arc::new(state)),
            policy,
            db,
            identity,
            images,
            networks,
            placement,
            volumes,
            network,
            image,
            calls,
            _servers: servers,
            dir,
        };
        cloud.populate().await;
        cloud
    }

    /// A compute host and the flavors `m1.tiny` (id 1) and `m1.small` (id 2).
    async fn populate(&self) {
        let service = Service {
            host: Some(HOST.to_owned()),
            binary: Some("nova-compute".to_owned()),
            topic: Some("compute".to_owned()),
            version: 74,
            last_seen_up: Some(kilonova_core::time::utcnow()),
            ..Service::default()
        };
        kilonova_db::services::create(&self.db, &service).await.unwrap();
        for (flavorid, name, memory_mb, vcpus, root_gb) in [("1", "m1.tiny", 512, 1, 1), ("2", "m1.small", 2048, 2, 20)]
        {
            let flavor = Flavor {
                flavorid: flavorid.to_owned(),
                name: Some(name.to_owned()),
                memory_mb,
                vcpus,
                root_gb,
                rxtx_factor: Some(1.0),
                vcpu_weight: Some(0),
                is_public: true,
                extra_specs: BTreeMap::from([("hw:cpu_policy".to_owned(), "shared".to_owned())]),
                ..Flavor::default()
            };
            kilonova_db::flavors::create(&self.db, &flavor, &[]).await.unwrap();
        }
    }

    /// A request with everything.
    pub(crate) async fn send(
        &self,
        method: &str,
        token: Option<&str>,
        version: &str,
        path: &str,
        body: Option<&str>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path).header("host", "cloud:8774");
        if let Some(token) = token {
            request = request.header("x-auth-token", token);
        }
        if !version.is_empty() {
            request = request.header("openstack-api-version", format!("compute {version}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let sent = body.map_or_else(Body::empty, |text| Body::from(text.to_owned()));
        let reply = self.raw(request.body(sent).unwrap()).await;
        record_answer(method, path, body, &reply);
        reply
    }

    pub(crate) async fn raw(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Reply { status: parts.status, headers: parts.headers, body }
    }

    /// `GET /v2.1<path>`
    pub(crate) async fn get(&self, token: &str, version: &str, path: &str) -> Reply {
        self.send("GET", Some(token), version, &format!("/v2.1{path}"), None).await
    }

    pub(crate) async fn post(&self, token: &str, version: &str, path: &str, body: Value) -> Reply {
        self.send("POST", Some(token), version, &format!("/v2.1{path}"), Some(&body.to_string())).await
    }

    pub(crate) async fn put(&self, token: &str, version: &str, path: &str, body: Value) -> Reply {
        self.send("PUT", Some(token), version, &format!("/v2.1{path}"), Some(&body.to_string())).await
    }

    pub(crate) async fn delete(&self, token: &str, version: &str, path: &str) -> Reply {
        self.send("DELETE", Some(token), version, &format!("/v2.1{path}"), None).await
    }

    /// The arguments of the calls of a method so far.
    pub(crate) fn calls<M: RpcMethod>(&self) -> Vec<Value> {
        self.calls_of(M::NAME)
    }

    /// The same for a method by name.
    pub(crate) fn calls_of(&self, method: &str) -> Vec<Value> {
        let calls = self.calls.made.lock().unwrap();
        calls.iter().filter(|(name, _)| *name == method).map(|(_, args)| args.clone()).collect()
    }

    /// From now on the method raises that.
    pub(crate) fn refuse<M: RpcMethod>(&self, exception: RemoteException) {
        self.calls.refusals.lock().unwrap().insert(M::NAME, exception);
    }

    /// The same with one of Nova's exceptions.
    pub(crate) fn raise<M: RpcMethod>(&self, class: &str, message: &str) {
        self.refuse::<M>(exception::nova(class, message.to_owned(), 400, &[]));
    }

    /// Waits until a method was called so often: a cast is on its way when the answer is there.
    pub(crate) async fn wait_for<M: RpcMethod>(&self, count: usize) -> Vec<Value> {
        self.wait_for_method(M::NAME, count).await
    }

    /// The same for a method by name.
    pub(crate) async fn wait_for_method(&self, method: &str, count: usize) -> Vec<Value> {
        for _ in 0..500 {
            let calls = self.calls_of(method);
            if calls.len() >= count {
                return calls;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{method} was not called {count} times in 5 s");
    }
}

/// Writes an answer down for `cargo xtask oracle`, which says where.
fn record_answer(method: &str, path: &str, body: Option<&str>, reply: &Reply) {
    let Some(file) = std::env::var_os("KILONOVA_RECORDING") else { return };
    let path = path.split('?').next().unwrap_or(path);
    let Some(path) = path.strip_prefix("/v2.1").filter(|path| path.len() > 1) else { return };
    let version = reply.header("openstack-api-version").trim_start_matches("compute ");
    let action = body
        .filter(|_| path.ends_with("/action"))
        .and_then(|body| serde_json::from_str::<Value>(body).ok()?.as_object()?.keys().next().cloned());
    let (status, body) = (reply.status.as_u16(), &reply.body);
    let line = json!({
        "method": method, "path": path, "action": action, "version": version, "status": status, "body": body,
        "test": std::env::var("NEXTEST_TEST_NAME").ok(),
    });
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
    // In one piece: other tests write to it too.
    std::io::Write::write_all(&mut file, format!("{line}\n").as_bytes()).unwrap();
}

async fn serve(transport: &Arc<MemoryTransport>, topic: &str, host: &str, endpoints: Vec<Endpoint>) -> RpcServer {
    let target = kilonova_rpcapi::target(topic).server(host);
    RpcServer::start(transport.clone(), target, Dispatcher::new(endpoints), ServerOptions::default()).await.unwrap()
}

fn conductor(calls: &Calls) -> Vec<Endpoint> {
    let endpoint = Endpoint::new(Some("compute_task"), Version::new(1, 26));
    let endpoint = record::<CacheImages>(endpoint, calls, ());
    let endpoint = record::<AttachVolume>(endpoint, calls, Some("/dev/vdb".to_owned()));
    let endpoint = record::<RebuildInstance>(endpoint, calls, ());
    let endpoint = record::<UnshelveInstance>(endpoint, calls, ());
    let endpoint = record::<MigrateServer>(endpoint, calls, ());
    let endpoint = record::<LiveMigrateInstance>(endpoint, calls, ());
    vec![record::<ScheduleAndBuildInstances>(endpoint, calls, ())]
}

fn compute(calls: &Calls, networks: &Arc<FakeNetwork>) -> Vec<Endpoint> {
    let endpoint = Endpoint::new(None, Version::new(6, 5));
    let endpoint = attach_interface(endpoint, calls, networks);
    let endpoint = record::<DetachInterface>(endpoint, calls, ());
    let endpoint = record::<DetachVolume>(endpoint, calls, ());
    let endpoint = record::<SwapVolume>(endpoint, calls, ());
    let endpoint = record::<AddFixedIpToInstance>(endpoint, calls, ());
    let endpoint = record::<RemoveFixedIpFromInstance>(endpoint, calls, ());
    let endpoint = record::<ExternalInstanceEvent>(endpoint, calls, ());
    let endpoint = console::<GetVncConsole>(endpoint, calls);
    let endpoint = console::<GetSpiceConsole>(endpoint, calls);
    let endpoint = console::<GetSerialConsole>(endpoint, calls);
    let endpoint = console::<GetMksConsole>(endpoint, calls);
    let endpoint = record::<TerminateInstance>(endpoint, calls, ());
    let endpoint = record::<StartInstance>(endpoint, calls, ());
    let endpoint = record::<StopInstance>(endpoint, calls, ());
    let endpoint = record::<SnapshotInstance>(endpoint, calls, ());
    let endpoint = record::<BackupInstance>(endpoint, calls, ());
    let endpoint = record::<ShelveInstance>(endpoint, calls, ());
    let endpoint = record::<ShelveOffloadInstance>(endpoint, calls, ());
    let endpoint = record::<RebootInstance>(endpoint, calls, ());
    let endpoint = record::<VolumeSnapshotCreate>(endpoint, calls, ());
    let endpoint = record::<VolumeSnapshotDelete>(endpoint, calls, ());
    let endpoint = record_with(endpoint, calls, |method: &SetHostEnabled| {
        Ok(if method.enabled { "enabled" } else { "disabled" }.to_owned())
    });
    // A hypervisor that does not like to be switched off, and stays in maintenance.
    let endpoint = record_with(endpoint, calls, |method: &HostPowerAction| match method.action.as_str() {
        "shutdown" => Err(exception::not_implemented("a power action of the host")),
        other => Ok(other.to_owned()),
    });
    let endpoint = record_with(endpoint, calls, |method: &HostMaintenanceMode| {
        Ok(if method.mode { "on_maintenance" } else { "there are guests" }.to_owned())
    });
    let endpoint = record::<PauseInstance>(endpoint, calls, ());
    let endpoint = record::<UnpauseInstance>(endpoint, calls, ());
    let endpoint = record::<SuspendInstance>(endpoint, calls, ());
    let endpoint = record::<ResumeInstance>(endpoint, calls, ());
    let endpoint = record::<RescueInstance>(endpoint, calls, ());
    let endpoint = record::<UnrescueInstance>(endpoint, calls, ());
    let endpoint = record::<SoftDeleteInstance>(endpoint, calls, ());
    let endpoint = record::<RestoreInstance>(endpoint, calls, ());
    let endpoint = record::<SetAdminPassword>(endpoint, calls, ());
    let endpoint = record::<TriggerCrashDump>(endpoint, calls, ());
    let endpoint = record::<InjectNetworkInfo>(endpoint, calls, ());
    let endpoint = record::<GetDiagnostics>(endpoint, calls, json!({"cpu0_time": 17, "memory": 524_288}));
    let endpoint = record::<GetInstanceDiagnostics>(endpoint, calls, diagnostics());
    let endpoint = record::<ConfirmResize>(endpoint, calls, ());
    let endpoint = record::<RevertResize>(endpoint, calls, ());
    let endpoint = record::<LiveMigrationForceComplete>(endpoint, calls, ());
    let endpoint = record::<LiveMigrationAbort>(endpoint, calls, ());
    vec![record::<GetConsoleOutput>(endpoint, calls, "\u{1}hello\nlogin:".to_owned())]
}

fn diagnostics() -> Diagnostics {
    let cpu = CpuDiagnostics { id: Some(0), time: Some(17), ..CpuDiagnostics::default() };
    Diagnostics {
        uptime: Some(46_664),
        config_drive: true,
        memory_details: MemoryDiagnostics { maximum: Some(512), ..MemoryDiagnostics::default() },
        ..Diagnostics::new(PowerState::Running, "kvm").with_devices(vec![cpu], vec![], vec![])
    }
}

/// Plugs in as an agent does, as far as the network service sees it.
fn attach_interface(endpoint: Endpoint, calls: &Calls, networks: &Arc<FakeNetwork>) -> Endpoint {
    let (calls, networks) = (calls.clone(), Arc::clone(networks));
    register(endpoint, move |context, asked: AttachInterface| {
        let (called, networks) = (calls.called(&asked), Arc::clone(&networks));
        async move {
            called?;
            let parse = |id: &Option<String>| id.as_ref().map(|id| id.parse().unwrap());
            let request = PortRequest {
                network_id: parse(&asked.network_id),
                port_id: parse(&asked.port_id),
                fixed_ip: asked.requested_ip,
                ..PortRequest::default()
            };
            let (uuid, project_id) = (asked.instance.uuid, asked.instance.project_id());
            let vif = networks.allocate_port_for_instance(&context, uuid, project_id, HOST, &request, &[]).await;
            Ok(json!(vif.unwrap()))
        }
    })
}

/// Answers with a console.
fn console<M: RpcMethod<Reply = Value>>(endpoint: Endpoint, calls: &Calls) -> Endpoint {
    record::<M>(endpoint, calls, json!({"access_url": "http://proxy/?token=t"}))
}

/// Writes the call down and answers `reply`, or raises what was told to be raised.
fn record<M>(endpoint: Endpoint, calls: &Calls, reply: M::Reply) -> Endpoint
where
    M: RpcMethod,
    M::Reply: Clone + Sync + 'static,
{
    record_with(endpoint, calls, move |_: &M| Ok(reply.clone()))
}

/// Writes the call down and answers what `reply` says to it.
fn record_with<M, F>(endpoint: Endpoint, calls: &Calls, reply: F) -> Endpoint
where
    M: RpcMethod,
    F: Fn(&M) -> Result<M::Reply, RemoteException> + Clone + Send + Sync + 'static,
{
    let calls = calls.clone();
    register(endpoint, move |_, method: M| {
        let called = calls.called(&method);
        std::future::ready(called.and_then(|()| reply(&method)))
    })
}
