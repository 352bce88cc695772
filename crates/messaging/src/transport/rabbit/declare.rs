//! Declares exchanges and queues, and deals with what is there already, as oslo.messaging does.
//!
//! The broker closes the channel over every refusal, so declarations have a channel of their own, made again when it is
//! gone.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::amqp::{Channel, Connection};
use super::error::AmqpError;
use super::topology::{Exchange, Queue};
use crate::lock;

/// How long one declaration may take. A broker that does not answer by then is as good as gone.
const ANSWER_BOUND: Duration = Duration::from_secs(10);

/// Declares over one connection.
pub(super) struct Declarer {
    connection: Arc<Connection>,
    shared: Arc<Shared>,
    channel: Option<Channel>,
}

impl Declarer {
    pub(super) fn new(connection: Arc<Connection>, shared: Arc<Shared>) -> Self {
        Self { connection, shared, channel: None }
    }

    /// Declares an exchange; where it exists as not durable, that is good enough.
    pub(super) async fn exchange(&mut self, exchange: &Exchange) -> Result<(), AmqpError> {
        let declared = answered(self.try_exchange(exchange)).await;
        let Err(refusal) = declared else { return Ok(()) };
        self.note_conflict(&refusal, "exchange", &exchange.name);
        if !(exchange.durable && refusal.is_durability_conflict()) {
            return Err(refusal);
        }
        let fallback = Exchange { durable: false, ..exchange.clone() };
        answered(self.try_exchange(&fallback)).await
    }

    /// Declares a queue with its exchange and its binding. Returns it as it was declared, which may be without
    /// durability, and how many consumers it has.
    pub(super) async fn queue(&mut self, queue: &Queue) -> Result<(Queue, u32), AmqpError> {
        let refusal = match answered(self.try_queue(queue)).await {
            Ok(consumers) => return Ok((queue.clone(), consumers)),
            Err(refusal) => refusal,
        };
        self.note_conflict(&refusal, "queue", &queue.name);
        if refusal.is_not_found() {
            return self.replace_stuck(queue).await;
        }
        if !(queue.durable && refusal.is_durability_conflict()) {
            return Err(refusal);
        }
        let fallback = queue.non_durable();
        let consumers = answered(self.try_queue(&fallback)).await?;
        Ok((fallback, consumers))
    }

    /// A queue that is there but not found is on a node that is down. Deleted, it can be made on another one.
    async fn replace_stuck(&mut self, queue: &Queue) -> Result<(Queue, u32), AmqpError> {
        tracing::warn!(queue = queue.name, "the queue is stuck on a node that does not answer: replacing it");
        self.delete_queue(&queue.name).await?;
        let consumers = answered(self.try_queue(queue)).await?;
        Ok((queue.clone(), consumers))
    }

    pub(super) async fn delete_queue(&mut self, name: &str) -> Result<(), AmqpError> {
        answered(async { self.channel().await?.delete_queue(name).await }).await
    }

    async fn try_exchange(&mut self, exchange: &Exchange) -> Result<(), AmqpError> {
        self.channel().await?.declare_exchange(exchange).await
    }

    async fn try_queue(&mut self, queue: &Queue) -> Result<u32, AmqpError> {
        let channel = self.channel().await?;
        if let Some(binding) = &queue.binding {
            channel.declare_exchange(&binding.exchange).await?;
        }
        let consumers = channel.declare_queue(queue).await?;
        if let Some(binding) = &queue.binding {
            channel.bind(&queue.name, binding).await?;
        }
        Ok(consumers)
    }

    async fn channel(&mut self) -> Result<Channel, AmqpError> {
        match self.channel.take().filter(Channel::is_open) {
            Some(channel) => Ok(self.channel.insert(channel).clone()),
            None => Ok(self.channel.insert(self.connection.channel().await?).clone()),
        }
    }

    /// Says once for each thing what an operator can do about it.
    fn note_conflict(&self, refusal: &AmqpError, kind: &str, name: &str) {
        if !refusal.is_conflict() {
            return;
        }
        self.shared.metrics.declare_conflicts.increment();
        if lock(&self.shared.conflicts).insert(name.to_owned()) {
            tracing::error!(
                kind,
                name,
                %refusal,
                "it exists with other properties: set amqp_durable_queues and the quorum options as all services have \
                 them, or stop the services, delete it, and start them again"
            );
        }
    }
}

pub(super) async fn answered<T>(operation: impl Future<Output = Result<T, AmqpError>>) -> Result<T, AmqpError> {
    tokio::time::timeout(ANSWER_BOUND, operation).await.unwrap_or(Err(AmqpError::Silent))
}
