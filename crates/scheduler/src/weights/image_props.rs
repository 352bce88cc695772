//! ImagePropertiesWeigher: servers on the host whose images have the same properties as the request's.
//!
//! Each such property of each server counts 1, or with `image_props_weight_setting` what that says, 0 for those it does
//! not name. A multiplier above 0 packs what is alike, one below spreads it; it is 0 by default, and then nobody asks
//! for the images of the servers.

use std::collections::BTreeMap;

use kilonova_core::{Config, ConfigError};
use kilonova_objects::RequestSpec;

use super::{GROUP, HostWeigher};
use crate::SchedulerError;
use crate::host_state::HostState;
use crate::options;

#[derive(Debug)]
pub(super) struct ImagePropertiesWeigher {
    is_enabled: bool,
    /// Empty: all count 1.
    weight_setting: BTreeMap<String, f64>,
}

impl ImagePropertiesWeigher {
    pub(super) fn new(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self {
            is_enabled: super::weighs_image_properties(config)?,
            weight_setting: options::ratios(config, GROUP, "image_props_weight_setting")?.into_iter().collect(),
        })
    }
}

impl HostWeigher for ImagePropertiesWeigher {
    fn weigh(&self, host: &HostState, spec: &RequestSpec) -> Result<f64, SchedulerError> {
        let Some(image) = spec.image.as_ref().filter(|_| self.is_enabled) else {
            return Ok(0.0);
        };
        let mut weight = 0.0;
        for (name, value) in host.input.image_properties.iter().flatten() {
            // A server's are texts as its image had them; a boolean may be written in any case.
            let wanted = image.properties.text(name);
            if wanted.is_some_and(|wanted| wanted.eq_ignore_ascii_case(value)) {
                let unnamed = if self.weight_setting.is_empty() { 1.0 } else { 0.0 };
                weight += self.weight_setting.get(name).copied().unwrap_or(unnamed);
            }
        }
        Ok(weight)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::filters::testing::{host_with, options, with_image};

    fn weight(lines: &str, servers: &[&[(&str, &str)]], spec: &RequestSpec) -> f64 {
        let properties = |server: &&[(&str, &str)]| {
            server.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let host = host_with("a", |input| input.image_properties = servers.iter().map(properties).collect());
        ImagePropertiesWeigher::new(&options(lines)).unwrap().weigh(&host, spec).unwrap()
    }

    #[test]
    fn equal_properties_of_all_servers_count() {
        let spec = with_image(json!({"os_distro": "windows", "hw_machine_type": "q35", "os_require_quiesce": true}));
        let windows: &[(&str, &str)] = &[("os_distro", "windows"), ("hw_machine_type", "q35")];
        let debian: &[(&str, &str)] = &[("os_distro", "debian"), ("hw_machine_type", "q35")];
        let on = "image_props_weight_multiplier = 1";
        for (lines, servers, expected) in [
            (on, &[] as &[&[(&str, &str)]], 0.0),
            (on, &[windows], 2.0),
            (on, &[windows, debian, windows], 5.0),
            (on, &[&[("os_require_quiesce", "True")]], 1.0),
            (on, &[&[("os_type", "linux")]], 0.0),
            ("image_props_weight_multiplier = 0", &[windows], 0.0),
            ("", &[windows], 0.0),
        ] {
            assert_eq!(weight(lines, servers, &spec), expected, "{lines} {servers:?}");
        }
        assert_eq!(weight(on, &[windows], &RequestSpec::default()), 0.0);
    }

    #[test]
    fn with_a_setting_each_property_counts_what_it_says_and_others_nothing() {
        let spec = with_image(json!({"os_distro": "windows", "hw_machine_type": "q35"}));
        let windows: &[(&str, &str)] = &[("os_distro", "windows"), ("hw_machine_type", "q35")];
        for (setting, expected) in
            [("os_distro=2", 4.0), ("os_distro=2, hw_machine_type=-0.5", 3.0), ("os_distro=0", 0.0)]
        {
            let lines = format!("image_props_weight_multiplier = 1\nimage_props_weight_setting = {setting}");
            assert_eq!(weight(&lines, &[windows, windows], &spec), expected, "{setting}");
        }
    }
}
