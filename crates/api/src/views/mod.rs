//! What resources look like in a microversion. Each view is a struct with borrowed strings, written straight to bytes.

pub(crate) mod addresses;
pub(crate) mod links;
pub(crate) mod servers;
pub(crate) mod time;
pub(crate) mod versions;
