//! Ports with their addresses and security groups.

use std::collections::HashMap;

use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, Select,
};
use uuid::Uuid;

use super::entity::port::{Column, Entity, Model};
use super::entity::{ip_allocation, port_security_group};
use super::{IDS_PER_QUERY, addresses};
use crate::{DbError, Transaction};

/// An address that a port has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedIp {
    /// Its subnet.
    pub subnet_id: Uuid,
    /// The address as a number; the subnet knows the family.
    pub address: u128,
}

/// A port with what belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// The port itself.
    pub row: Model,
    /// Its addresses.
    pub fixed_ips: Vec<FixedIp>,
    /// Ids of its security groups.
    pub security_groups: Vec<Uuid>,
}

/// Adds a port. [`DbError::Exists`] for a MAC address or a fixed address that is taken, [`DbError::Overtaken`] if a
/// security group is gone.
pub async fn insert(connection: &impl ConnectionTrait, port: &Port) -> Result<(), DbError> {
    let inserted = Entity::insert(port.row.clone().into_active_model()).exec_without_returning(connection).await;
    inserted.map_err(|error| taken(error, "mac address", &port.row.mac_address))?;
    insert_addresses(connection, port).await?;
    insert_security_groups(connection, port).await
}

async fn insert_addresses(connection: &impl ConnectionTrait, port: &Port) -> Result<(), DbError> {
    for (position, fixed_ip) in (0..).zip(&port.fixed_ips) {
        let row = ip_allocation::Model {
            subnet_id: fixed_ip.subnet_id,
            address: addresses::key(fixed_ip.address),
            port_id: port.row.id,
            position,
        };
        let inserted =
            ip_allocation::Entity::insert(row.clone().into_active_model()).exec_without_returning(connection).await;
        inserted.map_err(|error| taken(error, "ip address", &row.address))?;
    }
    Ok(())
}

async fn insert_security_groups(connection: &impl ConnectionTrait, port: &Port) -> Result<(), DbError> {
    let rows = port.security_groups.iter().map(|group| {
        port_security_group::Model { port_id: port.row.id, security_group_id: *group }.into_active_model()
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        let inserted = port_security_group::Entity::insert_many(rows).exec_without_returning(connection).await;
        inserted.map_err(DbError::overtaken_or)?;
    }
    Ok(())
}

fn taken(error: sea_orm::DbErr, resource: &'static str, id: &str) -> DbError {
    if DbError::is_unique_violation(&error) { DbError::exists(resource, id) } else { error.into() }
}

/// One port, whoever asks.
pub async fn get(connection: &impl ConnectionTrait, id: Uuid) -> Result<Option<Port>, DbError> {
    let rows = Entity::find_by_id(id).all(connection).await?;
    Ok(complete(connection, rows).await?.pop())
}

/// Which ports to list. What is absent does not restrict.
#[derive(Clone, Debug, Default)]
pub struct PortFilter<'a> {
    /// With one of these ids.
    pub ids: Option<Vec<Uuid>>,
    /// Of this project.
    pub project_id: Option<&'a str>,
    /// Of one of these servers.
    pub device_ids: Option<Vec<&'a str>>,
    /// On one of these networks.
    pub network_ids: Option<Vec<Uuid>>,
}

/// Ports; oldest first.
pub async fn list(connection: &impl ConnectionTrait, filter: PortFilter<'_>) -> Result<Vec<Port>, DbError> {
    let rows = query(filter).all(connection).await?;
    complete(connection, rows).await
}

/// The same, and nobody else changes them until the transaction ends.
pub async fn list_locked(tx: &Transaction, filter: PortFilter<'_>) -> Result<Vec<Port>, DbError> {
    let rows = query(filter).lock_exclusive().all(tx).await?;
    complete(tx, rows).await
}

