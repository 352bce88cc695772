//! The agent's options, under Nova's names.

use std::time::Duration;

use kilonova_core::{Config, ConfigError};

/// How often a periodic task runs that has no interval of its own.
const DEFAULT_PACE: Duration = Duration::from_secs(60);

/// What the agent can be told.
#[derive(Clone, Debug)]
pub struct ComputeConfig {
    /// `[DEFAULT] host`: the name of this agent; its queues are `compute.<host>`.
    pub host: String,
    /// `[DEFAULT] my_ip`: what `ComputeNode.host_ip` says.
    pub my_ip: String,
    /// `[DEFAULT] report_interval`: seconds between heartbeats; none where it is zero.
    pub report_interval: Duration,
    /// `[DEFAULT] update_resources_interval`: seconds between looks at the host's resources; never where it is zero.
    pub update_resources_interval: Duration,
    /// `[DEFAULT] sync_power_state_interval`: seconds between comparisons with the hypervisor; never where it is zero.
    pub sync_power_state_interval: Duration,
    /// `[DEFAULT] running_deleted_instance_poll_interval`: seconds between searches for guests that no instance owns;
    /// never where it is zero.
    pub running_deleted_instance_poll_interval: Duration,
    /// `[DEFAULT] reclaim_instance_interval`: how long what was deleted can be restored; where it is not above zero a
    /// delete is one at once.
    pub reclaim_instance_interval: Option<Duration>,
    /// `[DEFAULT] rescue_timeout`: how long a rescue may take; any time where it is zero.
    pub rescue_timeout: Option<Duration>,
    /// `[DEFAULT] max_concurrent_builds`: guests that are made at the same time; any number where it is zero.
    pub max_concurrent_builds: usize,
    /// `[DEFAULT] shutdown_timeout`: how long a guest may take to shut itself down.
    pub shutdown_timeout: Duration,
    /// `[DEFAULT] cpu_allocation_ratio`, or Nova's `initial_cpu_allocation_ratio`.
    pub cpu_allocation_ratio: f64,
    /// `[DEFAULT] ram_allocation_ratio`.
    pub ram_allocation_ratio: f64,
    /// `[DEFAULT] disk_allocation_ratio`.
    pub disk_allocation_ratio: f64,
    /// `[DEFAULT] reserved_host_memory_mb`
    pub reserved_host_memory_mb: i64,
    /// `[DEFAULT] force_config_drive`
    pub force_config_drive: bool,
    /// `[DEFAULT] resume_guests_state_on_host_boot`
    pub resume_guests_state_on_host_boot: bool,
    /// `[DEFAULT] default_availability_zone`: what an instance here shows.
    pub availability_zone: String,
}

impl ComputeConfig {
    /// Reads the options; `host` is the name where the configuration gives none.
    pub fn from_config(config: &Config, host: &str) -> Result<Self, ConfigError> {
        let seconds = |name: &str, default: u64| -> Result<Duration, ConfigError> {
            Ok(Duration::from_secs(config.parse("DEFAULT", name, default)?))
        };
        // Nova's rule for the intervals of periodic tasks: 0 is the default pace, a negative number is never.
        let pass = |name: &str, default: i64| -> Result<Duration, ConfigError> {
            Ok(match config.parse("DEFAULT", name, default)? {
                0 => DEFAULT_PACE,
                seconds => Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
            })
        };
        let above_zero = |name: &str| -> Result<Option<Duration>, ConfigError> {
            let seconds: i64 = config.parse("DEFAULT", name, 0)?;
            Ok(u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs))
        };
        let ratio = |name: &str, default: f64| -> Result<f64, ConfigError> {
            let initial = config.parse("DEFAULT", &format!("initial_{name}"), default)?;
            config.parse("DEFAULT", name, initial)
        };
        Ok(Self {
            host: config.get("DEFAULT", "host").unwrap_or_else(|| host.to_owned()),
            my_ip: config.get("DEFAULT", "my_ip").unwrap_or_else(|| "127.0.0.1".to_owned()),
            report_interval: seconds("report_interval", 10)?,
            update_resources_interval: pass("update_resources_interval", 0)?,
            sync_power_state_interval: pass("sync_power_state_interval", 600)?,
            running_deleted_instance_poll_interval: seconds("running_deleted_instance_poll_interval", 1800)?,
            reclaim_instance_interval: above_zero("reclaim_instance_interval")?,
            rescue_timeout: above_zero("rescue_timeout")?,
            max_concurrent_builds: config.parse("DEFAULT", "max_concurrent_builds", 10)?,
            shutdown_timeout: seconds("shutdown_timeout", 60)?,
            cpu_allocation_ratio: ratio("cpu_allocation_ratio", 4.0)?,
            ram_allocation_ratio: ratio("ram_allocation_ratio", 1.0)?,
            disk_allocation_ratio: ratio("disk_allocation_ratio", 1.0)?,
            reserved_host_memory_mb: config.parse("DEFAULT", "reserved_host_memory_mb", 512)?,
            force_config_drive: config.flag("DEFAULT", "force_config_drive", false)?,
            resume_guests_state_on_host_boot: config.flag("DEFAULT", "resume_guests_state_on_host_boot", false)?,
            availability_zone: config.get("DEFAULT", "default_availability_zone").unwrap_or_else(|| "nova".to_owned()),
        })
    }
}
