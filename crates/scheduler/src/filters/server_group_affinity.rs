//! ServerGroupAffinityFilter: members of a group with the policy `affinity` share a host.

use super::HostFilter;
use crate::asked::Asked;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct ServerGroupAffinityFilter;

impl HostFilter for ServerGroupAffinityFilter {
    fn passes(&self, host: &HostState, asked: &Asked<'_>) -> bool {
        let Some(group) = &asked.spec.instance_group else {
            return true;
        };
        if group.policy.as_deref() != Some("affinity") {
            return true;
        }
        // The conductor says where members are that placement does not know of.
        let named = group.hosts.as_deref().unwrap_or_default();
        let is_free_choice = named.is_empty() && !asked.is_group_placed;
        is_free_choice || host.group_members > 0 || named.iter().any(|name| name == host.host())
    }

    fn run_filter_once_per_request(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use kilonova_objects::{InstanceGroup, RequestSpec};

    use super::*;
    use crate::filters::testing::{asked, host};

    fn spec(policy: &str, hosts: &[&str]) -> RequestSpec {
        let hosts = hosts.iter().map(|name| (*name).to_owned()).collect();
        let group = InstanceGroup { policy: Some(policy.to_owned()), hosts: Some(hosts), ..InstanceGroup::default() };
        RequestSpec { instance_group: Some(group), ..RequestSpec::default() }
    }

    #[test]
    fn the_first_member_goes_anywhere_and_the_next_to_it() {
        let spec = spec("affinity", &[]);
        let mut asked = asked(&spec);
        let (mut first, other) = (host("a"), host("b"));
        assert!(ServerGroupAffinityFilter.passes(&other, &asked));
        first.count(1);
        asked.is_group_placed = true;
        assert!(ServerGroupAffinityFilter.passes(&first, &asked));
        assert!(!ServerGroupAffinityFilter.passes(&other, &asked));
    }

    #[test]
    fn hosts_that_the_request_names_count_and_other_policies_do_not_care() {
        let strict = spec("affinity", &["a"]);
        assert!(ServerGroupAffinityFilter.passes(&host("a"), &asked(&strict)));
        assert!(!ServerGroupAffinityFilter.passes(&host("b"), &asked(&strict)));
        let soft = spec("soft-affinity", &["a"]);
        assert!(ServerGroupAffinityFilter.passes(&host("b"), &asked(&soft)));
    }
}
