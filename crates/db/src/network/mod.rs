//! Rows of the built-in network service. Who may see or change what, and which address a port gets, is decided by the
//! caller, inside one transaction from [`crate::Db::begin`]; the unique keys here are what makes it exact.

mod addresses;
mod entity;
pub mod networks;
pub mod ports;
pub mod rules;
pub mod security_groups;
pub mod subnets;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use addresses::{allocated_from, has_allocations, is_allocated};
pub use entity::network::Model as NetworkRow;
pub use entity::port::{Model as PortRow, Profile};
pub use entity::rule::Model as RuleRow;
pub use entity::security_group::Model as SecurityGroupRow;
pub use entity::subnet::{Addresses, AllocationPool, AllocationPools, HostRoute, HostRoutes, Model as SubnetRow};
pub use ports::{FixedIp, Port};
/// A place to read from: [`crate::Db::read`], or a transaction.
pub use sea_orm::ConnectionTrait as Connection;
/// A transaction to write in, from [`crate::Db::begin`].
pub use sea_orm::DatabaseTransaction as Transaction;

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
