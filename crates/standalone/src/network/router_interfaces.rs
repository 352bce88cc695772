//! What a router connects: a port with the gateway's address on each of its subnets.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use ipnet::IpNet;
use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use kilonova_db::network::{
    Port, Resource, RouterRow, SubnetRow, Transaction, floating_ips, lock, networks as network_rows,
    ports as port_rows, subnets as subnet_rows,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::addressing::WantedIp;
use super::error::NetworkError;
use super::ports::{NewPort, blank_row};
use super::routers::{INTERFACE_OWNER, ports_of};
use super::routes::{JSON_LIMIT, Kind};
use super::{BuiltinNetwork, ensure_owner, ports, routers, subnets, trunks};
use crate::web::read_json;

/// `PUT /v2.0/routers/{id}/add_router_interface`
pub(super) async fn add(
    State(service): State<Arc<BuiltinNetwork>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>, NetworkError> {
    let id = Kind::Router.parse_id(&id)?;
    let wanted = Wanted::parse(&read_json(body, JSON_LIMIT).await?)?;
    Ok(Json(service.db.retry(|| service.add_interface(&context, id, wanted)).await?))
}

/// `PUT /v2.0/routers/{id}/remove_router_interface`
pub(super) async fn remove(
    State(service): State<Arc<BuiltinNetwork>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>, NetworkError> {
    let id = Kind::Router.parse_id(&id)?;
    let wanted = Wanted::parse(&read_json(body, JSON_LIMIT).await?)?;
    Ok(Json(service.db.retry(|| service.remove_interface(&context, id, wanted)).await?))
}

/// What the interface is named by.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    /// The subnet that it is on.
    Subnet(Uuid),
    /// Its port.
    Port(Uuid),
    /// Both, to be sure; only where an interface is removed.
    PortOnSubnet(Uuid, Uuid),
}

impl Wanted {
    fn parse(body: &Value) -> Result<Self, NetworkError> {
        let id = |key: &str| match body.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let id = value.as_str().and_then(|text| text.parse().ok());
                let invalid = || NetworkError::bad_router(format!("Invalid {key}: {value}"));
                id.map(Some).ok_or_else(invalid)
            }
        };
        match (id("port_id")?, id("subnet_id")?) {
            (Some(port_id), Some(subnet_id)) => Ok(Self::PortOnSubnet(port_id, subnet_id)),
            (Some(port_id), None) => Ok(Self::Port(port_id)),
            (None, Some(subnet_id)) => Ok(Self::Subnet(subnet_id)),
            (None, None) => Err(NetworkError::bad_router("Either subnet_id or port_id must be specified")),
        }
    }

    fn is(self, port: &Port) -> bool {
        let is_on = |subnet_id| port.fixed_ips.iter().any(|fixed_ip| fixed_ip.subnet_id == subnet_id);
        match self {
            Self::Subnet(subnet_id) => is_on(subnet_id),
            Self::Port(port_id) => port.row.id == port_id,
            Self::PortOnSubnet(port_id, subnet_id) => port.row.id == port_id && is_on(subnet_id),
        }
    }

    fn not_found(self, router_id: Uuid) -> NetworkError {
        match self {
            Self::Subnet(subnet_id) => NetworkError::not_found(
                "RouterInterfaceNotFoundForSubnet",
                format!("Router {router_id} has no interface on subnet {subnet_id}."),
            ),
            Self::Port(port_id) | Self::PortOnSubnet(port_id, _) => NetworkError::not_found(
                "RouterInterfaceNotFound",
                format!("Router {router_id} does not have an interface with id {port_id}"),
            ),
        }
    }
}

impl BuiltinNetwork {
    async fn add_interface(&self, context: &RequestContext, id: Uuid, wanted: Wanted) -> Result<Value, NetworkError> {
        let tx = self.db.begin().await?;
        let view = self.add_interface_in(&tx, context, id, wanted).await?;
        tx.commit().await?;
        Ok(view)
    }

