//! Errors of the AMQP side, below `MessagingError`.

use std::sync::Arc;

use super::amqp::EndReason;

/// A name may have this many bytes in AMQP.
pub(super) const NAME_MAX: usize = 255;

/// The broker's code for something that is not there.
const NOT_FOUND: u16 = 404;
/// The broker's code for something that is there with other properties.
const PRECONDITION_FAILED: u16 = 406;

/// What went wrong with the broker or on the way to it.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum AmqpError {
    /// The broker refused an operation, and closed the channel over it.
    #[error("the broker refused: {code} {text}")]
    Refused {
        code: u16,
        text: String,
        /// Messages on the channel that the broker had not decided on. One of them is the reason, if there are any.
        undecided: usize,
    },
    /// The broker could not take responsibility for a message.
    #[error("the broker did not take the message")]
    NotTaken,
    /// The connection or the channel is gone.
    #[error("the connection to the broker was lost")]
    Lost(#[source] EndReason),
    /// The channel was closed here.
    #[error("the channel is closed")]
    ChannelClosed,
    /// All channels that the broker allows are in use.
    #[error("the connection has {max} channels, and the broker allows no more: see channel_max in rabbitmq.conf")]
    NoChannel { max: u16 },
    /// The broker did not answer in time.
    #[error("the broker did not answer")]
    Silent,
    /// AMQP has no room for the name.
    #[error("a name of {length} bytes is too long: {name:.60}…")]
    NameTooLong { name: String, length: usize },
    /// The name of a queue could not be made.
    #[error("cannot name a queue")]
    Name(#[source] Arc<std::io::Error>),
    /// A broker could not be connected to.
    #[error("cannot connect to {host}")]
    Connect { host: String, source: Arc<dyn std::error::Error + Send + Sync> },
}

impl AmqpError {
    /// Whether a thing exists with other properties than those declared.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: PRECONDITION_FAILED, .. })
    }

    /// Whether it is the durability in which they differ, which is what oslo.messaging falls back for.
    pub(super) fn is_durability_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: PRECONDITION_FAILED, text, .. } if text.contains("inequivalent arg 'durable'"))
    }

    /// Whether something is not there.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: NOT_FOUND, .. })
    }

    /// Whether the broker does not want a message, and it is known which.
    pub(super) fn accuses_one(&self) -> bool {
        matches!(self, Self::Refused { undecided: 1, .. }) && !self.is_not_found()
    }

    /// Whether another attempt, later, can have another result.
    pub(super) fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Lost(_)
                | Self::ChannelClosed
                | Self::NoChannel { .. }
                | Self::Silent
                | Self::NotTaken
                | Self::Connect { .. }
        )
    }
}
