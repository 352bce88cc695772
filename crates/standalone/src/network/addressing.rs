//! Which addresses a port gets.
//!
//! The search for a free one begins behind the last that was given, so that a burst of a thousand ports looks at each
//! address once, and an address that was just given back rests for a while.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::PoisonError;

use ipnet::IpNet;
use kilonova_db::DbError;
use kilonova_db::network::{
    self as rows, FixedIp, NetworkRow, SubnetRow, Transaction, address_to_number, number_to_address,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::BuiltinNetwork;
use super::attributes::plain;
use super::error::NetworkError;

/// Taken addresses that are read at a time.
const BATCH: u64 = 256;

/// An address that a user wants: a certain one, or any of a certain subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WantedIp {
    pub(super) subnet_id: Option<Uuid>,
    pub(super) address: Option<IpAddr>,
}

/// Parses `fixed_ips` of a request.
pub(super) fn parse_wanted(items: &[Value]) -> Result<Vec<WantedIp>, NetworkError> {
    let invalid = |reason: String| NetworkError::invalid_attribute("fixed_ips", reason);
    let parse = |item: &Value| {
        let mut wanted = WantedIp { subnet_id: None, address: None };
        for (key, value) in item.as_object().into_iter().flatten() {
            let text = value.as_str().unwrap_or_default();
            match key.as_str() {
                "subnet_id" => {
                    let id = text.parse().map_err(|_| invalid(format!("'{}' is not a valid UUID", plain(value))))?;
                    wanted.subnet_id = Some(id);
                }
                "ip_address" => {
                    let address = text.parse();
                    let address =
                        address.map_err(|_| invalid(format!("'{}' is not a valid IP address", plain(value))))?;
                    wanted.address = Some(address);
                }
                other => return Err(invalid(format!("Unexpected keys supplied: {other}"))),
            }
        }
        if wanted.subnet_id.is_none() && wanted.address.is_none() {
            return Err(NetworkError::invalid_input("IP allocation requires subnet_id or ip_address"));
        }
        Ok(wanted)
    };
    items.iter().map(parse).collect()
}

impl BuiltinNetwork {
    /// Addresses for a port without wishes: one of each family that the network has.
    pub(super) async fn choose_any(
        &self,
        tx: &Transaction,
        network: &NetworkRow,
        subnets: &[SubnetRow],
        mac_address: &str,
    ) -> Result<Vec<FixedIp>, NetworkError> {
        let mut chosen = Vec::new();
        for version in [4, 6] {
            let candidates: Vec<&SubnetRow> = subnets.iter().filter(|subnet| subnet.ip_version == version).collect();
            if candidates.is_empty() {
                continue;
            }
            let mut found = None;
            for subnet in candidates {
                found = self.next_free(tx, subnet, mac_address, &chosen).await?;
                if found.is_some() {
                    break;
                }
            }
            chosen.push(found.ok_or_else(|| exhausted(network.id))?);
        }
        Ok(chosen)
    }

    /// The addresses that were wished for. `held` are the port's own, given back already in this transaction: they are
    /// kept where the wish allows it.
    pub(super) async fn choose_wanted(
        &self,
        tx: &Transaction,
        network: &NetworkRow,
        subnets: &[SubnetRow],
        mac_address: &str,
        wanted: &[WantedIp],
        held: &[FixedIp],
    ) -> Result<Vec<FixedIp>, NetworkError> {
        let mut chosen: Vec<FixedIp> = Vec::new();
        for wish in wanted {
            let subnet = find_subnet(network, subnets, wish)?;
            let fixed_ip = match wish.address {
                Some(address) => self.certain(tx, subnet, address, &chosen).await?,
                None => match kept(subnet.id, wanted, held, &chosen) {
                    Some(kept) => kept,
                    None => {
                        let found = self.next_free(tx, subnet, mac_address, &chosen).await?;
                        found.ok_or_else(|| exhausted(network.id))?
                    }
                },
            };
            chosen.push(fixed_ip);
        }
        Ok(chosen)
    }

    async fn certain(
        &self,
        tx: &Transaction,
        subnet: &SubnetRow,
        address: IpAddr,
        chosen: &[FixedIp],
    ) -> Result<FixedIp, NetworkError> {
        let fixed_ip = FixedIp { subnet_id: subnet.id, address: address_to_number(address) };
        if chosen.contains(&fixed_ip) || rows::is_allocated(tx, subnet.id, fixed_ip.address).await? {
            return Err(NetworkError::conflict(
                "IpAddressAlreadyAllocated",
                format!("IP address {address} already allocated in subnet {}.", subnet.id),
            ));
        }
        Ok(fixed_ip)
    }

