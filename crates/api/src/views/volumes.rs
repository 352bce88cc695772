//! Volumes and snapshots as Nova had them, of what the volume service has.

use kilonova_clients::volume::{Snapshot, Volume};
use serde_json::{Value, json};

/// A volume; of several servers that have it, the first.
pub(crate) fn volume(volume: &Volume) -> Value {
    json!({
        "id": volume.id,
        "status": volume.status,
        "size": volume.size,
        "availabilityZone": volume.availability_zone,
        "createdAt": volume.created_at,
        "attachments": [attachment(volume)],
        "displayName": volume.name,
        "displayDescription": volume.description,
        "volumeType": volume.volume_type,
        "snapshotId": volume.snapshot_id,
        "metadata": volume.metadata,
    })
}

/// An empty object where nobody has it.
fn attachment(volume: &Volume) -> Value {
    let Some(first) = volume.attachments.first() else { return json!({}) };
    let mut shown = json!({"id": volume.id, "volumeId": volume.id, "serverId": first.server_id});
    if let Some(device) = first.device.as_deref().filter(|device| !device.is_empty()) {
        shown["device"] = json!(device);
    }
    shown
}

/// A snapshot, which is as large as its volume.
pub(crate) fn snapshot(snapshot: &Snapshot) -> Value {
    json!({
        "id": snapshot.id,
        "volumeId": snapshot.volume_id,
        "status": snapshot.status,
        "size": snapshot.size,
        "createdAt": snapshot.created_at,
        "displayName": snapshot.name,
        "displayDescription": snapshot.description,
    })
}
