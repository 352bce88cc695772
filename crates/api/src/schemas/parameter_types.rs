//! The types that many schemas share.

use serde_json::{Value, json};

pub(crate) fn name() -> Value {
    json!({"type": "string", "format": "name", "minLength": 1, "maxLength": 255})
}

/// A name of the legacy API, which strips it.
pub(crate) fn name_with_leading_trailing_spaces() -> Value {
    json!({"type": "string", "format": "name_with_leading_trailing_spaces", "minLength": 1, "maxLength": 255})
}

/// A name, or null for none.
pub(crate) fn name_or_none() -> Value {
    json!({"oneOf": [name(), {"type": "null"}]})
}

pub(crate) fn description() -> Value {
    json!({"type": ["string", "null"], "format": "description", "minLength": 0, "maxLength": 255})
}

pub(crate) fn boolean() -> Value {
    json!({
        "type": ["boolean", "string"],
        "enum": [true, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes",
            false, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no"],
    })
}

pub(crate) fn positive_integer() -> Value {
    json!({"type": ["integer", "string"], "pattern": "^[0-9]*$", "minimum": 1, "minLength": 1})
}

pub(crate) fn non_negative_integer() -> Value {
    json!({"type": ["integer", "string"], "pattern": "^[0-9]*$", "minimum": 0, "minLength": 1})
}

pub(crate) fn uuid() -> Value {
    json!({"type": "string", "format": "uuid"})
}

pub(crate) fn hostname() -> Value {
    json!({"type": "string", "pattern": "^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$", "minLength": 2, "maxLength": 63})
}

pub(crate) fn fqdn() -> Value {
    json!({"type": "string", "pattern": "^[a-zA-Z0-9-._]*$", "minLength": 1, "maxLength": 255})
}

pub(crate) fn ip_address() -> Value {
    json!({"type": "string", "oneOf": [{"format": "ipv4"}, {"format": "ipv6"}]})
}

pub(crate) fn ipv4() -> Value {
    json!({"type": "string", "format": "ipv4"})
}

pub(crate) fn ipv6() -> Value {
    json!({"type": "string", "format": "ipv6"})
}

pub(crate) fn metadata() -> Value {
    json!({
        "type": "object",
        "patternProperties": {"^[a-zA-Z0-9-_:. ]{1,255}$": {"type": "string", "maxLength": 255}},
        "additionalProperties": false,
    })
}

pub(crate) fn disk_config() -> Value {
    json!({"type": "string", "enum": ["AUTO", "MANUAL"]})
}

/// GiB.
pub(crate) fn volume_size() -> Value {
    json!({"type": ["integer", "string"], "pattern": "^[0-9]+$", "minimum": 1, "maximum": i32::MAX})
}

pub(crate) fn tag() -> Value {
    json!({"type": "string", "pattern": "^[^,/]*$", "minLength": 1, "maxLength": 60})
}

/// A query parameter that may come more than once.
pub(crate) fn multi_params(schema: &Value) -> Value {
    json!({"type": "array", "items": schema})
}

/// A query parameter that comes once.
pub(crate) fn single_param(schema: &Value) -> Value {
    json!({"type": "array", "items": schema, "maxItems": 1})
}

pub(crate) fn common_query_param() -> Value {
    multi_params(&json!({"type": "string"}))
}

pub(crate) fn common_query_regex_param() -> Value {
    multi_params(&json!({"type": "string", "format": "regex"}))
}

/// `limit` and `marker`, to be added to a query schema's properties.
pub(crate) fn pagination_parameters() -> Value {
    json!({"limit": multi_params(&non_negative_integer()), "marker": multi_params(&json!({"type": "string"}))})
}
