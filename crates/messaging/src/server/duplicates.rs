//! The duplicate filter: a transport may deliver a message twice, after a reconnect for example.

use std::collections::VecDeque;

/// How many messages oslo.messaging remembers.
const REMEMBERED: usize = 16;

/// The ids of the last messages of one listener.
#[derive(Debug, Default)]
pub(super) struct Duplicates {
    recent: VecDeque<String>,
}

impl Duplicates {
    /// Whether the id was seen lately; remembers it if not. A message without an id is never a duplicate.
    pub(super) fn is_duplicate(&mut self, unique_id: Option<&str>) -> bool {
        let Some(id) = unique_id else {
            return false;
        };
        if self.recent.iter().any(|recent| recent == id) {
            return true;
        }
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(id.to_owned());
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_remembered_for_sixteen_messages() {
        let mut duplicates = Duplicates::default();
        for id in 0..16 {
            assert!(!duplicates.is_duplicate(Some(&id.to_string())));
        }
        assert!(duplicates.is_duplicate(Some("0")));
        assert!(!duplicates.is_duplicate(Some("16")));
        assert!(!duplicates.is_duplicate(Some("0")), "the oldest id was not forgotten");
        assert!(duplicates.is_duplicate(Some("2")));
    }

    #[test]
    fn messages_without_id_are_never_duplicates() {
        let mut duplicates = Duplicates::default();
        assert!(!duplicates.is_duplicate(None));
        assert!(!duplicates.is_duplicate(None));
    }
}
