//! Schemas of server groups.

use serde_json::{Value, json};

use super::{object, parameter_types as types, query};

const HARD: &[&str] = &["anti-affinity", "affinity"];
const ALL: &[&str] = &["anti-affinity", "affinity", "soft-anti-affinity", "soft-affinity"];

pub(crate) fn create() -> Value {
    one_of_several(HARD)
}

/// With soft policies.
pub(crate) fn create_v215() -> Value {
    one_of_several(ALL)
}

/// A list of policies, which is one.
fn one_of_several(policies: &[&str]) -> Value {
    let policy = json!({"type": "string", "enum": policies});
    let policies = json!({"type": "array", "items": policy, "uniqueItems": true, "minItems": 1, "maxItems": 1});
    group(json!({"name": types::name(), "policies": policies}), &["name", "policies"])
}

/// With a policy and its rules.
pub(crate) fn create_v264() -> Value {
    let rules = object(json!({"max_server_per_host": types::positive_integer()}), &[]);
    let policy = json!({"type": "string", "enum": ALL});
    group(json!({"name": types::name(), "policy": policy, "rules": rules}), &["name", "policy"])
}

fn group(properties: Value, required: &[&str]) -> Value {
    object(json!({"server_group": object(properties, required)}), &["server_group"])
}

pub(crate) fn index_query() -> Value {
    let number = types::multi_params(&types::non_negative_integer());
    let properties = json!({"all_projects": types::common_query_param(), "limit": number, "offset": number});
    json!({"type": "object", "properties": properties, "additionalProperties": true})
}

pub(crate) fn index_query_v275() -> Value {
    query::closed(index_query())
}
