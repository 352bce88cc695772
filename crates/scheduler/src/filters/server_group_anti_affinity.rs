//! ServerGroupAntiAffinityFilter: members of a group with the policy `anti-affinity` keep apart.

use super::HostFilter;
use crate::asked::Asked;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct ServerGroupAntiAffinityFilter;

impl HostFilter for ServerGroupAntiAffinityFilter {
    fn passes(&self, host: &HostState, asked: &Asked<'_>) -> bool {
        let Some(group) = &asked.spec.instance_group else {
            return true;
        };
        if group.policy.as_deref() != Some("anti-affinity") {
            return true;
        }
        host.group_members < group.max_server_per_host()
    }

    fn run_filter_once_per_request(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kilonova_objects::{InstanceGroup, RequestSpec};

    use super::*;
    use crate::filters::testing::{asked, host};

    fn passes(policy: &str, max: Option<&str>, members: i64) -> bool {
        let rule = |max: &str| ("max_server_per_host".to_owned(), max.to_owned());
        let group = InstanceGroup {
            policy: Some(policy.to_owned()),
            _rules: max.map(rule).into_iter().collect::<BTreeMap<_, _>>(),
            ..InstanceGroup::default()
        };
        let spec = RequestSpec { instance_group: Some(group), ..RequestSpec::default() };
        let mut host = host("a");
        host.count(members);
        ServerGroupAntiAffinityFilter.passes(&host, &asked(&spec))
    }

    #[test]
    fn one_member_is_enough_unless_a_rule_allows_more() {
        assert!(passes("anti-affinity", None, 0));
        assert!(!passes("anti-affinity", None, 1));
        assert!(passes("anti-affinity", Some("3"), 2));
        assert!(!passes("anti-affinity", Some("3"), 3));
        assert!(passes("soft-anti-affinity", None, 9));
    }
}
