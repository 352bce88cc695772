//! One connection of AMQP 0-9-1 and its channels.
//!
//! ```text
//!   Channel ── a method, a message ──> State.out ──> io ──> socket ──> broker
//!      ^                                                                 │
//!      └── answers, confirmations, arrivals <── State <── io <───────────┘
//! ```
//!
//! What bytes mean is `amq-protocol`'s, and `frames.rs` and `greeting.rs` know it with `state.rs`. A connection is one task;
//! it has no thread of its own. It does not recover: what is lost stays lost, and `link.rs`, `publisher.rs` and `pump.rs`
//! make new ones.

mod frames;
mod greeting;
mod io;
mod state;
mod tcp;
#[cfg(test)]
pub(super) mod tests;

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amq_protocol::protocol::{AMQPClass, BasicProperties, basic, channel, confirm, exchange, queue};
use amq_protocol::types::{AMQPValue, FieldTable, ShortString};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub(super) use self::greeting::{GreetingError, Login};
use self::state::State;
use self::tcp::SharedTcp;
use super::error::{AmqpError, NAME_MAX};
use super::topology::{Argument, Arguments, Binding, Exchange, ExchangeKind, Queue};
use crate::lock;

/// How long a closing connection may take.
const CLOSE_BOUND: Duration = Duration::from_secs(2);

/// What oslo.messaging puts on every message.
const CONTENT_TYPE: &str = "application/json";
const CONTENT_ENCODING: &str = "utf-8";
const PERSISTENT: u8 = 2;

/// What a connection is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Open,
    /// The broker is short of memory or disk and takes no messages for now; they wait.
    Blocked,
    Lost,
}

/// Why a connection is no more.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum EndReason {
    #[error("the broker closed it: {code} {text}")]
    Closed { code: u16, text: String },
    #[error("the broker hung up")]
    HungUp,
    #[error("the broker gave no sign of life")]
    Silent,
    #[error("the socket failed")]
    Io(#[source] Arc<std::io::Error>),
    #[error(transparent)]
    Frame(frames::FrameError),
    #[error("the broker said something that makes no sense here")]
    Nonsense,
    #[error("it was ended here")]
    Killed,
    #[error("it was closed here")]
    Finished,
}

/// What handles and the connection's task share.
struct Inner {
    state: Mutex<State>,
    /// There is something to write.
    wake: Notify,
    killed: CancellationToken,
    condition: watch::Sender<Condition>,
}

/// A live connection, until it is not.
pub(super) struct Connection {
    inner: Arc<Inner>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.inner.killed.cancel();
    }
}

