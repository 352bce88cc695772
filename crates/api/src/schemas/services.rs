//! Schemas of services.

use serde_json::{Value, json};

use super::{object, parameter_types as types};

/// The action is in the path.
pub(crate) fn update() -> Value {
    let text = json!({"type": "string", "minLength": 1, "maxLength": 255});
    object(json!({"host": types::fqdn(), "binary": text, "disabled_reason": text}), &["host", "binary"])
}

/// With `force-down`.
pub(crate) fn update_v211() -> Value {
    let mut schema = update();
    schema["properties"]["forced_down"] = types::boolean();
    schema
}

/// The service is in the path.
pub(crate) fn update_v253() -> Value {
    let properties = json!({
        "status": {"type": "string", "enum": ["enabled", "disabled"]},
        "disabled_reason": {"type": "string", "minLength": 1, "maxLength": 255},
        "forced_down": types::boolean(),
    });
    object(properties, &[])
}

pub(crate) fn index_query() -> Value {
    let text = types::common_query_param();
    json!({"type": "object", "properties": {"host": text, "binary": text}, "additionalProperties": true})
}

pub(crate) fn index_query_v275() -> Value {
    super::query::closed(index_query())
}
