//! Features of a server that not every host has: accelerators, packed virtqueues, encrypted disks, a virtio sound card, a
//! TPM whose secret is kept in some way. A request that names one needs a host with its trait; this cannot be switched
//! off.

use std::collections::BTreeSet;

use kilonova_objects::RequestSpec;

use crate::SchedulerError;

pub(super) fn traits(spec: &RequestSpec) -> Result<BTreeSet<String>, SchedulerError> {
    let mut traits = BTreeSet::new();
    let mut require = |name: &str| traits.insert(name.to_owned());
    let extra_spec = |name: &str| spec.flavor.extra_specs.get(name).map(String::as_str);
    if extra_spec("accel:device_profile").is_some_and(|profile| !profile.is_empty()) {
        require("COMPUTE_ACCELERATORS");
    }
    if wanted(spec, "virtio_packed_ring").is_some_and(|value| is_true(&value)) {
        require("COMPUTE_NET_VIRTIO_PACKED");
    }
    if wanted(spec, "ephemeral_encryption").is_some_and(|value| is_true(&value)) {
        require("COMPUTE_EPHEMERAL_ENCRYPTION");
        if let Some(format) = wanted(spec, "ephemeral_encryption_format") {
            require(&format!("COMPUTE_EPHEMERAL_ENCRYPTION_{}", format.to_ascii_uppercase()));
        }
    }
    if wanted(spec, "sound_model").is_some_and(|model| model == "virtio") {
        require("COMPUTE_SOUND_MODEL_VIRTIO");
    }
    if wanted(spec, "tpm_version").is_some() {
        let security = extra_spec("hw:tpm_secret_security").unwrap_or("user");
        if !["user", "host", "deployment"].contains(&security) {
            let reason = format!("Scheduling failed: TPM secret security '{security}' is not supported.");
            return Err(SchedulerError::NoValidHost { reason });
        }
        require(&format!("COMPUTE_SECURITY_TPM_SECRET_SECURITY_{}", security.to_ascii_uppercase()));
    }
    Ok(traits)
}

/// `hw:NAME` of the flavor or `hw_NAME` of the image. The API lets them not contradict each other.
fn wanted(spec: &RequestSpec, name: &str) -> Option<String> {
    let of_flavor = spec.flavor.extra_specs.get(&format!("hw:{name}")).cloned();
    let of_image = || spec.image.as_ref()?.properties.text(&format!("hw_{name}"));
    of_flavor.or_else(of_image).filter(|value| !value.is_empty())
}

/// As oslo.utils reads a boolean.
fn is_true(text: &str) -> bool {
    ["1", "t", "true", "on", "y", "yes"].contains(&text.trim().to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::filters::testing::{with_extra_specs, with_image};

    fn required(extra_specs: &[(&str, &str)], properties: Value) -> Vec<String> {
        let spec = RequestSpec { image: with_image(properties).image, ..with_extra_specs(extra_specs) };
        traits(&spec).unwrap().into_iter().collect()
    }

    #[test]
    fn each_feature_is_a_trait_whether_flavor_or_image_names_it() {
        const TPM: &str = "COMPUTE_SECURITY_TPM_SECRET_SECURITY";
        for (extra_specs, properties, expected) in [
            (&[] as &[(&str, &str)], json!({}), vec![]),
            (&[("accel:device_profile", "gpu")], json!({}), vec!["COMPUTE_ACCELERATORS".to_owned()]),
            (&[("hw:virtio_packed_ring", "yes")], json!({}), vec!["COMPUTE_NET_VIRTIO_PACKED".to_owned()]),
            (&[], json!({"hw_virtio_packed_ring": true}), vec!["COMPUTE_NET_VIRTIO_PACKED".to_owned()]),
            (&[("hw:virtio_packed_ring", "false")], json!({}), vec![]),
            (&[("hw:ephemeral_encryption", "true")], json!({}), vec!["COMPUTE_EPHEMERAL_ENCRYPTION".to_owned()]),
            (
                &[("hw:ephemeral_encryption", "true")],
                json!({"hw_ephemeral_encryption_format": "luks"}),
                vec!["COMPUTE_EPHEMERAL_ENCRYPTION".to_owned(), "COMPUTE_EPHEMERAL_ENCRYPTION_LUKS".to_owned()],
            ),
            (&[], json!({"hw_ephemeral_encryption_format": "luks"}), vec![]),
            (&[("hw:sound_model", "virtio")], json!({}), vec!["COMPUTE_SOUND_MODEL_VIRTIO".to_owned()]),
            (&[], json!({"hw_sound_model": "ich9"}), vec![]),
            (&[], json!({"hw_tpm_version": "2.0"}), vec![format!("{TPM}_USER")]),
            (&[("hw:tpm_version", "2.0"), ("hw:tpm_secret_security", "host")], json!({}), vec![format!("{TPM}_HOST")]),
            (&[("hw:tpm_secret_security", "host")], json!({}), vec![]),
        ] {
            assert_eq!(required(extra_specs, properties.clone()), expected, "{extra_specs:?} {properties}");
        }
    }

    #[test]
    fn a_secret_that_is_kept_in_no_known_way_fails_the_request() {
        let spec = with_extra_specs(&[("hw:tpm_version", "2.0"), ("hw:tpm_secret_security", "pony")]);
        assert_eq!(
            traits(&spec).unwrap_err().to_string(),
            "No valid host was found. Scheduling failed: TPM secret security 'pony' is not supported."
        );
    }
}
