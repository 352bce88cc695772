//! The short way of a message: its caller publishes it over the channels that the worker has opened, and waits for the
//! broker's decision itself, so that no other task has to run for it.
//!
//! ```text
//!   caller ── nothing is queued, and there is room ──> channel ── decision ──> caller
//!      └── otherwise, or when the channel was lost ──> the worker's queue
//! ```
//!
//! A caller that goes away leaves its unanswered message to the worker: until the broker has decided, the channel of a
//! mandatory message is not free, and the message takes up room.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::{CONFIRM_BOUND, publication};
use crate::MessagingError;
use crate::lock;
use crate::transport::rabbit::Shared;
use crate::transport::rabbit::amqp::{Channel, Confirm, Connection, Outcome};
use crate::transport::rabbit::error::AmqpError;
use crate::transport::rabbit::topology::Exchange;
use crate::transport::{Address, Outgoing};

/// Unconfirmed messages of callers; more go to the worker, who has as much room again.
const WINDOW: usize = 512;

/// One of some things that are counted, while there is this.
pub(super) struct Tally(Arc<AtomicUsize>);

impl Tally {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Where callers find the worker's channels.
#[derive(Default)]
pub(super) struct Desk {
    /// `None` while only the worker may publish.
    lanes: Mutex<Option<Arc<Lanes>>>,
    queued: Arc<AtomicUsize>,
}

impl Desk {
    /// Counts a message that waits for the worker. Nobody overtakes it while the tally is there.
    pub(super) fn queue(&self) -> Tally {
        Tally::new(&self.queued)
    }

    /// Lets callers publish, or not.
    pub(super) fn offer(&self, lanes: Option<&Arc<Lanes>>) {
        *lock(&self.lanes) = lanes.cloned();
    }

    pub(super) fn lanes(&self, connection: &Arc<Connection>, plain: Channel, mandatory: Vec<Channel>) -> Arc<Lanes> {
        Arc::new(Lanes {
            connection: Arc::clone(connection),
            plain,
            free: Mutex::new(mandatory),
            declared: Mutex::default(),
            in_flight: Arc::default(),
            queued: Arc::clone(&self.queued),
            orphans: Mutex::default(),
            is_doubted: AtomicBool::new(false),
            look: Notify::new(),
        })
    }

    /// Sends a message the short way, if that is open.
    pub(super) async fn send(
        &self,
        address: &Address,
        message: &Outgoing,
        sent_at: Instant,
        shared: &Shared,
    ) -> Direct {
        let Some(mut sending) = self.start(address, message, sent_at, shared) else {
            return Direct::HandOver { attempts: 0 };
        };
        let metrics = &shared.metrics;
        metrics.published.increment();
        match sending.decision().await {
            Ok(Outcome::Taken) => {
                metrics.confirmed.increment();
                Direct::Decided(Ok(()))
            }
            Ok(Outcome::Returned) => {
                metrics.returned.increment();
                Direct::Decided(Err(MessagingError::Undeliverable { address: address.to_string() }))
            }
            Err(error) if matches!(error, AmqpError::NotTaken) || error.accuses_one() => {
                Direct::Decided(Err(MessagingError::Transport(Box::new(error))))
            }
            Err(_) => {
                metrics.republished.increment();
                Direct::HandOver { attempts: 1 }
            }
        }
    }

