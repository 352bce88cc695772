//! QEMU's user-mode network: per interface a private copy of its subnet, in which the guest gets its port's address by
//! DHCP, with the host as the router.
//!
//! No privilege is needed, and no guest sees another. The guest reaches the world as a process of the host would; the
//! world reaches the guest by the forwarded ssh port of the first interface.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use kilonova_objects::network_model::{Subnet, Vif};
use serde::{Deserialize, Serialize};

use crate::driver::DriverError;

/// One interface of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Nic {
    pub(super) mac: String,
    pub(super) net: Ipv4Net,
    /// The router, which is the host.
    pub(super) host: Ipv4Addr,
    /// What the guest gets by DHCP.
    pub(super) address: Ipv4Addr,
    /// A name server that QEMU plays.
    pub(super) dns: Ipv4Addr,
    pub(super) mtu: Option<u32>,
}

impl Nic {
    pub(super) fn of(vif: &Vif) -> Result<Self, DriverError> {
        let unusable = |what: &str| DriverError::Hypervisor(format!("port {} cannot be plugged: {what}", vif.id));
        let has_ipv4 = |subnet: &&Subnet| subnet.version == 4 && !subnet.ips.is_empty();
        let subnet = vif
            .network
            .subnets
            .iter()
            .find(has_ipv4)
            .ok_or_else(|| unusable("the user-mode network needs an IPv4 address on it"))?;
        let net: Ipv4Net = parse(&subnet.cidr).ok_or_else(|| unusable("its cidr is none"))?;
        let address = parse(&subnet.ips[0].address).ok_or_else(|| unusable("its address is none"))?;
        let gateway = subnet.gateway.as_ref().and_then(|gateway| parse::<Ipv4Addr>(gateway.address.as_deref()?));
        if !is_mac(&vif.address) {
            return Err(unusable("its MAC address is none"));
        }
        let is_ours = |ip: &Ipv4Addr| net.contains(ip) && *ip != address;
        let gateway = gateway.filter(is_ours);
        let (host, dns) = host_and_dns(net.trunc(), address, gateway)
            .ok_or_else(|| unusable("its subnet is too small: the user-mode network takes three addresses"))?;
        if !net.contains(&address) {
            return Err(unusable("its address is not in its subnet"));
        }
        let mtu = vif.network.meta.get("mtu").and_then(|mtu| mtu.as_u64());
        Ok(Self {
            mac: vif.address.clone(),
            net: net.trunc(),
            host,
            address,
            dns,
            mtu: mtu.and_then(|mtu| u32::try_from(mtu).ok()),
        })
    }

    /// The value of `-netdev`. Nothing in it comes from a user as text.
    pub(super) fn netdev(&self, id: &str, ssh_forward: Option<(Ipv4Addr, u16)>) -> String {
        let Self { net, host, address, dns, .. } = self;
        let mut text =
            format!("user,id={id},ipv4=on,ipv6=off,net={net},host={host},dhcpstart={address},dns={dns},restrict=off");
        if let Some((listen, port)) = ssh_forward {
            text.push_str(&format!(",hostfwd=tcp:{listen}:{port}-{address}:22"));
        }
        text
    }
}

/// Two further addresses of `net`: the router, which may be given, and, from the other end, the name server. QEMU wants
/// both inside, apart from each other and from the guest's.
fn host_and_dns(net: Ipv4Net, address: Ipv4Addr, gateway: Option<Ipv4Addr>) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let host = match gateway {
        Some(gateway) => gateway,
        None => net.hosts().find(|ip| *ip != address)?,
    };
    // Not `hosts().rev()`: that may be a walk over millions.
    let broadcast = u32::from(net.broadcast());
    let dns = (1..=3)
        .map(|back| Ipv4Addr::from(broadcast.saturating_sub(back)))
        .find(|ip| ![address, host, net.network()].contains(ip) && net.contains(ip))?;
    Some((host, dns))
}

fn parse<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn is_mac(text: &str) -> bool {
    let octets: Vec<&str> = text.split(':').collect();
    let is_octet = |octet: &&str| octet.len() == 2 && u8::from_str_radix(octet, 16).is_ok();
    octets.len() == 6 && octets.iter().all(is_octet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    fn chosen(net: &str, address: &str, gateway: Option<&str>) -> Option<(Ipv4Addr, Ipv4Addr)> {
        host_and_dns(net.parse().unwrap(), ip(address), gateway.map(ip))
    }

    #[test]
    fn the_three_addresses_of_a_subnet_are_always_apart() {
        let expected = |host, dns| Some((ip(host), ip(dns)));
        assert_eq!(chosen("10.0.0.0/24", "10.0.0.7", Some("10.0.0.1")), expected("10.0.0.1", "10.0.0.254"));
        assert_eq!(chosen("10.0.0.0/24", "10.0.0.254", Some("10.0.0.253")), expected("10.0.0.253", "10.0.0.252"));
        assert_eq!(chosen("10.0.0.0/24", "10.0.0.1", None), expected("10.0.0.2", "10.0.0.254"));
        assert_eq!(chosen("10.0.0.0/29", "10.0.0.2", Some("10.0.0.1")), expected("10.0.0.1", "10.0.0.6"));
        assert_eq!(chosen("10.0.0.0/30", "10.0.0.2", Some("10.0.0.1")), None);
    }

    #[test]
    fn only_a_mac_address_is_one() {
        assert!(is_mac("fa:16:3e:00:00:01"));
        for text in ["", "fa:16:3e:00:00", "fa:16:3e:00:00:0g", "fa:16:3e:00:00:01,x=y"] {
            assert!(!is_mac(text), "{text}");
        }
    }
}
