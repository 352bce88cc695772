//! The sending side: one connection, on which many messages wait for their confirmation at the same time.
//!
//! ```text
//!   send ──job──> waiting ──publish──> in flight ──confirm──> done
//!                    └────<── connection lost, in the order sent
//! ```
//!
//! That is the worker's way. While nothing is queued, callers publish over the worker's channels themselves: `direct.rs`.
//!
//! While the broker is short of memory or disk nothing is published; senders wait, up to their deadlines.
//!
//! A message is published again when its connection is lost before the broker confirmed it. The broker may have it then
//! already; the receiver's duplicate filter is for that.
//!
//! Mandatory messages have channels of their own, each with one message in flight: the broker returns a message without
//! saying which publication it was.

mod direct;

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::try_join_all;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use self::direct::{Desk, Direct, Lanes, Tally, declaration};
use super::Shared;
use super::amqp::{Channel, Confirm, Connection, Outcome, Publication};
use super::declare::{Declarer, answered};
use super::error::AmqpError;
use super::link::Link;
use super::topology::{Exchange, Queue};
use crate::MessagingError;
use crate::transport::{Address, Outgoing};

/// Messages that callers may leave with the publisher before it looks at them.
const BACKLOG: usize = 256;
/// Unconfirmed messages of the worker; more wait until some are confirmed.
const WINDOW: usize = 512;
/// Mandatory messages in flight.
const MANDATORY_CHANNELS: usize = 8;
/// Before the next attempt on a connection that could not be used.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// How long a message may be unconfirmed before the broker is asked whether it is there.
const CONFIRM_BOUND: Duration = Duration::from_secs(10);
/// How much of a message's time may pass before its expiration is shortened.
const EXPIRATION_SLACK: Duration = Duration::from_secs(1);
/// How often a missing exchange is declared for one message.
const ATTEMPTS_MAX: u32 = 3;

type Done = oneshot::Sender<Result<(), MessagingError>>;

/// Where messages are handed in.
pub(super) struct Publisher {
    jobs: mpsc::Sender<Job>,
    desk: Arc<Desk>,
    shared: Arc<Shared>,
}

/// A message on its way.
struct Job {
    address: Address,
    message: Outgoing,
    sent_at: Instant,
    deadline: Instant,
    /// When it was handed to a connection last.
    published_at: Instant,
    /// Whoever waits for the confirmation.
    done: Done,
    attempts: u32,
    /// While it is not published.
    queued: Option<Tally>,
}

impl Publisher {
    /// Returns the publisher and the task that does its work.
    pub(super) fn new(
        link: Arc<Link>,
        shared: Arc<Shared>,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (jobs, receiver) = mpsc::channel(BACKLOG);
        let desk = Arc::new(Desk::default());
        let worker = Worker {
            link,
            shared: Arc::clone(&shared),
            stop,
            desk: Arc::clone(&desk),
            jobs: receiver,
            waiting: VecDeque::new(),
            mandatory: VecDeque::new(),
            in_flight: BTreeMap::new(),
            suspects: 0,
            last_id: 0,
        };
        (Self { jobs, desk, shared }, worker.run())
    }

    /// Sends a message, and waits until the broker has it. A message that was not published when this is cancelled is
    /// forgotten.
    pub(super) async fn send(&self, address: &Address, message: Outgoing) -> Result<(), MessagingError> {
        let limit = message.send_timeout.unwrap_or(self.shared.options.send_timeout);
        let limit = message.expiration.map_or(limit, |expiration| expiration.min(limit));
        let sent_at = Instant::now();
        let deadline = sent_at + limit.min(FAR);
        let sending = async {
            match self.desk.send(address, &message, sent_at, &self.shared).await {
                Direct::Decided(result) => result,
                Direct::HandOver { attempts } => self.hand_over(address, message, sent_at, deadline, attempts).await,
            }
        };
        timeout_at(deadline, sending).await.unwrap_or_else(|_| {
            self.shared.metrics.unconfirmed.increment();
            Err(MessagingError::NotConfirmed { address: address.to_string(), timeout: limit })
        })
    }

    /// Has the worker send it.
    async fn hand_over(
        &self,
        address: &Address,
        message: Outgoing,
        sent_at: Instant,
        deadline: Instant,
        attempts: u32,
    ) -> Result<(), MessagingError> {
        let (done, confirmed) = oneshot::channel();
        let (address, queued) = (address.clone(), Some(self.desk.queue()));
        let job = Job { address, message, sent_at, deadline, published_at: sent_at, done, attempts, queued };
        self.jobs.send(job).await.map_err(|_| MessagingError::Closed)?;
        confirmed.await.unwrap_or(Err(MessagingError::Closed))
    }
}

