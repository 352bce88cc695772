//! Which zone a service is in. Compute hosts are in the default zone, everything else in the internal one.

use kilonova_objects::Service;

use crate::config::ApiConfig;

/// The zone of a service.
pub(crate) fn of<'a>(config: &'a ApiConfig, service: &Service) -> &'a str {
    if service.topic.as_deref() == Some("compute") {
        &config.default_availability_zone
    } else {
        &config.internal_service_availability_zone
    }
}
