//! Volumes, snapshots and attachments in the bodies of Cinder's API.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::volume::{AttachedTo, Attachment, NewVolume, Snapshot, Volume};

#[derive(Deserialize)]
pub(super) struct VolumeBody {
    id: String,
    status: String,
    size: i64,
    availability_zone: Option<String>,
    #[serde(default)]
    created_at: Value,
    name: Option<String>,
    description: Option<String>,
    volume_type: Option<String>,
    snapshot_id: Option<String>,
    #[serde(default)]
    multiattach: bool,
    /// The text `true` or `false`.
    #[serde(default)]
    bootable: Value,
    #[serde(default)]
    metadata: Map<String, Value>,
    volume_image_metadata: Option<Map<String, Value>>,
    #[serde(default)]
    attachments: Vec<AttachedBody>,
    migration_status: Option<String>,
}

#[derive(Deserialize)]
struct AttachedBody {
    server_id: String,
    attachment_id: Option<String>,
    device: Option<String>,
}

impl From<VolumeBody> for Volume {
    fn from(body: VolumeBody) -> Self {
        let attached = |of: AttachedBody| AttachedTo {
            server_id: of.server_id,
            attachment_id: of.attachment_id,
            device: of.device,
        };
        Self {
            is_bootable: body.bootable == json!("true") || body.bootable == json!(true),
            id: body.id,
            status: body.status,
            size: body.size,
            availability_zone: body.availability_zone,
            created_at: body.created_at,
            name: body.name,
            description: body.description,
            volume_type: body.volume_type,
            snapshot_id: body.snapshot_id,
            multiattach: body.multiattach,
            metadata: body.metadata,
            image_metadata: body.volume_image_metadata,
            attachments: body.attachments.into_iter().map(attached).collect(),
            migration_status: body.migration_status,
        }
    }
}

/// Only what is wanted is named.
pub(super) fn new_volume(new: NewVolume) -> Value {
    let mut body = json!({"size": new.size});
    let texts = [
        ("name", new.name),
        ("description", new.description),
        ("volume_type", new.volume_type),
        ("snapshot_id", new.snapshot_id),
        ("imageRef", new.image_id),
        ("availability_zone", new.availability_zone),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            body[name] = json!(value);
        }
    }
    if let Some(metadata) = new.metadata {
        body["metadata"] = Value::Object(metadata);
    }
    body
}

#[derive(Deserialize)]
pub(super) struct SnapshotBody {
    id: String,
    volume_id: String,
    status: String,
    size: i64,
    #[serde(default)]
    created_at: Value,
    name: Option<String>,
    description: Option<String>,
}

impl From<SnapshotBody> for Snapshot {
    fn from(body: SnapshotBody) -> Self {
        let SnapshotBody { id, volume_id, status, size, created_at, name, description } = body;
        Self { id, volume_id, status, size, created_at, name, description }
    }
}

#[derive(Deserialize)]
pub(super) struct AttachmentBody {
    id: Uuid,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    attach_mode: Option<String>,
    #[serde(default)]
    connection_info: Option<Map<String, Value>>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Cinder has how to connect in one flat map, and Nova's mappings keep it under `data`, beside what is known of the
/// attachment.
impl From<AttachmentBody> for Attachment {
    fn from(body: AttachmentBody) -> Self {
        let AttachmentBody { id, status, attach_mode, connection_info, mut rest } = body;
        let mut info = Map::new();
        if let Some(mut data) = connection_info.filter(|data| !data.is_empty()) {
            data.remove("attachment_id");
            info.insert("driver_volume_type".to_owned(), data.remove("driver_volume_type").unwrap_or_default());
            info.insert("data".to_owned(), Value::Object(data));
            info.insert("status".to_owned(), json!(status));
            for name in ["instance", "attached_at", "detached_at"] {
                info.insert(name.to_owned(), rest.remove(name).unwrap_or_default());
            }
            info.extend(rest);
        }
        Self { id, status: status.unwrap_or_default(), attach_mode, connection_info: info }
    }
}
