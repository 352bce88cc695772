//! The network service as compute sees it.

mod resources;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use axum::http::StatusCode;
use kilonova_clients::ClientError;
use kilonova_clients::network::{Network, NetworkService, Port, PortRequest, SecurityGroup};
use kilonova_clients::network_model::{FixedIp, Ip, Network as VifNetwork, Subnet, Vif};
use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use kilonova_db::network::ports::PortFilter;
use kilonova_db::network::{
    self as rows, NetworkRow, Resource, SubnetRow, Transaction, networks, ports as port_rows,
    security_groups as groups, subnets,
};
use kilonova_db::{DbError, Failure};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::addressing::{self, WantedIp};
use super::error::NetworkError;
use super::ports::{COMPUTE_OWNER, NewPort, blank_row};
use super::{BuiltinNetwork, owns, ports, security_groups, trunks};

/// Digits of a port's id in the name of the host's device: interface names have at most 15 characters.
const DEVICE_ID_DIGITS: usize = 11;

/// What the ports of a server need to know of the networks they are on.
struct Networks {
    networks: HashMap<Uuid, NetworkRow>,
    subnets: HashMap<Uuid, Vec<SubnetRow>>,
}

/// The server that gets ports.
struct Server<'a> {
    uuid: String,
    project_id: &'a str,
    host: &'a str,
}

/// Why a server got no ports.
enum AllocateError {
    /// It cannot be done, and the caller is told.
    Refused(ClientError),
    /// What the database said, which may be tried again.
    Database(DbError),
}

impl Failure for AllocateError {
    fn database(&self) -> Option<&DbError> {
        match self {
            Self::Database(error) => Some(error),
            Self::Refused(_) => None,
        }
    }
}

impl From<ClientError> for AllocateError {
    fn from(error: ClientError) -> Self {
        Self::Refused(error)
    }
}

impl From<DbError> for AllocateError {
    fn from(error: DbError) -> Self {
        Self::Database(error)
    }
}

impl From<NetworkError> for AllocateError {
    fn from(error: NetworkError) -> Self {
        match error {
            NetworkError::Database(error) => Self::Database(error),
            refused => Self::Refused(client_error(refused)),
        }
    }
}

impl From<AllocateError> for ClientError {
    fn from(error: AllocateError) -> Self {
        match error {
            AllocateError::Refused(error) => error,
            AllocateError::Database(error) => failed(error),
        }
    }
}

#[async_trait]
impl NetworkService for BuiltinNetwork {
    async fn available_networks(&self, context: &RequestContext) -> Result<Vec<Network>, ClientError> {
        let project_id = context.project_id();
        let mut rows = networks::list(self.db.read(), Some(project_id)).await.map_err(failed)?;
        rows.retain(|row| row.is_shared || row.project_id == project_id);
        let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        let mut by_network = subnets_by_network(subnets::list_by_networks(self.db.read(), &ids).await.map_err(failed)?);
        let network = |row: NetworkRow| Network {
            subnet_ids: by_network.remove(&row.id).unwrap_or_default().iter().map(|subnet| subnet.id).collect(),
            id: row.id,
            name: row.name,
            project_id: row.project_id,
            is_shared: row.is_shared,
            is_external: row.is_external,
            port_security_enabled: row.port_security_enabled,
        };
        Ok(rows.into_iter().map(network).collect())
    }

    async fn can_auto_allocate(&self, _context: &RequestContext, _project_id: &str) -> Result<bool, ClientError> {
        match self.default_external_network().await {
            Ok(_) => Ok(true),
            Err(NetworkError::Refused { .. }) => Ok(false),
            Err(error) => Err(client_error(error)),
        }
    }

    async fn auto_allocate(&self, context: &RequestContext, project_id: &str) -> Result<Uuid, ClientError> {
        if !owns(context, project_id) {
            return Err(ClientError::Forbidden("rule:get_auto_allocated_topology is disallowed by policy".to_owned()));
        }
        BuiltinNetwork::auto_allocate(self, project_id).await.map_err(client_error)
    }

    async fn show_port(&self, context: &RequestContext, port_id: Uuid) -> Result<Port, ClientError> {
        let port = port_rows::get(self.db.read(), port_id).await.map_err(failed)?;
        let port = port.filter(|port| owns(context, &port.row.project_id));
        let port = port.ok_or_else(|| ClientError::not_found("port", port_id))?;
        let subnets = subnets::list_by_networks(self.db.read(), &[port.row.network_id]).await.map_err(failed)?;
        let version = |id: Uuid| subnets.iter().find(|subnet| subnet.id == id).map_or(4, |subnet| subnet.ip_version);
        let text = |fixed_ip: &rows::FixedIp| addressing::text(version(fixed_ip.subnet_id), fixed_ip.address);
        Ok(Port {
            id: port.row.id,
            network_id: port.row.network_id,
            fixed_ips: port.fixed_ips.iter().map(text).collect(),
            project_id: port.row.project_id,
            mac_address: port.row.mac_address,
            device_id: port.row.device_id,
        })
    }

