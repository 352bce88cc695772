//! Schemas of moves between hosts and of their records.

use serde_json::{Value, json};

use super::query::closed;
use super::{object, parameter_types as types};

/// `resize`
pub(crate) fn resize() -> Value {
    let properties = json!({
        "flavorRef": {"type": ["string", "integer"], "minLength": 1},
        "OS-DCF:diskConfig": types::disk_config(),
    });
    object(json!({"resize": object(properties, &["flavorRef"])}), &["resize"])
}

/// A host, or null for any.
fn host_or_null() -> Value {
    let mut host = types::fqdn();
    host["type"] = json!(["string", "null"]);
    host
}

/// `migrate` since 2.56: to a host that may be named.
pub(crate) fn migrate_v256() -> Value {
    let mut migrate = object(json!({"host": host_or_null()}), &[]);
    migrate["type"] = json!(["object", "null"]);
    object(json!({"migrate": migrate}), &["migrate"])
}

/// `os-migrateLive`
pub(crate) fn migrate_live() -> Value {
    let properties = json!({
        "block_migration": types::boolean(), "disk_over_commit": types::boolean(), "host": host_or_null(),
    });
    let required = ["block_migration", "disk_over_commit", "host"];
    object(json!({"os-migrateLive": object(properties, &required)}), &["os-migrateLive"])
}

/// Since 2.25: `auto`, and no overcommit. From 2.68 on the same again.
pub(crate) fn migrate_live_v225() -> Value {
    object(json!({"os-migrateLive": live_since_v225(json!({}))}), &["os-migrateLive"])
}

/// Since 2.30: a host that the scheduler is not asked about.
pub(crate) fn migrate_live_v230() -> Value {
    object(json!({"os-migrateLive": live_since_v225(json!({"force": types::boolean()}))}), &["os-migrateLive"])
}

fn live_since_v225(more: Value) -> Value {
    let mut block_migration = types::boolean();
    if let Some(values) = block_migration["enum"].as_array_mut() {
        values.push(json!("auto"));
    }
    let mut properties = json!({"block_migration": block_migration, "host": host_or_null()});
    merge(&mut properties, more);
    object(properties, &["block_migration", "host"])
}

fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

/// `evacuate`
pub(crate) fn evacuate() -> Value {
    evacuate_with(json!({"onSharedStorage": types::boolean()}), &["onSharedStorage"])
}

/// Since 2.14: the host finds out by itself. From 2.68 on the same again.
pub(crate) fn evacuate_v214() -> Value {
    evacuate_with(json!({}), &[])
}

/// Since 2.29: a host that the scheduler is not asked about.
pub(crate) fn evacuate_v229() -> Value {
    evacuate_with(json!({"force": types::boolean()}), &[])
}

fn evacuate_with(more: Value, required: &[&str]) -> Value {
    let mut properties = json!({"host": types::fqdn(), "adminPass": {"type": "string"}});
    merge(&mut properties, more);
    object(json!({"evacuate": object(properties, required)}), &["evacuate"])
}

/// `force_complete` of a live migration.
pub(crate) fn force_complete() -> Value {
    object(json!({"force_complete": {"type": "null"}}), &["force_complete"])
}

/// `GET /os-migrations`
pub(crate) fn index_query() -> Value {
    let names = ["hidden", "host", "instance_uuid", "source_compute", "status", "migration_type"];
    let mut schema = json!({"type": "object", "properties": {}, "additionalProperties": true});
    for name in names {
        schema["properties"][name] = types::common_query_param();
    }
    schema
}

/// Since 2.59: pages, and changes since.
pub(crate) fn index_query_v259() -> Value {
    let mut schema = closed(index_query());
    schema["properties"]["limit"] = types::single_param(&types::non_negative_integer());
    schema["properties"]["marker"] = types::single_param(&json!({"type": "string"}));
    schema["properties"]["changes-since"] = instant();
    schema
}

/// Since 2.66: changes before.
pub(crate) fn index_query_v266() -> Value {
    let mut schema = index_query_v259();
    schema["properties"]["changes-before"] = instant();
    schema
}

/// Since 2.80: of a user or a project.
pub(crate) fn index_query_v280() -> Value {
    let mut schema = index_query_v266();
    for name in ["user_id", "project_id"] {
        schema["properties"][name] = types::single_param(&json!({"type": "string"}));
    }
    schema
}

fn instant() -> Value {
    types::single_param(&json!({"type": "string", "format": "date-time"}))
}
