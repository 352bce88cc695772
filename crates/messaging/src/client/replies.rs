//! The client's end of calls: one reply queue per transport, and who waits for what in it.
//!
//! ```text
//!   register ──> PendingCall in the table ──> wait ──> ending reply | total timeout | monitor timeout
//!                                          └> dropped (caller cancelled)            all leave the table
//!   reader task: receive, ack, find the call by _msg_id; nobody waits for it: dropped
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Notify, OnceCell};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use crate::message::Reply;
use crate::transport::{Address, Consumer, Transport, resubscribe};
use crate::{MessagingError, RemoteException, envelope, lock, new_id};

/// The calls in flight over one transport. A transport owns one and otherwise leaves it alone.
#[derive(Default)]
pub struct Replies {
    reader: OnceCell<Reader>,
    calls: Arc<Calls>,
}

#[derive(Default)]
struct Calls(Mutex<HashMap<String, Arc<Call>>>);

/// The task that reads the reply queue; it ends with the transport that owns this.
struct Reader {
    queue: String,
    task: AbortHandle,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl Replies {
    /// How many calls wait for their reply.
    pub fn in_flight(&self) -> usize {
        lock(&self.calls.0).len()
    }

    /// Announces a call; its replies are kept from now on.
    pub(super) fn register(&self) -> PendingCall {
        let msg_id = new_id();
        let call = Arc::new(Call::default());
        lock(&self.calls.0).insert(msg_id.clone(), Arc::clone(&call));
        PendingCall { msg_id, call, calls: Arc::clone(&self.calls) }
    }

    /// The name of the reply queue, which the first call declares.
    pub(super) async fn queue(&self, transport: &Arc<dyn Transport>) -> Result<&str, MessagingError> {
        let start = || self.start_reader(transport);
        Ok(&self.reader.get_or_try_init(start).await?.queue)
    }

    async fn start_reader(&self, transport: &Arc<dyn Transport>) -> Result<Reader, MessagingError> {
        let queue = transport.new_reply_queue()?;
        let address = Address::Reply { queue: queue.clone() };
        let consumer = transport.subscribe(std::slice::from_ref(&address)).await?;
        let reading = read(Arc::downgrade(transport), address, Arc::clone(&self.calls), consumer);
        Ok(Reader { queue, task: tokio::spawn(reading).abort_handle() })
    }
}

/// Reads the queue until the transport is closed or gone.
async fn read(transport: Weak<dyn Transport>, address: Address, calls: Arc<Calls>, mut consumer: Box<dyn Consumer>) {
    loop {
        let error = calls.deliver_until_error(&mut *consumer).await;
        if !matches!(error, MessagingError::Closed) {
            tracing::error!(error = &error as &dyn std::error::Error, %address, "lost the reply queue");
            if let Some(again) = resubscribe(&transport, std::slice::from_ref(&address)).await {
                consumer = again;
                continue;
            }
        }
        return calls.close();
    }
}

impl Calls {
    async fn deliver_until_error(&self, consumer: &mut dyn Consumer) -> MessagingError {
        loop {
            match self.deliver_next(consumer).await {
                Ok(()) => {}
                Err(error) => return error,
            }
        }
    }

    async fn deliver_next(&self, consumer: &mut dyn Consumer) -> Result<(), MessagingError> {
        let delivery = consumer.receive().await?;
        let settled = match envelope::unseal::<Reply>(&delivery.body) {
            Ok(reply) => {
                // Even if the acknowledgement is lost: a reply that comes again finds nobody, which does no harm.
                self.deliver(reply);
                consumer.ack(delivery.tag).await
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "rejected a reply");
                consumer.reject(delivery.tag).await
            }
        };
        match settled {
            Err(MessagingError::DeliveryLost) => Ok(()),
            settled => settled,
        }
    }

    fn deliver(&self, reply: Reply) {
        let call = lock(&self.0).get(&reply.msg_id).cloned();
        match call {
            Some(call) => call.deliver(reply),
            None => tracing::debug!(msg_id = reply.msg_id, "nobody waits for this reply"),
        }
    }

