//! The in-process transport: what `kilonova up` and the tests use in place of RabbitMQ.
//!
//! It carries the same bytes by the same rules, and can be told to lose, double and delay them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Address, Consumer, Outgoing, Transport};
use crate::{MessagingError, Replies};

mod broker;
mod consumer;
mod faults;
mod queue;

use broker::Broker;
use consumer::MemoryConsumer;
use faults::FaultSource;
pub use faults::Faults;

/// How much one queue may hold. A message over it is refused with `QueueFull`; a fanout copy is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Messages in one queue.
    pub queue_messages: usize,
    /// Bytes of message bodies in one queue.
    pub queue_bytes: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self { queue_messages: 65_536, queue_bytes: 64 * 1024 * 1024 }
    }
}

/// A transport inside one process. Queues live as long as it does.
pub struct MemoryTransport {
    broker: Arc<Broker>,
    faults: Option<FaultSource>,
    replies: Replies,
}

impl fmt::Debug for MemoryTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransport").field("faults", &self.faults).finish_non_exhaustive()
    }
}

impl MemoryTransport {
    /// A transport that loses nothing.
    pub fn new() -> Arc<Self> {
        Self::build(MemoryLimits::default(), None)
    }

    /// A transport whose queues hold no more than `limits`.
    pub fn with_limits(limits: MemoryLimits) -> Arc<Self> {
        Self::build(limits, None)
    }

    /// A transport that fails as `faults` says, for tests.
    pub fn with_faults(faults: Faults) -> Arc<Self> {
        Self::build(MemoryLimits::default(), Some(FaultSource::new(faults)))
    }

    fn build(limits: MemoryLimits, faults: Option<FaultSource>) -> Arc<Self> {
        Arc::new(Self { broker: Arc::new(Broker::new(limits)), faults, replies: Replies::default() })
    }

    /// Delivers each copy that the faults leave of the message, now or after its delay.
    fn send_faulty(&self, faults: &FaultSource, address: &Address, message: Outgoing) -> Result<(), MessagingError> {
        self.broker.check(address, message.mandatory)?;
        for delay in faults.deliveries() {
            if delay.is_zero() {
                self.broker.publish(address, message.clone())?;
            } else {
                self.send_later(delay, address.clone(), message.clone());
            }
        }
        Ok(())
    }

    fn send_later(&self, delay: Duration, address: Address, message: Outgoing) {
        let broker = Arc::clone(&self.broker);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            if let Err(error) = broker.publish(&address, message) {
                tracing::debug!(%address, %error, "a delayed message was not delivered");
            }
        });
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    async fn send(&self, address: &Address, message: Outgoing) -> Result<(), MessagingError> {
        match &self.faults {
            None => self.broker.publish(address, message),
            Some(faults) => self.send_faulty(faults, address, message),
        }
    }

    async fn subscribe(&self, addresses: &[Address]) -> Result<Box<dyn Consumer>, MessagingError> {
        Ok(Box::new(MemoryConsumer::new(Arc::clone(&self.broker), addresses)?))
    }

    fn replies(&self) -> &Replies {
        &self.replies
    }

    async fn close(&self) {
        self.broker.close();
    }
}
