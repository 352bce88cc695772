//! The one place where an error becomes an HTTP status and one of Nova's fault bodies.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kilonova_clients::ClientError;
use kilonova_db::DbError;
use kilonova_rpcapi::RpcError;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::compute::ComputeError;

/// What a client gets instead of an answer. The text is what the client sees.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// 400
    #[error("{0}")]
    BadRequest(String),
    /// 401, in keystonemiddleware's form.
    #[error("The request you have made requires authentication.")]
    Unauthorized {
        /// `www_authenticate_uri`
        identity_uri: String,
    },
    /// 403
    #[error("{0}")]
    Forbidden(String),
    /// 404
    #[error("{0}")]
    NotFound(String),
    /// 405
    #[error("The method specified is not allowed for this resource.")]
    MethodNotAllowed {
        /// The methods that are.
        allow: String,
    },
    /// 406: a microversion that this API does not speak.
    #[error("{0}")]
    NotAcceptable(String),
    /// 409
    #[error("{0}")]
    Conflict(String),
    /// 410: what Nova once had. The sentence, with its two spaces, is webob's.
    #[error("This resource is no longer available.  No forwarding address is given.")]
    Gone,
    /// 413
    #[error("Request is too large.")]
    TooLarge,
    /// 415
    #[error("Unsupported Content-Type")]
    UnsupportedMediaType,
    /// 501
    #[error("{0}")]
    NotImplemented(String),
    /// 503
    #[error("{0}")]
    Unavailable(String),
    /// 500 that a client is told the reason of.
    #[error("{0}")]
    Failed(String),
    /// 500: the cause goes to the log, never to the client.
    #[error("Unexpected API Error. The log of the API says more under this request's id.")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ApiError {
    /// 404 of a path or a version of it that does not exist.
    pub(crate) fn no_such_resource() -> Self {
        Self::NotFound("The resource could not be found.".to_owned())
    }

    /// 400 without a reason, in webob's words.
    pub(crate) fn malformed() -> Self {
        let text = "The server could not comply with the request since it is either malformed or otherwise incorrect.";
        Self::BadRequest(text.to_owned())
    }

    /// 404 of a server.
    pub(crate) fn instance_not_found(id: &str) -> Self {
        Self::NotFound(format!("Instance {id} could not be found."))
    }

    /// 403 of a policy rule.
    pub(crate) fn policy(rule: &str) -> Self {
        Self::Forbidden(format!("Policy doesn't allow {rule} to be performed."))
    }

    /// 500
    pub(crate) fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable(_) => StatusCode::NOT_ACCEPTABLE,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Gone => StatusCode::GONE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(_) | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The key of the fault body.
    fn fault_name(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "badRequest",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::NotFound(_) => "itemNotFound",
            Self::MethodNotAllowed { .. } => "badMethod",
            Self::Conflict(_) => "conflictingRequest",
            Self::TooLarge => "overLimit",
            Self::UnsupportedMediaType => "badMediaType",
            Self::NotImplemented(_) => "notImplemented",
            Self::Unavailable(_) => "serviceUnavailable",
            Self::NotAcceptable(_) | Self::Gone | Self::Failed(_) | Self::Internal(_) => "computeFault",
        }
    }
}

/// `{"badRequest": {"code": 400, "message": "…"}}`, or keystonemiddleware's `{"error": {…}}`.
impl Serialize for ApiError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Fault {
            code: u16,
            #[serde(skip_serializing_if = "Option::is_none")]
            title: Option<&'static str>,
            message: String,
        }
        let (name, title) = match self {
            Self::Unauthorized { .. } => ("error", Some("Unauthorized")),
            other => (other.fault_name(), None),
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(name, &Fault { code: self.status().as_u16(), title, message: self.to_string() })?;
        map.end()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Self::Internal(cause) = &self {
            tracing::error!(error = cause.as_ref(), "a request failed unexpectedly");
        }
        let mut response = crate::call::json(self.status(), &self);
        let extra = match &self {
            Self::Unauthorized { identity_uri } => {
                Some((header::WWW_AUTHENTICATE, format!("Keystone uri=\"{identity_uri}\"")))
            }
            Self::MethodNotAllowed { allow } => Some((header::ALLOW, allow.clone())),
            _ => None,
        };
        if let Some((name, value)) = extra
            && let Ok(value) = HeaderValue::try_from(value)
        {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::NotFound { resource: "instance", id } => Self::instance_not_found(&id),
            DbError::NotFound { resource: "marker", id } => Self::BadRequest(format!("marker [{id}] not found")),
            DbError::NotFound { resource: "flavor", id } => Self::NotFound(format!("Flavor {id} could not be found.")),
            other => Self::internal(other),
        }
    }
}

impl From<ClientError> for ApiError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Forbidden(message) | ClientError::OverQuota(message) => Self::Forbidden(message),
            ClientError::NotFound { .. } => Self::NotFound(error.to_string()),
            ClientError::Conflict(message) | ClientError::ConcurrentUpdate(message) => Self::Conflict(message),
            ClientError::BadRequest(message) => Self::BadRequest(message),
            ClientError::Unauthorized | ClientError::Unavailable { .. } => Self::internal(error),
        }
    }
}

