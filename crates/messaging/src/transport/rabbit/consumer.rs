//! A consumer, as its owner sees it. The work is `pump.rs`'s.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::amqp::Channel;
use super::error::AmqpError;
use super::inbox::Inbox;
use super::pump::Pump;
use super::{Shared, link::Link, topology::Queue};
use crate::MessagingError;
use crate::transport::{Address, Consumer, Delivery};

/// Takes from its queues, across all that happens to connections and queues meanwhile.
pub(super) struct RabbitConsumer {
    inbox: Arc<Inbox>,
    /// Handed out and not settled: our tag, and the channel's.
    unsettled: Vec<(u64, Channel, u64)>,
    last_tag: u64,
    shared: Arc<Shared>,
    stop: DropGuard,
    ended: CancellationToken,
}

impl RabbitConsumer {
    /// Declares the queues and takes from them; waits for the broker as long as it takes.
    pub(super) async fn subscribe(
        addresses: &[Address],
        link: Arc<Link>,
        shared: Arc<Shared>,
    ) -> Result<Self, MessagingError> {
        let queues = addresses.iter().map(|address| Queue::of(address, &shared.options, &shared.names));
        let queues = queues.collect::<Result<Vec<_>, _>>();
        let queues = queues.map_err(|error| MessagingError::Transport(Box::new(AmqpError::Name(Arc::new(error)))))?;
        let (stop, ended) = (shared.stop.child_token(), CancellationToken::new());
        let inbox = Arc::new(Inbox::default());
        let (ready, is_ready) = oneshot::channel();
        let pump = Pump::new(queues, link, Arc::clone(&shared), Arc::clone(&inbox), stop.clone());
        let (consumer, ended_guard) = (Arc::clone(&shared), ended.clone().drop_guard());
        let consumer =
            Self { inbox, unsettled: Vec::new(), last_tag: 0, shared: consumer, stop: stop.drop_guard(), ended };
        shared.tasks.spawn(async move {
            let _ended = ended_guard;
            pump.run(ready).await;
        });
        match is_ready.await {
            Ok(Ok(())) => Ok(consumer),
            Ok(Err(refusal)) => Err(MessagingError::Transport(Box::new(refusal))),
            Err(_) => Err(MessagingError::Closed),
        }
    }

    fn settle(
        &mut self,
        tag: u64,
        act: impl FnOnce(&Channel, u64) -> Result<(), AmqpError>,
    ) -> Result<(), MessagingError> {
        let Some(index) = self.unsettled.iter().position(|(unsettled, ..)| *unsettled == tag) else {
            return Ok(());
        };
        let (_, channel, delivery_tag) = self.unsettled.swap_remove(index);
        act(&channel, delivery_tag).map_err(|_| MessagingError::DeliveryLost)
    }
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn receive(&mut self) -> Result<Delivery, MessagingError> {
        let received = self.inbox.next().await?;
        self.shared.metrics.received.increment();
        self.last_tag += 1;
        self.unsettled.push((self.last_tag, received.channel, received.arrival.delivery_tag));
        Ok(Delivery { body: received.arrival.body, tag: self.last_tag })
    }

    async fn ack(&mut self, tag: u64) -> Result<(), MessagingError> {
        self.settle(tag, Channel::ack)
    }

    async fn reject(&mut self, tag: u64) -> Result<(), MessagingError> {
        self.shared.metrics.rejected.increment();
        self.settle(tag, Channel::reject)
    }

    async fn cancel(self: Box<Self>) {
        let Self { stop, ended, .. } = *self;
        drop(stop);
        ended.cancelled().await;
    }
}
