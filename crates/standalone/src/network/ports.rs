//! Ports.

use std::collections::HashMap;

use kilonova_core::RequestContext;
use kilonova_core::time::{isotime, utcnow};
use kilonova_db::DbError;
use kilonova_db::network::ports::PortFilter;
use kilonova_db::network::{
    Connection, NetworkRow, Port, PortRow, Profile, Resource, SubnetRow, Transaction, lock, ports,
    security_groups as groups, subnets,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::addressing::{self, WantedIp, parse_mac, parse_wanted, random_mac};
use super::attributes::Attributes;
use super::error::NetworkError;
use super::listing::values;
use super::routes::Kind;
use super::{BuiltinNetwork, ensure_owner, owns, security_groups, trunks, visible_to};
use crate::web::can_write;

/// What a port is of when a server has it.
pub(super) const COMPUTE_OWNER: &str = "compute:nova";

/// Ports that come and go with something else.
const MANAGED_OWNERS: [&str; 3] = ["network:router_interface", "network:router_gateway", "network:floatingip"];

/// A port that the caller may see.
pub(super) async fn visible(
    connection: &impl Connection,
    context: &RequestContext,
    id: Uuid,
) -> Result<Port, NetworkError> {
    let port = ports::get(connection, id).await?;
    port.filter(|port| owns(context, &port.row.project_id)).ok_or_else(|| NetworkError::no_port(id))
}

/// The parameters that choose most are left to the database.
pub(super) async fn list(
    connection: &impl Connection,
    context: &RequestContext,
    pairs: &[(String, String)],
) -> Result<Vec<Value>, NetworkError> {
    let given = |key: &str| Some(values(pairs, key)).filter(|values| !values.is_empty());
    // What is no id matches nothing.
    let ids = |key: &str| Some(given(key)?.into_iter().filter_map(|id| id.parse().ok()).collect::<Vec<Uuid>>());
    let filter = PortFilter {
        ids: ids("id"),
        project_id: visible_to(context),
        device_ids: given("device_id"),
        network_ids: ids("network_id"),
    };
    views(connection, context, ports::list(connection, filter).await?).await
}

pub(super) async fn show(
    connection: &impl Connection,
    context: &RequestContext,
    id: Uuid,
) -> Result<Value, NetworkError> {
    let port = visible(connection, context, id).await?;
    views(connection, context, vec![port]).await?.pop().ok_or_else(|| NetworkError::no_port(id))
}

/// A port to be made.
pub(super) struct NewPort<'a> {
    pub(super) network: &'a NetworkRow,
    pub(super) subnets: &'a [SubnetRow],
    /// None: one of each family.
    pub(super) fixed_ips: Option<Vec<WantedIp>>,
    pub(super) mac_address: Option<String>,
    pub(super) security_groups: Vec<Uuid>,
    /// With the id, MAC address and times still to be set.
    pub(super) row: PortRow,
}

impl BuiltinNetwork {
    pub(super) async fn create_port(
        &self,
        tx: &Transaction,
        context: &RequestContext,
        attributes: &Attributes,
    ) -> Result<Uuid, NetworkError> {
        let project_id = attributes.project_id(Kind::Port, context)?;
        attributes.required("network_id")?;
        let network_id = attributes.id("network_id").unwrap_or_default();
        lock(tx, Resource::Network, &[network_id]).await?;
        let network = super::networks::visible(tx, context, network_id).await?;
        if !owns(context, &network.project_id) && !network.is_shared {
            return Err(NetworkError::forbidden("create_port"));
        }
        let mut row = blank_row(network_id, &project_id);
        row.port_security_enabled = network.port_security_enabled;
        set_plain(&mut row, context, &network, attributes, "create_port")?;
        let security_groups = wanted_groups(tx, context, &row, attributes).await?;
        let security_groups = match security_groups {
            Some(groups) => groups,
            None if row.port_security_enabled => vec![security_groups::ensure_default(tx, &project_id).await?.id],
            None => Vec::new(),
        };
        let mac_address = attributes.text("mac_address").map(|text| {
            let invalid =
                || NetworkError::invalid_attribute("mac_address", format!("'{text}' is not a valid MAC address"));
            parse_mac(text).ok_or_else(invalid)
        });
        let fixed_ips = attributes.list("fixed_ips").map(parse_wanted).transpose()?;
        let subnets = subnets::list_by_networks(tx, &[network_id]).await?;
        let new = NewPort {
            network: &network,
            subnets: &subnets,
            fixed_ips,
            mac_address: mac_address.transpose()?,
            security_groups,
            row,
        };
        Ok(self.make_port(tx, new).await?.row.id)
    }

