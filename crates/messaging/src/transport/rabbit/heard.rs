//! At which addresses somebody was found to listen, so that only the first call to each has to ask.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::transport::Address;

/// Addresses with a queue, as of one connection: what a broker that was restarted still has is not known.
#[derive(Default)]
pub(super) struct Heard(Mutex<(u64, HashSet<Address>)>);

impl Heard {
    /// Whether the address had a queue since the `epoch` began.
    pub(super) fn knows(&self, address: &Address, epoch: u64) -> bool {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.0 == epoch && heard.1.contains(address)
    }

    /// The address had a queue in that `epoch`.
    pub(super) fn insert(&self, address: &Address, epoch: u64) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.0 != epoch {
            *heard = (epoch, HashSet::new());
        }
        heard.1.insert(address.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_heard_is_forgotten_with_the_connection() {
        let address = |topic: &str| Address::Reply { queue: topic.to_owned() };
        let heard = Heard::default();
        heard.insert(&address("a"), 1);
        assert!(heard.knows(&address("a"), 1));
        assert!(!heard.knows(&address("b"), 1));
        assert!(!heard.knows(&address("a"), 2));
        heard.insert(&address("b"), 2);
        assert!(!heard.knows(&address("a"), 2));
    }
}