    async fn security_groups(
        &self,
        context: &RequestContext,
        project_id: &str,
    ) -> Result<Vec<SecurityGroup>, ClientError> {
        if !owns(context, project_id) {
            return Err(ClientError::Forbidden("rule:get_security_groups is disallowed by policy".to_owned()));
        }
        self.default_group(project_id).await.map_err(client_error)?;
        let rows = groups::list(self.db.read(), Some(project_id)).await.map_err(failed)?;
        let group =
            |row: rows::SecurityGroupRow| SecurityGroup { id: row.id, name: row.name, project_id: row.project_id };
        Ok(rows.into_iter().map(group).collect())
    }

    async fn allocate_for_instance(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        project_id: &str,
        host: &str,
        requests: &[PortRequest],
    ) -> Result<Vec<Vif>, ClientError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let server = Server { uuid: instance_uuid.to_string(), project_id, host };
        // What an earlier try has made is found again.
        let allocated = self.db.retry_idempotent(|| self.allocate(context, &server, requests, &[])).await;
        Ok(allocated?)
    }

    async fn allocate_port_for_instance(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        project_id: &str,
        host: &str,
        request: &PortRequest,
        held: &[Uuid],
    ) -> Result<Vif, ClientError> {
        let server = Server { uuid: instance_uuid.to_string(), project_id, host };
        let requests = std::slice::from_ref(request);
        let mut vifs = self.db.retry_idempotent(|| self.allocate(context, &server, requests, held)).await?;
        vifs.pop().ok_or_else(|| ClientError::unavailable("network", "no port was made"))
    }

    async fn deallocate_for_instance(&self, _context: &RequestContext, instance_uuid: Uuid) -> Result<(), ClientError> {
        self.db.retry_idempotent(|| self.deallocate(instance_uuid, None)).await.map_err(failed)
    }

    async fn deallocate_port_for_instance(
        &self,
        _context: &RequestContext,
        instance_uuid: Uuid,
        port_id: Uuid,
    ) -> Result<(), ClientError> {
        self.db.retry_idempotent(|| self.deallocate(instance_uuid, Some(port_id))).await.map_err(failed)
    }

    async fn instance_vifs(&self, _context: &RequestContext, instance_uuid: Uuid) -> Result<Vec<Vif>, ClientError> {
        let (db, device_id) = (self.db.read(), instance_uuid.to_string());
        let filter = PortFilter { device_ids: Some(vec![device_id.as_str()]), ..PortFilter::default() };
        let ports = port_rows::list(db, filter).await.map_err(failed)?;
        let mut ids: Vec<Uuid> = ports.iter().map(|port| port.row.network_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = networks::get_many(db, &ids).await.map_err(failed)?;
        let subnets = subnets::list_by_networks(db, &ids).await.map_err(failed)?;
        let known = Networks {
            networks: found.into_iter().map(|network| (network.id, network)).collect(),
            subnets: subnets_by_network(subnets),
        };
        ports.iter().map(|port| vif(port, &known)).collect()
    }

    async fn setup_instance_network_on_host(
        &self,
        _context: &RequestContext,
        instance_uuid: Uuid,
        host: &str,
    ) -> Result<(), ClientError> {
        self.db.retry_idempotent(|| self.bind_ports(instance_uuid, host)).await.map_err(failed)
    }

    async fn devices_with_ports(&self, _context: &RequestContext) -> Result<Vec<Uuid>, ClientError> {
        let devices = port_rows::list_devices(self.db.read(), "compute:").await.map_err(failed)?;
        // A user can write anything into a port's device_id; what is no UUID is no server.
        Ok(devices.iter().filter_map(|device| device.parse().ok()).collect())
    }
}