/// A timeout too long for the clock.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

impl Job {
    /// Nobody waits for it any more.
    fn is_obsolete(&self) -> bool {
        self.deadline <= Instant::now() || self.done.is_closed()
    }

    fn finish(self, result: Result<(), MessagingError>) {
        // A caller that has gone away does not want to know.
        let _ = self.done.send(result);
    }
}

fn publication(address: &Address, message: &Outgoing, sent_at: Instant, exchange: Option<Exchange>) -> Publication {
    Publication {
        exchange: exchange.map(|exchange| exchange.name).unwrap_or_default(),
        routing_key: address.routing_key().into_owned(),
        body: message.body.clone(),
        expiration: message.expiration.map(|expiration| remaining(expiration, sent_at)),
        mandatory: message.mandatory,
    }
}

/// What is left of a message's time if much of it passed here.
fn remaining(expiration: Duration, sent_at: Instant) -> Duration {
    match sent_at.elapsed() {
        waited if waited < EXPIRATION_SLACK => expiration,
        waited => expiration.saturating_sub(waited),
    }
}

/// The task that owns the publishing connection.
struct Worker {
    link: Arc<Link>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    desk: Arc<Desk>,
    jobs: mpsc::Receiver<Job>,
    waiting: VecDeque<Job>,
    /// As `waiting`, for mandatory messages.
    mandatory: VecDeque<Job>,
    /// By the order in which they were published.
    in_flight: BTreeMap<u64, Job>,
    /// How many messages are published one by one, because one of them made the broker close the channel.
    suspects: usize,
    last_id: u64,
}

/// Why a connection is used no more.
enum End {
    Stopped,
    Lost,
}

impl Worker {
    async fn run(mut self) {
        while self.wait_for_work().await {
            let Some(connection) = self.connection().await else { break };
            let published = self.publish_over(&connection).await;
            self.desk.offer(None);
            match published {
                Ok(End::Stopped) => break,
                Ok(End::Lost) => {}
                Err(error) => self.recover(&connection, &error).await,
            }
            self.take_back();
        }
        self.close();
    }

    /// `false`: there will be no more.
    async fn wait_for_work(&mut self) -> bool {
        if self.waiting.is_empty() && self.mandatory.is_empty() {
            match self.stop.run_until_cancelled(self.jobs.recv()).await.flatten() {
                Some(job) => self.enqueue(job),
                None => return false,
            }
        }
        true
    }

    async fn connection(&self) -> Option<Arc<Connection>> {
        self.stop.run_until_cancelled(self.link.connection()).await.flatten()
    }

