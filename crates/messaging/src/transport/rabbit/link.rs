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
use super::amqp::Connection;
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
            let lost = hang_up.run_until_cancelled(connection.lost()).await;
            self.current.send_replace(None);
            match lost {
                Some(()) => tracing::warn!(purpose = self.purpose, "lost the connection to the broker"),
                None => connection.close().await,
            }
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
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, purpose = self.purpose, %host, attempt, "cannot connect to the broker");
                }
            }
            // Each host once without a pause: that one is down says nothing of the others.
            if attempt % self.dialer.hosts.len() == 0 {
                tokio::time::sleep(Duration::from_secs(wait_s.into())).await;
                wait_s = options.rabbit_interval_max.min(wait_s + options.rabbit_retry_backoff);
            }
        }
        unreachable!("attempts do not end")
    }
}
