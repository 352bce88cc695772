//! A process with one role: its configuration, its start, its signals, its end.
//!
//! ```text
//!   configuration ──> role starts ──> READY=1 ──┬── SIGHUP: log level read again
//!                                               ├── SIGTERM, SIGINT: STOPPING=1, drain, end
//!                                               └── a part that cannot go on: end with an error
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use kilonova_clients::{Clients, http};
use kilonova_core::Config;
use kilonova_db::{Db, DbOptions};
use kilonova_placement::PlacementService;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::bus::Bus;
use crate::credentials::Credentials;
use crate::front::{alone, front};
use crate::logging;
use crate::options::warn_unknown_options;
use crate::roles::builtin::Builtin;
use crate::roles::http::HttpServer;
use crate::roles::{self, REGION, Running, Setup};
use crate::state_dir::StateDir;

/// Read where no `--config-file` is given, if it is there.
const DEFAULT_CONFIG_FILE: &str = "/etc/nova/nova.conf";
/// Where files that options name are, beside the configuration's own directory.
pub(crate) const CONFIG_DIR: &str = "/etc/nova";
/// `[DEFAULT] state_path`
const DEFAULT_STATE_PATH: &str = "/var/lib/nova";
/// Where everything is kept but what Placement keeps elsewhere.
pub(crate) const DATABASE: &str = "database";
const PLACEMENT_DATABASE: &str = "placement_database";
/// Nova's `[DEFAULT] osapi_compute_listen_port`.
const API_PORT: u16 = 8774;
/// Placement's port by OpenStack's convention.
const PLACEMENT_PORT: u16 = 8778;
/// Keystone's port, as identity is what everybody asks first.
const STANDALONE_PORT: u16 = 5000;

/// What one process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Api,
    Scheduler,
    Conductor,
    Compute,
    Placement,
    Standalone,
    NoVncProxy,
    SerialProxy,
}

impl Role {
    /// The name of the program that does this elsewhere; its log file is called so.
    fn program(self) -> &'static str {
        match self {
            Self::Api => "nova-api",
            Self::Scheduler => "nova-scheduler",
            Self::Conductor => "nova-conductor",
            Self::Compute => "nova-compute",
            Self::Placement => "placement-api",
            Self::Standalone => "kilonova-standalone",
            Self::NoVncProxy => "nova-novncproxy",
            Self::SerialProxy => "nova-serialproxy",
        }
    }
}

/// Options of a process with one role.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A nova.conf; may be given more than once, later ones win.
    #[arg(long, value_name = "FILE")]
    config_file: Vec<PathBuf>,
    /// A directory of *.conf files, read after the files.
    #[arg(long, value_name = "DIR")]
    config_dir: Vec<PathBuf>,
    /// Where to log instead of stderr.
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
}

impl Options {
    /// Reads the files.
    pub(crate) fn load(&self) -> anyhow::Result<Config> {
        let default = Path::new(DEFAULT_CONFIG_FILE);
        let is_default = self.config_file.is_empty() && self.config_dir.is_empty() && default.exists();
        let files = if is_default { vec![default.to_owned()] } else { self.config_file.clone() };
        let config = Config::load(&files, &self.config_dir).context("the configuration cannot be used")?;
        Ok(config.with_place(Path::new(CONFIG_DIR)))
    }
}

/// Runs a role until it is told to end.
pub(crate) async fn run(role: Role, options: &Options) -> anyhow::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let config = options.load()?;
    log(role, options, &config)?;
    let bound = Duration::from_secs(config.parse("DEFAULT", "graceful_shutdown_timeout", 60)?);
    let running = tokio::select! {
        started = start(role, &config) => started?,
        _ = interrupted.recv() => return Ok(()),
        _ = terminated.recv() => return Ok(()),
    };
    warn_unknown_options(&config);
    notify(&[NotifyState::Ready]);
    tracing::info!(?role, "ready");
    loop {
        tokio::select! {
            _ = interrupted.recv() => break,
            _ = terminated.recv() => break,
            _ = hung_up.recv() => reload(role, options),
            () = running.failed() => bail!("a part of the service cannot go on: see the log"),
        }
    }
    notify(&[NotifyState::Stopping]);
    tracing::info!(bound_s = bound.as_secs(), "stopping: running work is let end");
    running.stop(bound).await;
    Ok(())
}

