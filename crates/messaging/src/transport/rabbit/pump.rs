//! The task behind a consumer: declares its queues, takes from them into the inbox, and puts right what goes wrong.
//!
//! ```text
//!   wait for the connection ──> declare ──> consume ──> serve ──┬─ connection or channel lost ──> begin again
//!                                  │                            ├─ queue cancelled or missing  ──> begin again
//!                         refused the first time:               └─ to stop ──> delete own queues, close the channel
//!                         `subscribe` fails
//! ```
//!
//! Back-pressure. The broker hands out messages before somebody is free to run them, so that a busy consumer does not
//! wait for the network. Where others take from the same queue that must not keep messages from them:
//!
//! ```text
//!   Taking ──a shared message waits too long──> Draining ──drained──> Held ──a receiver comes──> Taking, one at a time
//!     └────────────< some time later without another stall <──────────────────────────────────────┘
//! ```

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, Fuse, FusedFuture, FutureExt};
use futures::stream::{BoxStream, SelectAll, StreamExt};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::amqp::{Arrival, Channel, Connection};
use super::declare::{Declarer, answered};
use super::error::AmqpError;
use super::inbox::{Inbox, Received};
use super::link::Link;
use super::topology::{Argument, Queue, Use};

/// How long a message that others could run may wait here for somebody to receive it.
const STALL: Duration = Duration::from_millis(50);
/// Before the queues are declared again after a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// After a stall, one message is taken at a time for this long.
const CAUTION: Duration = Duration::from_secs(5);
/// How long tidying up may take at the end.
const END_BOUND: Duration = Duration::from_secs(5);

/// Whether and how a queue is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// As many messages at a time as the options say.
    Taking,
    /// One message at a time, after a stall.
    TakingOne,
    /// No more are to come; those on their way are given back. `true`: full flow comes next.
    Draining { then_full: bool },
    /// Nothing is taken.
    Held,
}

pub(super) struct Pump {
    queues: Vec<Queue>,
    link: Arc<Link>,
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    stop: CancellationToken,
}

/// Why a session ended.
enum End {
    Stopped,
    /// The queues have to be declared and consumed from again.
    Lost,
}

type Ready = oneshot::Sender<Result<(), AmqpError>>;

impl Pump {
    pub(super) fn new(
        queues: Vec<Queue>,
        link: Arc<Link>,
        shared: Arc<Shared>,
        inbox: Arc<Inbox>,
        stop: CancellationToken,
    ) -> Self {
        Self { queues, link, shared, inbox, stop }
    }

    /// Runs until it is stopped. `ready` learns whether the queues could be declared.
    pub(super) async fn run(mut self, ready: Ready) {
        let mut ready = Some(ready);
        let stop = self.stop.clone();
        while let Some(connection) = stop.run_until_cancelled(self.link.connection()).await.flatten() {
            let begun = stop.run_until_cancelled(Session::begin(&connection, &self.queues, &self.shared)).await;
            match begun {
                None => break,
                Some(Ok(session)) => {
                    match ready.take() {
                        Some(ready) => drop(ready.send(Ok(()))),
                        None => self.shared.metrics.redeclared_queues.add(self.queues.len()),
                    }
                    if let End::Stopped = self.serve(session).await {
                        break;
                    }
                }
                Some(Err(error)) => {
                    if !error.is_passing()
                        && let Some(ready) = ready.take()
                    {
                        let _ = ready.send(Err(error));
                        break;
                    }
                    self.wait_after(&connection, &error).await;
                }
            }
            self.inbox.clear();
        }
        self.inbox.close();
    }

    async fn wait_after(&self, connection: &Connection, error: &AmqpError) {
        tracing::warn!(error = error as &dyn std::error::Error, "cannot take from the queues, trying again");
        if matches!(error, AmqpError::Silent) {
            self.shared.metrics.unanswered.increment();
            connection.kill();
        }
        self.stop.run_until_cancelled(tokio::time::sleep(RETRY_INTERVAL)).await;
    }

