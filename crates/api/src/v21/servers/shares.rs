//! `/servers/{server_id}/shares`, from 2.97 on: file shares that a hypervisor passes through to a guest.
//!
//! No driver here passes one through and no service here has one, so attaching ends with what Nova says of such hosts,
//! and no server has any.

use kilonova_objects::{Instance, VmState};
use serde_json::json;

use super::authorized;
use crate::call::{Answer, Call, ok};
use crate::compute::ComputeError;
use crate::error::ApiError;

/// `GET /servers/{server_id}/shares`
pub(crate) async fn index(call: Call) -> Answer {
    authorized(&call).await?;
    ok(&json!({"shares": []}))
}

/// `POST /servers/{server_id}/shares`
pub(crate) async fn create(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    in_state(&instance, "create share", &[VmState::Stopped])?;
    Err(ApiError::Conflict(
        "Feature not supported because either compute or instance are not configured correctly.".to_owned(),
    ))
}

/// `GET /servers/{server_id}/shares/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    authorized(&call).await?;
    Err(not_found(&call))
}

/// `DELETE /servers/{server_id}/shares/{id}`
pub(crate) async fn delete(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    in_state(&instance, "delete share", &[VmState::Stopped, VmState::Error])?;
    Err(not_found(&call))
}

fn in_state(instance: &Instance, action: &'static str, allowed: &[VmState]) -> Result<(), ComputeError> {
    if allowed.contains(&instance.vm_state) {
        return Ok(());
    }
    let (uuid, state) = (instance.uuid, instance.vm_state.to_string());
    Err(ComputeError::InstanceInvalidState { uuid, action, attr: "vm_state", state })
}

fn not_found(call: &Call) -> ApiError {
    ApiError::NotFound(format!("Share {} could not be found.", call.param("id")))
}
