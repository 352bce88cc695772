//! Notifications: what happened, for whoever listens. The form is oslo.messaging's; which events there are and what their
//! payloads hold is Nova's, and not known here.
//!
//! A notification that cannot be sent is logged and otherwise forgotten: nothing that a user asked for fails over it.
//! Who must not even wait for it has an [`Outbox`] send it.

mod outbox;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::message::ContextRef;
use crate::transport::rabbit::OptionError;
use crate::transport::{Address, Outgoing, Transport};
use crate::{Context, MessagingError, envelope, new_id};

pub use outbox::Outbox;

/// Before a notification is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A way of sending: `[oslo_messaging_notifications] driver`, which may name several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotificationDriver {
    /// Over the transport, without an envelope.
    Messaging,
    /// Over the transport, in an envelope.
    MessagingV2,
    /// Into the log.
    Log,
    /// Not at all.
    Noop,
}

/// There is no such driver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no notification driver {name:?}, only messaging, messagingv2, log and noop")]
pub struct UnknownDriver {
    /// The name given.
    pub name: String,
}

impl FromStr for NotificationDriver {
    type Err = UnknownDriver;

    fn from_str(name: &str) -> Result<Self, UnknownDriver> {
        match name.trim() {
            "messaging" => Ok(Self::Messaging),
            "messagingv2" => Ok(Self::MessagingV2),
            "log" => Ok(Self::Log),
            "noop" => Ok(Self::Noop),
            name => Err(UnknownDriver { name: name.to_owned() }),
        }
    }
}

/// The options of `[oslo_messaging_notifications]`, with oslo.messaging's names and defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationOptions {
    /// How to send: `driver`. None at all is oslo.messaging's default, and sends nothing.
    pub drivers: Vec<NotificationDriver>,
    /// Where to: `topics`. Each has a queue per priority.
    pub topics: Vec<String>,
    /// The broker for notifications, if it is not that of the RPC.
    pub transport_url: Option<String>,
    /// How often a notification is tried again that no broker confirmed: `retry`, where `None` is -1, for ever.
    pub retry: Option<u32>,
}

impl Default for NotificationOptions {
    fn default() -> Self {
        Self { drivers: Vec::new(), topics: vec!["notifications".to_owned()], transport_url: None, retry: None }
    }
}

impl NotificationOptions {
    /// Sets an option from its name and its text, as they are in a configuration file. Each `driver` is one more.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), OptionError> {
        let value = value.trim();
        let invalid = |expected| OptionError::Invalid { name: name.to_owned(), value: value.to_owned(), expected };
        match name {
            "driver" if value.is_empty() => {}
            "driver" => {
                let driver = value.parse().map_err(|_| invalid("messaging, messagingv2, log or noop"))?;
                self.drivers.push(driver);
            }
            "topics" => {
                let topics = value.split(',').map(str::trim).filter(|topic| !topic.is_empty());
                self.topics = topics.map(str::to_owned).collect();
            }
            "transport_url" => self.transport_url = (!value.is_empty()).then(|| value.to_owned()),
            "retry" => {
                let retry: i64 = value.parse().map_err(|_| invalid("a whole number"))?;
                // As in oslo.messaging any negative number is for ever.
                self.retry = (retry >= 0).then(|| u32::try_from(retry).unwrap_or(u32::MAX));
            }
            other => return Err(OptionError::Unknown { name: other.to_owned() }),
        }
        Ok(())
    }
}

/// How much a notification matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Priority {
    Audit,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
    Sample,
}

impl Priority {
    /// As the message has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Audit => "AUDIT",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
            Self::Sample => "SAMPLE",
        }
    }

    /// As the queue's name has it.
    fn suffix(self) -> String {
        self.name().to_ascii_lowercase()
    }
}

/// Sends notifications of one publisher. Cheap to clone.
#[derive(Clone)]
pub struct Notifier {
    transport: Arc<dyn Transport>,
    publisher_id: String,
    options: Arc<NotificationOptions>,
}

impl std::fmt::Debug for Notifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notifier")
            .field("publisher_id", &self.publisher_id)
            .field("drivers", &self.options.drivers)
            .field("topics", &self.options.topics)
            .finish_non_exhaustive()
    }
}

