//! Whether the hosts of servers are up.

use std::collections::HashMap;

use kilonova_core::time::utcnow;
use kilonova_db::services;

use super::ComputeError;
use crate::state::ApiState;

/// `UP`, `DOWN`, `MAINTENANCE` or `UNKNOWN` by host.
pub(crate) async fn all(state: &ApiState) -> Result<HashMap<String, &'static str>, ComputeError> {
    let services = services::list(&state.db, Some("nova-compute"), None).await?;
    let now = utcnow();
    let status = services.into_iter().filter_map(|service| {
        let status = if service.forced_down {
            "DOWN"
        } else if service.disabled {
            "MAINTENANCE"
        } else if service.is_up(now, state.config.service_down_time_s) {
            "UP"
        } else {
            "UNKNOWN"
        };
        Some((service.host?, status))
    });
    Ok(status.collect())
}
