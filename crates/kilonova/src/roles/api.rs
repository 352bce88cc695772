//! The web API of compute.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use kilonova_api::{ApiConfig, ApiState, Policy};
use kilonova_clients::Clients;
use kilonova_core::Supervisor;
use kilonova_db::Db;
use tokio::sync::Notify;

use super::Setup;

/// The API's routes, and the task that looks at the policy files. `nudge` wakes a conductor of the same process.
pub(crate) fn start(
    setup: &Setup<'_>,
    db: &Db,
    clients: &Clients,
    nudge: Arc<Notify>,
) -> anyhow::Result<(Router, Supervisor)> {
    let config = ApiConfig { host: setup.host.to_owned(), ..ApiConfig::from_config(setup.config)? };
    let policy = Arc::new(Policy::load(setup.config).context("the policy files cannot be used")?);
    let supervisor = Supervisor::new();
    policy.watch(&supervisor);
    let (conductor, compute) = (setup.bus.conductor(), setup.bus.compute());
    let state = ApiState::new(db.clone(), clients.clone(), conductor, compute, config, nudge, policy);
    Ok((kilonova_api::router(Arc::new(state)), supervisor))
}
