//! The actions `addFloatingIp` and `removeFloatingIp` (to 2.43)

use std::net::Ipv4Addr;

use axum::http::StatusCode;
use kilonova_objects::Instance;

use super::{authorized, target};
use crate::call::{Answer, Call, empty};
use crate::compute;
use crate::error::ApiError;
use crate::policy::Target;
use crate::v21::floating_ips::known;

/// `addFloatingIp`
pub(crate) async fn add(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let body = &call.body["addFloatingIp"];
    let address = body["address"].as_str().unwrap_or_default();
    let fixed_address = fixed_address(&instance, call.param("id"), address, body["fixed_address"].as_str())?;
    known::associate(&call.state, &call.context, &instance, address, &fixed_address).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// `removeFloatingIp`. By Nova's rule who may do that depends on the server that the address leads to, not on the one of
/// the path.
pub(crate) async fn remove(call: Call) -> Answer {
    let address = call.body["removeFloatingIp"]["address"].as_str().unwrap_or_default();
    let floating_ip = known::by_address(&call.state, &call.context, address).await?;
    let instance = match &floating_ip.server_id {
        Some(server) => Some(compute::get::get(&call.state, &call.context, server).await?),
        None => None,
    };
    call.authorize(instance.as_ref().map_or(Target { project_id: "", user_id: "" }, target))?;
    let id = call.param("id");
    if instance.is_none_or(|instance| instance.uuid.to_string() != id) {
        let message = format!("Floating IP {address} is not associated with instance {id}.");
        return Err(ApiError::Conflict(message));
    }
    known::disassociate(&call.state, &call.context, &floating_ip).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// The address of the server that is meant: the one that is named, or the first of IPv4.
fn fixed_address(instance: &Instance, id: &str, address: &str, wanted: Option<&str>) -> Result<String, ApiError> {
    let refused = |message: &str| Err(ApiError::BadRequest(message.to_owned()));
    let network_info = instance.network_info();
    if network_info.0.is_empty() {
        return refused("Instance network is not ready yet");
    }
    let subnets = network_info.0.iter().flat_map(|vif| &vif.network.subnets);
    let fixed: Vec<&str> = subnets.flat_map(|subnet| &subnet.ips).map(|ip| ip.address.as_str()).collect();
    if fixed.is_empty() {
        return refused("No fixed IPs associated to instance");
    }
    if let Some(wanted) = wanted {
        if !fixed.contains(&wanted) {
            return refused("Specified fixed address not assigned to instance");
        }
        return Ok(wanted.to_owned());
    }
    let first = fixed.iter().find(|address| address.parse::<Ipv4Addr>().is_ok());
    first.map(|address| (*address).to_owned()).ok_or_else(|| {
        ApiError::BadRequest(format!(
            "Unable to associate floating IP {address} to any fixed IPs for instance {id}. Instance has no fixed IPv4 \
             addresses to associate."
        ))
    })
}
