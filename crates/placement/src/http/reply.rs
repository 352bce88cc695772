//! Answers that carry when their subject was last changed.

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::Caller;

/// `body`, from 1.15 with the instant of the last change (now, where there is none).
pub(super) fn json(caller: &Caller, body: Value, changed_at: Option<DateTime<Utc>>) -> Response {
    match changed_at.filter(|_| caller.since(15)) {
        None => Json(body).into_response(),
        Some(at) => {
            let at = at.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
            ([(header::LAST_MODIFIED, at)], Json(body)).into_response()
        }
    }
}
