//! AvailabilityZoneFilter: the zone that is asked for, if one is.

use kilonova_core::Config;

use super::HostFilter;
use crate::asked::Asked;
use crate::host_state::HostState;

/// Hosts outside of every zone are in the default one.
#[derive(Debug)]
pub(super) struct AvailabilityZoneFilter {
    default: String,
}

impl AvailabilityZoneFilter {
    pub(super) fn new(config: &Config) -> Self {
        let default = config.get("DEFAULT", "default_availability_zone");
        Self { default: default.unwrap_or_else(|| "nova".to_owned()) }
    }
}

impl HostFilter for AvailabilityZoneFilter {
    fn passes(&self, host: &HostState, asked: &Asked<'_>) -> bool {
        let zone = host.input.availability_zone.as_ref().unwrap_or(&self.default);
        asked.spec.availability_zone.as_ref().is_none_or(|asked| asked == zone)
    }
}

#[cfg(test)]
mod tests {
    use kilonova_objects::RequestSpec;

    use super::*;
    use crate::filters::testing::{asked, host, host_with};

    #[test]
    fn a_zone_matches_by_name_and_a_host_without_one_is_in_the_default() {
        let filter = AvailabilityZoneFilter::new(&Config::empty());
        let in_east = host_with("a", |input| input.availability_zone = Some("east".to_owned()));
        let passes = |zone: Option<&str>, host: &HostState| {
            let spec = RequestSpec { availability_zone: zone.map(str::to_owned), ..RequestSpec::default() };
            filter.passes(host, &asked(&spec))
        };
        assert!(passes(None, &in_east) && passes(None, &host("b")));
        assert!(passes(Some("east"), &in_east) && !passes(Some("east"), &host("b")));
        assert!(passes(Some("nova"), &host("b")) && !passes(Some("nova"), &in_east));
    }

    #[test]
    fn the_default_zone_is_an_option() {
        let config = Config::from_text("[DEFAULT]\ndefault_availability_zone = west\n").unwrap();
        let spec = RequestSpec { availability_zone: Some("west".to_owned()), ..RequestSpec::default() };
        assert!(AvailabilityZoneFilter::new(&config).passes(&host("a"), &asked(&spec)));
    }
}
