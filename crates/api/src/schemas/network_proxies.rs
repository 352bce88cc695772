//! Schemas of what is the network service's. Nova has never looked closely.

use serde_json::{Value, json};

use super::parameter_types as types;

fn open(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": true})
}

pub(crate) fn create_floating_ip() -> Value {
    json!({"type": ["object", "null"], "properties": {"pool": {"type": ["string", "null"]}}})
}

pub(crate) fn security_groups_query() -> Value {
    let properties = json!({
        "limit": types::multi_params(&types::non_negative_integer()),
        "offset": types::multi_params(&types::non_negative_integer()),
        "all_tenants": types::multi_params(&json!({"type": "string"})),
    });
    open(properties, &[])
}

pub(crate) fn security_group() -> Value {
    let text = json!({"type": "string", "minLength": 0, "maxLength": 255});
    let group = open(json!({"name": text, "description": text}), &["name", "description"]);
    open(json!({"security_group": group}), &["security_group"])
}

pub(crate) fn create_rule() -> Value {
    let properties = json!({
        "group_id": {"type": ["string", "null"], "format": "uuid"},
        "parent_group_id": types::uuid(),
        "to_port": {},
        "from_port": {},
        "ip_protocol": {},
        "cidr": {},
    });
    open(json!({"security_group_rule": open(properties, &["parent_group_id"])}), &["security_group_rule"])
}
