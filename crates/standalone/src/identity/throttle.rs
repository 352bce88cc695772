//! Logins that failed: who fails again and again waits longer and longer.
//!
//! Counted for what the client called the user, whether or not there is such a user, so that the wait tells nothing.
//! The wait comes before the password is looked at, for right and wrong ones alike. It is bounded, because whoever knows
//! a name could otherwise lock its owner out.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::{Duration, Instant};

/// Failures that cost nothing: typing errors.
const FREE_FAILURES: u32 = 3;
const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_millis(3200);
/// Without a new failure for this long, the old ones are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);
const CAPACITY: usize = 4096;

#[derive(Default)]
pub(crate) struct FailedLogins {
    names: RandomState,
    failures: HashMap<u64, Failures>,
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl FailedLogins {
    /// How long this login has to wait before its password is looked at.
    pub(crate) fn delay(&self, user: &str, now: Instant) -> Duration {
        let failures = self.failures.get(&self.names.hash_one(user)).filter(|failures| !failures.is_over(now));
        let counted = failures.map_or(0, |failures| failures.count).saturating_sub(FREE_FAILURES);
        match counted {
            0 => Duration::ZERO,
            counted => FIRST_DELAY.saturating_mul(1 << (counted - 1).min(16)).min(MAX_DELAY),
        }
    }

    pub(crate) fn failed(&mut self, user: &str, now: Instant) {
        let key = self.names.hash_one(user);
        if self.failures.len() >= CAPACITY && !self.failures.contains_key(&key) {
            self.make_room(now);
        }
        let failures = self.failures.entry(key).or_insert(Failures { count: 0, last: now });
        if failures.is_over(now) {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }

    pub(crate) fn succeeded(&mut self, user: &str) {
        self.failures.remove(&self.names.hash_one(user));
    }

    /// Who failed least goes first: a flood of invented names does not wash out the one under attack.
    fn make_room(&mut self, now: Instant) {
        self.failures.retain(|_, failures| !failures.is_over(now));
        if self.failures.len() >= CAPACITY {
            let least = self.failures.iter().min_by_key(|(_, failures)| (failures.count, failures.last));
            if let Some(key) = least.map(|(key, _)| *key) {
                self.failures.remove(&key);
            }
        }
    }
}

impl Failures {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) > FORGOTTEN_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_starts_after_the_free_failures_doubles_and_is_bounded() {
        let (mut logins, now) = (FailedLogins::default(), Instant::now());
        let mut delays = Vec::new();
        for _ in 0..12 {
            delays.push(u64::try_from(logins.delay("bob", now).as_millis()).unwrap());
            logins.failed("bob", now);
        }
        assert_eq!(delays, [0, 0, 0, 0, 100, 200, 400, 800, 1600, 3200, 3200, 3200]);
        assert_eq!(logins.delay("alice", now), Duration::ZERO);
    }

    #[test]
    fn success_and_time_forget_the_failures() {
        let (mut logins, now) = (FailedLogins::default(), Instant::now());
        for _ in 0..5 {
            logins.failed("bob", now);
        }
        let later = now + FORGOTTEN_AFTER + Duration::from_secs(1);
        assert_eq!(logins.delay("bob", later), Duration::ZERO);
        logins.failed("bob", later);
        assert_eq!(logins.delay("bob", later), Duration::ZERO);
        for _ in 0..5 {
            logins.failed("bob", later);
        }
        assert_ne!(logins.delay("bob", later), Duration::ZERO);
        logins.succeeded("bob");
        assert_eq!(logins.delay("bob", later), Duration::ZERO);
    }

    #[test]
    fn invented_names_do_not_wash_out_the_one_under_attack() {
        let (mut logins, now) = (FailedLogins::default(), Instant::now());
        for _ in 0..10 {
            logins.failed("bob", now);
        }
        for number in 0..CAPACITY * 2 {
            logins.failed(&format!("nobody-{number}"), now);
        }
        assert_eq!(logins.failures.len(), CAPACITY);
        assert_eq!(logins.delay("bob", now), MAX_DELAY);
    }
}
