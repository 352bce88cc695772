//! What another service can answer but success.

/// An answer that is no success, by what a caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// 401: the token is not, or no longer, valid.
    #[error("the token is not valid")]
    Unauthorized,
    /// 403: the caller may not do that.
    #[error("{0}")]
    Forbidden(String),
    /// 404: the `resource` with that `id` is not there, or not for this caller.
    #[error("{resource} {id} could not be found")]
    NotFound {
        /// `image`, `network`, `port`, `resource provider`, …
        resource: &'static str,
        /// Its id or name.
        id: String,
    },
    /// 409: somebody else was faster, or it is in use.
    #[error("{0}")]
    Conflict(String),
    /// 409 of Placement: the provider or the consumer changed; look again and retry.
    #[error("{0}")]
    ConcurrentUpdate(String),
    /// 400: the request makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// 413, 409: a quota of that service.
    #[error("{0}")]
    OverQuota(String),
    /// The service does not answer, or not in its language.
    #[error("{service} failed: {reason}")]
    Unavailable {
        /// `identity`, `image`, `network`, `placement`.
        service: &'static str,
        /// Why.
        reason: String,
    },
}

impl ClientError {
    /// Shorthand for [`ClientError::NotFound`].
    pub fn not_found(resource: &'static str, id: impl ToString) -> Self {
        Self::NotFound { resource, id: id.to_string() }
    }

    /// Shorthand for [`ClientError::Unavailable`].
    pub fn unavailable(service: &'static str, reason: impl ToString) -> Self {
        Self::Unavailable { service, reason: reason.to_string() }
    }
}
