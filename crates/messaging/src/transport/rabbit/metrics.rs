//! What a transport counts, for an operator's eyes and for the tests.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn increment(&self) {
        self.add(1);
    }

    pub(super) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// The counters of one transport, since it was made.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Connections that were made to replace one that was lost.
    pub reconnects: Counter,
    /// Attempts to connect that failed.
    pub failed_connects: Counter,
    /// Times that the broker stopped taking messages for want of memory or disk.
    pub blocked: Counter,
    /// Connections given up because the broker did not answer over them.
    pub unanswered: Counter,
    /// Queues that a running consumer had to declare again: after a reconnect, or because somebody deleted them.
    pub redeclared_queues: Counter,
    /// Messages handed to a connection, those sent twice counted twice.
    pub published: Counter,
    /// Messages that the broker took over.
    pub confirmed: Counter,
    /// Mandatory messages that no queue took.
    pub returned: Counter,
    /// Messages that were sent again because their connection was lost before they were confirmed.
    pub republished: Counter,
    /// Messages that were not confirmed in time.
    pub unconfirmed: Counter,
    /// Messages received.
    pub received: Counter,
    /// Messages thrown away because they could not be read.
    pub rejected: Counter,
    /// Messages given back because nobody was free to run them.
    pub given_back: Counter,
    /// Declarations that the broker refused because the exchange or queue exists with other properties.
    pub declare_conflicts: Counter,
}
