//! Schemas of the image proxies.

use serde_json::{Value, json};

use super::parameter_types as types;

/// `GET /images`, `GET /images/detail`: filters are the image service's affair.
pub(crate) fn index_query() -> Value {
    let number = types::multi_params(&types::positive_integer());
    let mut properties = json!({"limit": number, "page_size": number, "offset": number});
    for filter in ["name", "status", "changes-since", "server", "type", "minRam", "minDisk", "marker"] {
        properties[filter] = json!({});
    }
    json!({
        "type": "object",
        "properties": properties,
        "patternProperties": {"^property-": {}},
        "additionalProperties": true,
    })
}
