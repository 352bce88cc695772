//! `/os-hypervisors`

pub(crate) mod index;
pub(crate) mod search;
pub(crate) mod show;
pub(crate) mod statistics;
pub(crate) mod uptime;

use crate::call::Call;
use crate::compute::hypervisors::{Hypervisor, HypervisorId};
use crate::compute::{ComputeError, services};
use crate::error::ApiError;
use crate::v21::values::{bool_from_string, uuid_like};
use crate::versions::V2_53;

/// Uuids from 2.53 on, numbers before.
fn parse_id(call: &Call) -> Result<HypervisorId, ApiError> {
    let id = call.param("id");
    if call.since(V2_53) {
        let uuid = uuid_like(id).ok_or_else(|| ApiError::BadRequest(format!("Invalid uuid {id}")))?;
        return Ok(HypervisorId::Uuid(uuid));
    }
    let row = id.parse().map_err(|_| ComputeError::HypervisorNotFound { id: id.to_owned() })?;
    Ok(HypervisorId::Row(row))
}

fn wants_servers(call: &Call) -> bool {
    call.since(V2_53) && call.query.get("with_servers").and_then(bool_from_string).unwrap_or(false)
}

fn is_up(call: &Call, hypervisor: &Hypervisor) -> bool {
    services::is_up(&call.state, &hypervisor.service)
}