impl Notifier {
    /// A notifier of `publisher_id`, for example `compute:host1`. The transport is that of the options' URL, if they
    /// have one, which the caller sees to.
    pub fn new(transport: Arc<dyn Transport>, publisher_id: impl Into<String>, options: NotificationOptions) -> Self {
        Self { transport, publisher_id: publisher_id.into(), options: Arc::new(options) }
    }

    /// The same notifier for another publisher.
    #[must_use]
    pub fn prepare(&self, publisher_id: impl Into<String>) -> Self {
        Self { publisher_id: publisher_id.into(), ..self.clone() }
    }

    /// Whether a notification goes anywhere, so that a payload need not be made for nothing.
    pub fn is_enabled(&self) -> bool {
        self.options.drivers.iter().any(|driver| *driver != NotificationDriver::Noop)
    }

    /// Sends a notification by every driver, to every topic. Returns when the broker has it, or it was given up: without
    /// a broker, and without a limit of `retry`, that is never.
    pub async fn notify(&self, context: &Context, priority: Priority, event_type: &str, payload: &Value) {
        for (address, message) in self.messages(context, priority, event_type, payload) {
            if let Err(error) = self.send_patiently(&address, message).await {
                self.not_sent(event_type, &error);
            }
        }
    }

    /// The same for somebody else to send: a message for each topic and each driver that goes over the transport. What
    /// goes into the log is there when this returns.
    pub fn messages(
        &self,
        context: &Context,
        priority: Priority,
        event_type: &str,
        payload: &Value,
    ) -> Vec<(Address, Outgoing)> {
        let context = redacted(context);
        let notification = Notification {
            message_id: uuid::Uuid::new_v4().to_string(),
            publisher_id: &self.publisher_id,
            event_type,
            priority: priority.name(),
            payload,
            timestamp: chrono::Utc::now().format("%Y-%m-%d %H:%M:%S%.6f").to_string(),
        };
        let mut messages = Vec::new();
        for driver in &self.options.drivers {
            let written = match driver {
                NotificationDriver::Noop => Ok(()),
                NotificationDriver::Log => log(&notification, priority),
                NotificationDriver::Messaging => self.write(&context, &notification, priority, &mut messages, plain),
                NotificationDriver::MessagingV2 => {
                    self.write(&context, &notification, priority, &mut messages, |wire| envelope::seal(wire))
                }
            };
            if let Err(error) = written {
                self.not_sent(event_type, &error);
            }
        }
        messages
    }

    /// A message to every topic, as `encode` writes it.
    fn write(
        &self,
        context: &Context,
        notification: &Notification<'_>,
        priority: Priority,
        messages: &mut Vec<(Address, Outgoing)>,
        encode: fn(&Wire<'_>) -> Result<Bytes, MessagingError>,
    ) -> Result<(), MessagingError> {
        for topic in &self.options.topics {
            let unique_id = new_id();
            let body = encode(&Wire { notification, context, unique_id: &unique_id })?;
            let address = Address::Notification { exchange: None, topic: topic.clone(), priority: priority.suffix() };
            messages.push((address, Outgoing::new(body)));
        }
        Ok(())
    }

    /// Tries again what was not confirmed.
    async fn send_patiently(&self, address: &Address, message: Outgoing) -> Result<(), MessagingError> {
        let mut retries = 0;
        loop {
            match self.transport.send(address, message.clone()).await {
                Err(error @ MessagingError::NotConfirmed { .. })
                    if self.options.retry.is_none_or(|max| retries < max) =>
                {
                    retries += 1;
                    tracing::warn!(%error, retries, "a notification is tried again");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                sent => return sent,
            }
        }
    }

    fn not_sent(&self, event_type: &str, error: &MessagingError) {
        let error = error as &dyn std::error::Error;
        tracing::error!(error, event_type, publisher_id = self.publisher_id, "a notification was not sent");
    }
}

/// Without an envelope.
fn plain(wire: &Wire<'_>) -> Result<Bytes, MessagingError> {
    Ok(serde_json::to_vec(wire).map_err(MessagingError::Encode)?.into())
}

/// What a listener sees.
#[derive(Serialize)]
struct Notification<'a> {
    message_id: String,
    publisher_id: &'a str,
    event_type: &'a str,
    priority: &'static str,
    payload: &'a Value,
    timestamp: String,
}

/// A notification with its context and id, as it is sent.
struct Wire<'a> {
    notification: &'a Notification<'a>,
    context: &'a Context,
    unique_id: &'a str,
}

