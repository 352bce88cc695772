//! Which options a process may find in its `nova.conf` without having a use for them: those of the other services.

use kilonova_core::Config;
use kilonova_core::config::warn_unknown;

/// Sections in which a service reads everything, or nothing.
const SECTIONS: [&str; 28] = [
    "api",
    "api_database",
    "compute",
    "conductor",
    "console",
    "consoleauth",
    "database",
    "filter_scheduler",
    "glance",
    "keystone_authtoken",
    "libvirt",
    "mks",
    "neutron",
    "notifications",
    "oslo_messaging_notifications",
    "oslo_messaging_rabbit",
    "oslo_policy",
    "placement",
    "placement_database",
    "qemu",
    "quota",
    "scheduler",
    "serial_console",
    "service_user",
    "spice",
    "standalone",
    "vnc",
    "workarounds",
];

/// Options that one service reads in a section that others have a use for too.
const OPTIONS: [(&str, &[&str]); 5] = [
    (
        "DEFAULT",
        &[
            "compute_driver",
            "control_exchange",
            "default_availability_zone",
            "default_schedule_zone",
            "force_config_drive",
            "instances_path",
            "internal_service_availability_zone",
            "log_dir",
            "log_file",
            "max_concurrent_builds",
            "my_ip",
            "osapi_compute_listen",
            "osapi_compute_listen_port",
            "password_length",
            "placement_listen",
            "placement_listen_port",
            "report_interval",
            "reserved_host_cpus",
            "reserved_host_disk_mb",
            "reserved_host_memory_mb",
            "resume_guests_state_on_host_boot",
            "rpc_response_timeout",
            "running_deleted_instance_action",
            "running_deleted_instance_poll_interval",
            "service_down_time",
            "standalone_listen",
            "standalone_listen_port",
            "state_path",
            "sync_power_state_interval",
            "transport_url",
            "update_resources_interval",
            "web",
        ],
    ),
    ("keystone_authtoken", &["token_cache_time", "www_authenticate_uri"]),
    ("serial_console", &["base_url", "enabled", "serialproxy_host", "serialproxy_port"]),
    (
        "vnc",
        &[
            "enabled",
            "novncproxy_base_url",
            "novncproxy_host",
            "novncproxy_port",
            "server_listen",
            "server_proxyclient_address",
        ],
    ),
    ("consoleauth", &["enforce_session_timeout", "token_ttl"]),
];

/// Says once which options no service knows.
pub(crate) fn warn_unknown_options(config: &Config) {
    let unread = config.unread();
    let is_used = |section: &str| config.names(section).any(|name| !unread.contains(&(section, name)));
    let is_elsewhere = |section: &str, name: &str| {
        let of_others = OPTIONS.iter().find(|(of, _)| *of == section).is_some_and(|(_, names)| names.contains(&name));
        of_others || (SECTIONS.contains(&section) && !is_used(section))
    };
    let unknown: Vec<_> = unread.iter().copied().filter(|(section, name)| !is_elsewhere(section, name)).collect();
    warn_unknown(&unknown);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted() {
        assert!(SECTIONS.is_sorted());
        assert!(OPTIONS.iter().all(|(_, names)| names.is_sorted()));
    }
}
