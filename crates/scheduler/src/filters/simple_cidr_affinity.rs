//! SimpleCIDRAffinityFilter: near an address. The hint `build_near_host_ip` is the address, the hint `cidr` the size of
//! the network around it, `/24` without.

use std::net::IpAddr;

use super::HostFilter;
use crate::asked::Asked;
use crate::host_state::HostState;

const DEFAULT_CIDR: &str = "/24";

#[derive(Debug)]
pub(super) struct SimpleCidrAffinityFilter;

impl HostFilter for SimpleCidrAffinityFilter {
    fn passes(&self, host: &HostState, asked: &Asked<'_>) -> bool {
        let Some(near) = asked.spec.hint("build_near_host_ip").first() else {
            return true;
        };
        let cidr = asked.spec.hint("cidr").first().map_or(DEFAULT_CIDR, String::as_str);
        let host_ip = host.input.node.host_ip.as_deref();
        host_ip.and_then(|ip| is_near(ip, near, cidr)).unwrap_or(false)
    }
}

/// `None` when one of them is not what it should be.
fn is_near(ip: &str, near: &str, cidr: &str) -> Option<bool> {
    let length: u32 = cidr.strip_prefix('/')?.parse().ok()?;
    let (ip, near, bits) = match (ip.parse().ok()?, near.parse().ok()?) {
        (IpAddr::V4(ip), IpAddr::V4(near)) => (ip.to_bits().into(), near.to_bits().into(), u32::BITS),
        (IpAddr::V6(ip), IpAddr::V6(near)) => (ip.to_bits(), near.to_bits(), u128::BITS),
        _ => return Some(false),
    };
    let host_bits = bits.checked_sub(length)?;
    let network = |address: u128| address.checked_shr(host_bits).unwrap_or(0);
    Some(network(ip) == network(near))
}

#[cfg(test)]
mod tests {
    use kilonova_objects::RequestSpec;

    use super::*;
    use crate::filters::testing::{asked, host_with, with_hint};

    fn passes(host_ip: Option<&str>, near: &str, cidr: Option<&str>) -> bool {
        let mut spec = with_hint("build_near_host_ip", near);
        if let (Some(cidr), Some(hints)) = (cidr, &mut spec.scheduler_hints) {
            hints.insert("cidr".to_owned(), vec![cidr.to_owned()]);
        }
        let host = host_with("a", |input| input.node.host_ip = host_ip.map(str::to_owned));
        SimpleCidrAffinityFilter.passes(&host, &asked(&spec))
    }

    #[test]
    fn the_hosts_address_must_be_in_the_network_around_the_hints() {
        for (host_ip, near, cidr, passed) in [
            ("10.8.1.1", "10.8.1.100", None, true),
            ("10.8.1.1", "10.8.2.100", None, false),
            ("10.8.1.1", "10.8.2.100", Some("/16"), true),
            ("10.9.1.1", "10.8.1.100", Some("/16"), false),
            ("10.8.1.1", "10.8.1.1", Some("/32"), true),
            ("10.8.1.2", "10.8.1.1", Some("/32"), false),
            ("192.0.2.1", "10.8.1.1", Some("/0"), true),
            ("fd00::1:2", "fd00::1:ffff", Some("/112"), true),
            ("fd00::2:2", "fd00::1:ffff", Some("/112"), false),
            ("fd00::1", "10.8.1.1", Some("/0"), false),
            ("::1", "fd00::1", Some("/0"), true),
        ] {
            assert_eq!(passes(Some(host_ip), near, cidr), passed, "{host_ip} {near} {cidr:?}");
        }
    }

    #[test]
    fn what_is_no_address_or_no_size_fits_no_host() {
        for (near, cidr) in
            [("pony", None), ("10.8.1.1", Some("/33")), ("10.8.1.1", Some("24")), ("10.8.1.1", Some("/x"))]
        {
            assert!(!passes(Some("10.8.1.1"), near, cidr), "{near} {cidr:?}");
        }
        assert!(!passes(None, "10.8.1.1", None));
    }

    #[test]
    fn without_the_hint_every_host_passes() {
        let host = host_with("a", |input| input.node.host_ip = None);
        assert!(SimpleCidrAffinityFilter.passes(&host, &asked(&RequestSpec::default())));
    }
}
