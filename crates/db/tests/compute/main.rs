//! The compute tables, in one suite that asks nothing of one database only: another one is a further URL in
//! `support::on_every_database`.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may, like the tests")]
#![allow(clippy::large_futures, reason = "a test holds all that it compares")]

mod actions;
mod create;
mod filters;
mod flavors;
mod hosts;
mod instances;
mod keypairs;
mod list_speed;
mod paging;
mod quotas;
mod support;
mod workflows;
