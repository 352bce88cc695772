//! What can go wrong, with Neutron's names and words.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kilonova_db::network::PortRow;
use kilonova_db::{DbError, Failure};
use serde_json::json;
use uuid::Uuid;

use crate::web::BodyError;

/// Why the network service did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The caller's request cannot be done.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// Neutron's name of the exception.
        kind: &'static str,
        /// What the user sees.
        message: String,
    },
    /// 500.
    #[error("the database failed")]
    Database(#[from] DbError),
}

impl NetworkError {
    pub(super) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self::Refused { status, kind, message: message.into() }
    }

    /// 400 with a name of its own.
    pub(super) fn bad(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, kind, message)
    }

    /// 400 for a body that does not fit.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::bad("HTTPBadRequest", message)
    }

    /// 400 for values that do not fit together.
    pub(super) fn invalid_input(message: impl std::fmt::Display) -> Self {
        Self::bad("InvalidInput", format!("Invalid input for operation: {message}."))
    }

    /// 400 for one attribute.
    pub(super) fn invalid_attribute(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::bad_request(format!("Invalid input for {name}. Reason: {reason}."))
    }

    /// 409 with a name of its own.
    pub(super) fn conflict(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, kind, message)
    }

    /// 404 with a name of its own.
    pub(super) fn not_found(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, kind, message)
    }

    /// 403 by a policy rule.
    pub(super) fn forbidden(rule: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "PolicyNotAuthorized", format!("rule:{rule} is disallowed by policy"))
    }

    /// 404 for a path.
    pub(super) fn no_resource() -> Self {
        Self::not_found("HTTPNotFound", "The resource could not be found.")
    }

    pub(super) fn no_network(id: impl std::fmt::Display) -> Self {
        Self::not_found("NetworkNotFound", format!("Network {id} could not be found."))
    }

    pub(super) fn no_subnet(id: impl std::fmt::Display) -> Self {
        Self::not_found("SubnetNotFound", format!("Subnet {id} could not be found."))
    }

    pub(super) fn no_port(id: impl std::fmt::Display) -> Self {
        Self::not_found("PortNotFound", format!("Port {id} could not be found."))
    }

    pub(super) fn no_security_group(id: impl std::fmt::Display) -> Self {
        Self::not_found("SecurityGroupNotFound", format!("Security group {id} does not exist"))
    }

    pub(super) fn no_rule(id: impl std::fmt::Display) -> Self {
        Self::not_found("SecurityGroupRuleNotFound", format!("Security group rule {id} does not exist"))
    }

    pub(super) fn no_router(id: impl std::fmt::Display) -> Self {
        Self::not_found("RouterNotFound", format!("Router {id} could not be found"))
    }

    pub(super) fn no_floating_ip(id: impl std::fmt::Display) -> Self {
        Self::not_found("FloatingIPNotFound", format!("Floating IP {id} could not be found"))
    }

    pub(super) fn no_trunk(id: impl std::fmt::Display) -> Self {
        Self::not_found("TrunkNotFound", format!("Trunk {id} could not be found."))
    }

    /// 400 for what a router cannot do.
    pub(super) fn bad_router(reason: impl std::fmt::Display) -> Self {
        Self::bad("BadRequest", format!("Bad router request: {reason}."))
    }

    /// 400 for what a floating address cannot do.
    pub(super) fn bad_floating_ip(reason: impl std::fmt::Display) -> Self {
        Self::bad("BadRequest", format!("Bad floatingip request: {reason}."))
    }

    /// 409 for a port that somebody has.
    pub(super) fn port_in_use(port: &PortRow) -> Self {
        let (id, network_id, device) = (port.id, port.network_id, &port.device_id);
        let text = format!(
            "Unable to complete operation on port {id} for network {network_id}. Port already has an attached device \
             {device}."
        );
        Self::conflict("PortInUse", text)
    }

    pub(super) fn mac_in_use(network_id: Uuid, mac: &str) -> Self {
        let text = format!("Unable to complete operation for network {network_id}. The mac address {mac} is in use.");
        Self::conflict("MacAddressInUse", text)
    }
}

impl Failure for NetworkError {
    fn database(&self) -> Option<&DbError> {
        match self {
            Self::Database(error) => Some(error),
            Self::Refused { .. } => None,
        }
    }
}

impl From<BodyError> for NetworkError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(limit) => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "HTTPRequestEntityTooLarge",
                format!("The request body is larger than {limit} bytes."),
            ),
            BodyError::Broken => Self::bad_request("The request body ended early."),
            BodyError::Malformed(reason) => Self::bad_request(format!("Malformed request body: {reason}")),
        }
    }
}

impl IntoResponse for NetworkError {
    fn into_response(self) -> Response {
        let (status, kind, message) = match self {
            Self::Refused { status, kind, message } => (status, kind, message),
            Self::Database(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::error!(%error, cause, "the network service failed");
                let text = "Request Failed: internal server error while processing your request.";
                (StatusCode::INTERNAL_SERVER_ERROR, "HTTPInternalServerError", text.to_owned())
            }
        };
        (status, Json(json!({"NeutronError": {"type": kind, "message": message, "detail": ""}}))).into_response()
    }
}
