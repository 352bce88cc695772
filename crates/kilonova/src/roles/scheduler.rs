//! The scheduler: which host takes a server.

use std::sync::Arc;
use std::time::Duration;

use kilonova_clients::placement::Placement;
use kilonova_scheduler::SchedulerManager;
use kilonova_scheduler::service::{ConductorHosts, SchedulerService};

use super::Setup;

/// Starts a scheduler.
pub(crate) async fn start(setup: &Setup<'_>, placement: Arc<dyn Placement>) -> anyhow::Result<SchedulerService> {
    let conductor = setup.bus.conductor();
    let hosts = Arc::new(ConductorHosts::new(conductor.clone(), setup.config)?);
    let manager = Arc::new(SchedulerManager::new(placement, hosts, setup.config)?);
    let report_interval = Duration::from_secs(setup.config.parse("DEFAULT", "report_interval", 10)?);
    Ok(SchedulerService::start(manager, setup.bus.transport(), conductor, setup.host, report_interval).await?)
}
