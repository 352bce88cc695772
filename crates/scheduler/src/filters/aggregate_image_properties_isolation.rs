//! AggregateImagePropertiesIsolation: where an aggregate names a property of images, a host of it takes only images with
//! one of those values, or without the property.
//!
//! With `aggregate_image_properties_isolation_namespace` only keys that begin with it and the separator count. No
//! property that Nova knows begins like that any more.

use kilonova_core::Config;
use kilonova_objects::ImageMetaProps;
use serde_json::Value;

use super::{GROUP, HostFilter};
use crate::aggregates;
use crate::asked::Asked;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct AggregateImagePropertiesIsolation {
    /// What a key must begin with.
    prefix: String,
}

impl AggregateImagePropertiesIsolation {
    pub(super) fn new(config: &Config) -> Self {
        let option = |name: &str| config.get(GROUP, &format!("aggregate_image_properties_isolation_{name}"));
        let (namespace, separator) = (option("namespace").unwrap_or_default(), option("separator"));
        let separator = separator.unwrap_or_else(|| ".".to_owned());
        Self { prefix: if namespace.is_empty() { namespace } else { namespace + &separator } }
    }
}

impl HostFilter for AggregateImagePropertiesIsolation {
    fn passes(&self, host: &HostState, asked: &Asked<'_>) -> bool {
        let Some(image) = &asked.spec.image else {
            return true;
        };
        aggregates::metadata(host).into_iter().filter(|(key, _)| key.starts_with(&self.prefix)).all(|(key, values)| {
            let property = if ImageMetaProps::NAMES.contains(&key) { image.properties.0.get(key) } else { None };
            property.and_then(text).is_none_or(|text| values.contains(text.as_str()))
        })
    }

    fn run_on_rebuild(&self) -> bool {
        true
    }
}

/// How Python writes the value; `None` for what it takes for false.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Bool(true) => Some("True".to_owned()),
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        Value::Number(number) => (number.as_f64() != Some(0.0)).then(|| number.to_string()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use kilonova_objects::RequestSpec;
    use serde_json::json;

    use super::*;
    use crate::filters::testing::{asked, host_in, options, with_image};

    fn passes(lines: &str, metadata: &[(&str, &str)], properties: Value) -> bool {
        let filter = AggregateImagePropertiesIsolation::new(&options(lines));
        filter.passes(&host_in("a", &[metadata]), &asked(&with_image(properties)))
    }

    #[test]
    fn a_property_that_an_aggregate_names_must_have_one_of_its_values() {
        for (value, of_image, passed) in [
            ("windows", json!({"os_distro": "windows"}), true),
            ("windows", json!({"os_distro": "debian"}), false),
            ("windows, debian", json!({"os_distro": "debian"}), true),
            ("windows", json!({}), true),
            ("windows", json!({"os_distro": ""}), true),
            ("windows", json!({"hw_machine_type": "q35"}), true),
        ] {
            assert_eq!(passes("", &[("os_distro", value)], of_image.clone()), passed, "{value} {of_image}");
        }
    }

    #[test]
    fn values_are_compared_as_python_writes_them() {
        for (value, of_image, passed) in [
            ("True", json!({"os_require_quiesce": true}), true),
            ("true", json!({"os_require_quiesce": true}), false),
            ("True", json!({"os_require_quiesce": false}), true),
            ("4", json!({"os_require_quiesce": 4}), true),
            ("4", json!({"os_require_quiesce": 0}), true),
            ("4", json!({"os_require_quiesce": 5}), false),
        ] {
            assert_eq!(passes("", &[("os_require_quiesce", value)], of_image.clone()), passed, "{value} {of_image}");
        }
    }

    #[test]
    fn names_that_are_no_property_of_images_and_other_namespaces_do_not_count() {
        assert!(passes("", &[("pony", "a")], json!({"pony": "b"})));
        let namespace = "aggregate_image_properties_isolation_namespace = os";
        assert!(passes(namespace, &[("os_distro", "windows")], json!({"os_distro": "debian"})));
        let separated = format!("{namespace}\naggregate_image_properties_isolation_separator = _");
        assert!(!passes(&separated, &[("os_distro", "windows")], json!({"os_distro": "debian"})));
        assert!(passes(&separated, &[("hw_disk_bus", "scsi")], json!({"hw_disk_bus": "virtio"})));
    }

    #[test]
    fn a_request_without_an_image_passes_and_a_rebuild_is_looked_at() {
        let filter = AggregateImagePropertiesIsolation::new(&Config::empty());
        let host = host_in("a", &[&[("os_distro", "windows")]]);
        assert!(filter.passes(&host, &asked(&RequestSpec::default())));
        assert!(filter.run_on_rebuild());
    }
}
