//! The built-in network service: networks, subnets, ports, routers, addresses and security groups in the database, and the part
//! of the Networking API v2.0 that clients need. Compute uses it through [`kilonova_clients::network::NetworkService`].
//!
//! It decides who gets which address; it moves no packet. Every change is one transaction: which address is free is read
//! and written in the same one, and the key of the allocations table makes a second use of an address impossible.

mod addressing;
mod attributes;
mod auto_allocated;
mod bootstrap;
mod client;
mod discovery;
mod error;
mod floating_ips;
mod listing;
mod networks;
mod ports;
mod quotas;
mod router_interfaces;
mod routers;
mod routes;
mod rules;
mod security_groups;
mod subnets;
mod trunks;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use kilonova_clients::identity::Identity;
use kilonova_core::RequestContext;
use kilonova_db::Db;
use uuid::Uuid;

use crate::web::can_write;
pub use error::NetworkError;

/// The network service.
pub struct BuiltinNetwork {
    db: Db,
    /// Where the search for a free address of a subnet begins. A hint: what is taken is in the database.
    cursors: Mutex<HashMap<Uuid, u128>>,
}

impl BuiltinNetwork {
    /// Opens the service.
    pub fn open(db: Db) -> Arc<Self> {
        Arc::new(Self { db, cursors: Mutex::default() })
    }

    /// The REST API, to be mounted with `nest_service("/network", …)`: with `nest`, `/network/` would not be found.
    pub fn router(self: &Arc<Self>, identity: Arc<dyn Identity>) -> Router {
        routes::router(Arc::clone(self), identity)
    }
}

/// The project whose things a caller sees; none for an admin, who sees all.
fn visible_to(context: &RequestContext) -> Option<&str> {
    (!context.is_admin).then(|| context.project_id())
}

/// Whether the caller may do as the owner of what belongs to `project_id`.
fn owns(context: &RequestContext, project_id: &str) -> bool {
    context.is_admin || (!project_id.is_empty() && context.project_id() == project_id)
}

/// Refuses who may only read, and who does not own what belongs to `project_id`. `rule` is Neutron's, like
/// `update_network`.
fn ensure_owner(context: &RequestContext, project_id: &str, rule: &str) -> Result<(), NetworkError> {
    if owns(context, project_id) && can_write(context) { Ok(()) } else { Err(NetworkError::forbidden(rule)) }
}