    /// Fills the inbox until the session ends.
    async fn serve(&mut self, mut session: Session) -> End {
        let (stop, inbox) = (self.stop.clone(), Arc::clone(&self.inbox));
        let mut checks = tokio::time::interval(self.shared.options.queue_check_interval.max(Duration::from_millis(10)));
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        checks.reset();
        let mut widen_at: Option<Instant> = None;
        let mut check = pin!(Fuse::<BoxFuture<'static, (Declarer, Check)>>::terminated());
        let mut stall_at: Option<Instant> = None;
        let connection = Arc::clone(&session.connection);
        loop {
            // All queues are held. An empty set of streams would say that it has ended, again and again.
            let is_idle = session.arrivals.is_empty() && session.is_held();
            let step = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    session.end(Arc::clone(&self.shared)).await;
                    return End::Stopped;
                }
                arrived = session.arrivals.next(), if !is_idle => match arrived {
                    Some((queue, Some(arrival))) => {
                        self.take(&mut session, queue, arrival, &mut stall_at);
                        Ok(true)
                    }
                    Some((queue, None)) => session.drained(queue).await,
                    None => Ok(session.is_held()),
                },
                // With nothing to take from, nothing else tells of the end.
                () = connection.lost(), if is_idle => Ok(false),
                () = sleep_until(stall_at.unwrap_or_else(Instant::now)), if stall_at.is_some() => {
                    self.look_for_stall(&mut session, &mut stall_at).await
                }
                () = inbox.wanted.notified() => {
                    widen_at.get_or_insert(Instant::now() + CAUTION);
                    session.resume().await
                }
                () = sleep_until(widen_at.unwrap_or_else(Instant::now)), if widen_at.is_some() => {
                    widen_at = None;
                    session.widen().await
                }
                (declarer, found) = &mut check, if !check.is_terminated() => session.checked(declarer, found),
                _ = checks.tick() => {
                    if let Some(next) = session.check() {
                        check.set(next.fuse());
                    }
                    Ok(true)
                }
            };
            match step {
                Ok(true) => {}
                Ok(false) => return End::Lost,
                Err(error) => {
                    self.wait_after(&session.connection, &error).await;
                    return End::Lost;
                }
            }
        }
    }

    fn take(&mut self, session: &mut Session, queue: usize, arrival: Arrival, stall_at: &mut Option<Instant>) {
        session.note_offset(queue, &arrival, &mut self.queues);
        if let Flow::Draining { .. } = session.flows[queue] {
            session.give_back(arrival.delivery_tag, &self.shared);
            return;
        }
        let (arrived_at, is_shared) = (Instant::now(), self.queues[queue].usage == Use::Shared);
        if is_shared && stall_at.is_none() {
            *stall_at = Some(arrived_at + STALL);
        }
        self.inbox.push(Received { queue, is_shared, channel: session.channel.clone(), arrival, arrived_at });
    }

    /// Gives back what others could run if nobody here is free to.
    async fn look_for_stall(&self, session: &mut Session, stall_at: &mut Option<Instant>) -> Result<bool, AmqpError> {
        *stall_at = self.inbox.stalled_since().map(|since| since + STALL);
        if !stall_at.is_some_and(|at| at <= Instant::now()) {
            return Ok(true);
        }
        *stall_at = None;
        session.drain(false).await?;
        for received in self.inbox.take_shared() {
            tracing::debug!(queue = self.queues[received.queue].name, "gave a message back: nobody is free to run it");
            session.give_back(received.arrival.delivery_tag, &self.shared);
        }
        Ok(true)
    }
}

/// What a check of the queues found.
enum Check {
    Fine,
    /// A queue has no consumer, or had to be made.
    Missing {
        queue: String,
    },
    Failed(AmqpError),
}

/// One channel and its consumers.
struct Session {
    connection: Arc<Connection>,
    channel: Channel,
    /// As they were declared.
    queues: Vec<Queue>,
    flows: Vec<Flow>,
    /// Of all queues; `None` is the end of one of them.
    arrivals: SelectAll<BoxStream<'static, (usize, Option<Arrival>)>>,
    prefetch: u16,
    /// `None` while a check uses it.
    declarer: Option<Declarer>,
}

impl Session {
    async fn begin(connection: &Arc<Connection>, queues: &[Queue], shared: &Arc<Shared>) -> Result<Self, AmqpError> {
        let mut declarer = Declarer::new(Arc::clone(connection), Arc::clone(shared));
        let mut declared = Vec::with_capacity(queues.len());
        for queue in queues {
            declared.push(declarer.queue(queue).await?.0);
        }
        let mut session = Self {
            connection: Arc::clone(connection),
            channel: answered(connection.channel()).await?,
            flows: vec![Flow::Held; declared.len()],
            queues: declared,
            arrivals: SelectAll::new(),
            prefetch: shared.options.rabbit_qos_prefetch_count.max(1),
            declarer: Some(declarer),
        };
        for index in 0..session.queues.len() {
            session.consume(index, Flow::Taking).await?;
        }
        Ok(session)
    }

    async fn consume(&mut self, index: usize, flow: Flow) -> Result<(), AmqpError> {
        let prefetch = if flow == Flow::TakingOne { 1 } else { self.prefetch };
        let queue = &self.queues[index];
        let arrivals = answered(async {
            self.channel.set_prefetch(prefetch).await?;
            self.channel.consume(queue, &tag(index)).await
        });
        let arrivals = arrivals.await?.map(Some).chain(futures::stream::iter([None]));
        self.arrivals.push(arrivals.map(move |arrival| (index, arrival)).boxed());
        self.flows[index] = flow;
        Ok(())
    }

