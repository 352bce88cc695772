//! AggregateNumInstancesFilter: not too many servers on one host, as the host's aggregates say; `[filter_scheduler] max_instances_per_host` where none does.

use kilonova_core::{Config, ConfigError};

use super::{GROUP, HostFilter};
use crate::aggregates;
use crate::asked::Asked;
use crate::host_state::HostState;

const OPTION: &str = "max_instances_per_host";

#[derive(Debug)]
pub(super) struct AggregateNumInstancesFilter {
    max_instances_per_host: i64,
}

impl AggregateNumInstancesFilter {
    pub(super) fn new(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self { max_instances_per_host: config.parse(GROUP, OPTION, 50)? })
    }
}

impl HostFilter for AggregateNumInstancesFilter {
    fn passes(&self, host: &HostState, _asked: &Asked<'_>) -> bool {
        host.num_instances < aggregates::least(host, OPTION, self.max_instances_per_host)
    }

    fn run_filter_once_per_request(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use kilonova_objects::RequestSpec;

    use super::*;
    use crate::filters::testing::{asked, host_in, options};

    fn passes(aggregates: &[&[(&str, &str)]], num_instances: i64) -> bool {
        let filter = AggregateNumInstancesFilter::new(&options("max_instances_per_host = 3")).unwrap();
        let mut host = host_in("a", aggregates);
        host.count(num_instances);
        filter.passes(&host, &asked(&RequestSpec::default()))
    }

    #[test]
    fn the_least_of_the_aggregates_counts_and_then_the_option() {
        for (aggregates, limit) in [
            (&[] as &[&[(&str, &str)]], 3),
            (&[&[("other", "1")]], 3),
            (&[&[(OPTION, "5")]], 5),
            (&[&[(OPTION, "5")], &[(OPTION, "2")]], 2),
            (&[&[(OPTION, "5")], &[(OPTION, "many")]], 3),
        ] {
            assert!(passes(aggregates, limit - 1), "{aggregates:?}");
            assert!(!passes(aggregates, limit), "{aggregates:?}");
        }
    }

    #[test]
    fn without_the_option_it_is_50() {
        assert_eq!(AggregateNumInstancesFilter::new(&Config::empty()).unwrap().max_instances_per_host, 50);
    }
}
