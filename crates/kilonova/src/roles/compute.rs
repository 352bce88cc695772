//! The compute agent: the guests of a host.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use kilonova_clients::Clients;
use kilonova_compute::{ComputeConfig, ComputeService, Manager};

use super::Setup;

/// Starts the agent of `setup.host`. What its driver keeps is below `state_dir`.
pub(crate) async fn start(
    setup: &Setup<'_>,
    driver: &str,
    state_dir: &Path,
    clients: &Clients,
) -> anyhow::Result<ComputeService> {
    let Setup { config, host, bus } = *setup;
    let driver = kilonova_virt::drivers::load(driver, config, state_dir, host)?;
    let notifications = bus.notifications(config, "nova-compute", host)?;
    let config = ComputeConfig { host: host.to_owned(), ..ComputeConfig::from_config(config, host)? };
    let manager = Manager::new(config, bus.conductor(), clients.clone(), driver).with_notifications(notifications);
    let started = ComputeService::start(Arc::new(manager), bus.transport()).await;
    started.with_context(|| format!("the compute agent of {host} cannot start"))
}