    /// Chooses MAC address and fixed addresses, and adds the port. The caller has locked the network, so that nobody else
    /// chooses the same.
    pub(super) async fn make_port(&self, tx: &Transaction, new: NewPort<'_>) -> Result<Port, NetworkError> {
        let NewPort { network, subnets, fixed_ips, mac_address, security_groups, mut row } = new;
        row.mac_address = match mac_address {
            Some(mac) if ports::is_mac_taken(tx, network.id, &mac).await? => {
                return Err(NetworkError::mac_in_use(network.id, &mac));
            }
            Some(mac) => mac,
            None => free_mac(tx, network.id).await?,
        };
        let fixed_ips = match fixed_ips {
            None => self.choose_any(tx, network, subnets, &row.mac_address).await?,
            Some(wanted) => self.choose_wanted(tx, network, subnets, &row.mac_address, &wanted, &[]).await?,
        };
        let port = Port { row, fixed_ips, security_groups };
        ports::insert(tx, &port).await?;
        Ok(port)
    }

    pub(super) async fn update_port(
        &self,
        tx: &Transaction,
        context: &RequestContext,
        id: Uuid,
        attributes: &Attributes,
    ) -> Result<(), NetworkError> {
        lock(tx, Resource::Port, &[id]).await?;
        let mut port = visible(tx, context, id).await?;
        ensure_owner(context, &port.row.project_id, "update_port")?;
        let network_id = port.row.network_id;
        let network = kilonova_db::network::networks::get(tx, network_id).await?;
        let network = network.ok_or_else(|| NetworkError::no_network(network_id))?;
        set_plain(&mut port.row, context, &network, attributes, "update_port")?;
        port.row.revision_number += 1;
        port.row.updated_at = utcnow();
        if let Some(groups) = wanted_groups(tx, context, &port.row, attributes).await? {
            port.security_groups = groups;
        } else if !port.row.port_security_enabled && !port.security_groups.is_empty() {
            let text = "Port has security group associated. Cannot disable port security or IP address until security group is removed";
            return Err(NetworkError::conflict("PortSecurityPortHasSecurityGroup", text));
        }
        if let Some(wanted) = attributes.list("fixed_ips") {
            let wanted = parse_wanted(wanted)?;
            lock(tx, Resource::Network, &[network_id]).await?;
            let subnets = subnets::list_by_networks(tx, &[network_id]).await?;
            ports::release_addresses(tx, id).await?;
            let (mac, held) = (&port.row.mac_address, &port.fixed_ips);
            port.fixed_ips = self.choose_wanted(tx, &network, &subnets, mac, &wanted, held).await?;
        }
        ports::update(tx, &port.row).await?;
        if attributes.has("binding:host_id") {
            trunks::follow(tx, &[id], &port.row.binding_host_id).await?;
        }
        Ok(ports::replace_parts(tx, &port).await?)
    }
}

pub(super) async fn delete(tx: &Transaction, context: &RequestContext, id: Uuid) -> Result<(), NetworkError> {
    let port = visible(tx, context, id).await?;
    ensure_owner(context, &port.row.project_id, "delete_port")?;
    let owner = &port.row.device_owner;
    if MANAGED_OWNERS.contains(&owner.as_str()) {
        let text = format!("Port {id} cannot be deleted directly via the port API: has device owner {owner}.");
        return Err(NetworkError::conflict("ServicePortInUse", text));
    }
    trunks::ensure_in_none(tx, id).await?;
    Ok(ports::delete(tx, &[id]).await?)
}

/// A MAC address that no port of the network has.
async fn free_mac(tx: &Transaction, network_id: Uuid) -> Result<String, DbError> {
    loop {
        let mac = random_mac();
        if !ports::is_mac_taken(tx, network_id, &mac).await? {
            return Ok(mac);
        }
    }
}

/// A port that nobody has, with a new id.
pub(super) fn blank_row(network_id: Uuid, project_id: &str) -> PortRow {
    let now = utcnow();
    PortRow {
        id: Uuid::new_v4(),
        project_id: project_id.to_owned(),
        description: String::new(),
        revision_number: 1,
        created_at: now,
        updated_at: now,
        network_id,
        name: String::new(),
        mac_address: String::new(),
        admin_state_up: true,
        status: "DOWN".to_owned(),
        device_id: String::new(),
        device_owner: String::new(),
        port_security_enabled: true,
        binding_host_id: String::new(),
        binding_vnic_type: "normal".to_owned(),
        binding_profile: Profile::default(),
        is_made_for_server: false,
    }
}