    /// A free address of the subnet's pools; none if there is none left.
    async fn next_free(
        &self,
        tx: &Transaction,
        subnet: &SubnetRow,
        mac_address: &str,
        chosen: &[FixedIp],
    ) -> Result<Option<FixedIp>, NetworkError> {
        if is_autoconfigured(subnet) {
            return Ok(autoconfigured(subnet, mac_address)?.map(|address| FixedIp { subnet_id: subnet.id, address }));
        }
        let pools = pools(subnet)?;
        let cursor = self.cursors.lock().unwrap_or_else(PoisonError::into_inner).get(&subnet.id).copied().unwrap_or(0);
        let behind = pools.iter().map(|(first, last)| ((*first).max(cursor), *last));
        let before = pools.iter().map(|(first, last)| (*first, (*last).min(cursor.saturating_sub(1))));
        let ranges: Vec<(u128, u128)> = behind.chain(before).collect();
        for (first, last) in ranges {
            if let Some(address) = first_gap(tx, subnet.id, first, last, chosen).await? {
                self.cursors.lock().unwrap_or_else(PoisonError::into_inner).insert(subnet.id, address + 1);
                return Ok(Some(FixedIp { subnet_id: subnet.id, address }));
            }
        }
        Ok(None)
    }
}

/// An address of the subnet that the port has, and that no wish names.
fn kept(subnet_id: Uuid, wanted: &[WantedIp], held: &[FixedIp], chosen: &[FixedIp]) -> Option<FixedIp> {
    let is_named = |address: u128| wanted.iter().any(|wish| wish.address.map(address_to_number) == Some(address));
    let is_kept = |fixed_ip: &&FixedIp| {
        fixed_ip.subnet_id == subnet_id && !chosen.contains(fixed_ip) && !is_named(fixed_ip.address)
    };
    held.iter().find(is_kept).copied()
}

/// The lowest address in `first..=last` that is neither allocated nor chosen in this request already.
async fn first_gap(
    tx: &Transaction,
    subnet_id: Uuid,
    first: u128,
    last: u128,
    chosen: &[FixedIp],
) -> Result<Option<u128>, DbError> {
    let mut candidate = first;
    while candidate <= last {
        let taken = rows::allocated_from(tx, subnet_id, candidate, last, BATCH).await?;
        let is_last_batch = (taken.len() as u64) < BATCH;
        let mut taken = taken.into_iter().peekable();
        let behind_batch = if is_last_batch { last } else { candidate.saturating_add(u128::from(BATCH) - 1) };
        while candidate <= behind_batch.min(last) {
            if taken.peek() == Some(&candidate) {
                taken.next();
            } else if !chosen.contains(&FixedIp { subnet_id, address: candidate }) {
                return Ok(Some(candidate));
            }
            candidate += 1;
        }
    }
    Ok(None)
}

fn exhausted(network_id: Uuid) -> NetworkError {
    NetworkError::conflict(
        "IpAddressGenerationFailure",
        format!("No more IP addresses available on network {network_id}."),
    )
}

fn find_subnet<'a>(
    network: &NetworkRow,
    subnets: &'a [SubnetRow],
    wish: &WantedIp,
) -> Result<&'a SubnetRow, NetworkError> {
    let Some(subnet_id) = wish.subnet_id else {
        let address = wish.address.map(|address| address.to_string()).unwrap_or_default();
        let holds = |subnet: &&SubnetRow| wish.address.is_some_and(|address| is_host(subnet, address));
        return subnets.iter().find(holds).ok_or_else(|| {
            let text =
                format!("IP address {address} is not a valid IP for any of the subnets on the specified network.");
            NetworkError::bad("InvalidIpForNetwork", text)
        });
    };
    let subnet = subnets.iter().find(|subnet| subnet.id == subnet_id).ok_or_else(|| {
        NetworkError::invalid_input(format!(
            "Failed to create port on network {}, because fixed_ips included invalid subnet {subnet_id}",
            network.id
        ))
    })?;
    match wish.address {
        Some(address) if !is_host(subnet, address) => {
            let text = format!("IP address {address} is not a valid IP for the specified subnet.");
            Err(NetworkError::bad("InvalidIpForSubnet", text))
        }
        _ => Ok(subnet),
    }
}

/// Whether a guest can have the address: in the subnet, and neither its first nor its broadcast address.
pub(super) fn is_host(subnet: &SubnetRow, address: IpAddr) -> bool {
    subnet.cidr.parse::<IpNet>().is_ok_and(|cidr| is_host_of(cidr, address))
}