impl Serialize for Wire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Notification { message_id, publisher_id, event_type, priority, payload, timestamp } = self.notification;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("message_id", message_id)?;
        map.serialize_entry("publisher_id", publisher_id)?;
        map.serialize_entry("event_type", event_type)?;
        map.serialize_entry("priority", priority)?;
        map.serialize_entry("payload", payload)?;
        map.serialize_entry("timestamp", timestamp)?;
        map.serialize_entry("_unique_id", self.unique_id)?;
        ContextRef(self.context).serialize_entries(&mut map)?;
        map.end()
    }
}

/// Under the target that oslo.messaging's driver logs under.
fn log(notification: &Notification<'_>, priority: Priority) -> Result<(), MessagingError> {
    let text = serde_json::to_string(notification).map_err(MessagingError::Encode)?;
    match priority {
        Priority::Debug => tracing::debug!(target: "oslo.messaging.notification", "{text}"),
        Priority::Warn => tracing::warn!(target: "oslo.messaging.notification", "{text}"),
        Priority::Error | Priority::Critical => tracing::error!(target: "oslo.messaging.notification", "{text}"),
        _ => tracing::info!(target: "oslo.messaging.notification", "{text}"),
    }
    Ok(())
}

/// The context without what opens doors, or says more of the user than who it is: whoever reads notifications is not to
/// act for the user. The keys that readers expect stay, as in the redacted copy that oslo.context makes.
fn redacted(context: &Context) -> Context {
    let is_secret = |key: &str| ["token", "password", "secret", "credential"].iter().any(|part| key.contains(part));
    let kept = |(key, value): (&String, &Value)| match key.as_str() {
        "auth_token" | "remote_address" | "quota_class" => Some((key.clone(), Value::Null)),
        "service_catalog" => Some((key.clone(), json!([]))),
        name if is_secret(&name.to_ascii_lowercase()) => None,
        _ => Some((key.clone(), value.clone())),
    };
    context.iter().filter_map(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Consumer, MemoryTransport};

    fn context() -> Context {
        let context = json!({
            "request_id": "req-1", "project_id": "p", "auth_token": "gAAAA", "service_catalog": [{"type": "compute"}],
            "auth_token_info": {"token": "x"}, "user_password": "y", "remote_address": "192.0.2.1", "quota_class": null,
        });
        context.as_object().unwrap().clone()
    }

    fn notifier(transport: &Arc<MemoryTransport>, drivers: &[&str]) -> Notifier {
        let mut options = NotificationOptions::default();
        options.set("topics", "versioned_notifications, extra").unwrap();
        drivers.iter().for_each(|driver| options.set("driver", driver).unwrap());
        Notifier::new(Arc::clone(transport) as Arc<dyn Transport>, "nova-compute:h1", options)
    }

    async fn listener(transport: &Arc<MemoryTransport>, topic: &str) -> Box<dyn Consumer> {
        let (topic, priority) = (topic.to_owned(), "info".to_owned());
        transport.subscribe(&[Address::Notification { exchange: None, topic, priority }]).await.unwrap()
    }

    async fn received(consumer: &mut dyn Consumer) -> Value {
        let delivery = consumer.receive().await.unwrap();
        consumer.ack(delivery.tag).await.unwrap();
        serde_json::from_slice(&delivery.body).unwrap()
    }

    fn check(mut notification: Value) {
        let object = notification.as_object_mut().unwrap();
        let id = object.remove("message_id").unwrap();
        assert!(uuid::Uuid::parse_str(id.as_str().unwrap()).is_ok());
        assert_eq!(object.remove("_unique_id").unwrap().as_str().unwrap().len(), 32);
        let timestamp = object.remove("timestamp").unwrap();
        let format = "%Y-%m-%d %H:%M:%S%.6f";
        assert!(chrono::NaiveDateTime::parse_from_str(timestamp.as_str().unwrap(), format).is_ok(), "{timestamp}");
        let expected = json!({
            "publisher_id": "nova-compute:h1", "event_type": "instance.create.end", "priority": "INFO",
            "payload": {"a": 1},
            "_context_request_id": "req-1", "_context_project_id": "p", "_context_auth_token": null,
            "_context_service_catalog": [], "_context_remote_address": null, "_context_quota_class": null,
        });
        assert_eq!(notification, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_notification_waits_in_every_topic_with_or_without_envelope() {
        let transport = MemoryTransport::new();
        let notifier = notifier(&transport, &["messagingv2", "messaging", "log", "noop"]);
        notifier.notify(&context(), Priority::Info, "instance.create.end", &json!({"a": 1})).await;
        for topic in ["versioned_notifications", "extra"] {
            let mut listener = listener(&transport, topic).await;
            let envelope = received(&mut *listener).await;
            assert_eq!(envelope["oslo.version"], "2.0");
            check(serde_json::from_str(envelope["oslo.message"].as_str().unwrap()).unwrap());
            check(received(&mut *listener).await);
        }
    }

    #[test]
    fn only_a_driver_that_does_something_makes_a_notifier_enabled() {
        let transport = MemoryTransport::new();
        for (drivers, enabled) in [(&[][..], false), (&["noop"], false), (&["noop", "log"], true)] {
            assert_eq!(notifier(&transport, drivers).is_enabled(), enabled, "{drivers:?}");
        }
        assert_eq!("kafka".parse::<NotificationDriver>(), Err(UnknownDriver { name: "kafka".to_owned() }));
    }

    #[test]
    fn options_are_set_by_name_and_text() {
        let mut options = NotificationOptions::default();
        assert_eq!(options.topics, ["notifications"]);
        let texts = [
            ("driver", "messagingv2"),
            ("driver", "log"),
            ("topics", "a,b , "),
            ("transport_url", "rabbit://h2"),
            ("retry", "3"),
        ];
        texts.into_iter().for_each(|(name, value)| options.set(name, value).unwrap());
        let expected = NotificationOptions {
            drivers: vec![NotificationDriver::MessagingV2, NotificationDriver::Log],
            topics: vec!["a".to_owned(), "b".to_owned()],
            transport_url: Some("rabbit://h2".to_owned()),
            retry: Some(3),
        };
        assert_eq!(options, expected);
        options.set("retry", "-1").unwrap();
        assert_eq!(options.retry, None);
        for (name, value) in [("driver", "kafka"), ("retry", "often"), ("colour", "red")] {
            assert!(options.set(name, value).unwrap_err().to_string().contains(name));
        }
    }

    /// A transport without a broker.
    #[derive(Default)]
    struct Unconfirmed {
        replies: crate::Replies,
        attempts: std::sync::atomic::AtomicU32,
    }

    #[async_trait::async_trait]
    impl Transport for Unconfirmed {
        async fn send(&self, address: &Address, _: Outgoing) -> Result<(), MessagingError> {
            self.attempts.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Err(MessagingError::NotConfirmed { address: address.to_string(), timeout: Duration::from_secs(60) })
        }

        async fn subscribe(&self, _: &[Address]) -> Result<Box<dyn Consumer>, MessagingError> {
            Err(MessagingError::Closed)
        }

        fn replies(&self) -> &crate::Replies {
            &self.replies
        }

        async fn close(&self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_notification_is_tried_as_often_as_the_options_say() {
        for (retry, attempts) in [("0", 1), ("2", 3)] {
            let transport = Arc::new(Unconfirmed::default());
            let mut options = NotificationOptions::default();
            options.set("driver", "messagingv2").unwrap();
            options.set("retry", retry).unwrap();
            let notifier = Notifier::new(transport.clone(), "p", options);
            notifier.notify(&context(), Priority::Info, "e", &Value::Null).await;
            assert_eq!(transport.attempts.load(std::sync::atomic::Ordering::SeqCst), attempts);
        }
        let transport = Arc::new(Unconfirmed::default());
        let options = NotificationOptions { drivers: vec![NotificationDriver::Messaging], ..Default::default() };
        let notifier = Notifier::new(transport.clone(), "p", options);
        let context = context();
        let notifying = notifier.notify(&context, Priority::Info, "e", &Value::Null);
        assert!(tokio::time::timeout(Duration::from_secs(100), notifying).await.is_err(), "it gave up");
        assert!(transport.attempts.load(std::sync::atomic::Ordering::SeqCst) > 90);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_transport_fails_nobody() {
        let transport = MemoryTransport::new();
        transport.close().await;
        notifier(&transport, &["messagingv2"]).notify(&context(), Priority::Error, "e", &Value::Null).await;
    }
}
