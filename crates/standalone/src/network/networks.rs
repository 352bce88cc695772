//! Networks.

use std::collections::HashMap;

use kilonova_core::RequestContext;
use kilonova_core::time::{isotime, utcnow};
use kilonova_db::network::{Connection, NetworkRow, Resource, Transaction, lock, networks, subnets};
use serde_json::{Value, json};
use uuid::Uuid;

use super::attributes::Attributes;
use super::error::NetworkError;
use super::routes::Kind;
use super::{ensure_owner, owns, visible_to};

/// Bytes; what QEMU's user-mode network and plain Ethernet carry.
const DEFAULT_MTU: i32 = 1500;

/// A network that the caller may see.
pub(super) async fn visible(
    connection: &impl Connection,
    context: &RequestContext,
    id: Uuid,
) -> Result<NetworkRow, NetworkError> {
    let row = networks::get(connection, id).await?;
    row.filter(|row| owns(context, &row.project_id) || row.is_shared || row.is_external)
        .ok_or_else(|| NetworkError::no_network(id))
}

pub(super) async fn list(connection: &impl Connection, context: &RequestContext) -> Result<Vec<Value>, NetworkError> {
    let rows = networks::list(connection, visible_to(context)).await?;
    Ok(views(connection, rows).await?)
}

pub(super) async fn show(
    connection: &impl Connection,
    context: &RequestContext,
    id: Uuid,
) -> Result<Value, NetworkError> {
    let row = visible(connection, context, id).await?;
    views(connection, vec![row]).await?.pop().ok_or_else(|| NetworkError::no_network(id))
}

pub(super) async fn create(
    tx: &Transaction,
    context: &RequestContext,
    attributes: &Attributes,
) -> Result<Uuid, NetworkError> {
    let project_id = attributes.project_id(Kind::Network, context)?;
    let now = utcnow();
    let row = NetworkRow {
        id: Uuid::new_v4(),
        project_id,
        description: attributes.text_or_empty("description"),
        revision_number: 1,
        created_at: now,
        updated_at: now,
        name: attributes.text_or_empty("name"),
        admin_state_up: attributes.boolean("admin_state_up").unwrap_or(true),
        is_shared: attributes.boolean("shared").unwrap_or(false),
        is_external: attributes.boolean("router:external").unwrap_or(false),
        is_default: attributes.boolean("is_default").unwrap_or(false),
        port_security_enabled: attributes.boolean("port_security_enabled").unwrap_or(true),
        mtu: attributes.integer("mtu").unwrap_or(DEFAULT_MTU),
    };
    ensure_only_default(tx, &row).await?;
    networks::insert(tx, &row).await?;
    Ok(row.id)
}

pub(super) async fn update(
    tx: &Transaction,
    context: &RequestContext,
    id: Uuid,
    attributes: &Attributes,
) -> Result<(), NetworkError> {
    lock(tx, Resource::Network, &[id]).await?;
    let mut row = visible(tx, context, id).await?;
    ensure_owner(context, &row.project_id, "update_network")?;
    row.revision_number += 1;
    row.updated_at = utcnow();
    if attributes.has("name") {
        row.name = attributes.text_or_empty("name");
    }
    if attributes.has("description") {
        row.description = attributes.text_or_empty("description");
    }
    row.admin_state_up = attributes.boolean("admin_state_up").unwrap_or(row.admin_state_up);
    row.is_shared = attributes.boolean("shared").unwrap_or(row.is_shared);
    row.is_external = attributes.boolean("router:external").unwrap_or(row.is_external);
    row.is_default = attributes.boolean("is_default").unwrap_or(row.is_default);
    ensure_only_default(tx, &row).await?;
    row.port_security_enabled = attributes.boolean("port_security_enabled").unwrap_or(row.port_security_enabled);
    row.mtu = attributes.integer("mtu").unwrap_or(row.mtu);
    Ok(networks::update(tx, &row).await?)
}

pub(super) async fn delete(tx: &Transaction, context: &RequestContext, id: Uuid) -> Result<(), NetworkError> {
    lock(tx, Resource::Network, &[id]).await?;
    let row = visible(tx, context, id).await?;
    ensure_owner(context, &row.project_id, "delete_network")?;
    if networks::has_ports(tx, id).await? {
        let text = format!(
            "Unable to complete operation on network {id}. There are one or more ports still in use on the network."
        );
        return Err(NetworkError::conflict("NetworkInUse", text));
    }
    Ok(networks::delete(tx, id).await?)
}

/// Of external networks, one may be the default.
async fn ensure_only_default(tx: &Transaction, row: &NetworkRow) -> Result<(), NetworkError> {
    if !row.is_default {
        return Ok(());
    }
    if !row.is_external {
        return Err(NetworkError::invalid_input("is_default is for external networks only"));
    }
    match networks::get_default(tx).await?.filter(|other| other.id != row.id) {
        Some(other) => {
            let text = format!("A default external network already exists: {}.", other.id);
            Err(NetworkError::conflict("DefaultExternalNetworkExists", text))
        }
        None => Ok(()),
    }
}

async fn views(connection: &impl Connection, rows: Vec<NetworkRow>) -> Result<Vec<Value>, kilonova_db::DbError> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let mut subnet_ids: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
    for subnet in subnets::list_by_networks(connection, &ids).await? {
        subnet_ids.entry(subnet.network_id).or_default().push(subnet.id);
    }
    Ok(rows.iter().map(|row| view(row, subnet_ids.remove(&row.id).unwrap_or_default())).collect())
}

fn view(row: &NetworkRow, subnet_ids: Vec<Uuid>) -> Value {
    let mut view = json!({
        "id": row.id,
        "name": row.name,
        "tenant_id": row.project_id,
        "project_id": row.project_id,
        "description": row.description,
        "admin_state_up": row.admin_state_up,
        "status": "ACTIVE",
        "shared": row.is_shared,
        "router:external": row.is_external,
        "port_security_enabled": row.port_security_enabled,
        "mtu": row.mtu,
        "subnets": subnet_ids,
        "availability_zones": [],
        "revision_number": row.revision_number,
        "created_at": isotime(row.created_at),
        "updated_at": isotime(row.updated_at),
    });
    if row.is_external {
        view["is_default"] = json!(row.is_default);
    }
    view
}
