//! AllHostsFilter: every host.

use super::HostFilter;
use crate::asked::Asked;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct AllHostsFilter;

impl HostFilter for AllHostsFilter {
    fn passes(&self, _host: &HostState, _asked: &Asked<'_>) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use kilonova_objects::RequestSpec;

    use super::*;
    use crate::filters::testing::{asked, host_with};

    #[test]
    fn even_a_disabled_host_passes() {
        let disabled = host_with("a", |input| input.service.disabled = true);
        assert!(AllHostsFilter.passes(&disabled, &asked(&RequestSpec::default())));
    }
}
