//! DifferentHostFilter: where none of the servers is that the hint `different_host` names.

use super::HostFilter;
use crate::asked::Asked;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct DifferentHostFilter;

impl HostFilter for DifferentHostFilter {
    fn passes(&self, host: &HostState, asked: &Asked<'_>) -> bool {
        !asked.different_hosts.contains(&host.uuid())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kilonova_objects::RequestSpec;

    use super::*;
    use crate::filters::testing::{asked, host};

    #[test]
    fn hosts_of_the_named_servers_are_refused_and_others_pass() {
        let spec = RequestSpec::default();
        let mut asked = asked(&spec);
        assert!(DifferentHostFilter.passes(&host("a"), &asked));
        asked.different_hosts = BTreeSet::from([host("a").uuid()]);
        assert!(!DifferentHostFilter.passes(&host("a"), &asked));
        assert!(DifferentHostFilter.passes(&host("b"), &asked));
    }
}
