//! Weighers: how good a host is. Each gives every host a number, which is brought between 0 and 1 over the hosts that
//! are compared and multiplied; the sum is the host's weight.

mod cpu;
mod disk;
mod ram;
mod soft_affinity;
mod soft_anti_affinity;

use kilonova_core::{Config, ConfigError};
use kilonova_objects::RequestSpec;

use crate::host_state::HostState;
use crate::options::finite;

const GROUP: &str = "filter_scheduler";
const ALL: &str = "nova.scheduler.weights.all_weighers";

const KNOWN: [&str; 5] =
    ["RAMWeigher", "CPUWeigher", "DiskWeigher", "ServerGroupSoftAffinityWeigher", "ServerGroupSoftAntiAffinityWeigher"];

/// One weigher with its multiplier.
#[derive(Debug)]
struct Weigher {
    multiplier: f64,
    weigh: fn(&HostState, &RequestSpec) -> f64,
}

/// The weighers of `[filter_scheduler] weight_classes`.
#[derive(Debug)]
pub(crate) struct Weighers(Vec<Weigher>);

impl Weighers {
    pub(crate) fn from_config(config: &Config) -> Result<Self, ConfigError> {
        let mut names = config.list(GROUP, "weight_classes", &[ALL]);
        if names.iter().any(|name| name == ALL) {
            names = KNOWN.map(str::to_owned).into();
        }
        names.iter().map(|name| weigher(name, config)).collect::<Result<_, _>>().map(Self)
    }

    /// The weight of each of `places` for this request, in their order.
    pub(crate) fn weigh(&self, spec: &RequestSpec, hosts: &[HostState], places: &[usize]) -> Vec<f64> {
        let mut sums = vec![0.0; places.len()];
        for weigher in &self.0 {
            let raw: Vec<f64> = places.iter().map(|place| (weigher.weigh)(&hosts[*place], spec)).collect();
            for (sum, weight) in sums.iter_mut().zip(normalize(&raw)) {
                *sum += weigher.multiplier * weight;
            }
        }
        sums
    }
}

/// A bare class name, or Nova's whole path to it.
fn weigher(name: &str, config: &Config) -> Result<Weigher, ConfigError> {
    let multiplier = |option: &str| finite(config, GROUP, option, 1.0);
    match name.rsplit('.').next().unwrap_or(name) {
        "RAMWeigher" => Ok(Weigher { multiplier: multiplier("ram_weight_multiplier")?, weigh: ram::weigh }),
        "CPUWeigher" => Ok(Weigher { multiplier: multiplier("cpu_weight_multiplier")?, weigh: cpu::weigh }),
        "DiskWeigher" => Ok(Weigher { multiplier: multiplier("disk_weight_multiplier")?, weigh: disk::weigh }),
        "ServerGroupSoftAffinityWeigher" => {
            Ok(Weigher { multiplier: multiplier("soft_affinity_weight_multiplier")?, weigh: soft_affinity::weigh })
        }
        "ServerGroupSoftAntiAffinityWeigher" => {
            let multiplier = multiplier("soft_anti_affinity_weight_multiplier")?;
            Ok(Weigher { multiplier, weigh: soft_anti_affinity::weigh })
        }
        _ => Err(ConfigError::Value {
            group: GROUP.to_owned(),
            name: "weight_classes".to_owned(),
            value: name.to_owned(),
            expected: format!("one of {ALL}, {}", KNOWN.join(", ")),
        }),
    }
}

/// How many members of the request's group are on the host, if the group has this policy.
fn group_members(host: &HostState, spec: &RequestSpec, policy: &str) -> f64 {
    let group = spec.instance_group.as_ref();
    if group.and_then(|group| group.policy.as_deref()) == Some(policy) { host.group_members as f64 } else { 0.0 }
}

/// Between 0 and 1. The least is 0, or what is below 0, if something is; equal bounds give 0 for all.
fn normalize(raw: &[f64]) -> Vec<f64> {
    let min = raw.iter().copied().fold(0.0, f64::min);
    let max = raw.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let range = max - min;
    let scaled = |value: &f64| if range > 0.0 { (value - min) / range } else { 0.0 };
    raw.iter().map(scaled).collect()
}

