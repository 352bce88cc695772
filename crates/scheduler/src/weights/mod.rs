//! Weighers: how good a host is. Each gives every host a number, which is brought between 0 and 1 over the hosts that
//! are compared and multiplied; the sum is the host's weight.

mod build_failure;
mod cpu;
mod cross_cell;
mod disk;
mod hypervisor_version;
mod image_props;
mod io_ops;
mod metrics;
mod num_instances;
mod pci;
mod ram;
mod soft_affinity;
mod soft_anti_affinity;
mod weighing;

use std::fmt::Debug;

use kilonova_core::{Config, ConfigError};
use kilonova_objects::RequestSpec;

use crate::host_state::HostState;
use crate::options::{at_least_zero, finite};
use crate::{SchedulerError, aggregates};
pub(crate) use weighing::Weighing;

const GROUP: &str = "filter_scheduler";
const METRICS: &str = "metrics";
const ALL: &str = "nova.scheduler.weights.all_weighers";
const IMAGE_PROPS_WEIGHT_MULTIPLIER: &str = "image_props_weight_multiplier";

const KNOWN: [&str; 13] = [
    "BuildFailureWeigher",
    "CPUWeigher",
    "CrossCellWeigher",
    "DiskWeigher",
    "HypervisorVersionWeigher",
    "ImagePropertiesWeigher",
    "IoOpsWeigher",
    "MetricsWeigher",
    "NumInstancesWeigher",
    "PCIWeigher",
    "RAMWeigher",
    "ServerGroupSoftAffinityWeigher",
    "ServerGroupSoftAntiAffinityWeigher",
];

/// One wish.
pub(crate) trait HostWeigher: Debug + Send + Sync {
    /// Of what is wished for, how much the host has.
    fn weigh(&self, host: &HostState, spec: &RequestSpec) -> Result<f64, SchedulerError>;

    /// Whether the least is 0, and less counts as 0, whatever the hosts have. Otherwise it is what the least host has.
    fn counts_from_zero(&self) -> bool {
        false
    }
}

/// How much a wish counts: what is configured, or the least that an aggregate of the host says under `key`.
#[derive(Clone, Debug)]
struct Multiplier {
    key: &'static str,
    configured: f64,
    /// -1 where less of it is better.
    sign: f64,
}

impl Multiplier {
    /// Of an option that an aggregate's metadata has under the same name.
    fn new(config: &Config, key: &'static str, default: f64) -> Result<Self, ConfigError> {
        Ok(Self { key, configured: finite(config, GROUP, key, default)?, sign: 1.0 })
    }

    /// Of one that the configuration does not let be below 0.
    fn at_least_zero(config: &Config, key: &'static str) -> Result<Self, ConfigError> {
        Ok(Self { key, configured: at_least_zero(config, GROUP, key, 1.0)?, sign: 1.0 })
    }

    fn of(&self, host: &HostState) -> f64 {
        let of_host = aggregates::least(host, self.key, self.configured);
        self.sign * if of_host.is_finite() { of_host } else { self.configured }
    }
}

#[derive(Debug)]
struct Weighted {
    multiplier: Multiplier,
    weigher: Box<dyn HostWeigher>,
}

/// The weighers of `[filter_scheduler] weight_classes`.
#[derive(Debug)]
pub(crate) struct Weighers(Vec<Weighted>);

impl Weighers {
    pub(crate) fn from_config(config: &Config) -> Result<Self, ConfigError> {
        let mut names = config.list(GROUP, "weight_classes", &[ALL]);
        if names.iter().any(|name| name == ALL) {
            names = KNOWN.map(str::to_owned).into();
        }
        names.iter().map(|name| weighted(name, config)).collect::<Result<_, _>>().map(Self)
    }
}

/// Whether the images of servers have to be known.
pub(crate) fn weighs_image_properties(config: &Config) -> Result<bool, ConfigError> {
    Ok(finite(config, GROUP, IMAGE_PROPS_WEIGHT_MULTIPLIER, 0.0)? != 0.0)
}

