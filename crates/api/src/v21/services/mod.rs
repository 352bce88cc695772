//! `/os-services`

pub(crate) mod delete;
pub(crate) mod index;
pub(crate) mod update;
mod update_by_host;

use kilonova_objects::Service;

use crate::call::Call;
use crate::compute::{availability_zones, services};
use crate::error::ApiError;
use crate::views::services::Detail;

fn view<'a>(call: &'a Call, service: &'a Service) -> Detail<'a> {
    let zone = availability_zones::of(&call.state.config, service);
    Detail::new(service, zone, services::is_up(&call.state, service), call.version)
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
