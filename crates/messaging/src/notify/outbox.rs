//! Sends notifications beside the work that they tell of.
//!
//! ```text
//!   push ──> queue, of a fixed length ──> one task: send ──> taken: the next
//!     └─ no room: lost                      ^       └──> failed: again after a pause, as often as `retry` says,
//!                                           └────────────┘       then lost
//! ```
//!
//! A broker that is gone costs the messages that the queue has no room for, one line in the log when that begins, and
//! one when it is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::MessagingError;
use crate::transport::{Address, Outgoing, Transport};

/// Messages that wait, at most: some megabytes.
const CAPACITY: usize = 1000;
/// Between the tries of one message: oslo.messaging's intervals of a broker that does not answer.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_STEP: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A queue of notifications and the task that sends them, in their order. Cheap to clone; the task ends when the last
/// clone is gone and the queue is empty.
#[derive(Clone, Debug)]
pub struct Outbox {
    queue: mpsc::Sender<Item>,
    losses: Arc<Losses>,
}

#[derive(Debug)]
enum Item {
    Message(Address, Outgoing),
    /// All before this has been sent, or is lost.
    Mark(oneshot::Sender<()>),
}

impl Outbox {
    /// Starts the task. A message that could not be sent is sent again `retry` times; for as long as it takes where it
    /// is `None`.
    ///
    /// Must be called inside a tokio runtime.
    pub fn start(transport: Arc<dyn Transport>, retry: Option<u32>) -> Self {
        let (queue, items) = mpsc::channel(CAPACITY);
        let losses = Arc::new(Losses::default());
        let sender = Sender { transport, retry, items, losses: losses.clone() };
        tokio::spawn(sender.run());
        Self { queue, losses }
    }

    /// Has messages sent, such as those of [`crate::Notifier::messages`]. Returns at once.
    pub fn push(&self, messages: Vec<(Address, Outgoing)>) {
        for (address, message) in messages {
            if let Err(error) = self.queue.try_send(Item::Message(address, message)) {
                self.losses.lose(&error);
            }
        }
    }

    /// Waits until all that was pushed has been sent or is lost; false if it still was not at the bound.
    pub async fn flush(&self, bound: Duration) -> bool {
        let (mark, reached) = oneshot::channel();
        let flushed = async { self.queue.send(Item::Mark(mark)).await.is_ok() && reached.await.is_ok() };
        tokio::time::timeout(bound, flushed).await.unwrap_or(false)
    }
}

/// The task.
struct Sender {
    transport: Arc<dyn Transport>,
    retry: Option<u32>,
    items: mpsc::Receiver<Item>,
    losses: Arc<Losses>,
}

impl Sender {
    async fn run(mut self) {
        while let Some(item) = self.items.recv().await {
            match item {
                Item::Message(address, message) => self.send(&address, message).await,
                Item::Mark(mark) => {
                    // Whoever waited for it may have given up.
                    let _ = mark.send(());
                }
            }
        }
    }

    async fn send(&self, address: &Address, message: Outgoing) {
        let (mut tries, mut pause) = (0, PAUSE_FIRST);
        loop {
            let Err(error) = self.transport.send(address, message.clone()).await else {
                return self.losses.recover();
            };
            if self.is_final(&error) || self.retry.is_some_and(|retry| tries >= retry) {
                return self.losses.lose(&error);
            }
            self.losses.begin(&error);
            tokio::time::sleep(pause).await;
            (tries, pause) = (tries + 1, PAUSE_MAX.min(pause + PAUSE_STEP));
        }
    }

    /// No further try would end otherwise, or nobody is left to wait for it.
    fn is_final(&self, error: &MessagingError) -> bool {
        matches!(error, MessagingError::Closed | MessagingError::QueueFull { .. }) || self.items.is_closed()
    }
}

/// An outage, if there is one, and what it has cost.
#[derive(Debug, Default)]
struct Losses {
    is_outage: AtomicBool,
    lost: AtomicU64,
}

impl Losses {
    /// Logged once per outage.
    fn begin(&self, error: &dyn std::error::Error) {
        if !self.is_outage.swap(true, Ordering::Relaxed) {
            let source = error.source();
            tracing::error!(%error, source, "notifications cannot be sent; they are lost once {CAPACITY} wait");
        }
    }

