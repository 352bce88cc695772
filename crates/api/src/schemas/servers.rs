//! Schemas of servers. A function that takes a microversion makes the schema of the range that begins there.

use kilonova_core::Microversion;
use serde_json::{Map, Value, json};

use super::{object, parameter_types as types};
use crate::versions::{
    LEGACY, V2_19, V2_26, V2_32, V2_33, V2_37, V2_42, V2_52, V2_57, V2_63, V2_66, V2_67, V2_73, V2_74, V2_75, V2_90,
    V2_94, V2_104,
};

/// `POST /servers`
pub(crate) fn create(version: Microversion) -> Value {
    let required: &[&str] = if version >= V2_37 { &["name", "flavorRef", "networks"] } else { &["name", "flavorRef"] };
    let server = object(Value::Object(create_properties(version)), required);
    let properties = json!({"server": server, "os:scheduler_hints": hints(), "OS-SCH-HNT:scheduler_hints": hints()});
    object(properties, &["server"])
}

fn create_properties(version: Microversion) -> Map<String, Value> {
    let name = if version == LEGACY { types::name_with_leading_trailing_spaces() } else { types::name() };
    let user_data = if version == LEGACY { json!(["string", "null"]) } else { json!("string") };
    let mut properties = json_map(json!({
        "name": name,
        "imageRef": {"oneOf": [types::uuid(), {"type": "string", "maxLength": 0}]},
        "flavorRef": {"type": ["string", "integer"], "minLength": 1},
        "adminPass": {"type": "string"},
        "metadata": types::metadata(),
        "networks": networks(version),
        "OS-DCF:diskConfig": types::disk_config(),
        "accessIPv4": types::ipv4(),
        "accessIPv6": types::ipv6(),
        "availability_zone": name,
        "block_device_mapping": {"type": "array", "items": block_device()},
        "block_device_mapping_v2": {"type": "array", "items": block_device_v2(version)},
        "config_drive": types::boolean(),
        "key_name": name,
        "min_count": types::positive_integer(),
        "max_count": types::positive_integer(),
        "return_reservation_id": types::boolean(),
        "security_groups": {"type": "array", "items": object(json!({"name": name}), &[])},
        "user_data": {"type": user_data, "format": "base64", "maxLength": 65535},
    }));
    let mut add = |from: Microversion, name: &str, schema: Value| {
        if version >= from {
            properties.insert(name.to_owned(), schema);
        }
    };
    add(V2_19, "description", types::description());
    add(V2_52, "tags", json!({"type": "array", "items": types::tag(), "maxItems": 50}));
    add(V2_63, "trusted_image_certificates", trusted_certs());
    add(V2_74, "host", types::fqdn());
    add(V2_74, "hypervisor_hostname", types::fqdn());
    add(V2_90, "hostname", hostname(version));
    if version < V2_57 {
        properties.insert("personality".to_owned(), personality());
    }
    properties
}

pub(super) fn hostname(version: Microversion) -> Value {
    if version >= V2_94 { types::fqdn() } else { types::hostname() }
}

pub(super) fn trusted_certs() -> Value {
    let id = json!({"type": "string", "minLength": 1});
    json!({"type": ["array", "null"], "minItems": 1, "maxItems": 50, "uniqueItems": true, "items": id})
}

pub(super) fn personality() -> Value {
    let file = object(json!({"path": {"type": "string"}, "contents": {"type": "string", "format": "base64"}}), &[]);
    json!({"type": "array", "items": file})
}

/// The `tag` of devices came in 2.32, was lost by mistake (networks in 2.37, block devices in 2.33), and is back since
/// 2.42.
fn networks(version: Microversion) -> Value {
    let uuid = if version >= V2_37 { types::uuid() } else { json!({"type": "string"}) };
    let port = json!({"type": ["string", "null"], "format": "uuid"});
    let mut properties = json_map(json!({"fixed_ip": types::ip_address(), "port": port, "uuid": uuid}));
    if (V2_32..V2_37).contains(&version) || version >= V2_42 {
        properties.insert("tag".to_owned(), types::tag());
    }
    let list = json!({"type": "array", "items": object(Value::Object(properties), &[])});
    if version < V2_37 {
        return list;
    }
    json!({"oneOf": [list, {"type": "string", "enum": ["none", "auto"]}]})
}

fn block_device() -> Value {
    object(
        json!({
            "virtual_name": {"type": "string", "maxLength": 255},
            "volume_id": types::uuid(),
            "snapshot_id": types::uuid(),
            "volume_size": types::volume_size(),
            "device_name": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9._/-]*$"},
            "delete_on_termination": types::boolean(),
            "no_device": {},
            "connection_info": {"type": "string", "maxLength": 16777215},
        }),
        &[],
    )
}

