//! Schemas of host aggregates.

use serde_json::{Value, json};

use super::{object, parameter_types as types};

pub(crate) fn create() -> Value {
    aggregate(object(json!({"name": types::name(), "availability_zone": zone("az_name")}), &["name"]))
}

/// Spaces around names are stripped.
pub(crate) fn create_v20() -> Value {
    let zone = zone("az_name_with_leading_trailing_spaces");
    let name = types::name_with_leading_trailing_spaces();
    aggregate(object(json!({"name": name, "availability_zone": zone}), &["name"]))
}

pub(crate) fn update() -> Value {
    update_with("az_name")
}

pub(crate) fn update_v20() -> Value {
    update_with("az_name_with_leading_trailing_spaces")
}

fn update_with(zone_format: &str) -> Value {
    let name = types::name_with_leading_trailing_spaces();
    let mut schema = object(json!({"name": name, "availability_zone": zone(zone_format)}), &[]);
    schema["anyOf"] = json!([{"required": ["name"]}, {"required": ["availability_zone"]}]);
    aggregate(schema)
}

pub(crate) fn add_host() -> Value {
    host("add_host")
}

pub(crate) fn remove_host() -> Value {
    host("remove_host")
}

fn host(action: &str) -> Value {
    object(json!({action: object(json!({"host": types::fqdn()}), &["host"])}), &[action])
}

pub(crate) fn set_metadata() -> Value {
    let value = json!({"type": ["string", "null"], "maxLength": 255});
    let metadata = json!({
        "type": "object",
        "patternProperties": {"^[a-zA-Z0-9-_:. ]{1,255}$": value},
        "additionalProperties": false,
    });
    object(json!({"set_metadata": object(json!({"metadata": metadata}), &["metadata"])}), &["set_metadata"])
}

pub(crate) fn images() -> Value {
    let image = object(json!({"id": types::uuid()}), &["id"]);
    object(json!({"cache": {"type": "array", "minItems": 1, "items": image}}), &["cache"])
}

fn aggregate(schema: Value) -> Value {
    object(json!({"aggregate": schema}), &["aggregate"])
}

fn zone(format: &str) -> Value {
    json!({"oneOf": [{"type": "string", "format": format, "minLength": 1, "maxLength": 255}, {"type": "null"}]})
}
