//! What only a server can do: find deadlocks, end sessions, be killed and come back.

mod deadlocks;
mod losses;
pub(crate) mod shared;
