//! oslo.messaging in Rust: calls and casts between services, in the wire form that Python services speak.
//!
//! This crate owns targets, the RPC client and server, the dispatcher, the message format, and the transports.
//! It knows no Nova: which methods exist, and what their arguments mean, is `kilonova-rpcapi`'s.
//!
//! ```text
//!   RpcClient ── prepare() ── CallContext ── cast / call
//!                                 │ request, in the oslo 2.0 envelope
//!                             Transport  ──>  topic | topic.server | fanout queue
//!                                                 │
//!                             RpcServer: ack, duplicate filter, one task per message ── Dispatcher ── Endpoint
//!                                                 │ reply, heartbeats
//!   Replies (by _msg_id)  <──  reply queue  <── Transport
//! ```
//!
//! Delivery is at most once: a server acknowledges a message before it runs it. What must not get lost needs somebody
//! who looks again.

#![allow(
    clippy::result_large_err,
    reason = "a remote exception carries all that a Python peer needs to rebuild it, and is off the hot path"
)]

mod client;
mod dispatcher;
pub mod envelope;
mod error;
mod exception;
pub mod message;
pub mod notify;
mod server;
mod target;
pub mod transport;
mod version;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use client::{CallContext, ClientOptions, Replies, RpcClient};
pub use dispatcher::{Dispatcher, Endpoint};
pub use error::MessagingError;
pub use exception::RemoteException;
pub use notify::{NotificationDriver, NotificationOptions, Notifier, Outbox, Priority};
pub use server::{RpcServer, ServerOptions};
pub use target::Target;
pub use transport::memory::{Faults, MemoryLimits, MemoryTransport};
pub use transport::rabbit::{Metrics, OptionError, RabbitError, RabbitOptions, RabbitTransport, TransportUrl};
pub use transport::{Address, Consumer, Delivery, Outgoing, Transport};
pub use version::{ParseVersionError, Version};

/// A request's context: the keys of oslo.context, without the `_context_` that they carry on the wire.
pub type Context = serde_json::Map<String, serde_json::Value>;

/// The arguments of an RPC method, by name.
pub type Args = serde_json::Map<String, serde_json::Value>;

/// A fresh id as oslo.messaging writes them: a version 4 UUID in 32 hex digits.
fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Locks even after a panic elsewhere: every critical section here leaves its data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
