//! The transport over RabbitMQ: what oslo.messaging's peers see of it is oslo.messaging's, what happens behind is not.
//!
//! ```text
//!   RabbitTransport ── send ──> Publisher ──> Link "publish" ─┐
//!         │                                                   ├──> one of the brokers of the URL
//!         └─ subscribe ──> RabbitConsumer <── Pump ── Link "consume" ─┘
//! ```
//!
//! A process has two connections, whatever the number of its servers and clients. Both are kept for ever: what is lost is
//! made again, under the same names. `topology.rs` says what queues look like, `options.rs` what can be set, and `url.rs`
//! where the brokers are. `amqp` speaks the protocol.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::{Address, Consumer, Outgoing, Transport};
use crate::{MessagingError, Replies};

mod amqp;
mod consumer;
mod declare;
mod dial;
mod error;
mod heard;
mod inbox;
mod link;
mod metrics;
mod names;
mod options;
mod publisher;
mod pump;
mod tls;
mod topology;
mod url;

use consumer::RabbitConsumer;
use dial::Dialer;
use error::AmqpError;
use heard::Heard;
use link::Link;
pub use metrics::{Counter, Metrics};
use names::QueueNames;
pub use options::{LoginMethod, OptionError, RabbitOptions};
use publisher::Publisher;
pub use url::{Host, TransportUrl, UrlError};

/// Why a transport cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RabbitError {
    /// The URL is wrong.
    #[error("wrong transport URL")]
    Url(#[from] UrlError),
    /// An option is wrong.
    #[error("wrong option of oslo_messaging_rabbit")]
    Option(#[from] OptionError),
    /// A certificate or key cannot be used.
    #[error("cannot use {what} for TLS")]
    Tls {
        /// A file, or what else.
        what: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Before a call is sent again for which there was no queue.
const UNHEARD_INTERVAL: Duration = Duration::from_millis(250);

/// What all parts of a transport share.
struct Shared {
    options: RabbitOptions,
    names: QueueNames,
    metrics: Metrics,
    /// What could not be declared as it should be, and was complained about.
    conflicts: Mutex<HashSet<String>>,
    /// Ends consumers and publisher.
    stop: CancellationToken,
    /// What has to end before the connections are closed.
    tasks: TaskTracker,
}

/// A transport over RabbitMQ.
pub struct RabbitTransport {
    shared: Arc<Shared>,
    publisher: Publisher,
    heard: Heard,
    consuming: Arc<Link>,
    replies: Replies,
    links: TaskTracker,
    _stop: DropGuard,
}

impl fmt::Debug for RabbitTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitTransport").field("metrics", &self.shared.metrics).finish_non_exhaustive()
    }
}

impl RabbitTransport {
    /// A transport to the brokers of `url`, whose query overrides `options`; names in it that are no options are ignored,
    /// as oslo.messaging ignores them. Certificates are read now, connections are made when they are first needed.
    ///
    /// Must be called inside a tokio runtime.
    pub fn new(url: &str, mut options: RabbitOptions) -> Result<Arc<Self>, RabbitError> {
        let url: TransportUrl = url.parse()?;
        for (name, value) in &url.query {
            match options.set(name, value) {
                Err(OptionError::Unknown { name }) => tracing::warn!(name, "the transport URL has an unknown option"),
                set => set?,
            }
        }
        options.check()?;
        let dialer = Arc::new(Dialer::new(url, &options)?);
        Ok(Arc::new(Self::start(dialer, options)))
    }

    fn start(dialer: Arc<Dialer>, options: RabbitOptions) -> Self {
        let (stop, hang_up) = (CancellationToken::new(), CancellationToken::new());
        let shared = Arc::new(Shared {
            names: QueueNames::new(&options),
            options,
            metrics: Metrics::default(),
            conflicts: Mutex::default(),
            stop: stop.clone(),
            tasks: TaskTracker::new(),
        });
        let link = |purpose| Link::new(purpose, Arc::clone(&dialer), Arc::clone(&shared), hang_up.clone());
        let (publishing, consuming) = (link("publish"), link("consume"));
        let links = TaskTracker::new();
        links.spawn(Arc::clone(&publishing).run());
        links.spawn(Arc::clone(&consuming).run());
        let (publisher, work) = Publisher::new(publishing, Arc::clone(&shared), stop.clone());
        shared.tasks.spawn(work);
        let (tasks, stopped) = (shared.tasks.clone(), stop.clone());
        // Consumers tidy up over the connection, so it is closed after them.
        links.spawn(async move {
            stopped.cancelled().await;
            tasks.close();
            tasks.wait().await;
            hang_up.cancel();
        });
        links.close();
        Self {
            shared,
            publisher,
            heard: Heard::default(),
            consuming,
            replies: Replies::default(),
            links,
            _stop: stop.drop_guard(),
        }
    }

    /// Sends a call for which there may be no server yet. The broker drops such a call, and oslo.messaging's caller waits
    /// for its whole timeout; here it is sent again until a server has come, or until nobody would wait for the answer.
    async fn until_heard(&self, address: &Address, message: Outgoing) -> Result<(), MessagingError> {
        let since = Instant::now();
        let total = message.expiration.unwrap_or_default();
        let mut is_said = false;
        loop {
            let expiration = total.saturating_sub(since.elapsed());
            let attempt = Outgoing { mandatory: true, expiration: Some(expiration), ..message.clone() };
            match self.publisher.send(address, attempt).await {
                Err(MessagingError::Undeliverable { .. }) => {
                    if !std::mem::replace(&mut is_said, true) {
                        tracing::warn!(%address, "no server takes calls yet: waiting for one");
                    }
                    tokio::time::sleep(UNHEARD_INTERVAL.min(expiration)).await;
                }
                sent => return sent,
            }
            if since.elapsed() >= total {
                return Err(MessagingError::NotConfirmed { address: address.to_string(), timeout: total });
            }
        }
    }

    /// What this transport counts.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// The options in force, those of the URL included.
    pub fn options(&self) -> &RabbitOptions {
        &self.shared.options
    }
}

#[async_trait]
impl Transport for RabbitTransport {
    async fn send(&self, address: &Address, message: Outgoing) -> Result<(), MessagingError> {
        if self.shared.stop.is_cancelled() {
            return Err(MessagingError::Closed);
        }
        let epoch = self.shared.metrics.reconnects.get();
        if message.expiration.is_some() && !message.mandatory && !self.heard.knows(address, epoch) {
            self.until_heard(address, message).await?;
            self.heard.insert(address, epoch);
            return Ok(());
        }
        self.publisher.send(address, message).await
    }

    async fn subscribe(&self, addresses: &[Address]) -> Result<Box<dyn Consumer>, MessagingError> {
        if self.shared.stop.is_cancelled() {
            return Err(MessagingError::Closed);
        }
        let (link, shared) = (Arc::clone(&self.consuming), Arc::clone(&self.shared));
        Ok(Box::new(RabbitConsumer::subscribe(addresses, link, shared).await?))
    }

    fn replies(&self) -> &Replies {
        &self.replies
    }

    fn new_reply_queue(&self) -> Result<String, MessagingError> {
        let name = self.shared.names.unique();
        let name = name.map_err(|error| MessagingError::Transport(Box::new(AmqpError::Name(Arc::new(error)))))?;
        Ok(format!("reply_{name}"))
    }

    async fn close(&self) {
        self.shared.stop.cancel();
        self.links.wait().await;
    }
}
