//! The compute agent: each operation done, done twice, failed, overtaken and cut short. Transport, manager and fake
//! hypervisor are the real ones; the services around them are in memory.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![allow(clippy::large_futures, reason = "a test has a stack of its own")]

mod build;
mod consoles;
mod external_events;
mod host;
mod images;
mod interfaces;
mod interrupted;
mod moves;
mod notifications;
mod on_host;
mod power;
mod recovery;
mod service;
mod support;
mod terminate;
mod volumes;
