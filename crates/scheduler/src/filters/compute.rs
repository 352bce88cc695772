//! ComputeFilter: the host's compute service is enabled and alive.

use kilonova_core::{Config, ConfigError};

use super::HostFilter;
use crate::asked::Asked;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct ComputeFilter {
    service_down_time_s: i64,
}

impl ComputeFilter {
    pub(super) fn new(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self { service_down_time_s: config.parse("DEFAULT", "service_down_time", 60)? })
    }
}

impl HostFilter for ComputeFilter {
    fn passes(&self, host: &HostState, asked: &Asked<'_>) -> bool {
        let service = &host.input.service;
        !service.disabled && service.is_up(asked.now, self.service_down_time_s)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use kilonova_core::time::utcnow;
    use kilonova_objects::{RequestSpec, Service};

    use super::*;
    use crate::filters::testing::{asked, host_with};

    fn passes(change: fn(&mut Service)) -> bool {
        let host = host_with("a", |input| change(&mut input.service));
        let filter = ComputeFilter::new(&Config::empty()).unwrap();
        filter.passes(&host, &asked(&RequestSpec::default()))
    }

    #[test]
    fn an_enabled_service_with_a_fresh_heartbeat_passes() {
        assert!(passes(|_| ()));
        assert!(passes(|service| service.last_seen_up = Some(utcnow() - TimeDelta::seconds(55))));
    }

    #[test]
    fn a_disabled_a_silent_and_a_forced_down_service_do_not() {
        assert!(!passes(|service| service.disabled = true));
        assert!(!passes(|service| service.forced_down = true));
        assert!(!passes(|service| service.last_seen_up = Some(utcnow() - TimeDelta::seconds(62))));
        assert!(!passes(|service| service.last_seen_up = None));
    }
}
