//! Answers that carry when their subject was last changed.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Caller, version};

/// `body`, from 1.15 with the instant of the last change (now, where there is none).
pub(super) fn json(caller: &Caller, body: Value, changed_at: Option<DateTime<Utc>>) -> Response {
    dated(caller, Json(body).into_response(), changed_at)
}

/// A status without a body, from 1.15 with an instant.
pub(super) fn status(caller: &Caller, status: StatusCode) -> Response {
    dated(caller, status.into_response(), None)
}

fn dated(caller: &Caller, mut response: Response, changed_at: Option<DateTime<Utc>>) -> Response {
    if caller.since(15) {
        version::not_to_be_kept(response.headers_mut(), changed_at);
    }
    response
}
