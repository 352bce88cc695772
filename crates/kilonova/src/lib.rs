//! Commands and wiring. The library is what `main.rs` runs and what the end-to-end tests start in their own process.

pub mod cloud;
pub mod commands;
mod credentials;
mod front;
mod state_dir;
