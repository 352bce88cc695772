//! The rule that a request body means, by Nova's rules.

use ipnet::IpNet;
use kilonova_clients::neutron::security_groups::{NewRule, SecurityGroup, SecurityGroupRule};
use serde_json::Value;
use uuid::Uuid;

use crate::error::ApiError;
use crate::v21::values::integer;
use crate::views::security_groups::{ANYWHERE, cidr, ports};

/// `security_group_rule` of a body. Of what is not a uuid Nova checks nothing beforehand.
pub(super) struct Asked<'a> {
    pub(super) parent_group_id: Uuid,
    /// Whose members it lets through.
    pub(super) group_id: Option<Uuid>,
    cidr: &'a Value,
    protocol: &'a Value,
    from_port: &'a Value,
    to_port: &'a Value,
}

impl<'a> Asked<'a> {
    pub(super) fn of(body: &'a Value) -> Self {
        let id = |name: &str| body[name].as_str().and_then(|id| id.parse().ok());
        Self {
            parent_group_id: id("parent_group_id").unwrap_or_default(),
            group_id: id("group_id"),
            cidr: &body["cidr"],
            protocol: &body["ip_protocol"],
            from_port: &body["from_port"],
            to_port: &body["to_port"],
        }
    }

    /// The rule for the network service.
    pub(super) fn rule(&self) -> Result<NewRule, ApiError> {
        let cidr = if self.group_id.is_some() { None } else { Some(self.cidr()?) };
        let mut rule = NewRule {
            security_group_id: self.parent_group_id,
            remote_group_id: self.group_id,
            is_ipv6: cidr.is_some_and(|cidr| matches!(cidr, IpNet::V6(_))),
            remote_ip_prefix: cidr.map(|_| self.cidr_text().to_owned()),
            ..NewRule::default()
        };
        match self.range()? {
            Some((protocol, from_port, to_port)) => {
                // -1 is every type or code of ICMP.
                let set = |port: i64| (port != -1).then_some(port);
                (rule.port_range_min, rule.port_range_max) = (set(from_port), set(to_port));
                rule.protocol = Some(protocol);
            }
            None if cidr.is_some() => {
                return Err(refused("Not enough parameters to build a valid rule.".to_owned()));
            }
            None => {}
        }
        match cidr {
            Some(cidr) if cidr.prefix_len() == 0 && !cidr.addr().is_unspecified() => {
                Err(refused(format!("Bad prefix for network in cidr {}", self.cidr_text())))
            }
            _ => Ok(rule),
        }
    }

    /// Whether the group has such a rule for a network. Of groups, by Nova's rule, the network service finds that out.
    pub(super) fn exists_in(&self, group: &SecurityGroup, new: &NewRule) -> bool {
        let is_same = |rule: &SecurityGroupRule| {
            let (from_port, to_port) = ports(rule);
            let wanted = |port: Option<i64>| if new.protocol.is_some() { Some(port.unwrap_or(-1)) } else { port };
            rule.direction == "ingress"
                && rule.remote_group_id == new.remote_group_id
                && new.remote_ip_prefix.as_deref() == Some(cidr(rule))
                && rule.protocol == new.protocol
                && (from_port, to_port) == (wanted(new.port_range_min), wanted(new.port_range_max))
        };
        group.rules.iter().any(is_same)
    }

    fn cidr_text(&self) -> &str {
        self.cidr.as_str().filter(|cidr| !cidr.is_empty()).unwrap_or(ANYWHERE)
    }

    fn cidr(&self) -> Result<IpNet, ApiError> {
        let text = self.cidr_text();
        let is_text = self.cidr.is_null() || self.cidr.is_string();
        let parsed = text.parse().ok().filter(|_| is_text);
        parsed.ok_or_else(|| refused(format!("{text} is not a valid IP network.")))
    }

    /// Protocol, first and last port; none where not all of them are given.
    fn range(&self) -> Result<Option<(String, i64, i64)>, ApiError> {
        let Some(protocol) = text(self.protocol) else { return Ok(None) };
        let kind = protocol.to_uppercase();
        let (mut from_port, mut to_port) = (self.from_port.clone(), self.to_port.clone());
        // A group may be let through without a range, which is the whole of it.
        if self.group_id.is_some() && from_port.is_null() && to_port.is_null() {
            let whole = match kind.as_str() {
                "ICMP" => Some((-1, -1)),
                "TCP" | "UDP" => Some((1, 65_535)),
                _ => None,
            };
            if let Some((first, last)) = whole {
                (from_port, to_port) = (first.into(), last.into());
            }
        }
        if from_port.is_null() || to_port.is_null() {
            return Ok(None);
        }
        let (Some(from_port), Some(to_port)) = (integer(&from_port), integer(&to_port)) else {
            let reason = match kind.as_str() {
                "ICMP" => "Type and Code must be integers for ICMP protocol type",
                _ => "To and From ports must be integers",
            };
            return Err(refused(format!("Invalid input received: {reason}")));
        };
        check_range(&protocol, &kind, from_port, to_port)?;
        Ok(Some((protocol, from_port, to_port)))
    }
}

