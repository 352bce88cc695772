//! `/os-services`

pub(crate) mod delete;
pub(crate) mod index;
pub(crate) mod update;
mod update_by_host;

use kilonova_objects::Service;

use crate::call::Call;
use crate::compute::availability_zones::Zones;
use crate::compute::services;
use crate::error::ApiError;
use crate::views::services::Detail;

fn view<'a>(call: &'a Call, zones: &'a Zones<'_>, service: &'a Service) -> Detail<'a> {
    Detail::new(service, zones.of(service), services::is_up(&call.state, service), call.version)
}

/// Only compute services can be changed.
fn only_compute(binary: &str) -> Result<(), ApiError> {
    if binary == services::COMPUTE {
        return Ok(());
    }
    Err(ApiError::BadRequest(format!(
        "Updating a {binary} service is not supported. Only nova-compute services can be updated."
    )))
}
