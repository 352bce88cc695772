//! Floating addresses, with the names of their networks and the servers that they lead to.

use std::collections::HashMap;

use kilonova_core::RequestContext;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::networks::{self, NetworkName};
use super::ports::ServerPort;
use super::{Collection, Filters, Neutron, parse, parse_all};
use crate::ClientError;
use crate::network_model::Vif;

/// A floating address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FloatingIp {
    /// Its id.
    pub id: Uuid,
    /// The address.
    pub address: String,
    /// The name of the network that it comes from, or the id of one without a name.
    pub pool: String,
    /// The port that it leads to.
    pub port_id: Option<Uuid>,
    /// The address of the port that it leads to.
    pub fixed_address: Option<String>,
    /// The server that has the port.
    pub server_id: Option<String>,
}

#[derive(Deserialize)]
struct Body {
    id: Uuid,
    floating_ip_address: String,
    floating_network_id: Uuid,
    port_id: Option<Uuid>,
    fixed_ip_address: Option<String>,
    /// Of an extension that not every Neutron has.
    port_details: Option<PortDetails>,
}

#[derive(Deserialize)]
struct PortDetails {
    device_id: Option<String>,
}

/// Those of the caller's project.
pub async fn list(neutron: &dyn Neutron, context: &RequestContext) -> Result<Vec<FloatingIp>, ClientError> {
    found(neutron, context, &[("tenant_id", context.project_id().to_owned())]).await
}

/// Those that the caller sees with this address: there is at most one in a cloud whose external networks do not overlap.
pub async fn by_address(
    neutron: &dyn Neutron,
    context: &RequestContext,
    address: &str,
) -> Result<Vec<FloatingIp>, ClientError> {
    found(neutron, context, &[("floating_ip_address", address.to_owned())]).await
}

/// One of them.
pub async fn show(neutron: &dyn Neutron, context: &RequestContext, id: &str) -> Result<FloatingIp, ClientError> {
    let body = neutron.show_resource(context, Collection::FloatingIps, id).await?;
    one(neutron, context, parse(body)?).await
}

/// Gets the caller's project one from a network.
pub async fn create(neutron: &dyn Neutron, context: &RequestContext, network: Uuid) -> Result<FloatingIp, ClientError> {
    let item = json!({"floating_network_id": network});
    let body = neutron.create_resource(context, Collection::FloatingIps, item).await?;
    one(neutron, context, parse(body)?).await
}

/// Lets it lead to an address of a port, or nowhere.
pub async fn associate(
    neutron: &dyn Neutron,
    context: &RequestContext,
    id: Uuid,
    to: Option<(Uuid, &str)>,
) -> Result<(), ClientError> {
    let item = match to {
        Some((port, address)) => json!({"port_id": port, "fixed_ip_address": address}),
        None => json!({"port_id": null}),
    };
    neutron.update_resource(context, Collection::FloatingIps, id, item).await.map(drop)
}

/// Gives it back.
pub async fn delete(neutron: &dyn Neutron, context: &RequestContext, id: Uuid) -> Result<(), ClientError> {
    neutron.delete_resource(context, Collection::FloatingIps, id).await
}

/// Adds to the addresses of interfaces the floating ones that lead there.
pub async fn add_to_vifs(neutron: &dyn Neutron, context: &RequestContext, vifs: &mut [Vif]) -> Result<(), ClientError> {
    if vifs.is_empty() {
        return Ok(());
    }
    let filters: Vec<_> = vifs.iter().map(|vif| ("port_id", vif.id.to_string())).collect();
    let bodies: Vec<Body> = parse_all(neutron.list_resources(context, Collection::FloatingIps, &filters).await?)?;
    for vif in vifs {
        let of_vif: Vec<&Body> = bodies.iter().filter(|body| body.port_id == Some(vif.id)).collect();
        for ip in vif.network.subnets.iter_mut().flat_map(|subnet| &mut subnet.ips) {
            let leads_here = |body: &&&Body| body.fixed_ip_address.as_deref() == Some(ip.address.as_str());
            ip.floating_ips =
                of_vif.iter().filter(leads_here).map(|body| in_model(&body.floating_ip_address)).collect();
        }
    }
    Ok(())
}

/// A floating address in Nova's network model.
pub fn in_model(address: &str) -> serde_json::Value {
    let version = if address.contains(':') { 6 } else { 4 };
    json!({"address": address, "type": "floating", "version": version, "meta": {}})
}

async fn found(
    neutron: &dyn Neutron,
    context: &RequestContext,
    filters: Filters<'_>,
) -> Result<Vec<FloatingIp>, ClientError> {
    complete(neutron, context, parse_all(neutron.list_resources(context, Collection::FloatingIps, filters).await?)?)
        .await
}

async fn one(neutron: &dyn Neutron, context: &RequestContext, body: Body) -> Result<FloatingIp, ClientError> {
    let id = body.id;
    let found = complete(neutron, context, vec![body]).await?.pop();
    found.ok_or_else(|| ClientError::not_found(Collection::FloatingIps.resource(), id))
}

/// Adds what other collections know: at most one request for all networks and one for all ports.
async fn complete(
    neutron: &dyn Neutron,
    context: &RequestContext,
    bodies: Vec<Body>,
) -> Result<Vec<FloatingIp>, ClientError> {
    if bodies.is_empty() {
        return Ok(Vec::new());
    }
    let networks = networks::external(neutron, context).await?;
    let servers = servers(neutron, context, &bodies).await?;
    let floating_ip = |body: Body| FloatingIp {
        pool: networks
            .iter()
            .find(|network| network.id == body.floating_network_id)
            .map_or_else(|| body.floating_network_id.to_string(), NetworkName::or_id),
        server_id: match body.port_details {
            Some(details) => details.device_id,
            None => body.port_id.and_then(|port| servers.get(&port).cloned()),
        }
        .filter(|server| !server.is_empty()),
        id: body.id,
        address: body.floating_ip_address,
        port_id: body.port_id,
        fixed_address: body.fixed_ip_address,
    };
    Ok(bodies.into_iter().map(floating_ip).collect())
}

/// The servers of the ports whose details did not come along.
async fn servers(
    neutron: &dyn Neutron,
    context: &RequestContext,
    bodies: &[Body],
) -> Result<HashMap<Uuid, String>, ClientError> {
    let unknown = bodies.iter().filter(|body| body.port_details.is_none()).filter_map(|body| body.port_id);
    let filters: Vec<_> = unknown.map(|port| ("id", port.to_string())).collect();
    if filters.is_empty() {
        return Ok(HashMap::new());
    }
    let ports: Vec<ServerPort> = parse_all(neutron.list_resources(context, Collection::Ports, &filters).await?)?;
    Ok(ports.into_iter().filter_map(|port| Some((port.id, port.device_id?))).collect())
}