/// By a bare class name, or Nova's whole path to it.
fn weighted(name: &str, config: &Config) -> Result<Weighted, ConfigError> {
    let of = |key, default| Multiplier::new(config, key, default);
    let (multiplier, weigher): (_, Box<dyn HostWeigher>) = match name.rsplit('.').next().unwrap_or(name) {
        "BuildFailureWeigher" => {
            let multiplier = of("build_failure_weight_multiplier", 1_000_000.0)?;
            (Multiplier { sign: -1.0, ..multiplier }, Box::new(build_failure::BuildFailureWeigher))
        }
        "CPUWeigher" => (of("cpu_weight_multiplier", 1.0)?, Box::new(cpu::CpuWeigher)),
        "CrossCellWeigher" => {
            (of("cross_cell_move_weight_multiplier", 1_000_000.0)?, Box::new(cross_cell::CrossCellWeigher))
        }
        "DiskWeigher" => (of("disk_weight_multiplier", 1.0)?, Box::new(disk::DiskWeigher)),
        "HypervisorVersionWeigher" => {
            let multiplier = of("hypervisor_version_weight_multiplier", 1.0)?;
            (multiplier, Box::new(hypervisor_version::HypervisorVersionWeigher))
        }
        "ImagePropertiesWeigher" => {
            let weigher = image_props::ImagePropertiesWeigher::new(config)?;
            (of(IMAGE_PROPS_WEIGHT_MULTIPLIER, 0.0)?, Box::new(weigher))
        }
        "IoOpsWeigher" => (of("io_ops_weight_multiplier", -1.0)?, Box::new(io_ops::IoOpsWeigher)),
        "MetricsWeigher" => {
            let weigher = metrics::MetricsWeigher::new(config)?;
            (metrics::MetricsWeigher::multiplier(config)?, Box::new(weigher))
        }
        "NumInstancesWeigher" => {
            (of("num_instances_weight_multiplier", 0.0)?, Box::new(num_instances::NumInstancesWeigher))
        }
        "PCIWeigher" => (Multiplier::at_least_zero(config, "pci_weight_multiplier")?, Box::new(pci::PciWeigher)),
        "RAMWeigher" => (of("ram_weight_multiplier", 1.0)?, Box::new(ram::RamWeigher)),
        "ServerGroupSoftAffinityWeigher" => {
            let multiplier = Multiplier::at_least_zero(config, "soft_affinity_weight_multiplier")?;
            (multiplier, Box::new(soft_affinity::ServerGroupSoftAffinityWeigher))
        }
        "ServerGroupSoftAntiAffinityWeigher" => {
            let multiplier = Multiplier::at_least_zero(config, "soft_anti_affinity_weight_multiplier")?;
            (multiplier, Box::new(soft_anti_affinity::ServerGroupSoftAntiAffinityWeigher))
        }
        _ => {
            return Err(ConfigError::Value {
                group: GROUP.to_owned(),
                name: "weight_classes".to_owned(),
                value: name.to_owned(),
                expected: format!("one of {ALL}, {}", KNOWN.join(", ")),
            });
        }
    };
    Ok(Weighted { multiplier, weigher })
}

/// How many members of the request's group are on the host, if the group has this policy.
fn group_members(host: &HostState, spec: &RequestSpec, policy: &str) -> f64 {
    let group = spec.instance_group.as_ref();
    if group.and_then(|group| group.policy.as_deref()) == Some(policy) { host.group_members as f64 } else { 0.0 }
}

/// How a weigher's values are brought between 0 and 1.
#[derive(Clone, Copy, Debug)]
struct Scale {
    min: f64,
    range: f64,
}

impl Scale {
    fn of(self, value: f64) -> f64 {
        (value.max(self.min) - self.min) / self.range
    }
}

