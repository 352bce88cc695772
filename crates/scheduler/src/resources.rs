//! From a request to what placement is asked for.
//!
//! The flavor says the amounts; its extra specs `resources:CLASS=n` replace them (0 takes a class out), and
//! `trait:NAME=required|forbidden` name traits. Groups (`resources1:CLASS`, `trait1:NAME`) are added to the rest:
//! hosts are not divided into several providers, so one host must have all of it.

use std::collections::{BTreeMap, BTreeSet};

use kilonova_clients::placement::{CandidatesQuery, Resources};
use kilonova_objects::{Flavor, RequestSpec};

use crate::SchedulerError;

/// Set on the provider of a compute service that is disabled.
const COMPUTE_STATUS_DISABLED: &str = "COMPUTE_STATUS_DISABLED";
const MIB_PER_GIB: i64 = 1024;

/// What a server is to hold of its host.
pub fn wanted(spec: &RequestSpec) -> Result<Resources, SchedulerError> {
    Ok(query(spec)?.resources)
}

/// What the host must have; without a limit.
pub(crate) fn query(spec: &RequestSpec) -> Result<CandidatesQuery, SchedulerError> {
    let mut resources = from_flavor(spec);
    let mut required = image_traits(spec);
    let mut forbidden = BTreeSet::from([COMPUTE_STATUS_DISABLED.to_owned()]);
    let mut groups = BTreeMap::<String, Resources>::new();
    for (key, value) in &spec.flavor.extra_specs {
        match parse(key) {
            Some(("resources", "", class)) => {
                resources.insert(class.to_owned(), amount(key, value)?);
            }
            Some(("resources", suffix, class)) => {
                let group = groups.entry(suffix.to_owned()).or_default();
                group.insert(class.to_owned(), amount(key, value)?);
            }
            Some((_, _, name)) => match value.as_str() {
                "required" => drop(required.insert(name.to_owned())),
                "forbidden" => drop(forbidden.insert(name.to_owned())),
                _ => return Err(unusable(key, value, "required or forbidden")),
            },
            None => (),
        }
    }
    if groups.len() > 1 && isolates(&spec.flavor) {
        let policy = "none: hosts are not divided into several providers";
        return Err(unusable("group_policy", "isolate", policy));
    }
    for (class, amount) in groups.into_values().flatten() {
        let sum = resources.entry(class).or_default();
        *sum = i64::saturating_add(*sum, amount);
    }
    resources.retain(|_, amount| *amount != 0);
    Ok(CandidatesQuery {
        resources,
        required: required.into_iter().collect(),
        forbidden: forbidden.into_iter().collect(),
        in_tree: None,
        limit: None,
    })
}

fn from_flavor(spec: &RequestSpec) -> Resources {
    let flavor = &spec.flavor;
    let root_gb = if spec.is_bfv { 0 } else { flavor.root_gb };
    let swap_gb = flavor.swap.saturating_add(MIB_PER_GIB - 1) / MIB_PER_GIB;
    let cpu_class = if wants_dedicated_cpus(spec) { "PCPU" } else { "VCPU" };
    Resources::from([
        (cpu_class.to_owned(), flavor.vcpus),
        ("MEMORY_MB".to_owned(), flavor.memory_mb),
        ("DISK_GB".to_owned(), root_gb.saturating_add(flavor.ephemeral_gb).saturating_add(swap_gb)),
    ])
}

fn wants_dedicated_cpus(spec: &RequestSpec) -> bool {
    let of_flavor = spec.flavor.extra_specs.get("hw:cpu_policy").cloned();
    let of_image = || spec.image.as_ref()?.properties.text("hw_cpu_policy");
    of_flavor.or_else(of_image).is_some_and(|policy| policy == "dedicated")
}