    /// The same inside a transaction.
    pub(super) async fn add_interface_in(
        &self,
        tx: &Transaction,
        context: &RequestContext,
        id: Uuid,
        wanted: Wanted,
    ) -> Result<Value, NetworkError> {
        lock(tx, Resource::Router, &[id]).await?;
        let router = routers::visible(tx, context, id).await?;
        ensure_owner(context, &router.project_id, "add_router_interface")?;
        let port = match wanted {
            Wanted::Subnet(subnet_id) => self.make_interface(tx, context, &router, subnet_id).await?,
            Wanted::Port(port_id) => take_port(tx, context, &router, port_id).await?,
            Wanted::PortOnSubnet(..) => {
                return Err(NetworkError::bad_router("Cannot specify both subnet-id and port-id"));
            }
        };
        Ok(view(&router, &port))
    }

    async fn make_interface(
        &self,
        tx: &Transaction,
        context: &RequestContext,
        router: &RouterRow,
        subnet_id: Uuid,
    ) -> Result<Port, NetworkError> {
        let subnet = subnets::visible(tx, context, subnet_id).await?;
        let no_gateway = || NetworkError::bad_router("Subnet for router interface must have a gateway IP");
        let gateway = subnet.gateway_ip.as_deref().and_then(|gateway| gateway.parse().ok());
        let gateway = gateway.ok_or_else(no_gateway)?;
        lock(tx, Resource::Network, &[subnet.network_id]).await?;
        ensure_apart(tx, router.id, &[&subnet]).await?;
        let network = network_rows::get(tx, subnet.network_id).await?;
        let network = network.ok_or_else(|| NetworkError::no_network(subnet.network_id))?;
        let mut row = blank_row(network.id, &router.project_id);
        row.port_security_enabled = false;
        belong_to(&mut row, router.id);
        let new = NewPort {
            network: &network,
            subnets: std::slice::from_ref(&subnet),
            fixed_ips: Some(vec![WantedIp { subnet_id: Some(subnet_id), address: Some(gateway) }]),
            mac_address: None,
            security_groups: Vec::new(),
            row,
        };
        self.make_port(tx, new).await
    }

    async fn remove_interface(
        &self,
        context: &RequestContext,
        id: Uuid,
        wanted: Wanted,
    ) -> Result<Value, NetworkError> {
        let tx = self.db.begin().await?;
        lock(&tx, Resource::Router, &[id]).await?;
        let router = routers::visible(&tx, context, id).await?;
        ensure_owner(context, &router.project_id, "remove_router_interface")?;
        let mut ports = ports_of(&tx, id, INTERFACE_OWNER).await?.into_iter();
        let port = ports.find(|port| wanted.is(port)).ok_or_else(|| wanted.not_found(id))?;
        ensure_not_needed(&tx, id, &port).await?;
        port_rows::delete(&tx, &[port.row.id]).await?;
        tx.commit().await?;
        Ok(view(&router, &port))
    }
}

/// Takes a router off all its subnets.
pub(super) async fn remove_all(tx: &Transaction, router_id: Uuid) -> Result<(), NetworkError> {
    let ports = ports_of(tx, router_id, INTERFACE_OWNER).await?;
    for port in &ports {
        ensure_not_needed(tx, router_id, port).await?;
    }
    let ids: Vec<Uuid> = ports.iter().map(|port| port.row.id).collect();
    Ok(port_rows::delete(tx, &ids).await?)
}