fn check_range(protocol: &str, kind: &str, from_port: i64, to_port: i64) -> Result<(), ApiError> {
    let invalid = |why: String| Err(refused(format!("Invalid port range {from_port}:{to_port}. {why}")));
    match kind {
        "TCP" | "UDP" if from_port > to_port => invalid("Former value cannot be greater than the later".to_owned()),
        "TCP" | "UDP" if from_port < 1 || to_port > 65_535 => {
            invalid(format!("Valid {kind} ports should be between 1-65535"))
        }
        "ICMP" if !(-1..=255).contains(&from_port) || !(-1..=255).contains(&to_port) => {
            invalid("For ICMP, the type:code must be valid".to_owned())
        }
        "TCP" | "UDP" | "ICMP" => Ok(()),
        _ => Err(refused(format!("Invalid IP protocol {protocol}."))),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn refused(message: String) -> ApiError {
    ApiError::BadRequest(message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(mut body: Value) -> Result<NewRule, String> {
        body["parent_group_id"] = json!(Uuid::nil());
        Asked::of(&body).rule().map_err(|error| error.to_string())
    }

    #[test]
    fn a_rule_is_for_a_network_with_a_range_or_for_a_group() {
        let made = rule(json!({"ip_protocol": "tcp", "from_port": "22", "to_port": 22, "cidr": "10.0.0.0/8"})).unwrap();
        let expected = NewRule {
            protocol: Some("tcp".to_owned()),
            port_range_min: Some(22),
            port_range_max: Some(22),
            remote_ip_prefix: Some("10.0.0.0/8".to_owned()),
            ..NewRule::default()
        };
        assert_eq!(made, expected);
        let ping = rule(json!({"ip_protocol": "icmp", "from_port": -1, "to_port": -1, "cidr": "::/0"})).unwrap();
        assert_eq!((ping.port_range_min, ping.port_range_max, ping.is_ipv6), (None, None, true));
        let group = Uuid::from_u128(7);
        let of_group = rule(json!({"group_id": group})).unwrap();
        assert_eq!(of_group, NewRule { remote_group_id: Some(group), ..NewRule::default() });
        let whole = rule(json!({"group_id": group, "ip_protocol": "udp"})).unwrap();
        assert_eq!((whole.port_range_min, whole.port_range_max), (Some(1), Some(65_535)));
    }

    #[test]
    fn what_makes_no_rule_is_refused_in_novas_words() {
        let tcp = |from: Value, to: Value| json!({"ip_protocol": "tcp", "from_port": from, "to_port": to});
        for (body, message) in [
            (json!({"ip_protocol": "tcp"}), "Not enough parameters to build a valid rule."),
            (json!({}), "Not enough parameters to build a valid rule."),
            (tcp(json!("a"), json!(2)), "Invalid input received: To and From ports must be integers"),
            (tcp(json!(3), json!(2)), "Invalid port range 3:2. Former value cannot be greater than the later"),
            (tcp(json!(0), json!(2)), "Invalid port range 0:2. Valid TCP ports should be between 1-65535"),
            (
                json!({"ip_protocol": "icmp", "from_port": 256, "to_port": 0}),
                "Invalid port range 256:0. For ICMP, the type:code must be valid",
            ),
            (json!({"ip_protocol": "gre", "from_port": 1, "to_port": 2}), "Invalid IP protocol gre."),
            (json!({"ip_protocol": "tcp", "from_port": 1, "to_port": 2, "cidr": "x"}), "x is not a valid IP network."),
            (
                json!({"ip_protocol": "tcp", "from_port": 1, "to_port": 2, "cidr": "10.0.0.0/0"}),
                "Bad prefix for network in cidr 10.0.0.0/0",
            ),
        ] {
            assert_eq!(rule(body.clone()).unwrap_err(), message, "{body}");
        }
    }
}
