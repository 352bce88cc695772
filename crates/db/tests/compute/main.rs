//! The compute tables, in one suite that asks nothing of one database only: another one is a further URL in
//! `support::on_every_database`.

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
