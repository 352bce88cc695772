//! The suite on MariaDB, and what only a server can do: end, come back, and find deadlocks.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may, like the tests")]
#![allow(clippy::large_futures, reason = "a test holds all that it compares")]

mod backend;
mod interrupted;
#[path = "../server/mod.rs"]
mod server;
#[path = "../suite/mod.rs"]
mod suite;
