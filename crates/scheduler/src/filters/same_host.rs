//! SameHostFilter: where one of the servers is that the hint `same_host` names.

use super::HostFilter;
use crate::asked::Asked;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct SameHostFilter;

impl HostFilter for SameHostFilter {
    fn passes(&self, host: &HostState, asked: &Asked<'_>) -> bool {
        asked.same_hosts.as_ref().is_none_or(|hosts| hosts.contains(&host.uuid()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kilonova_objects::RequestSpec;

    use super::*;
    use crate::filters::testing::{asked, host};

    #[test]
    fn without_the_hint_all_pass_and_with_it_only_its_hosts() {
        let spec = RequestSpec::default();
        let mut asked = asked(&spec);
        assert!(SameHostFilter.passes(&host("a"), &asked));
        asked.same_hosts = Some(BTreeSet::from([host("a").uuid()]));
        assert!(SameHostFilter.passes(&host("a"), &asked));
        assert!(!SameHostFilter.passes(&host("b"), &asked));
    }

    #[test]
    fn a_hint_that_names_no_server_refuses_every_host() {
        let spec = RequestSpec::default();
        let mut asked = asked(&spec);
        asked.same_hosts = Some(BTreeSet::new());
        assert!(!SameHostFilter.passes(&host("a"), &asked));
    }
}
