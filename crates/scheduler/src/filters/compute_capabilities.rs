//! ComputeCapabilitiesFilter: extra specs of the flavor against attributes of the host.
//!
//! `capabilities:NAME` is looked up; a path goes on with colons into JSON values (`capabilities:cpu_info:vendor`). A name
//! without a scope counts where the host has it. `hw:maxphysaddr_bits` is the least that `cpu_info:maxphysaddr:bits` may
//! be. Other scopes are somebody else's.

use serde_json::Value;

use super::{HostFilter, extra_specs_ops};
use crate::asked::Asked;
use crate::host_state::HostState;

const SCOPE: &str = "capabilities";
const MAXPHYSADDR_BITS: [&str; 3] = ["cpu_info", "maxphysaddr", "bits"];

#[derive(Debug)]
pub(super) struct ComputeCapabilitiesFilter;

impl HostFilter for ComputeCapabilitiesFilter {
    fn passes(&self, host: &HostState, asked: &Asked<'_>) -> bool {
        asked.spec.flavor.extra_specs.iter().all(|(key, requirement)| {
            let parts: Vec<&str> = key.split(':').collect();
            match parts.as_slice() {
                [name] => host.attribute(name).is_none() || satisfies(host, &parts, requirement),
                [SCOPE, path @ ..] => satisfies(host, path, requirement),
                ["hw", "maxphysaddr_bits"] => satisfies(host, &MAXPHYSADDR_BITS, &format!(">= {requirement}")),
                _ => true,
            }
        })
    }
}

fn satisfies(host: &HostState, path: &[&str], requirement: &str) -> bool {
    look_up(host, path).is_some_and(|value| extra_specs_ops::matches(&value, requirement))
}

fn look_up(host: &HostState, path: &[&str]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    let mut value = host.attribute(first)?;
    for name in rest {
        // JSON in a text is opened on the way.
        if let Value::String(text) = &value {
            value = serde_json::from_str(text).ok()?;
        }
        value = value.get_mut(*name)?.take();
    }
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kilonova_objects::{Flavor, RequestSpec};

    use super::*;
    use crate::filters::testing::{asked, host_with};

    fn passes(key: &str, requirement: &str) -> bool {
        let host = host_with("a", |input| {
            input.node.vcpus = 8;
            input.node.cpu_info =
                Some(r#"{"vendor": "AMD", "topology": {"cores": 4}, "maxphysaddr": {"bits": 46}}"#.to_owned());
            input.node.stats = Some(BTreeMap::from([("rack".to_owned(), Some("r1".to_owned()))]));
        });
        let extra_specs = BTreeMap::from([(key.to_owned(), requirement.to_owned())]);
        let spec = RequestSpec { flavor: Flavor { extra_specs, ..Flavor::default() }, ..RequestSpec::default() };
        ComputeCapabilitiesFilter.passes(&host, &asked(&spec))
    }

    #[test]
    fn attributes_stats_and_paths_into_json_are_compared() {
        assert!(passes("capabilities:vcpus_total", ">= 8"));
        assert!(!passes("capabilities:vcpus_total", ">= 9"));
        assert!(passes("vcpus_total", "8"));
        assert!(passes("capabilities:rack", "<or> r1 <or> r2"));
        assert!(passes("capabilities:cpu_info:vendor", "AMD"));
        assert!(!passes("capabilities:cpu_info:vendor", "Intel"));
        assert!(passes("capabilities:cpu_info:topology:cores", "== 4"));
    }

    #[test]
    fn what_the_host_does_not_have_does_not_match() {
        assert!(!passes("capabilities:pony", "1"));
        assert!(!passes("capabilities:vcpus_total:deeper", "1"));
    }

    #[test]
    fn a_name_without_a_scope_counts_where_the_host_has_it() {
        assert!(passes("pony", "1") && passes("capabilities", "1"));
        assert!(passes("rack", "r1") && !passes("rack", "r2"));
    }

    #[test]
    fn the_width_of_physical_addresses_is_at_least_what_the_flavor_says() {
        assert!(passes("hw:maxphysaddr_bits", "46"));
        assert!(!passes("hw:maxphysaddr_bits", "47"));
    }

    #[test]
    fn other_scopes_are_not_capabilities() {
        for key in ["hw:cpu_policy", "resources:VCPU", "trait:A", "group_policy"] {
            assert!(passes(key, "whatever"), "{key}");
        }
    }
}
