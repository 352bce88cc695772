//! The conductor: orchestration, and the database for those who must not see it.

use std::sync::Arc;

use kilonova_clients::Clients;
use kilonova_conductor::{Conductor, ConductorConfig, ConductorService};
use kilonova_db::Db;
use tokio::sync::Notify;

use super::Setup;

/// Starts a conductor whose passes do not run yet. `is_alone`: no other process has this database. `nudge` is rung by
/// who has left work in it.
pub(crate) async fn start(
    setup: &Setup<'_>,
    db: &Db,
    clients: &Clients,
    nudge: Arc<Notify>,
    is_alone: bool,
) -> anyhow::Result<ConductorService> {
    let config = ConductorConfig {
        host: setup.host.to_owned(),
        ..ConductorConfig::from_config(setup.config, setup.host, is_alone)?
    };
    let (scheduler, compute) = (setup.bus.scheduler(), setup.bus.compute());
    let notifications = setup.bus.notifications(setup.config, "nova-conductor", setup.host)?;
    let conductor = Conductor::new(config, db.clone(), clients.clone(), scheduler, compute, nudge);
    let conductor = conductor.with_notifications(notifications);
    Ok(ConductorService::start(Arc::new(conductor), setup.bus.transport()).await?)
}
