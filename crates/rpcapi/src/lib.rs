//! Every RPC method of compute, conductor and scheduler: one type each, with its name, version, arguments and reply.
//! The client call and the server's registration both take the type. Names, topics, versions and arguments are
//! Nova's, so a Python service can be on the other end.
//!
//! ```text
//!   api ──cast──> conductor ──call──> scheduler
//!                     │ cast
//!                     v
//!                  compute ──call──> conductor   (objects: compute never sees the database)
//! ```
//!
//! Also here is what the services tell to whoever listens: [`notifications`].

use kilonova_messaging::Target;

pub mod base;
pub mod compute;
pub mod conductor;
pub mod error;
pub mod exception;
mod method;
pub mod notifications;
pub mod objects;
pub mod scheduler;
pub mod servicegroup;
pub mod workflow;

pub use compute::ComputeApi;
pub use conductor::ConductorApi;
pub use error::RpcError;
pub use method::{RpcMethod, register};
pub use notifications::Notifications;
pub use scheduler::SchedulerApi;

/// A topic on the transport's control exchange, which clients and servers must agree on: `nova` unless `[DEFAULT]
/// control_exchange` says otherwise.
pub fn target(topic: &str) -> Target {
    Target::new(topic)
}
