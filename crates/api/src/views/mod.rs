//! What resources look like in a microversion. Each view is a struct with borrowed strings, written straight to bytes.

pub(crate) mod addresses;
pub(crate) mod aggregates;
pub(crate) mod flavors;
pub(crate) mod hosts;
pub(crate) mod hypervisors;
pub(crate) mod images;
pub(crate) mod instance_actions;
pub(crate) mod keypairs;
pub(crate) mod limits;
pub(crate) mod links;
pub(crate) mod migrations;
pub(crate) mod security_groups;
pub(crate) mod server_diagnostics;
pub(crate) mod server_groups;
pub(crate) mod server_topology;
pub(crate) mod servers;
pub(crate) mod services;
pub(crate) mod time;
pub(crate) mod versions;
pub(crate) mod volumes;
