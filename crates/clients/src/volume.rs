//! Volumes: Cinder's API v3, as far as compute uses it.
//!
//! ```text
//!             create_attachment           update_attachment            complete_attachment
//!   available ─────────────────> reserved ─────────────────> attaching ───────────────────> in-use
//!       ^        (no connector)              (connector)                                      │
//!       └──────────────────────────── delete_attachment ──────────────────────────────────────┘
//! ```
//!
//! All are asked on behalf of the caller: a volume that the caller may not see is not found.

use async_trait::async_trait;
use kilonova_core::RequestContext;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::ClientError;

/// As [`ClientError::NotFound`] has a volume.
pub const VOLUME: &str = "volume";
/// As [`ClientError::NotFound`] has a snapshot.
pub const SNAPSHOT: &str = "volume snapshot";
/// As [`ClientError::NotFound`] has an attachment.
pub const ATTACHMENT: &str = "volume attachment";

/// A volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Volume {
    /// A UUID, as the service writes it.
    pub id: String,
    /// `available`, `in-use`, …
    pub status: String,
    /// GiB.
    pub size: i64,
    /// Zone of the volume service.
    pub availability_zone: Option<String>,
    /// As the service writes it.
    pub created_at: Value,
    /// For people.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Name of its type.
    pub volume_type: Option<String>,
    /// What it was made from.
    pub snapshot_id: Option<String>,
    /// Whether several servers may have it.
    pub multiattach: bool,
    /// Whether a server can start from it.
    pub is_bootable: bool,
    /// The user's.
    pub metadata: Map<String, Value>,
    /// What the image that it was made from said of itself; none where it is no copy of an image.
    pub image_metadata: Option<Map<String, Value>>,
    /// Who has it.
    pub attachments: Vec<AttachedTo>,
    /// For admins: `migrating` while the service moves it; `None` where the caller is not told.
    pub migration_status: Option<String>,
}

/// A server that has a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachedTo {
    /// The server.
    pub server_id: String,
    /// The attachment.
    pub attachment_id: Option<String>,
    /// `/dev/vdb`
    pub device: Option<String>,
}

impl Volume {
    /// Whether any server has it.
    pub fn is_attached(&self) -> bool {
        !self.attachments.is_empty()
    }

    /// How a server has it.
    pub fn attached_to(&self, server_id: Uuid) -> Option<&AttachedTo> {
        let server_id = server_id.to_string();
        self.attachments.iter().rev().find(|attached| attached.server_id == server_id)
    }

    /// As Nova's services pass a volume to each other.
    pub fn to_dict(&self) -> Value {
        let attachments: Map<String, Value> = self
            .attachments
            .iter()
            .map(|of| (of.server_id.clone(), json!({"attachment_id": of.attachment_id, "mountpoint": of.device})))
            .collect();
        let mut dict = json!({
            "id": self.id,
            "status": self.status,
            "size": self.size,
            "availability_zone": self.availability_zone,
            "created_at": self.created_at,
            "attach_time": "",
            "mountpoint": "",
            "multiattach": self.multiattach,
            "attach_status": if self.is_attached() { "attached" } else { "detached" },
            "display_name": self.name,
            "display_description": self.description,
            "volume_type_id": self.volume_type,
            "snapshot_id": self.snapshot_id,
            "bootable": self.is_bootable,
            "volume_metadata": self.metadata,
        });
        if self.is_attached() {
            dict["attachments"] = Value::Object(attachments);
        }
        if let Some(image_metadata) = &self.image_metadata {
            dict["volume_image_metadata"] = json!(image_metadata);
        }
        if let Some(migration_status) = &self.migration_status {
            dict["migration_status"] = json!(migration_status);
        }
        dict
    }
}

