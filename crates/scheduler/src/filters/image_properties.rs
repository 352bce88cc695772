//! ImagePropertiesFilter: the host can run what the image was made for: architecture, hypervisor, mode and version.

use kilonova_core::Config;
use serde_json::Value;

use super::{GROUP, HostFilter};
use crate::asked::Asked;
use crate::host_state::HostState;

#[derive(Debug)]
pub(super) struct ImagePropertiesFilter {
    default_architecture: Option<String>,
}

impl ImagePropertiesFilter {
    pub(super) fn new(config: &Config) -> Self {
        let default_architecture = config.get(GROUP, "image_properties_default_architecture");
        Self { default_architecture }
    }
}

impl HostFilter for ImagePropertiesFilter {
    fn run_on_rebuild(&self) -> bool {
        true
    }

    fn passes(&self, host: &HostState, asked: &Asked<'_>) -> bool {
        let property = |name: &str| asked.spec.image.as_ref()?.properties.text(name);
        let architecture = property("hw_architecture").or_else(|| self.default_architecture.clone());
        let wanted = [
            architecture.map(|name| canonical_architecture(&name)),
            property("img_hv_type").map(|name| canonical_hv_type(&name)),
            property("hw_vm_mode").map(|name| canonical_vm_mode(&name)),
        ];
        let hypervisor = &host.input.node;
        runs_one(&hypervisor.supported_hv_specs, &wanted)
            && property("img_hv_requested_version")
                .is_none_or(|wanted| version_holds(hypervisor.hypervisor_version, &wanted))
    }
}

/// Whether one of the host's combinations of architecture, hypervisor and mode is the one wanted.
fn runs_one(supported: &[Value], wanted: &[Option<String>; 3]) -> bool {
    wanted.iter().all(Option::is_none)
        || supported.iter().filter_map(combination).any(|combination| {
            wanted.iter().zip(&combination).all(|(wanted, has)| wanted.as_ref().is_none_or(|wanted| wanted == has))
        })
}

/// An `HVSpec` object, or the list of its three fields that drivers report.
fn combination(spec: &Value) -> Option<[String; 3]> {
    let fields = spec.get("nova_object.data");
    let text = |name: &str, place: usize| {
        let value = fields.map_or_else(|| spec.get(place), |fields| fields.get(name));
        value.and_then(Value::as_str)
    };
    Some([
        canonical_architecture(text("arch", 0)?),
        canonical_hv_type(text("hv_type", 1)?),
        canonical_vm_mode(text("vm_mode", 2)?),
    ])
}

fn canonical_architecture(name: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "i386" | "i486" | "i586" | "x86_32" => "i686".to_owned(),
        "amd64" => "x86_64".to_owned(),
        "arm64" => "aarch64".to_owned(),
        other => other.to_owned(),
    }
}

fn canonical_hv_type(name: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "xapi" => "xen".to_owned(),
        other => other.to_owned(),
    }
}

fn canonical_vm_mode(name: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "pv" => "xen".to_owned(),
        "hv" => "hvm".to_owned(),
        other => other.to_owned(),
    }
}

/// `>=6.0,<7.2` against a version as one number (6002001 is 6.2.1).
fn version_holds(version: i64, predicates: &str) -> bool {
    predicates.split(',').all(|predicate| {
        let predicate = predicate.trim();
        let at = predicate.find(|c: char| c.is_ascii_digit()).unwrap_or(predicate.len());
        let (operator, wanted) = predicate.split_at(at);
        let Some(wanted) = version_number(wanted) else {
            return false;
        };
        match operator.trim() {
            "<" => version < wanted,
            "<=" => version <= wanted,
            "==" | "=" => version == wanted,
            ">" => version > wanted,
            ">=" => version >= wanted,
            "!=" => version != wanted,
            _ => false,
        }
    })
}

fn version_number(text: &str) -> Option<i64> {
    let mut parts = text.trim().split('.').map(|part| part.parse::<i64>().ok());
    let mut number = 0i64;
    for _ in 0..3 {
        number = number.checked_mul(1000)?.checked_add(parts.next().unwrap_or(Some(0))?)?;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use kilonova_objects::{ImageMeta, RequestSpec};
    use serde_json::json;

    use super::*;
    use crate::filters::testing::{asked, host_with};

    fn passes_with(config: &Config, supported: Value, properties: &[(&str, &str)]) -> bool {
        let host = host_with("a", |input| {
            input.node.supported_hv_specs = supported.as_array().cloned().unwrap_or_default();
            input.node.hypervisor_version = 6_002_001;
        });
        let mut image = ImageMeta::default();
        for (name, value) in properties {
            image.properties.0.insert((*name).to_owned(), json!(value));
        }
        let spec = RequestSpec { image: Some(image), ..RequestSpec::default() };
        ImagePropertiesFilter::new(config).passes(&host, &asked(&spec))
    }

    fn passes(properties: &[(&str, &str)]) -> bool {
        let supported = json!([["x86_64", "kvm", "hvm"], ["i686", "qemu", "hvm"]]);
        passes_with(&Config::empty(), supported, properties)
    }

    #[test]
    fn an_image_without_properties_runs_anywhere() {
        assert!(passes(&[]));
        assert!(passes_with(&Config::empty(), json!([]), &[]));
    }

    #[test]
    fn all_properties_must_fit_one_combination_of_the_host() {
        assert!(passes(&[("hw_architecture", "x86_64"), ("img_hv_type", "kvm")]));
        assert!(passes(&[("hw_architecture", "AMD64"), ("hw_vm_mode", "hv")]));
        assert!(!passes(&[("hw_architecture", "x86_64"), ("img_hv_type", "qemu")]));
        assert!(!passes(&[("hw_architecture", "aarch64")]));
        assert!(!passes(&[("hw_vm_mode", "xen")]));
        assert!(!passes_with(&Config::empty(), json!([]), &[("hw_architecture", "x86_64")]));
    }

    #[test]
    fn combinations_are_read_as_objects_too() {
        let supported = json!([{
            "nova_object.name": "HVSpec", "nova_object.version": "1.2",
            "nova_object.data": {"arch": "aarch64", "hv_type": "kvm", "vm_mode": "hvm"},
        }]);
        let empty = Config::empty();
        assert!(passes_with(&empty, supported.clone(), &[("hw_architecture", "aarch64")]));
        assert!(!passes_with(&empty, supported, &[("hw_architecture", "x86_64")]));
    }

    #[test]
    fn the_default_architecture_holds_for_images_that_name_none() {
        let text = "[filter_scheduler]\nimage_properties_default_architecture = aarch64\n";
        let config = Config::from_text(text).unwrap();
        let supported = json!([["x86_64", "kvm", "hvm"]]);
        assert!(!passes_with(&config, supported.clone(), &[]));
        assert!(passes_with(&config, supported, &[("hw_architecture", "x86_64")]));
    }

    #[test]
    fn a_requested_version_is_compared_part_by_part() {
        let version = |wanted: &str| passes(&[("img_hv_requested_version", wanted)]);
        assert!(version(">=6.0, <6.10"));
        assert!(version("==6.2.1"));
        assert!(!version("<6.2.1"));
        assert!(!version(">=6.0,!=6.2.1"));
        assert!(!version("pony"));
    }
}
