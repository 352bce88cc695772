//! All services in one process, with the fake driver: what a user of the API sees.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/console.rs"]
mod console;

mod cloud;
mod consoles;
mod hosts;
mod images;
mod lossy_bus;
mod manage;
mod moves;
mod network;
mod on_host;
mod servers;
