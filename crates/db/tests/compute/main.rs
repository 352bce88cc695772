//! The suite on SQLite.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may, like the tests")]
#![allow(clippy::large_futures, reason = "a test holds all that it compares")]

mod backend;
mod released;
#[path = "../suite/mod.rs"]
mod suite;