fn query(filter: PortFilter<'_>) -> Select<Entity> {
    let mut query = Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::Id);
    if let Some(ids) = filter.ids {
        query = query.filter(Column::Id.is_in(ids));
    }
    if let Some(project_id) = filter.project_id {
        query = query.filter(Column::ProjectId.eq(project_id));
    }
    if let Some(device_ids) = filter.device_ids {
        query = query.filter(Column::DeviceId.is_in(device_ids));
    }
    if let Some(network_ids) = filter.network_ids {
        query = query.filter(Column::NetworkId.is_in(network_ids));
    }
    query
}

/// Adds addresses and security groups to ports: two queries per [`IDS_PER_QUERY`] ports.
async fn complete(connection: &impl ConnectionTrait, rows: Vec<Model>) -> Result<Vec<Port>, DbError> {
    let mut fixed_ips: HashMap<Uuid, Vec<FixedIp>> = HashMap::new();
    let mut groups: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
    for chunk in rows.chunks(IDS_PER_QUERY) {
        let ids: Vec<Uuid> = chunk.iter().map(|row| row.id).collect();
        let query = ip_allocation::Entity::find().filter(ip_allocation::Column::PortId.is_in(ids.iter().copied()));
        for row in query.order_by_asc(ip_allocation::Column::Position).all(connection).await? {
            let address = addresses::number(row.subnet_id, &row.address)?;
            fixed_ips.entry(row.port_id).or_default().push(FixedIp { subnet_id: row.subnet_id, address });
        }
        let query = port_security_group::Entity::find().filter(port_security_group::Column::PortId.is_in(ids));
        for row in query.all(connection).await? {
            groups.entry(row.port_id).or_default().push(row.security_group_id);
        }
    }
    let complete = |row: Model| Port {
        fixed_ips: fixed_ips.remove(&row.id).unwrap_or_default(),
        security_groups: groups.remove(&row.id).unwrap_or_default(),
        row,
    };
    Ok(rows.into_iter().map(complete).collect())
}

/// Writes all columns of the port itself. [`DbError::Exists`] for a MAC address that is taken.
pub async fn update(connection: &impl ConnectionTrait, row: &Model) -> Result<(), DbError> {
    let updated = row.clone().into_active_model().reset_all().update(connection).await;
    updated.map_err(|error| taken(error, "mac address", &row.mac_address))?;
    Ok(())
}

/// Gives back the addresses of a port.
pub async fn release_addresses(connection: &impl ConnectionTrait, id: Uuid) -> Result<(), DbError> {
    let query = ip_allocation::Entity::delete_many().filter(ip_allocation::Column::PortId.eq(id));
    query.exec(connection).await?;
    Ok(())
}

/// Replaces addresses and security groups by what `port` has.
pub async fn replace_parts(connection: &impl ConnectionTrait, port: &Port) -> Result<(), DbError> {
    release_addresses(connection, port.row.id).await?;
    insert_addresses(connection, port).await?;
    let query = port_security_group::Entity::delete_many();
    query.filter(port_security_group::Column::PortId.eq(port.row.id)).exec(connection).await?;
    insert_security_groups(connection, port).await
}

/// Removes ports; their addresses are free again.
pub async fn delete(connection: &impl ConnectionTrait, ids: &[Uuid]) -> Result<(), DbError> {
    Entity::delete_many().filter(Column::Id.is_in(ids.iter().copied())).exec(connection).await?;
    Ok(())
}

/// Whether a port of a network has this MAC address.
pub async fn is_mac_taken(
    connection: &impl ConnectionTrait,
    network_id: Uuid,
    mac_address: &str,
) -> Result<bool, DbError> {
    let query = Entity::find().filter(Column::NetworkId.eq(network_id)).filter(Column::MacAddress.eq(mac_address));
    Ok(query.one(connection).await?.is_some())
}

/// Every device of a kind of owner (`compute:`) that has ports, each once.
pub async fn list_devices(connection: &impl ConnectionTrait, owner_prefix: &str) -> Result<Vec<String>, DbError> {
    let query = Entity::find().select_only().column(Column::DeviceId).distinct();
    let query = query.filter(Column::DeviceOwner.starts_with(owner_prefix)).filter(Column::DeviceId.ne(""));
    Ok(query.into_tuple().all(connection).await?)
}
