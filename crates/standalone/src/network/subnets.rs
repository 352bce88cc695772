//! Subnets: ranges of addresses on a network, and the pools that ports get theirs from.

use std::net::IpAddr;

use ipnet::IpNet;
use kilonova_core::RequestContext;
use kilonova_core::time::{isotime, utcnow};
use kilonova_db::network::{
    self as rows, Addresses, AllocationPool, AllocationPools, Connection, HostRoute, HostRoutes, Resource, SubnetRow,
    Transaction, address_to_number, networks, number_to_address, subnets,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::addressing::is_host_of;
use super::attributes::{Attributes, plain};
use super::error::NetworkError;
use super::routes::Kind;
use super::{ensure_owner, owns, visible_to};

const IPV6_MODES: [&str; 3] = ["slaac", "dhcpv6-stateful", "dhcpv6-stateless"];

pub(super) async fn visible(
    connection: &impl Connection,
    context: &RequestContext,
    id: Uuid,
) -> Result<SubnetRow, NetworkError> {
    let row = subnets::get(connection, id).await?.ok_or_else(|| NetworkError::no_subnet(id))?;
    if owns(context, &row.project_id) {
        return Ok(row);
    }
    let network = networks::get(connection, row.network_id).await?;
    if network.is_some_and(|network| network.is_shared) { Ok(row) } else { Err(NetworkError::no_subnet(id)) }
}

pub(super) async fn list(connection: &impl Connection, context: &RequestContext) -> Result<Vec<Value>, NetworkError> {
    Ok(subnets::list(connection, visible_to(context)).await?.iter().map(view).collect())
}

pub(super) async fn show(
    connection: &impl Connection,
    context: &RequestContext,
    id: Uuid,
) -> Result<Value, NetworkError> {
    Ok(view(&visible(connection, context, id).await?))
}

pub(super) async fn create(
    tx: &Transaction,
    context: &RequestContext,
    attributes: &Attributes,
) -> Result<Uuid, NetworkError> {
    let project_id = attributes.project_id(Kind::Subnet, context)?;
    attributes.required("network_id")?;
    let network_id = attributes.id("network_id").unwrap_or_default();
    // No other subnet that might overlap comes between.
    rows::lock(tx, Resource::Network, &[network_id]).await?;
    let network = super::networks::visible(tx, context, network_id).await?;
    ensure_owner(context, &network.project_id, "create_subnet")?;
    let cidr = cidr(attributes)?;
    ensure_no_overlap(tx, network_id, cidr).await?;
    let gateway = gateway(attributes, cidr)?;
    let pools = match attributes.list("allocation_pools").filter(|pools| !pools.is_empty()) {
        Some(pools) => parse_pools(pools, cidr, gateway)?,
        None => default_pools(cidr, gateway),
    };
    let now = utcnow();
    let mut row = SubnetRow {
        id: Uuid::new_v4(),
        project_id,
        description: attributes.text_or_empty("description"),
        revision_number: 1,
        created_at: now,
        updated_at: now,
        network_id,
        name: attributes.text_or_empty("name"),
        ip_version: version(cidr),
        cidr: cidr.to_string(),
        gateway_ip: gateway.map(|gateway| gateway.to_string()),
        enable_dhcp: attributes.boolean("enable_dhcp").unwrap_or(true),
        dns_nameservers: Addresses::default(),
        host_routes: HostRoutes::default(),
        allocation_pools: pools,
        ipv6_address_mode: ipv6_mode(attributes, "ipv6_address_mode", cidr)?,
        ipv6_ra_mode: ipv6_mode(attributes, "ipv6_ra_mode", cidr)?,
    };
    set_lists(&mut row, attributes)?;
    subnets::insert(tx, &row).await?;
    Ok(row.id)
}

pub(super) async fn update(
    tx: &Transaction,
    context: &RequestContext,
    id: Uuid,
    attributes: &Attributes,
) -> Result<(), NetworkError> {
    rows::lock(tx, Resource::Subnet, &[id]).await?;
    let mut row = visible(tx, context, id).await?;
    ensure_owner(context, &row.project_id, "update_subnet")?;
    row.revision_number += 1;
    row.updated_at = utcnow();
    if attributes.has("name") {
        row.name = attributes.text_or_empty("name");
    }
    if attributes.has("description") {
        row.description = attributes.text_or_empty("description");
    }
    row.enable_dhcp = attributes.boolean("enable_dhcp").unwrap_or(row.enable_dhcp);
    set_lists(&mut row, attributes)?;
    set_gateway_and_pools(&mut row, attributes)?;
    Ok(subnets::update(tx, &row).await?)
}

fn set_gateway_and_pools(row: &mut SubnetRow, attributes: &Attributes) -> Result<(), NetworkError> {
    let cidr: IpNet = row.cidr.parse().map_err(|error| kilonova_db::DbError::corrupt("subnet", row.id, error))?;
    if attributes.has("gateway_ip") {
        row.gateway_ip = gateway(attributes, cidr)?.map(|gateway| gateway.to_string());
    }
    let gateway = row.gateway_ip.as_deref().and_then(|gateway| gateway.parse().ok());
    let pools = match attributes.list("allocation_pools") {
        Some(pools) => pools.to_vec(),
        None => row.allocation_pools.0.iter().map(|pool| json!({"start": pool.start, "end": pool.end})).collect(),
    };
    row.allocation_pools = parse_pools(&pools, cidr, gateway)?;
    Ok(())
}

pub(super) async fn delete(tx: &Transaction, context: &RequestContext, id: Uuid) -> Result<(), NetworkError> {
    let row = visible(tx, context, id).await?;
    ensure_owner(context, &row.project_id, "delete_subnet")?;
    // Nobody takes an address of it between the look and the end.
    rows::lock(tx, Resource::Network, &[row.network_id]).await?;
    if rows::has_allocations(tx, id).await? {
        let text = format!(
            "Unable to complete operation on subnet {id}: One or more ports have an IP allocation from this subnet."
        );
        return Err(NetworkError::conflict("SubnetInUse", text));
    }
    Ok(subnets::delete(tx, id).await?)
}

fn version(cidr: IpNet) -> i32 {
    if cidr.addr().is_ipv4() { 4 } else { 6 }
}

fn cidr(attributes: &Attributes) -> Result<IpNet, NetworkError> {
    let text = attributes.required("cidr")?;
    let invalid = |reason: String| NetworkError::invalid_attribute("cidr", reason);
    let parsed: IpNet = text.parse().map_err(|_| invalid(format!("'{text}' is not a valid IP subnet")))?;
    if parsed.trunc() != parsed {
        let recommended = parsed.trunc();
        return Err(invalid(format!("'{text}' isn't a recognized IP subnet cidr, '{recommended}' is recommended")));
    }
    if parsed.prefix_len() == 0 {
        return Err(NetworkError::invalid_input(format!(
            "Invalid CIDR {text}: 0 is not allowed as CIDR prefix length"
        )));
    }
    let missing =
        || NetworkError::bad_request("Failed to parse request. Required attribute 'ip_version' not specified");
    let ip_version = attributes.integer("ip_version").ok_or_else(missing)?;
    if !matches!(ip_version, 4 | 6) {
        return Err(NetworkError::invalid_attribute("ip_version", format!("'{ip_version}' is not in [4, 6]")));
    }
    if ip_version != version(parsed) {
        return Err(NetworkError::invalid_input(format!("cidr '{text}' does not match the ip_version '{ip_version}'")));
    }
    Ok(parsed)
}

async fn ensure_no_overlap(tx: &Transaction, network_id: Uuid, cidr: IpNet) -> Result<(), NetworkError> {
    for other in subnets::list_by_networks(tx, &[network_id]).await? {
        let overlaps = |other: IpNet| other.contains(&cidr) || cidr.contains(&other);
        if other.cidr.parse().is_ok_and(overlaps) {
            return Err(NetworkError::invalid_input(format!(
                "Requested subnet with cidr: {cidr} for network: {network_id} overlaps with another subnet"
            )));
        }
    }
    Ok(())
}

/// The one that was given; none if null was; else the first host.
fn gateway(attributes: &Attributes, cidr: IpNet) -> Result<Option<IpAddr>, NetworkError> {
    if !attributes.has("gateway_ip") {
        let first = address_to_number(cidr.network()) + 1;
        let address = number_to_address(first, cidr.addr().is_ipv4());
        return Ok(is_host_of(cidr, address).then_some(address));
    }
    let Some(text) = attributes.text("gateway_ip") else { return Ok(None) };
    let not_an_address =
        || NetworkError::invalid_attribute("gateway_ip", format!("'{text}' is not a valid IP address"));
    let address: IpAddr = text.parse().map_err(|_| not_an_address())?;
    if is_host_of(cidr, address) {
        return Ok(Some(address));
    }
    Err(NetworkError::invalid_input(format!("Gateway {address} is not valid on subnet {cidr}")))
}

/// Every host but the gateway.
fn default_pools(cidr: IpNet, gateway: Option<IpAddr>) -> AllocationPools {
    let is_ipv4 = cidr.addr().is_ipv4();
    let (network, broadcast) = (address_to_number(cidr.network()), address_to_number(cidr.broadcast()));
    let is_small = cidr.max_prefix_len() - cidr.prefix_len() < 2;
    let first = if is_small { network } else { network + 1 };
    let last = if is_small || !is_ipv4 { broadcast } else { broadcast - 1 };
    let ranges = match gateway.map(address_to_number) {
        Some(gateway) => vec![(first, gateway.saturating_sub(1)), (gateway.saturating_add(1), last)],
        None => vec![(first, last)],
    };
    let pool = |(first, last)| AllocationPool {
        start: number_to_address(first, is_ipv4).to_string(),
        end: number_to_address(last, is_ipv4).to_string(),
    };
    AllocationPools(ranges.into_iter().filter(|(first, last)| first <= last).map(pool).collect())
}

fn parse_pools(pools: &[Value], cidr: IpNet, gateway: Option<IpAddr>) -> Result<AllocationPools, NetworkError> {
    let mut parsed: Vec<(IpAddr, IpAddr)> = Vec::new();
    for pool in pools {
        let address = |key: &str| pool[key].as_str().and_then(|text| text.parse::<IpAddr>().ok());
        let invalid =
            || NetworkError::bad("InvalidAllocationPool", format!("The allocation pool {pool} is not valid."));
        let (start, end) = address("start").zip(address("end")).ok_or_else(invalid)?;
        if start.is_ipv4() != end.is_ipv4() || start > end {
            return Err(invalid());
        }
        if !is_host_of(cidr, start) || !is_host_of(cidr, end) {
            let text = format!("The allocation pool {start}-{end} spans beyond the subnet cidr {cidr}.");
            return Err(NetworkError::bad("OutOfBoundsAllocationPool", text));
        }
        if let Some(gateway) = gateway.filter(|gateway| (start..=end).contains(gateway)) {
            let text = format!("Gateway ip {gateway} conflicts with allocation pool {start}-{end}.");
            return Err(NetworkError::conflict("GatewayConflictWithAllocationPools", text));
        }
        if let Some((other_start, other_end)) =
            parsed.iter().find(|(other_start, other_end)| *other_start <= end && start <= *other_end)
        {
            let text = format!(
                "Found overlapping allocation pools: {other_start}-{other_end} {start}-{end} for subnet {cidr}."
            );
            return Err(NetworkError::conflict("OverlappingAllocationPools", text));
        }
        parsed.push((start, end));
    }
    let pool = |(start, end): (IpAddr, IpAddr)| AllocationPool { start: start.to_string(), end: end.to_string() };
    Ok(AllocationPools(parsed.into_iter().map(pool).collect()))
}

fn set_lists(row: &mut SubnetRow, attributes: &Attributes) -> Result<(), NetworkError> {
    if let Some(servers) = attributes.texts("dns_nameservers") {
        if let Some(wrong) = servers.iter().find(|server| server.parse::<IpAddr>().is_err()) {
            let reason = format!("'{wrong}' is not a valid IP address");
            return Err(NetworkError::invalid_attribute("dns_nameservers", reason));
        }
        row.dns_nameservers = Addresses(servers);
    }
    if let Some(routes) = attributes.list("host_routes") {
        row.host_routes = HostRoutes(routes.iter().map(parse_route).collect::<Result<_, _>>()?);
    }
    Ok(())
}

fn parse_route(route: &Value) -> Result<HostRoute, NetworkError> {
    let destination = route["destination"].as_str().filter(|text| text.parse::<IpNet>().is_ok());
    let nexthop = route["nexthop"].as_str().filter(|text| text.parse::<IpAddr>().is_ok());
    let (destination, nexthop) = destination.zip(nexthop).ok_or_else(|| {
        NetworkError::invalid_attribute("host_routes", format!("Invalid data format for hostroute: '{}'", plain(route)))
    })?;
    Ok(HostRoute { destination: destination.to_owned(), nexthop: nexthop.to_owned() })
}

fn ipv6_mode(attributes: &Attributes, name: &str, cidr: IpNet) -> Result<Option<String>, NetworkError> {
    let Some(mode) = attributes.text(name) else { return Ok(None) };
    if !IPV6_MODES.contains(&mode) {
        return Err(NetworkError::invalid_attribute(
            name,
            format!("'{mode}' is not in ['{}']", IPV6_MODES.join("', '")),
        ));
    }
    if cidr.addr().is_ipv4() {
        let text = "ipv6_ra_mode or ipv6_address_mode cannot be set when ip_version is set to 4";
        return Err(NetworkError::invalid_input(text));
    }
    if mode != "dhcpv6-stateful" && cidr.prefix_len() != 64 {
        let text = "Invalid CIDR for IPv6 address mode: IPv6 stateless address assignment requires a /64 subnet";
        return Err(NetworkError::invalid_input(text));
    }
    Ok(Some(mode.to_owned()))
}

fn view(row: &SubnetRow) -> Value {
    json!({
        "id": row.id,
        "name": row.name,
        "tenant_id": row.project_id,
        "project_id": row.project_id,
        "description": row.description,
        "network_id": row.network_id,
        "ip_version": row.ip_version,
        "cidr": row.cidr,
        "gateway_ip": row.gateway_ip,
        "enable_dhcp": row.enable_dhcp,
        "dns_nameservers": row.dns_nameservers.0,
        "host_routes": row.host_routes.0,
        "allocation_pools": row.allocation_pools.0,
        "ipv6_address_mode": row.ipv6_address_mode,
        "ipv6_ra_mode": row.ipv6_ra_mode,
        "subnetpool_id": null,
        "revision_number": row.revision_number,
        "created_at": isotime(row.created_at),
        "updated_at": isotime(row.updated_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools(cidr: &str, gateway: Option<&str>) -> Vec<String> {
        let pools = default_pools(cidr.parse().unwrap(), gateway.map(|gateway| gateway.parse().unwrap()));
        pools.0.into_iter().map(|pool| format!("{}-{}", pool.start, pool.end)).collect()
    }

    #[test]
    fn the_pools_are_every_host_but_the_gateway() {
        assert_eq!(pools("10.0.0.0/24", Some("10.0.0.1")), ["10.0.0.2-10.0.0.254"]);
        assert_eq!(pools("10.0.0.0/24", Some("10.0.0.9")), ["10.0.0.1-10.0.0.8", "10.0.0.10-10.0.0.254"]);
        assert_eq!(pools("10.0.0.0/24", None), ["10.0.0.1-10.0.0.254"]);
        assert_eq!(pools("10.0.0.0/31", None), ["10.0.0.0-10.0.0.1"]);
        assert_eq!(pools("10.0.0.7/32", None), ["10.0.0.7-10.0.0.7"]);
        assert_eq!(pools("fd00::/126", Some("fd00::1")), ["fd00::2-fd00::3"]);
    }

    #[test]
    fn pools_stay_inside_apart_and_off_the_gateway() {
        let parse = |pools: Value| {
            parse_pools(pools.as_array().unwrap(), "10.0.0.0/24".parse().unwrap(), "10.0.0.1".parse().ok())
        };
        assert_eq!(parse(json!([{"start": "10.0.0.9", "end": "10.0.0.9"}])).unwrap().0.len(), 1);
        for wrong in [
            json!([{"start": "10.0.0.9"}]),
            json!([{"start": "10.0.0.9", "end": "10.0.0.8"}]),
            json!([{"start": "10.0.0.9", "end": "10.0.1.8"}]),
            json!([{"start": "10.0.0.1", "end": "10.0.0.8"}]),
            json!([{"start": "10.0.0.2", "end": "10.0.0.8"}, {"start": "10.0.0.8", "end": "10.0.0.9"}]),
            json!([{"start": "10.0.0.2", "end": "fd00::1"}]),
        ] {
            assert!(parse(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
