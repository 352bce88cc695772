//! The conductor's own row among the services; the rows of the others come to it as object actions.

use std::sync::Arc;

use kilonova_core::Supervisor;
use kilonova_db::{DbError, services};
use kilonova_rpcapi::conductor::TOPIC;
use kilonova_rpcapi::servicegroup::{self, SERVICE_VERSION};
use serde_json::{Map, json};

use crate::Conductor;

/// What Nova calls the process.
const BINARY: &str = "nova-conductor";

impl Conductor {
    /// `report_state`: a heartbeat now and at every interval.
    pub(crate) fn start_heartbeats(self: &Arc<Self>, supervisor: &Supervisor) {
        let conductor = self.clone();
        supervisor.periodic("report_state", self.config.report_interval, move || {
            let conductor = conductor.clone();
            async move {
                if let Err(error) = conductor.report_state().await {
                    tracing::warn!(%error, "a heartbeat was not recorded");
                }
            }
        });
    }

    async fn report_state(&self) -> Result<(), DbError> {
        let host = &self.config.host;
        match services::get_by_host_and_binary(&self.db, host, BINARY).await? {
            Some(service) => {
                let beat = [("report_count", json!(service.report_count + 1)), ("version", json!(SERVICE_VERSION))];
                let beat: Map<_, _> = beat.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                services::save(&self.db, service.id, &beat).await.map(drop)
            }
            None => services::create(&self.db, &servicegroup::service(host, BINARY, TOPIC)).await.map(drop),
        }
    }
}