fn block_device_v2(version: Microversion) -> Value {
    let mut schema = block_device();
    let text = json!({"type": "string", "maxLength": 255});
    let more = json_map(json!({
        "source_type": {"type": "string", "enum": ["volume", "image", "snapshot", "blank"]},
        "uuid": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9._-]*$"},
        "image_id": types::uuid(),
        "destination_type": {"type": "string", "enum": ["local", "volume"]},
        "guest_format": text,
        "device_type": text,
        "disk_bus": text,
        "boot_index": {"type": ["integer", "string", "null"], "pattern": "^-?[0-9]+$"},
    }));
    for (name, property) in more {
        schema["properties"][name] = property;
    }
    if (V2_32..V2_33).contains(&version) || version >= V2_42 {
        schema["properties"]["tag"] = types::tag();
    }
    if version >= V2_67 {
        schema["properties"]["volume_type"] = json!({"type": ["string", "null"], "minLength": 0, "maxLength": 255});
    }
    schema
}

fn hints() -> Value {
    let uuid_or_uuids = json!({"oneOf": [{"type": "array", "items": types::uuid()}, types::uuid()]});
    json!({
        "type": "object",
        "properties": {
            "group": uuid_or_uuids,
            "different_host": uuid_or_uuids,
            "same_host": {"type": ["string", "array"], "items": types::uuid()},
            "query": {"type": ["string", "object"]},
            "target_cell": types::name(),
            "different_cell": {"type": ["string", "array"], "items": {"type": "string"}},
            "build_near_host_ip": types::ip_address(),
            "cidr": {"type": "string", "pattern": "^/[0-9a-f.:]+$"},
        },
        "additionalProperties": true,
    })
}

/// `PUT /servers/{id}`
pub(crate) fn update(version: Microversion) -> Value {
    let name = if version == LEGACY { types::name_with_leading_trailing_spaces() } else { types::name() };
    let mut properties = json_map(json!({
        "name": name,
        "OS-DCF:diskConfig": types::disk_config(),
        "accessIPv4": types::ipv4(),
        "accessIPv6": types::ipv6(),
    }));
    if version >= V2_19 {
        properties.insert("description".to_owned(), types::description());
    }
    if version >= V2_90 {
        properties.insert("hostname".to_owned(), hostname(version));
    }
    if version >= V2_104 {
        properties.insert("pinned_availability_zone".to_owned(), types::name_or_none());
    }
    object(json!({"server": object(Value::Object(properties), &[])}), &["server"])
}

/// `POST /servers/{server_id}/shares`
pub(crate) fn create_share() -> Value {
    let tag = json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9-]*$"});
    object(json!({"share": object(json!({"share_id": types::uuid(), "tag": tag}), &["share_id"])}), &["share"])
}

/// Sort keys that are accepted and have no effect.
pub(crate) const IGNORED_SORT_KEYS: [&str; 22] = [
    "architecture",
    "cell_name",
    "cleaned",
    "default_ephemeral_device",
    "default_swap_device",
    "deleted",
    "deleted_at",
    "disable_terminate",
    "ephemeral_gb",
    "ephemeral_key_uuid",
    "id",
    "key_data",
    "launched_on",
    "locked",
    "memory_mb",
    "os_type",
    "reservation_id",
    "root_gb",
    "shutdown_terminate",
    "user_data",
    "vcpus",
    "vm_mode",
];

const SORT_KEYS: [&str; 29] = [
    "access_ip_v4",
    "access_ip_v6",
    "auto_disk_config",
    "availability_zone",
    "config_drive",
    "created_at",
    "display_description",
    "display_name",
    "host",
    "hostname",
    "image_ref",
    "instance_type_id",
    "kernel_id",
    "key_name",
    "launch_index",
    "launched_at",
    "locked_by",
    "node",
    "power_state",
    "progress",
    "project_id",
    "ramdisk_id",
    "root_device_name",
    "task_state",
    "terminated_at",
    "updated_at",
    "user_id",
    "uuid",
    "vm_state",
];

/// Filters that name a table instead of a column; they are let through to be refused with a sentence of their own.
pub(crate) const JOINED_TABLES: [&str; 7] =
    ["block_device_mapping", "services", "metadata", "system_metadata", "info_cache", "security_groups", "pci_devices"];

