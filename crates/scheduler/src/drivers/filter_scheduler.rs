//! The best host by weight, or one of the best few.

use kilonova_core::{Config, ConfigError};
use kilonova_objects::RequestSpec;

use crate::SchedulerError;
use crate::host_state::HostState;
use crate::options::at_least_one;
use crate::random;
use crate::weights::Weighers;

/// Options of `[filter_scheduler]` that say how the best is chosen.
#[derive(Debug)]
pub(crate) struct FilterScheduler {
    weighers: Weighers,
    /// One of so many best hosts is taken at random; several schedulers then collide less.
    host_subset_size: usize,
    shuffle_best_same_weighed_hosts: bool,
}

impl FilterScheduler {
    pub(super) fn from_config(config: &Config) -> Result<Self, ConfigError> {
        const GROUP: &str = "filter_scheduler";
        let shuffle = config.flag(GROUP, "shuffle_best_same_weighed_hosts", false)?;
        Ok(Self {
            weighers: Weighers::from_config(config)?,
            host_subset_size: at_least_one(config, GROUP, "host_subset_size", 1)?,
            shuffle_best_same_weighed_hosts: shuffle,
        })
    }

    pub(super) fn order(
        &self,
        spec: &RequestSpec,
        hosts: &[HostState],
        places: Vec<usize>,
    ) -> Result<Vec<usize>, SchedulerError> {
        let weights = self.weighers.weigh(spec, hosts, &places)?;
        let mut weighed: Vec<(usize, f64)> = places.into_iter().zip(weights).collect();
        // Stable: hosts of one weight stay in placement's order.
        weighed.sort_by(|a, b| b.1.total_cmp(&a.1));
        if self.shuffle_best_same_weighed_hosts
            && let Some(best) = weighed.first().map(|first| first.1)
        {
            let same = weighed.iter().take_while(|(_, weight)| *weight == best).count();
            random::shuffle(&mut weighed[..same]);
        }
        let mut order: Vec<usize> = weighed.into_iter().map(|(place, _)| place).collect();
        let subset = self.host_subset_size.clamp(1, order.len().max(1));
        if subset > 1 {
            let chosen = random::below(subset);
            order[..=chosen].rotate_right(1);
        }
        Ok(order)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::filters::testing::host;

    fn order(options: &str, free_mb: &[i64]) -> Vec<usize> {
        let config = Config::from_text(&format!("[filter_scheduler]\n{options}\n")).unwrap();
        let hosts: Vec<HostState> = free_mb
            .iter()
            .map(|free_mb| {
                let mut host = host("h");
                host.capacity_for_test(&[("MEMORY_MB", *free_mb)]);
                host
            })
            .collect();
        let places = (0..hosts.len()).collect();
        FilterScheduler::from_config(&config).unwrap().order(&RequestSpec::default(), &hosts, places).unwrap()
    }

    fn firsts(options: &str, free_mb: &[i64]) -> BTreeSet<usize> {
        (0..200).map(|_| order(options, free_mb)[0]).collect()
    }

    #[test]
    fn the_most_free_memory_comes_first_and_ties_stay_in_order() {
        assert_eq!(order("", &[1, 5, 3, 5]), [1, 3, 2, 0]);
        assert_eq!(order("", &[]), [] as [usize; 0]);
    }

    #[test]
    fn a_negative_multiplier_stacks() {
        assert_eq!(order("ram_weight_multiplier = -1.0", &[1, 5, 3]), [0, 2, 1]);
    }

    #[test]
    fn a_subset_takes_one_of_the_best_few_and_keeps_the_rest_in_order() {
        assert_eq!(firsts("host_subset_size = 2", &[1, 5, 3]), BTreeSet::from([1, 2]));
        assert_eq!(firsts("host_subset_size = 9", &[1, 5]), BTreeSet::from([0, 1]));
        let rest = order("host_subset_size = 2", &[1, 5, 3])[2];
        assert_eq!(rest, 0);
    }

    #[test]
    fn shuffling_the_best_touches_only_those_of_the_best_weight() {
        let options = "shuffle_best_same_weighed_hosts = true";
        assert_eq!(firsts(options, &[5, 3, 5]), BTreeSet::from([0, 2]));
        assert_eq!(order(options, &[5, 3, 5])[2], 1);
    }
}