impl From<RpcError> for ApiError {
    fn from(error: RpcError) -> Self {
        let RpcError::Remote(exception) = &error else { return Self::internal(error) };
        let message = exception.message.clone();
        match exception.class.as_str() {
            "InstanceNotFound"
            | "ConsoleNotAvailable"
            | "PortNotFound"
            | "NetworkNotFound"
            | "VolumeNotFound"
            | "VolumeBDMNotFound" => Self::NotFound(message),
            "InstanceNotReady" | "InstanceInvalidState" | "PortInUse" | "FixedIpAlreadyInUse" | "DevicePathInUse" => {
                Self::Conflict(message)
            }
            "PortLimitExceeded" | "ExternalNetworkAttachForbidden" | "TooManyDiskDevices" | "Forbidden" => {
                Self::Forbidden(message)
            }
            "AttachInterfaceNotSupported"
            | "ConsoleTypeInvalid"
            | "ConsoleTypeUnavailable"
            | "InterfaceAttachFailedNoNetwork"
            | "Invalid"
            | "InvalidDevicePath"
            | "InvalidInput"
            | "InvalidVolume"
            | "MultiattachNotSupportedByVirtDriver"
            | "MultiattachNotSupportedOldMicroversion"
            | "NetworkAmbiguous"
            | "NetworkInterfaceTaggedAttachNotSupported"
            | "NoMoreFixedIps"
            | "PortNotUsable"
            | "SecurityGroupCannotBeApplied"
            | "VolumeTaggedAttachNotSupported" => Self::BadRequest(message),
            "InterfaceAttachFailed" => Self::Failed(message),
            _ => Self::internal(error),
        }
    }
}

impl From<ComputeError> for ApiError {
    fn from(error: ComputeError) -> Self {
        use ComputeError as E;
        match error {
            E::Db(error) => error.into(),
            E::Client(error) => error.into(),
            E::Rpc(error) => error.into(),
            E::KeypairNotFound { .. }
            | E::InstanceGroupNotFound { .. }
            | E::HostMappingNotFound { .. }
            | E::EvacuationHostNotFound { .. }
            | E::MigrationNotFoundForInstance(_)
            | E::HypervisorNotFound { .. }
            | E::ComputeHostNotFound { .. }
            | E::NoHypervisorMatching { .. } => Self::NotFound(error.to_string()),
            E::KeyPairExists { .. } | E::ServiceHasInstances | E::ServiceHasMigrations => {
                Self::Conflict(error.to_string())
            }
            E::KeypairLimitExceeded | E::ServerGroupLimitExceeded | E::GroupMemberLimitExceeded => {
                Self::Forbidden(error.to_string())
            }
            E::InvalidKeypair { .. }
            | E::VolumeBdmNotFound { .. }
            | E::VolumeTaggedAttachToShelvedNotSupported
            | E::MultiattachToShelvedNotSupported
            | E::MultiattachSwapVolumeNotSupported => Self::BadRequest(error.to_string()),
            E::InstanceNotFound { .. }
            | E::MetadataItemNotFound
            | E::TagNotFound { .. }
            | E::PortNotFound { .. }
            | E::VolumeNotFound { .. }
            | E::VolumeBdmOfServerNotFound { .. } => Self::NotFound(error.to_string()),
            E::InstanceInvalidState { .. }
            | E::InstanceNeverLaunched { .. }
            | E::InstanceIsLocked { .. }
            | E::InstanceNotReady { .. }
            | E::CannotChangePinnedZone
            | E::CannotPinElsewhere { .. }
            | E::ServiceUnavailable
            | E::NetworkAmbiguous
            | E::PortInUse { .. }
            | E::UnshelveInstanceInvalidState { .. }
            | E::UnshelveHostNotInAz { .. }
            | E::NoUniqueMatch => Self::Conflict(error.to_string()),
            E::TooManyInstances { .. }
            | E::MetadataLimitExceeded { .. }
            | E::ImageMetadataLimitExceeded
            | E::PolicyNotAuthorized { .. }
            | E::OnsetFileLimitExceeded
            | E::OnsetFilePathLimitExceeded { .. }
            | E::OnsetFileContentLimitExceeded { .. }
            | E::ExternalNetworkAttachForbidden { .. }
            | E::BootFromVolumeRequiredForZeroDiskFlavor => Self::Forbidden(error.to_string()),
            E::Invalid(_) | E::UnsupportedRescueImage { .. } | E::InstanceNotRescuable { .. } => {
                Self::BadRequest(error.to_string())
            }
            E::PasswordNotSet(_) => Self::Conflict(error.to_string()),
            E::PasswordUnsupported | E::FeatureNotSupported => Self::NotImplemented(error.to_string()),
            E::ConsoleUnsupported => Self::NotImplemented(error.to_string()),
            E::Internal(_) => Self::internal(error),
        }
    }
}
