//! The best host by weight, or one of the best few.

use std::cmp::Ordering;

use kilonova_core::{Config, ConfigError};

use crate::options::at_least_one;
use crate::random;
use crate::ranking::Ranking;
use crate::weights::Weighers;

/// Options of `[filter_scheduler]` that say how the best is chosen.
#[derive(Debug)]
pub(crate) struct FilterScheduler {
    pub(super) weighers: Weighers,
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

    /// The first `count` of those who may, the one to try first at the front.
    pub(super) fn best(&self, ranking: &Ranking, count: usize) -> Vec<usize> {
        let places = ranking.places();
        let weights = ranking.weights(&places);
        let mut weighed: Vec<(usize, f64)> = places.into_iter().zip(weights).collect();
        let subset = self.host_subset_size.clamp(1, weighed.len().max(1));
        let same = if self.shuffle_best_same_weighed_hosts { shuffle_best(&mut weighed) } else { 0 };
        keep_best(&mut weighed[same..], (count.max(subset)).saturating_sub(same));
        weighed.truncate(count.max(subset));
        let mut order: Vec<usize> = weighed.into_iter().map(|(place, _)| place).collect();
        if subset > 1 {
            let chosen = random::below(subset);
            order[..=chosen].rotate_right(1);
        }
        order.truncate(count);
        order
    }
}

/// Greater weight first; hosts of one weight stay in placement's order.
fn compare(one: &(usize, f64), other: &(usize, f64)) -> Ordering {
    other.1.total_cmp(&one.1).then(one.0.cmp(&other.0))
}

/// Brings the `count` best to the front, in order; the order of the others is left to chance.
fn keep_best(weighed: &mut [(usize, f64)], count: usize) {
    match count {
        0 => {}
        1 => {
            let best = (0..weighed.len()).min_by(|one, other| compare(&weighed[*one], &weighed[*other]));
            best.into_iter().for_each(|best| weighed.swap(0, best));
        }
        count if count < weighed.len() => {
            weighed.select_nth_unstable_by(count - 1, compare);
            weighed[..count].sort_unstable_by(compare);
        }
        _ => weighed.sort_unstable_by(compare),
    }
}

/// Brings all of the greatest weight to the front, in any order; returns how many they are.
fn shuffle_best(weighed: &mut [(usize, f64)]) -> usize {
    let Some(best) = weighed.iter().map(|(_, weight)| *weight).max_by(f64::total_cmp) else { return 0 };
    let mut same = 0;
    for index in 0..weighed.len() {
        if weighed[index].1 == best {
            weighed.swap(same, index);
            same += 1;
        }
    }
    random::shuffle(&mut weighed[..same]);
    same
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kilonova_objects::RequestSpec;
    use proptest::prelude::*;

    use super::*;
    use crate::filters::testing::{asked, host, no_filters};
    use crate::host_state::HostState;
    use crate::pool::Pool;

    fn first(options: &str, free_mb: &[i64], count: usize) -> Vec<usize> {
        let config = Config::from_text(&format!("[filter_scheduler]\n{options}\n")).unwrap();
        let hosts: Vec<HostState> = free_mb
            .iter()
            .map(|free_mb| {
                let mut host = host("h");
                host.capacity_for_test(&[("MEMORY_MB", *free_mb)]);
                host
            })
            .collect();
        let driver = FilterScheduler::from_config(&config).unwrap();
        let spec = RequestSpec::default();
        let (asked, filters) = (asked(&spec), no_filters());
        let ranking = Ranking::new(&Pool::of(hosts), &asked, &filters, Some(&driver.weighers)).unwrap();
        driver.best(&ranking, count)
    }

    fn order(options: &str, free_mb: &[i64]) -> Vec<usize> {
        first(options, free_mb, free_mb.len())
    }

    fn firsts(options: &str, free_mb: &[i64]) -> BTreeSet<usize> {
        (0..200).map(|_| first(options, free_mb, 1)[0]).collect()
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

    proptest! {
        #[test]
        fn the_first_few_are_those_of_the_whole_order(
            free_mb in prop::collection::vec(1_i64..6, 0..40),
            count in 0_usize..50,
        ) {
            let mut whole = order("", &free_mb);
            let mut sorted: Vec<usize> = (0..free_mb.len()).collect();
            sorted.sort_by_key(|place| -free_mb[*place]);
            prop_assert_eq!(&whole, &sorted);
            whole.truncate(count);
            prop_assert_eq!(first("", &free_mb, count), whole);
        }
    }
}
