//! IoOpsFilter: not too much building, resizing and copying at once on one host.

use kilonova_core::{Config, ConfigError};

use super::{GROUP, HostFilter};
use crate::asked::Asked;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct IoOpsFilter {
    max_io_ops_per_host: i64,
}

impl IoOpsFilter {
    pub(super) fn new(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self { max_io_ops_per_host: config.parse(GROUP, "max_io_ops_per_host", 8)? })
    }
}

impl HostFilter for IoOpsFilter {
    fn passes(&self, host: &HostState, _asked: &Asked<'_>) -> bool {
        host.num_io_ops < self.max_io_ops_per_host
    }

    fn run_filter_once_per_request(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use kilonova_objects::RequestSpec;

    use super::*;
    use crate::filters::testing::{asked, host};

    #[test]
    fn the_last_one_below_the_limit_passes() {
        let filter = IoOpsFilter::new(&Config::empty()).unwrap();
        let spec = RequestSpec::default();
        let mut host = host("a");
        host.count(7);
        assert!(filter.passes(&host, &asked(&spec)));
        host.count(1);
        assert!(!filter.passes(&host, &asked(&spec)));
    }
}
