//! The handlers of the v2.1 API: one module per resource, one file per verb. A handler parses, authorises, calls and
//! renders.

pub(crate) mod aggregates;
pub(crate) mod assisted_volume_snapshots;
pub(crate) mod availability_zones;
pub(crate) mod baremetal_nodes;
pub(crate) mod console_auth_tokens;
pub(crate) mod extensions;
pub(crate) mod flavors;
pub(crate) mod floating_ips;
pub(crate) mod gone;
pub(crate) mod hosts;
pub(crate) mod hypervisors;
pub(crate) mod image_metadata;
pub(crate) mod images;
pub(crate) mod instance_usage_audit_log;
pub(crate) mod keypairs;
pub(crate) mod limits;
pub(crate) mod migrations;
pub(crate) mod networks;
pub(crate) mod paging;
pub(crate) mod quota_class_sets;
pub(crate) mod quota_sets;
pub(crate) mod security_groups;
pub(crate) mod server_external_events;
pub(crate) mod server_groups;
pub(crate) mod servers;
pub(crate) mod services;
pub(crate) mod simple_tenant_usage;
pub(crate) mod snapshots;
pub(crate) mod values;
pub(crate) mod volumes;
