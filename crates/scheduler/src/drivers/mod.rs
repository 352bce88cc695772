//! The drivers: which of the hosts that may, does. Chosen by `[scheduler] driver`.

mod chance_scheduler;
mod filter_scheduler;

use kilonova_core::{Config, ConfigError};
use kilonova_objects::RequestSpec;

use self::filter_scheduler::FilterScheduler;
use crate::SchedulerError;
use crate::host_state::HostState;

/// A driver with its options.
#[derive(Debug)]
pub(crate) enum Driver {
    /// The best by weight.
    FilterScheduler(FilterScheduler),
    /// Any.
    ChanceScheduler,
}

impl Driver {
    pub(crate) fn from_config(config: &Config) -> Result<Self, ConfigError> {
        let name = config.get("scheduler", "driver");
        match name.as_deref().unwrap_or("filter_scheduler") {
            "filter_scheduler" => Ok(Self::FilterScheduler(FilterScheduler::from_config(config)?)),
            "chance_scheduler" => Ok(Self::ChanceScheduler),
            other => Err(ConfigError::Value {
                group: "scheduler".to_owned(),
                name: "driver".to_owned(),
                value: other.to_owned(),
                expected: "one of filter_scheduler, chance_scheduler".to_owned(),
            }),
        }
    }

    /// `places` of `hosts`, the one to try first at the front.
    pub(crate) fn order(
        &self,
        spec: &RequestSpec,
        hosts: &[HostState],
        places: Vec<usize>,
    ) -> Result<Vec<usize>, SchedulerError> {
        match self {
            Self::FilterScheduler(driver) => driver.order(spec, hosts, places),
            Self::ChanceScheduler => Ok(chance_scheduler::order(places)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_driver_is_an_error_that_names_the_option() {
        let config = Config::from_text("[scheduler]\ndriver = pony\n").unwrap();
        let error = Driver::from_config(&config).unwrap_err().to_string();
        assert_eq!(error, "[scheduler] driver: \"pony\" is not one of filter_scheduler, chance_scheduler");
    }

    #[test]
    fn the_filter_scheduler_is_the_default() {
        let driver = Driver::from_config(&Config::empty()).unwrap();
        assert!(matches!(driver, Driver::FilterScheduler(_)));
    }
}
