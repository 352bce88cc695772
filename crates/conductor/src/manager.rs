//! The state of a conductor process, shared by all that it does.

use std::sync::Arc;
use std::time::Duration;

use kilonova_clients::Clients;
use kilonova_core::{Config, ConfigError};
use kilonova_db::Db;
use kilonova_rpcapi::{ComputeApi, Notifications, SchedulerApi};
use tokio::sync::Notify;

/// What a conductor can be told.
#[derive(Clone, Debug)]
pub struct ConductorConfig {
    /// `[DEFAULT] host`: the name of this process's host.
    pub host: String,
    /// `[DEFAULT] service_down_time`: seconds without a heartbeat after which a service counts as down.
    pub service_down_time_s: i64,
    /// `[DEFAULT] report_interval`: seconds between heartbeats; none where it is zero.
    pub report_interval: Duration,
    /// `[conductor] workflow_interval`: seconds between looks for work that nobody does.
    pub workflow_interval: Duration,
    /// `[conductor] workflow_lease`: seconds that a step may take before somebody else takes it up.
    pub workflow_lease: Duration,
    /// `[conductor] workflow_max_attempts`: how often a build is taken up before it is in error. High, because a build
    /// that waits behind others is taken up too; it only ends what would be begun for ever.
    pub workflow_max_attempts: i64,
    /// `[conductor] reconcile_interval`: seconds between looks for allocations and ports without an instance.
    pub reconcile_interval: Duration,
    /// `[DEFAULT] resize_confirm_window`: how long a resize waits for its confirmation before it is confirmed; for ever
    /// where it is not above zero. Nova's agents read it, each for what came to it.
    pub resize_confirm_window: Option<Duration>,
    /// Every lease was held by a process that is dead: there is only one, and it just started.
    pub is_alone: bool,
}

impl ConductorConfig {
    /// Reads the options; `host` is the name where the configuration gives none.
    pub fn from_config(config: &Config, host: &str, is_alone: bool) -> Result<Self, ConfigError> {
        let seconds = |name: &str, default: u64| -> Result<Duration, ConfigError> {
            Ok(Duration::from_secs(config.parse("conductor", name, default)?))
        };
        let window: i64 = config.parse("DEFAULT", "resize_confirm_window", 0)?;
        let window = u64::try_from(window).ok().filter(|window| *window > 0);
        Ok(Self {
            host: config.get("DEFAULT", "host").unwrap_or_else(|| host.to_owned()),
            service_down_time_s: config.parse("DEFAULT", "service_down_time", 60)?,
            report_interval: Duration::from_secs(config.parse("DEFAULT", "report_interval", 10)?),
            workflow_interval: seconds("workflow_interval", 5)?,
            workflow_lease: seconds("workflow_lease", 120)?,
            workflow_max_attempts: config.parse("conductor", "workflow_max_attempts", 30)?,
            reconcile_interval: seconds("reconcile_interval", 600)?,
            resize_confirm_window: window.map(Duration::from_secs),
            is_alone,
        })
    }
}

/// A conductor. Shared by the tasks of all messages.
pub struct Conductor {
    pub(crate) config: ConductorConfig,
    pub(crate) db: Db,
    pub(crate) clients: Clients,
    pub(crate) scheduler: SchedulerApi,
    pub(crate) compute: ComputeApi,
    pub(crate) notifications: Notifications,
    pub(crate) owner: String,
    /// Rung when there is a workflow that nobody works on.
    pub(crate) nudge: Arc<Notify>,
}

impl Conductor {
    /// A conductor that was not started: see [`crate::ConductorService`].
    pub fn new(
        config: ConductorConfig,
        db: Db,
        clients: Clients,
        scheduler: SchedulerApi,
        compute: ComputeApi,
        nudge: Arc<Notify>,
    ) -> Self {
        let owner = format!("{}/conductor/{}", config.host, uuid::Uuid::new_v4().simple());
        let notifications = Notifications::off();
        Self { config, db, clients, scheduler, compute, notifications, owner, nudge }
    }

    /// The same conductor, which tells `notifications` what it does. Without, nobody is told.
    #[must_use]
    pub fn with_notifications(self, notifications: Notifications) -> Self {
        Self { notifications, ..self }
    }
}