    fn close(&self) {
        for call in lock(&self.0).values() {
            call.close();
        }
    }
}

/// What has arrived for a call, until the caller looks.
#[derive(Default)]
struct Call {
    progress: Mutex<Progress>,
    changed: Notify,
}

#[derive(Default)]
struct Progress {
    /// The last result that was not null, or the last failure.
    latest: Option<Result<Value, String>>,
    /// A message came since the caller last looked.
    is_alive: bool,
    is_ended: bool,
    is_closed: bool,
}

/// What the caller finds when it looks.
enum Seen {
    Ended(Result<Value, String>),
    Closed,
    Alive,
    Nothing,
}

impl Call {
    fn deliver(&self, reply: Reply) {
        let mut progress = lock(&self.progress);
        progress.is_alive = true;
        progress.is_ended |= reply.ending;
        match (reply.failure, reply.result) {
            (Some(failure), _) => progress.latest = Some(Err(failure)),
            (None, Value::Null) => {}
            (None, result) => progress.latest = Some(Ok(result)),
        }
        drop(progress);
        self.changed.notify_one();
    }

    fn close(&self) {
        lock(&self.progress).is_closed = true;
        self.changed.notify_one();
    }

    fn look(&self) -> Seen {
        let mut progress = lock(&self.progress);
        if progress.is_ended {
            Seen::Ended(progress.latest.take().unwrap_or(Ok(Value::Null)))
        } else if progress.is_closed {
            Seen::Closed
        } else if std::mem::take(&mut progress.is_alive) {
            Seen::Alive
        } else {
            Seen::Nothing
        }
    }
}

/// How long a call waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) total: Duration,
    pub(super) deadline: Instant,
    monitor: Option<Duration>,
}

impl Limits {
    pub(super) fn from_now(total: Duration, monitor: Option<Duration>) -> Self {
        Self { total, deadline: instant_after(total), monitor }
    }

    /// When the caller gives up if it hears nothing more, and which limit that is.
    fn next_deadline(&self, last_heard: Instant) -> (Instant, Duration) {
        match self.monitor.map(|monitor| (later(last_heard, monitor), monitor)) {
            Some((at, monitor)) if at < self.deadline => (at, monitor),
            _ => (self.deadline, self.total),
        }
    }
}

fn instant_after(duration: Duration) -> Instant {
    later(Instant::now(), duration)
}

/// A duration too long for the clock ends in thirty years.
fn later(instant: Instant, duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
    instant + duration.min(FAR)
}

/// A call that is registered for replies until this is dropped.
pub(super) struct PendingCall {
    msg_id: String,
    call: Arc<Call>,
    calls: Arc<Calls>,
}

impl PendingCall {
    pub(super) fn msg_id(&self) -> &str {
        &self.msg_id
    }

    pub(super) fn timed_out(&self, method: &str, timeout: Duration) -> MessagingError {
        MessagingError::Timeout { method: method.to_owned(), msg_id: self.msg_id.clone(), timeout }
    }

    /// Waits for the end of the call.
    pub(super) async fn wait(&self, method: &str, limits: Limits) -> Result<Value, MessagingError> {
        let mut last_heard = Instant::now();
        loop {
            match self.call.look() {
                Seen::Ended(Ok(result)) => return Ok(result),
                Seen::Ended(Err(failure)) => {
                    return Err(RemoteException::from_failure(&failure)?.into());
                }
                Seen::Closed => return Err(MessagingError::Closed),
                Seen::Alive => last_heard = Instant::now(),
                Seen::Nothing => {}
            }
            let (at, limit) = limits.next_deadline(last_heard);
            if timeout_at(at, self.call.changed.notified()).await.is_err() {
                return Err(self.timed_out(method, limit));
            }
        }
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        lock(&self.calls.0).remove(&self.msg_id);
    }
}