    /// Stops taking from the shared queues.
    async fn drain(&mut self, then_full: bool) -> Result<(), AmqpError> {
        for index in 0..self.queues.len() {
            let is_taking = matches!(self.flows[index], Flow::Taking | Flow::TakingOne);
            if is_taking && self.queues[index].usage == Use::Shared {
                self.flows[index] = Flow::Draining { then_full };
                answered(self.channel.cancel(&tag(index))).await?;
            }
        }
        Ok(())
    }

    /// A queue's stream ended: as asked, or because the broker cancelled it or the channel is lost. `false` is the latter.
    async fn drained(&mut self, index: usize) -> Result<bool, AmqpError> {
        match self.flows[index] {
            Flow::Draining { .. } if !self.channel.is_open() => Ok(false),
            Flow::Draining { then_full: true } => {
                self.consume(index, Flow::Taking).await?;
                Ok(true)
            }
            Flow::Draining { then_full: false } => {
                self.flows[index] = Flow::Held;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Somebody is free again.
    async fn resume(&mut self) -> Result<bool, AmqpError> {
        for index in 0..self.queues.len() {
            match self.flows[index] {
                Flow::Held => self.consume(index, Flow::TakingOne).await?,
                Flow::Draining { .. } => self.flows[index] = Flow::Draining { then_full: true },
                Flow::Taking | Flow::TakingOne => {}
            }
        }
        Ok(true)
    }

    /// Goes back to many messages at a time, if all went well with one.
    async fn widen(&mut self) -> Result<bool, AmqpError> {
        if self.flows.contains(&Flow::TakingOne) {
            self.drain(true).await?;
        }
        Ok(true)
    }

    fn is_held(&self) -> bool {
        self.channel.is_open() && self.flows.iter().all(|flow| *flow == Flow::Held)
    }

    fn give_back(&self, delivery_tag: u64, shared: &Shared) {
        shared.metrics.given_back.increment();
        // If this fails the channel is lost, and the broker has the message anyway.
        let _ = self.channel.give_back(delivery_tag);
    }

    /// Where a stream is to be read from after a reconnect.
    fn note_offset(&self, index: usize, arrival: &Arrival, queues: &mut [Queue]) {
        if let (Use::Stream, Some(offset)) = (queues[index].usage, arrival.stream_offset) {
            queues[index].consume_arguments = vec![("x-stream-offset", Argument::Number(offset + 1))];
        }
    }

    /// A look at all queues and bindings, unless one is under way. Declaring what is there changes nothing, and makes
    /// what is not: a binding that was removed by hand makes no sound.
    fn check(&mut self) -> Option<BoxFuture<'static, (Declarer, Check)>> {
        let mut declarer = self.declarer.take()?;
        let consumed: Vec<(Queue, bool)> = self
            .queues
            .iter()
            .zip(&self.flows)
            .map(|(queue, flow)| (queue.clone(), *flow == Flow::Taking && queue.counts_its_consumer()))
            .collect();
        Some(Box::pin(async move {
            for (queue, must_have_consumer) in consumed {
                match declarer.queue(&queue).await {
                    Ok((_, 0)) if must_have_consumer => return (declarer, Check::Missing { queue: queue.name }),
                    Ok(_) => {}
                    Err(error) => return (declarer, Check::Failed(error)),
                }
            }
            (declarer, Check::Fine)
        }))
    }

    fn checked(&mut self, declarer: Declarer, found: Check) -> Result<bool, AmqpError> {
        self.declarer = Some(declarer);
        match found {
            Check::Fine => Ok(true),
            Check::Missing { queue } => {
                tracing::warn!(queue, "the queue had lost its consumer");
                Ok(false)
            }
            Check::Failed(error) => Err(error),
        }
    }

    /// Deletes the queues that end with this consumer; what is unacknowledged goes back to the others.
    async fn end(self, shared: Arc<Shared>) {
        let ending = async {
            self.channel.close().await;
            let mut declarer = Declarer::new(Arc::clone(&self.connection), shared);
            for queue in self.queues.iter().filter(|queue| queue.usage == Use::OwnUntilEnd) {
                if let Err(error) = declarer.delete_queue(&queue.name).await {
                    tracing::debug!(queue = queue.name, %error, "a queue was not deleted, and will expire");
                }
            }
        };
        if tokio::time::timeout(END_BOUND, ending).await.is_err() {
            tracing::debug!("the broker did not answer at the end of a consumer");
        }
    }
}

/// Consumer tags are per channel; oslo.messaging counts from one.
fn tag(index: usize) -> String {
    (index + 1).to_string()
}
