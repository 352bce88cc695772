//! Floating addresses that the caller may use, and the servers that they lead to. What a server shows of them is in its
//! cached network model, which is changed here at once; its host reads them again when it reads the ports.

use kilonova_clients::ClientError;
use kilonova_clients::neutron::floating_ips::{self, FloatingIp};
use kilonova_clients::neutron::networks::{self, NetworkName};
use kilonova_core::RequestContext;
use kilonova_db::instances;
use kilonova_objects::{Instance, NetworkInfo};
use uuid::Uuid;

use crate::compute::ComputeError;
use crate::error::ApiError;
use crate::state::ApiState;

/// The one with this address.
pub(crate) async fn by_address(
    state: &ApiState,
    context: &RequestContext,
    address: &str,
) -> Result<FloatingIp, ApiError> {
    let mut found = floating_ips::by_address(&*state.clients.network, context, address).await?;
    match (found.pop(), found.is_empty()) {
        (Some(floating_ip), true) => Ok(floating_ip),
        (None, _) => Err(ApiError::NotFound(format!("Floating IP not found for address {address}."))),
        _ => Err(ApiError::Conflict(format!("Multiple floating IPs are found for address {address}."))),
    }
}

/// The one with this id.
pub(crate) async fn by_id(state: &ApiState, context: &RequestContext, id: &str) -> Result<FloatingIp, ApiError> {
    floating_ips::show(&*state.clients.network, context, id).await.map_err(|error| match error {
        ClientError::NotFound { .. } => ApiError::NotFound(format!("Floating IP not found for ID {id}")),
        other => other.into(),
    })
}

/// Gets one from a pool, or from the default one.
pub(crate) async fn allocate(
    state: &ApiState,
    context: &RequestContext,
    pool: Option<&str>,
) -> Result<FloatingIp, ApiError> {
    let network = pool_id(state, context, pool.unwrap_or(&state.config.default_floating_pool)).await?;
    let in_pool = |sentence: &str, none: &str| match pool {
        Some(pool) => format!("{sentence} in pool {pool}."),
        None => format!("{sentence}{none}."),
    };
    floating_ips::create(&*state.clients.network, context, network).await.map_err(|error| match error {
        ClientError::Conflict(_) => ApiError::NotFound(in_pool("No more floating IPs", " available")),
        ClientError::OverQuota(_) => ApiError::Forbidden(in_pool("IP allocation over quota", "")),
        other => other.into(),
    })
}

async fn pool_id(state: &ApiState, context: &RequestContext, pool: &str) -> Result<Uuid, ApiError> {
    let networks = networks::external(&*state.clients.network, context).await?;
    let is_it = |network: &&NetworkName| network.id.to_string() == pool || network.name == pool;
    let mut found = networks.iter().filter(is_it);
    match (found.next(), found.next()) {
        (Some(network), None) => Ok(network.id),
        (None, _) => Err(ApiError::NotFound("Floating IP pool not found.".to_owned())),
        _ => Err(ApiError::Conflict(format!("Multiple floating IP pools matches found for name '{pool}'"))),
    }
}

/// Lets the floating address lead to an address of the server, and no longer to any other server.
pub(crate) async fn associate(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    address: &str,
    fixed_address: &str,
) -> Result<(), ApiError> {
    let failed = |error: &dyn std::fmt::Display| {
        ApiError::BadRequest(format!(
            "Unable to associate floating IP {address} to fixed IP {fixed_address} for instance {}. Error: {error}",
            instance.uuid
        ))
    };
    let floating_ip = match by_address(state, context, address).await {
        Err(ApiError::NotFound(_)) => return Err(ApiError::NotFound("floating IP not found".to_owned())),
        Err(error @ ApiError::Conflict(_)) => return Err(failed(&error)),
        found => found?,
    };
    let port = port_of(&instance.network_info(), fixed_address)
        .ok_or_else(|| failed(&format!("Fixed IP not found for address {fixed_address}.")))?;
    let network = &*state.clients.network;
    let associated = floating_ips::associate(network, context, floating_ip.id, Some((port, fixed_address))).await;
    associated.map_err(|error| match error {
        ClientError::Conflict(message) => ApiError::BadRequest(message),
        ClientError::Forbidden(message) => ApiError::Forbidden(message),
        other => failed(&other),
    })?;
    forget(state, &floating_ip).await?;
    let add = |network_info: &mut NetworkInfo| {
        let vifs = network_info.0.iter_mut().filter(|vif| vif.id == port);
        for ip in vifs.flat_map(|vif| &mut vif.network.subnets).flat_map(|subnet| &mut subnet.ips) {
            if ip.address == fixed_address {
                ip.floating_ips.push(floating_ips::in_model(address));
            }
        }
    };
    Ok(instances::update_network_info(&state.db, instance.uuid, add).await?)
}

/// Lets the floating address lead nowhere.
pub(crate) async fn disassociate(
    state: &ApiState,
    context: &RequestContext,
    floating_ip: &FloatingIp,
) -> Result<(), ApiError> {
    floating_ips::associate(&*state.clients.network, context, floating_ip.id, None).await?;
    Ok(forget(state, floating_ip).await?)
}

/// Gives the floating address back.
pub(crate) async fn release(
    state: &ApiState,
    context: &RequestContext,
    floating_ip: &FloatingIp,
) -> Result<(), ApiError> {
    floating_ips::delete(&*state.clients.network, context, floating_ip.id).await?;
    Ok(forget(state, floating_ip).await?)
}

/// The server that it led to does not show it any more.
async fn forget(state: &ApiState, floating_ip: &FloatingIp) -> Result<(), ComputeError> {
    let Some(server) = floating_ip.server_id.as_deref().and_then(|id| id.parse().ok()) else { return Ok(()) };
    let remove = |network_info: &mut NetworkInfo| {
        let subnets = network_info.0.iter_mut().flat_map(|vif| &mut vif.network.subnets);
        for ip in subnets.flat_map(|subnet| &mut subnet.ips) {
            ip.floating_ips.retain(|floating| floating["address"] != floating_ip.address.as_str());
        }
    };
    match instances::update_network_info(&state.db, server, remove).await.map_err(ComputeError::from) {
        // The port is of something else.
        Err(ComputeError::InstanceNotFound { .. }) => Ok(()),
        done => done,
    }
}

/// The port that has an address.
fn port_of(network_info: &NetworkInfo, address: &str) -> Option<Uuid> {
    let has = |vif: &&kilonova_clients::network_model::Vif| {
        vif.network.subnets.iter().flat_map(|subnet| &subnet.ips).any(|ip| ip.address == address)
    };
    network_info.0.iter().find(has).map(|vif| vif.id)
}
