//! Version discovery.

use axum::Json;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::error::ImageError;
use crate::web::BaseUrl;

/// Without 2.6 and what came after: those promise the import methods and many stores.
const VERSIONS: [&str; 6] = ["v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0"];

/// `GET /`: several choices.
pub(super) async fn choices(base: BaseUrl) -> (StatusCode, Json<Value>) {
    (StatusCode::MULTIPLE_CHOICES, list(base).await)
}

/// `GET /versions`.
pub(super) async fn list(base: BaseUrl) -> Json<Value> {
    let href = format!("{}/v2/", base.0);
    let version = |(position, id): (usize, &&str)| {
        let status = if position == 0 { "CURRENT" } else { "SUPPORTED" };
        json!({"id": id, "status": status, "links": [{"rel": "self", "href": href}]})
    };
    let versions: Vec<Value> = VERSIONS.iter().enumerate().map(version).collect();
    Json(json!({"versions": versions}))
}

/// What no route matches.
pub(super) async fn fallback() -> ImageError {
    ImageError::NotFound("The resource could not be found.".to_owned())
}
