//! What carries messages: addresses, the `Transport` trait, and what a consumer hands out.
//!
//! A transport moves bodies between queues and knows nothing of requests and replies. Its rules, which
//! `tests/suite` checks on each implementation:
//!
//! ```text
//!   Topic    one queue per topic; its consumers compete, in turn        stays when its consumers go
//!   Server   one queue per topic.server                                 stays when its consumers go
//!   Fanout   one queue per subscription; each gets a copy               goes with its consumer
//!   Reply    one queue by name                                          goes with its consumer, at once or later
//!   Notification  as Topic, per topic.priority; sending declares it     stays when its consumers go
//! ```
//!
//! A message to a queue that nobody declared is dropped, or is an error if it is mandatory. A message older than its
//! expiration is never handed out. Messages of one queue are handed out in the order in which they were sent.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{MessagingError, Replies};

pub mod memory;
pub mod rabbit;

/// Where a message goes, or what a consumer takes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// The queue that all servers of a topic share.
    Topic {
        /// `None` is the transport's control exchange.
        exchange: Option<String>,
        /// The topic.
        topic: String,
    },
    /// The queue of one server.
    Server {
        /// `None` is the transport's control exchange.
        exchange: Option<String>,
        /// The topic.
        topic: String,
        /// The server.
        server: String,
    },
    /// All servers of a topic. Its exchange is `<topic>_fanout`, whatever the control exchange.
    Fanout {
        /// The topic.
        topic: String,
    },
    /// A client's reply queue.
    Reply {
        /// The queue's name.
        queue: String,
    },
    /// The notifications of a topic and priority. Whoever sends there declares the queue too, so that what is sent
    /// before there is a listener waits for it.
    Notification {
        /// `None` is the transport's control exchange.
        exchange: Option<String>,
        /// The topic, for example `versioned_notifications`.
        topic: String,
        /// The priority in lower case, for example `info`.
        priority: String,
    },
}

impl Address {
    /// The routing key that a message to this address is published with.
    pub fn routing_key(&self) -> Cow<'_, str> {
        match self {
            Address::Topic { topic, .. } => Cow::Borrowed(topic),
            Address::Server { topic, server, .. } => Cow::Owned(format!("{topic}.{server}")),
            Address::Fanout { .. } => Cow::Borrowed(""),
            Address::Reply { queue } => Cow::Borrowed(queue),
            Address::Notification { topic, priority, .. } => Cow::Owned(format!("{topic}.{priority}")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Fanout { topic } => write!(f, "{topic}_fanout"),
            other => f.write_str(&other.routing_key()),
        }
    }
}

/// A message on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The envelope, JSON text in UTF-8. Cheap to clone.
    pub body: Bytes,
    /// After this time nobody waits for the answer any more, and the message is not to be delivered.
    pub expiration: Option<Duration>,
    /// Whether it is an error if no queue takes the message.
    pub mandatory: bool,
    /// How long the broker may take to accept it; `None` is what the transport thinks right.
    pub send_timeout: Option<Duration>,
}

impl Outgoing {
    /// A message that never expires, to whoever is there.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), expiration: None, mandatory: false, send_timeout: None }
    }
}

/// A message handed to a consumer, which owes an `ack` or a `reject` for it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The envelope, JSON text in UTF-8.
    pub body: Bytes,
    /// Names the delivery to its consumer.
    pub tag: u64,
}

/// Carries messages.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends one message. `Ok` means that the transport took it, not that anybody got it.
    ///
    /// Errors: `Undeliverable` (only if mandatory), `NotConfirmed`, `QueueFull`, `Closed`, `Transport`.
    async fn send(&self, address: &Address, message: Outgoing) -> Result<(), MessagingError>;

    /// Declares the queues, in this order, and takes from all of them. Messages sent after this returns arrive.
    async fn subscribe(&self, addresses: &[Address]) -> Result<Box<dyn Consumer>, MessagingError>;

    /// The replies to the calls made over this transport: one reply queue, shared by all clients.
    fn replies(&self) -> &Replies;

    /// The name of that queue, which is asked for once.
    fn new_reply_queue(&self) -> Result<String, MessagingError> {
        Ok(format!("reply_{}", crate::new_id()))
    }

    /// Ends all consumers with `Closed`, and refuses what is sent from now on.
    async fn close(&self);
}

/// Takes messages from the queues that it subscribed to. Dropping it returns to their queues what it has neither
/// acknowledged nor rejected.
#[async_trait]
pub trait Consumer: Send {
    /// The next message, of whichever queue. Messages are taken only while somebody waits here. May be cancelled: no
    /// message gets lost by that.
    ///
    /// `Closed` is the end of the transport. After any other error the consumer is dead, and the caller subscribes
    /// anew; a transport reports only what it could not mend itself.
    async fn receive(&mut self) -> Result<Delivery, MessagingError>;

    /// Takes responsibility for a message: it will not be delivered again.
    ///
    /// `DeliveryLost`: too late, it will be; the caller drops it, and goes on.
    async fn ack(&mut self, tag: u64) -> Result<(), MessagingError>;

    /// Throws a message away. `DeliveryLost` as for `ack`.
    async fn reject(&mut self, tag: u64) -> Result<(), MessagingError>;

    /// Stops taking, and removes the queues that were only this consumer's.
    async fn cancel(self: Box<Self>);
}

const RESUBSCRIBE_FIRST: Duration = Duration::from_secs(1);
const RESUBSCRIBE_STEP: Duration = Duration::from_secs(2);
const RESUBSCRIBE_MAX: Duration = Duration::from_secs(30);

/// Subscribes again after a consumer died, for as long as it takes, at oslo.messaging's intervals. `None`: the
/// transport is closed or gone.
pub(crate) async fn resubscribe(transport: &Weak<dyn Transport>, addresses: &[Address]) -> Option<Box<dyn Consumer>> {
    let mut interval = RESUBSCRIBE_FIRST;
    loop {
        tokio::time::sleep(interval).await;
        let live: Arc<dyn Transport> = transport.upgrade()?;
        match live.subscribe(addresses).await {
            Ok(consumer) => return Some(consumer),
            Err(MessagingError::Closed) => return None,
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "cannot subscribe, trying again"),
        }
        interval = RESUBSCRIBE_MAX.min(interval + RESUBSCRIBE_STEP);
    }
}
