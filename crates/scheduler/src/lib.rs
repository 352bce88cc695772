//! Where a server goes: `select_destinations`.
//!
//! ```text
//! placement: who has room ─┐
//!                          ├─ host states ─ filters ─ driver (order) ─ claim ─ consume ─ next server … ─ alternates
//! hosts: nodes, services  ─┘                             └── refused: next host
//! ```
//!
//! What is decided from host states is a wish; the claim in placement is what counts, and it cannot oversell. The
//! scheduler keeps no state of its own between two requests, so any number of them may run.
//!
//! The conductor calls it; it knows no database and gets its hosts through [`HostSource`].

mod aggregates;
mod asked;
mod claims;
mod drivers;
mod error;
mod filters;
mod host_cache;
mod host_source;
mod host_state;
mod manager;
mod options;
mod pool;
mod random;
mod ranking;
mod report;
mod request_filter;
mod resources;
pub mod service;
mod weights;

use uuid::Uuid;

pub use error::SchedulerError;
pub use host_source::{HostInput, HostInventory, HostSource, HostSourceError};
pub use manager::SchedulerManager;
pub use resources::wanted as wanted_resources;

/// The one cell that all hosts are in. Nova draws the uuid of its first cell at random, and the nil uuid is that of
/// `cell0`, where servers are that were never placed.
pub const CELL_UUID: Uuid = Uuid::from_u128(0x3f1c_9a52_7d0e_4b8a_9c46_5e21_d8b7_f0a3);
