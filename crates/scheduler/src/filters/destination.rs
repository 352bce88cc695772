//! Hosts that a request names: to go to, to be forced to, to stay away from.

use kilonova_objects::{Destination, RequestSpec};

use crate::host_state::HostState;
use crate::report::Report;

/// Leaves what the request's names allow.
pub(crate) fn apply(spec: &RequestSpec, hosts: &mut Vec<HostState>, report: &mut Report) {
    if let Some(destination) = &spec.requested_destination {
        keep("requested destination", hosts, report, |host| is_at(destination, host));
    }
    if let Some(names) = named(&spec.force_hosts) {
        keep("forced hosts", hosts, report, |host| contains(names, host.host()));
    }
    if let Some(names) = named(&spec.force_nodes) {
        keep("forced nodes", hosts, report, |host| contains(names, host.nodename()));
    }
    if let Some(names) = named(&spec.ignore_hosts) {
        keep("ignored hosts", hosts, report, |host| !contains(names, host.host()));
    }
}

fn keep(name: &str, hosts: &mut Vec<HostState>, report: &mut Report, allowed: impl Fn(&HostState) -> bool) {
    let of = hosts.len();
    hosts.retain(allowed);
    report.step(name, of, hosts.len());
}

fn is_at(destination: &Destination, host: &HostState) -> bool {
    let is =
        |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(name));
    is(&destination.host, host.host()) && is(&destination.node, host.nodename())
}

fn named(names: &Option<Vec<String>>) -> Option<&[String]> {
    names.as_deref().filter(|names| !names.is_empty())
}

/// Host names differ by more than case.
fn contains(names: &[String], name: &str) -> bool {
    names.iter().any(|one| one.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::testing::host;

    fn left(spec: &RequestSpec) -> Vec<String> {
        let mut hosts = vec![host("a"), host("b"), host("c")];
        apply(spec, &mut hosts, &mut Report::default());
        hosts.iter().map(|host| host.host().to_owned()).collect()
    }

    fn names(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn forced_hosts_and_nodes_must_both_fit() {
        let spec = RequestSpec {
            force_hosts: names(&["A", "b"]),
            force_nodes: names(&["b.node", "c.node"]),
            ..RequestSpec::default()
        };
        assert_eq!(left(&spec), ["b"]);
    }

    #[test]
    fn ignored_hosts_go_and_an_empty_list_says_nothing() {
        let spec = RequestSpec { ignore_hosts: names(&["a", "x"]), ..RequestSpec::default() };
        assert_eq!(left(&spec), ["b", "c"]);
        let empty = RequestSpec {
            ignore_hosts: names(&[]),
            force_hosts: names(&[]),
            force_nodes: names(&[]),
            ..RequestSpec::default()
        };
        assert_eq!(left(&empty), ["a", "b", "c"]);
    }

    #[test]
    fn a_requested_destination_is_a_host_a_node_or_both() {
        let to = |host: Option<&str>, node: Option<&str>| {
            let destination =
                Destination { host: host.map(str::to_owned), node: node.map(str::to_owned), ..Destination::default() };
            left(&RequestSpec { requested_destination: Some(destination), ..RequestSpec::default() })
        };
        assert_eq!(to(Some("b"), None), ["b"]);
        assert_eq!(to(None, Some("c.node")), ["c"]);
        assert_eq!(to(Some("b"), Some("c.node")), [] as [&str; 0]);
        assert_eq!(to(None, None), ["a", "b", "c"]);
    }
}
