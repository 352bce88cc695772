//! Why an operation is refused. The texts are Nova's, word for word: clients match on them.

use kilonova_clients::ClientError;
use kilonova_db::DbError;
use kilonova_rpcapi::RpcError;
use uuid::Uuid;

/// A refusal or a failure of the internal API.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    /// The request makes no sense, for a reason that has no variant of its own.
    #[error("{0}")]
    Invalid(String),
    /// No such server, or not one of the caller's.
    #[error("Instance {id} could not be found.")]
    InstanceNotFound {
        /// As the caller wrote it.
        id: String,
    },
    /// The server's state does not allow it.
    #[error("Cannot '{action}' instance {uuid} while it is in {attr} {state}")]
    InstanceInvalidState {
        /// The server.
        uuid: Uuid,
        /// What was wanted.
        action: &'static str,
        /// `vm_state` or `task_state`.
        attr: &'static str,
        /// Its value.
        state: String,
    },
    /// The server never ran.
    #[error("Instance {uuid} is in an invalid state for '{action}'")]
    InstanceNeverLaunched {
        /// The server.
        uuid: Uuid,
        /// What was wanted.
        action: &'static str,
    },
    /// The server is locked and the caller no admin.
    #[error("Instance {uuid} is locked")]
    InstanceIsLocked {
        /// The server.
        uuid: Uuid,
    },
    /// A server that is pinned to a zone is not pinned to another one at once.
    #[error(
        "Cannot change pinned availability zone directly. Unpin first by setting pinned_availability_zone to null."
    )]
    CannotChangePinnedZone,
    /// A server is pinned where it is.
    #[error("Server can only be pinned to its current availability zone '{current}', but '{requested}' was requested.")]
    CannotPinElsewhere {
        /// Where it is.
        current: String,
        /// What was wanted.
        requested: String,
    },
    /// The server is on no host.
    #[error("Instance {uuid} is not ready")]
    InstanceNotReady {
        /// The server.
        uuid: Uuid,
    },
    /// The compute service that would have to do it is down.
    #[error("Service is unavailable at this time.")]
    ServiceUnavailable,
    /// No such host to evacuate to.
    #[error("Compute host {host} not found.")]
    EvacuationHostNotFound {
        /// As the caller wrote it.
        host: String,
    },
    /// No such move, or not one of that server.
    #[error("{0}")]
    MigrationNotFoundForInstance(String),
    /// More servers, vCPUs or memory than the project may use.
    #[error("Quota exceeded for {overs}: Requested {requested}, but already used {used} of {allowed} {overs}")]
    TooManyInstances {
        /// `instances`, `cores`, `ram`, with commas between.
        overs: String,
        /// How much of each.
        requested: String,
        /// How much of each was used before.
        used: String,
        /// How much of each may be used.
        allowed: String,
    },
    /// More metadata than a server may have.
    #[error("Maximum number of metadata items exceeds {allowed}")]
    MetadataLimitExceeded {
        /// How many it may have.
        allowed: i64,
    },
    /// That metadata item is not there.
    #[error("Metadata item was not found")]
    MetadataItemNotFound,
    /// That tag is not there.
    #[error("Instance {uuid} has no tag '{tag}'")]
    TagNotFound {
        /// The server.
        uuid: Uuid,
        /// The tag.
        tag: String,
    },
    /// More injected files than allowed.
    #[error("Personality file limit exceeded")]
    OnsetFileLimitExceeded,
    /// A path of an injected file is too long.
    #[error("Personality file path exceeds maximum {allowed}")]
    OnsetFilePathLimitExceeded {
        /// Characters.
        allowed: i64,
    },
    /// An injected file is too large.
    #[error("Personality file content exceeds maximum {allowed}")]
    OnsetFileContentLimitExceeded {
        /// Bytes.
        allowed: i64,
    },
    /// Only admins attach servers to a network that leads outside.
    #[error("It is not allowed to create an interface on external network {network}")]
    ExternalNetworkAttachForbidden {
        /// The network.
        network: Uuid,
    },
    /// A flavor without a disk and an image to put on it.
    #[error("Only volume-backed servers are allowed for flavors with zero disk.")]
    BootFromVolumeRequiredForZeroDiskFlavor,
    /// No network was named and there are several.
    #[error("Multiple possible networks found, use a Network ID to be more specific.")]
    NetworkAmbiguous,
    /// No such port.
    #[error("Port id {port} could not be found.")]
    PortNotFound {
        /// As the caller wrote it.
        port: String,
    },
    /// The port belongs to another server.
    #[error("Port {port} is still in use.")]
    PortInUse {
        /// The port.
        port: Uuid,
    },
    /// Several security groups have the name.
    #[error("No Unique Match Found.")]
    NoUniqueMatch,
    /// What was given as a public key is none.
    #[error("Keypair data is invalid: {reason}")]
    InvalidKeypair {
        /// Why.
        reason: String,
    },
    /// More key pairs than a user may have.
    #[error("Quota exceeded, too many key pairs.")]
    KeypairLimitExceeded,
    /// The user has a key pair of that name.
    #[error("Key pair '{name}' already exists.")]
    KeyPairExists {
        /// The name.
        name: String,
    },
    /// The user has no key pair of that name.
    #[error("Keypair {name} not found for user {user_id}")]
    KeypairNotFound {
        /// The name.
        name: String,
        /// The user.
        user_id: String,
    },
    /// No such server group, or not one of the caller's project.
    #[error("Instance group {id} could not be found.")]
    InstanceGroupNotFound {
        /// As the caller wrote it.
        id: String,
    },
    /// More server groups than a project, or one of its users, may have.
    #[error("Quota exceeded, too many server groups.")]
    ServerGroupLimitExceeded,
    /// More servers than a user may have in a group.
    #[error("Quota exceeded, too many servers in group")]
    GroupMemberLimitExceeded,
    /// No compute service is on that host.
    #[error("Host '{host}' is not mapped to any cell")]
    HostMappingNotFound {
        /// Its name.
        host: String,
    },
    /// No hypervisor is on that host.
    #[error("Compute host {host} could not be found.")]
    ComputeHostNotFound {
        /// Its name.
        host: String,
    },
    /// No server has that volume.
    #[error("No volume Block Device Mapping with id {volume_id}.")]
    VolumeBdmNotFound {
        /// As the caller wrote it.
        volume_id: String,
    },
    /// No such volume, or not one of the caller's.
    #[error("Volume {volume_id} could not be found.")]
    VolumeNotFound {
        /// As the caller wrote it.
        volume_id: String,
    },
    /// The server does not have that volume.
    #[error("No volume Block Device Mapping with id {volume_id}.")]
    VolumeBdmOfServerNotFound {
        /// As the caller wrote it.
        volume_id: String,
    },
    /// Which host a shelved server will be on, and so whether a tag can be shown to it, is not known.
    #[error("Tagged volume attachment is not supported for shelved-offloaded instances.")]
    VolumeTaggedAttachToShelvedNotSupported,
    /// Nor is whether its host can share a volume.
    #[error("Attaching multiattach volumes is not supported for shelved-offloaded instances.")]
    MultiattachToShelvedNotSupported,
    /// Another server may write to the volume while it is copied.
    #[error("Swapping multi-attach volumes with more than one read/write attachment is not supported.")]
    MultiattachSwapVolumeNotSupported,
    /// Servers are on the host of a service that is to be deleted.
    #[error("Unable to delete compute service that is hosting instances. Migrate or delete the instances first.")]
    ServiceHasInstances,
    /// Servers are on their way to the host of a service that is to be deleted.
    #[error(
        "Unable to delete compute service that has in-progress migrations. Complete the migrations or delete the \
         instances first."
    )]
    ServiceHasMigrations,
    /// No such hypervisor.
    #[error("Hypervisor with ID '{id}' could not be found.")]
    HypervisorNotFound {
        /// As the caller wrote it.
        id: String,
    },
    /// No hypervisor's name contains that.
    #[error("No hypervisor matching '{pattern}' could be found.")]
    NoHypervisorMatching {
        /// Which part of a name.
        pattern: String,
    },
    /// An image that nothing can be rescued with.
    #[error("Requested rescue image '{image}' is not supported")]
    UnsupportedRescueImage {
        /// As the caller wrote it.
        image: String,
    },
    /// The server's root disk is a volume, and cannot be rescued.
    #[error("Instance {uuid} cannot be rescued: {reason}")]
    InstanceNotRescuable {
        /// The server.
        uuid: Uuid,
        /// Nova's words.
        reason: &'static str,
    },
    /// The password is what it was, for a reason that the host gave.
    #[error("{0}")]
    PasswordNotSet(String),
    /// The driver sets no passwords.
    #[error("Unable to set password on instance")]
    PasswordUnsupported,
    /// The driver does not do that.
    #[error("The requested functionality is not supported.")]
    FeatureNotSupported,
    /// The driver shows no console.
    #[error("The requested functionality is not supported.")]
    ConsoleUnsupported,
    /// The image that is made would have more properties than the quota allows.
    #[error("Image metadata limit exceeded")]
    ImageMetadataLimitExceeded,
    /// A place is asked for, and the server is still on its host.
    #[error(
        "Specifying an availability zone or a host when unshelving server \"{uuid}\" with status \"{status}\" is not \
         supported. The server status must be SHELVED_OFFLOADED."
    )]
    UnshelveInstanceInvalidState {
        /// The server.
        uuid: Uuid,
        /// Its vm_state.
        status: String,
    },
    /// A host is asked for that is in another zone than the server.
    #[error("Host \"{host}\" is not in the availability zone \"{availability_zone}\".")]
    UnshelveHostNotInAz {
        /// The host.
        host: String,
        /// The zone of the server.
        availability_zone: String,
    },
    /// A rule that is asked only for some requests says no.
    #[error("Policy doesn't allow {rule} to be performed.")]
    PolicyNotAuthorized {
        /// Its name.
        rule: &'static str,
    },
    /// Something that is nobody's fault outside.
    #[error("{0}")]
    Internal(String),
    /// The database failed, or did not find.
    #[error(transparent)]
    Db(DbError),
    /// Another service failed, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Another host failed, or refused.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

impl ComputeError {
    /// Shorthand for [`ComputeError::Invalid`].
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }
}

impl From<DbError> for ComputeError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::NotFound { resource: "instance", id } => Self::InstanceNotFound { id },
            DbError::NotFound { resource: "server group", id } => Self::InstanceGroupNotFound { id },
            other => Self::Db(other),
        }
    }
}
