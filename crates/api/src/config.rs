//! The options of the API, with Nova's names and defaults.

use std::str::FromStr;

use kilonova_core::{Config, ConfigError};
use kilonova_rpcapi::notifications::AuditPeriod;

/// `[quota]`: what a project may use unless something else was set for it; below 0 is without limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaDefaults {
    /// Servers.
    pub instances: i64,
    /// vCPUs.
    pub cores: i64,
    /// MiB.
    pub ram: i64,
    /// Metadata of one server.
    pub metadata_items: i64,
    /// Files injected into one server.
    pub injected_files: i64,
    /// Bytes of one injected file.
    pub injected_file_content_bytes: i64,
    /// Characters of the path of one injected file.
    pub injected_file_path_length: i64,
    /// Key pairs of one user.
    pub key_pairs: i64,
    /// Server groups.
    pub server_groups: i64,
    /// Servers of one server group.
    pub server_group_members: i64,
}

/// `[quota] driver`: who says what a project may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QuotaDriver {
    /// `nova.quota.DbQuotaDriver`: the database, else the configuration.
    #[default]
    Db,
    /// `nova.quota.NoopQuotaDriver`: nobody. Limits can be set and have no effect.
    Noop,
}

impl FromStr for QuotaDriver {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "nova.quota.DbQuotaDriver" => Ok(Self::Db),
            "nova.quota.NoopQuotaDriver" => Ok(Self::Noop),
            _ => Err(()),
        }
    }
}

/// What the API reads of `nova.conf`.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// `[DEFAULT] host`: this host's name; whose workflow leases a restart frees.
    pub host: String,
    /// `[api] max_limit`: the longest list, and the default length of one.
    pub max_limit: u64,
    /// `[api] compute_link_prefix`: scheme and authority of links, for an API behind a proxy.
    pub compute_link_prefix: Option<String>,
    /// `[api] enable_instance_password`: whether the create response shows `adminPass`.
    pub enable_instance_password: bool,
    /// `[DEFAULT] reclaim_instance_interval`: whether a delete can be undone for a while; the hosts know how long.
    pub has_soft_delete: bool,
    /// `[DEFAULT] password_length`
    pub password_length: usize,
    /// `[DEFAULT] default_availability_zone`: the zone of compute hosts in none.
    pub default_availability_zone: String,
    /// `[DEFAULT] internal_service_availability_zone`
    pub internal_service_availability_zone: String,
    /// `[DEFAULT] default_schedule_zone`: the zone of servers that ask for none.
    pub default_schedule_zone: Option<String>,
    /// `[cinder] cross_az_attach`: whether a server may have a volume of another zone.
    pub cross_az_attach: bool,
    /// `[neutron] default_floating_pool`: the network that floating addresses come from when none is named.
    pub default_floating_pool: String,
    /// `[DEFAULT] non_inheritable_image_properties`: what the image of a server does not have of the image that the
    /// server was made from.
    pub non_inheritable_image_properties: Vec<String>,
    /// `[api] glance_link_prefix`: scheme and authority of links to images at the image service.
    pub glance_link_prefix: Option<String>,
    /// `[glance] default_trusted_certificate_ids`, if `verify_glance_signatures` and `enable_certificate_validation` are on:
    /// the certificates of servers that ask for none.
    pub default_trusted_certificate_ids: Vec<String>,
    /// `[DEFAULT] service_down_time`, seconds.
    pub service_down_time_s: i64,
    /// `[DEFAULT] instance_usage_audit_period`: what is asked for in the log of usage audits.
    pub instance_usage_audit_period: AuditPeriod,
    /// `[DEFAULT] allow_resize_to_same_host`: whether a resize may stay on its host.
    pub allow_resize_to_same_host: bool,
    /// `[keystone_authtoken] www_authenticate_uri`: where a client without a token is sent.
    pub www_authenticate_uri: Option<String>,
    /// `[quota] driver`
    pub quota_driver: QuotaDriver,
    /// `[quota]`
    pub quota: QuotaDefaults,
}

impl ApiConfig {
    /// Reads the options.
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        let default = |name: &str, value: &str| config.get("DEFAULT", name).unwrap_or_else(|| value.to_owned());
        Ok(Self {
            host: config.get("DEFAULT", "host").unwrap_or_else(hostname),
            max_limit: config.parse("api", "max_limit", 1000)?,
            compute_link_prefix: config.get("api", "compute_link_prefix"),
            enable_instance_password: config.flag("api", "enable_instance_password", true)?,
            has_soft_delete: config.parse("DEFAULT", "reclaim_instance_interval", 0_i64)? > 0,
            password_length: config.parse("DEFAULT", "password_length", 12)?,
            default_availability_zone: default("default_availability_zone", "nova"),
            internal_service_availability_zone: default("internal_service_availability_zone", "internal"),
            default_schedule_zone: config.get("DEFAULT", "default_schedule_zone"),
            cross_az_attach: config.flag("cinder", "cross_az_attach", true)?,
            default_floating_pool: config.get("neutron", "default_floating_pool").unwrap_or_else(|| "nova".to_owned()),
            non_inheritable_image_properties: config.list(
                "DEFAULT",
                "non_inheritable_image_properties",
                &["cache_in_nova", "bittorrent"],
            ),
            glance_link_prefix: config.get("api", "glance_link_prefix"),
            default_trusted_certificate_ids: default_trusted_certificate_ids(config)?,
            service_down_time_s: config.parse("DEFAULT", "service_down_time", 60)?,
            instance_usage_audit_period: config.parse(
                "DEFAULT",
                "instance_usage_audit_period",
                AuditPeriod::default(),
            )?,
            allow_resize_to_same_host: config.flag("DEFAULT", "allow_resize_to_same_host", false)?,
            www_authenticate_uri: config.get("keystone_authtoken", "www_authenticate_uri"),
            quota_driver: quota_driver(config)?,
            quota: quota(config)?,
        })
    }
}

fn default_trusted_certificate_ids(config: &Config) -> Result<Vec<String>, ConfigError> {
    let is_on = config.flag("glance", "verify_glance_signatures", false)?
        && config.flag("glance", "enable_certificate_validation", false)?;
    Ok(if is_on { config.list("glance", "default_trusted_certificate_ids", &[]) } else { Vec::new() })
}

fn quota_driver(config: &Config) -> Result<QuotaDriver, ConfigError> {
    let Some(value) = config.get("quota", "driver") else { return Ok(QuotaDriver::Db) };
    value.trim().parse().map_err(|()| ConfigError::Value {
        group: "quota".to_owned(),
        name: "driver".to_owned(),
        value: value.clone(),
        expected: "nova.quota.DbQuotaDriver or nova.quota.NoopQuotaDriver: there are no unified limits here".to_owned(),
    })
}

fn quota(config: &Config) -> Result<QuotaDefaults, ConfigError> {
    let limit = |name: &str, default: i64| config.parse("quota", name, default);
    Ok(QuotaDefaults {
        instances: limit("instances", 10)?,
        cores: limit("cores", 20)?,
        ram: limit("ram", 51_200)?,
        metadata_items: limit("metadata_items", 128)?,
        injected_files: limit("injected_files", 5)?,
        injected_file_content_bytes: limit("injected_file_content_bytes", 10_240)?,
        injected_file_path_length: limit("injected_file_path_length", 255)?,
        key_pairs: limit("key_pairs", 100)?,
        server_groups: limit("server_groups", 10)?,
        server_group_members: limit("server_group_members", 10)?,
    })
}

fn hostname() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname");
    kernel.map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
}
