//! The web API of compute.

use std::sync::Arc;

use axum::Router;
use kilonova_api::{ApiConfig, ApiState};
use kilonova_clients::Clients;
use kilonova_db::Db;
use tokio::sync::Notify;

use super::Setup;

/// The API's routes. `nudge` wakes a conductor of the same process.
pub(crate) fn router(setup: &Setup<'_>, db: &Db, clients: &Clients, nudge: Arc<Notify>) -> anyhow::Result<Router> {
    let config = ApiConfig { host: setup.host.to_owned(), ..ApiConfig::from_config(setup.config)? };
    let (conductor, compute) = (setup.bus.conductor(), setup.bus.compute());
    Ok(kilonova_api::router(Arc::new(ApiState::new(db.clone(), clients.clone(), conductor, compute, config, nudge))))
}
