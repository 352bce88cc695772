//! MetricsWeigher: the sum of what the host's monitors measured, each times its ratio in `[metrics] weight_setting`.
//!
//! A metric that a host does not have fails the request; with `required = false` it gives the host
//! `weight_of_unavailable` instead, unless its ratio or the multiplier is 0.

use kilonova_core::{Config, ConfigError};
use kilonova_objects::RequestSpec;

use super::{HostWeigher, METRICS, Multiplier};
use crate::SchedulerError;
use crate::host_state::HostState;
use crate::options;

#[derive(Debug)]
pub(super) struct MetricsWeigher {
    weight_setting: Vec<(String, f64)>,
    is_required: bool,
    weight_of_unavailable: f64,
    multiplier: Multiplier,
}

impl MetricsWeigher {
    pub(super) fn new(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self {
            weight_setting: options::ratios(config, METRICS, "weight_setting")?,
            is_required: config.flag(METRICS, "required", true)?,
            weight_of_unavailable: options::finite(config, METRICS, "weight_of_unavailable", -10000.0)?,
            multiplier: Self::multiplier(config)?,
        })
    }

    /// Among its kind alone in having one name as an option and another in an aggregate.
    pub(super) fn multiplier(config: &Config) -> Result<Multiplier, ConfigError> {
        let configured = options::finite(config, METRICS, "weight_multiplier", 1.0)?;
        Ok(Multiplier { key: "metrics_weight_multiplier", configured, sign: 1.0 })
    }
}

impl HostWeigher for MetricsWeigher {
    fn weigh(&self, host: &HostState, _spec: &RequestSpec) -> Result<f64, SchedulerError> {
        if self.weight_setting.is_empty() {
            return Ok(0.0);
        }
        let metrics = host.metrics();
        let mut weight = 0.0;
        for (name, ratio) in &self.weight_setting {
            match metrics.get(name) {
                Some(value) => weight += value * ratio,
                None if self.is_required => {
                    return Err(SchedulerError::ComputeHostMetricNotFound {
                        name: name.clone(),
                        host: host.host().to_owned(),
                        node: host.nodename().to_owned(),
                    });
                }
                None if ratio * self.multiplier.of(host) != 0.0 => return Ok(self.weight_of_unavailable),
                None => (),
            }
        }
        Ok(weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::testing::host_with;

    fn weight(options: &str, metrics: &str) -> Result<f64, String> {
        let config = Config::from_text(&format!("[metrics]\n{options}\n")).unwrap();
        let host = host_with("a", |input| input.node.metrics = Some(metrics.to_owned()));
        let weigher = MetricsWeigher::new(&config).unwrap();
        weigher.weigh(&host, &RequestSpec::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn measured_values_are_added_up_by_their_ratios() {
        let metrics = r#"[{"name": "cpu.frequency", "value": 1000}, {"name": "cpu.user.percent", "value": 0.25}]"#;
        for (setting, expected) in [
            ("", 0.0),
            ("cpu.frequency=2", 2000.0),
            ("cpu.frequency=1, cpu.user.percent=-10", 750.0),
            ("cpu.frequency=0", 0.0),
        ] {
            assert_eq!(weight(&format!("weight_setting = {setting}"), metrics), Ok(expected), "{setting}");
        }
    }

    #[test]
    fn a_metric_that_is_not_there_is_an_error_or_a_bad_weight() {
        let missing = "weight_setting = cpu.frequency=1";
        let error = "Metric cpu.frequency could not be found on the compute host node a.a.node.".to_owned();
        assert_eq!(weight(missing, "[]"), Err(error));
        for (options, expected) in [
            (missing, -10000.0),
            ("weight_setting = cpu.frequency=1\nweight_of_unavailable = -5", -5.0),
            ("weight_setting = cpu.frequency=0", 0.0),
            ("weight_setting = cpu.frequency=1\nweight_multiplier = 0", 0.0),
        ] {
            assert_eq!(weight(&format!("{options}\nrequired = false"), "[]"), Ok(expected), "{options}");
        }
    }
}
