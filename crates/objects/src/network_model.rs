//! Nova's network model: what `InstanceInfoCache.network_info` holds as JSON text.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// The interfaces of an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NetworkInfo(pub Vec<Vif>);

impl NetworkInfo {
    /// From the JSON text of the cache.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The JSON text for the cache.
    pub fn to_json(&self) -> String {
        // Structs of strings, numbers and JSON values always serialize.
        serde_json::to_string(self).unwrap_or_else(|_| "[]".to_owned())
    }
}

/// One interface, backed by a port of the network service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vif {
    /// The port.
    pub id: Uuid,
    /// MAC address.
    pub address: String,
    /// The network it is on.
    pub network: Network,
    /// `ovs`, `bridge`, or `user` for QEMU's user-mode network.
    #[serde(rename = "type")]
    pub vif_type: Option<String>,
    /// What the binding gave.
    #[serde(default)]
    pub details: Map<String, Value>,
    /// The host's device.
    pub devname: Option<String>,
    /// Unused but by Open vSwitch.
    pub ovs_interfaceid: Option<String>,
    /// Unused.
    #[serde(default)]
    pub qbh_params: Option<Value>,
    /// Unused.
    #[serde(default)]
    pub qbg_params: Option<Value>,
    /// Whether the port is up.
    #[serde(default)]
    pub active: bool,
    /// `normal`.
    pub vnic_type: Option<String>,
    /// What the port's owner gave.
    #[serde(default)]
    pub profile: Map<String, Value>,
    /// The port was there before the server and stays after it.
    #[serde(default)]
    pub preserve_on_delete: bool,
    /// Unused.
    #[serde(default)]
    pub delegate_create: bool,
    /// Unused.
    #[serde(default)]
    pub meta: Map<String, Value>,
}

/// A network of an interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Its id.
    pub id: Uuid,
    /// The host's bridge.
    pub bridge: Option<String>,
    /// Its name: the key under a server's `addresses`.
    pub label: String,
    /// Its subnets, with the addresses that the interface has on each.
    pub subnets: Vec<Subnet>,
    /// `mtu`, `tenant_id`, `injected`, …
    #[serde(default)]
    pub meta: Map<String, Value>,
}

/// A subnet of an interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subnet {
    /// `10.0.0.0/24`.
    pub cidr: String,
    /// Name servers.
    #[serde(default)]
    pub dns: Vec<Ip>,
    /// The router, if there is one.
    pub gateway: Option<Ip>,
    /// The interface's addresses.
    pub ips: Vec<FixedIp>,
    /// Further routes.
    #[serde(default)]
    pub routes: Vec<Value>,
    /// 4 or 6.
    pub version: u8,
    /// `enable_dhcp`, …
    #[serde(default)]
    pub meta: Map<String, Value>,
}

/// An address that is not the interface's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ip {
    /// The address; null for a gateway that is not set.
    pub address: Option<String>,
    /// `gateway`, `dns`.
    #[serde(rename = "type")]
    pub ip_type: String,
    /// 4 or 6.
    pub version: Option<u8>,
    /// Unused.
    #[serde(default)]
    pub meta: Map<String, Value>,
}

/// An address of the interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FixedIp {
    /// The address.
    pub address: String,
    /// `fixed`.
    #[serde(rename = "type")]
    pub ip_type: String,
    /// 4 or 6.
    pub version: u8,
    /// Unused.
    #[serde(default)]
    pub meta: Map<String, Value>,
    /// Floating addresses that lead here.
    #[serde(default)]
    pub floating_ips: Vec<Value>,
}