impl Connection {
    /// Logs in over a fresh stream, which a task serves from then on.
    pub(super) async fn open<S>(stream: S, login: &Login) -> Result<Self, GreetingError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::start(stream, None, login).await
    }

    /// The same over TCP without TLS, where who has something to say can write it himself.
    pub(super) async fn open_tcp(stream: TcpStream, login: &Login) -> Result<Self, GreetingError> {
        let stream = SharedTcp::new(stream);
        Self::start(stream.clone(), Some(stream), login).await
    }

    async fn start<S>(mut stream: S, direct: Option<SharedTcp>, login: &Login) -> Result<Self, GreetingError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut input = BytesMut::new();
        let agreement = greeting::greet(&mut stream, &mut input, login).await?;
        let inner = Arc::new(Inner {
            state: Mutex::new(State::new(agreement, direct)),
            wake: Notify::new(),
            killed: CancellationToken::new(),
            condition: watch::Sender::new(Condition::Open),
        });
        tokio::spawn(io::run(stream, input, agreement, Arc::clone(&inner)));
        Ok(Self { inner })
    }

    /// Follows what becomes of the connection, until it is lost. Each change is reported, with the broker's words if it
    /// gave any.
    pub(super) async fn watch_over(&self, report: impl Fn(Condition, &str)) {
        let mut condition = self.inner.condition.subscribe();
        let mut last = Condition::Open;
        loop {
            let now = *condition.borrow_and_update();
            if now != last {
                let reason = self.reason(now);
                report(now, &reason);
                last = now;
            }
            if now == Condition::Lost {
                return;
            }
            // The sender is ours, so there is another change or this waits for ever.
            let _ = condition.changed().await;
        }
    }

    fn reason(&self, condition: Condition) -> String {
        let state = lock(&self.inner.state);
        match condition {
            Condition::Open => String::new(),
            Condition::Blocked => state.blocked_reason.clone(),
            Condition::Lost => state.end_reason().map(|reason| reason.to_string()).unwrap_or_default(),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        !lock(&self.inner.state).is_ended()
    }

    pub(super) fn is_blocked(&self) -> bool {
        *self.inner.condition.borrow() == Condition::Blocked
    }

    /// Waits while the connection is blocked.
    pub(super) async fn unblocked(&self) {
        self.wait_for(|condition| condition != Condition::Blocked).await;
    }

    /// Waits until the connection is lost.
    pub(super) async fn lost(&self) {
        self.wait_for(|condition| condition == Condition::Lost).await;
    }

    async fn wait_for(&self, is_right: impl Fn(Condition) -> bool) {
        // The sender is ours, so this ends in no other way.
        let _ = self.inner.condition.subscribe().wait_for(|condition| is_right(*condition)).await;
    }

    /// Ends it without a word to the broker.
    pub(super) fn kill(&self) {
        self.inner.killed.cancel();
    }

    /// Ends it in an orderly way, if the broker answers.
    pub(super) async fn close(&self) {
        let closed = lock(&self.inner.state).close();
        if let Some(closed) = closed {
            self.inner.wake.notify_one();
            let _ = tokio::time::timeout(CLOSE_BOUND, closed).await;
        }
        self.kill();
    }

    pub(super) async fn channel(&self) -> Result<Channel, AmqpError> {
        let (id, opened) = lock(&self.inner.state).open_channel()?;
        self.inner.wake.notify_one();
        // From here on it is closed when nobody has it.
        let channel = Channel { handle: Arc::new(Handle { id, inner: Arc::clone(&self.inner) }) };
        match answered(opened).await? {
            AMQPClass::Channel(channel::AMQPMethod::OpenOk(_)) => Ok(channel),
            _ => Err(AmqpError::ChannelClosed),
        }
    }
}

async fn answered<T>(answer: oneshot::Receiver<Result<T, AmqpError>>) -> Result<T, AmqpError> {
    answer.await.unwrap_or(Err(AmqpError::ChannelClosed))
}

/// One channel. Cheap to clone; closed when the last clone is gone.
#[derive(Clone)]
pub(super) struct Channel {
    handle: Arc<Handle>,
}

struct Handle {
    id: u16,
    inner: Arc<Inner>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if lock(&self.inner.state).close_channel(self.id).is_some() {
            self.inner.wake.notify_one();
        }
    }
}

/// What to publish, and where.
#[derive(Clone, Debug)]
pub(super) struct Publication {
    pub(super) exchange: String,
    pub(super) routing_key: String,
    pub(super) body: Bytes,
    pub(super) expiration: Option<Duration>,
    pub(super) mandatory: bool,
}

/// What the broker did with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It took responsibility.
    Taken,
    /// No queue takes it, and it was mandatory.
    Returned,
}

/// A message that was published, until the broker has decided.
pub(super) type Confirm = Pin<Box<dyn Future<Output = Result<Outcome, AmqpError>> + Send>>;

/// A message that arrived.
pub(super) struct Arrival {
    pub(super) body: Bytes,
    pub(super) delivery_tag: u64,
    pub(super) expiration: Option<Duration>,
    /// The place in the stream, if it came from one.
    pub(super) stream_offset: Option<i64>,
}

impl Channel {
    /// Says something that the broker answers, and waits for that.
    async fn call(&self, method: AMQPClass) -> Result<AMQPClass, AmqpError> {
        let answer = lock(&self.handle.inner.state).ask(self.handle.id, method)?;
        self.handle.inner.wake.notify_one();
        answered(answer).await
    }

