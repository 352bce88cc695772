//! What can go wrong between the two ends of a message.

use std::time::Duration;

use crate::{RemoteException, Version};

/// Errors of clients, servers and transports.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessagingError {
    /// No reply in time: oslo.messaging's `MessagingTimeout`. The method may have run, may run still, or never.
    #[error("Timed out waiting for a reply to message ID {msg_id}: {method} took over {timeout:?}")]
    Timeout {
        /// The method called.
        method: String,
        /// The `_msg_id` of the call.
        msg_id: String,
        /// Which limit it was: the total one, or the call monitor's.
        timeout: Duration,
    },
    /// No queue takes a mandatory message: oslo.messaging's `MessageUndeliverable`.
    #[error("no queue for a message to {address}")]
    Undeliverable {
        /// Where it should have gone.
        address: String,
    },
    /// The message is newer than the peers are known to be: oslo.messaging's `RPCVersionCapError`. Nothing was sent.
    #[error("{method} needs a version that the cap {cap} does not allow")]
    VersionCap {
        /// The method asked for.
        method: String,
        /// The version asked for.
        version: Option<Version>,
        /// The highest version allowed.
        cap: Version,
    },
    /// The target cannot be used for this: oslo.messaging's `InvalidTarget`.
    #[error("invalid target: {reason}")]
    InvalidTarget {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The method ran at the server, or was refused there, and raised.
    #[error(transparent)]
    Remote(#[from] RemoteException),
    /// What arrived is not the JSON that it should be.
    #[error("cannot decode {what}")]
    Decode {
        /// The part that could not be read.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The envelope is of a version that this crate does not speak.
    #[error("envelope version {version:?} is not supported")]
    EnvelopeVersion {
        /// The version found.
        version: String,
    },
    /// The message cannot be written as JSON.
    #[error("cannot encode a message")]
    Encode(#[source] serde_json::Error),
    /// The queue holds as much as it may; the message was not taken.
    #[error("the queue {queue} is full")]
    QueueFull {
        /// The queue.
        queue: String,
    },
    /// The broker did not confirm a message in time. It may have it, or may get it yet.
    #[error("no broker confirmed a message to {address} in {timeout:?}")]
    NotConfirmed {
        /// Where it should have gone.
        address: String,
        /// How long it was tried.
        timeout: Duration,
    },
    /// A delivery was taken back before it was acknowledged, because its connection was lost: it will be made again.
    #[error("the delivery was lost before it was acknowledged")]
    DeliveryLost,
    /// The transport was closed.
    #[error("the transport is closed")]
    Closed,
    /// The connection below failed, and the transport could not mend it.
    #[error("transport failure")]
    Transport(#[source] Box<dyn std::error::Error + Send + Sync>),
}
