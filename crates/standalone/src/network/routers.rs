//! Routers: their rows and the way out. What they connect is in [`super::router_interfaces`].
//!
//! A router moves no packet here. It says which floating addresses can lead to which ports, and holds the gateway's address
//! of the subnets that it is on.

use std::collections::HashMap;

use kilonova_core::RequestContext;
use kilonova_core::time::{isotime, utcnow};
use kilonova_db::network::ports::{self as port_rows, PortFilter};
use kilonova_db::network::{
    Connection, Port, Resource, RouterRow, Transaction, floating_ips, lock, routers as rows, subnets,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::addressing::{self, parse_wanted};
use super::attributes::{Attributes, plain};
use super::error::NetworkError;
use super::ports::{NewPort, blank_row};
use super::routes::Kind;
use super::{BuiltinNetwork, ensure_owner, networks, owns, visible_to};

/// What a router's port on an external network is of.
const GATEWAY_OWNER: &str = "network:router_gateway";
/// What a router's port on one of the project's networks is of.
pub(super) const INTERFACE_OWNER: &str = "network:router_interface";
/// Routers whose ports are read at a time.
const BATCH: usize = 500;

/// A router that the caller may see.
pub(super) async fn visible(
    connection: &impl Connection,
    context: &RequestContext,
    id: Uuid,
) -> Result<RouterRow, NetworkError> {
    let row = rows::get(connection, id).await?;
    row.filter(|row| owns(context, &row.project_id)).ok_or_else(|| NetworkError::no_router(id))
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
    views(connection, vec![row]).await?.pop().ok_or_else(|| NetworkError::no_router(id))
}

impl BuiltinNetwork {
    pub(super) async fn create_router(
        &self,
        tx: &Transaction,
        context: &RequestContext,
        attributes: &Attributes,
    ) -> Result<Uuid, NetworkError> {
        let now = utcnow();
        let mut row = RouterRow {
            id: Uuid::new_v4(),
            project_id: attributes.project_id(Kind::Router, context)?,
            description: attributes.text_or_empty("description"),
            revision_number: 1,
            created_at: now,
            updated_at: now,
            name: attributes.text_or_empty("name"),
            admin_state_up: attributes.boolean("admin_state_up").unwrap_or(true),
            enable_snat: true,
        };
        if let Some(info) = attributes.object("external_gateway_info") {
            self.set_gateway(tx, context, &mut row, info, "create_router").await?;
        }
        rows::insert(tx, &row).await?;
        Ok(row.id)
    }

    pub(super) async fn update_router(
        &self,
        tx: &Transaction,
        context: &RequestContext,
        id: Uuid,
        attributes: &Attributes,
    ) -> Result<(), NetworkError> {
        lock(tx, Resource::Router, &[id]).await?;
        let mut row = visible(tx, context, id).await?;
        ensure_owner(context, &row.project_id, "update_router")?;
        row.revision_number += 1;
        row.updated_at = utcnow();
        if attributes.has("name") {
            row.name = attributes.text_or_empty("name");
        }
        if attributes.has("description") {
            row.description = attributes.text_or_empty("description");
        }
        row.admin_state_up = attributes.boolean("admin_state_up").unwrap_or(row.admin_state_up);
        if let Some(info) = attributes.object("external_gateway_info") {
            self.set_gateway(tx, context, &mut row, info, "update_router").await?;
        }
        Ok(rows::update(tx, &row).await?)
    }

    /// Connects the router to an external network, or to none where `info` is empty.
    async fn set_gateway(
        &self,
        tx: &Transaction,
        context: &RequestContext,
        row: &mut RouterRow,
        info: &Map<String, Value>,
        rule: &str,
    ) -> Result<(), NetworkError> {
        let wanted = Gateway::parse(info)?;
        let is_for_admins = wanted.enable_snat.is_some() || wanted.fixed_ips.is_some();
        if is_for_admins && !context.is_admin {
            return Err(NetworkError::forbidden(&format!("{rule}:external_gateway_info")));
        }
        row.enable_snat = wanted.enable_snat.unwrap_or(row.enable_snat);
        let held = ports_of(tx, row.id, GATEWAY_OWNER).await?.pop();
        if let Some(port) = held {
            if wanted.network_id == Some(port.row.network_id) && wanted.fixed_ips.is_none() {
                return Ok(());
            }
            ensure_not_needed(tx, row.id, port.row.network_id).await?;
            port_rows::delete(tx, &[port.row.id]).await?;
        }
        match wanted.network_id {
            Some(network_id) => self.make_gateway(tx, context, row.id, network_id, wanted.fixed_ips.as_deref()).await,
            None => Ok(()),
        }
    }

    /// The port has no project: who owns the router does not see it.
    async fn make_gateway(
        &self,
        tx: &Transaction,
        context: &RequestContext,
        router_id: Uuid,
        network_id: Uuid,
        fixed_ips: Option<&[Value]>,
    ) -> Result<(), NetworkError> {
        lock(tx, Resource::Network, &[network_id]).await?;
        let network = networks::visible(tx, context, network_id).await?;
        if !network.is_external {
            return Err(NetworkError::bad_router(format!("Network {network_id} is not an external network")));
        }
        let mut port = blank_row(network_id, "");
        port.device_id = router_id.to_string();
        port.device_owner = GATEWAY_OWNER.to_owned();
        port.status = "ACTIVE".to_owned();
        port.port_security_enabled = false;
        let new = NewPort {
            network: &network,
            subnets: &subnets::list_by_networks(tx, &[network_id]).await?,
            fixed_ips: fixed_ips.map(parse_wanted).transpose()?,
            mac_address: None,
            security_groups: Vec::new(),
            row: port,
        };
        self.make_port(tx, new).await.map(drop)
    }
}

pub(super) async fn delete(tx: &Transaction, context: &RequestContext, id: Uuid) -> Result<(), NetworkError> {
    lock(tx, Resource::Router, &[id]).await?;
    let row = visible(tx, context, id).await?;
    ensure_owner(context, &row.project_id, "delete_router")?;
    if !ports_of(tx, id, INTERFACE_OWNER).await?.is_empty() {
        return Err(NetworkError::conflict("RouterInUse", format!("Router {id} still has ports")));
    }
    let gateways: Vec<Uuid> = ports_of(tx, id, GATEWAY_OWNER).await?.iter().map(|port| port.row.id).collect();
    port_rows::delete(tx, &gateways).await?;
    Ok(rows::delete(tx, id).await?)
}

/// The ports of a router that are of one kind.
pub(super) async fn ports_of(connection: &impl Connection, id: Uuid, owner: &str) -> Result<Vec<Port>, NetworkError> {
    let id = id.to_string();
    let filter = PortFilter { device_ids: Some(vec![id.as_str()]), ..PortFilter::default() };
    let mut ports = port_rows::list(connection, filter).await?;
    ports.retain(|port| port.row.device_owner == owner);
    Ok(ports)
}

/// The router by which a subnet reaches an external network.
pub(super) async fn between(
    connection: &impl Connection,
    subnet: (Uuid, Uuid),
    external_network_id: Uuid,
) -> Result<Option<Uuid>, NetworkError> {
    let (network_id, subnet_id) = subnet;
    let filter = PortFilter { network_ids: Some(vec![network_id, external_network_id]), ..PortFilter::default() };
    let ports = port_rows::list(connection, filter).await?;
    let is_interface = |port: &&Port| {
        port.row.device_owner == INTERFACE_OWNER
            && port.fixed_ips.iter().any(|fixed_ip| fixed_ip.subnet_id == subnet_id)
    };
    let leads_out = |interface: &&Port| {
        ports.iter().any(|port| {
            port.row.device_owner == GATEWAY_OWNER
                && port.row.network_id == external_network_id
                && port.row.device_id == interface.row.device_id
        })
    };
    let router = ports.iter().filter(is_interface).find(leads_out);
    Ok(router.and_then(|port| port.row.device_id.parse().ok()))
}

async fn ensure_not_needed(tx: &Transaction, id: Uuid, network_id: Uuid) -> Result<(), NetworkError> {
    if floating_ips::list_by_router(tx, id).await?.is_empty() {
        return Ok(());
    }
    let text = format!(
        "Gateway cannot be updated for router {id}, since a gateway to external network {network_id} is required by one or \
         more floating IPs."
    );
    Err(NetworkError::conflict("RouterExternalGatewayInUseByFloatingIp", text))
}

/// What `external_gateway_info` asks for.
#[derive(Debug, Default, PartialEq)]
struct Gateway {
    network_id: Option<Uuid>,
    enable_snat: Option<bool>,
    fixed_ips: Option<Vec<Value>>,
}

impl Gateway {
    fn parse(info: &Map<String, Value>) -> Result<Self, NetworkError> {
        let invalid = |reason: String| NetworkError::invalid_attribute("external_gateway_info", reason);
        let mut gateway = Self::default();
        for (key, value) in info {
            let unfit = |what: &str| invalid(format!("'{}' is not a {what}", plain(value)));
            match key.as_str() {
                "network_id" => {
                    let id = value.as_str().and_then(|text| text.parse().ok());
                    gateway.network_id = Some(id.ok_or_else(|| unfit("valid UUID"))?);
                }
                "enable_snat" => gateway.enable_snat = Some(value.as_bool().ok_or_else(|| unfit("boolean"))?),
                "external_fixed_ips" => {
                    gateway.fixed_ips = Some(value.as_array().ok_or_else(|| unfit("list"))?.clone());
                }
                other => return Err(invalid(format!("Unexpected keys supplied: {other}"))),
            }
        }
        if gateway.network_id.is_none() && !info.is_empty() {
            return Err(invalid("Expected keys not found: network_id".to_owned()));
        }
        Ok(gateway)
    }
}

async fn views(connection: &impl Connection, rows: Vec<RouterRow>) -> Result<Vec<Value>, NetworkError> {
    let mut gateways: HashMap<String, Port> = HashMap::new();
    for chunk in rows.chunks(BATCH) {
        let ids: Vec<String> = chunk.iter().map(|row| row.id.to_string()).collect();
        let filter = PortFilter { device_ids: Some(ids.iter().map(String::as_str).collect()), ..PortFilter::default() };
        let ports = port_rows::list(connection, filter).await?;
        let ports = ports.into_iter().filter(|port| port.row.device_owner == GATEWAY_OWNER);
        gateways.extend(ports.map(|port| (port.row.device_id.clone(), port)));
    }
    let mut network_ids: Vec<Uuid> = gateways.values().map(|port| port.row.network_id).collect();
    network_ids.sort_unstable();
    network_ids.dedup();
    let subnets = subnets::list_by_networks(connection, &network_ids).await?;
    let versions: HashMap<Uuid, i32> = subnets.iter().map(|subnet| (subnet.id, subnet.ip_version)).collect();
    Ok(rows.iter().map(|row| view(row, gateways.get(&row.id.to_string()), &versions)).collect())
}

fn view(row: &RouterRow, gateway: Option<&Port>, versions: &HashMap<Uuid, i32>) -> Value {
    let gateway = gateway.map(|port| {
        let fixed_ips = addressing::views(&port.fixed_ips, versions);
        json!({"network_id": port.row.network_id, "enable_snat": row.enable_snat, "external_fixed_ips": fixed_ips})
    });
    json!({
        "id": row.id,
        "name": row.name,
        "tenant_id": row.project_id,
        "project_id": row.project_id,
        "description": row.description,
        "admin_state_up": row.admin_state_up,
        "status": "ACTIVE",
        "external_gateway_info": gateway,
        "revision_number": row.revision_number,
        "created_at": isotime(row.created_at),
        "updated_at": isotime(row.updated_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_a_network_or_nothing() {
        let parse = |info: Value| Gateway::parse(info.as_object().unwrap());
        assert_eq!(parse(json!({})).unwrap(), Gateway::default());
        let id = Uuid::new_v4();
        let gateway = parse(json!({"network_id": id, "enable_snat": false})).unwrap();
        assert_eq!(gateway, Gateway { network_id: Some(id), enable_snat: Some(false), fixed_ips: None });
        for wrong in [json!({"enable_snat": true}), json!({"network_id": "x"}), json!({"network_id": id, "qos": 1})] {
            assert!(parse(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
