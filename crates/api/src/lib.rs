//! The web API: v2.1, validation, policy, quotas, and the internal compute API.
//!
//! ```text
//!   request ─> middleware (request id, authenticate, negotiate, limits)
//!           ─> routes     (the one table: path, method, action, versions, policy, schemas, handler)
//!           ─> validation (JSON schemas, Nova's sentences)
//!           ─> v21/…      (a handler per verb: parse, authorise, call, render)
//!           ─> compute/…  (the internal API: rules, quotas, database, RPC; no HTTP)
//!           <─ views/…    (what a resource looks like in a microversion)
//! ```
//!
//! Nothing here places, builds or runs a server: that is asked of the conductor and the compute agents over
//! `kilonova_rpcapi`.

mod call;
pub mod compute;
mod config;
mod dispatch;
mod error;
mod middleware;
pub mod openapi;
mod policies;
pub mod policy;
mod routes;
mod schemas;
mod state;
mod v21;
mod validation;
pub mod versions;
mod views;

#[cfg(test)]
mod tests;

pub use config::{ApiConfig, QuotaDefaults, QuotaDriver};
pub use dispatch::router;
pub use error::ApiError;
pub use policy::Policy;
pub use state::ApiState;
