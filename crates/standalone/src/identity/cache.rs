//! Resolved tokens, kept until something in the identity database changes.
//!
//! Every entry remembers the revision that the database had *before* it was resolved. A committed change counts the
//! revision up, so an entry that was read from older rows is never used, however the two are interleaved.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::validate::Token;

/// A token and its entry are about 2 KB.
const CAPACITY: usize = 4096;

#[derive(Default)]
pub(crate) struct TokenCache {
    revision: AtomicU64,
    entries: RwLock<HashMap<Box<str>, Entry>>,
}

struct Entry {
    revision: u64,
    token: Arc<Token>,
}

impl TokenCache {
    /// The revision to hand to [`TokenCache::insert`]; ask for it before reading the rows.
    pub(crate) fn revision(&self) -> u64 {
        self.revision.load(Ordering::SeqCst)
    }

    /// Makes every entry stale.
    pub(crate) fn invalidate(&self) {
        self.revision.fetch_add(1, Ordering::SeqCst);
    }

    /// What is known about `token` and still true. Expiry is the caller's to check.
    pub(crate) fn get(&self, token: &str) -> Option<Arc<Token>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(token)?;
        (entry.revision == self.revision()).then(|| entry.token.clone())
    }

    pub(crate) fn insert(&self, token: &str, revision: u64, resolved: Arc<Token>) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let current = self.revision();
        if revision != current {
            return;
        }
        if entries.len() >= CAPACITY {
            let now = chrono::Utc::now().timestamp();
            entries.retain(|_, entry| entry.revision == current && entry.token.claims.expires_at > now);
            if entries.len() >= CAPACITY {
                entries.clear();
            }
        }
        entries.insert(token.into(), Entry { revision, token: resolved });
    }
}

#[cfg(test)]
mod tests {
    use super::super::validate::tests::token;
    use super::*;

    #[test]
    fn what_was_resolved_before_a_change_is_not_used_after_it() {
        let cache = TokenCache::default();
        let before = cache.revision();
        cache.insert("a", before, Arc::new(token()));
        assert!(cache.get("a").is_some());
        cache.invalidate();
        assert!(cache.get("a").is_none());
        cache.insert("b", before, Arc::new(token()));
        assert!(cache.get("b").is_none());
    }

    #[test]
    fn the_cache_never_grows_over_its_capacity() {
        let cache = TokenCache::default();
        let resolved = Arc::new(token());
        for number in 0..=CAPACITY {
            cache.insert(&number.to_string(), cache.revision(), resolved.clone());
        }
        assert!(cache.entries.read().unwrap().len() <= CAPACITY);
        assert!(cache.get(&CAPACITY.to_string()).is_some());
    }
}
