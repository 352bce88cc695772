//! The server's side: takes requests from the topic's three queues, and runs each as a task.
//!
//! ```text
//!   wait for a place in the pool ──> receive ──> decode ──> ack ──> duplicate? ──> task: dispatch ──> reply
//!        (back-pressure)                           └> reject              heartbeats while it runs
//! ```
//!
//! A request is acknowledged before it runs: when the process dies it is not run a second time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::message::Request;
use crate::transport::{Address, Consumer, Delivery, Transport, resubscribe};
use crate::{Dispatcher, MessagingError, Target, envelope};

mod duplicates;
mod reply;
mod work;

use duplicates::Duplicates;
use reply::Replier;
use work::Worker;

/// How a server works.
#[derive(Clone, Copy, Debug)]
pub struct ServerOptions {
    /// How many requests run at the same time: `executor_thread_pool_size`. Zero is taken as one.
    pub max_concurrency: usize,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { max_concurrency: 64 }
    }
}

/// A running server. Dropping it stops it as [`RpcServer::stop`] does, without waiting.
pub struct RpcServer {
    stop: CancellationToken,
    listener: TaskTracker,
    work: TaskTracker,
}

impl fmt::Debug for RpcServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcServer").field("running", &self.work.len()).finish_non_exhaustive()
    }
}

impl RpcServer {
    /// Declares the target's queues and serves them. When this returns, messages to the target arrive.
    pub async fn start(
        transport: Arc<dyn Transport>,
        target: Target,
        dispatcher: Dispatcher,
        options: ServerOptions,
    ) -> Result<RpcServer, MessagingError> {
        let addresses = target.listen_addresses()?;
        let consumer = transport.subscribe(&addresses).await?;
        let (stop, work) = (CancellationToken::new(), TaskTracker::new());
        let replier = Replier::new(Arc::clone(&transport), stop.clone());
        let listener = Listener {
            transport,
            addresses,
            worker: Arc::new(Worker::new(dispatcher, replier)),
            pool: Arc::new(Semaphore::new(options.max_concurrency.clamp(1, Semaphore::MAX_PERMITS))),
            work: work.clone(),
            stop: stop.clone(),
            duplicates: Duplicates::default(),
        };
        let server = RpcServer { stop, listener: TaskTracker::new(), work };
        server.listener.spawn(listener.run(consumer));
        Ok(server)
    }

    /// Takes no new work; when this returns, the last request taken is running. What is running goes on, and messages
    /// in the queues stay there.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.listener.close();
        self.listener.wait().await;
    }

    /// Waits until the running work has finished and its replies are sent. `false`: the bound passed before that, and
    /// the rest goes on. Call [`RpcServer::stop`] first.
    pub async fn wait(&self, bound: Duration) -> bool {
        self.work.close();
        tokio::time::timeout(bound, self.work.wait()).await.is_ok()
    }
}

impl Drop for RpcServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The one task that receives.
struct Listener {
    transport: Arc<dyn Transport>,
    addresses: [Address; 3],
    worker: Arc<Worker>,
    pool: Arc<Semaphore>,
    work: TaskTracker,
    stop: CancellationToken,
    duplicates: Duplicates,
}

impl Listener {
    /// Serves until the server is stopped or the transport closed; a lost consumer is replaced.
    async fn run(mut self, mut consumer: Box<dyn Consumer>) {
        let stop = self.stop.clone();
        loop {
            let error = match self.serve_until_error(&mut *consumer).await {
                None => return consumer.cancel().await,
                Some(MessagingError::Closed) => return,
                Some(error) => error,
            };
            tracing::error!(error = &error as &dyn std::error::Error, queue = %self.addresses[1], "lost the queues");
            drop(consumer);
            let transport = Arc::downgrade(&self.transport);
            let again = stop.run_until_cancelled(resubscribe(&transport, &self.addresses)).await;
            match again.flatten() {
                Some(again) => consumer = again,
                None => return,
            }
        }
    }

    /// `None`: the server is to stop.
    async fn serve_until_error(&mut self, consumer: &mut dyn Consumer) -> Option<MessagingError> {
        let stop = self.stop.clone();
        loop {
            // The pool never closes, so its error has no other meaning than a stop.
            let place = stop.run_until_cancelled(Arc::clone(&self.pool).acquire_owned()).await?.ok()?;
            let delivery = match stop.run_until_cancelled(consumer.receive()).await? {
                Ok(delivery) => delivery,
                Err(error) => return Some(error),
            };
            if let Err(error) = self.settle(consumer, delivery, place).await {
                return Some(error);
            }
        }
    }

    /// Acknowledges a request and starts it, or rejects what is none. What the broker will deliver again, perhaps to
    /// another server, is left for that time.
    async fn settle(
        &mut self,
        consumer: &mut dyn Consumer,
        delivery: Delivery,
        place: OwnedSemaphorePermit,
    ) -> Result<(), MessagingError> {
        let settled = match envelope::unseal::<Request>(&delivery.body) {
            Ok(request) => consumer.ack(delivery.tag).await.map(|()| self.accept(request, place)),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "rejected a message");
                consumer.reject(delivery.tag).await
            }
        };
        match settled {
            Err(MessagingError::DeliveryLost) => Ok(()),
            settled => settled,
        }
    }

    fn accept(&mut self, request: Request, place: OwnedSemaphorePermit) {
        let Request { method, unique_id, .. } = &request;
        if self.duplicates.is_duplicate(unique_id.as_deref()) {
            tracing::warn!(method, unique_id, "dropped a duplicate message");
            return;
        }
        self.work.spawn(Arc::clone(&self.worker).run(request, place));
    }
}