#[cfg(test)]
mod tests {
    use kilonova_objects::InstanceGroup;
    use proptest::prelude::*;

    use super::*;
    use crate::filters::testing::host;

    #[test]
    fn the_least_counts_from_zero_and_not_from_the_least_host() {
        assert_eq!(normalize(&[50.0, 100.0]), [0.5, 1.0]);
        assert_eq!(normalize(&[-100.0, 100.0, 0.0]), [0.0, 1.0, 0.5]);
        assert_eq!(normalize(&[0.0, 0.0]), [0.0, 0.0]);
        assert_eq!(normalize(&[]), [] as [f64; 0]);
    }

    #[test]
    fn each_weigher_looks_at_its_class_and_multipliers_are_added_up() {
        let mut small = host("small");
        small.capacity_for_test(&[("MEMORY_MB", 100), ("VCPU", 8), ("DISK_GB", 10)]);
        let mut big = host("big");
        big.capacity_for_test(&[("MEMORY_MB", 200), ("VCPU", 2), ("DISK_GB", 10)]);
        let hosts = [small, big];
        let weigh = |options: &str| {
            let config = Config::from_text(&format!("[filter_scheduler]\n{options}\n")).unwrap();
            Weighers::from_config(&config).unwrap().weigh(&RequestSpec::default(), &hosts, &[0, 1])
        };
        assert_eq!(weigh(""), [0.5 + 1.0 + 1.0, 1.0 + 0.25 + 1.0]);
        assert_eq!(weigh("weight_classes = nova.scheduler.weights.ram.RAMWeigher"), [0.5, 1.0]);
        assert_eq!(weigh("weight_classes = CPUWeigher\ncpu_weight_multiplier = 2.0"), [2.0, 0.5]);
        assert_eq!(weigh("weight_classes = DiskWeigher\ndisk_weight_multiplier = -1"), [-1.0, -1.0]);
    }

    #[test]
    fn soft_policies_weigh_the_members_of_the_group() {
        let (mut many, few) = (host("many"), host("few"));
        many.count(3);
        let hosts = [many, few];
        let weigh = |policy: &str, options: &str| {
            let group = InstanceGroup { policy: Some(policy.to_owned()), ..InstanceGroup::default() };
            let spec = RequestSpec { instance_group: Some(group), ..RequestSpec::default() };
            let config = Config::from_text(&format!("[filter_scheduler]\n{options}\n")).unwrap();
            Weighers::from_config(&config).unwrap().weigh(&spec, &hosts, &[0, 1])
        };
        assert_eq!(weigh("soft-affinity", ""), [1.0, 0.0]);
        assert_eq!(weigh("soft-anti-affinity", ""), [0.0, 1.0]);
        assert_eq!(weigh("soft-affinity", "soft_affinity_weight_multiplier = 5"), [5.0, 0.0]);
        assert_eq!(weigh("soft-anti-affinity", "soft_anti_affinity_weight_multiplier = 5"), [0.0, 5.0]);
        assert_eq!(weigh("affinity", ""), [0.0, 0.0]);
        assert_eq!(weigh("soft-affinity", "weight_classes = RAMWeigher"), [0.0, 0.0]);
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
            raw in prop::collection::vec(-1.0e15..1.0e15f64, 0..50),
        ) {
            let normal = normalize(&raw);
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
            if max > 0.0 {
                prop_assert!(normal.contains(&1.0));
            }
        }

        #[test]
        fn the_scale_of_the_values_does_not_matter(
            raw in prop::collection::vec(0u32..1_000_000, 1..50), shift in 1u32..10,
        ) {
            // Powers of two keep every digit.
            let values: Vec<f64> = raw.iter().map(|value| f64::from(*value)).collect();
            let scaled: Vec<f64> = values.iter().map(|value| value * f64::from(1u32 << shift)).collect();
            prop_assert_eq!(normalize(&values), normalize(&scaled));
        }
    }
}