/// A volume that is to be made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewVolume {
    /// GiB.
    pub size: i64,
    /// For people.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Id or name of its type.
    pub volume_type: Option<String>,
    /// What it is made from.
    pub snapshot_id: Option<String>,
    /// What it is made from.
    pub image_id: Option<String>,
    /// Zone of the volume service.
    pub availability_zone: Option<String>,
    /// The user's.
    pub metadata: Option<Map<String, Value>>,
}

/// A snapshot of a volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// A UUID, as the service writes it.
    pub id: String,
    /// The volume.
    pub volume_id: String,
    /// `available`, …
    pub status: String,
    /// GiB, of the volume.
    pub size: i64,
    /// As the service writes it.
    pub created_at: Value,
    /// For people.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
}

/// A snapshot that is to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSnapshot {
    /// The volume.
    pub volume_id: String,
    /// Of a volume in use, too.
    pub force: bool,
    /// For people.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
}

/// A volume that a server has, or will have.
#[derive(Clone, Debug, PartialEq)]
pub struct Attachment {
    /// Its own id.
    pub id: Uuid,
    /// `reserved`, `attaching`, `attached`, …
    pub status: String,
    /// `rw` or `ro`; none until there is a connector.
    pub attach_mode: Option<String>,
    /// How the host reaches the volume, in the form that block device mappings keep: `driver_volume_type`, `data`, and
    /// what else is known of the attachment. Empty until there is a connector.
    pub connection_info: Map<String, Value>,
}

/// The volume service.
#[async_trait]
pub trait VolumeService: Send + Sync + 'static {
    /// The volumes of the caller's project.
    async fn list_volumes(&self, context: &RequestContext) -> Result<Vec<Volume>, ClientError>;

    /// One volume.
    async fn show_volume(&self, context: &RequestContext, id: &str) -> Result<Volume, ClientError>;

    /// Begins to make a volume; returns it as it is then.
    async fn create_volume(&self, context: &RequestContext, new: NewVolume) -> Result<Volume, ClientError>;

    /// Begins to delete a volume.
    async fn delete_volume(&self, context: &RequestContext, id: &str) -> Result<(), ClientError>;

    /// The snapshots of the caller's project.
    async fn list_snapshots(&self, context: &RequestContext) -> Result<Vec<Snapshot>, ClientError>;

    /// One snapshot.
    async fn show_snapshot(&self, context: &RequestContext, id: &str) -> Result<Snapshot, ClientError>;

    /// Begins to make a snapshot; returns it as it is then.
    async fn create_snapshot(&self, context: &RequestContext, new: NewSnapshot) -> Result<Snapshot, ClientError>;

    /// Begins to delete a snapshot.
    async fn delete_snapshot(&self, context: &RequestContext, id: &str) -> Result<(), ClientError>;

    /// Keeps a volume for a server that will get it by the API before attachments.
    async fn reserve(&self, context: &RequestContext, id: &str) -> Result<(), ClientError>;

    /// Undoes [`VolumeService::reserve`].
    async fn unreserve(&self, context: &RequestContext, id: &str) -> Result<(), ClientError>;

    /// A volume in use will be detached.
    async fn begin_detaching(&self, context: &RequestContext, id: &str) -> Result<(), ClientError>;

    /// Undoes [`VolumeService::begin_detaching`].
    async fn roll_detaching(&self, context: &RequestContext, id: &str) -> Result<(), ClientError>;

    /// The copy of a volume that the service moves is complete, or failed; returns the id that the server's volume has
    /// from now on.
    async fn migrate_volume_completion(
        &self,
        context: &RequestContext,
        old_id: &str,
        new_id: &str,
        is_failed: bool,
    ) -> Result<String, ClientError>;

    /// Reserves a volume for a server.
    async fn create_attachment(
        &self,
        context: &RequestContext,
        volume_id: &str,
        instance_uuid: Uuid,
    ) -> Result<Attachment, ClientError>;

    /// One attachment.
    async fn show_attachment(&self, context: &RequestContext, id: Uuid) -> Result<Attachment, ClientError>;

    /// Has a volume exported to a host. `connector` is what the host says of itself, with the `mountpoint` in the guest.
    async fn update_attachment(
        &self,
        context: &RequestContext,
        id: Uuid,
        connector: Value,
    ) -> Result<Attachment, ClientError>;

    /// The server has the volume now.
    async fn complete_attachment(&self, context: &RequestContext, id: Uuid) -> Result<(), ClientError>;

    /// Ends an attachment; one that is gone already is success.
    async fn delete_attachment(&self, context: &RequestContext, id: Uuid) -> Result<(), ClientError>;
}

