//! How an image looks in JSON.

use kilonova_core::time::isotime;
use kilonova_db::image::{ImageRow, MemberRow};
use serde_json::{Map, Value, json};

/// An image with its properties on the same level, as Glance has it.
pub(super) fn image(row: &ImageRow) -> Value {
    let mut view: Map<String, Value> =
        row.properties.0.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let base = json!({
        "id": row.id,
        "name": row.name,
        "status": row.status,
        "visibility": row.visibility,
        "protected": row.is_protected,
        "os_hidden": row.is_hidden,
        "checksum": row.checksum,
        "os_hash_algo": row.os_hash_algo,
        "os_hash_value": row.os_hash_value,
        "owner": row.owner,
        "size": row.size,
        "virtual_size": row.virtual_size,
        "container_format": row.container_format,
        "disk_format": row.disk_format,
        "created_at": isotime(row.created_at),
        "updated_at": isotime(row.updated_at),
        "min_disk": row.min_disk,
        "min_ram": row.min_ram,
        "tags": row.tags.0,
        "self": format!("/v2/images/{}", row.id),
        "file": format!("/v2/images/{}/file", row.id),
        "schema": "/v2/schemas/image",
    });
    if let Value::Object(base) = base {
        view.extend(base);
    }
    Value::Object(view)
}

pub(super) fn member(row: &MemberRow) -> Value {
    json!({
        "image_id": row.image_id,
        "member_id": row.member,
        "status": row.status,
        "created_at": isotime(row.created_at),
        "updated_at": isotime(row.updated_at),
        "schema": "/v2/schemas/member",
    })
}
