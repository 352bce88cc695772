//! Queues, bindings and consumers of the in-process transport, behind one lock.
//!
//! A message goes straight to a consumer that waits, else into the queue. So a queue that holds a live message has no
//! waiting consumer, and a consumer waits only while all its queues are empty.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::MemoryLimits;
use super::queue::{ConsumerId, Queue, QueueName, Stored, Taken};
use crate::transport::{Address, Outgoing};
use crate::{MessagingError, lock};

/// oslo.messaging's default for targets without an exchange.
const CONTROL_EXCHANGE: &str = "openstack";

/// What the broker knows of a consumer.
struct Receiver {
    is_waiting: bool,
    /// Handed over, not yet fetched.
    handed: Option<Taken>,
    wake: Arc<Notify>,
}

#[derive(Default)]
struct State {
    queues: HashMap<QueueName, Queue>,
    /// The queues of each topic's fanout exchange.
    fanouts: HashMap<String, Vec<QueueName>>,
    receivers: HashMap<ConsumerId, Receiver>,
    last_id: ConsumerId,
    is_closed: bool,
}

/// The queues of one transport.
pub(super) struct Broker {
    state: Mutex<State>,
    limits: MemoryLimits,
}

impl Broker {
    pub(super) fn new(limits: MemoryLimits) -> Self {
        Self { state: Mutex::default(), limits }
    }

    /// Whether a message can be sent at all.
    pub(super) fn check(&self, address: &Address, mandatory: bool) -> Result<(), MessagingError> {
        lock(&self.state).check(address, mandatory)
    }

    pub(super) fn publish(&self, address: &Address, message: Outgoing) -> Result<(), MessagingError> {
        let mut state = lock(&self.state);
        state.declare_for_sender(address);
        state.check(address, message.mandatory)?;
        let message = Stored::new(message);
        if let Address::Fanout { topic } = address {
            state.publish_copies(topic, &message, &self.limits);
            return Ok(());
        }
        let name = queue_name(address);
        let Some((name, _)) = state.queues.get_key_value(name.as_str()) else {
            tracing::debug!(%address, "dropped a message to a queue that was never declared");
            return Ok(());
        };
        let name = Arc::clone(name);
        state.enqueue(&name, message, &self.limits)
    }

    /// Declares the queues of a new consumer. Returns its id, its queues, and what wakes it.
    pub(super) fn subscribe(
        &self,
        addresses: &[Address],
    ) -> Result<(ConsumerId, Vec<QueueName>, Arc<Notify>), MessagingError> {
        let mut state = lock(&self.state);
        if state.is_closed {
            return Err(MessagingError::Closed);
        }
        state.last_id += 1;
        let id = state.last_id;
        let queues = addresses.iter().map(|address| state.declare(address, id)).collect();
        let wake = Arc::new(Notify::new());
        state.receivers.insert(id, Receiver { is_waiting: false, handed: None, wake: Arc::clone(&wake) });
        Ok((id, queues, wake))
    }

    /// The next message for a consumer, looking into `queues` in this order; if there is none the consumer waits from
    /// now on, and will be woken.
    pub(super) fn take_or_wait<'a>(
        &self,
        id: ConsumerId,
        queues: impl Iterator<Item = &'a QueueName>,
    ) -> Result<Option<Taken>, MessagingError> {
        let mut state = lock(&self.state);
        let handed = state.receivers.get_mut(&id).and_then(|receiver| {
            receiver.is_waiting = false;
            receiver.handed.take()
        });
        // What was handed over, and then left while the caller was busy, may have expired since.
        if let Some(taken) = handed.filter(|taken| !taken.message.is_expired()) {
            return Ok(Some(taken));
        }
        if state.is_closed {
            return Err(MessagingError::Closed);
        }
        for queue in queues {
            if let Some(message) = state.queues.get_mut(queue).and_then(Queue::pop) {
                return Ok(Some(Taken { queue: Arc::clone(queue), message }));
            }
        }
        if let Some(receiver) = state.receivers.get_mut(&id) {
            receiver.is_waiting = true;
        }
        Ok(None)
    }

    /// The consumer no longer waits; what was handed over in the meantime stays for its next `take_or_wait`.
    pub(super) fn stop_waiting(&self, id: ConsumerId) {
        if let Some(receiver) = lock(&self.state).receivers.get_mut(&id) {
            receiver.is_waiting = false;
        }
    }

    /// Forgets a consumer and the queues that were its own; other messages in its hands go back, oldest in front.
    pub(super) fn unsubscribe(&self, id: ConsumerId, queues: &[QueueName], unacked: Vec<Taken>) {
        let mut state = lock(&self.state);
        let handed = state.receivers.remove(&id).and_then(|receiver| receiver.handed);
        for name in queues {
            state.leave(name, id);
        }
        for Taken { queue, message } in unacked.into_iter().chain(handed).rev() {
            state.put_back(&queue, message);
        }
        for name in queues {
            state.hand_out(name);
        }
    }

    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.is_closed = true;
        state.queues.clear();
        state.fanouts.clear();
        for receiver in state.receivers.values() {
            receiver.wake.notify_one();
        }
    }
}

