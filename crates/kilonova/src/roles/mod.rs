//! The roles that a process can have. `kilonova up` has all of them; `kilonova ROLE` one.
//!
//! Each is a function from what it needs to a running service. Nothing here knows which process it is in.

pub(crate) mod api;
pub(crate) mod builtin;
pub(crate) mod compute;
pub(crate) mod conductor;
pub(crate) mod consoles;
pub(crate) mod defaults;
pub(crate) mod http;
mod running;
pub(crate) mod scheduler;

use kilonova_core::Config;

pub(crate) use running::Running;

use crate::bus::Bus;

/// The name of the only region, as DevStack has it.
pub(crate) const REGION: &str = "RegionOne";

/// What every role is started with.
pub(crate) struct Setup<'a> {
    /// `nova.conf`.
    pub(crate) config: &'a Config,
    /// The name of this host among the services.
    pub(crate) host: &'a str,
    /// The way to the other services.
    pub(crate) bus: &'a Bus,
}
