//! Rows of the built-in network service. Who may see or change what, and which address a port gets, is decided by the
//! caller, inside one transaction from [`crate::Db::begin`]; the unique keys here are what makes it exact.

mod addresses;
pub mod auto_allocated;
mod entity;
pub mod floating_ips;
pub mod networks;
pub mod ports;
pub mod routers;
pub mod rules;
pub mod security_groups;
pub mod subnets;
pub mod trunks;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use uuid::Uuid;

use crate::DbError;
use crate::sql::lock_rows;

/// A transaction to write in, from [`crate::Db::begin`].
pub use crate::Transaction;
pub use addresses::{allocated_from, has_allocations, is_allocated};
pub use entity::auto_allocated_topology::Model as AutoAllocatedTopologyRow;
pub use entity::floating_ip::Model as FloatingIpRow;
pub use entity::network::Model as NetworkRow;
pub use entity::port::{Model as PortRow, Profile};
pub use entity::router::Model as RouterRow;
pub use entity::rule::Model as RuleRow;
pub use entity::security_group::Model as SecurityGroupRow;
pub use entity::subnet::{Addresses, AllocationPool, AllocationPools, HostRoute, HostRoutes, Model as SubnetRow};
pub use entity::trunk::Model as TrunkRow;
pub use entity::trunk_subport::Model as SubportRow;
pub use ports::{FixedIp, Port};
/// A place to read from: [`crate::Db::read`], or a transaction.
pub use sea_orm::ConnectionTrait as Connection;

/// Ids per `IN (…)`: below the number of variables that any of the databases takes.
const IDS_PER_QUERY: usize = 500;

/// An address as a number, for arithmetic.
pub fn address_to_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The address of that number in a family. Numbers above an IPv4 address's 32 bits are cut to them.
pub fn number_to_address(number: u128, is_ipv4: bool) -> IpAddr {
    if is_ipv4 { IpAddr::V4(Ipv4Addr::from(number as u32)) } else { IpAddr::V6(Ipv6Addr::from(number)) }
}

/// The resources, each with a row of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Networks.
    Network,
    /// Subnets.
    Subnet,
    /// Ports.
    Port,
    /// Security groups.
    SecurityGroup,
    /// Rules of security groups.
    Rule,
    /// Routers.
    Router,
    /// Floating addresses.
    FloatingIp,
    /// Trunks.
    Trunk,
}

/// Keeps others from changing these rows until the transaction ends: before a row is read that is then written, and of a
/// network before a free address on it is chosen.
pub async fn lock(tx: &Transaction, resource: Resource, ids: &[Uuid]) -> Result<(), DbError> {
    let table = match resource {
        Resource::Network => "networks",
        Resource::Subnet => "subnets",
        Resource::Port => "ports",
        Resource::SecurityGroup => "security_groups",
        Resource::Rule => "security_group_rules",
        Resource::Router => "routers",
        Resource::FloatingIp => "floating_ips",
        Resource::Trunk => "trunks",
    };
    Ok(lock_rows(tx, table, "id", ids.iter().map(|id| (*id).into()).collect()).await?)
}