/// A cloud without a volume service: it has no volumes, and none can be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoVolumes;

fn cannot_be_made<T>() -> Result<T, ClientError> {
    Err(ClientError::BadRequest("this cloud has no volume service".to_owned()))
}

#[async_trait]
impl VolumeService for NoVolumes {
    async fn list_volumes(&self, _: &RequestContext) -> Result<Vec<Volume>, ClientError> {
        Ok(Vec::new())
    }

    async fn show_volume(&self, _: &RequestContext, id: &str) -> Result<Volume, ClientError> {
        Err(ClientError::not_found("volume", id))
    }

    async fn create_volume(&self, _: &RequestContext, _: NewVolume) -> Result<Volume, ClientError> {
        cannot_be_made()
    }

    async fn delete_volume(&self, _: &RequestContext, id: &str) -> Result<(), ClientError> {
        Err(ClientError::not_found("volume", id))
    }

    async fn list_snapshots(&self, _: &RequestContext) -> Result<Vec<Snapshot>, ClientError> {
        Ok(Vec::new())
    }

    async fn show_snapshot(&self, _: &RequestContext, id: &str) -> Result<Snapshot, ClientError> {
        Err(ClientError::not_found("snapshot", id))
    }

    async fn create_snapshot(&self, _: &RequestContext, _: NewSnapshot) -> Result<Snapshot, ClientError> {
        cannot_be_made()
    }

    async fn delete_snapshot(&self, _: &RequestContext, id: &str) -> Result<(), ClientError> {
        Err(ClientError::not_found("snapshot", id))
    }

    async fn reserve(&self, _: &RequestContext, id: &str) -> Result<(), ClientError> {
        Err(ClientError::not_found("volume", id))
    }

    async fn unreserve(&self, _: &RequestContext, id: &str) -> Result<(), ClientError> {
        Err(ClientError::not_found("volume", id))
    }

    async fn begin_detaching(&self, _: &RequestContext, id: &str) -> Result<(), ClientError> {
        Err(ClientError::not_found("volume", id))
    }

    async fn roll_detaching(&self, _: &RequestContext, id: &str) -> Result<(), ClientError> {
        Err(ClientError::not_found("volume", id))
    }

    async fn migrate_volume_completion(
        &self,
        _: &RequestContext,
        id: &str,
        _: &str,
        _: bool,
    ) -> Result<String, ClientError> {
        Err(ClientError::not_found("volume", id))
    }

    async fn create_attachment(&self, _: &RequestContext, id: &str, _: Uuid) -> Result<Attachment, ClientError> {
        Err(ClientError::not_found("volume", id))
    }

    async fn show_attachment(&self, _: &RequestContext, id: Uuid) -> Result<Attachment, ClientError> {
        Err(ClientError::not_found("attachment", id))
    }

    async fn update_attachment(&self, _: &RequestContext, id: Uuid, _: Value) -> Result<Attachment, ClientError> {
        Err(ClientError::not_found("attachment", id))
    }

    async fn complete_attachment(&self, _: &RequestContext, id: Uuid) -> Result<(), ClientError> {
        Err(ClientError::not_found("attachment", id))
    }

    async fn delete_attachment(&self, _: &RequestContext, _: Uuid) -> Result<(), ClientError> {
        Ok(())
    }
}
