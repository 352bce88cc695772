//! Schemas of the image proxies.

use serde_json::{Value, json};

use super::parameter_types as types;

/// `GET /images`, `GET /images/detail`: filters are the image service's affair.
pub(crate) fn index_query() -> Value {
    let number = types::multi_params(&types::positive_integer());
    json!({
        "type": "object",
        "properties": {"limit": number, "page_size": number, "offset": number},
        "additionalProperties": true,
    })
}
