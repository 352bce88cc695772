//! Neutron's bodies, and a server's interface as Nova's network model has it.

use kilonova_objects::network_model::{FixedIp, Ip, Network as VifNetwork, Subnet, Vif};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::COMPUTE_OWNER;
use super::allocate::Server;
use crate::network::{Network, Port, SecurityGroup};

/// The key of the mark in `binding:profile`.
const MARK: &str = "kilonova";
/// Digits of a port's id in the name of the host's device: interface names have at most 15 characters.
const DEVICE_ID_DIGITS: usize = 11;
/// Characters of a bridge's name, as Nova cuts it.
const BRIDGE_NAME_LENGTH: usize = 14;
/// Nova's default of `[neutron] ovs_bridge`.
const OVS_BRIDGE: &str = "br-int";

/// How a server came to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// It is deleted with the server.
    Made,
    /// It was there before, and stays.
    Given,
}

impl Mark {
    const fn text(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Given => "given",
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct PortBody {
    pub(super) id: Uuid,
    pub(super) network_id: Uuid,
    project_id: Option<String>,
    tenant_id: Option<String>,
    mac_address: String,
    device_id: Option<String>,
    device_owner: Option<String>,
    #[serde(default)]
    fixed_ips: Vec<FixedIpBody>,
    status: Option<String>,
    admin_state_up: Option<bool>,
    #[serde(rename = "binding:host_id")]
    host_id: Option<String>,
    #[serde(rename = "binding:vif_type")]
    pub(super) vif_type: Option<String>,
    #[serde(rename = "binding:vif_details")]
    vif_details: Option<Map<String, Value>>,
    #[serde(rename = "binding:vnic_type")]
    vnic_type: Option<String>,
    #[serde(rename = "binding:profile")]
    profile: Option<Map<String, Value>>,
}

#[derive(Clone, Debug, Deserialize)]
struct FixedIpBody {
    subnet_id: Uuid,
    ip_address: String,
}

impl PortBody {
    pub(super) fn project_id(&self) -> &str {
        either(self.project_id.as_ref(), self.tenant_id.as_ref())
    }

    pub(super) fn device_id(&self) -> &str {
        self.device_id.as_deref().unwrap_or_default()
    }

    pub(super) fn device_owner(&self) -> &str {
        self.device_owner.as_deref().unwrap_or_default()
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = &str> {
        self.fixed_ips.iter().map(|fixed_ip| fixed_ip.ip_address.as_str())
    }

    pub(super) fn mark(&self) -> Option<Mark> {
        let text = self.profile.as_ref()?.get(MARK)?.as_str()?;
        [Mark::Made, Mark::Given].into_iter().find(|mark| mark.text() == text)
    }

    /// Whether there is nothing to change about it.
    pub(super) fn is_bound_to(&self, server: &Server<'_>, mark: Mark) -> bool {
        self.device_id() == server.uuid.to_string()
            && self.device_owner() == COMPUTE_OWNER
            && self.host_id.as_deref() == Some(server.host)
            && self.mark() == Some(mark)
            && !self.is_binding_failed()
    }

    /// No mechanism of Neutron can do it on that host.
    pub(super) fn is_binding_failed(&self) -> bool {
        self.vif_type.as_deref() == Some("binding_failed")
    }

    /// The update that makes it the server's.
    pub(super) fn bound_to(&self, server: &Server<'_>, mark: Mark) -> Value {
        let mut profile = self.profile.clone().unwrap_or_default();
        profile.insert(MARK.to_owned(), json!(mark.text()));
        json!({
            "device_id": server.uuid,
            "device_owner": COMPUTE_OWNER,
            "binding:host_id": server.host,
            "binding:profile": profile,
        })
    }

    /// The update that makes it nobody's.
    pub(super) fn released(&self) -> Value {
        json!({"device_id": "", "device_owner": "", "binding:host_id": null, "binding:profile": self.own_profile()})
    }

    /// What its owner gave.
    fn own_profile(&self) -> Map<String, Value> {
        let mut profile = self.profile.clone().unwrap_or_default();
        profile.remove(MARK);
        profile
    }

    /// The interface that a server has by it.
    pub(super) fn vif(&self, mark: Mark, network: &NetworkBody, subnets: &[SubnetBody]) -> Vif {
        let on_it = |subnet: &&SubnetBody| self.fixed_ips.iter().any(|fixed_ip| fixed_ip.subnet_id == subnet.id);
        let details = self.vif_details.clone().unwrap_or_default();
        Vif {
            id: self.id,
            address: self.mac_address.clone(),
            network: VifNetwork {
                id: network.id,
                bridge: self.bridge(&details),
                label: network.name.clone(),
                subnets: subnets.iter().filter(on_it).map(|subnet| subnet.of(self)).collect(),
                meta: self.network_meta(network),
            },
            devname: Some(format!("tap{}", &self.id.to_string()[..DEVICE_ID_DIGITS])),
            ovs_interfaceid: self.is_ovs(&details).then(|| self.id.to_string()),
            qbh_params: None,
            qbg_params: None,
            active: self.admin_state_up == Some(false) || self.status.as_deref() == Some("ACTIVE"),
            vif_type: self.vif_type.clone(),
            details,
            vnic_type: Some(self.vnic_type.clone().unwrap_or_else(|| "normal".to_owned())),
            profile: self.own_profile(),
            preserve_on_delete: mark == Mark::Given,
            delegate_create: true,
            meta: Map::new(),
        }
    }

    fn is_ovs(&self, details: &Map<String, Value>) -> bool {
        match self.vif_type.as_deref() {
            Some("ovs") => true,
            Some("vhostuser") => details.get("vhostuser_ovs_plug").and_then(Value::as_bool) == Some(true),
            _ => false,
        }
    }

    /// The bridge on the host that the interface is plugged into.
    fn bridge(&self, details: &Map<String, Value>) -> Option<String> {
        let named = details.get("bridge_name").and_then(Value::as_str).filter(|name| !name.is_empty());
        let bridge = match self.vif_type.as_deref() {
            _ if self.is_ovs(details) => named.unwrap_or(OVS_BRIDGE).to_owned(),
            Some("bridge") => named.map_or_else(|| format!("brq{}", self.network_id), str::to_owned),
            _ => return None,
        };
        Some(bridge.chars().take(BRIDGE_NAME_LENGTH).collect())
    }

    fn network_meta(&self, network: &NetworkBody) -> Map<String, Value> {
        let mut meta = Map::new();
        meta.insert("tenant_id".to_owned(), json!(network.project_id()));
        meta.insert("injected".to_owned(), json!(false));
        if let Some(mtu) = network.mtu {
            meta.insert("mtu".to_owned(), json!(mtu));
        }
        if self.vif_type.as_deref() == Some("bridge") {
            meta.insert("should_create_bridge".to_owned(), json!(true));
        }
        meta
    }
}

impl From<PortBody> for Port {
    fn from(port: PortBody) -> Self {
        Self {
            id: port.id,
            network_id: port.network_id,
            project_id: port.project_id().to_owned(),
            device_id: port.device_id().to_owned(),
            fixed_ips: port.addresses().map(str::to_owned).collect(),
            mac_address: port.mac_address,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct NetworkBody {
    pub(super) id: Uuid,
    #[serde(default)]
    name: String,
    project_id: Option<String>,
    tenant_id: Option<String>,
    #[serde(default)]
    pub(super) shared: bool,
    #[serde(default, rename = "router:external")]
    pub(super) is_external: bool,
    #[serde(default)]
    pub(super) subnets: Vec<Uuid>,
    port_security_enabled: Option<bool>,
    mtu: Option<i64>,
}

impl NetworkBody {
    pub(super) fn project_id(&self) -> &str {
        either(self.project_id.as_ref(), self.tenant_id.as_ref())
    }

    /// True where Neutron has no such extension.
    pub(super) fn port_security_enabled(&self) -> bool {
        self.port_security_enabled.unwrap_or(true)
    }
}

impl From<NetworkBody> for Network {
    fn from(network: NetworkBody) -> Self {
        Self {
            id: network.id,
            project_id: network.project_id().to_owned(),
            port_security_enabled: network.port_security_enabled(),
            name: network.name,
            is_shared: network.shared,
            is_external: network.is_external,
            subnet_ids: network.subnets,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct SubnetBody {
    id: Uuid,
    cidr: String,
    ip_version: u8,
    gateway_ip: Option<String>,
    #[serde(default)]
    dns_nameservers: Vec<String>,
    #[serde(default)]
    host_routes: Vec<RouteBody>,
    #[serde(default)]
    enable_dhcp: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct RouteBody {
    destination: String,
    nexthop: String,
}

impl SubnetBody {
    /// With the addresses that the port has on it.
    fn of(&self, port: &PortBody) -> Subnet {
        let fixed_ip = |fixed_ip: &FixedIpBody| FixedIp {
            address: fixed_ip.ip_address.clone(),
            ip_type: "fixed".to_owned(),
            version: self.ip_version,
            meta: Map::new(),
            floating_ips: Vec::new(),
        };
        let route = |route: &RouteBody| {
            let gateway = self.ip(&route.nexthop, "gateway");
            json!({"cidr": route.destination, "gateway": gateway, "interface": null, "meta": {}})
        };
        Subnet {
            cidr: self.cidr.clone(),
            dns: self.dns_nameservers.iter().map(|server| self.ip(server, "dns")).collect(),
            gateway: self.gateway_ip.as_deref().map(|gateway| self.ip(gateway, "gateway")),
            ips: port.fixed_ips.iter().filter(|fixed_ip| fixed_ip.subnet_id == self.id).map(fixed_ip).collect(),
            routes: self.host_routes.iter().map(route).collect(),
            version: self.ip_version,
            meta: Map::from_iter([("enable_dhcp".to_owned(), json!(self.enable_dhcp))]),
        }
    }

    fn ip(&self, address: &str, ip_type: &str) -> Ip {
        Ip {
            address: Some(address.to_owned()),
            ip_type: ip_type.to_owned(),
            version: Some(self.ip_version),
            meta: Map::new(),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct SecurityGroupBody {
    pub(super) id: Uuid,
    #[serde(default)]
    name: String,
    project_id: Option<String>,
    tenant_id: Option<String>,
}

impl SecurityGroupBody {
    pub(super) fn project_id(&self) -> &str {
        either(self.project_id.as_ref(), self.tenant_id.as_ref())
    }
}

impl From<SecurityGroupBody> for SecurityGroup {
    fn from(group: SecurityGroupBody) -> Self {
        Self { id: group.id, project_id: group.project_id().to_owned(), name: group.name }
    }
}

/// Neutron has the project under two names; old ones only under the second.
fn either<'a>(project_id: Option<&'a String>, tenant_id: Option<&'a String>) -> &'a str {
    project_id.or(tenant_id).map(String::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(more: Value) -> PortBody {
        let mut body = json!({
            "id": "11111111-2222-3333-4444-555555555555", "network_id": Uuid::nil(), "tenant_id": "p",
            "mac_address": "fa:16:3e:00:00:01", "device_id": "", "status": "DOWN", "admin_state_up": true,
        });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        serde_json::from_value(body).unwrap()
    }

    fn bridge(more: Value) -> (Option<String>, Option<String>) {
        let network: NetworkBody = serde_json::from_value(json!({"id": Uuid::nil()})).unwrap();
        let vif = port(more).vif(Mark::Made, &network, &[]);
        (vif.network.bridge, vif.ovs_interfaceid)
    }

    #[test]
    fn the_bridge_is_the_bindings_or_novas() {
        let id = Some("11111111-2222-3333-4444-555555555555".to_owned());
        let named = json!({"bridge_name": "br-named"});
        assert_eq!(bridge(json!({"binding:vif_type": "ovs"})), (Some("br-int".to_owned()), id.clone()));
        let ovs = json!({"binding:vif_type": "ovs", "binding:vif_details": named});
        assert_eq!(bridge(ovs), (Some("br-named".to_owned()), id.clone()));
        assert_eq!(bridge(json!({"binding:vif_type": "bridge"})), (Some("brq00000000-00".to_owned()), None));
        let vhost = json!({"binding:vif_type": "vhostuser", "binding:vif_details": {"vhostuser_ovs_plug": true}});
        assert_eq!(bridge(vhost), (Some("br-int".to_owned()), id));
        assert_eq!(bridge(json!({"binding:vif_type": "user"})), (None, None));
    }

    #[test]
    fn the_mark_is_beside_what_the_owner_gave_and_goes_again() {
        let server = Server { uuid: Uuid::nil(), project_id: "p", host: "h" };
        let before = port(json!({"binding:profile": {"trusted": true}}));
        let update = before.bound_to(&server, Mark::Given);
        assert_eq!(update["binding:profile"], json!({"trusted": true, "kilonova": "given"}));
        let after = port(update);
        assert_eq!(after.mark(), Some(Mark::Given));
        assert!(after.is_bound_to(&server, Mark::Given));
        assert!(!after.is_bound_to(&server, Mark::Made));
        assert!(!after.is_bound_to(&Server { host: "other", ..server }, Mark::Given));
        assert_eq!(after.released()["binding:profile"], json!({"trusted": true}));
        assert_eq!(before.mark(), None);
        assert_eq!(port(json!({"binding:profile": {"kilonova": "found"}})).mark(), None);
    }
}