    pub(super) async fn select_confirms(&self) -> Result<(), AmqpError> {
        let select = confirm::Select { nowait: false };
        self.call(AMQPClass::Confirm(confirm::AMQPMethod::Select(select))).await.map(drop)
    }

    /// Unacknowledged messages per consumer, for those that begin from now on.
    pub(super) async fn set_prefetch(&self, count: u16) -> Result<(), AmqpError> {
        let qos = basic::Qos { prefetch_count: count, global: false };
        self.call(AMQPClass::Basic(basic::AMQPMethod::Qos(qos))).await?;
        lock(&self.handle.inner.state).set_prefetch(self.handle.id, count)
    }

    pub(super) async fn declare_exchange(&self, exchange: &Exchange) -> Result<(), AmqpError> {
        let kind = match exchange.kind {
            ExchangeKind::Topic => "topic",
            ExchangeKind::Fanout => "fanout",
        };
        let Exchange { durable, auto_delete, .. } = *exchange;
        let declare = exchange::Declare {
            exchange: name(&exchange.name)?,
            kind: kind.into(),
            passive: false,
            durable,
            auto_delete,
            internal: false,
            nowait: false,
            arguments: FieldTable::default(),
        };
        self.call(AMQPClass::Exchange(exchange::AMQPMethod::Declare(declare))).await.map(drop)
    }

    /// Returns how many consumers the queue has.
    pub(super) async fn declare_queue(&self, queue: &Queue) -> Result<u32, AmqpError> {
        let Queue { durable, auto_delete, .. } = *queue;
        let declare = queue::Declare {
            queue: name(&queue.name)?,
            passive: false,
            durable,
            exclusive: false,
            auto_delete,
            nowait: false,
            arguments: table(&queue.arguments)?,
        };
        match self.call(AMQPClass::Queue(queue::AMQPMethod::Declare(declare))).await? {
            AMQPClass::Queue(queue::AMQPMethod::DeclareOk(declared)) => Ok(declared.consumer_count),
            _ => Err(AmqpError::ChannelClosed),
        }
    }

    pub(super) async fn bind(&self, queue: &str, binding: &Binding) -> Result<(), AmqpError> {
        let bind = queue::Bind {
            queue: name(queue)?,
            exchange: name(&binding.exchange.name)?,
            routing_key: name(&binding.routing_key)?,
            nowait: false,
            arguments: FieldTable::default(),
        };
        self.call(AMQPClass::Queue(queue::AMQPMethod::Bind(bind))).await.map(drop)
    }

    pub(super) async fn delete_queue(&self, queue: &str) -> Result<(), AmqpError> {
        let delete = queue::Delete { queue: name(queue)?, if_unused: false, if_empty: false, nowait: false };
        self.call(AMQPClass::Queue(queue::AMQPMethod::Delete(delete))).await.map(drop)
    }

