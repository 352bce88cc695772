//! What goes wrong in identity, and how a client of Keystone is told.

use std::path::PathBuf;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kilonova_db::{DbError, Failure};
use serde_json::json;

/// An answer that is no success. `Display` is what the client may read, except for the ones that are the operator's.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// 400, in Keystone's words.
    #[error("{0}")]
    Invalid(String),
    /// 401, deliberately without a reason.
    #[error("The request you have made requires authentication.")]
    Unauthorized,
    /// 401 for an authentication method that this service does not have.
    #[error("Attempted to authenticate with an unsupported method.")]
    UnsupportedMethod,
    /// 403 by policy; holds the rule, `identity:create_user`.
    #[error("You are not authorized to perform the requested action: {0}.")]
    NotAuthorized(String),
    /// 403 for another reason than policy.
    #[error("{0}")]
    Forbidden(String),
    /// 404 of a resource.
    #[error("Could not find {resource}: {id}.")]
    NotFound {
        /// `user`, `project`, …
        resource: &'static str,
        /// Its id or name.
        id: String,
    },
    /// 404 in other words.
    #[error("{0}")]
    Missing(String),
    /// 404 of a path.
    #[error(
        "The requested URL was not found on the server. If you entered the URL manually please check your spelling and \
         try again."
    )]
    UrlNotFound,
    /// 405.
    #[error("The method is not allowed for the requested URL.")]
    MethodNotAllowed,
    /// 409: a name is taken.
    #[error("Conflict occurred attempting to store {resource} - {details}.")]
    Conflict {
        /// `user`, `project`, …
        resource: &'static str,
        /// Which name, where.
        details: String,
    },
    /// 413.
    #[error("The request body is larger than {limit} bytes.")]
    TooLarge {
        /// The most that is read, in bytes.
        limit: usize,
    },
    /// 501: Keystone has it, this service does not.
    #[error("The action you have requested has not been implemented.")]
    NotImplemented,
    /// 503: too many logins wait for their turn.
    #[error("The service is busy, try again later.")]
    Busy,
    /// A file of the key repository cannot be used.
    #[error("the Fernet key {path} cannot be used: {source}")]
    Key {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The password hash failed.
    #[error("a password cannot be hashed: {0}")]
    Hash(String),
    /// An id that cannot be in a token.
    #[error("no token can be made for {0:?}")]
    Token(String),
    /// A request's task ended by panic.
    #[error("a request failed: {0}")]
    Panicked(String),
    /// The database failed.
    #[error("the identity database failed")]
    Database(#[source] DbError),
}

impl From<DbError> for IdentityError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::NotFound { resource, id } => Self::NotFound { resource, id },
            error => Self::Database(error),
        }
    }
}

impl Failure for IdentityError {
    fn database(&self) -> Option<&DbError> {
        match self {
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}

impl IdentityError {
    /// 400: a required attribute is missing, in Keystone's words.
    pub(crate) fn expecting(attribute: &str, target: &str) -> Self {
        Self::Invalid(format!(
            "Expecting to find {attribute} in {target}. The server could not comply with the request since it is \
             either malformed or otherwise incorrect. The client is assumed to be in error."
        ))
    }

    /// Turns a lost race or a second attempt for the same name into 409.
    pub(crate) fn or_conflict(error: DbError, resource: &'static str, details: impl FnOnce() -> String) -> Self {
        match error {
            DbError::Exists { .. } => Self::Conflict { resource, details: details() },
            error => error.into(),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized | Self::UnsupportedMethod => StatusCode::UNAUTHORIZED,
            Self::NotAuthorized(_) | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound { .. } | Self::Missing(_) | Self::UrlNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict { .. } => StatusCode::CONFLICT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Key { .. } | Self::Hash(_) | Self::Token(_) | Self::Panicked(_) | Self::Database(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }
}

impl IntoResponse for IdentityError {
    fn into_response(self) -> Response {
        let status = self.status();
        let message = if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = &self as &dyn std::error::Error, "a request failed");
            "An unexpected error prevented the server from fulfilling your request.".to_owned()
        } else {
            self.to_string()
        };
        let title = status.canonical_reason().unwrap_or_default();
        let body = json!({"error": {"code": status.as_u16(), "title": title, "message": message}});
        (status, axum::Json(body)).into_response()
    }
}
