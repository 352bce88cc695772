//! A server's addresses by network, read from the cached network model and nothing else of it.

use std::borrow::Cow;

use kilonova_objects::Instance;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};

/// The addresses of a server, by the label of the network.
#[derive(Debug, Default)]
pub(crate) struct Addresses<'a>(Vec<(Cow<'a, str>, Vec<Address<'a>>)>);

/// One address.
#[derive(Debug, Serialize)]
pub(crate) struct Address<'a> {
    version: u8,
    addr: Cow<'a, str>,
    #[serde(rename = "OS-EXT-IPS:type", skip_serializing_if = "Option::is_none")]
    ip_type: Option<Cow<'a, str>>,
    #[serde(rename = "OS-EXT-IPS-MAC:mac_addr", skip_serializing_if = "Option::is_none")]
    mac_addr: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Vif<'a> {
    #[serde(borrow)]
    address: Cow<'a, str>,
    #[serde(borrow)]
    network: Network<'a>,
}

#[derive(Deserialize)]
struct Network<'a> {
    #[serde(borrow)]
    label: Cow<'a, str>,
    #[serde(borrow)]
    subnets: Vec<Subnet<'a>>,
}

#[derive(Deserialize)]
struct Subnet<'a> {
    #[serde(borrow)]
    ips: Vec<Ip<'a>>,
}

#[derive(Deserialize)]
struct Ip<'a> {
    #[serde(borrow)]
    address: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    ip_type: Option<Cow<'a, str>>,
    version: u8,
    #[serde(borrow, default)]
    floating_ips: Vec<Ip<'a>>,
}

impl<'a> Addresses<'a> {
    /// Reads the cached model. Fixed addresses of a network go before floating ones.
    ///
    /// `is_extended`: with type and MAC address.
    pub(crate) fn of(instance: &'a Instance, is_extended: bool) -> Self {
        let text = instance.info_cache.as_ref().and_then(|cache| cache.network_info.as_deref());
        let vifs: Vec<Vif<'a>> = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let mut all: Vec<(Cow<'a, str>, Vec<Address<'a>>, Vec<Address<'a>>)> = Vec::new();
        for vif in vifs {
            let label = vif.network.label;
            let at = all.iter().position(|(known, ..)| *known == label).unwrap_or_else(|| {
                all.push((label, Vec::new(), Vec::new()));
                all.len() - 1
            });
            let (_, fixed, floating) = &mut all[at];
            for ip in vif.network.subnets.into_iter().flat_map(|subnet| subnet.ips) {
                let mut ip = ip;
                let more = std::mem::take(&mut ip.floating_ips);
                floating.extend(more.into_iter().map(|ip| Address::new(ip, &vif.address, is_extended)));
                fixed.push(Address::new(ip, &vif.address, is_extended));
            }
        }
        let joined = all.into_iter().map(|(label, mut fixed, floating)| {
            fixed.extend(floating);
            (label, fixed)
        });
        Self(joined.collect())
    }

    /// The addresses on one network.
    pub(crate) fn on(&self, label: &str) -> Option<&[Address<'a>]> {
        self.0.iter().find(|(known, _)| known == label).map(|(_, addresses)| addresses.as_slice())
    }
}

impl<'a> Address<'a> {
    fn new(ip: Ip<'a>, mac_addr: &Cow<'a, str>, is_extended: bool) -> Self {
        Self {
            version: ip.version,
            addr: ip.address,
            ip_type: if is_extended { ip.ip_type } else { None },
            mac_addr: is_extended.then(|| mac_addr.clone()),
        }
    }
}

impl Serialize for Addresses<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (label, addresses) in &self.0 {
            map.serialize_entry(label, addresses)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kilonova_objects::InstanceInfoCache;
    use serde_json::{Value, json};

    #[test]
    fn addresses_are_grouped_by_network_fixed_before_floating() {
        let vif = |mac: &str, ips: Value| json!({"id": "x", "address": mac, "network": {"label": "net \"1\"", "subnets": [{"ips": ips}]}});
        let model = json!([
            vif(
                "aa",
                json!([{"address": "10.0.0.1", "type": "fixed", "version": 4,
                "floating_ips": [{"address": "172.24.4.1", "type": "floating", "version": 4}]}])
            ),
            vif("bb", json!([{"address": "fd00::1", "type": "fixed", "version": 6}])),
        ]);
        let cache = InstanceInfoCache { network_info: Some(model.to_string()), ..InstanceInfoCache::default() };
        let instance = Instance { info_cache: Some(cache), ..Instance::default() };
        assert_eq!(
            json!(Addresses::of(&instance, true)),
            json!({"net \"1\"": [
                {"version": 4, "addr": "10.0.0.1", "OS-EXT-IPS:type": "fixed", "OS-EXT-IPS-MAC:mac_addr": "aa"},
                {"version": 6, "addr": "fd00::1", "OS-EXT-IPS:type": "fixed", "OS-EXT-IPS-MAC:mac_addr": "bb"},
                {"version": 4, "addr": "172.24.4.1", "OS-EXT-IPS:type": "floating", "OS-EXT-IPS-MAC:mac_addr": "aa"},
            ]})
        );
        assert_eq!(
            json!(Addresses::of(&instance, false).on("net \"1\"").unwrap()[0]),
            json!({"version": 4, "addr": "10.0.0.1"})
        );
        assert!(Addresses::of(&Instance::default(), true).on("x").is_none());
    }
}
