//! A consumer of the in-process transport.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::broker::Broker;
use super::queue::{ConsumerId, QueueName, Taken};
use crate::MessagingError;
use crate::transport::{Address, Consumer, Delivery};

/// Takes from its queues in turn, so that a busy topic does not starve the host's own queue.
pub(super) struct MemoryConsumer {
    broker: Arc<Broker>,
    id: ConsumerId,
    queues: Vec<QueueName>,
    wake: Arc<Notify>,
    /// Index of the queue to look into first.
    turn: usize,
    /// Handed out, oldest first, by tag.
    unacked: VecDeque<(u64, Taken)>,
    last_tag: u64,
}

impl MemoryConsumer {
    pub(super) fn new(broker: Arc<Broker>, addresses: &[Address]) -> Result<Self, MessagingError> {
        let (id, queues, wake) = broker.subscribe(addresses)?;
        Ok(Self { broker, id, queues, wake, turn: 0, unacked: VecDeque::new(), last_tag: 0 })
    }

    fn take_or_wait(&mut self) -> Result<Option<Taken>, MessagingError> {
        let (later, first) = self.queues.split_at(self.turn);
        let taken = self.broker.take_or_wait(self.id, first.iter().chain(later))?;
        self.turn = (self.turn + 1) % self.queues.len().max(1);
        Ok(taken)
    }

    fn deliver(&mut self, taken: Taken) -> Delivery {
        self.last_tag += 1;
        let body = taken.message.body.clone();
        self.unacked.push_back((self.last_tag, taken));
        Delivery { body, tag: self.last_tag }
    }

    fn settle(&mut self, tag: u64) {
        self.unacked.retain(|(unacked, _)| *unacked != tag);
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn receive(&mut self) -> Result<Delivery, MessagingError> {
        loop {
            if let Some(taken) = self.take_or_wait()? {
                return Ok(self.deliver(taken));
            }
            let mut waiting = Waiting { broker: &self.broker, id: self.id, is_woken: false };
            self.wake.notified().await;
            waiting.is_woken = true;
        }
    }

    async fn ack(&mut self, tag: u64) -> Result<(), MessagingError> {
        self.settle(tag);
        Ok(())
    }

    async fn reject(&mut self, tag: u64) -> Result<(), MessagingError> {
        self.settle(tag);
        Ok(())
    }

    async fn cancel(self: Box<Self>) {
        // Dropping it is all.
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        let unacked = self.unacked.drain(..).map(|(_, taken)| taken).collect();
        self.broker.unsubscribe(self.id, &self.queues, unacked);
    }
}

/// Tells the broker when a wait is cancelled, so that it does not hand messages to somebody who is not there.
struct Waiting<'a> {
    broker: &'a Broker,
    id: ConsumerId,
    is_woken: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_woken {
            self.broker.stop_waiting(self.id);
        }
    }
}
