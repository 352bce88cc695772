//! One queue of the in-process transport: its messages, and whose turn it is.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::MemoryLimits;
use crate::transport::Outgoing;

pub(super) type QueueName = Arc<str>;
pub(super) type ConsumerId = u64;

/// A message in a queue or in a consumer's hands.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) body: Bytes,
    expires_at: Option<Instant>,
}

impl Stored {
    pub(super) fn new(message: Outgoing) -> Self {
        // An expiration too far away to be told is none.
        let expires_at = message.expiration.and_then(|after| Instant::now().checked_add(after));
        Self { body: message.body, expires_at }
    }

    pub(super) fn is_expired(&self) -> bool {
        self.expires_at.is_some_and(|at| at <= Instant::now())
    }
}

/// A message and the queue that it came from.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) queue: QueueName,
    pub(super) message: Stored,
}

/// Messages in order, and the consumers that compete for them.
#[derive(Default)]
pub(super) struct Queue {
    messages: VecDeque<Stored>,
    bytes: usize,
    consumers: Vec<ConsumerId>,
    /// Index of the consumer whose turn is next.
    turn: usize,
    /// Goes with its consumer.
    pub(super) is_private: bool,
}

impl Queue {
    pub(super) fn push(&mut self, message: Stored) {
        self.bytes += message.body.len();
        self.messages.push_back(message);
    }

    pub(super) fn push_front(&mut self, message: Stored) {
        self.bytes += message.body.len();
        self.messages.push_front(message);
    }

    /// The oldest message that has not expired.
    pub(super) fn pop(&mut self) -> Option<Stored> {
        loop {
            let message = self.messages.pop_front()?;
            self.bytes -= message.body.len();
            if !message.is_expired() {
                return Some(message);
            }
        }
    }

    /// Whether one more message fits, after expired ones made room.
    pub(super) fn has_room(&mut self, limits: &MemoryLimits, size: usize) -> bool {
        if !self.fits(limits, size) {
            self.purge_expired();
        }
        self.fits(limits, size)
    }

    fn fits(&self, limits: &MemoryLimits, size: usize) -> bool {
        self.messages.len() < limits.queue_messages && self.bytes + size <= limits.queue_bytes
    }

    fn purge_expired(&mut self) {
        self.messages.retain(|message| !message.is_expired());
        self.bytes = self.messages.iter().map(|message| message.body.len()).sum();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn add_consumer(&mut self, id: ConsumerId) {
        self.consumers.push(id);
    }

    /// Returns whether it was the last one.
    pub(super) fn remove_consumer(&mut self, id: ConsumerId) -> bool {
        self.consumers.retain(|consumer| *consumer != id);
        self.turn = 0;
        self.consumers.is_empty()
    }

    /// The first consumer from the turn on that satisfies `is_waiting`; the turn passes to the one after it.
    pub(super) fn next_consumer(&mut self, mut is_waiting: impl FnMut(ConsumerId) -> bool) -> Option<ConsumerId> {
        let count = self.consumers.len();
        let mut indexes = (0..count).map(|offset| (self.turn + offset) % count);
        let index = indexes.find(|index| is_waiting(self.consumers[*index]))?;
        self.turn = index + 1;
        Some(self.consumers[index])
    }
}
