//! Version discovery.

use axum::Json;
use axum::extract::NestedPath;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::web::base_url;

/// Without 2.6 and what came after: those promise the import methods and many stores.
const VERSIONS: [&str; 6] = ["v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0"];

/// `GET /`: several choices.
pub(super) async fn choices(nested: Option<NestedPath>, headers: HeaderMap) -> (StatusCode, Json<Value>) {
    (StatusCode::MULTIPLE_CHOICES, list(nested, headers).await)
}

/// `GET /versions`.
pub(super) async fn list(nested: Option<NestedPath>, headers: HeaderMap) -> Json<Value> {
    let href = format!("{}/v2/", base_url(&headers, nested.as_ref()));
    let version = |(position, id): (usize, &&str)| {
        let status = if position == 0 { "CURRENT" } else { "SUPPORTED" };
        json!({"id": id, "status": status, "links": [{"rel": "self", "href": href}]})
    };
    let versions: Vec<Value> = VERSIONS.iter().enumerate().map(version).collect();
    Json(json!({"versions": versions}))
}