/// `GET /servers`, `GET /servers/detail`
pub(crate) fn index_query(version: Microversion) -> Value {
    let mut properties = json_map(types::pagination_parameters());
    for name in [
        "user_id",
        "project_id",
        "tenant_id",
        "launch_index",
        "image_ref",
        "image",
        "vm_state",
        "task_state",
        "host",
        "uuid",
        "sort_dir",
        "all_tenants",
        "soft_deleted",
        "deleted",
        "status",
    ]
    .into_iter()
    .chain(JOINED_TABLES)
    {
        properties.insert(name.to_owned(), types::common_query_param());
    }
    for name in [
        "kernel_id",
        "ramdisk_id",
        "hostname",
        "key_name",
        "power_state",
        "node",
        "flavor",
        "reservation_id",
        "launched_at",
        "terminated_at",
        "availability_zone",
        "name",
        "display_name",
        "description",
        "display_description",
        "locked_by",
        "root_device_name",
        "config_drive",
        "access_ip_v4",
        "access_ip_v6",
        "auto_disk_config",
        "progress",
        "ip",
        "ip6",
        "created_at",
    ] {
        properties.insert(name.to_owned(), types::common_query_regex_param());
    }
    let time = types::multi_params(&json!({"type": "string", "format": "date-time"}));
    properties.insert("sort_key".to_owned(), types::multi_params(&sort_key(version)));
    properties.insert("changes-since".to_owned(), time.clone());
    if version >= V2_26 {
        for name in ["tags", "tags-any", "not-tags", "not-tags-any"] {
            properties.insert(name.to_owned(), types::common_query_regex_param());
        }
    }
    if version >= V2_66 {
        properties.insert("changes-before".to_owned(), time);
    }
    if version >= V2_73 {
        properties.insert("locked".to_owned(), types::common_query_param());
    }
    json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": version < V2_75,
        "patternProperties": {"^_": types::common_query_param()},
    })
}

fn sort_key(version: Microversion) -> Value {
    // `locked` is ignored before 2.73 and a real key from then on.
    let ignored = IGNORED_SORT_KEYS.iter().filter(|key| version < V2_75 && **key != "locked");
    let keys: Vec<&str> = SORT_KEYS.iter().chain(ignored).copied().chain(["locked"]).collect();
    json!({"type": "string", "enum": keys})
}

/// `reboot`
pub(crate) fn reboot() -> Value {
    let kind = json!({"type": "string", "enum": ["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]});
    object(json!({"reboot": object(json!({"type": kind}), &["type"])}), &["reboot"])
}

/// `os-getConsoleOutput`
pub(crate) fn get_console_output() -> Value {
    let length = json!({"type": ["integer", "string", "null"], "pattern": "^-?[0-9]+$", "minimum": -1});
    object(json!({"os-getConsoleOutput": object(json!({"length": length}), &[])}), &["os-getConsoleOutput"])
}

/// `rescue`
pub(crate) fn rescue() -> Value {
    let mut rescue = object(json!({"adminPass": {"type": "string"}, "rescue_image_ref": types::uuid()}), &[]);
    rescue["type"] = json!(["object", "null"]);
    object(json!({"rescue": rescue}), &["rescue"])
}

/// `changePassword`
pub(crate) fn change_password() -> Value {
    let change = object(json!({"adminPass": {"type": "string"}}), &["adminPass"]);
    object(json!({"changePassword": change}), &["changePassword"])
}

/// `trigger_crash_dump`
pub(crate) fn trigger_crash_dump() -> Value {
    object(json!({"trigger_crash_dump": {"type": "null"}}), &["trigger_crash_dump"])
}

/// `os-resetState`
pub(crate) fn reset_state() -> Value {
    let state = json!({"type": "string", "enum": ["active", "error"]});
    object(json!({"os-resetState": object(json!({"state": state}), &["state"])}), &["os-resetState"])
}

/// `lock` since 2.73
pub(crate) fn lock_with_reason() -> Value {
    let reason = json!({"type": "string", "minLength": 1, "maxLength": 255});
    let mut lock = object(json!({"locked_reason": reason}), &[]);
    lock["type"] = json!(["object", "null"]);
    object(json!({"lock": lock}), &["lock"])
}

/// `GET /servers/{server_id}/os-instance-actions` since 2.58
pub(crate) fn instance_actions_query(version: Microversion) -> Value {
    let time = types::single_param(&json!({"type": "string", "format": "date-time"}));
    let mut properties = json_map(json!({
        "limit": types::single_param(&types::non_negative_integer()),
        "marker": types::single_param(&json!({"type": "string"})),
        "changes-since": time,
    }));
    if version >= V2_66 {
        properties.insert("changes-before".to_owned(), time);
    }
    object(Value::Object(properties), &[])
}

/// `PUT /servers/{server_id}/tags`
pub(crate) fn tags() -> Value {
    object(json!({"tags": {"type": "array", "items": types::tag(), "maxItems": 50}}), &["tags"])
}

/// `PUT /servers/{server_id}/tags/{id}`
pub(crate) fn tag() -> Value {
    json!({"type": "null"})
}

fn json_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