    /// Takes from a queue. The stream ends when the broker cancels it, and when the channel is lost.
    pub(super) async fn consume(&self, queue: &Queue, tag: &str) -> Result<BoxStream<'static, Arrival>, AmqpError> {
        let consume = basic::Consume {
            queue: name(&queue.name)?,
            consumer_tag: name(tag)?,
            no_local: false,
            no_ack: false,
            exclusive: false,
            nowait: false,
            arguments: table(&queue.consume_arguments)?,
        };
        let mut arrivals = lock(&self.handle.inner.state).add_consumer(self.handle.id, tag)?;
        self.call(AMQPClass::Basic(basic::AMQPMethod::Consume(consume))).await?;
        Ok(futures::stream::poll_fn(move |task| arrivals.poll_recv(task)).boxed())
    }

    /// Stops taking; what is on its way still arrives, then the stream ends.
    pub(super) async fn cancel(&self, tag: &str) -> Result<(), AmqpError> {
        let cancel = basic::Cancel { consumer_tag: name(tag)?, nowait: false };
        self.call(AMQPClass::Basic(basic::AMQPMethod::Cancel(cancel))).await.map(drop)
    }

    /// Queues the message to be written, before it returns. The future is the broker's decision.
    pub(super) fn publish(&self, publication: Publication) -> Result<Confirm, AmqpError> {
        let publish = basic::Publish {
            exchange: name(&publication.exchange)?,
            routing_key: name(&publication.routing_key)?,
            mandatory: publication.mandatory,
            immediate: false,
        };
        let properties = properties(publication.expiration);
        let (decision, is_said) = {
            let mut state = lock(&self.handle.inner.state);
            let decision = state.publish(self.handle.id, publish, properties, &publication.body)?;
            (decision, state.say_alone())
        };
        if !is_said {
            self.handle.inner.wake.notify_one();
        }
        Ok(Box::pin(answered(decision)))
    }

    /// Settles a message; the broker learns of it with what is written next, or soon. An error means that it will deliver
    /// the message again.
    pub(super) fn ack(&self, delivery_tag: u64) -> Result<(), AmqpError> {
        if lock(&self.handle.inner.state).ack(self.handle.id, delivery_tag)? {
            self.handle.inner.wake.notify_one();
        }
        Ok(())
    }

    /// Throws a message away.
    pub(super) fn reject(&self, delivery_tag: u64) -> Result<(), AmqpError> {
        self.settle(delivery_tag, false)
    }

    /// Puts a message back where it was in its queue.
    pub(super) fn give_back(&self, delivery_tag: u64) -> Result<(), AmqpError> {
        self.settle(delivery_tag, true)
    }

    fn settle(&self, delivery_tag: u64, requeue: bool) -> Result<(), AmqpError> {
        lock(&self.handle.inner.state).reject(self.handle.id, delivery_tag, requeue)?;
        self.handle.inner.wake.notify_one();
        Ok(())
    }

    pub(super) fn is_open(&self) -> bool {
        lock(&self.handle.inner.state).is_open(self.handle.id)
    }

    /// What was not acknowledged goes back to its queue.
    pub(super) async fn close(&self) {
        let closed = lock(&self.handle.inner.state).close_channel(self.handle.id);
        if let Some(closed) = closed {
            self.handle.inner.wake.notify_one();
            let _ = tokio::time::timeout(CLOSE_BOUND, closed).await;
        }
    }
}

fn properties(expiration: Option<Duration>) -> BasicProperties {
    let properties = BasicProperties::default()
        .with_content_type(CONTENT_TYPE.into())
        .with_content_encoding(CONTENT_ENCODING.into())
        .with_headers(FieldTable::default())
        .with_delivery_mode(PERSISTENT)
        .with_priority(0);
    match expiration {
        // The broker refuses numbers that it cannot count to.
        Some(expiration) => {
            let milliseconds = u32::try_from(expiration.as_millis()).unwrap_or(u32::MAX);
            properties.with_expiration(milliseconds.to_string().into())
        }
        None => properties,
    }
}

/// The codec panics on names that are too long.
fn name(name: &str) -> Result<ShortString, AmqpError> {
    let too_long = || AmqpError::NameTooLong { name: name.to_owned(), length: name.len() };
    if name.len() > NAME_MAX {
        return Err(too_long());
    }
    ShortString::try_new(name).map_err(|_| too_long())
}

fn table(arguments: &Arguments) -> Result<FieldTable, AmqpError> {
    let mut table = FieldTable::default();
    for (key, value) in arguments {
        let value = match value {
            Argument::Text(text) => AMQPValue::LongString(text.as_str().into()),
            Argument::Flag(flag) => AMQPValue::Boolean(*flag),
            // The smaller type where it fits, as py-amqp writes it.
            Argument::Number(number) => match i32::try_from(*number) {
                Ok(number) => AMQPValue::LongInt(number),
                Err(_) => AMQPValue::LongLongInt(*number),
            },
        };
        table.insert(name(key)?, value);
    }
    Ok(table)
}
