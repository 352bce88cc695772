//! Seeded misfortune: which messages get lost, doubled, delayed.

use std::sync::Mutex;
use std::time::Duration;

use crate::lock;

/// How a faulty transport treats each message. The same seed and the same order of sends give the same faults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// Where the random numbers start.
    pub seed: u64,
    /// The probability, 0 to 1, that a message is lost.
    pub drop: f64,
    /// The probability, 0 to 1, that a message that is not lost arrives twice.
    pub duplicate: f64,
    /// Every copy waits between nothing and this, and so may overtake another.
    pub max_delay: Duration,
}

/// Draws the fate of one message after the other.
#[derive(Debug)]
pub(super) struct FaultSource {
    faults: Faults,
    state: Mutex<u64>,
}

impl FaultSource {
    pub(super) fn new(faults: Faults) -> Self {
        let state = Mutex::new(faults.seed);
        Self { faults, state }
    }

    /// The delay of each copy of the next message; none if it is lost.
    pub(super) fn deliveries(&self) -> Vec<Duration> {
        let mut state = lock(&self.state);
        // Always the same number of draws per message, so that changing one probability leaves the rest as it was.
        let [lost, twice, first, second] = std::array::from_fn(|_| draw(&mut state));
        let delays = [first, second].map(|part| self.faults.max_delay.mul_f64(part));
        if lost < self.faults.drop {
            Vec::new()
        } else if twice < self.faults.duplicate {
            delays.to_vec()
        } else {
            vec![delays[0]]
        }
    }
}

/// A number in [0, 1), by SplitMix64 (Steele, Lea, Flood 2014).
fn draw(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    // 53 bits: the precision of an f64.
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(faults: Faults) -> Vec<Vec<Duration>> {
        let source = FaultSource::new(faults);
        (0..2000).map(|_| source.deliveries()).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_and_another_seed_others() {
        let faults = Faults { seed: 7, drop: 0.3, duplicate: 0.3, max_delay: Duration::from_secs(1) };
        assert_eq!(fates(faults.clone()), fates(faults.clone()));
        assert_ne!(fates(faults.clone()), fates(Faults { seed: 8, ..faults }));
    }

    #[test]
    fn probabilities_are_met_and_delays_stay_below_the_limit() {
        let max_delay = Duration::from_millis(50);
        let fates = fates(Faults { seed: 1, drop: 0.25, duplicate: 0.5, max_delay });
        let share = |copies: usize| fates.iter().filter(|fate| fate.len() == copies).count() as f64 / 2000.0;
        assert!((share(0) - 0.25).abs() < 0.05, "lost {}", share(0));
        assert!((share(2) - 0.375).abs() < 0.05, "doubled {}", share(2));
        assert!(fates.iter().flatten().all(|delay| *delay < max_delay));
    }

    #[test]
    fn without_faults_every_message_arrives_once_and_at_once() {
        assert!(fates(Faults::default()).iter().all(|fate| fate == &[Duration::ZERO]));
    }
}
