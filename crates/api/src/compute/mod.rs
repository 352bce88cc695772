//! The internal compute API: what may be done to servers, with quotas, states and the database, and what is asked of
//! the other services for it. No HTTP here: handlers call these functions and `error` gives their errors a status.
//!
//! One operation per file.

pub(crate) mod admin_password;
pub(crate) mod aggregates;
pub(crate) mod availability_zones;
pub(crate) mod checks;
pub(crate) mod console;
pub(crate) mod crash_dump;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod diagnostics;
mod error;
pub(crate) mod evacuate;
pub(crate) mod external_events;
pub(crate) mod extra_specs;
pub(crate) mod get;
pub(crate) mod host_status;
pub(crate) mod hosts;
pub(crate) mod hypervisors;
pub(crate) mod interfaces;
pub(crate) mod keypairs;
pub(crate) mod list;
pub(crate) mod live_migrate;
pub(crate) mod metadata;
pub(crate) mod network_info;
pub(crate) mod pause;
pub(crate) mod pin;
pub(crate) mod power;
pub(crate) mod projects;
pub(crate) mod quota;
pub(crate) mod quota_sets;
pub(crate) mod rebuild;
pub(crate) mod remote_consoles;
pub(crate) mod rescue;
pub(crate) mod resize;
pub(crate) mod server_groups;
pub(crate) mod server_password;
pub(crate) mod services;
pub(crate) mod shelve;
pub(crate) mod snapshot;
pub(crate) mod soft_delete;
pub(crate) mod suspend;
pub(crate) mod tags;
mod trusted_certs;
pub(crate) mod update;
pub(crate) mod volume_snapshots;
pub(crate) mod volumes;
mod x509;

pub use error::ComputeError;
