//! The agent's options, under Nova's names.

use std::time::Duration;

use kilonova_core::{Config, ConfigError};
use kilonova_rpcapi::notifications::AuditPeriod;
use kilonova_virt::ConsoleKind;

/// How often a periodic task runs that has no interval of its own.
const DEFAULT_PACE: Duration = Duration::from_secs(60);

/// What the agent can be told.
#[derive(Clone, Debug)]
pub struct ComputeConfig {
    /// `[DEFAULT] host`: the name of this agent; its queues are `compute.<host>`.
    pub host: String,
    /// `[DEFAULT] my_ip`: what `ComputeNode.host_ip` says.
    pub my_ip: String,
    /// `[DEFAULT] my_block_storage_ip`: what the volume service is told of this host; `my_ip`, unless it is set.
    pub my_block_storage_ip: String,
    /// `[compute] max_disk_devices_to_attach`: disks of one instance; any number where it is negative.
    pub max_disk_devices_to_attach: i64,
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
    /// `[DEFAULT] max_concurrent_snapshots`: guests that images are made of at the same time; any number where it is
    /// zero.
    pub max_concurrent_snapshots: usize,
    /// `[DEFAULT] shelved_offload_time`: seconds that a shelved instance stays on this host; at once where it is zero,
    /// and never leaves it where it is negative.
    pub shelved_offload_time_s: i64,
    /// `[DEFAULT] shelved_poll_interval`: seconds between looks for shelved instances that have stayed so long; never
    /// where it is zero.
    pub shelved_poll_interval: Duration,
    /// `[DEFAULT] max_concurrent_live_migrations`: guests that leave while they run at the same time; any number where it
    /// is zero.
    pub max_concurrent_live_migrations: usize,
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
    /// `[DEFAULT] instance_usage_audit`: whether it is told of every instance once in every period.
    pub instance_usage_audit: bool,
    /// `[DEFAULT] instance_usage_audit_period`
    pub instance_usage_audit_period: AuditPeriod,
    /// `[DEFAULT] default_availability_zone`: what an instance here shows.
    pub availability_zone: String,
    /// Which consoles there are.
    pub consoles: ConsoleConfig,
}

/// Which consoles there are, and where their proxies are for users: one that is none is off.
#[derive(Clone, Debug)]
pub struct ConsoleConfig {
    /// `[vnc] novncproxy_base_url`, unless `[vnc] enabled` is off.
    pub novnc: Option<String>,
    /// `[spice] html5proxy_base_url`, if `[spice] enabled` is on.
    pub spice_html5: Option<String>,
    /// `[spice] spice_direct_proxy_base_url`, if `[spice] enabled` is on.
    pub spice_direct: Option<String>,
    /// `[serial_console] base_url`, if `[serial_console] enabled` is on.
    pub serial: Option<String>,
    /// `[mks] mksproxy_base_url`, if `[mks] enabled` is on.
    pub webmks: Option<String>,
    /// `[consoleauth] token_ttl`: seconds in which one may connect.
    pub token_ttl_s: i64,
}

/// Why there is no console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConsoleRefusal {
    /// Consoles of that kind are off.
    Unavailable,
    /// There is no such type of that kind.
    Invalid,
}

impl ConsoleConfig {
    fn from_config(config: &Config) -> Result<Self, ConfigError> {
        let url = |section: &str, is_on: bool, option: &str, default: &str| -> Result<Option<String>, ConfigError> {
            let is_on = config.flag(section, "enabled", is_on)?;
            Ok(is_on.then(|| config.get(section, option).unwrap_or_else(|| default.to_owned())))
        };
        Ok(Self {
            novnc: url("vnc", true, "novncproxy_base_url", "http://127.0.0.1:6080/vnc_auto.html")?,
            spice_html5: url("spice", false, "html5proxy_base_url", "http://127.0.0.1:6082/spice_auto.html")?,
            spice_direct: url("spice", false, "spice_direct_proxy_base_url", "http://127.0.0.1:13002/nova")?,
            serial: url("serial_console", false, "base_url", "ws://127.0.0.1:6083/")?,
            webmks: url("mks", false, "mksproxy_base_url", "http://127.0.0.1:6090/")?,
            token_ttl_s: config.parse("consoleauth", "token_ttl", 600)?,
        })
    }

    /// Where users go for a console. By Nova's rule a serial console may be called anything.
    pub(crate) fn base_url(&self, kind: ConsoleKind, console_type: &str) -> Result<&str, ConsoleRefusal> {
        let (url, is_type) = match kind {
            ConsoleKind::Vnc => (&self.novnc, console_type == "novnc"),
            ConsoleKind::Spice if console_type == "spice-direct" => (&self.spice_direct, true),
            ConsoleKind::Spice => (&self.spice_html5, console_type == "spice-html5"),
            ConsoleKind::Serial => (&self.serial, true),
            ConsoleKind::Mks => (&self.webmks, console_type == "webmks"),
        };
        let url = url.as_deref().ok_or(ConsoleRefusal::Unavailable)?;
        if is_type { Ok(url) } else { Err(ConsoleRefusal::Invalid) }
    }
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
        let my_ip = config.get("DEFAULT", "my_ip").unwrap_or_else(|| "127.0.0.1".to_owned());
        Ok(Self {
            host: config.get("DEFAULT", "host").unwrap_or_else(|| host.to_owned()),
            my_block_storage_ip: config.get("DEFAULT", "my_block_storage_ip").unwrap_or_else(|| my_ip.clone()),
            max_disk_devices_to_attach: config.parse("compute", "max_disk_devices_to_attach", -1)?,
            my_ip,
            report_interval: seconds("report_interval", 10)?,
            update_resources_interval: pass("update_resources_interval", 0)?,
            sync_power_state_interval: pass("sync_power_state_interval", 600)?,
            running_deleted_instance_poll_interval: seconds("running_deleted_instance_poll_interval", 1800)?,
            reclaim_instance_interval: above_zero("reclaim_instance_interval")?,
            rescue_timeout: above_zero("rescue_timeout")?,
            max_concurrent_builds: config.parse("DEFAULT", "max_concurrent_builds", 10)?,
            max_concurrent_snapshots: config.parse("DEFAULT", "max_concurrent_snapshots", 5)?,
            shelved_offload_time_s: config.parse("DEFAULT", "shelved_offload_time", 0)?,
            shelved_poll_interval: pass("shelved_poll_interval", 3600)?,
            max_concurrent_live_migrations: config.parse("DEFAULT", "max_concurrent_live_migrations", 1)?,
            shutdown_timeout: seconds("shutdown_timeout", 60)?,
            cpu_allocation_ratio: ratio("cpu_allocation_ratio", 4.0)?,
            ram_allocation_ratio: ratio("ram_allocation_ratio", 1.0)?,
            disk_allocation_ratio: ratio("disk_allocation_ratio", 1.0)?,
            reserved_host_memory_mb: config.parse("DEFAULT", "reserved_host_memory_mb", 512)?,
            force_config_drive: config.flag("DEFAULT", "force_config_drive", false)?,
            resume_guests_state_on_host_boot: config.flag("DEFAULT", "resume_guests_state_on_host_boot", false)?,
            instance_usage_audit: config.flag("DEFAULT", "instance_usage_audit", false)?,
            instance_usage_audit_period: config.parse(
                "DEFAULT",
                "instance_usage_audit_period",
                AuditPeriod::default(),
            )?,
            availability_zone: config.get("DEFAULT", "default_availability_zone").unwrap_or_else(|| "nova".to_owned()),
            consoles: ConsoleConfig::from_config(config)?,
        })
    }
}
