//! What a request may not exceed: the size of its body, and the kinds of body.

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, header};

use crate::error::ApiError;

/// `[oslo_middleware] max_request_body_size`, bytes.
const MAX_REQUEST_BODY_SIZE: usize = 114_688;

/// Refuses a body that says beforehand that it is too large.
pub(crate) fn check_length(headers: &HeaderMap) -> Result<(), ApiError> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > MAX_REQUEST_BODY_SIZE as u64) {
        return Err(ApiError::TooLarge);
    }
    Ok(())
}

/// Refuses what is not JSON. No type, or `text/plain` (what some clients send for none), is taken for JSON.
pub(crate) fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let kind = value.to_str().unwrap_or("?").split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "" | "text/plain" | "application/json" | "application/vnd.openstack.compute+json" => Ok(()),
        _ => Err(ApiError::UnsupportedMediaType),
    }
}

/// Reads the body, but never more of it than is allowed.
pub(crate) async fn read(body: Body) -> Result<Bytes, ApiError> {
    to_bytes(body, MAX_REQUEST_BODY_SIZE).await.map_err(|error| {
        let source = std::error::Error::source(&error);
        let too_large = source.is_some_and(|source| source.to_string().contains("length limit"));
        // Anything else is a client that went away while it was sending.
        if too_large { ApiError::TooLarge } else { malformed() }
    })
}

/// 400 for a body that is not JSON.
pub(crate) fn malformed() -> ApiError {
    ApiError::BadRequest("Malformed request body".to_owned())
}
