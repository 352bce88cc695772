//! Neutron's REST API, for what compute only looks up or passes on: ports of servers, security groups, floating
//! addresses.
//!
//! [`Neutron`] is the five verbs, on JSON as Neutron has it: over HTTP, in the built-in service, or in the fake. The
//! modules here are typed functions on top of them, the same for all three. What has rules of its own (ports that are made,
//! bound and taken back) is [`crate::network::NetworkService`].

pub mod floating_ips;
pub mod networks;
pub mod ports;
pub mod security_groups;

use async_trait::async_trait;
use kilonova_core::RequestContext;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::ClientError;

/// A collection of the Networking API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// `networks`
    Networks,
    /// `subnets`
    Subnets,
    /// `ports`
    Ports,
    /// `security-groups`
    SecurityGroups,
    /// `security-group-rules`
    SecurityGroupRules,
    /// `floatingips`
    FloatingIps,
}

impl Collection {
    /// The last part of its path.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Networks => "networks",
            Self::Subnets => "subnets",
            Self::Ports => "ports",
            Self::SecurityGroups => "security-groups",
            Self::SecurityGroupRules => "security-group-rules",
            Self::FloatingIps => "floatingips",
        }
    }

    /// The key of many in a body.
    pub const fn key(self) -> &'static str {
        match self {
            Self::SecurityGroups => "security_groups",
            Self::SecurityGroupRules => "security_group_rules",
            other => other.path(),
        }
    }

    /// The key of one in a body.
    pub const fn item_key(self) -> &'static str {
        match self {
            Self::Networks => "network",
            Self::Subnets => "subnet",
            Self::Ports => "port",
            Self::SecurityGroups => "security_group",
            Self::SecurityGroupRules => "security_group_rule",
            Self::FloatingIps => "floatingip",
        }
    }

    /// As [`ClientError::NotFound`] has it.
    pub const fn resource(self) -> &'static str {
        match self {
            Self::SecurityGroups => "security group",
            Self::SecurityGroupRules => "security group rule",
            Self::FloatingIps => "floating IP",
            other => other.item_key(),
        }
    }
}

/// Filters of a list: of one name the values are alternatives, different names must all hold.
pub type Filters<'a> = &'a [(&'static str, String)];

/// The verbs of the Networking API, on behalf of the caller: what the caller may not see is not found. Items are without
/// the key around them.
#[async_trait]
pub trait Neutron: Send + Sync + 'static {
    /// `GET` of a collection. A service without floating addresses has none.
    async fn list_resources(
        &self,
        context: &RequestContext,
        collection: Collection,
        filters: Filters<'_>,
    ) -> Result<Vec<Value>, ClientError>;

    /// `GET` of one.
    async fn show_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        id: &str,
    ) -> Result<Value, ClientError>;

    /// `POST`; returns what was made.
    async fn create_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        item: Value,
    ) -> Result<Value, ClientError>;

    /// `PUT`; returns what it is then.
    async fn update_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        id: Uuid,
        item: Value,
    ) -> Result<Value, ClientError>;

    /// `DELETE`
    async fn delete_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        id: Uuid,
    ) -> Result<(), ClientError>;
}

/// An item as a type.
fn parse<T: DeserializeOwned>(item: Value) -> Result<T, ClientError> {
    serde_json::from_value(item)
        .map_err(|error| ClientError::unavailable("network", format!("an answer that makes no sense: {error}")))
}

fn parse_all<T: DeserializeOwned>(items: Vec<Value>) -> Result<Vec<T>, ClientError> {
    items.into_iter().map(parse).collect()
}