impl BuiltinNetwork {
    /// In one transaction: an error takes everything back. The server's ports in `kept` are no leftovers of an earlier try.
    async fn allocate(
        &self,
        context: &RequestContext,
        server: &Server<'_>,
        requests: &[PortRequest],
        kept: &[Uuid],
    ) -> Result<Vec<Vif>, AllocateError> {
        let tx = self.db.begin().await?;
        let filter = PortFilter { device_ids: Some(vec![server.uuid.as_str()]), ..PortFilter::default() };
        let mut held = port_rows::list_locked(&tx, filter).await?;
        held.retain(|port| !kept.contains(&port.row.id));
        let given = given_ports(&tx, context, server, requests).await?;
        let known = load_networks(&tx, requests, &given).await?;
        let mut used: HashSet<Uuid> = kept.iter().copied().collect();
        let mut vifs = Vec::with_capacity(requests.len());
        for request in requests {
            let port = match request.port_id {
                Some(id) => {
                    let port = given.get(&id).filter(|_| used.insert(id));
                    let port = port.ok_or_else(|| ClientError::Conflict(format!("Port {id} is still in use.")))?;
                    bind(&tx, port.clone(), server).await?
                }
                None => {
                    let network = usable_network(context, &known, request)?;
                    let again = held.iter().position(|port| is_again(port, network, request, &known));
                    match again {
                        Some(position) => bind(&tx, held.remove(position), server).await?,
                        None => self.make(&tx, server, network, &known, request).await?,
                    }
                }
            };
            vifs.push(vif(&port, &known)?);
        }
        tx.commit().await?;
        Ok(vifs)
    }

    async fn make(
        &self,
        tx: &Transaction,
        server: &Server<'_>,
        network: &NetworkRow,
        known: &Networks,
        request: &PortRequest,
    ) -> Result<rows::Port, AllocateError> {
        let subnets = known.subnets.get(&network.id).map(Vec::as_slice).unwrap_or_default();
        if subnets.is_empty() {
            let text = format!("Network {} requires a subnet in order to boot instances on.", network.id);
            return Err(ClientError::BadRequest(text).into());
        }
        let fixed_ips = request.fixed_ip.as_deref().map(|text| match text.parse() {
            Ok(address) => Ok(vec![WantedIp { subnet_id: None, address: Some(address) }]),
            Err(_) => Err(ClientError::BadRequest(format!("'{text}' is not a valid IP address."))),
        });
        let mut row = blank_row(network.id, server.project_id);
        row.port_security_enabled = network.port_security_enabled;
        row.is_made_for_server = true;
        set_binding(&mut row, server);
        let new = NewPort {
            network,
            subnets,
            fixed_ips: fixed_ips.transpose()?,
            mac_address: None,
            security_groups: port_groups(tx, server, network, request).await?,
            row,
        };
        Ok(self.make_port(tx, new).await?)
    }

    async fn bind_ports(&self, instance_uuid: Uuid, host: &str) -> Result<(), DbError> {
        let device_id = instance_uuid.to_string();
        let filter = PortFilter { device_ids: Some(vec![device_id.as_str()]), ..PortFilter::default() };
        let tx = self.db.begin().await?;
        let held = port_rows::list_locked(&tx, filter).await?;
        let ids: Vec<Uuid> = held.iter().map(|port| port.row.id).collect();
        for mut port in held {
            host.clone_into(&mut port.row.binding_host_id);
            port.row.status = if host.is_empty() { "DOWN" } else { "ACTIVE" }.to_owned();
            touch(&mut port.row);
            port_rows::update(&tx, &port.row).await?;
        }
        trunks::follow(&tx, &ids, host).await?;
        tx.commit().await
    }

    /// All of a server's ports, or one of them.
    async fn deallocate(&self, instance_uuid: Uuid, only: Option<Uuid>) -> Result<(), DbError> {
        let device_id = instance_uuid.to_string();
        let ids = only.map(|id| vec![id]);
        let filter = PortFilter { ids, device_ids: Some(vec![device_id.as_str()]), ..PortFilter::default() };
        let tx = self.db.begin().await?;
        let held = port_rows::list_locked(&tx, filter).await?;
        let ids: Vec<Uuid> = held.iter().map(|port| port.row.id).collect();
        // A port that somebody has made a part of a trunk stays with it, whoever made the port.
        let in_trunks = rows::trunks::memberships(&tx, &ids).await?;
        let is_gone = |port: &rows::Port| port.row.is_made_for_server && !in_trunks.contains_key(&port.row.id);
        let (made, given): (Vec<_>, Vec<_>) = held.into_iter().partition(is_gone);
        let made: Vec<Uuid> = made.iter().map(|port| port.row.id).collect();
        port_rows::delete(&tx, &made).await?;
        trunks::follow(&tx, &given.iter().map(|port| port.row.id).collect::<Vec<_>>(), "").await?;
        for mut port in given {
            port.row.device_id.clear();
            port.row.device_owner.clear();
            port.row.binding_host_id.clear();
            port.row.status = "DOWN".to_owned();
            touch(&mut port.row);
            port_rows::update(&tx, &port.row).await?;
        }
        tx.commit().await
    }
}

