//! Keeps one connection to one of the brokers, for ever.
//!
//! ```text
//!   idle ──wanted──> dialling, host after host, at growing intervals ──> connected ──lost──> dialling …
//!                                                                           └──hang up──> closed
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::amqp::{Condition, Connection};
use super::dial::Dialer;

/// The connection for one purpose.
pub(super) struct Link {
    purpose: &'static str,
    dialer: Arc<Dialer>,
    shared: Arc<Shared>,
    current: watch::Sender<Option<Arc<Connection>>>,
    wanted: Notify,
    hang_up: CancellationToken,
}

impl Link {
    /// A link that connects when it is first wanted.
    pub(super) fn new(
        purpose: &'static str,
        dialer: Arc<Dialer>,
        shared: Arc<Shared>,
        hang_up: CancellationToken,
    ) -> Arc<Self> {
        let current = watch::Sender::new(None);
        Arc::new(Self { purpose, dialer, shared, current, wanted: Notify::new(), hang_up })
    }

    /// The connection, when there is one; `None` when there will be none any more.
    pub(super) async fn connection(&self) -> Option<Arc<Connection>> {
        self.wanted.notify_one();
        let mut current = self.current.subscribe();
        let is_live = |current: &Option<Arc<Connection>>| current.as_ref().is_some_and(|live| live.is_connected());
        let waiting = self.hang_up.run_until_cancelled(current.wait_for(is_live));
        waiting.await?.ok()?.clone()
    }

    /// Connects and connects again, until it is to hang up.
    pub(super) async fn run(self: Arc<Self>) {
        let hang_up = self.hang_up.clone();
        if hang_up.run_until_cancelled(self.wanted.notified()).await.is_none() {
            return;
        }
        let mut turn = 0;
        let mut is_first = true;
        while let Some(connection) = hang_up.run_until_cancelled(self.dial(&mut turn)).await {
            if !std::mem::take(&mut is_first) {
                self.shared.metrics.reconnects.increment();
            }
            self.current.send_replace(Some(Arc::clone(&connection)));
            let watching = connection.watch_over(|condition, reason| self.note(condition, reason));
            let lost = hang_up.run_until_cancelled(watching).await;
            self.current.send_replace(None);
            if lost.is_none() {
                connection.close().await;
            }
        }
    }

    fn note(&self, condition: Condition, reason: &str) {
        let purpose = self.purpose;
        match condition {
            Condition::Open => tracing::info!(purpose, "the broker takes messages again"),
            Condition::Blocked => {
                self.shared.metrics.blocked.increment();
                tracing::error!(purpose, reason, "the broker takes no messages until it has room: senders wait");
            }
            Condition::Lost => tracing::warn!(purpose, reason, "lost the connection to the broker"),
        }
    }

    /// Tries one host after the other until one takes us.
    async fn dial(&self, turn: &mut usize) -> Arc<Connection> {
        let options = &self.shared.options;
        let mut wait_s = options.rabbit_retry_interval;
        for attempt in 1_usize.. {
            let host = &self.dialer.hosts[*turn % self.dialer.hosts.len()];
            *turn += 1;
            match self.dialer.dial(host).await {
                Ok(connection) => {
                    tracing::info!(purpose = self.purpose, %host, attempt, "connected to the broker");
                    return Arc::new(connection);
                }
                Err(error) => {
                    self.shared.metrics.failed_connects.increment();
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, purpose = self.purpose, %host, attempt, "cannot connect to the broker");
                }
            }
            // Each host once without a pause: that one is down says nothing of the others.
            if attempt % self.dialer.hosts.len() == 0 {
                tokio::time::sleep(Duration::from_secs(wait_s.into()).mul_f64(spread())).await;
                wait_s = options.rabbit_interval_max.min(wait_s + options.rabbit_retry_backoff);
            }
        }
        unreachable!("attempts do not end")
    }
}

/// A factor about one, so that the clients of a broker that comes back do not all come at once.
fn spread() -> f64 {
    0.75 + f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 512.0
}
