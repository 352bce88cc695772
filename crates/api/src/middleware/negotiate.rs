//! Which microversion: `OpenStack-API-Version: compute 2.37`, or the older `X-OpenStack-Nova-API-Version: 2.37`.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use kilonova_core::Microversion;

use crate::error::ApiError;
use crate::versions::{MAX_VERSION, MIN_VERSION};

const API_VERSION: HeaderName = HeaderName::from_static("openstack-api-version");
const LEGACY_API_VERSION: HeaderName = HeaderName::from_static("x-openstack-nova-api-version");

/// The microversion of a request, and the error if it cannot be served in it.
pub(crate) struct Negotiated {
    /// What the answer says it is in; `None` when what was asked for is no microversion at all.
    pub version: Option<Microversion>,
    pub refusal: Option<ApiError>,
}

/// Reads the headers: the newer one wins, and of several values the last.
pub(crate) fn negotiate(headers: &HeaderMap) -> Negotiated {
    let accepted = |version| Negotiated { version: Some(version), refusal: None };
    let Some(asked) = standard(headers).or_else(|| legacy(headers)) else {
        return accepted(MIN_VERSION);
    };
    if asked == "latest" {
        return accepted(MAX_VERSION);
    }
    match asked.parse::<Microversion>() {
        Ok(version) if (MIN_VERSION..=MAX_VERSION).contains(&version) => accepted(version),
        Ok(version) => Negotiated {
            version: Some(version),
            refusal: Some(ApiError::NotAcceptable(format!(
                "Version {version} is not supported by the API. Minimum is {MIN_VERSION} and maximum is {MAX_VERSION}."
            ))),
        },
        Err(_) => Negotiated {
            version: None,
            refusal: Some(ApiError::BadRequest(format!(
                "API Version String {asked} is of invalid format. Must be of format MajorNum.MinorNum."
            ))),
        },
    }
}

/// Says in the answer which microversion it is in.
pub(crate) fn mark(response: &mut Response, version: Microversion) {
    let headers = response.headers_mut();
    for (name, text) in [(API_VERSION, format!("compute {version}")), (LEGACY_API_VERSION, version.to_string())] {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
    headers.append(header::VARY, HeaderValue::from_static("OpenStack-API-Version"));
    headers.append(header::VARY, HeaderValue::from_static("X-OpenStack-Nova-API-Version"));
}

fn standard(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(API_VERSION);
    let items = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut ours = items.filter_map(|item| {
        let (service, version) = item.trim().split_once(char::is_whitespace)?;
        service.eq_ignore_ascii_case("compute").then(|| version.trim().to_owned())
    });
    ours.next_back()
}

fn legacy(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(LEGACY_API_VERSION);
    let last = values.iter().filter_map(|value| value.to_str().ok()).next_back()?;
    last.rsplit(',').next().map(|version| version.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(HeaderName, &'static str)]) -> Negotiated {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        negotiate(&headers)
    }

    #[test]
    fn the_newer_header_wins_and_other_services_do_not_count() {
        assert_eq!(of(&[]).version, Some(MIN_VERSION));
        assert_eq!(of(&[(LEGACY_API_VERSION, "2.9")]).version, Some(Microversion::new(2, 9)));
        let both = of(&[(LEGACY_API_VERSION, "2.9"), (API_VERSION, "identity 3.1, compute 2.37")]);
        assert_eq!(both.version, Some(Microversion::new(2, 37)));
        assert_eq!(of(&[(API_VERSION, "volume 3.1")]).version, Some(MIN_VERSION));
        assert_eq!(of(&[(API_VERSION, "compute latest")]).version, Some(MAX_VERSION));
    }

    #[test]
    fn what_is_out_of_range_is_406_and_what_is_no_version_is_400() {
        let out = of(&[(API_VERSION, "compute 2.999")]);
        assert!(matches!(out.refusal, Some(ApiError::NotAcceptable(_))));
        assert_eq!(out.version, Some(Microversion::new(2, 999)));
        assert!(matches!(of(&[(API_VERSION, "compute 2.0")]).refusal, Some(ApiError::NotAcceptable(_))));
        let nonsense = of(&[(API_VERSION, "compute two")]);
        assert!(matches!(nonsense.refusal, Some(ApiError::BadRequest(_))));
        assert_eq!(nonsense.version, None);
    }
}
