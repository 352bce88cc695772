//! The internal compute API: what may be done to servers, with quotas, states and the database, and what is asked of
//! the other services for it. No HTTP here: handlers call these functions and `error` gives their errors a status.
//!
//! One operation per file.

pub(crate) mod checks;
pub(crate) mod create;
mod error;
pub(crate) mod get;
pub(crate) mod metadata;
pub(crate) mod quota;

pub use error::ComputeError;