/// The greatest is 1, and 0 is the least, or 0 itself and all below it. `None`: the bounds are equal, and all are 0.
fn normalize(raw: impl Iterator<Item = f64>, counts_from_zero: bool) -> Option<Scale> {
    let (min, max) = raw.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| (min.min(value), max.max(value)));
    let min = if counts_from_zero { 0.0 } else { min };
    let range = max - min;
    (range > 0.0).then_some(Scale { min, range })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kilonova_objects::InstanceGroup;
    use proptest::prelude::*;

    use super::*;
    use crate::filters::testing::{host, host_in, host_with, options};

    fn normal(raw: &[f64], counts_from_zero: bool) -> Vec<f64> {
        let scale = normalize(raw.iter().copied(), counts_from_zero);
        raw.iter().map(|value| scale.map_or(0.0, |scale| scale.of(*value))).collect()
    }

    #[test]
    fn the_least_is_zero_or_what_the_least_host_has() {
        assert_eq!(normal(&[50.0, 100.0], true), [0.5, 1.0]);
        assert_eq!(normal(&[50.0, 100.0], false), [0.0, 1.0]);
        assert_eq!(normal(&[-100.0, 100.0, 0.0], true), [0.0, 1.0, 0.0]);
        assert_eq!(normal(&[-100.0, 100.0, 0.0], false), [0.0, 1.0, 0.5]);
        assert_eq!(normal(&[7.0, 7.0], true), [1.0, 1.0]);
        assert_eq!(normal(&[7.0, 7.0], false), [0.0, 0.0]);
        assert_eq!(normal(&[-1.0, -2.0], true), [0.0, 0.0]);
        assert_eq!(normal(&[], true), [] as [f64; 0]);
    }

    fn weights(lines: &str, spec: &RequestSpec, hosts: &[HostState]) -> Vec<f64> {
        let places: Vec<usize> = (0..hosts.len()).collect();
        Weighers::from_config(&options(lines)).unwrap().weighing(spec, hosts, &places).unwrap().weights(&places)
    }

    /// Every weigher alone, by its default multiplier, on two hosts that differ in all that is weighed.
    #[test]
    fn each_weigher_looks_at_its_own_figure() {
        let with = |name: &str, version: i64, failed: &str, amounts: &[(&str, i64)], busy: i64| {
            let mut host = host_with(name, |input| {
                input.node.hypervisor_version = version;
                input.node.stats = Some(BTreeMap::from([("failed_builds".to_owned(), Some(failed.to_owned()))]));
            });
            host.capacity_for_test(amounts);
            host.count(busy);
            host
        };
        let hosts = [
            with("a", 1000, "3", &[("MEMORY_MB", 100), ("VCPU", 8), ("DISK_GB", 10)], 2),
            with("b", 2000, "1", &[("MEMORY_MB", 200), ("VCPU", 2), ("DISK_GB", 20)], 8),
        ];
        for (name, expected) in [
            ("BuildFailureWeigher", [-1_000_000.0, 0.0]),
            ("CPUWeigher", [1.0, 0.25]),
            ("CrossCellWeigher", [0.0, 0.0]),
            ("DiskWeigher", [0.5, 1.0]),
            ("HypervisorVersionWeigher", [0.0, 1.0]),
            ("ImagePropertiesWeigher", [0.0, 0.0]),
            ("IoOpsWeigher", [-0.25, -1.0]),
            ("MetricsWeigher", [0.0, 0.0]),
            ("NumInstancesWeigher", [0.0, 0.0]),
            ("PCIWeigher", [0.0, 0.0]),
            ("RAMWeigher", [0.5, 1.0]),
            ("ServerGroupSoftAffinityWeigher", [0.0, 0.0]),
            ("ServerGroupSoftAntiAffinityWeigher", [0.0, 0.0]),
        ] {
            let alone = weights(&format!("weight_classes = {name}"), &RequestSpec::default(), &hosts);
            assert_eq!(alone, expected, "{name}");
            let path = format!("weight_classes = nova.scheduler.weights.module.{name}");
            assert_eq!(weights(&path, &RequestSpec::default(), &hosts), expected, "{path}");
        }
        let sum = -1_000_000.0 + 1.0 + 0.5 - 0.25 + 0.5;
        assert_eq!(weights("", &RequestSpec::default(), &hosts), [sum, 0.25 + 1.0 + 1.0 - 1.0 + 1.0]);
    }

    #[test]
    fn one_host_alone_weighs_nothing() {
        let mut only = host("a");
        only.capacity_for_test(&[("MEMORY_MB", 100)]);
        assert_eq!(weights("", &RequestSpec::default(), &[only]), [0.0]);
    }

    #[test]
    fn an_aggregate_of_a_host_says_its_multiplier() {
        let with = |aggregates: &[&[(&str, &str)]], memory_mb: i64| {
            let mut host = host_in("a", aggregates);
            host.capacity_for_test(&[("MEMORY_MB", memory_mb)]);
            host
        };
        const KEY: &str = "ram_weight_multiplier";
        for (aggregates, of_first) in [
            (&[] as &[&[(&str, &str)]], 2.0),
            (&[&[("cpu_weight_multiplier", "5")]], 2.0),
            (&[&[(KEY, "5")]], 5.0),
            (&[&[(KEY, "5")], &[(KEY, "-1")]], -1.0),
            (&[&[(KEY, "5")], &[(KEY, "much")]], 2.0),
            (&[&[(KEY, "NaN")]], 2.0),
        ] {
            let hosts = [with(aggregates, 100), with(&[], 100)];
            let lines = "weight_classes = RAMWeigher\nram_weight_multiplier = 2";
            assert_eq!(weights(lines, &RequestSpec::default(), &hosts), [of_first, 2.0], "{aggregates:?}");
        }
    }

    #[test]
    fn an_aggregate_multiplies_failed_builds_with_the_other_sign_and_metrics_under_a_name_of_its_own() {
        let failed = |aggregates: &[&[(&str, &str)]], builds: i64| {
            let mut host = host_in("a", aggregates);
            let input = std::sync::Arc::make_mut(&mut host.input);
            input.node.stats = Some(BTreeMap::from([("failed_builds".to_owned(), Some(builds.to_string()))]));
            input.node.metrics = Some(format!(r#"[{{"name": "cpu.frequency", "value": {builds}}}]"#));
            host
        };
        let hosts = [
            failed(&[&[("build_failure_weight_multiplier", "10"), ("metrics_weight_multiplier", "3")]], 4),
            failed(&[], 0),
        ];
        assert_eq!(weights("weight_classes = BuildFailureWeigher", &RequestSpec::default(), &hosts), [-10.0, 0.0]);
        let metrics = "weight_classes = MetricsWeigher\n[metrics]\nweight_setting = cpu.frequency=1";
        assert_eq!(weights(metrics, &RequestSpec::default(), &hosts), [3.0, 0.0]);
    }

    #[test]
    fn soft_policies_weigh_the_members_of_the_group() {
        let (mut many, few) = (host("many"), host("few"));
        many.group_members = 3;
        let hosts = [many, few];
        for (policy, lines, expected) in [
            ("soft-affinity", "", [1.0, 0.0]),
            ("soft-anti-affinity", "", [0.0, 1.0]),
            ("soft-affinity", "soft_affinity_weight_multiplier = 5", [5.0, 0.0]),
            ("soft-anti-affinity", "soft_anti_affinity_weight_multiplier = 5", [0.0, 5.0]),
            ("affinity", "", [0.0, 0.0]),
            ("soft-affinity", "weight_classes = RAMWeigher", [0.0, 0.0]),
        ] {
            let group = InstanceGroup { policy: Some(policy.to_owned()), ..InstanceGroup::default() };
            let spec = RequestSpec { instance_group: Some(group), ..RequestSpec::default() };
            assert_eq!(weights(lines, &spec, &hosts), expected, "{policy} {lines}");
        }
    }

    #[test]
    fn a_multiplier_that_makes_no_sense_is_an_error_that_names_the_option() {
        for option in [
            "build_failure_weight_multiplier = x",
            "soft_affinity_weight_multiplier = -1",
            "soft_anti_affinity_weight_multiplier = -0.5",
            "pci_weight_multiplier = -1",
            "image_props_weight_multiplier = inf",
            "image_props_weight_setting = os_distro",
        ] {
            let error = Weighers::from_config(&options(option)).unwrap_err().to_string();
            let name = option.split(' ').next().unwrap();
            assert!(error.starts_with(&format!("[filter_scheduler] {name}: ")), "{error}");
        }
        for option in ["weight_multiplier = x", "weight_setting = a", "required = perhaps", "weight_of_unavailable = x"]
        {
            let error = Weighers::from_config(&options(&format!("[metrics]\n{option}"))).unwrap_err().to_string();
            let name = option.split(' ').next().unwrap();
            assert!(error.starts_with(&format!("[metrics] {name}: ")), "{error}");
        }
    }

    #[test]
    fn an_unknown_weigher_is_an_error_that_names_the_option() {
        let config = Config::from_text("[filter_scheduler]\nweight_classes = Pony\n").unwrap();
        let error = Weighers::from_config(&config).unwrap_err().to_string();
        assert!(error.starts_with("[filter_scheduler] weight_classes: \"Pony\""), "{error}");
    }

    proptest! {
        #[test]
        fn normalised_weights_stay_in_order_between_zero_and_one(
            raw in prop::collection::vec(-1.0e15..1.0e15f64, 0..50), counts_from_zero: bool,
        ) {
            let normal = normal(&raw, counts_from_zero);
            prop_assert_eq!(normal.len(), raw.len());
            for (value, weight) in raw.iter().zip(&normal) {
                prop_assert!((0.0..=1.0).contains(weight), "{} became {}", value, weight);
                for (other, other_weight) in raw.iter().zip(&normal) {
                    if value < other {
                        prop_assert!(weight <= other_weight);
                    }
                }
            }
            let max = raw.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            if max > 0.0 && counts_from_zero {
                prop_assert!(normal.contains(&1.0));
            }
        }

        #[test]
        fn the_scale_of_the_values_does_not_matter(
            raw in prop::collection::vec(0u32..1_000_000, 1..50), shift in 1u32..10, counts_from_zero: bool,
        ) {
            // Powers of two keep every digit.
            let values: Vec<f64> = raw.iter().map(|value| f64::from(*value)).collect();
            let scaled: Vec<f64> = values.iter().map(|value| value * f64::from(1u32 << shift)).collect();
            prop_assert_eq!(normal(&values, counts_from_zero), normal(&scaled, counts_from_zero));
        }
    }
}