/// The ports that the caller names, by id; each must be the caller's, and free or the server's already. They stay as they
/// are until the transaction ends.
async fn given_ports(
    tx: &Transaction,
    context: &RequestContext,
    server: &Server<'_>,
    requests: &[PortRequest],
) -> Result<HashMap<Uuid, rows::Port>, AllocateError> {
    let ids: Vec<Uuid> = requests.iter().filter_map(|request| request.port_id).collect();
    rows::lock(tx, Resource::Port, &ids).await?;
    let mut given = HashMap::new();
    for id in ids {
        let port = ports::visible(tx, context, id).await.map_err(|error| match error {
            NetworkError::Refused { .. } => ClientError::not_found("port", id).into(),
            error => AllocateError::from(error),
        })?;
        if !port.row.device_id.is_empty() && port.row.device_id != server.uuid {
            return Err(ClientError::Conflict(format!("Port {id} is still in use.")).into());
        }
        given.insert(id, port);
    }
    Ok(given)
}

/// The networks of the request, locked: nobody else chooses addresses on them until the transaction ends.
async fn load_networks(
    tx: &Transaction,
    requests: &[PortRequest],
    given: &HashMap<Uuid, rows::Port>,
) -> Result<Networks, DbError> {
    let mut ids: Vec<Uuid> = requests.iter().filter_map(|request| request.network_id).collect();
    ids.extend(given.values().map(|port| port.row.network_id));
    ids.sort_unstable();
    ids.dedup();
    rows::lock(tx, Resource::Network, &ids).await?;
    let found = networks::get_many(tx, &ids).await?;
    let subnets = subnets::list_by_networks(tx, &ids).await?;
    Ok(Networks {
        networks: found.into_iter().map(|network| (network.id, network)).collect(),
        subnets: subnets_by_network(subnets),
    })
}

fn subnets_by_network(subnets: Vec<SubnetRow>) -> HashMap<Uuid, Vec<SubnetRow>> {
    let mut by_network: HashMap<Uuid, Vec<SubnetRow>> = HashMap::new();
    for subnet in subnets {
        by_network.entry(subnet.network_id).or_default().push(subnet);
    }
    by_network
}

/// The network of a request, if the caller may attach servers to it.
fn usable_network<'a>(
    context: &RequestContext,
    known: &'a Networks,
    request: &PortRequest,
) -> Result<&'a NetworkRow, ClientError> {
    let Some(id) = request.network_id else {
        return Err(ClientError::BadRequest("Either a network or a port must be requested.".to_owned()));
    };
    let network = known.networks.get(&id);
    let visible = network.filter(|row| owns(context, &row.project_id) || row.is_shared || row.is_external);
    let network = visible.ok_or_else(|| ClientError::not_found("network", id))?;
    if !owns(context, &network.project_id) && !network.is_shared {
        let text = format!("It is not allowed to create an interface on external network {id}");
        return Err(ClientError::Forbidden(text));
    }
    Ok(network)
}

/// Whether a port that the server has is what an earlier try made for the request.
fn is_again(port: &rows::Port, network: &NetworkRow, request: &PortRequest, known: &Networks) -> bool {
    let has_wanted = |wanted: &String| fixed_ip_texts(port, known).any(|address| address == *wanted);
    port.row.is_made_for_server && port.row.network_id == network.id && request.fixed_ip.as_ref().is_none_or(has_wanted)
}

fn fixed_ip_texts<'a>(port: &'a rows::Port, known: &'a Networks) -> impl Iterator<Item = String> + 'a {
    let subnets = known.subnets.get(&port.row.network_id).map(Vec::as_slice).unwrap_or_default();
    port.fixed_ips.iter().filter_map(|fixed_ip| {
        let subnet = subnets.iter().find(|subnet| subnet.id == fixed_ip.subnet_id)?;
        Some(addressing::text(subnet.ip_version, fixed_ip.address))
    })
}

/// The groups of a new port: those asked for, which must be the project's, or its default one.
async fn port_groups(
    tx: &Transaction,
    server: &Server<'_>,
    network: &NetworkRow,
    request: &PortRequest,
) -> Result<Vec<Uuid>, AllocateError> {
    if !network.port_security_enabled {
        return Ok(Vec::new());
    }
    let mut ids = request.security_group_ids.clone();
    if ids.is_empty() {
        return Ok(vec![security_groups::ensure_default(tx, server.project_id).await?.id]);
    }
    ids.sort_unstable();
    ids.dedup();
    let found = groups::get_many(tx, &ids).await?;
    let is_usable = |id: &Uuid| found.iter().any(|group| group.id == *id && group.project_id == server.project_id);
    match ids.iter().find(|id| !is_usable(id)) {
        Some(missing) => Err(ClientError::not_found("security group", missing).into()),
        None => Ok(ids),
    }
}

