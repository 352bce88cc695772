//! What query schemas are made of.

use serde_json::{Value, json};

use super::parameter_types as types;

/// The same, but an unknown parameter is refused instead of dropped.
pub(super) fn closed(mut schema: Value) -> Value {
    schema["additionalProperties"] = json!(false);
    schema
}

/// With `limit` and `marker`.
pub(super) fn add_pagination(schema: &mut Value) {
    if let (Some(properties), Value::Object(more)) =
        (schema["properties"].as_object_mut(), types::pagination_parameters())
    {
        properties.extend(more);
    }
}
