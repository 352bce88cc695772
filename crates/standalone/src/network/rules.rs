//! Rules of security groups.

use std::net::IpAddr;

use ipnet::IpNet;
use kilonova_core::RequestContext;
use kilonova_core::time::{isotime, utcnow};
use kilonova_db::network::{Connection, Resource, RuleRow, SecurityGroupRow, Transaction, lock, rules};
use serde_json::{Value, json};
use uuid::Uuid;

use super::attributes::Attributes;
use super::error::NetworkError;
use super::routes::Kind;
use super::{ensure_owner, owns, security_groups, visible_to};

const PROTOCOLS: [&str; 26] = [
    "ah",
    "dccp",
    "egp",
    "esp",
    "gre",
    "hopopt",
    "icmp",
    "icmpv6",
    "igmp",
    "ip",
    "ipip",
    "ipv6-encap",
    "ipv6-frag",
    "ipv6-icmp",
    "ipv6-nonxt",
    "ipv6-opts",
    "ipv6-route",
    "ospf",
    "pgm",
    "rsvp",
    "sctp",
    "tcp",
    "udp",
    "udplite",
    "vrrp",
    "any",
];
/// Protocols with ports, by name and number.
const WITH_PORTS: [&str; 10] = ["tcp", "udp", "dccp", "sctp", "udplite", "6", "17", "33", "132", "136"];
/// Protocols whose range is an ICMP type and code.
const ICMP: [&str; 5] = ["icmp", "icmpv6", "ipv6-icmp", "1", "58"];

async fn visible(connection: &impl Connection, context: &RequestContext, id: Uuid) -> Result<RuleRow, NetworkError> {
    let row = rules::get(connection, id).await?;
    row.filter(|row| owns(context, &row.project_id)).ok_or_else(|| NetworkError::no_rule(id))
}

pub(super) async fn list(connection: &impl Connection, context: &RequestContext) -> Result<Vec<Value>, NetworkError> {
    Ok(rules::list(connection, visible_to(context)).await?.iter().map(view).collect())
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
    attributes.project_id(Kind::Rule, context)?;
    attributes.required("security_group_id")?;
    let group_id = attributes.id("security_group_id").unwrap_or_default();
    lock(tx, Resource::SecurityGroup, &[group_id]).await?;
    let group = security_groups::visible(tx, context, group_id).await?;
    ensure_owner(context, &group.project_id, "create_security_group_rule")?;
    let row = parse(&group, attributes)?;
    if let Some(remote) = row.remote_group_id {
        security_groups::visible(tx, context, remote).await?;
    }
    let others = rules::list_by_groups(tx, &[group.id]).await?;
    if let Some(same) = others.iter().find(|other| says_the_same(other, &row)) {
        let text = format!("Security group rule already exists. Rule id is {}.", same.id);
        return Err(NetworkError::conflict("SecurityGroupRuleExists", text));
    }
    rules::insert(tx, std::slice::from_ref(&row)).await?;
    Ok(row.id)
}

/// Only the description of a rule can be changed.
pub(super) async fn update(
    tx: &Transaction,
    context: &RequestContext,
    id: Uuid,
    attributes: &Attributes,
) -> Result<(), NetworkError> {
    lock(tx, Resource::Rule, &[id]).await?;
    let mut row = visible(tx, context, id).await?;
    ensure_owner(context, &row.project_id, "update_security_group_rule")?;
    row.revision_number += 1;
    row.updated_at = utcnow();
    row.description = attributes.text_or_empty("description");
    Ok(rules::update(tx, &row).await?)
}

pub(super) async fn delete(tx: &Transaction, context: &RequestContext, id: Uuid) -> Result<(), NetworkError> {
    let row = visible(tx, context, id).await?;
    ensure_owner(context, &row.project_id, "delete_security_group_rule")?;
    Ok(rules::delete(tx, id).await?)
}

/// A rule that lets everything through in a direction.
pub(super) fn blank_rule(group: &SecurityGroupRow, direction: &str, ethertype: &str) -> RuleRow {
    let now = utcnow();
    RuleRow {
        id: Uuid::new_v4(),
        project_id: group.project_id.clone(),
        description: String::new(),
        revision_number: 1,
        created_at: now,
        updated_at: now,
        security_group_id: group.id,
        direction: direction.to_owned(),
        ethertype: ethertype.to_owned(),
        protocol: None,
        port_range_min: None,
        port_range_max: None,
        remote_ip_prefix: None,
        remote_group_id: None,
    }
}

fn parse(group: &SecurityGroupRow, attributes: &Attributes) -> Result<RuleRow, NetworkError> {
    let direction = attributes.required("direction")?.to_ascii_lowercase();
    if !matches!(direction.as_str(), "ingress" | "egress") {
        let reason = format!("'{direction}' is not in ['ingress', 'egress']");
        return Err(NetworkError::invalid_attribute("direction", reason));
    }
    let ethertype = match attributes.text("ethertype").unwrap_or("IPv4") {
        text if text.eq_ignore_ascii_case("ipv4") => "IPv4",
        text if text.eq_ignore_ascii_case("ipv6") => "IPv6",
        other => {
            let text =
                format!("Security group rule for ethertype '{other}' not supported. Allowed values are IPv4, IPv6.");
            return Err(NetworkError::bad("SecurityGroupRuleInvalidEtherType", text));
        }
    };
    let mut row = blank_rule(group, &direction, ethertype);
    row.description = attributes.text_or_empty("description");
    row.protocol = protocol(attributes)?;
    (row.port_range_min, row.port_range_max) =
        (attributes.integer("port_range_min"), attributes.integer("port_range_max"));
    ensure_range(&row)?;
    row.remote_group_id = attributes.id("remote_group_id");
    row.remote_ip_prefix = remote_prefix(attributes, ethertype)?;
    if row.remote_group_id.is_some() && row.remote_ip_prefix.is_some() {
        let text = "Only remote_ip_prefix or remote_group_id may be provided.";
        return Err(NetworkError::bad("SecurityGroupRemoteGroupAndRemoteIpPrefix", text));
    }
    Ok(row)
}

