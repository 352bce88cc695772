//! The compute agent: each operation done, done twice, failed, overtaken and cut short. Transport, manager and fake
//! hypervisor are the real ones; the services around them are in memory.

mod build;
mod interrupted;
mod power;
mod recovery;
mod service;
mod support;
mod terminate;