/// Tells systemd, where it asked to be told.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be notified");
    }
}

/// Reads again what can change while the process runs, the log's file and level. A configuration that cannot be used
/// changes nothing.
fn reload(role: Role, options: &Options) {
    match options.load().and_then(|config| log(role, options, &config)) {
        Ok(()) => tracing::info!("the log's options were read again"),
        Err(error) => tracing::error!(error = format!("{error:#}"), "the configuration was not read again"),
    }
}

fn log(role: Role, options: &Options, config: &Config) -> anyhow::Result<()> {
    logging::set_level(config)?;
    let file = logging::file(config, options.log_file.as_deref(), role.program());
    logging::write_to(file.as_deref())
}

async fn start(role: Role, config: &Config) -> anyhow::Result<Running> {
    let host = config.get("DEFAULT", "host").unwrap_or_else(hostname);
    match role {
        Role::Api => api(config, &host).await,
        Role::Scheduler => scheduler(config, &host).await,
        Role::Conductor => conductor(config, &host).await,
        Role::Compute => compute(config).await,
        Role::Placement => placement(config).await,
        Role::Standalone => standalone(config).await,
        Role::NoVncProxy => console_proxy(config, ["vnc", "novncproxy_host", "novncproxy_port"], 6080).await,
        Role::SerialProxy => {
            console_proxy(config, ["serial_console", "serialproxy_host", "serialproxy_port"], 6083).await
        }
    }
}

async fn api(config: &Config, host: &str) -> anyhow::Result<Running> {
    let listener = listen(config, "osapi_compute_listen", "osapi_compute_listen_port", API_PORT).await?;
    let db = database(config, DATABASE).await?;
    let bus = Bus::from_config(config)?;
    let setup = Setup { config, host, bus: &bus };
    let (router, policy) = roles::api::start(&setup, &db, &clients(config)?, Arc::new(Notify::new()))?;
    Ok(Running {
        http: Some(HttpServer::start(listener, alone("compute", router))),
        policy: Some(policy),
        bus: Some(bus),
        db: Some(db),
        ..Running::default()
    })
}

async fn scheduler(config: &Config, host: &str) -> anyhow::Result<Running> {
    let bus = Bus::from_config(config)?;
    let setup = Setup { config, host, bus: &bus };
    let scheduler = roles::scheduler::start(&setup, clients(config)?.placement).await?;
    Ok(Running { scheduler: Some(scheduler), bus: Some(bus), ..Running::default() })
}

async fn conductor(config: &Config, host: &str) -> anyhow::Result<Running> {
    let db = database(config, DATABASE).await?;
    let bus = Bus::from_config(config)?;
    let setup = Setup { config, host, bus: &bus };
    let conductor = roles::conductor::start(&setup, &db, &clients(config)?, Arc::new(Notify::new()), false).await?;
    conductor.start_passes();
    Ok(Running { conductor: Some(conductor), bus: Some(bus), db: Some(db), ..Running::default() })
}

async fn compute(config: &Config) -> anyhow::Result<Running> {
    let state_dir = StateDir::open(&state_path(config))?;
    let host = state_dir.host_name(config.get("DEFAULT", "host"), &hostname())?;
    let driver = config.get("DEFAULT", "compute_driver").unwrap_or_else(|| "qemu".to_owned());
    let clients = http::clients(config, &state_dir.path().join("downloads"))?;
    let bus = Bus::from_config(config)?;
    bus.wait_for_conductor().await;
    let setup = Setup { config, host: &host, bus: &bus };
    let compute = roles::compute::start(&setup, &driver, state_dir.path(), &clients).await?;
    Ok(Running { computes: vec![compute], bus: Some(bus), _state_dir: Some(state_dir), ..Running::default() })
}

async fn placement(config: &Config) -> anyhow::Result<Running> {
    let listener = listen(config, "placement_listen", "placement_listen_port", PLACEMENT_PORT).await?;
    let section = database_sections(config).last().unwrap_or(DATABASE);
    let db = database(config, section).await?;
    let service = PlacementService::open(db.clone());
    let router = service.router(clients(config)?.identity);
    Ok(Running {
        http: Some(HttpServer::start(listener, alone("placement", router))),
        db: Some(db),
        ..Running::default()
    })
}

