//! A whole cloud in one process: the built-in services, the API, conductor, scheduler and compute agents, around one
//! SQLite file and the in-process transport.
//!
//! ```text
//!   start: state directory ─> port ─> database ─> built-in services ─> conductor ─> scheduler ─> compute ─> HTTP
//!          ─> what an earlier process left is taken up
//!   stop:  HTTP ─> compute ─> conductor ─> scheduler ─> database
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kilonova_clients::Clients;
use kilonova_compute::ComputeService;
use kilonova_core::Config;
use kilonova_db::Db;
use kilonova_messaging::Faults;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::bus::Bus;
use crate::credentials::Credentials;
use crate::front::front;
use crate::roles::builtin::Builtin;
use crate::roles::http::HttpServer;
use crate::roles::{self, REGION, Running, Setup};
use crate::state_dir::StateDir;

/// How long running work may take to end when the cloud stops.
const STOP_BOUND: Duration = Duration::from_secs(10);

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
    running: Running,
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
        let options = CloudOptions { config: with_consoles(options.config, &public_url), ..options };
        let db = open_database(state_dir.path()).await?;
        let credentials = Credentials::load_or_make(state_dir.path())?;
        let builtin = Builtin::open(&db, state_dir.path(), &public_url, None, &credentials).await?;
        let guest_image = options.guest_image.as_deref();
        roles::defaults::ensure(&db, builtin.image(), guest_image, &options.driver, state_dir.path()).await?;

        let bus = Bus::memory(&options.config, options.faults.clone())?;
        let setup = Setup { config: &options.config, host: &options.host, bus: &bus };
        let clients = builtin.clients();
        let nudge = Arc::new(Notify::new());
        let conductor = roles::conductor::start(&setup, &db, &clients, nudge.clone(), true).await?;
        let scheduler = roles::scheduler::start(&setup, clients.placement.clone()).await?;
        let computes = start_computes(&setup, &options, state_dir.path(), &clients).await?;

        let mut services = builtin.routers();
        let (api, policy) = roles::api::start(&setup, &db, &clients, nudge)?;
        services.push(("compute", api));
        services.push(("console", roles::consoles::router(&options.config, &db)?));
        let http = HttpServer::start(listener, front(services));
        let clouds_yaml = credentials.write_clouds_yaml(state_dir.path(), &public_url, REGION)?;
        conductor.start_passes();
        options.config.warn_unread();
        tracing::info!(%address, driver = options.driver, "the cloud is up");
        let running = Running {
            http: Some(http),
            policy: Some(policy),
            computes,
            scheduler: Some(scheduler),
            conductor: Some(conductor),
            bus: Some(bus),
            db: Some(db),
            _state_dir: Some(state_dir),
        };
        Ok(Self { address, clouds_yaml, running })
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
        self.running.failed().await;
    }

    /// Ends everything but the guests: no new requests, running work finished within a bound.
    pub async fn stop(self) {
        self.running.stop(STOP_BOUND).await;
    }
}

/// Where clients on this machine reach a server that listens on every address.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}

/// The consoles of a cloud are on its own port, each kind that its guests have.
fn with_consoles(config: Config, public_url: &str) -> Config {
    let web_socket = public_url.replacen("http", "ws", 1);
    let page = format!("{public_url}/console/vnc_auto.html?path=console/websockify");
    config
        .with_default("vnc", "novncproxy_base_url", &page)
        .with_default("serial_console", "enabled", "true")
        .with_default("serial_console", "base_url", &format!("{web_socket}/console/websockify"))
}

async fn open_database(state_dir: &Path) -> anyhow::Result<Db> {
    let path = state_dir.join("kilonova.sqlite");
    let url = format!("sqlite://{}", path.display());
    Db::open(&url).await.with_context(|| format!("cannot open the database {}", path.display()))
}

async fn start_computes(
    setup: &Setup<'_>,
    options: &CloudOptions,
    state_dir: &Path,
    clients: &Clients,
) -> anyhow::Result<Vec<ComputeService>> {
    let mut computes = Vec::with_capacity(options.hosts);
    for number in 1..=options.hosts {
        let host = if number == 1 { options.host.clone() } else { format!("{}-{number}", options.host) };
        let setup = Setup { host: &host, ..*setup };
        computes.push(roles::compute::start(&setup, &options.driver, state_dir, clients).await?);
    }
    Ok(computes)
}
