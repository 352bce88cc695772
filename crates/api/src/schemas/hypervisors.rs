//! Schemas of hypervisors.

use serde_json::{Value, json};

use super::parameter_types as types;

/// With paging.
pub(crate) fn index_query_v233() -> Value {
    json!({"type": "object", "properties": types::pagination_parameters(), "additionalProperties": true})
}

/// With what had its own routes before.
pub(crate) fn index_query_v253() -> Value {
    json!({
        "type": "object",
        "properties": {
            "limit": types::single_param(&types::non_negative_integer()),
            "marker": types::single_param(&json!({"type": "string"})),
            "hypervisor_hostname_pattern": types::single_param(&types::fqdn()),
            "with_servers": types::single_param(&types::boolean()),
        },
        "additionalProperties": false,
    })
}

pub(crate) fn show_query_v253() -> Value {
    json!({
        "type": "object",
        "properties": {"with_servers": types::single_param(&types::boolean())},
        "additionalProperties": false,
    })
}