impl State {
    fn check(&self, address: &Address, mandatory: bool) -> Result<(), MessagingError> {
        if self.is_closed {
            return Err(MessagingError::Closed);
        }
        if mandatory && !self.has_queue(address) {
            return Err(MessagingError::Undeliverable { address: address.to_string() });
        }
        Ok(())
    }

    fn has_queue(&self, address: &Address) -> bool {
        match address {
            Address::Fanout { topic } => self.fanouts.contains_key(topic),
            Address::Notification { .. } => true,
            other => self.queues.contains_key(queue_name(other).as_str()),
        }
    }

    /// A notification waits for its listener.
    fn declare_for_sender(&mut self, address: &Address) {
        if matches!(address, Address::Notification { .. }) && !self.is_closed {
            self.queues.entry(QueueName::from(queue_name(address))).or_default();
        }
    }

    /// Makes the queue if it is not there, and adds the consumer to it.
    fn declare(&mut self, address: &Address, id: ConsumerId) -> QueueName {
        let name = match address {
            Address::Fanout { topic } => self.bind_fanout(topic, id),
            other => QueueName::from(queue_name(other)),
        };
        let queue = self.queues.entry(Arc::clone(&name)).or_default();
        queue.is_private = matches!(address, Address::Fanout { .. } | Address::Reply { .. });
        queue.add_consumer(id);
        name
    }

    fn bind_fanout(&mut self, topic: &str, id: ConsumerId) -> QueueName {
        let name = QueueName::from(format!("{topic}_fanout/{id}"));
        self.fanouts.entry(topic.to_owned()).or_default().push(Arc::clone(&name));
        name
    }

    /// A copy for every queue. A full one belongs to a consumer that is stuck; the others must not wait for it.
    fn publish_copies(&mut self, topic: &str, message: &Stored, limits: &MemoryLimits) {
        for name in self.fanouts.get(topic).cloned().unwrap_or_default() {
            if let Err(error) = self.enqueue(&name, message.clone(), limits) {
                tracing::warn!(%error, "dropped a fanout message");
            }
        }
    }

    fn enqueue(&mut self, name: &QueueName, message: Stored, limits: &MemoryLimits) -> Result<(), MessagingError> {
        let Some(queue) = self.queues.get_mut(name) else {
            return Ok(());
        };
        if !queue.has_room(limits, message.body.len()) {
            return Err(MessagingError::QueueFull { queue: name.to_string() });
        }
        queue.push(message);
        self.hand_out(name);
        Ok(())
    }

    /// Gives messages of the queue to its waiting consumers, one each, in turn.
    fn hand_out(&mut self, name: &QueueName) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        while !queue.is_empty() {
            let is_waiting = |id| self.receivers.get(&id).is_some_and(|receiver| receiver.is_waiting);
            let Some(receiver) = queue.next_consumer(is_waiting).and_then(|id| self.receivers.get_mut(&id)) else {
                return;
            };
            let Some(message) = queue.pop() else {
                return;
            };
            receiver.is_waiting = false;
            receiver.handed = Some(Taken { queue: Arc::clone(name), message });
            receiver.wake.notify_one();
        }
    }

    fn leave(&mut self, name: &QueueName, id: ConsumerId) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        if queue.remove_consumer(id) && queue.is_private {
            self.queues.remove(name);
            self.fanouts.retain(|_, queues| {
                queues.retain(|queue| queue != name);
                !queues.is_empty()
            });
        }
    }

    fn put_back(&mut self, name: &QueueName, message: Stored) {
        if let Some(queue) = self.queues.get_mut(name) {
            queue.push_front(message);
        }
    }
}

/// Exchange, a slash, routing key. The exchange of replies is the default one, whose name is empty.
fn queue_name(address: &Address) -> String {
    let exchange = match address {
        Address::Topic { exchange, .. } | Address::Server { exchange, .. } | Address::Notification { exchange, .. } => {
            exchange.as_deref().unwrap_or(CONTROL_EXCHANGE)
        }
        Address::Fanout { .. } | Address::Reply { .. } => "",
    };
    format!("{exchange}/{}", address.routing_key())
}
