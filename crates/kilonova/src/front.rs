//! One port for all services, with DevStack's paths: `/identity`, `/image`, `/network`, `/placement`, `/compute`.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tower::{Service, ServiceExt as _};

/// Hands each request to the service whose name its path begins with; that service sees the rest of the path.
#[derive(Clone)]
pub(crate) struct Front {
    services: Vec<(&'static str, Router)>,
}

impl Front {
    pub(crate) fn new(services: Vec<(&'static str, Router)>) -> Self {
        Self { services }
    }

    fn find(&self, path: &str) -> Option<&Router> {
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        self.services.iter().find(|(name, _)| *name == first).map(|(_, router)| router)
    }

    /// What there is, for somebody who looks.
    fn index(&self) -> Response {
        let services: Vec<_> = self.services.iter().map(|(name, _)| json!({"name": name, "path": format!("/{name}")})).collect();
        axum::Json(json!({"services": services})).into_response()
    }
}

impl Service<Request> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let path = request.uri().path();
        if path == "/" {
            return ready(self.index());
        }
        match self.find(path).cloned() {
            Some(router) => match below_first_segment(request) {
                Some(request) => Box::pin(router.oneshot(request)),
                None => ready(StatusCode::BAD_REQUEST.into_response()),
            },
            None => ready(StatusCode::NOT_FOUND.into_response()),
        }
    }
}

fn ready(response: Response) -> Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>> {
    Box::pin(std::future::ready(Ok(response)))
}

/// `/compute/v2.1/servers?x=y` becomes `/v2.1/servers?x=y`, and `/compute` becomes `/`.
fn below_first_segment(mut request: Request<Body>) -> Option<Request<Body>> {
    let uri = request.uri();
    let rest = uri.path().trim_start_matches('/').split_once('/').map_or("", |(_, rest)| rest);
    let path_and_query = match uri.query() {
        Some(query) => format!("/{rest}?{query}"),
        None => format!("/{rest}"),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path_and_query).ok()?);
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(uri: &str) -> String {
        let request = Request::builder().uri(uri).body(Body::empty()).unwrap();
        below_first_segment(request).unwrap().uri().to_string()
    }

    #[test]
    fn a_service_sees_the_path_below_its_name() {
        assert_eq!(below("/compute/v2.1/servers?limit=1"), "/v2.1/servers?limit=1");
        assert_eq!(below("/identity"), "/");
        assert_eq!(below("/identity/"), "/");
        assert_eq!(below("/image?x=%2F"), "/?x=%2F");
    }
}
