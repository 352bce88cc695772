//! The HTTP clients against servers that fail in every way that tests can think of.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod identity;
mod image;
mod network;
mod placement;
mod server;
mod session;
mod tls;
mod volume;
