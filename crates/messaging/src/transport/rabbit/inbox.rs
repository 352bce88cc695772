//! What has arrived for a consumer and was not yet received: between `pump.rs`, which fills it, and `consumer.rs`.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::amqp::{Arrival, Channel};
use crate::{MessagingError, lock};

/// A message, and the channel that it has to be settled on.
pub(super) struct Received {
    /// Index of the consumer's queue.
    pub(super) queue: usize,
    /// Others could take it too.
    pub(super) is_shared: bool,
    pub(super) channel: Channel,
    pub(super) arrival: Arrival,
    pub(super) arrived_at: Instant,
}

impl Received {
    /// The broker lets nothing expire that it has handed out, so that has to be done here.
    fn is_expired(&self) -> bool {
        self.arrival.expiration.is_some_and(|expiration| self.arrived_at.elapsed() >= expiration)
    }
}

#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    arrived: Notify,
    /// Somebody is free to run messages again.
    pub(super) wanted: Notify,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Received>,
    last_taken: Option<Instant>,
    /// Nothing is taken from the shared queues until somebody asks.
    is_holding: bool,
    is_closed: bool,
}

impl Inbox {
    pub(super) fn push(&self, received: Received) {
        lock(&self.state).ready.push_back(received);
        self.arrived.notify_one();
    }

    /// Waits for the next message. May be cancelled: a message is taken out in the same step that returns it.
    pub(super) async fn next(&self) -> Result<Received, MessagingError> {
        loop {
            if let Some(received) = self.take()? {
                return Ok(received);
            }
            self.arrived.notified().await;
        }
    }

    fn take(&self) -> Result<Option<Received>, MessagingError> {
        let mut state = lock(&self.state);
        if state.is_closed {
            return Err(MessagingError::Closed);
        }
        state.last_taken = Some(Instant::now());
        if std::mem::take(&mut state.is_holding) {
            self.wanted.notify_one();
        }
        while let Some(received) = state.ready.pop_front() {
            if !received.is_expired() {
                return Ok(Some(received));
            }
            // If this fails the broker delivers it again, and it is expired then too.
            let _ = received.channel.ack(received.arrival.delivery_tag);
        }
        Ok(None)
    }

    /// Since when a message that others could run waits for somebody to receive it.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        let state = lock(&self.state);
        let oldest = state.ready.iter().find(|received| received.is_shared)?.arrived_at;
        Some(state.last_taken.map_or(oldest, |taken| taken.max(oldest)))
    }

    /// Takes out what others could run. From now on the next receiver is announced by `wanted`.
    pub(super) fn take_shared(&self) -> Vec<Received> {
        let mut state = lock(&self.state);
        state.is_holding = true;
        let (shared, own) = state.ready.drain(..).partition(|received| received.is_shared);
        state.ready = own;
        Vec::from(shared)
    }

    /// Forgets everything: the broker has it again.
    pub(super) fn clear(&self) {
        let mut state = lock(&self.state);
        state.ready.clear();
        state.is_holding = false;
    }

    /// Ends it for whoever receives.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.is_closed = true;
        state.ready.clear();
        self.arrived.notify_one();
    }
}
