//! What the REST APIs of the image and network services have in common: request ids, JSON bodies, links, roles.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::{FromRequestParts, NestedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use kilonova_core::RequestContext;
use kilonova_core::context::new_request_id;
use serde_json::Value;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");

/// Names the request in the answer: by the caller's context if there is one already, else by an id of its own.
///
/// Used twice: inside of `authenticate`, where the context is, and outside, for what never gets that far.
pub(crate) async fn stamp_request_id(request: Request, next: Next) -> Response {
    let known = request.extensions().get::<RequestContext>().and_then(|context| context.request_id.clone());
    let mut response = next.run(request).await;
    if !response.headers().contains_key(REQUEST_ID) {
        let request_id = known.unwrap_or_else(new_request_id);
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
    }
    response
}

/// Why a body is not JSON.
pub(crate) enum BodyError {
    /// Longer than the limit, in bytes.
    TooLarge(usize),
    /// It ended early.
    Broken,
    /// What the parser says.
    Malformed(String),
}

/// Reads a JSON body of at most `limit` bytes.
pub(crate) async fn read_json(body: Body, limit: usize) -> Result<Value, BodyError> {
    let bytes = axum::body::to_bytes(body, limit).await.map_err(|error| {
        let is_too_long = std::error::Error::source(&error).is_some_and(|source| source.to_string().contains("limit"));
        if is_too_long { BodyError::TooLarge(limit) } else { BodyError::Broken }
    })?;
    serde_json::from_slice(&bytes).map_err(|error| BodyError::Malformed(error.to_string()))
}

/// Where this service is, as the caller reached it: `http://host:8774/image`, without a slash at the end.
pub(crate) struct BaseUrl(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for BaseUrl {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let text = |name: HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let scheme = text(HeaderName::from_static("x-forwarded-proto")).unwrap_or("http");
        let host = text(header::HOST).unwrap_or("localhost");
        let prefix = parts.extensions.get::<NestedPath>().map(NestedPath::as_str).unwrap_or_default();
        Ok(Self(format!("{scheme}://{host}{}", prefix.trim_end_matches('/'))))
    }
}

/// Whether the caller may change things of its own project.
pub(crate) fn can_write(context: &RequestContext) -> bool {
    context.is_admin || context.roles.iter().any(|role| matches!(role.as_str(), "member" | "Member" | "admin"))
}

/// `True`, `1`, … as OpenStack's services read booleans in a query.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "t" | "yes" | "y" | "on" => Some(true),
        "false" | "0" | "f" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

/// A query string from its pairs.
pub(crate) fn encode_query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let encoded: Vec<String> =
        pairs.into_iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    encoded.join("&")
}

fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b':') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_escaped() {
        assert_eq!(encode_query([("name", "a b&c"), ("k", "ü")]), "name=a%20b%26c&k=%C3%BC");
    }

    #[tokio::test]
    async fn a_long_body_is_told_from_a_malformed_one() {
        assert!(matches!(read_json(Body::from("[1, 2]"), 6).await, Ok(Value::Array(_))));
        assert!(matches!(read_json(Body::from("[1, 2 ]"), 6).await, Err(BodyError::TooLarge(6))));
        assert!(matches!(read_json(Body::from("[1, 2"), 6).await, Err(BodyError::Malformed(_))));
    }
}
