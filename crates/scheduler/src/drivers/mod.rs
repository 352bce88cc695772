//! The drivers: which of the hosts that may, does. Chosen by `[scheduler] driver`.

mod chance_scheduler;
mod filter_scheduler;

use kilonova_core::{Config, ConfigError};

use self::filter_scheduler::FilterScheduler;
use crate::ranking::Ranking;
use crate::weights::Weighers;

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

    /// Who says how good a host is, if anybody does.
    pub(crate) fn weighers(&self) -> Option<&Weighers> {
        match self {
            Self::FilterScheduler(driver) => Some(&driver.weighers),
            Self::ChanceScheduler => None,
        }
    }

    /// The places of the first `count` hosts of those that may, the one to try first at the front.
    pub(crate) fn best(&self, ranking: &Ranking, count: usize) -> Vec<usize> {
        match self {
            Self::FilterScheduler(driver) => driver.best(ranking, count),
            Self::ChanceScheduler => chance_scheduler::any(ranking, count),
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
