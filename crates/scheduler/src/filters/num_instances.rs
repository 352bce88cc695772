//! NumInstancesFilter: not too many servers on one host.

use kilonova_core::{Config, ConfigError};

use super::{GROUP, HostFilter};
use crate::asked::Asked;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct NumInstancesFilter {
    max_instances_per_host: i64,
}

impl NumInstancesFilter {
    pub(super) fn new(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self { max_instances_per_host: config.parse(GROUP, "max_instances_per_host", 50)? })
    }
}

impl HostFilter for NumInstancesFilter {
    fn passes(&self, host: &HostState, _asked: &Asked<'_>) -> bool {
        host.num_instances < self.max_instances_per_host
    }

    fn run_filter_once_per_request(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kilonova_objects::RequestSpec;

    use super::*;
    use crate::filters::testing::{asked, host_with};

    #[test]
    fn the_hosts_own_count_and_what_this_request_placed_are_added_up() {
        let config = Config::from_text("[filter_scheduler]\nmax_instances_per_host = 3\n").unwrap();
        let filter = NumInstancesFilter::new(&config).unwrap();
        let spec = RequestSpec::default();
        let stats = BTreeMap::from([("num_instances".to_owned(), Some("2".to_owned()))]);
        let mut host = host_with("a", |input| input.node.stats = Some(stats));
        assert!(filter.passes(&host, &asked(&spec)));
        host.count(1);
        assert!(!filter.passes(&host, &asked(&spec)));
    }
}
