//! The duplicate filter: a transport may deliver a message twice, after a reconnect for example.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// How many messages are remembered. oslo.messaging remembers 16, and sends one at a time; a Rust peer that lost its
/// connection sends all again that were unconfirmed.
const REMEMBERED: usize = 4096;

/// The ids of the last messages of one listener.
#[derive(Debug, Default)]
pub(super) struct Duplicates {
    known: HashSet<Arc<str>>,
    /// Oldest first.
    order: VecDeque<Arc<str>>,
}

impl Duplicates {
    /// Whether the id was seen lately; remembers it if not. A message without an id is never a duplicate.
    pub(super) fn is_duplicate(&mut self, unique_id: Option<&str>) -> bool {
        let Some(id) = unique_id else {
            return false;
        };
        if self.known.contains(id) {
            return true;
        }
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        let id: Arc<str> = id.into();
        self.known.insert(Arc::clone(&id));
        self.order.push_back(id);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_id_is_forgotten_for_a_new_one() {
        let mut duplicates = Duplicates::default();
        for id in 0..REMEMBERED {
            assert!(!duplicates.is_duplicate(Some(&id.to_string())));
        }
        assert!(duplicates.is_duplicate(Some("0")));
        assert!(!duplicates.is_duplicate(Some("new")));
        assert!(!duplicates.is_duplicate(Some("0")), "the oldest id was not forgotten");
        assert!(duplicates.is_duplicate(Some("2")));
        assert_eq!(duplicates.known.len(), REMEMBERED);
    }

    #[test]
    fn messages_without_id_are_never_duplicates() {
        let mut duplicates = Duplicates::default();
        assert!(!duplicates.is_duplicate(None));
        assert!(!duplicates.is_duplicate(None));
    }
}
