//! The one suite for all databases. It asks nothing of one of them only: what differs is in `crate::backend`, which each
//! binary has for itself.

mod actions;
mod aggregates;
mod console_auth_tokens;
mod create;
mod filters;
mod flavors;
mod hosts;
mod identity;
mod image;
mod instances;
mod keypairs;
mod list_speed;
mod network;
mod paging;
mod placement;
mod quotas;
mod schema;
mod server_groups;
mod server_migrations;
pub(crate) mod support;
mod texts;
mod usage_audit;
mod workflows;
