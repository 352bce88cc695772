//! The compute agent: what `nova-compute` does on a host.
//!
//! [`ComputeService`] owns the role (queues, heartbeats, periodic passes), [`Manager`] decides, and a
//! [`kilonova_virt::Driver`] does the work. The agent never touches the database: it reads and saves objects through
//! the conductor.

pub mod config;
mod locks;
pub mod manager;
mod resource_tracker;
pub mod service;

pub use config::ComputeConfig;
pub use manager::Manager;
pub use service::{ComputeService, ServiceError};
