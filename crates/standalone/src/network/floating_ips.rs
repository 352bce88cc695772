//! Floating addresses: an address of an external network that leads to a fixed address, through a router between the two.

use std::collections::HashMap;
use std::net::IpAddr;

use kilonova_core::RequestContext;
use kilonova_core::time::{isotime, utcnow};
use kilonova_db::network::ports::{self as port_rows, PortFilter};
use kilonova_db::network::{
    Connection, FixedIp, FloatingIpRow, Port, Resource, Transaction, floating_ips as rows, lock, number_to_address,
    subnets,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::addressing::{self, WantedIp};
use super::attributes::Attributes;
use super::error::NetworkError;
use super::ports::{NewPort, blank_row};
use super::routes::Kind;
use super::{BuiltinNetwork, ensure_owner, networks, owns, ports, routers, visible_to};

/// What the port with a floating address is of.
const OWNER: &str = "network:floatingip";
/// Floating addresses whose ports are read at a time.
const BATCH: usize = 500;

async fn visible(
    connection: &impl Connection,
    context: &RequestContext,
    id: Uuid,
) -> Result<FloatingIpRow, NetworkError> {
    let row = rows::get(connection, id).await?;
    row.filter(|row| owns(context, &row.project_id)).ok_or_else(|| NetworkError::no_floating_ip(id))
}

pub(super) async fn list(connection: &impl Connection, context: &RequestContext) -> Result<Vec<Value>, NetworkError> {
    views(connection, rows::list(connection, visible_to(context)).await?).await
}

pub(super) async fn show(
    connection: &impl Connection,
    context: &RequestContext,
    id: Uuid,
) -> Result<Value, NetworkError> {
    let row = visible(connection, context, id).await?;
    views(connection, vec![row]).await?.pop().ok_or_else(|| NetworkError::no_floating_ip(id))
}

impl BuiltinNetwork {
    pub(super) async fn create_floating_ip(
        &self,
        tx: &Transaction,
        context: &RequestContext,
        attributes: &Attributes,
    ) -> Result<Uuid, NetworkError> {
        let project_id = attributes.project_id(Kind::FloatingIp, context)?;
        attributes.required("floating_network_id")?;
        let network_id = attributes.id("floating_network_id").unwrap_or_default();
        let id = Uuid::new_v4();
        let now = utcnow();
        let mut row = FloatingIpRow {
            id,
            project_id,
            description: attributes.text_or_empty("description"),
            revision_number: 1,
            created_at: now,
            updated_at: now,
            floating_network_id: network_id,
            floating_port_id: self.make_address(tx, context, id, network_id, attributes).await?,
            fixed_port_id: None,
            fixed_ip_address: None,
            router_id: None,
        };
        associate(tx, context, &mut row, attributes).await?;
        rows::insert(tx, &row).await?;
        Ok(id)
    }

    /// The port that has the address; it has no project.
    async fn make_address(
        &self,
        tx: &Transaction,
        context: &RequestContext,
        id: Uuid,
        network_id: Uuid,
        attributes: &Attributes,
    ) -> Result<Uuid, NetworkError> {
        lock(tx, Resource::Network, &[network_id]).await?;
        let network = networks::visible(tx, context, network_id).await?;
        if !network.is_external {
            let text = format!("Network {network_id} is not a valid external network");
            return Err(NetworkError::bad_floating_ip(text));
        }
        let mut subnets = subnets::list_by_networks(tx, &[network_id]).await?;
        subnets.retain(|subnet| subnet.ip_version == 4);
        if subnets.is_empty() {
            let text = format!("Network {network_id} does not contain any IPv4 subnet");
            return Err(NetworkError::bad_floating_ip(text));
        }
        let wanted = WantedIp { subnet_id: attributes.id("subnet_id"), address: wanted_address(attributes)? };
        let is_any = wanted.subnet_id.is_none() && wanted.address.is_none();
        let mut port = blank_row(network_id, "");
        port.device_id = id.to_string();
        port.device_owner = OWNER.to_owned();
        port.status = "N/A".to_owned();
        port.port_security_enabled = false;
        let new = NewPort {
            network: &network,
            subnets: &subnets,
            fixed_ips: (!is_any).then(|| vec![wanted]),
            mac_address: None,
            security_groups: Vec::new(),
            row: port,
        };
        Ok(self.make_port(tx, new).await?.row.id)
    }
}

pub(super) async fn update(
    tx: &Transaction,
    context: &RequestContext,
    id: Uuid,
    attributes: &Attributes,
) -> Result<(), NetworkError> {
    lock(tx, Resource::FloatingIp, &[id]).await?;
    let mut row = visible(tx, context, id).await?;
    ensure_owner(context, &row.project_id, "update_floatingip")?;
    row.revision_number += 1;
    row.updated_at = utcnow();
    if attributes.has("description") {
        row.description = attributes.text_or_empty("description");
    }
    associate(tx, context, &mut row, attributes).await?;
    Ok(rows::update(tx, &row).await?)
}

pub(super) async fn delete(tx: &Transaction, context: &RequestContext, id: Uuid) -> Result<(), NetworkError> {
    lock(tx, Resource::FloatingIp, &[id]).await?;
    let row = visible(tx, context, id).await?;
    ensure_owner(context, &row.project_id, "delete_floatingip")?;
    rows::delete(tx, id).await?;
    Ok(port_rows::delete(tx, &[row.floating_port_id]).await?)
}

fn wanted_address(attributes: &Attributes) -> Result<Option<IpAddr>, NetworkError> {
    let Some(text) = attributes.text("floating_ip_address") else { return Ok(None) };
    let invalid =
        || NetworkError::invalid_attribute("floating_ip_address", format!("'{text}' is not a valid IP address"));
    text.parse().map(Some).map_err(|_| invalid())
}

/// Makes it lead where `port_id` says: to a port, or nowhere for null. Without that, it stays as it is.
async fn associate(
    tx: &Transaction,
    context: &RequestContext,
    row: &mut FloatingIpRow,
    attributes: &Attributes,
) -> Result<(), NetworkError> {
    if !attributes.has("port_id") {
        return match attributes.text("fixed_ip_address") {
            Some(_) => Err(NetworkError::bad_floating_ip("fixed_ip_address cannot be specified without a port_id")),
            None => Ok(()),
        };
    }
    (row.fixed_port_id, row.fixed_ip_address, row.router_id) = (None, None, None);
    let Some(port_id) = attributes.id("port_id") else { return Ok(()) };
    let port = ports::visible(tx, context, port_id).await?;
    let (fixed_ip, address) = choose_fixed(tx, &port, attributes.text("fixed_ip_address")).await?;
    let subnet = (port.row.network_id, fixed_ip.subnet_id);
    let router = routers::between(tx, subnet, row.floating_network_id).await?;
    row.router_id = Some(router.ok_or_else(|| unreachable_port(row.floating_network_id, fixed_ip.subnet_id, port_id))?);
    let others = rows::list_by_fixed_port(tx, port_id).await?;
    let is_same = |other: &FloatingIpRow| {
        other.id != row.id
            && other.fixed_ip_address.as_ref() == Some(&address)
            && other.floating_network_id == row.floating_network_id
    };
    if others.iter().any(is_same) {
        let text = format!(
            "Cannot associate floating IP {} with port {port_id} using fixed IP {address}, as that fixed IP already has a \
             floating IP on external network {}.",
            row.id, row.floating_network_id
        );
        return Err(NetworkError::conflict("FloatingIPPortAlreadyAssociated", text));
    }
    row.fixed_port_id = Some(port_id);
    row.fixed_ip_address = Some(address);
    Ok(())
}

/// The address of the port that is meant, also as text: the only IPv4 one where none is named.
async fn choose_fixed(tx: &Transaction, port: &Port, named: Option<&str>) -> Result<(FixedIp, String), NetworkError> {
    let id = port.row.id;
    let versions: HashMap<Uuid, i32> = subnets::list_by_networks(tx, &[port.row.network_id])
        .await?
        .into_iter()
        .map(|subnet| (subnet.id, subnet.ip_version))
        .collect();
    let is_ipv4 = |fixed_ip: &&FixedIp| versions.get(&fixed_ip.subnet_id) == Some(&4);
    let text = |fixed_ip: &FixedIp| number_to_address(fixed_ip.address, true).to_string();
    let mut ipv4 = port.fixed_ips.iter().filter(is_ipv4).map(|fixed_ip| (*fixed_ip, text(fixed_ip)));
    if let Some(named) = named {
        let missing = || NetworkError::bad_floating_ip(format!("Port {id} does not have fixed ip {named}"));
        return ipv4.find(|(_, address)| address == named).ok_or_else(missing);
    }
    let none = || {
        NetworkError::bad_floating_ip(format!("Cannot add floating IP to port {id} that has no fixed IPv4 addresses"))
    };
    let only = ipv4.next().ok_or_else(none)?;
    if ipv4.next().is_some() {
        return Err(NetworkError::bad_floating_ip(format!(
            "Port {id} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when assigning a floating \
             IP"
        )));
    }
    Ok(only)
}

fn unreachable_port(network_id: Uuid, subnet_id: Uuid, port_id: Uuid) -> NetworkError {
    let text = format!(
        "External network {network_id} is not reachable from subnet {subnet_id}.  Therefore, cannot associate Port {port_id} \
         with a Floating IP."
    );
    NetworkError::not_found("ExternalGatewayForFloatingIPNotFound", text)
}

async fn views(connection: &impl Connection, rows: Vec<FloatingIpRow>) -> Result<Vec<Value>, NetworkError> {
    let mut addresses: HashMap<Uuid, String> = HashMap::new();
    for chunk in rows.chunks(BATCH) {
        let ids = Some(chunk.iter().map(|row| row.floating_port_id).collect());
        for port in port_rows::list(connection, PortFilter { ids, ..PortFilter::default() }).await? {
            let address = port.fixed_ips.first().map(|fixed_ip| addressing::text(4, fixed_ip.address));
            addresses.extend(address.map(|address| (port.row.id, address)));
        }
    }
    Ok(rows.iter().map(|row| view(row, addresses.get(&row.floating_port_id))).collect())
}

fn view(row: &FloatingIpRow, address: Option<&String>) -> Value {
    let is_associated = row.fixed_port_id.is_some();
    json!({
        "id": row.id,
        "tenant_id": row.project_id,
        "project_id": row.project_id,
        "description": row.description,
        "floating_network_id": row.floating_network_id,
        "floating_ip_address": address,
        "port_id": row.fixed_port_id,
        "fixed_ip_address": row.fixed_ip_address.as_ref().filter(|_| is_associated),
        "router_id": row.router_id.filter(|_| is_associated),
        "status": if is_associated { "ACTIVE" } else { "DOWN" },
        "revision_number": row.revision_number,
        "created_at": isotime(row.created_at),
        "updated_at": isotime(row.updated_at),
    })
}