pub(super) fn is_host_of(cidr: IpNet, address: IpAddr) -> bool {
    if !cidr.contains(&address) {
        return false;
    }
    let is_small = cidr.max_prefix_len() - cidr.prefix_len() < 2;
    is_small || (address != cidr.network() && (cidr.addr().is_ipv6() || address != cidr.broadcast()))
}

fn pools(subnet: &SubnetRow) -> Result<Vec<(u128, u128)>, DbError> {
    let number = |text: &str| {
        let address: Result<IpAddr, _> = text.parse();
        address.map(address_to_number).map_err(|error| DbError::corrupt("subnet", subnet.id, error))
    };
    subnet.allocation_pools.0.iter().map(|pool| Ok((number(&pool.start)?, number(&pool.end)?))).collect()
}

/// Guests make their address themselves, from the prefix and their MAC address.
fn is_autoconfigured(subnet: &SubnetRow) -> bool {
    matches!(subnet.ipv6_address_mode.as_deref(), Some("slaac" | "dhcpv6-stateless"))
}

/// RFC 4291, appendix A; none in a subnet that is no /64.
fn autoconfigured(subnet: &SubnetRow, mac_address: &str) -> Result<Option<u128>, DbError> {
    let cidr: IpNet = subnet.cidr.parse().map_err(|error| DbError::corrupt("subnet", subnet.id, error))?;
    let octets: Vec<u8> = mac_address.split(':').filter_map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
    let (64, [a, b, c, d, e, f]) = (cidr.prefix_len(), octets.as_slice()) else { return Ok(None) };
    let interface = u64::from_be_bytes([a ^ 2, *b, *c, 0xff, 0xfe, *d, *e, *f]);
    Ok(Some(address_to_number(cidr.network()) | u128::from(interface)))
}

/// An address of a subnet as text.
pub(super) fn text(subnet_version: i32, address: u128) -> String {
    number_to_address(address, subnet_version == 4).to_string()
}

/// Addresses as bodies have them; `versions` are those of the subnets.
pub(super) fn views(fixed_ips: &[FixedIp], versions: &HashMap<Uuid, i32>) -> Vec<Value> {
    let view = |fixed_ip: &FixedIp| {
        let version = versions.get(&fixed_ip.subnet_id).copied().unwrap_or(4);
        json!({"subnet_id": fixed_ip.subnet_id, "ip_address": text(version, fixed_ip.address)})
    };
    fixed_ips.iter().map(view).collect()
}

/// A MAC address in OpenStack's own range.
pub(super) fn random_mac() -> String {
    let [a, b, c, ..] = Uuid::new_v4().into_bytes();
    format!("fa:16:3e:{a:02x}:{b:02x}:{c:02x}")
}

/// Six octets with colons, lower case; a unicast address.
pub(super) fn parse_mac(text: &str) -> Option<String> {
    let octets: Vec<&str> = text.split([':', '-']).collect();
    let is_octet = |octet: &&str| octet.len() == 2 && octet.bytes().all(|digit| digit.is_ascii_hexdigit());
    let is_unicast = u8::from_str_radix(octets.first()?, 16).is_ok_and(|first| first & 1 == 0);
    (octets.len() == 6 && octets.iter().all(is_octet) && is_unicast).then(|| octets.join(":").to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unicast_macs_of_six_octets_are_taken() {
        assert_eq!(parse_mac("FA-16-3E-00-00-01").as_deref(), Some("fa:16:3e:00:00:01"));
        for wrong in
            ["", "fa:16:3e", "fa:16:3e:00:00:0g", "01:00:5e:00:00:01", "fa:16:3e:0:00:01", "fa:16:3e:00:00:01:02"]
        {
            assert_eq!(parse_mac(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_ends_of_a_subnet_are_no_hosts() {
        let is_host = |cidr: &str, address: &str| is_host_of(cidr.parse().unwrap(), address.parse().unwrap());
        assert!(is_host("10.0.0.0/24", "10.0.0.1"));
        assert!(!is_host("10.0.0.0/24", "10.0.0.0"));
        assert!(!is_host("10.0.0.0/24", "10.0.0.255"));
        assert!(!is_host("10.0.0.0/24", "10.0.1.1"));
        assert!(is_host("10.0.0.0/31", "10.0.0.1"));
        assert!(!is_host("fd00::/64", "fd00::"));
        assert!(is_host("fd00::/64", "fd00::ffff:ffff:ffff:ffff"));
    }
}
