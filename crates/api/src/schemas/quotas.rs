//! Schemas of limits, quotas and usage.

use serde_json::{Map, Value, json};

use super::{object, parameter_types as types};
use crate::compute::quota_sets::{FILES, NETWORK, RESOURCES};

pub(crate) fn limits_query() -> Value {
    json!({"type": "object", "properties": {"tenant_id": types::common_query_param()}, "additionalProperties": true})
}

pub(crate) fn limits_query_v275() -> Value {
    super::query::closed(limits_query())
}

/// Every resource but these.
fn limits_without(left_out: &[&[&str]]) -> Map<String, Value> {
    let limit = json!({
        "type": ["integer", "string"],
        "pattern": "^-?[0-9]+$",
        "minimum": -1,
        "maximum": i32::MAX,
    });
    let kept = RESOURCES.iter().filter(|resource| !left_out.iter().any(|group| group.contains(resource)));
    kept.map(|resource| ((*resource).to_owned(), limit.clone())).collect()
}

fn quota_set(left_out: &[&[&str]]) -> Value {
    let mut limits = limits_without(left_out);
    limits.insert("force".to_owned(), types::boolean());
    object(json!({"quota_set": object(Value::Object(limits), &[])}), &["quota_set"])
}

pub(crate) fn update() -> Value {
    quota_set(&[])
}

pub(crate) fn update_v236() -> Value {
    quota_set(&[NETWORK])
}

pub(crate) fn update_v257() -> Value {
    quota_set(&[NETWORK, FILES])
}

/// For the limits of one user.
pub(crate) fn query() -> Value {
    json!({"type": "object", "properties": {"user_id": types::common_query_param()}, "additionalProperties": true})
}

pub(crate) fn query_v275() -> Value {
    super::query::closed(query())
}

fn quota_class_set(left_out: &[&[&str]]) -> Value {
    let limits = Value::Object(limits_without(left_out));
    object(json!({"quota_class_set": object(limits, &[])}), &["quota_class_set"])
}

pub(crate) fn update_class() -> Value {
    quota_class_set(&[])
}

pub(crate) fn update_class_v250() -> Value {
    quota_class_set(&[NETWORK])
}

pub(crate) fn update_class_v257() -> Value {
    quota_class_set(&[NETWORK, FILES])
}

pub(crate) fn usages_query() -> Value {
    let text = types::common_query_param();
    json!({
        "type": "object",
        "properties": {"start": text, "end": text, "detailed": text},
        "additionalProperties": true,
    })
}

/// With paging.
pub(crate) fn usages_query_v240() -> Value {
    let mut schema = usages_query();
    super::query::add_pagination(&mut schema);
    schema
}

pub(crate) fn usages_query_v275() -> Value {
    super::query::closed(usages_query_v240())
}

pub(crate) fn usage_query() -> Value {
    let text = types::common_query_param();
    json!({"type": "object", "properties": {"start": text, "end": text}, "additionalProperties": true})
}

/// With paging.
pub(crate) fn usage_query_v240() -> Value {
    let mut schema = usage_query();
    super::query::add_pagination(&mut schema);
    schema
}

pub(crate) fn usage_query_v275() -> Value {
    super::query::closed(usage_query_v240())
}
