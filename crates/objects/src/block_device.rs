//! Block device mappings.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

crate::versioned_object! {
    /// Where a disk of an instance comes from and where it goes.
    BlockDeviceMapping, "BlockDeviceMapping", "1.21", {
        [lazy] id: i64,
        [lazy] uuid: Option<Uuid>,
        [lazy] instance_uuid: Option<Uuid>,
        [lazy] instance: Option<Value>,
        source_type: Option<String>,
        destination_type: Option<String>,
        guest_format: Option<String>,
        device_type: Option<String>,
        disk_bus: Option<String>,
        boot_index: Option<i64>,
        device_name: Option<String>,
        delete_on_termination: bool,
        snapshot_id: Option<String>,
        volume_id: Option<String>,
        volume_size: Option<i64>,
        image_id: Option<String>,
        no_device: bool,
        /// JSON text.
        connection_info: Option<String>,
        tag: Option<String>,
        [lazy] attachment_id: Option<Uuid>,
        volume_type: Option<String>,
        encrypted: bool,
        encryption_secret_uuid: Option<Uuid>,
        encryption_format: Option<String>,
        encryption_options: Option<String>,
        [lazy] created_at: Option<DateTime<Utc>>,
        [lazy] updated_at: Option<DateTime<Utc>>,
        [lazy] deleted_at: Option<DateTime<Utc>>,
        [lazy] deleted: bool,
    }
}

crate::object_list!(
    /// The disks of one instance.
    BlockDeviceMappingList, "1.18", BlockDeviceMapping
);
