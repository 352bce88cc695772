//! Version discovery: what keystoneauth asks before anything else.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Service;
use crate::identity::IdentityService;

/// `GET /`: 300 with the one version there is.
pub(crate) async fn list(State(service): Service) -> Response {
    let body = json!({"versions": {"values": [version(&service)]}});
    (StatusCode::MULTIPLE_CHOICES, [(LOCATION, service.url("/v3/"))], axum::Json(body)).into_response()
}

/// `GET /v3`.
pub(crate) async fn show(State(service): Service) -> axum::Json<Value> {
    axum::Json(json!({"version": version(&service)}))
}

fn version(service: &IdentityService) -> Value {
    json!({
        "id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": service.url("/v3/")}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    })
}
