//! The ports of a server, their groups and their fixed addresses.

use kilonova_core::RequestContext;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Collection, Neutron, parse, parse_all};
use crate::ClientError;

/// A port, as far as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ServerPort {
    /// Its id.
    pub id: Uuid,
    /// Its network.
    pub network_id: Uuid,
    /// Its MAC address.
    pub mac_address: String,
    /// `ACTIVE`, `DOWN`, …
    #[serde(default)]
    pub status: String,
    /// Its fixed addresses.
    #[serde(default)]
    pub fixed_ips: Vec<PortAddress>,
    /// The server that has it; null or empty for none.
    pub device_id: Option<String>,
    /// Ids of its security groups.
    #[serde(default)]
    pub security_groups: Vec<Uuid>,
    /// False: it has no security groups. Null where Neutron has no such extension, which is as true.
    pub port_security_enabled: Option<bool>,
}

/// A fixed address of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortAddress {
    /// Its subnet.
    pub subnet_id: Uuid,
    /// The address.
    pub ip_address: String,
}

impl ServerPort {
    /// Whether it is that server's.
    pub fn is_of(&self, server: Uuid) -> bool {
        self.device_id.as_deref() == Some(server.to_string().as_str())
    }

    /// Whether security groups mean anything on it.
    pub fn takes_security_groups(&self) -> bool {
        self.port_security_enabled.unwrap_or(true) && !self.fixed_ips.is_empty()
    }
}

/// The ports of a server.
pub async fn of_server(
    neutron: &dyn Neutron,
    context: &RequestContext,
    server: Uuid,
) -> Result<Vec<ServerPort>, ClientError> {
    let filters = [("device_id", server.to_string())];
    parse_all(neutron.list_resources(context, Collection::Ports, &filters).await?)
}

/// One port.
pub async fn show(neutron: &dyn Neutron, context: &RequestContext, id: &str) -> Result<ServerPort, ClientError> {
    parse(neutron.show_resource(context, Collection::Ports, id).await?)
}

/// Replaces the security groups of a port.
pub async fn set_security_groups(
    neutron: &dyn Neutron,
    context: &RequestContext,
    port: Uuid,
    groups: &[Uuid],
) -> Result<(), ClientError> {
    update(neutron, context, port, json!({"security_groups": groups})).await
}

/// Gives a server one address more on a network: on the first of its ports there, from the first subnet that has one
/// left. [`ClientError::NotFound`] with resource `network` if the server is not on it.
pub async fn add_fixed_ip(
    neutron: &dyn Neutron,
    context: &RequestContext,
    server: Uuid,
    network: &str,
) -> Result<(), ClientError> {
    let of_network = [("network_id", network.to_owned())];
    let subnets = neutron.list_resources(context, Collection::Subnets, &of_network).await?;
    let ports = of_server(neutron, context, server).await?;
    let mut failure = ClientError::not_found("network", network);
    for port in ports.iter().filter(|port| port.network_id.to_string() == network) {
        for subnet in &subnets {
            let mut fixed_ips: Vec<Value> = port.fixed_ips.iter().map(|fixed_ip| json!(fixed_ip)).collect();
            fixed_ips.push(json!({"subnet_id": subnet["id"]}));
            match update(neutron, context, port.id, json!({"fixed_ips": fixed_ips})).await {
                Ok(()) => return Ok(()),
                Err(error) => failure = error,
            }
        }
    }
    Err(failure)
}

/// Takes an address from a server. [`ClientError::NotFound`] with resource `fixed IP` if no port of it has the address.
pub async fn remove_fixed_ip(
    neutron: &dyn Neutron,
    context: &RequestContext,
    server: Uuid,
    address: &str,
) -> Result<(), ClientError> {
    let ports = of_server(neutron, context, server).await?;
    let has_it = |port: &&ServerPort| port.fixed_ips.iter().any(|fixed_ip| fixed_ip.ip_address == address);
    let port = ports.iter().find(has_it).ok_or_else(|| ClientError::not_found("fixed IP", address))?;
    let others: Vec<&PortAddress> = port.fixed_ips.iter().filter(|fixed_ip| fixed_ip.ip_address != address).collect();
    update(neutron, context, port.id, json!({"fixed_ips": others})).await
}

async fn update(neutron: &dyn Neutron, context: &RequestContext, id: Uuid, item: Value) -> Result<(), ClientError> {
    neutron.update_resource(context, Collection::Ports, id, item).await.map(drop)
}
