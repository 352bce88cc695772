//! Security groups and their rules.

use std::collections::BTreeSet;

use kilonova_core::RequestContext;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Collection, Neutron, parse, parse_all};
use crate::ClientError;

/// Ids in one request: they are in the URL, whose length is limited.
const IDS_PER_REQUEST: usize = 150;

/// A security group with its rules.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SecurityGroup {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Its project.
    #[serde(default, rename = "tenant_id")]
    pub project_id: String,
    /// Its rules.
    #[serde(default, rename = "security_group_rules")]
    pub rules: Vec<SecurityGroupRule>,
}

/// A rule of a group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SecurityGroupRule {
    /// Its id.
    pub id: Uuid,
    /// The group that it is of.
    pub security_group_id: Uuid,
    /// `ingress` or `egress`.
    pub direction: String,
    /// `tcp`, `icmp`, a number; none for every protocol.
    pub protocol: Option<String>,
    /// The first port, or the ICMP type.
    pub port_range_min: Option<i64>,
    /// The last port, or the ICMP code.
    pub port_range_max: Option<i64>,
    /// Whose traffic it lets through: that of the members of a group.
    pub remote_group_id: Option<Uuid>,
    /// Whose traffic it lets through: that of a network.
    pub remote_ip_prefix: Option<String>,
}

/// A rule to be made: what comes in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRule {
    /// The group that it is of.
    pub security_group_id: Uuid,
    /// IPv6, not IPv4.
    pub is_ipv6: bool,
    /// As [`SecurityGroupRule::protocol`].
    pub protocol: Option<String>,
    /// As [`SecurityGroupRule::port_range_min`].
    pub port_range_min: Option<i64>,
    /// As [`SecurityGroupRule::port_range_max`].
    pub port_range_max: Option<i64>,
    /// As [`SecurityGroupRule::remote_group_id`].
    pub remote_group_id: Option<Uuid>,
    /// As [`SecurityGroupRule::remote_ip_prefix`].
    pub remote_ip_prefix: Option<String>,
}

/// The groups of a project, or all that the caller sees.
pub async fn list(
    neutron: &dyn Neutron,
    context: &RequestContext,
    project_id: Option<&str>,
) -> Result<Vec<SecurityGroup>, ClientError> {
    let filters: Vec<_> = project_id.map(|project_id| ("tenant_id", project_id.to_owned())).into_iter().collect();
    parse_all(neutron.list_resources(context, Collection::SecurityGroups, &filters).await?)
}

/// The groups with these ids; those that the caller does not see are left out.
pub async fn get_many(
    neutron: &dyn Neutron,
    context: &RequestContext,
    ids: &BTreeSet<Uuid>,
) -> Result<Vec<SecurityGroup>, ClientError> {
    let ids: Vec<Uuid> = ids.iter().copied().collect();
    let mut found = Vec::new();
    for some in ids.chunks(IDS_PER_REQUEST) {
        let filters: Vec<_> = some.iter().map(|id| ("id", id.to_string())).collect();
        found.extend(parse_all(neutron.list_resources(context, Collection::SecurityGroups, &filters).await?)?);
    }
    Ok(found)
}

/// One group.
pub async fn show(neutron: &dyn Neutron, context: &RequestContext, id: Uuid) -> Result<SecurityGroup, ClientError> {
    parse(neutron.show_resource(context, Collection::SecurityGroups, &id.to_string()).await?)
}

/// Makes a group of the caller's project.
pub async fn create(
    neutron: &dyn Neutron,
    context: &RequestContext,
    name: &str,
    description: &str,
) -> Result<SecurityGroup, ClientError> {
    let item = json!({"name": name, "description": description});
    parse(neutron.create_resource(context, Collection::SecurityGroups, item).await?)
}

/// Renames and describes a group.
pub async fn update(
    neutron: &dyn Neutron,
    context: &RequestContext,
    id: Uuid,
    name: &str,
    description: &str,
) -> Result<SecurityGroup, ClientError> {
    let item = json!({"name": name, "description": description});
    parse(neutron.update_resource(context, Collection::SecurityGroups, id, item).await?)
}

/// Deletes a group.
pub async fn delete(neutron: &dyn Neutron, context: &RequestContext, id: Uuid) -> Result<(), ClientError> {
    neutron.delete_resource(context, Collection::SecurityGroups, id).await
}

/// One rule.
pub async fn show_rule(
    neutron: &dyn Neutron,
    context: &RequestContext,
    id: Uuid,
) -> Result<SecurityGroupRule, ClientError> {
    parse(neutron.show_resource(context, Collection::SecurityGroupRules, &id.to_string()).await?)
}

/// Makes a rule.
pub async fn create_rule(
    neutron: &dyn Neutron,
    context: &RequestContext,
    rule: &NewRule,
) -> Result<SecurityGroupRule, ClientError> {
    parse(neutron.create_resource(context, Collection::SecurityGroupRules, rule.to_json()).await?)
}

/// Deletes a rule.
pub async fn delete_rule(neutron: &dyn Neutron, context: &RequestContext, id: Uuid) -> Result<(), ClientError> {
    neutron.delete_resource(context, Collection::SecurityGroupRules, id).await
}

impl NewRule {
    fn to_json(&self) -> Value {
        let mut item = json!({
            "direction": "ingress",
            "ethertype": if self.is_ipv6 { "IPv6" } else { "IPv4" },
            "security_group_id": self.security_group_id,
            "protocol": self.protocol,
            "remote_group_id": self.remote_group_id,
            "remote_ip_prefix": self.remote_ip_prefix,
        });
        let range = [("port_range_min", self.port_range_min), ("port_range_max", self.port_range_max)];
        for (name, value) in range {
            if let Some(value) = value {
                item[name] = json!(value);
            }
        }
        item
    }
}