/// In lower case; none for every protocol.
fn protocol(attributes: &Attributes) -> Result<Option<String>, NetworkError> {
    let Some(protocol) = attributes.text("protocol").map(str::to_ascii_lowercase) else { return Ok(None) };
    let is_number = protocol.parse::<u8>().is_ok();
    match protocol.as_str() {
        "any" | "" => Ok(None),
        known if is_number || PROTOCOLS.contains(&known) => Ok(Some(protocol)),
        _ => {
            let text = format!(
                "Security group rule protocol {protocol} not supported. Only protocol values {PROTOCOLS:?} and integer representations [0 to 255] are supported."
            );
            Err(NetworkError::bad("SecurityGroupRuleInvalidProtocol", text))
        }
    }
}

fn ensure_range(row: &RuleRow) -> Result<(), NetworkError> {
    let (min, max) = (row.port_range_min, row.port_range_max);
    if min.is_none() && max.is_none() {
        return Ok(());
    }
    match row.protocol.as_deref() {
        None => {
            let text = "Must also specify protocol if port range is given.";
            Err(NetworkError::bad("SecurityGroupProtocolRequiredWithPorts", text))
        }
        Some(protocol) if WITH_PORTS.contains(&protocol) => ensure_ports(min, max),
        Some(protocol) if ICMP.contains(&protocol) => ensure_icmp(min, max),
        Some(protocol) => {
            let text = format!(
                "Invalid protocol {protocol} for port range, only supported for TCP, UDP, UDPLITE, SCTP and DCCP."
            );
            Err(NetworkError::bad("SecurityGroupInvalidProtocolForPort", text))
        }
    }
}

fn ensure_ports(min: Option<i32>, max: Option<i32>) -> Result<(), NetworkError> {
    if let Some(wrong) = [min, max].into_iter().flatten().find(|port| !(1..=65_535).contains(port)) {
        return Err(NetworkError::bad("SecurityGroupInvalidPortValue", format!("Invalid value for port {wrong}")));
    }
    match min.zip(max) {
        Some((min, max)) if min <= max => Ok(()),
        _ => {
            let text = "For TCP/UDP protocols, port_range_min must be <= port_range_max";
            Err(NetworkError::bad("SecurityGroupInvalidPortRange", text))
        }
    }
}

fn ensure_icmp(icmp_type: Option<i32>, code: Option<i32>) -> Result<(), NetworkError> {
    for (field, attribute, value) in [("type", "port_range_min", icmp_type), ("code", "port_range_max", code)] {
        if let Some(value) = value.filter(|value| !(0..=255).contains(value)) {
            let text = format!("Invalid value for ICMP {field} ({attribute}) {value}. It must be 0 to 255.");
            return Err(NetworkError::bad("SecurityGroupInvalidIcmpValue", text));
        }
    }
    if let (None, Some(code)) = (icmp_type, code) {
        let text = format!("ICMP code (port-range-max) {code} is provided but ICMP type (port-range-min) is missing.");
        return Err(NetworkError::bad("SecurityGroupMissingIcmpType", text));
    }
    Ok(())
}

/// A network, or one host.
fn remote_prefix(attributes: &Attributes, ethertype: &str) -> Result<Option<String>, NetworkError> {
    let Some(text) = attributes.text("remote_ip_prefix") else { return Ok(None) };
    let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let invalid = || NetworkError::invalid_attribute("remote_ip_prefix", format!("'{text}' is not a valid IP subnet"));
    let prefix = parsed.map_err(|_| invalid())?;
    if prefix.addr().is_ipv4() != (ethertype == "IPv4") {
        let text = format!("Conflicting value ethertype {ethertype} for CIDR {text}");
        return Err(NetworkError::bad("SecurityGroupRuleParameterConflict", text));
    }
    Ok(Some(prefix.to_string()))
}

fn says_the_same(one: &RuleRow, other: &RuleRow) -> bool {
    let said = |row: &RuleRow| {
        let ends = (row.port_range_min, row.port_range_max);
        let remote = (row.remote_ip_prefix.clone(), row.remote_group_id);
        (row.direction.clone(), row.ethertype.clone(), row.protocol.clone(), ends, remote)
    };
    said(one) == said(other)
}

pub(super) fn view(row: &RuleRow) -> Value {
    json!({
        "id": row.id,
        "tenant_id": row.project_id,
        "project_id": row.project_id,
        "description": row.description,
        "security_group_id": row.security_group_id,
        "direction": row.direction,
        "ethertype": row.ethertype,
        "protocol": row.protocol,
        "port_range_min": row.port_range_min,
        "port_range_max": row.port_range_max,
        "remote_ip_prefix": row.remote_ip_prefix,
        "remote_group_id": row.remote_group_id,
        "revision_number": row.revision_number,
        "created_at": isotime(row.created_at),
        "updated_at": isotime(row.updated_at),
    })
}