    fn start(&self, address: &Address, message: &Outgoing, sent_at: Instant, shared: &Shared) -> Option<Sending> {
        if self.queued.load(Ordering::SeqCst) > 0 {
            return None;
        }
        let lanes = lock(&self.lanes).clone().filter(|lanes| !lanes.connection.is_blocked())?;
        let exchange = match Exchange::of(address, &shared.options) {
            Some(exchange) if lanes.is_declared(&declaration(address, &exchange)?) => Some(exchange),
            Some(_) => return None,
            None => None,
        };
        let slot = lanes.slot()?;
        let lane = if message.mandatory { Some(lanes.take()?) } else { None };
        let mut sending = Sending { lanes, lane, slot: Some(slot), confirm: None };
        let channel = sending.lane.as_ref().unwrap_or(&sending.lanes.plain);
        // A channel that takes no more is found out by the worker, too, who opens others.
        sending.confirm = Some(channel.publish(publication(address, message, sent_at, exchange)).ok()?);
        Some(sending)
    }
}

/// What became of the short way.
pub(super) enum Direct {
    Decided(Result<(), MessagingError>),
    /// The worker is to send it; it was published so many times.
    HandOver {
        attempts: u32,
    },
}

/// What has to be declared for an address, once on a connection; `None`: each time.
pub(super) fn declaration(address: &Address, exchange: &Exchange) -> Option<String> {
    match address {
        // It goes with its last queue, at any time.
        Address::Fanout { .. } => None,
        Address::Notification { .. } => Some(format!("{}\n{}", exchange.name, address.routing_key())),
        _ => Some(exchange.name.clone()),
    }
}

/// A session's channels.
pub(super) struct Lanes {
    connection: Arc<Connection>,
    pub(super) plain: Channel,
    /// Channels for mandatory messages that have none in flight.
    free: Mutex<Vec<Channel>>,
    /// Exchanges and notification queues that are known to be there.
    declared: Mutex<HashSet<String>>,
    in_flight: Arc<AtomicUsize>,
    queued: Arc<AtomicUsize>,
    orphans: Mutex<Vec<Orphan>>,
    is_doubted: AtomicBool,
    look: Notify,
}

/// A message whose caller went away before the broker had decided.
pub(super) struct Orphan {
    pub(super) lane: Option<Channel>,
    pub(super) confirm: Confirm,
    pub(super) slot: Tally,
}

impl Lanes {
    /// A channel for one mandatory message.
    pub(super) fn take(&self) -> Option<Channel> {
        lock(&self.free).pop()
    }

    pub(super) fn give_back(&self, lane: Option<Channel>) {
        lock(&self.free).extend(lane);
    }

    pub(super) fn has_free(&self) -> bool {
        !lock(&self.free).is_empty()
    }

    pub(super) fn is_declared(&self, declaration: &str) -> bool {
        lock(&self.declared).contains(declaration)
    }

    pub(super) fn note_declared(&self, declaration: String) {
        lock(&self.declared).insert(declaration);
    }

    fn slot(&self) -> Option<Tally> {
        let slot = Tally::new(&self.in_flight);
        (self.in_flight.load(Ordering::SeqCst) <= WINDOW).then_some(slot)
    }

    /// Waits until the worker has something to do here: a channel is free, there are orphans, or there is doubt.
    pub(super) async fn wants_worker(&self) {
        self.look.notified().await;
    }

    pub(super) fn take_orphans(&self) -> Vec<Orphan> {
        std::mem::take(&mut *lock(&self.orphans))
    }