    fn lose(&self, error: &dyn std::error::Error) {
        self.begin(error);
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    fn recover(&self) {
        // A plain look first: this is the way of every message that is sent.
        if self.is_outage.load(Ordering::Relaxed) && self.is_outage.swap(false, Ordering::Relaxed) {
            let lost = self.lost.swap(0, Ordering::Relaxed);
            tracing::info!(lost, "notifications are sent again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;
    use crate::transport::Consumer;
    use crate::{Replies, lock};

    /// A broker that is there or not.
    #[derive(Default)]
    struct Broker {
        is_down: AtomicBool,
        tries: AtomicU64,
        got: Mutex<Vec<Bytes>>,
        replies: Replies,
    }

    #[async_trait]
    impl Transport for Broker {
        async fn send(&self, _: &Address, message: Outgoing) -> Result<(), MessagingError> {
            self.tries.fetch_add(1, Ordering::Relaxed);
            if self.is_down.load(Ordering::Relaxed) {
                return Err(MessagingError::Transport("nobody listens".into()));
            }
            lock(&self.got).push(message.body);
            Ok(())
        }

        async fn subscribe(&self, _: &[Address]) -> Result<Box<dyn Consumer>, MessagingError> {
            Err(MessagingError::Closed)
        }

        fn replies(&self) -> &Replies {
            &self.replies
        }

        async fn close(&self) {}
    }

    fn message(number: usize) -> Vec<(Address, Outgoing)> {
        let address = Address::Notification { exchange: None, topic: "t".to_owned(), priority: "info".to_owned() };
        vec![(address, Outgoing::new(number.to_string()))]
    }

    fn numbers(numbers: std::ops::Range<usize>) -> Vec<Bytes> {
        numbers.map(|number| number.to_string().into()).collect()
    }

    const BOUND: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn messages_arrive_in_their_order() {
        let broker = Arc::new(Broker::default());
        let outbox = Outbox::start(broker.clone(), None);
        (0..10).for_each(|number| outbox.push(message(number)));
        assert!(outbox.flush(BOUND).await);
        assert_eq!(*lock(&broker.got), numbers(0..10));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_keeps_as_many_as_the_queue_holds_and_costs_the_rest() {
        let broker = Arc::new(Broker::default());
        broker.is_down.store(true, Ordering::Relaxed);
        let outbox = Outbox::start(broker.clone(), None);
        outbox.push(message(0));
        // The task has the first one in its hands.
        while broker.tries.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        (1..CAPACITY + 100).for_each(|number| outbox.push(message(number)));
        assert_eq!(outbox.losses.lost.load(Ordering::Relaxed), 99);
        assert!(outbox.losses.is_outage.load(Ordering::Relaxed));
        assert!(!outbox.flush(Duration::from_secs(60)).await, "nothing is given up");
        broker.is_down.store(false, Ordering::Relaxed);
        assert!(outbox.flush(BOUND).await);
        assert_eq!(*lock(&broker.got), numbers(0..CAPACITY + 1));
        assert!(!outbox.losses.is_outage.load(Ordering::Relaxed));
        assert_eq!(outbox.losses.lost.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_tried_as_often_as_it_should_be() {
        for (retry, tries) in [(0, 1), (3, 4)] {
            let broker = Arc::new(Broker::default());
            broker.is_down.store(true, Ordering::Relaxed);
            let outbox = Outbox::start(broker.clone(), Some(retry));
            outbox.push(message(0));
            assert!(outbox.flush(BOUND).await);
            assert_eq!(broker.tries.load(Ordering::Relaxed), tries);
            assert_eq!(outbox.losses.lost.load(Ordering::Relaxed), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_transport_that_is_closed_is_not_tried_again() {
        let transport = crate::MemoryTransport::new();
        transport.close().await;
        let outbox = Outbox::start(transport, None);
        outbox.push(message(0));
        assert!(outbox.flush(BOUND).await);
        assert_eq!(outbox.losses.lost.load(Ordering::Relaxed), 1);
    }
}
