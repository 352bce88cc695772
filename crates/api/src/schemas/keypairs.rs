//! Schemas of key pairs.

use serde_json::{Map, Value, json};

use super::{object, parameter_types as types};

pub(crate) fn create_v20() -> Value {
    keypair(types::name_with_leading_trailing_spaces(), json!({}), &["name"])
}

pub(crate) fn create() -> Value {
    keypair(name(r"^[_\- a-zA-Z0-9]+$"), json!({}), &["name"])
}

/// With a type.
pub(crate) fn create_v22() -> Value {
    keypair(name(r"^[_\- a-zA-Z0-9]+$"), json!({"type": key_type()}), &["name"])
}

/// For another user.
pub(crate) fn create_v210() -> Value {
    keypair(name(r"^[_\- a-zA-Z0-9]+$"), json!({"type": key_type(), "user_id": {"type": "string"}}), &["name"])
}

/// No longer without a public key.
pub(crate) fn create_v292() -> Value {
    let more = json!({"type": key_type(), "user_id": {"type": "string"}});
    keypair(name(r"^[_\-\@\. a-zA-Z0-9]+$"), more, &["name", "public_key"])
}

fn name(pattern: &str) -> Value {
    let characters = json!({"type": "string", "pattern": pattern, "minLength": 1, "maxLength": 255});
    json!({"allOf": [types::name(), characters]})
}

fn key_type() -> Value {
    json!({"type": "string", "enum": ["ssh", "x509"]})
}

fn keypair(name: Value, more: Value, required: &[&str]) -> Value {
    let mut properties =
        Map::from_iter([("name".to_owned(), name), ("public_key".to_owned(), json!({"type": "string"}))]);
    properties.extend(more.as_object().cloned().unwrap_or_default());
    object(json!({"keypair": object(Value::Object(properties), required)}), &["keypair"])
}

/// Somebody else's key pairs.
pub(crate) fn query_v210() -> Value {
    json!({"type": "object", "properties": {"user_id": types::common_query_param()}, "additionalProperties": true})
}

pub(crate) fn query_v275() -> Value {
    super::query::closed(query_v210())
}

/// With paging.
pub(crate) fn index_query_v235() -> Value {
    let mut schema = query_v210();
    super::query::add_pagination(&mut schema);
    schema
}

pub(crate) fn index_query_v275() -> Value {
    super::query::closed(index_query_v235())
}
