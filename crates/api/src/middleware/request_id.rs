//! Request ids: our own for every request, and the global one that the caller may have brought.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use kilonova_core::context::new_request_id;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");
/// Nova's older name of the same.
const COMPUTE_REQUEST_ID: HeaderName = HeaderName::from_static("x-compute-request-id");

/// The ids of one request.
#[derive(Clone, Debug)]
pub(crate) struct RequestIds {
    /// `req-<uuid>`, made here.
    pub own: String,
    /// The one that the caller sent, if it is of the same form.
    pub global: Option<String>,
}

impl RequestIds {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let inbound = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
        Self { own: new_request_id(), global: inbound.filter(|id| is_request_id(id)).map(str::to_owned) }
    }

    /// Puts our own id on the answer, under both names.
    pub(crate) fn mark(&self, response: &mut Response) {
        if let Ok(value) = HeaderValue::try_from(&self.own) {
            response.headers_mut().insert(COMPUTE_REQUEST_ID, value.clone());
            response.headers_mut().insert(REQUEST_ID, value);
        }
    }
}

fn is_request_id(text: &str) -> bool {
    text.strip_prefix("req-").is_some_and(|uuid| uuid.len() == 36 && uuid.parse::<uuid::Uuid>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_global_id_is_kept_only_in_its_own_form() {
        let ids = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_static(text));
            RequestIds::of(&headers)
        };
        let good = "req-5f1b6dd9-7a2f-4d55-9f0a-f8a0bf4ae0b2";
        assert_eq!(ids(good).global.as_deref(), Some(good));
        assert_ne!(ids(good).own, good);
        assert_eq!(ids("req-1; drop table").global, None);
    }
}
