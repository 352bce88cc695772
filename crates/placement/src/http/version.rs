//! Microversions: the version document, what a request asks for, and what an answer says.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, header};
use chrono::{DateTime, Utc};
use kilonova_core::Microversion;
use serde_json::{Value, json};

use super::error::ApiError;

/// What is spoken where nothing is asked for.
pub(super) const MIN: Microversion = Microversion::new(1, 0);
/// The newest.
pub(super) const MAX: Microversion = Microversion::new(1, 39);

const HEADER: &str = "openstack-api-version";
const SERVICE_TYPE: &str = "placement";

/// `GET /`
pub(super) async fn document() -> Json<Value> {
    Json(json!({"versions": [{
        "id": "v1.0",
        "min_version": MIN.to_string(),
        "max_version": MAX.to_string(),
        "status": "CURRENT",
        "links": [{"rel": "self", "href": ""}],
    }]}))
}

/// The version that the request asks for; entries for other services are passed over.
pub(super) fn negotiate(headers: &HeaderMap) -> Result<Microversion, ApiError> {
    let mut asked = None;
    for value in headers.get_all(HEADER) {
        let text = value.to_str().map_err(|_| invalid("(not text)"))?;
        for entry in text.split(',') {
            let mut words = entry.split_whitespace();
            if words.next().is_some_and(|service| service.eq_ignore_ascii_case(SERVICE_TYPE)) {
                asked = Some(words.next().unwrap_or_default().to_owned());
            }
        }
    }
    match asked.as_deref() {
        None => Ok(MIN),
        Some("latest") => Ok(MAX),
        Some(text) => {
            let version: Microversion = text.parse().map_err(|_| invalid(text))?;
            if (MIN..=MAX).contains(&version) {
                return Ok(version);
            }
            Err(ApiError::not_acceptable(format!("Unacceptable version header: {text}")))
        }
    }
}

fn invalid(text: &str) -> ApiError {
    ApiError::bad_request(format!("invalid version string: {text}"))
}

/// Says which version was spoken and, of what was read from 1.15 on, that it is not to be kept.
pub(super) fn stamp(headers: &mut HeaderMap, version: Microversion, was_read: bool) {
    if let Ok(value) = HeaderValue::from_str(&format!("{SERVICE_TYPE} {version}")) {
        headers.insert(HEADER, value);
    }
    headers.append(header::VARY, HeaderValue::from_static(HEADER));
    if was_read && version.minor >= 15 {
        not_to_be_kept(headers, None);
    }
}

/// When the subject was last changed (now, where that is not known), and that it may have changed since.
pub(super) fn not_to_be_kept(headers: &mut HeaderMap, changed_at: Option<DateTime<Utc>>) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if changed_at.is_some() || !headers.contains_key(header::LAST_MODIFIED) {
        let at = changed_at.unwrap_or_else(Utc::now).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        if let Ok(value) = HeaderValue::from_str(&at) {
            headers.insert(header::LAST_MODIFIED, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &'static str) -> Result<Microversion, ApiError> {
        negotiate(&HeaderMap::from_iter([(header::HeaderName::from_static(HEADER), HeaderValue::from_static(value))]))
    }

    #[test]
    fn no_header_and_headers_of_others_mean_the_oldest() {
        assert_eq!(negotiate(&HeaderMap::new()), Ok(MIN));
        assert_eq!(asked("compute 2.90"), Ok(MIN));
    }

    #[test]
    fn the_entry_for_placement_is_found_among_others() {
        assert_eq!(asked("compute 2.90, placement 1.30"), Ok(Microversion::new(1, 30)));
        assert_eq!(asked("placement latest"), Ok(MAX));
    }

    #[test]
    fn a_version_that_is_none_and_one_that_is_too_new_are_refused() {
        assert_eq!(asked("placement pony"), Err(invalid("pony")));
        assert_eq!(asked("placement"), Err(invalid("")));
        for text in ["placement 1.40", "placement 2.0", "placement 0.9"] {
            assert!(asked(text).is_err(), "{text}");
        }
    }
}
