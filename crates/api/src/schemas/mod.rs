//! The schemas of request bodies and query strings, as data: one file per resource, one function per schema.

pub(crate) mod aggregates;
pub(crate) mod assisted_volume_snapshots;
pub(crate) mod consoles;
pub(crate) mod external_events;
pub(crate) mod flavors;
pub(crate) mod hosts;
pub(crate) mod hypervisors;
pub(crate) mod images;
pub(crate) mod interfaces;
pub(crate) mod keypairs;
pub(crate) mod migrations;
pub(crate) mod network_proxies;
pub(crate) mod parameter_types;
mod query;
pub(crate) mod quotas;
pub(crate) mod server_groups;
pub(crate) mod server_images;
pub(crate) mod server_metadata;
pub(crate) mod servers;
pub(crate) mod services;
pub(crate) mod volume_attachments;
pub(crate) mod volumes;

use serde_json::{Value, json};

/// An object with exactly these properties.
pub(crate) fn object(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// A query string that is not looked at.
pub(crate) fn any_query() -> Value {
    json!({"type": "object", "properties": {}, "additionalProperties": true})
}

/// The same once unknown parameters are refused.
pub(crate) fn no_query() -> Value {
    object(json!({}), &[])
}

/// A body that is not looked at.
pub(crate) fn any_body() -> Value {
    json!({})
}

/// The body of an action whose value does not matter: `{"os-start": null}`.
pub(crate) fn bare_action(name: &str) -> Value {
    object(json!({name: {}}), &[name])
}