    /// Publishes until the connection, or a channel of it, is lost.
    async fn publish_over(&mut self, connection: &Arc<Connection>) -> Result<End, AmqpError> {
        let mut session = Session::open(connection, &self.desk, &self.shared).await?;
        let lanes = Arc::clone(&session.lanes);
        let mut is_offered = false;
        let stop = self.stop.clone();
        let mut lost = pin!(connection.lost());
        let mut arrived = Vec::with_capacity(BACKLOG);
        let mut answered_at = Instant::now();
        loop {
            let is_blocked = connection.is_blocked();
            if !is_blocked {
                self.start_all(&mut session).await?;
            }
            if !is_offered && self.suspects == 0 {
                self.desk.offer(Some(&lanes));
                is_offered = true;
            }
            let overdue_at = self.oldest_in_flight().map(|at| at.max(answered_at) + CONFIRM_BOUND);
            let room = WINDOW.saturating_sub(self.in_flight.len() + self.waiting.len() + self.mandatory.len());
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(End::Stopped),
                Some((id, lane, outcome)) = session.confirms.next() => self.settle(&mut session, id, lane, outcome)?,
                _ = self.jobs.recv_many(&mut arrived, room), if room > 0 => {
                    arrived.drain(..).for_each(|job| self.enqueue(job));
                }
                () = lanes.wants_worker() => {
                    self.adopt(&mut session);
                    if lanes.take_doubt() && !is_blocked {
                        answered(connection.channel()).await?;
                        answered_at = Instant::now();
                    }
                }
                () = &mut lost => return Ok(End::Lost),
                () = connection.unblocked(), if is_blocked => answered_at = Instant::now(),
                () = sleep_until(overdue_at.unwrap_or_else(Instant::now)), if overdue_at.is_some() && !is_blocked => {
                    // The broker may be busy with that message. If it is alive, it opens a channel.
                    answered(connection.channel()).await?;
                    answered_at = Instant::now();
                }
            }
        }
    }

    /// Waits for the broker's decisions in the place of callers that went away.
    fn adopt(&mut self, session: &mut Session) {
        for orphan in session.lanes.take_orphans() {
            self.last_id += 1;
            let (id, slot) = (self.last_id, orphan.slot);
            session.confirms.push(Box::pin(async move {
                let outcome = orphan.confirm.await;
                drop(slot);
                (id, orphan.lane, outcome)
            }));
        }
    }

    fn oldest_in_flight(&self) -> Option<Instant> {
        self.in_flight.values().next().map(|job| job.published_at)
    }

    fn enqueue(&mut self, job: Job) {
        match job.message.mandatory {
            true => self.mandatory.push_back(job),
            false => self.waiting.push_back(job),
        }
    }

    /// Publishes what the window and the channels have room for.
    async fn start_all(&mut self, session: &mut Session) -> Result<(), AmqpError> {
        while !self.must_wait() {
            let Some(job) = self.waiting.pop_front() else { break };
            self.start(session, job, None).await?;
        }
        while !self.must_wait() && session.lanes.has_free() {
            let Some(job) = self.mandatory.pop_front() else { break };
            // A caller may have been faster.
            let Some(lane) = session.lanes.take() else {
                self.put_first(job);
                break;
            };
            self.start(session, job, Some(lane)).await?;
        }
        Ok(())
    }

    /// One of the suspects is in flight, which goes alone.
    fn must_wait(&self) -> bool {
        self.suspects > 0 && !self.in_flight.is_empty()
    }

    async fn start(&mut self, session: &mut Session, mut job: Job, lane: Option<Channel>) -> Result<(), AmqpError> {
        if job.is_obsolete() {
            session.lanes.give_back(lane);
            self.clear_suspect();
            return Ok(());
        }
        let exchange = match session.prepare(&job.address).await {
            Ok(exchange) => exchange,
            Err(error) if error.is_passing() => {
                self.put_first(job);
                return Err(error);
            }
            Err(error) => {
                session.lanes.give_back(lane);
                self.clear_suspect();
                job.finish(Err(MessagingError::Transport(Box::new(error))));
                return Ok(());
            }
        };
        let publication = publication(&job.address, &job.message, job.sent_at, exchange);
        match lane.as_ref().unwrap_or(&session.lanes.plain).publish(publication) {
            Ok(confirm) => {
                self.shared.metrics.published.increment();
                job.attempts += 1;
                job.queued = None;
                job.published_at = Instant::now();
                self.last_id += 1;
                session.push(self.last_id, lane, confirm);
                self.in_flight.insert(self.last_id, job);
                Ok(())
            }
            Err(error @ AmqpError::NameTooLong { .. }) => {
                session.lanes.give_back(lane);
                self.clear_suspect();
                job.finish(Err(MessagingError::Transport(Box::new(error))));
                Ok(())
            }
            Err(error) => {
                self.put_first(job);
                Err(error)
            }
        }
    }

    fn put_first(&mut self, mut job: Job) {
        job.queued.get_or_insert_with(|| self.desk.queue());
        match job.message.mandatory {
            true => self.mandatory.push_front(job),
            false => self.waiting.push_front(job),
        }
    }

    /// Acts on the broker's decision about one message. An error ends the session.
    fn settle(
        &mut self,
        session: &mut Session,
        id: u64,
        lane: Option<Channel>,
        outcome: Result<Outcome, AmqpError>,
    ) -> Result<(), AmqpError> {
        let metrics = &self.shared.metrics;
        let result = match outcome {
            Ok(Outcome::Taken) => {
                metrics.confirmed.increment();
                Ok(())
            }
            Ok(Outcome::Returned) => {
                metrics.returned.increment();
                Err(())
            }
            Err(AmqpError::NotTaken) => {
                self.finish(id, |_| Err(MessagingError::Transport(Box::new(AmqpError::NotTaken))));
                session.lanes.give_back(lane);
                return Ok(());
            }
            Err(error) => return Err(self.accuse(id, error)),
        };
        session.lanes.give_back(lane);
        self.finish(id, |address| result.map_err(|()| MessagingError::Undeliverable { address: address.to_string() }));
        Ok(())
    }

    fn finish(&mut self, id: u64, result: impl FnOnce(&Address) -> Result<(), MessagingError>) {
        self.clear_suspect();
        if let Some(job) = self.in_flight.remove(&id) {
            let result = result(&job.address);
            job.finish(result);
        }
    }

    fn clear_suspect(&mut self) {
        self.suspects = self.suspects.saturating_sub(1);
    }

    /// The broker closed the channel. If only one message was in flight there it was that one's fault, and it is not tried
    /// again, except where its exchange was deleted. Otherwise all that are in flight are published again one by one.
    fn accuse(&mut self, id: u64, error: AmqpError) -> AmqpError {
        let AmqpError::Refused { undecided, .. } = error else { return error };
        if undecided > 1 {
            self.suspects = self.in_flight.len();
            return error;
        }
        let attempts = self.in_flight.get(&id).map_or(0, |job| job.attempts);
        if !error.is_not_found() || attempts >= ATTEMPTS_MAX {
            let refusal = error.clone();
            self.finish(id, |_| Err(MessagingError::Transport(Box::new(refusal))));
        }
        error
    }

    async fn recover(&self, connection: &Connection, error: &AmqpError) {
        tracing::warn!(error = error as &dyn std::error::Error, "publishing was interrupted");
        match error {
            // While the broker is short of memory it does not answer here, and does not mean to.
            AmqpError::Silent if !connection.is_blocked() => {
                self.shared.metrics.unanswered.increment();
                connection.kill();
            }
            AmqpError::Refused { .. } => {}
            _ => {
                self.stop.run_until_cancelled(tokio::time::sleep(RETRY_INTERVAL)).await;
            }
        }
    }

    /// What was in flight is to be sent again, before anything else and in its order.
    fn take_back(&mut self) {
        self.shared.metrics.republished.add(self.in_flight.len());
        while let Some((_, job)) = self.in_flight.pop_last() {
            self.put_first(job);
        }
    }

    fn close(mut self) {
        self.jobs.close();
        while let Ok(job) = self.jobs.try_recv() {
            self.enqueue(job);
        }
        let in_flight = std::mem::take(&mut self.in_flight).into_values();
        for job in in_flight.chain(self.waiting).chain(self.mandatory) {
            job.finish(Err(MessagingError::Closed));
        }
    }
}

