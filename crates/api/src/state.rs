//! What every request works with.

use std::sync::Arc;

use kilonova_clients::Clients;
use kilonova_db::Db;
use kilonova_rpcapi::{ComputeApi, ConductorApi};
use tokio::sync::Notify;

use crate::config::ApiConfig;
use crate::policy::Policy;

/// The API's connections and settings.
pub struct ApiState {
    /// The database.
    pub db: Db,
    /// Identity, image, network, placement.
    pub clients: Clients,
    /// The conductors.
    pub conductor: ConductorApi,
    /// The compute agents.
    pub compute: ComputeApi,
    /// `nova.conf`
    pub config: ApiConfig,
    /// Wakes the conductor's workflow pass where it is in the same process; elsewhere the pass comes by itself.
    pub workflow_pass: Arc<Notify>,
    /// Who may do what.
    pub policy: Arc<Policy>,
}

impl ApiState {
    /// From its parts.
    pub fn new(
        db: Db,
        clients: Clients,
        conductor: ConductorApi,
        compute: ComputeApi,
        config: ApiConfig,
        workflow_pass: Arc<Notify>,
        policy: Arc<Policy>,
    ) -> Self {
        Self { db, clients, conductor, compute, config, workflow_pass, policy }
    }

    /// A workflow row waits to be taken up.
    pub(crate) fn nudge(&self) {
        self.workflow_pass.notify_one();
    }
}
