//! What can go wrong between a service and RabbitMQ, and what becomes of it.
//!
//! Tests that end, pause or fill a broker start one of their own; the others do their damage, to queues of their own, on
//! the shared one.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../broker/mod.rs"]
#[allow(dead_code, reason = "the suite uses the rest")]
mod broker;
mod outages;
mod publishing;
mod queues;
mod refusals;
#[path = "../suite/mod.rs"]
#[allow(dead_code, unused_macros, unused_imports, reason = "the suite itself runs elsewhere")]
mod suite;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kilonova_messaging::{CallContext, MessagingError, RabbitOptions, RabbitTransport};
use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value;

use broker::connect;
use suite::{Bus, context, entry, soon};

/// A transport, also as what it is, for its metrics, and a bus over it.
fn bus(url: &str, options: RabbitOptions) -> (Arc<RabbitTransport>, Bus) {
    let transport = connect(url, options);
    (Arc::clone(&transport), Bus::new(transport))
}

/// Calls `note` until a call is answered: what was on its way when things broke may be lost.
async fn call_until_answered(call: &CallContext, value: &str) -> Value {
    soon(async {
        loop {
            match call.call(&context(), "note", entry(value)).await {
                Ok(answer) => return answer,
                Err(MessagingError::Timeout { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
    })
    .await
}

async fn eventually(what: &str, is_true: impl Fn() -> bool) {
    let waiting = async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(suite::SOON, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// All that an error says, its sources included.
fn said(error: &(dyn std::error::Error + 'static)) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", said(source)),
        None => error.to_string(),
    }
}

/// A channel that does to the broker what an operator might, or another service with other options.
struct Admin {
    channel: lapin::Channel,
    _connection: lapin::Connection,
}

impl Admin {
    async fn connect(url: &str) -> Self {
        let url = format!("{}/%2f", url.trim_end_matches('/').replace("rabbit://", "amqp://"));
        let connection = lapin::Connection::connect(&url, lapin::ConnectionProperties::default()).await.unwrap();
        Self { channel: connection.create_channel().await.unwrap(), _connection: connection }
    }

    async fn delete_queue(&self, name: &str) {
        self.channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
    }

    async fn delete_exchange(&self, name: &str) {
        self.channel.exchange_delete(name.into(), ExchangeDeleteOptions::default()).await.unwrap();
    }

    async fn unbind(&self, queue: &str, exchange: &str, key: &str) {
        self.channel.queue_unbind(queue.into(), exchange.into(), key.into(), FieldTable::default()).await.unwrap();
    }

    async fn declare_queue(&self, name: &str, options: QueueDeclareOptions, arguments: &[(&str, i32)]) {
        let mut table = FieldTable::default();
        for (key, value) in arguments {
            table.insert((*key).into(), AMQPValue::LongInt(*value));
        }
        self.channel.queue_declare(name.into(), options, table).await.unwrap();
    }

    async fn declare_exchange(&self, name: &str, kind: lapin::ExchangeKind) {
        let options = ExchangeDeclareOptions::default();
        self.channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await.unwrap();
    }

    /// How many messages wait in a queue, those not counted that a consumer holds; `None` if there is no queue. That
    /// ends the channel, so this takes the admin away.
    async fn waiting(self, name: &str) -> Option<u32> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = self.channel.queue_declare(name.into(), passive, FieldTable::default()).await;
        found.ok().map(|queue| queue.message_count())
    }

    async fn purge(&self, name: &str) {
        self.channel.queue_purge(name.into(), QueuePurgeOptions::default()).await.unwrap();
    }
}

/// What was logged on this thread.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    /// Collects until the guard is dropped. For tests with one thread.
    fn collect() -> (Self, tracing::subscriber::DefaultGuard) {
        let logged = Self::default();
        let writer = logged.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        (logged, tracing::subscriber::set_default(subscriber))
    }

    fn has(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.0.lock().unwrap()).contains(text)
    }
}

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