type Settled = (u64, Option<Channel>, Result<Outcome, AmqpError>);

/// What belongs to one connection.
struct Session {
    lanes: Arc<Lanes>,
    confirms: FuturesUnordered<futures::future::BoxFuture<'static, Settled>>,
    declarer: Declarer,
    shared: Arc<Shared>,
}

impl Session {
    async fn open(connection: &Arc<Connection>, desk: &Desk, shared: &Arc<Shared>) -> Result<Self, AmqpError> {
        let plain = confirming_channel(connection).await?;
        let mandatory = try_join_all((0..MANDATORY_CHANNELS).map(|_| confirming_channel(connection))).await?;
        Ok(Self {
            lanes: desk.lanes(connection, plain, mandatory),
            confirms: FuturesUnordered::new(),
            declarer: Declarer::new(Arc::clone(connection), Arc::clone(shared)),
            shared: Arc::clone(shared),
        })
    }

    fn push(&mut self, id: u64, lane: Option<Channel>, confirm: Confirm) {
        self.confirms.push(Box::pin(async move { (id, lane, confirm.await) }));
    }

    /// Declares what the message needs to be routed: its exchange, and for a notification its queue, so that nothing is
    /// lost before there is a listener.
    async fn prepare(&mut self, address: &Address) -> Result<Option<Exchange>, AmqpError> {
        let options = &self.shared.options;
        let Some(exchange) = Exchange::of(address, options) else { return Ok(None) };
        let declaration = declaration(address, &exchange);
        if declaration.as_ref().is_some_and(|declaration| self.lanes.is_declared(declaration)) {
            return Ok(Some(exchange));
        }
        match address {
            Address::Notification { .. } => {
                let queue = Queue::of(address, options, &self.shared.names)
                    .map_err(|error| AmqpError::Name(Arc::new(error)))?;
                self.declarer.queue(&queue).await?;
            }
            _ => self.declarer.exchange(&exchange).await?,
        }
        if let Some(declaration) = declaration {
            self.lanes.note_declared(declaration);
        }
        Ok(Some(exchange))
    }
}

async fn confirming_channel(connection: &Connection) -> Result<Channel, AmqpError> {
    let opening = async {
        let channel = connection.channel().await?;
        channel.select_confirms().await?;
        Ok(channel)
    };
    answered(opening).await
}
