//! Security groups as Nova had them, of what the network service has: only rules of what comes in, each with the name of
//! the group or with the network that it lets through.

use std::collections::BTreeSet;

use kilonova_clients::ClientError;
use kilonova_clients::neutron::Neutron;
use kilonova_clients::neutron::security_groups::{self, SecurityGroup, SecurityGroupRule};
use kilonova_core::RequestContext;
use serde_json::{Value, json};
use uuid::Uuid;

/// All addresses: what a rule lets through that names neither a group nor a network.
pub(crate) const ANYWHERE: &str = "0.0.0.0/0";

/// Groups, and what their rules need to be shown.
pub(crate) struct Groups<'a> {
    groups: &'a [SecurityGroup],
    /// Groups that rules let through, beside those above.
    others: Vec<SecurityGroup>,
}

impl<'a> Groups<'a> {
    /// Looks up the groups that rules let through.
    pub(crate) async fn look_up(
        neutron: &dyn Neutron,
        context: &RequestContext,
        groups: &'a [SecurityGroup],
    ) -> Result<Self, ClientError> {
        let remote = groups.iter().flat_map(|group| &group.rules).filter_map(|rule| rule.remote_group_id);
        let unknown: BTreeSet<Uuid> = remote.filter(|id| groups.iter().all(|group| group.id != *id)).collect();
        Ok(Self { groups, others: security_groups::get_many(neutron, context, &unknown).await? })
    }

    /// All of them, in order of project and name.
    pub(crate) fn views(&self) -> Vec<Value> {
        let mut groups: Vec<&SecurityGroup> = self.groups.iter().collect();
        groups.sort_by_key(|group| (&group.project_id, &group.name));
        groups.into_iter().map(|group| self.view(group)).collect()
    }

    /// One of them.
    pub(crate) fn view(&self, group: &SecurityGroup) -> Value {
        let rules = group.rules.iter().filter(|rule| rule.direction == "ingress");
        json!({
            "id": group.id,
            "name": group.name,
            "description": group.description,
            "tenant_id": group.project_id,
            "rules": rules.filter_map(|rule| self.rule(rule)).collect::<Vec<_>>(),
        })
    }

    /// A rule. One that lets through a group that is gone, or not to be seen, is not shown.
    pub(crate) fn rule(&self, rule: &SecurityGroupRule) -> Option<Value> {
        let (from_port, to_port) = ports(rule);
        let (group, ip_range) = match rule.remote_group_id {
            Some(id) => {
                let group = self.groups.iter().chain(&self.others).find(|group| group.id == id)?;
                (json!({"name": group.name, "tenant_id": group.project_id}), json!({}))
            }
            None => (json!({}), json!({"cidr": cidr(rule)})),
        };
        Some(json!({
            "id": rule.id,
            "parent_group_id": rule.security_group_id,
            "ip_protocol": rule.protocol,
            "from_port": from_port,
            "to_port": to_port,
            "group": group,
            "ip_range": ip_range,
        }))
    }
}

/// The network that a rule lets through.
pub(crate) fn cidr(rule: &SecurityGroupRule) -> &str {
    rule.remote_ip_prefix.as_deref().filter(|prefix| !prefix.is_empty()).unwrap_or(ANYWHERE)
}

/// First and last port, where a protocol without any means all of them.
pub(crate) fn ports(rule: &SecurityGroupRule) -> (Option<i64>, Option<i64>) {
    match (&rule.protocol, rule.port_range_min, rule.port_range_max) {
        (Some(protocol), None, None) if ["tcp", "udp"].contains(&protocol.to_lowercase().as_str()) => {
            (Some(1), Some(65_535))
        }
        (Some(_), None, None) => (Some(-1), Some(-1)),
        (_, min, max) => (min, max),
    }
}
