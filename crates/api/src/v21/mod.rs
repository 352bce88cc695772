//! The handlers of the v2.1 API: one module per resource, one file per verb. A handler parses, authorises, calls and
//! renders.

pub(crate) mod aggregates;
pub(crate) mod availability_zones;
pub(crate) mod extensions;
pub(crate) mod flavors;
pub(crate) mod hypervisors;
pub(crate) mod image_metadata;
pub(crate) mod images;
pub(crate) mod keypairs;
pub(crate) mod limits;
pub(crate) mod paging;
pub(crate) mod quota_class_sets;
pub(crate) mod quota_sets;
pub(crate) mod server_groups;
pub(crate) mod servers;
pub(crate) mod services;
pub(crate) mod simple_tenant_usage;
pub(crate) mod values;
