//! A whole cloud in one process: the built-in services, the API, conductor, scheduler and compute agents, around one
//! SQLite file and the in-process transport.
//!
//! ```text
//!   start: state directory ─> port ─> database ─> built-in services ─> conductor ─> scheduler ─> compute ─> HTTP
//!          ─> what an earlier process left is taken up
//!   stop:  HTTP ─> compute ─> scheduler ─> conductor ─> database
//! ```

mod defaults;
mod http;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kilonova_api::{ApiConfig, ApiState};
use kilonova_clients::Clients;
use kilonova_compute::{ComputeConfig, ComputeService, Manager};
use kilonova_conductor::{Conductor, ConductorConfig, ConductorService};
use kilonova_core::Config;
use kilonova_db::Db;
use kilonova_messaging::{ClientOptions, Faults, MemoryTransport, Transport};
use kilonova_placement::PlacementService;
use kilonova_rpcapi::{ComputeApi, ConductorApi, SchedulerApi};
use kilonova_scheduler::SchedulerManager;
use kilonova_scheduler::service::{ConductorHosts, SchedulerService};
use kilonova_standalone::identity::{Bootstrap, IdentityConfig, IdentityService};
use kilonova_standalone::image::BuiltinImage;
use kilonova_standalone::network::BuiltinNetwork;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::cloud::http::HttpServer;
use crate::credentials::Credentials;
use crate::front::{Front, front};
use crate::state_dir::StateDir;

/// How long running work may take to end when the cloud stops.
const STOP_BOUND: Duration = Duration::from_secs(10);
/// The name of the only region, as DevStack has it.
const REGION: &str = "RegionOne";

/// What a cloud is started with.
#[derive(Clone, Debug)]
pub struct CloudOptions {
    /// `nova.conf`, or nothing.
    pub config: Config,
    /// `qemu`, `fake`, or one of Nova's names.
    pub driver: String,
    /// Where everything is kept.
    pub state_dir: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// An image to register for everybody under the name `guest`.
    pub guest_image: Option<PathBuf>,
    /// Name of this machine: the compute host is called so from its first start on, unless `[DEFAULT] host` says
    /// otherwise.
    pub host: String,
    /// How many compute agents run here; more than one only with the fake driver.
    pub hosts: usize,
    /// What the transport does to messages; for tests.
    pub faults: Option<Faults>,
}

/// A running cloud.
pub struct Cloud {
    address: SocketAddr,
    clouds_yaml: PathBuf,
    http: HttpServer,
    computes: Vec<ComputeService>,
    scheduler: SchedulerService,
    conductor: ConductorService,
    transport: Arc<MemoryTransport>,
    db: Db,
    /// Last, so that nobody else takes the directory before everything is closed.
    _state_dir: StateDir,
}

/// The built-in services and who may use them.
struct Builtin {
    identity: Arc<IdentityService>,
    image: Arc<BuiltinImage>,
    network: Arc<BuiltinNetwork>,
    placement: Arc<PlacementService>,
}

impl Cloud {
    /// Starts everything and returns when requests are served.
    pub async fn start(options: CloudOptions) -> anyhow::Result<Self> {
        let state_dir = StateDir::open(&options.state_dir)?;
        let configured_host = options.config.get("DEFAULT", "host");
        let options = CloudOptions { host: state_dir.host_name(configured_host, &options.host)?, ..options };
        let listener =
            TcpListener::bind(options.listen).await.with_context(|| format!("cannot listen on {}", options.listen))?;
        let address = listener.local_addr()?;
        let public_url = format!("http://{}", reachable(address));
        let db = open_database(state_dir.path()).await?;
        let builtin = Builtin::open(&db, state_dir.path(), &public_url).await?;
        defaults::ensure(&db, &builtin.image, &options).await?;

        let transport = options.faults.clone().map_or_else(MemoryTransport::new, MemoryTransport::with_faults);
        let bus = Bus { transport: transport.clone(), rpc: client_options(&options.config)? };
        let clients = builtin.clients();
        let nudge = Arc::new(Notify::new());
        let conductor = start_conductor(&options, &db, &clients, &bus, &nudge).await?;
        let scheduler = start_scheduler(&options, &clients, &bus).await?;
        let computes = start_computes(&options, state_dir.path(), &clients, &bus).await?;

        let api = ApiState::new(
            db.clone(),
            clients,
            bus.conductor(),
            bus.compute(),
            ApiConfig { host: options.host.clone(), ..ApiConfig::from_config(&options.config)? },
            nudge,
        );
        let front = builtin.front(Arc::new(api));
        let http = HttpServer::start(listener, front);
        let clouds_yaml =
            Credentials::load_or_make(state_dir.path())?.write_clouds_yaml(state_dir.path(), &public_url, REGION)?;
        conductor.start_passes();
        options.config.warn_unread();
        tracing::info!(%address, driver = options.driver, "the cloud is up");
        Ok(Self { address, clouds_yaml, http, computes, scheduler, conductor, transport, db, _state_dir: state_dir })
    }

    /// Where the services are.
    pub fn address(&self) -> SocketAddr {
        reachable(self.address)
    }

    /// The ready-made client configuration.
    pub fn clouds_yaml(&self) -> &Path {
        &self.clouds_yaml
    }

    /// Resolves when a part of the cloud cannot go on.
    pub async fn failed(&self) {
        self.conductor.failed().await;
    }

