//! What every Kilonova crate shares: the request context, microversions, `nova.conf`, and supervised tasks.
//!
//! Nothing here knows about HTTP, SQL, queues or hypervisors.

pub mod config;
pub mod context;
pub mod microversion;
pub mod supervisor;
pub mod time;

pub use config::{Config, ConfigError};
pub use context::RequestContext;
pub use microversion::Microversion;
pub use supervisor::{Supervisor, TaskKind};
