//! One connection and its channels. With `dial.rs` this is all that knows `lapin`.
//!
//! Recovery is not left to lapin: a connection or channel that is lost stays lost, and `link.rs`, `publisher.rs` and
//! `consumer.rs` make new ones.

use std::future::Future;
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, BasicRejectOptions,
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Confirmation, ErrorKind, Event};
use tokio::sync::watch;

use super::error::{AmqpError, NAME_MAX};
use super::topology::{Argument, Arguments, Binding, Exchange, ExchangeKind, Queue};

/// How often a connection is looked at, beside being told of errors: not every end of one is an event.
const LIVENESS_INTERVAL: Duration = Duration::from_secs(1);
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

/// A live connection, until it is not.
pub(super) struct Connection {
    inner: lapin::Connection,
    /// A second handle of the socket, to end a connection whose broker does not answer.
    socket: Option<TcpStream>,
    condition: watch::Sender<Condition>,
}

impl Connection {
    pub(super) fn new(inner: lapin::Connection, socket: Option<TcpStream>) -> Self {
        Self { inner, socket, condition: watch::Sender::new(Condition::Open) }
    }

    /// Follows what becomes of the connection, until it is lost. Each change is reported, with the broker's words if it
    /// gave any. All that wait for a condition rely on one task that runs this.
    pub(super) async fn watch_over(&self, report: impl Fn(Condition, &str)) {
        let mut events = self.inner.events_listener();
        loop {
            let now = self.look();
            if self.condition.send_replace(now) != now && now != Condition::Blocked {
                report(now, "");
            }
            if now == Condition::Lost {
                return;
            }
            if let Ok(Some(Event::ConnectionBlocked(reason))) =
                tokio::time::timeout(LIVENESS_INTERVAL, events.next()).await
            {
                self.condition.send_replace(Condition::Blocked);
                report(Condition::Blocked, &reason);
            }
        }
    }