/// Identity, image, network and placement for a cloud that has no others.
async fn standalone(config: &Config) -> anyhow::Result<Running> {
    let listener = listen(config, "standalone_listen", "standalone_listen_port", STANDALONE_PORT).await?;
    let address = crate::cloud::reachable(listener.local_addr()?);
    let state_dir = StateDir::open(&state_path(config).join("standalone"))?;
    let db = database(config, DATABASE).await?;
    let option = |name: &str| config.get("standalone", name);
    let public_url = option("public_url").unwrap_or_else(|| format!("http://{address}"));
    let public_url = public_url.trim_end_matches('/');
    let credentials = Credentials::load_or_make_with_service(state_dir.path(), config)?;
    let builtin = Builtin::open(&db, state_dir.path(), public_url, option("compute_url"), &credentials).await?;
    let guest_image = option("guest_image").map(PathBuf::from);
    let driver = config.get("DEFAULT", "compute_driver").unwrap_or_default();
    roles::defaults::ensure(&db, builtin.image(), guest_image.as_deref(), &driver, state_dir.path()).await?;
    let clouds_yaml = credentials.write_clouds_yaml(state_dir.path(), public_url, REGION)?;
    tracing::info!(clouds_yaml = %clouds_yaml.display(), "credentials, that of the user nova for [keystone_authtoken] too");
    let http = HttpServer::start(listener, front(builtin.routers()));
    Ok(Running { http: Some(http), db: Some(db), _state_dir: Some(state_dir), ..Running::default() })
}

/// A way to consoles. All kinds are behind the token, so the two proxies differ in their ports only.
async fn console_proxy(
    config: &Config,
    [section, address, port]: [&str; 3],
    default_port: u16,
) -> anyhow::Result<Running> {
    let listener = listen_in(config, section, address, port, default_port).await?;
    let db = database(config, DATABASE).await?;
    let front = alone("console", roles::consoles::router(config, &db)?);
    Ok(Running { http: Some(HttpServer::start(listener, front)), db: Some(db), ..Running::default() })
}

/// The services of `nova.conf`, for a process that downloads no images.
fn clients(config: &Config) -> anyhow::Result<Clients> {
    Ok(http::clients_without_downloads(config)?)
}

/// The sections that name databases: Nova's, and Placement's own where it has one.
pub(crate) fn database_sections(config: &Config) -> impl Iterator<Item = &'static str> {
    let has_own = config.get(PLACEMENT_DATABASE, "connection").is_some();
    [Some(DATABASE), has_own.then_some(PLACEMENT_DATABASE)].into_iter().flatten()
}

/// The database of a section, whose schema `kilonova manage db sync` has made.
async fn database(config: &Config, section: &str) -> anyhow::Result<Db> {
    let db = connect(config, section).await?;
    db.check_schema().await.context("the database is not as this version needs it")?;
    Ok(db)
}

/// The database of a section, whatever is in it.
pub(crate) async fn connect(config: &Config, section: &str) -> anyhow::Result<Db> {
    let Some(url) = config.get(section, "connection") else {
        bail!("[{section}] connection is not set: there is no database to work on");
    };
    let db = Db::connect(&url, &DbOptions::from_config(config, section)?).await;
    db.with_context(|| format!("the database of [{section}] connection cannot be used"))
}

async fn listen(config: &Config, address: &str, port: &str, default_port: u16) -> anyhow::Result<TcpListener> {
    listen_in(config, "DEFAULT", address, port, default_port).await
}

async fn listen_in(
    config: &Config,
    section: &str,
    address: &str,
    port: &str,
    default_port: u16,
) -> anyhow::Result<TcpListener> {
    let address = config.get(section, address).unwrap_or_else(|| "0.0.0.0".to_owned());
    let ip = address.parse().with_context(|| format!("{address} is not an address to listen on"))?;
    let at = SocketAddr::new(ip, config.parse(section, port, default_port)?);
    let listener = TcpListener::bind(at).await.with_context(|| format!("cannot listen on {at}"))?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    Ok(listener)
}

fn state_path(config: &Config) -> PathBuf {
    config.get("DEFAULT", "state_path").map_or_else(|| PathBuf::from(DEFAULT_STATE_PATH), PathBuf::from)
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
