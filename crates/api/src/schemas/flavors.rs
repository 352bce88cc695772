//! Schemas of flavors, their extra specs and their access lists.

use serde_json::{Value, json};

use super::{object, parameter_types as types};

/// `GET /flavors` can be sorted by these.
const SORT_KEYS: [&str; 15] = [
    "created_at",
    "description",
    "disabled",
    "ephemeral_gb",
    "flavorid",
    "id",
    "is_public",
    "memory_mb",
    "name",
    "root_gb",
    "rxtx_factor",
    "swap",
    "updated_at",
    "vcpu_weight",
    "vcpus",
];

pub(crate) fn create_v20() -> Value {
    create_named(types::name_with_leading_trailing_spaces())
}

pub(crate) fn create() -> Value {
    create_named(types::name())
}

/// With a description.
pub(crate) fn create_v255() -> Value {
    let mut schema = create();
    schema["properties"]["flavor"]["properties"]["description"] = description();
    schema
}

/// Without `rxtx_factor`.
pub(crate) fn create_v2102() -> Value {
    let mut schema = create_v255();
    if let Some(properties) = schema["properties"]["flavor"]["properties"].as_object_mut() {
        properties.remove("rxtx_factor");
    }
    schema
}

pub(crate) fn update() -> Value {
    object(json!({"flavor": object(json!({"description": description()}), &["description"])}), &["flavor"])
}

fn create_named(name: Value) -> Value {
    let positive = types::volume_size();
    let mut non_negative = types::volume_size();
    non_negative["minimum"] = json!(0);
    let flavor = json!({
        "name": name,
        "id": {
            "type": ["string", "number", "null"],
            "minLength": 1,
            "maxLength": 255,
            "pattern": "^(?! )[a-zA-Z0-9. _-]+(?<! )$",
        },
        "ram": positive,
        "vcpus": positive,
        "disk": non_negative,
        "OS-FLV-EXT-DATA:ephemeral": non_negative,
        "swap": non_negative,
        "rxtx_factor": {
            "type": ["number", "string"],
            "pattern": r"^[0-9]+(\.[0-9]+)?$",
            "exclusiveMinimum": 0,
            "maximum": 3.402_82e38,
        },
        "os-flavor-access:is_public": types::boolean(),
    });
    object(json!({"flavor": object(flavor, &["name", "ram", "vcpus", "disk"])}), &["flavor"])
}

/// Longer than other descriptions: the column is a TEXT.
fn description() -> Value {
    json!({"type": ["string", "null"], "format": "description", "minLength": 0, "maxLength": 65_535})
}

pub(crate) fn index_query() -> Value {
    let text = types::common_query_param();
    let one_of = |words: &[&str]| types::multi_params(&json!({"type": "string", "enum": words}));
    json!({
        "type": "object",
        "properties": {
            "limit": types::multi_params(&types::non_negative_integer()),
            "marker": text,
            "is_public": text,
            "minRam": text,
            "minDisk": text,
            "sort_key": one_of(&SORT_KEYS),
            "sort_dir": one_of(&["asc", "desc"]),
        },
        "additionalProperties": true,
    })
}

pub(crate) fn index_query_v275() -> Value {
    super::query::closed(index_query())
}

/// With a name, and no longer by `rxtx_factor`.
pub(crate) fn index_query_v2102() -> Value {
    let mut schema = index_query_v275();
    schema["properties"]["name"] = types::common_query_param();
    let keys: Vec<&str> = SORT_KEYS.into_iter().filter(|key| *key != "rxtx_factor").collect();
    schema["properties"]["sort_key"]["items"]["enum"] = json!(keys);
    schema
}

pub(crate) fn add_tenant_access() -> Value {
    tenant_access("addTenantAccess")
}

pub(crate) fn remove_tenant_access() -> Value {
    tenant_access("removeTenantAccess")
}

fn tenant_access(action: &str) -> Value {
    let tenant = json!({"type": "string", "minLength": 1, "maxLength": 255});
    object(json!({action: object(json!({"tenant": tenant}), &["tenant"])}), &[action])
}

/// Values may be numbers; they are kept as text.
fn extra_specs() -> Value {
    json!({
        "type": "object",
        "patternProperties": {"^[a-zA-Z0-9-_:. ]{1,255}$": {"type": ["string", "number"], "maxLength": 255}},
        "additionalProperties": false,
    })
}

pub(crate) fn create_extra_specs() -> Value {
    object(json!({"extra_specs": extra_specs()}), &["extra_specs"])
}

pub(crate) fn update_extra_spec() -> Value {
    let mut schema = extra_specs();
    schema["minProperties"] = json!(1);
    schema["maxProperties"] = json!(1);
    schema
}
