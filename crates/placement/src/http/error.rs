//! The one place that knows what an error looks like: status, code and body of every refusal.
//!
//! A handler's error travels as a response extension up to the outermost step, which knows the request id and the
//! microversion that the body depends on.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kilonova_core::Microversion;
use kilonova_db::DbError;
use serde_json::{Value, json};

use super::version::{MAX, MIN};
use crate::PlacementError;

const UNDEFINED: &str = "placement.undefined_code";
const CONCURRENT_UPDATE: &str = "placement.concurrent_update";
const INVENTORY_INUSE: &str = "placement.inventory.inuse";
const PROVIDER_NOT_FOUND: &str = "placement.resource_provider.not_found";

/// An error of the REST API.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: String,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into() }
    }

    /// For a refusal that is not ours.
    pub(super) fn of_status(status: StatusCode) -> Self {
        Self::new(status, UNDEFINED, status.canonical_reason().unwrap_or_default())
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, UNDEFINED, detail)
    }

    pub(super) fn bad_query(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "placement.query.bad_value", detail)
    }

    pub(super) fn missing_value(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "placement.query.missing_value", detail)
    }

    pub(super) fn duplicate_key(name: &str) -> Self {
        let detail = format!("Query parameter '{name}' may be specified only once.");
        Self::new(StatusCode::BAD_REQUEST, "placement.query.duplicate_key", detail)
    }

    /// A provider in a body that is not there.
    pub(super) fn unknown_provider(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, PROVIDER_NOT_FOUND, detail)
    }

    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, UNDEFINED, detail)
    }

    pub(super) fn concurrent_update(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, CONCURRENT_UPDATE, detail)
    }

    pub(super) fn inventory_in_use(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, INVENTORY_INUSE, detail)
    }

    pub(super) fn forbidden(rule: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, UNDEFINED, format!("Policy does not allow {rule} to be performed."))
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, UNDEFINED, detail)
    }

    pub(super) fn not_acceptable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, UNDEFINED, detail)
    }

    pub(super) fn method_not_allowed() -> Self {
        let detail = "The method specified is not allowed for this resource.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, UNDEFINED, detail)
    }

    pub(super) fn unsupported_media_type(got: &str) -> Self {
        let detail = format!("The media type {got} is not supported, use application/json");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, UNDEFINED, detail)
    }

    pub(super) fn unavailable() -> Self {
        let detail = "The server is currently unavailable. Please try again at a later time.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, UNDEFINED, detail)
    }

    /// The log says why; the caller cannot do anything about it.
    pub(super) fn internal(why: &str) -> Self {
        tracing::error!(why, "a request to placement failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, UNDEFINED, "The server failed.")
    }

    pub(super) fn render(&self, request_id: &str, version: Option<Microversion>) -> Response {
        let mut error = json!({
            "status": self.status.as_u16(),
            "title": self.status.canonical_reason().unwrap_or_default(),
            "detail": self.detail,
            "request_id": request_id,
        });
        if version.is_some_and(|version| version.minor >= 23) {
            error["code"] = self.code.into();
        }
        // Nobody knows which version, so that the client learns what there is.
        if self.status == StatusCode::NOT_ACCEPTABLE && version.is_none() {
            error["max_version"] = MAX.to_string().into();
            error["min_version"] = MIN.to_string().into();
        }
        (self.status, axum::Json(Value::from_iter([("errors", json!([error]))]))).into_response()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<PlacementError> for ApiError {
    fn from(error: PlacementError) -> Self {
        use PlacementError as E;
        let (status, code) = match &error {
            E::NoProvider(_) | E::UnknownClass(_) => (StatusCode::NOT_FOUND, UNDEFINED),
            E::UnknownProvider(_) | E::UnknownTrait(_) | E::NoSuchInventory(_) | E::Invalid(_) => {
                (StatusCode::BAD_REQUEST, UNDEFINED)
            }
            E::ConsumerGeneration { .. } | E::ProviderGeneration(_) | E::InventoryExists(_) => {
                (StatusCode::CONFLICT, CONCURRENT_UPDATE)
            }
            E::InventoryInUse { .. } => (StatusCode::CONFLICT, INVENTORY_INUSE),
            E::ProviderInUse(_) => (StatusCode::CONFLICT, "placement.resource_provider.inuse"),
            E::ProviderIsParent(_) => (StatusCode::CONFLICT, "placement.resource_provider.cannot_delete_parent"),
            E::ProviderExists(_) => (StatusCode::CONFLICT, "placement.duplicate_name"),
            E::NoInventory { .. } | E::OverCapacity { .. } | E::Constraint { .. } => (StatusCode::CONFLICT, UNDEFINED),
            E::Database(source) => return Self::internal(&format!("{source:?}")),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        PlacementError::from(error).into()
    }
}
