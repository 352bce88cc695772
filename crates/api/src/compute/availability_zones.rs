//! Which zone a service is in: a compute host in that of its aggregates or else in the default zone, everything else in
//! the internal one.

use std::collections::BTreeMap;

use kilonova_db::aggregates;
use kilonova_objects::Service;

use super::ComputeError;
use crate::config::ApiConfig;
use crate::state::ApiState;

/// The zones as they were at one moment.
pub(crate) struct Zones<'a> {
    config: &'a ApiConfig,
    by_host: BTreeMap<String, String>,
}

/// Reads which host is in which zone.
pub(crate) async fn read(state: &ApiState) -> Result<Zones<'_>, ComputeError> {
    Ok(Zones { config: &state.config, by_host: aggregates::zones_by_host(&state.db).await? })
}

impl Zones<'_> {
    /// The zone of a service.
    pub(crate) fn of(&self, service: &Service) -> &str {
        if service.topic.as_deref() != Some("compute") {
            return &self.config.internal_service_availability_zone;
        }
        self.of_host(service.host.as_deref().unwrap_or_default())
    }

    /// The zone of a compute host.
    pub(crate) fn of_host(&self, host: &str) -> &str {
        self.by_host.get(host).unwrap_or(&self.config.default_availability_zone)
    }
}
