//! Commands and wiring. The library is what `main.rs` runs and what the end-to-end tests start in their own process.

mod bus;
pub mod cloud;
pub mod commands;
mod credentials;
mod front;
pub mod logging;
mod options;
mod process;
mod roles;
mod state_dir;
mod text;