    /// Whether a caller has waited so long that the broker may be gone. Says so once.
    pub(super) fn take_doubt(&self) -> bool {
        self.is_doubted.swap(false, Ordering::SeqCst)
    }
}

/// A message of a caller's, on its way.
struct Sending {
    lanes: Arc<Lanes>,
    lane: Option<Channel>,
    slot: Option<Tally>,
    /// `None` when the broker has decided.
    confirm: Option<Confirm>,
}

impl Sending {
    async fn decision(&mut self) -> Result<Outcome, AmqpError> {
        while let Some(confirm) = &mut self.confirm {
            match timeout(CONFIRM_BOUND, confirm).await {
                Ok(decided) => {
                    self.confirm = None;
                    return decided;
                }
                Err(_) => {
                    self.lanes.is_doubted.store(true, Ordering::SeqCst);
                    self.lanes.look.notify_one();
                }
            }
        }
        Err(AmqpError::ChannelClosed)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let lane = self.lane.take();
        match (self.confirm.take(), self.slot.take()) {
            (Some(confirm), Some(slot)) => {
                lock(&self.lanes.orphans).push(Orphan { lane, confirm, slot });
                self.lanes.look.notify_one();
            }
            _ => {
                let is_waited_for = lane.is_some();
                self.lanes.give_back(lane);
                // Whoever queues from now on sees the free channel.
                if is_waited_for && self.lanes.queued.load(Ordering::SeqCst) > 0 {
                    self.lanes.look.notify_one();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::transport::rabbit::Metrics;
    use crate::transport::rabbit::amqp::tests::{Broker, connect};
    use crate::transport::rabbit::names::QueueNames;
    use crate::transport::rabbit::options::RabbitOptions;

    struct Fixture {
        desk: Desk,
        lanes: Arc<Lanes>,
        broker: Broker,
        shared: Shared,
    }

    /// A desk with one channel for plain messages, which is 1, and one for mandatory ones, which is 2.
    async fn fixture() -> Fixture {
        let (connection, mut broker) = connect().await;
        let connection = Arc::new(connection);
        let opening = async { (connection.channel().await.unwrap(), connection.channel().await.unwrap()) };
        let ((plain, lane), ()) = tokio::join!(opening, broker.open(2));
        let desk = Desk::default();
        let lanes = desk.lanes(&connection, plain, vec![lane]);
        let options = RabbitOptions::default();
        let shared = Shared {
            names: QueueNames::new(&options),
            options,
            metrics: Metrics::default(),
            conflicts: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        desk.offer(Some(&lanes));
        Fixture { desk, lanes, broker, shared }
    }

    impl Fixture {
        async fn send(&self, is_mandatory: bool) -> Direct {
            let address = Address::Reply { queue: "reply_1".to_owned() };
            let message = Outgoing { mandatory: is_mandatory, ..Outgoing::new("x") };
            self.desk.send(&address, &message, Instant::now(), &self.shared).await
        }

        fn in_flight(&self) -> usize {
            self.lanes.in_flight.load(Ordering::SeqCst)
        }
    }

    fn is_left_to_the_worker(direct: &Option<Direct>) -> bool {
        matches!(direct, Some(Direct::HandOver { attempts: 0 }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_is_free_again_when_the_broker_has_decided() {
        let mut fixture = fixture().await;
        let confirming = async {
            tokio::task::yield_now().await;
            fixture.broker.confirm_first(2).await;
        };
        let (address, message) = (Address::Reply { queue: "reply_1".to_owned() }, Outgoing::new("x"));
        let message = Outgoing { mandatory: true, ..message };
        let sending = fixture.desk.send(&address, &message, Instant::now(), &fixture.shared);
        let (sent, ()) = tokio::join!(sending, confirming);
        assert!(matches!(sent, Direct::Decided(Ok(()))));
        assert!(fixture.lanes.has_free() && fixture.in_flight() == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_caller_leaves_behind_holds_its_channel_and_its_room() {
        let mut fixture = fixture().await;
        assert!(fixture.send(true).now_or_never().is_none());
        assert!(!fixture.lanes.has_free());
        assert!(is_left_to_the_worker(&fixture.send(true).now_or_never()), "the channel is not free");
        assert!(fixture.send(false).now_or_never().is_none(), "plain messages go on");
        fixture.lanes.wants_worker().await;
        let mut orphans = fixture.lanes.take_orphans();
        assert_eq!((orphans.len(), fixture.in_flight()), (2, 2));
        let orphan = orphans.remove(0);
        assert!(orphan.lane.is_some());
        fixture.broker.confirm_first(2).await;
        assert!(matches!(orphan.confirm.await, Ok(Outcome::Taken)));
        drop(orphan.slot);
        assert_eq!(fixture.in_flight(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_overtakes_what_is_queued() {
        let fixture = fixture().await;
        let queued = fixture.desk.queue();
        assert!(is_left_to_the_worker(&fixture.send(false).now_or_never()));
        drop(queued);
        assert!(fixture.send(false).now_or_never().is_none());
        fixture.desk.offer(None);
        assert!(is_left_to_the_worker(&fixture.send(false).now_or_never()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_unconfirmed_for_long_raises_a_doubt_and_a_lost_one_is_handed_over() {
        let fixture = fixture().await;
        let doubting = async {
            fixture.lanes.wants_worker().await;
            assert!(fixture.lanes.take_doubt() && !fixture.lanes.take_doubt());
            fixture.lanes.connection.kill();
        };
        let begun = Instant::now();
        let (sent, ()) = tokio::join!(fixture.send(false), doubting);
        assert!(matches!(sent, Direct::HandOver { attempts: 1 }));
        assert!(begun.elapsed() >= CONFIRM_BOUND && begun.elapsed() < CONFIRM_BOUND + Duration::from_secs(1));
        assert_eq!(fixture.shared.metrics.republished.get(), 1);
    }
}