/// Gives a port that nobody has to the router.
async fn take_port(
    tx: &Transaction,
    context: &RequestContext,
    router: &RouterRow,
    id: Uuid,
) -> Result<Port, NetworkError> {
    lock(tx, Resource::Port, &[id]).await?;
    let mut port = ports::visible(tx, context, id).await?;
    if !port.row.device_id.is_empty() {
        return Err(NetworkError::port_in_use(&port.row));
    }
    trunks::ensure_in_none(tx, id).await?;
    let subnets = subnet_rows::list_by_networks(tx, &[port.row.network_id]).await?;
    let is_on = |subnet: &&SubnetRow| port.fixed_ips.iter().any(|fixed_ip| fixed_ip.subnet_id == subnet.id);
    let subnets: Vec<&SubnetRow> = subnets.iter().filter(is_on).collect();
    if subnets.is_empty() {
        return Err(NetworkError::bad_router("Router port must have at least one fixed IP"));
    }
    ensure_apart(tx, router.id, &subnets).await?;
    belong_to(&mut port.row, router.id);
    port.row.revision_number += 1;
    port.row.updated_at = utcnow();
    port_rows::update(tx, &port.row).await?;
    Ok(port)
}

fn belong_to(row: &mut kilonova_db::network::PortRow, router_id: Uuid) {
    row.device_id = router_id.to_string();
    INTERFACE_OWNER.clone_into(&mut row.device_owner);
    "ACTIVE".clone_into(&mut row.status);
}

/// Refuses subnets that the router is on already, and such as overlap with one that it is on.
async fn ensure_apart(tx: &Transaction, router_id: Uuid, wanted: &[&SubnetRow]) -> Result<(), NetworkError> {
    let held = ports_of(tx, router_id, INTERFACE_OWNER).await?;
    let network_ids: Vec<Uuid> = held.iter().map(|port| port.row.network_id).collect();
    let subnets = subnet_rows::list_by_networks(tx, &network_ids).await?;
    let is_held =
        |subnet: &&SubnetRow| held.iter().flat_map(|port| &port.fixed_ips).any(|ip| ip.subnet_id == subnet.id);
    for there in subnets.iter().filter(is_held) {
        for subnet in wanted {
            if subnet.id == there.id {
                return Err(NetworkError::bad_router(format!("Router already has a port on subnet {}", subnet.id)));
            }
            if overlap(&subnet.cidr, &there.cidr) {
                return Err(NetworkError::bad_router(format!(
                    "Cidr {} of subnet {} overlaps with cidr {} of subnet {}",
                    subnet.cidr, subnet.id, there.cidr, there.id
                )));
            }
        }
    }
    Ok(())
}

fn overlap(one: &str, other: &str) -> bool {
    let parse = |cidr: &str| cidr.parse::<IpNet>().ok();
    parse(one).zip(parse(other)).is_some_and(|(one, other)| one.contains(&other) || other.contains(&one))
}

/// Floating addresses lead through the router to ports on its subnets.
async fn ensure_not_needed(tx: &Transaction, router_id: Uuid, interface: &Port) -> Result<(), NetworkError> {
    let floating = floating_ips::list_by_router(tx, router_id).await?;
    let ids: Vec<Uuid> = floating.iter().filter_map(|row| row.fixed_port_id).collect();
    let filter = port_rows::PortFilter { ids: Some(ids), ..port_rows::PortFilter::default() };
    let fixed = port_rows::list(tx, filter).await?;
    for ip in &interface.fixed_ips {
        if fixed.iter().flat_map(|port| &port.fixed_ips).any(|fixed| fixed.subnet_id == ip.subnet_id) {
            let text = format!(
                "Router interface for subnet {} on router {router_id} cannot be deleted, as it is required by one or more \
                 floating IPs.",
                ip.subnet_id
            );
            return Err(NetworkError::conflict("RouterInterfaceInUseByFloatingIP", text));
        }
    }
    Ok(())
}

fn view(router: &RouterRow, port: &Port) -> Value {
    let subnet_ids: Vec<Uuid> = port.fixed_ips.iter().map(|fixed_ip| fixed_ip.subnet_id).collect();
    json!({
        "id": router.id,
        "tenant_id": router.project_id,
        "project_id": router.project_id,
        "port_id": port.row.id,
        "network_id": port.row.network_id,
        "subnet_id": subnet_ids.first(),
        "subnet_ids": subnet_ids,
    })
}