/// What needs no look at other rows.
fn set_plain(
    row: &mut PortRow,
    context: &RequestContext,
    network: &NetworkRow,
    attributes: &Attributes,
    rule: &str,
) -> Result<(), NetworkError> {
    let fields = [
        ("name", &mut row.name),
        ("description", &mut row.description),
        ("device_id", &mut row.device_id),
        ("device_owner", &mut row.device_owner),
        ("binding:host_id", &mut row.binding_host_id),
    ];
    for (name, field) in fields {
        if attributes.has(name) {
            *field = attributes.text_or_empty(name);
        }
    }
    if attributes.has("binding:host_id") {
        // No agent on the host has anything to do for a port: what is bound works.
        row.status = if row.binding_host_id.is_empty() { "DOWN" } else { "ACTIVE" }.to_owned();
    }
    if row.device_owner.starts_with("network:") && !owns(context, &network.project_id) {
        return Err(NetworkError::forbidden(&format!("{rule}:device_owner")));
    }
    row.admin_state_up = attributes.boolean("admin_state_up").unwrap_or(row.admin_state_up);
    if let Some(wanted) =
        attributes.boolean("port_security_enabled").filter(|wanted| *wanted != row.port_security_enabled)
    {
        if !owns(context, &network.project_id) || !can_write(context) {
            return Err(NetworkError::forbidden(&format!("{rule}:port_security_enabled")));
        }
        row.port_security_enabled = wanted;
    }
    if let Some(profile) = attributes.object("binding:profile") {
        row.binding_profile = Profile(profile.clone());
    }
    match attributes.text("binding:vnic_type") {
        None => {}
        Some("normal") => row.binding_vnic_type = "normal".to_owned(),
        Some(other) => {
            let reason = format!("'{other}' is not supported here, only 'normal' is");
            return Err(NetworkError::invalid_attribute("binding:vnic_type", reason));
        }
    }
    Ok(())
}

/// The security groups that a request names, each once; none if it names none.
async fn wanted_groups(
    tx: &Transaction,
    context: &RequestContext,
    row: &PortRow,
    attributes: &Attributes,
) -> Result<Option<Vec<Uuid>>, NetworkError> {
    let Some(mut ids) = attributes.ids("security_groups") else { return Ok(None) };
    let mut seen = std::collections::HashSet::new();
    ids.retain(|id| seen.insert(*id));
    let found = groups::get_many(tx, &ids).await?;
    let is_usable = |id: &Uuid| {
        found.iter().any(|group| group.id == *id && (context.is_admin || group.project_id == row.project_id))
    };
    if let Some(missing) = ids.iter().find(|id| !is_usable(id)) {
        return Err(NetworkError::no_security_group(missing));
    }
    if !ids.is_empty() && !row.port_security_enabled {
        let text = "Port security must be enabled and port must have an IP address in order to use security groups.";
        return Err(NetworkError::conflict("PortSecurityAndIPRequiredForSecurityGroups", text));
    }
    Ok(Some(ids))
}

async fn views(
    connection: &impl Connection,
    context: &RequestContext,
    ports: Vec<Port>,
) -> Result<Vec<Value>, NetworkError> {
    let mut network_ids: Vec<Uuid> = ports.iter().map(|port| port.row.network_id).collect();
    network_ids.sort_unstable();
    network_ids.dedup();
    let subnets = subnets::list_by_networks(connection, &network_ids).await?;
    let versions: HashMap<Uuid, i32> = subnets.iter().map(|subnet| (subnet.id, subnet.ip_version)).collect();
    let ids: Vec<Uuid> = ports.iter().map(|port| port.row.id).collect();
    let mut carried: HashMap<Uuid, Value> = trunks::details(connection, &ids).await?.into_iter().collect();
    let view = |port: &Port| {
        let mut view = view(context, port, &versions);
        if let Some(details) = carried.remove(&port.row.id) {
            view["trunk_details"] = details;
        }
        view
    };
    Ok(ports.iter().map(view).collect())
}

fn view(context: &RequestContext, port: &Port, versions: &HashMap<Uuid, i32>) -> Value {
    let row = &port.row;
    let mut view = json!({
        "id": row.id,
        "name": row.name,
        "tenant_id": row.project_id,
        "project_id": row.project_id,
        "description": row.description,
        "network_id": row.network_id,
        "mac_address": row.mac_address,
        "admin_state_up": row.admin_state_up,
        "status": row.status,
        "device_id": row.device_id,
        "device_owner": row.device_owner,
        "fixed_ips": addressing::views(&port.fixed_ips, versions),
        "security_groups": port.security_groups,
        "port_security_enabled": row.port_security_enabled,
        "binding:vnic_type": row.binding_vnic_type,
        "revision_number": row.revision_number,
        "created_at": isotime(row.created_at),
        "updated_at": isotime(row.updated_at),
    });
    if context.is_admin {
        view["binding:host_id"] = json!(row.binding_host_id);
        view["binding:profile"] = Value::Object(row.binding_profile.0.clone());
        view["binding:vif_type"] = json!(if row.binding_host_id.is_empty() { "unbound" } else { "user" });
        view["binding:vif_details"] = Value::Object(Map::new());
    }
    view
}