    /// Ends everything but the guests: no new requests, running work finished within a bound.
    pub async fn stop(self) {
        self.http.stop(STOP_BOUND).await;
        for compute in &self.computes {
            compute.stop(STOP_BOUND).await;
        }
        self.scheduler.stop(STOP_BOUND).await;
        self.conductor.stop(STOP_BOUND).await;
        self.transport.close().await;
        if let Err(error) = self.db.close().await {
            tracing::warn!(%error, "the database was not closed cleanly");
        }
    }
}

impl Builtin {
    async fn open(db: &Db, state_dir: &Path, public_url: &str) -> anyhow::Result<Self> {
        let config = IdentityConfig {
            public_url: public_url.to_owned(),
            compute_url: None,
            region: REGION.to_owned(),
            key_dir: state_dir.join("fernet-keys"),
            token_ttl: Duration::from_secs(3600),
        };
        let identity = IdentityService::open(db.clone(), config)?;
        let Credentials { admin_password, demo_password } = Credentials::load_or_make(state_dir)?;
        let ids = identity.bootstrap(&Bootstrap { admin_password, demo_password, service_password: None }).await?;
        let image = BuiltinImage::open(db.clone(), state_dir.join("images")).await?;
        let network = BuiltinNetwork::open(db.clone());
        network.bootstrap(&ids.demo_project_id, &ids.admin_project_id).await?;
        Ok(Self { identity, image, network, placement: PlacementService::open(db.clone()) })
    }

    fn clients(&self) -> Clients {
        Clients {
            identity: self.identity.clone(),
            image: self.image.clone(),
            network: self.network.clone(),
            placement: self.placement.clone(),
        }
    }

    fn front(&self, api: Arc<ApiState>) -> Front {
        front(vec![
            ("identity", self.identity.router()),
            ("image", self.image.router(self.identity.clone())),
            ("network", self.network.router(self.identity.clone())),
            ("placement", self.placement.router(self.identity.clone())),
            ("compute", kilonova_api::router(api)),
        ])
    }
}

/// How the services of this process reach each other.
struct Bus {
    transport: Arc<dyn Transport>,
    rpc: ClientOptions,
}

impl Bus {
    fn conductor(&self) -> ConductorApi {
        ConductorApi::new(self.transport.clone(), self.rpc)
    }

    fn compute(&self) -> ComputeApi {
        ComputeApi::new(self.transport.clone(), self.rpc)
    }

    fn scheduler(&self) -> SchedulerApi {
        SchedulerApi::new(self.transport.clone(), self.rpc)
    }
}

/// `[DEFAULT] rpc_response_timeout`: seconds that a caller waits for an answer.
fn client_options(config: &Config) -> anyhow::Result<ClientOptions> {
    let timeout = Duration::from_secs(config.parse("DEFAULT", "rpc_response_timeout", 60)?);
    Ok(ClientOptions { timeout, ..ClientOptions::default() })
}

/// Where clients on this machine reach a server that listens on every address.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}

async fn open_database(state_dir: &Path) -> anyhow::Result<Db> {
    let path = state_dir.join("kilonova.sqlite");
    let url = format!("sqlite://{}", path.display());
    Db::open(&url).await.with_context(|| format!("cannot open the database {}", path.display()))
}

async fn start_conductor(
    options: &CloudOptions,
    db: &Db,
    clients: &Clients,
    bus: &Bus,
    nudge: &Arc<Notify>,
) -> anyhow::Result<ConductorService> {
    let conductor = Conductor::new(
        ConductorConfig {
            host: options.host.clone(),
            ..ConductorConfig::from_config(&options.config, &options.host, true)?
        },
        db.clone(),
        clients.clone(),
        bus.scheduler(),
        bus.compute(),
        nudge.clone(),
    );
    Ok(ConductorService::start(Arc::new(conductor), bus.transport.clone()).await?)
}

async fn start_scheduler(options: &CloudOptions, clients: &Clients, bus: &Bus) -> anyhow::Result<SchedulerService> {
    let zone = options.config.get("DEFAULT", "default_availability_zone").unwrap_or_else(|| "nova".to_owned());
    let hosts = ConductorHosts::new(bus.conductor(), &zone);
    let manager = SchedulerManager::new(clients.placement.clone(), Arc::new(hosts), &options.config)?;
    let report_interval = Duration::from_secs(options.config.parse("DEFAULT", "report_interval", 10)?);
    let (manager, transport) = (Arc::new(manager), bus.transport.clone());
    Ok(SchedulerService::start(manager, transport, bus.conductor(), &options.host, report_interval).await?)
}

async fn start_computes(
    options: &CloudOptions,
    state_dir: &Path,
    clients: &Clients,
    bus: &Bus,
) -> anyhow::Result<Vec<ComputeService>> {
    let mut computes = Vec::with_capacity(options.hosts);
    for number in 1..=options.hosts {
        let host = if number == 1 { options.host.clone() } else { format!("{}-{number}", options.host) };
        let driver = kilonova_virt::drivers::load(&options.driver, &options.config, state_dir, &host)?;
        let config = ComputeConfig { host: host.clone(), ..ComputeConfig::from_config(&options.config, &host)? };
        let conductor = bus.conductor();
        let manager = Arc::new(Manager::new(config, conductor, clients.clone(), driver));
        let compute = ComputeService::start(manager, bus.transport.clone()).await;
        computes.push(compute.with_context(|| format!("the compute agent of {host} cannot start"))?);
    }
    Ok(computes)
}
