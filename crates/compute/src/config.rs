//! The agent's options, under Nova's names.

use std::time::Duration;

use kilonova_core::{Config, ConfigError};

/// What the agent can be told.
#[derive(Clone, Debug)]
pub struct ComputeConfig {
    /// `[DEFAULT] host`: the name of this agent; its queues are `compute.<host>`.
    pub host: String,
    /// `[DEFAULT] my_ip`: what `ComputeNode.host_ip` says.
    pub my_ip: String,
    /// `[DEFAULT] report_interval`: seconds between heartbeats.
    pub report_interval: Duration,
    /// `[DEFAULT] update_resources_interval`: seconds between looks at the host's resources; Nova's 0 means 60.
    pub update_resources_interval: Duration,
    /// `[DEFAULT] sync_power_state_interval`: seconds between comparisons with the hypervisor.
    pub sync_power_state_interval: Duration,
    /// `[DEFAULT] max_concurrent_builds`: guests that are made at the same time.
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
        let ratio = |name: &str, default: f64| -> Result<f64, ConfigError> {
            let initial = config.parse("DEFAULT", &format!("initial_{name}"), default)?;
            config.parse("DEFAULT", name, initial)
        };
        Ok(Self {
            host: config.get("DEFAULT", "host").unwrap_or_else(|| host.to_owned()),
            my_ip: config.get("DEFAULT", "my_ip").unwrap_or_else(|| "127.0.0.1".to_owned()),
            report_interval: seconds("report_interval", 10)?,
            update_resources_interval: match seconds("update_resources_interval", 0)? {
                Duration::ZERO => Duration::from_secs(60),
                interval => interval,
            },
            sync_power_state_interval: seconds("sync_power_state_interval", 600)?,
            max_concurrent_builds: config.parse("DEFAULT", "max_concurrent_builds", 10)?,
            shutdown_timeout: seconds("shutdown_timeout", 60)?,
            cpu_allocation_ratio: ratio("cpu_allocation_ratio", 4.0)?,
            ram_allocation_ratio: ratio("ram_allocation_ratio", 1.0)?,
            disk_allocation_ratio: ratio("disk_allocation_ratio", 1.0)?,
            reserved_host_memory_mb: config.parse("DEFAULT", "reserved_host_memory_mb", 512)?,
            force_config_drive: config.flag("DEFAULT", "force_config_drive", false)?,
            resume_guests_state_on_host_boot: config.flag("DEFAULT", "resume_guests_state_on_host_boot", false)?,
            availability_zone: config
                .get("DEFAULT", "default_availability_zone")
                .unwrap_or_else(|| "nova".to_owned()),
        })
    }
}
