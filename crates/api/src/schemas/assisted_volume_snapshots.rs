//! Schemas of snapshots that the volume service takes with a hypervisor's help.

use serde_json::{Value, json};

use super::{object, parameter_types as types};

pub(crate) fn create() -> Value {
    let text = json!({"type": "string", "minLength": 1});
    let create_info = object(
        json!({"snapshot_id": text, "type": {"type": "string", "enum": ["qcow2"]}, "new_file": text, "id": text}),
        &["snapshot_id", "type", "new_file"],
    );
    let snapshot = object(json!({"volume_id": text, "create_info": create_info}), &["volume_id", "create_info"]);
    object(json!({"snapshot": snapshot}), &["snapshot"])
}

pub(crate) fn delete_query() -> Value {
    json!({"type": "object", "properties": {"delete_info": types::common_query_param()}, "additionalProperties": true})
}

pub(crate) fn delete_query_v275() -> Value {
    super::query::closed(delete_query())
}