fn image_traits(spec: &RequestSpec) -> BTreeSet<String> {
    let listed = spec.image.as_ref().and_then(|image| image.properties.0.get("traits_required"));
    let listed = listed.and_then(|value| value.as_array()).into_iter().flatten();
    listed.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

fn isolates(flavor: &Flavor) -> bool {
    flavor.extra_specs.get("group_policy").is_some_and(|policy| policy == "isolate")
}

/// `resources1:VCPU` is (`resources`, `1`, `VCPU`); other keys are not ours.
fn parse(key: &str) -> Option<(&'static str, &str, &str)> {
    let (scope, name) = key.split_once(':')?;
    ["resources", "trait"].into_iter().find_map(|kind| {
        let suffix = scope.strip_prefix(kind)?;
        let is_suffix =
            suffix.is_empty() || suffix.starts_with('_') || suffix.bytes().all(|byte| byte.is_ascii_digit());
        is_suffix.then_some((kind, suffix, name))
    })
}

fn amount(key: &str, value: &str) -> Result<i64, SchedulerError> {
    let amount = value.trim().parse().ok().filter(|amount| *amount >= 0);
    amount.ok_or_else(|| unusable(key, value, "a number from 0 on"))
}

fn unusable(key: &str, value: &str, expected: &str) -> SchedulerError {
    SchedulerError::NoValidHost { reason: format!("The flavor's extra spec {key}={value} must be {expected}.") }
}

#[cfg(test)]
mod tests {
    use kilonova_objects::ImageMeta;
    use serde_json::json;

    use super::*;

    fn spec(extra_specs: &[(&str, &str)]) -> RequestSpec {
        let extra_specs = extra_specs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        RequestSpec {
            flavor: Flavor {
                vcpus: 2,
                memory_mb: 512,
                root_gb: 10,
                ephemeral_gb: 1,
                swap: 1025,
                extra_specs: extra_specs.collect(),
                ..Flavor::default()
            },
            ..RequestSpec::default()
        }
    }

    fn resources(spec: &RequestSpec) -> Vec<(String, i64)> {
        query(spec).unwrap().resources.into_iter().collect()
    }

    fn amounts(amounts: &[(&str, i64)]) -> Vec<(String, i64)> {
        amounts.iter().map(|(class, amount)| ((*class).to_owned(), *amount)).collect()
    }

    #[test]
    fn swap_is_rounded_up_to_whole_gigabytes_of_disk() {
        let expected = amounts(&[("DISK_GB", 13), ("MEMORY_MB", 512), ("VCPU", 2)]);
        assert_eq!(resources(&spec(&[])), expected);
    }

    #[test]
    fn a_server_on_a_volume_needs_no_root_and_no_disk_is_not_asked_for() {
        let mut on_volume = spec(&[]);
        on_volume.is_bfv = true;
        (on_volume.flavor.ephemeral_gb, on_volume.flavor.swap) = (0, 0);
        assert_eq!(resources(&on_volume), amounts(&[("MEMORY_MB", 512), ("VCPU", 2)]));
    }

    #[test]
    fn extra_specs_replace_take_out_and_add_resources() {
        let spec = spec(&[
            ("resources:VCPU", "0"),
            ("resources:CUSTOM_NODE", "1"),
            ("resources1:MEMORY_MB", "8"),
            ("resources_A:MEMORY_MB", "4"),
            ("hw:resources", "x"),
        ]);
        let expected = amounts(&[("CUSTOM_NODE", 1), ("DISK_GB", 13), ("MEMORY_MB", 524)]);
        assert_eq!(resources(&spec), expected);
    }

    #[test]
    fn traits_come_from_flavor_and_image_and_disabled_hosts_are_always_avoided() {
        let mut spec = spec(&[("trait:HW_A", "required"), ("trait:HW_B", "forbidden")]);
        let mut image = ImageMeta::default();
        image.properties.0.insert("traits_required".to_owned(), json!(["HW_C"]));
        spec.image = Some(image);
        let query = query(&spec).unwrap();
        assert_eq!(query.required, ["HW_A", "HW_C"]);
        assert_eq!(query.forbidden, ["COMPUTE_STATUS_DISABLED", "HW_B"]);
    }

    #[test]
    fn dedicated_cpus_are_another_class() {
        let spec = spec(&[("hw:cpu_policy", "dedicated")]);
        assert_eq!(query(&spec).unwrap().resources.get("PCPU"), Some(&2));
        assert_eq!(query(&spec).unwrap().resources.get("VCPU"), None);
    }

    #[test]
    fn an_extra_spec_that_makes_no_sense_is_named() {
        for (key, value) in [("resources:VCPU", "many"), ("resources:VCPU", "-1"), ("trait:A", "on")] {
            let error = query(&spec(&[(key, value)])).unwrap_err().to_string();
            assert!(error.contains(&format!("{key}={value}")), "{error}");
        }
        let isolated = [("resources1:VCPU", "1"), ("resources2:VCPU", "1"), ("group_policy", "isolate")];
        assert!(query(&spec(&isolated)).is_err());
    }
}