/// Makes a port the server's.
async fn bind(tx: &Transaction, mut port: rows::Port, server: &Server<'_>) -> Result<rows::Port, DbError> {
    let before = port.row.clone();
    set_binding(&mut port.row, server);
    if port.row != before {
        touch(&mut port.row);
        port_rows::update(tx, &port.row).await?;
        trunks::follow(tx, &[port.row.id], server.host).await?;
    }
    Ok(port)
}

fn set_binding(row: &mut rows::PortRow, server: &Server<'_>) {
    row.device_id.clone_from(&server.uuid);
    row.device_owner = COMPUTE_OWNER.to_owned();
    row.binding_host_id = server.host.to_owned();
    row.status = "ACTIVE".to_owned();
}

fn touch(row: &mut rows::PortRow) {
    row.revision_number += 1;
    row.updated_at = utcnow();
}

fn vif(port: &rows::Port, known: &Networks) -> Result<Vif, ClientError> {
    let row = &port.row;
    let network =
        known.networks.get(&row.network_id).ok_or_else(|| ClientError::not_found("network", row.network_id))?;
    let subnets = known.subnets.get(&row.network_id).map(Vec::as_slice).unwrap_or_default();
    let with_address = |subnet: &&SubnetRow| port.fixed_ips.iter().any(|fixed_ip| fixed_ip.subnet_id == subnet.id);
    let meta = json!({"tenant_id": network.project_id, "mtu": network.mtu, "injected": false});
    Ok(Vif {
        id: row.id,
        address: row.mac_address.clone(),
        network: VifNetwork {
            id: network.id,
            bridge: None,
            label: network.name.clone(),
            subnets: subnets.iter().filter(with_address).map(|subnet| vif_subnet(port, subnet)).collect(),
            meta: as_map(meta),
        },
        vif_type: Some("user".to_owned()),
        details: Map::new(),
        devname: Some(format!("tap{}", &row.id.to_string()[..DEVICE_ID_DIGITS])),
        ovs_interfaceid: None,
        qbh_params: None,
        qbg_params: None,
        active: true,
        vnic_type: Some(row.binding_vnic_type.clone()),
        profile: row.binding_profile.0.clone(),
        preserve_on_delete: !row.is_made_for_server,
        delegate_create: true,
        meta: Map::new(),
    })
}

fn vif_subnet(port: &rows::Port, subnet: &SubnetRow) -> Subnet {
    let version = if subnet.ip_version == 4 { 4 } else { 6 };
    let ip = |address: &str, ip_type: &str| Ip {
        address: Some(address.to_owned()),
        ip_type: ip_type.to_owned(),
        version: Some(version),
        meta: Map::new(),
    };
    let own = port.fixed_ips.iter().filter(|fixed_ip| fixed_ip.subnet_id == subnet.id);
    let fixed_ip = |fixed_ip: &rows::FixedIp| FixedIp {
        address: addressing::text(subnet.ip_version, fixed_ip.address),
        ip_type: "fixed".to_owned(),
        version,
        meta: Map::new(),
        floating_ips: Vec::new(),
    };
    let route = |route: &rows::HostRoute| json!({"cidr": route.destination, "gateway": ip(&route.nexthop, "gateway"), "interface": null, "meta": {}});
    Subnet {
        cidr: subnet.cidr.clone(),
        dns: subnet.dns_nameservers.0.iter().map(|server| ip(server, "dns")).collect(),
        gateway: subnet.gateway_ip.as_deref().map(|gateway| ip(gateway, "gateway")),
        ips: own.map(fixed_ip).collect(),
        routes: subnet.host_routes.0.iter().map(route).collect(),
        version,
        meta: as_map(json!({"enable_dhcp": subnet.enable_dhcp})),
    }
}

fn as_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn failed(error: DbError) -> ClientError {
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(%error, cause, "the network service failed");
    ClientError::unavailable("network", error)
}

fn client_error(error: NetworkError) -> ClientError {
    match error {
        NetworkError::Database(error) => failed(error),
        NetworkError::Refused { status: StatusCode::CONFLICT, message, .. } => ClientError::Conflict(message),
        NetworkError::Refused { status: StatusCode::FORBIDDEN, message, .. } => ClientError::Forbidden(message),
        NetworkError::Refused { message, .. } => ClientError::BadRequest(message),
    }
}
