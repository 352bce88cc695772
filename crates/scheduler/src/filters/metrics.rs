//! MetricsFilter: the host has every metric that `[metrics] weight_setting` weighs, so that MetricsWeigher can.

use kilonova_core::{Config, ConfigError};

use super::HostFilter;
use crate::asked::Asked;
use crate::host_state::HostState;
use crate::options;

#[derive(Debug)]
pub(super) struct MetricsFilter {
    names: Vec<String>,
}

impl MetricsFilter {
    pub(super) fn new(config: &Config) -> Result<Self, ConfigError> {
        let ratios = options::ratios(config, "metrics", "weight_setting")?;
        Ok(Self { names: ratios.into_iter().map(|(name, _)| name).collect() })
    }
}

impl HostFilter for MetricsFilter {
    fn passes(&self, host: &HostState, _asked: &Asked<'_>) -> bool {
        self.names.iter().all(|name| host.metrics().contains_key(name))
    }
}

#[cfg(test)]
mod tests {
    use kilonova_objects::RequestSpec;

    use super::*;
    use crate::filters::testing::{asked, host_with};

    #[test]
    fn a_host_needs_every_metric_that_is_weighed() {
        let metrics =
            r#"[{"name": "cpu.frequency", "value": 1000, "timestamp": "2026-01-01T00:00:00", "source": "x"}]"#;
        for (setting, metrics, passed) in [
            ("", None, true),
            ("", Some(metrics), true),
            ("cpu.frequency=1.0", Some(metrics), true),
            ("cpu.frequency=1.0", None, false),
            ("cpu.frequency=1.0", Some("[]"), false),
            ("cpu.frequency=1.0", Some("pony"), false),
            ("cpu.frequency=1.0, cpu.user.time=-1", Some(metrics), false),
        ] {
            let config = Config::from_text(&format!("[metrics]\nweight_setting = {setting}\n")).unwrap();
            let filter = MetricsFilter::new(&config).unwrap();
            let host = host_with("a", |input| input.node.metrics = metrics.map(str::to_owned));
            let spec = RequestSpec::default();
            assert_eq!(filter.passes(&host, &asked(&spec)), passed, "{setting} {metrics:?}");
        }
    }
}