    fn look(&self) -> Condition {
        let status = self.inner.status();
        match (status.connected(), status.blocked()) {
            (false, _) => Condition::Lost,
            (true, true) => Condition::Blocked,
            (true, false) => Condition::Open,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.inner.status().connected()
    }

    pub(super) fn is_blocked(&self) -> bool {
        *self.condition.borrow() == Condition::Blocked
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
        let _ = self.condition.subscribe().wait_for(|condition| is_right(*condition)).await;
    }

    /// Ends it without a word to the broker.
    pub(super) fn kill(&self) {
        if let Some(socket) = &self.socket {
            // It may be closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Ends it in an orderly way, if the broker answers.
    pub(super) async fn close(&self) {
        let closing = self.inner.close(200, ShortString::from("OK"));
        let _ = tokio::time::timeout(CLOSE_BOUND, closing).await;
        self.kill();
    }

    pub(super) async fn channel(&self) -> Result<Channel, AmqpError> {
        Ok(Channel { inner: Arc::new(self.inner.create_channel().await.map_err(amqp_error)?) })
    }
}

/// One channel. Cheap to clone.
#[derive(Clone)]
pub(super) struct Channel {
    inner: Arc<lapin::Channel>,
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
    pub(super) async fn select_confirms(&self) -> Result<(), AmqpError> {
        self.inner.confirm_select(ConfirmSelectOptions::default()).await.map_err(amqp_error)
    }

    /// Unacknowledged messages per consumer, for those that begin from now on.
    pub(super) async fn set_prefetch(&self, count: u16) -> Result<(), AmqpError> {
        self.inner.basic_qos(count, BasicQosOptions { global: false }).await.map_err(amqp_error)
    }

    pub(super) async fn declare_exchange(&self, exchange: &Exchange) -> Result<(), AmqpError> {
        let kind = match exchange.kind {
            ExchangeKind::Topic => lapin::ExchangeKind::Topic,
            ExchangeKind::Fanout => lapin::ExchangeKind::Fanout,
        };
        let Exchange { durable, auto_delete, .. } = *exchange;
        let options = ExchangeDeclareOptions { durable, auto_delete, ..ExchangeDeclareOptions::default() };
        let declaring = self.inner.exchange_declare(name(&exchange.name)?, kind, options, FieldTable::default());
        declaring.await.map_err(amqp_error)
    }

    /// Returns how many consumers the queue has.
    pub(super) async fn declare_queue(&self, queue: &Queue) -> Result<u32, AmqpError> {
        let Queue { durable, auto_delete, .. } = *queue;
        let options = QueueDeclareOptions { durable, auto_delete, ..QueueDeclareOptions::default() };
        let declaring = self.inner.queue_declare(name(&queue.name)?, options, table(&queue.arguments)?);
        Ok(declaring.await.map_err(amqp_error)?.consumer_count())
    }

    pub(super) async fn bind(&self, queue: &str, binding: &Binding) -> Result<(), AmqpError> {
        let (exchange, key) = (name(&binding.exchange.name)?, name(&binding.routing_key)?);
        let binding =
            self.inner.queue_bind(name(queue)?, exchange, key, QueueBindOptions::default(), FieldTable::default());
        binding.await.map_err(amqp_error)
    }

    pub(super) async fn delete_queue(&self, queue: &str) -> Result<(), AmqpError> {
        let deleting = self.inner.queue_delete(name(queue)?, QueueDeleteOptions::default());
        deleting.await.map(drop).map_err(amqp_error)
    }

    /// Takes from a queue. The stream ends when the broker cancels it, and when the channel is lost.
    pub(super) async fn consume(&self, queue: &Queue, tag: &str) -> Result<BoxStream<'static, Arrival>, AmqpError> {
        let arguments = table(&queue.consume_arguments)?;
        let consuming =
            self.inner.basic_consume(name(&queue.name)?, name(tag)?, BasicConsumeOptions::default(), arguments);
        let consumer = consuming.await.map_err(amqp_error)?;
        let arrivals =
            StreamExt::map(consumer, Result::ok).take_while(|delivery| std::future::ready(delivery.is_some()));
        Ok(arrivals.filter_map(|delivery| std::future::ready(delivery.map(arrival))).boxed())
    }

    /// Stops taking; what is on its way still arrives, then the stream ends.
    pub(super) async fn cancel(&self, tag: &str) -> Result<(), AmqpError> {
        self.inner.basic_cancel(name(tag)?, BasicCancelOptions::default()).await.map_err(amqp_error)
    }

    /// Queues the message to be written, before it returns. The future is the broker's decision.
    pub(super) fn publish(&self, publication: Publication) -> Result<Confirm, AmqpError> {
        let (exchange, key) = (name(&publication.exchange)?, name(&publication.routing_key)?);
        let channel = Arc::clone(&self.inner);
        let mut confirm: Confirm = Box::pin(async move {
            let options = BasicPublishOptions { mandatory: publication.mandatory, immediate: false };
            let properties = properties(publication.expiration);
            let written = channel.basic_publish(exchange, key, options, &publication.body, properties).await;
            outcome(written.map_err(amqp_error)?.await.map_err(amqp_error)?)
        });
        // lapin queues the frames in the first poll; it is never ready in that unless it failed.
        match (&mut confirm).now_or_never() {
            None => Ok(confirm),
            Some(decided) => decided.map(|outcome| std::future::ready(Ok(outcome)).boxed()),
        }
    }

    /// Queues an acknowledgement to be written. An error means that the broker will deliver the message again.
    pub(super) fn ack(&self, delivery_tag: u64) -> Result<(), AmqpError> {
        queued(self.inner.basic_ack(delivery_tag, BasicAckOptions::default()))
    }

    /// Throws a message away.
    pub(super) fn reject(&self, delivery_tag: u64) -> Result<(), AmqpError> {
        queued(self.inner.basic_reject(delivery_tag, BasicRejectOptions { requeue: false }))
    }

    /// Puts a message back where it was in its queue.
    pub(super) fn give_back(&self, delivery_tag: u64) -> Result<(), AmqpError> {
        queued(self.inner.basic_reject(delivery_tag, BasicRejectOptions { requeue: true }))
    }

    pub(super) fn is_open(&self) -> bool {
        self.inner.status().connected()
    }

    /// What was not acknowledged goes back to its queue.
    pub(super) async fn close(&self) {
        let closing = self.inner.close(200, ShortString::from("OK"));
        let _ = tokio::time::timeout(CLOSE_BOUND, closing).await;
    }
}

/// lapin queues a frame in the first poll of an operation; the rest of the operation waits for the write, which nobody
/// here needs: a write that fails ends the channel, and with it the delivery.
fn queued(operation: impl Future<Output = lapin::Result<()>>) -> Result<(), AmqpError> {
    operation.now_or_never().unwrap_or(Ok(())).map_err(amqp_error)
}

fn outcome(confirmation: Confirmation) -> Result<Outcome, AmqpError> {
    match confirmation {
        Confirmation::Ack(None) => Ok(Outcome::Taken),
        Confirmation::Ack(Some(_)) => Ok(Outcome::Returned),
        Confirmation::Nack(_) | Confirmation::NotRequested => Err(AmqpError::NotTaken),
    }
}

fn properties(expiration: Option<Duration>) -> BasicProperties {
    let properties = BasicProperties::default()
        .with_content_type(ShortString::from(CONTENT_TYPE))
        .with_content_encoding(ShortString::from(CONTENT_ENCODING))
        .with_headers(FieldTable::default())
        .with_delivery_mode(PERSISTENT)
        .with_priority(0);
    match expiration {
        // The broker refuses numbers that it cannot count to.
        Some(expiration) => {
            let milliseconds = u32::try_from(expiration.as_millis()).unwrap_or(u32::MAX);
            properties.with_expiration(ShortString::from(milliseconds.to_string()))
        }
        None => properties,
    }
}

fn arrival(delivery: lapin::message::Delivery) -> Arrival {
    let properties = &delivery.properties;
    let milliseconds = properties.expiration().as_ref().and_then(|text| text.as_str().parse().ok());
    let headers = properties.headers().as_ref();
    let stream_offset = headers.and_then(|headers| match headers.inner().get("x-stream-offset") {
        Some(AMQPValue::LongLongInt(offset)) => Some(*offset),
        Some(AMQPValue::LongInt(offset)) => Some((*offset).into()),
        _ => None,
    });
    Arrival {
        delivery_tag: delivery.delivery_tag,
        expiration: milliseconds.map(Duration::from_millis),
        stream_offset,
        body: Bytes::from(delivery.data),
    }
}

/// lapin panics on names that are too long.
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

pub(super) fn amqp_error(error: lapin::Error) -> AmqpError {
    match error.kind() {
        // Hard errors end the connection, as a broker does that is being stopped.
        ErrorKind::ProtocolError(refusal) if error.is_amqp_soft_error() => {
            AmqpError::Refused { code: refusal.get_id(), text: refusal.get_message().to_string() }
        }
        _ => AmqpError::Lost(Arc::new(error)),
    }
}
