//! What a caller of another service gets instead of a reply.

use kilonova_messaging::{MessagingError, RemoteException};
use kilonova_objects::WireError;

/// An RPC without a usable reply.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The peer raised one of Nova's exceptions.
    #[error("{}", .0.message)]
    Remote(RemoteException),
    /// The message or the reply was lost.
    #[error(transparent)]
    Messaging(MessagingError),
    /// The reply is not what the method answers.
    #[error("{method} answered something else than it should")]
    Reply {
        /// The method.
        method: &'static str,
        /// What is wrong with it.
        #[source]
        source: WireError,
    },
}

impl RpcError {
    /// Whether the peer raised Nova's exception `class`.
    pub fn is(&self, class: &str) -> bool {
        matches!(self, Self::Remote(exception) if exception.class == class)
    }

    /// Whether no reply came in time.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Messaging(MessagingError::Timeout { .. }))
    }
}

impl From<MessagingError> for RpcError {
    fn from(error: MessagingError) -> Self {
        match error {
            MessagingError::Remote(exception) => Self::Remote(exception),
            other => Self::Messaging(other),
        }
    }
}
