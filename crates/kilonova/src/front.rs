//! One port for all services, with DevStack's paths: `/identity`, `/image`, `/network`, `/placement`, `/compute`.

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::routing::get;
use serde_json::json;
use tower::ServiceExt as _;
use tower::util::MapRequest;

/// Hands each request to the service whose name its path begins with; that service sees the rest of the path.
pub(crate) type Front = MapRequest<Router, fn(Request) -> Request>;

/// The services by their names.
pub(crate) fn front(services: Vec<(&'static str, Router)>) -> Front {
    let names: Vec<_> = services.iter().map(|(name, _)| json!({"name": name, "path": format!("/{name}")})).collect();
    let index = json!({"services": names});
    let index = get(move || std::future::ready(axum::Json(index)));
    let router = services
        .into_iter()
        .fold(Router::new().route("/", index), |router, (name, service)| router.nest(&format!("/{name}"), service));
    router.map_request(without_slash_behind_name)
}

/// One service, by its name and at the root.
pub(crate) fn alone(name: &'static str, service: Router) -> Front {
    let router = Router::new().nest(&format!("/{name}"), service.clone()).fallback_service(service);
    router.map_request(without_slash_behind_name)
}

/// `/compute/` is `/compute`: clients ask for both, and a nested router knows only the second.
fn without_slash_behind_name(mut request: Request) -> Request {
    let path = request.uri().path();
    let is_name_with_slash = path.len() > 1 && path.ends_with('/') && path.matches('/').count() == 2;
    if is_name_with_slash && let Some(uri) = with_path(request.uri(), path.trim_end_matches('/')) {
        *request.uri_mut() = uri;
    }
    request
}

fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path_and_query).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::OriginalUri;
    use axum::http::StatusCode;

    use super::*;

    async fn ask(path: &str) -> (StatusCode, String) {
        let seen = |uri: Uri, OriginalUri(original): OriginalUri| async move { format!("{uri} of {original}") };
        let service = Router::new().route("/", get(seen)).route("/v2.1/servers", get(seen));
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = front(vec![("compute", service)]).oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_service_sees_the_path_below_its_name() {
        assert_eq!(
            ask("/compute/v2.1/servers?limit=1").await.1,
            "/v2.1/servers?limit=1 of /compute/v2.1/servers?limit=1"
        );
    }

    #[tokio::test]
    async fn the_root_of_a_service_has_two_spellings() {
        assert_eq!(ask("/compute").await.0, StatusCode::OK);
        assert_eq!(ask("/compute/").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn what_is_no_service_is_not_found_and_the_root_says_what_there_is() {
        assert_eq!(ask("/volume/v3").await.0, StatusCode::NOT_FOUND);
        assert!(ask("/").await.1.contains("/compute"));
    }
}
