//! Orchestration: what `nova-conductor` does. It places and builds servers, sees every workflow to its end, and runs
//! objects' methods for the services that must not touch the database.

pub mod allocations;
mod heartbeat;
mod manager;
mod objects;
mod reconcile;
pub mod service;
mod tasks;
mod unconfirmed_resizes;
mod workflows;

pub use manager::{Conductor, ConductorConfig};
pub use service::ConductorService;
