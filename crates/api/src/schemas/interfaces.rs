//! Schemas of interfaces and of fixed and floating addresses of servers.

use serde_json::{Value, json};

use super::{object, parameter_types as types};

fn interface(mut properties: Value) -> Value {
    let address = object(json!({"ip_address": types::ip_address()}), &["ip_address"]);
    properties["net_id"] = types::uuid();
    properties["port_id"] = json!({"type": ["string", "null"], "format": "uuid"});
    properties["fixed_ips"] = json!({"type": "array", "minItems": 1, "maxItems": 1, "items": address});
    object(json!({"interfaceAttachment": object(properties, &[])}), &[])
}

pub(crate) fn create() -> Value {
    interface(json!({}))
}

/// With `tag`.
pub(crate) fn create_v249() -> Value {
    interface(json!({"tag": types::tag()}))
}

fn action(name: &str, properties: Value, required: &[&str]) -> Value {
    object(json!({name: object(properties, required)}), &[name])
}

pub(crate) fn add_fixed_ip() -> Value {
    let network_id = json!({"type": ["string", "number"], "minLength": 1, "maxLength": 36});
    action("addFixedIp", json!({"networkId": network_id}), &["networkId"])
}

pub(crate) fn remove_fixed_ip() -> Value {
    action("removeFixedIp", json!({"address": types::ip_address()}), &["address"])
}

pub(crate) fn add_floating_ip() -> Value {
    let properties = json!({"address": types::ip_address(), "fixed_address": types::ip_address()});
    action("addFloatingIp", properties, &["address"])
}

pub(crate) fn remove_floating_ip() -> Value {
    action("removeFloatingIp", json!({"address": types::ip_address()}), &["address"])
}

/// Nova lets other keys through beside the action, and the table of routes does not.
pub(crate) fn add_security_group() -> Value {
    action("addSecurityGroup", json!({"name": {"type": "string", "minLength": 1}}), &["name"])
}

pub(crate) fn remove_security_group() -> Value {
    action("removeSecurityGroup", json!({"name": {"type": "string", "minLength": 1}}), &["name"])
}
