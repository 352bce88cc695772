//! Schemas of hosts.

use serde_json::{Value, json};

use super::{object, parameter_types as types};

pub(crate) fn index_query() -> Value {
    json!({"type": "object", "properties": {"zone": types::common_query_param()}, "additionalProperties": true})
}

pub(crate) fn update() -> Value {
    let mode = json!({"type": "string", "enum": ["enable", "disable", "Enable", "Disable", "ENABLE", "DISABLE"]});
    let mut schema = object(json!({"status": mode, "maintenance_mode": mode}), &[]);
    schema["anyOf"] = json!([{"required": ["status"]}, {"required": ["maintenance_mode"]}]);
    schema
}
