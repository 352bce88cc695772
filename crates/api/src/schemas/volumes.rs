//! Schemas of volumes and of their snapshots, up to 2.35; nothing of them is looked at closely.

use serde_json::{Value, json};

use super::{object, parameter_types as types};

/// `limit` and `offset`.
pub(crate) fn index_query() -> Value {
    let number = types::multi_params(&types::non_negative_integer());
    json!({"type": "object", "properties": {"limit": number, "offset": number}, "additionalProperties": true})
}

pub(crate) fn create() -> Value {
    let text = json!({"type": "string"});
    let properties = json!({
        "volume_type": text,
        "metadata": {"type": "object", "properties": {}, "additionalProperties": true},
        "snapshot_id": text,
        "size": {"type": ["integer", "string"], "pattern": "^[0-9]+$", "minimum": 1},
        "availability_zone": text,
        "display_name": text,
        "display_description": text,
    });
    object(json!({"volume": object(properties, &["size"])}), &["volume"])
}

pub(crate) fn create_snapshot() -> Value {
    let text = json!({"type": "string"});
    let properties = json!({
        "volume_id": text,
        "force": types::boolean(),
        "display_name": text,
        "display_description": text,
    });
    object(json!({"snapshot": object(properties, &["volume_id"])}), &["snapshot"])
}
