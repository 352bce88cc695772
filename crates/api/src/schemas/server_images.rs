//! Schemas of the actions that have to do with images: `createImage`, `createBackup`, `rebuild`, `unshelve`.

use kilonova_core::Microversion;
use serde_json::{Value, json};

use super::servers::{hostname, personality, trusted_certs};
use super::{object, parameter_types as types};
use crate::versions::{LEGACY, V2_19, V2_54, V2_57, V2_63, V2_90};

/// `createImage`
pub(crate) fn create_image() -> Value {
    let image = object(json!({"name": types::name(), "metadata": types::metadata()}), &["name"]);
    object(json!({"createImage": image}), &["createImage"])
}

/// `createBackup`
pub(crate) fn create_backup(version: Microversion) -> Value {
    let backup = json!({
        "name": if version == LEGACY { types::name_with_leading_trailing_spaces() } else { types::name() },
        "backup_type": {"type": "string"},
        "rotation": types::non_negative_integer(),
        "metadata": types::metadata(),
    });
    object(json!({"createBackup": object(backup, &["name", "backup_type", "rotation"])}), &["createBackup"])
}

/// `rebuild`
pub(crate) fn rebuild(version: Microversion) -> Value {
    let mut properties = json!({
        "name": if version == LEGACY { types::name_with_leading_trailing_spaces() } else { types::name() },
        "imageRef": types::uuid(),
        "adminPass": {"type": "string"},
        "metadata": types::metadata(),
        "preserve_ephemeral": types::boolean(),
        "OS-DCF:diskConfig": types::disk_config(),
        "accessIPv4": types::ipv4(),
        "accessIPv6": types::ipv6(),
    });
    let mut add = |from: Microversion, name: &str, schema: Value| {
        if version >= from {
            properties[name] = schema;
        }
    };
    add(V2_19, "description", types::description());
    add(V2_54, "key_name", types::name_or_none());
    add(V2_57, "user_data", json!({"type": ["string", "null"], "format": "base64", "maxLength": 65535}));
    add(V2_63, "trusted_image_certificates", trusted_certs());
    add(V2_90, "hostname", hostname(version));
    if version < V2_57 {
        properties["personality"] = personality();
    }
    object(json!({"rebuild": object(properties, &["imageRef"])}), &["rebuild"])
}

/// `unshelve` since 2.77
pub(crate) fn unshelve_v277() -> Value {
    let mut unshelve = object(json!({"availability_zone": types::name()}), &["availability_zone"]);
    unshelve["type"] = json!(["object", "null"]);
    object(json!({"unshelve": unshelve}), &["unshelve"])
}

/// `unshelve` since 2.91
pub(crate) fn unshelve_v291() -> Value {
    let to = json!({"availability_zone": {"type": ["string", "null"]}, "host": {"type": "string"}});
    let mut unshelve = object(to, &[]);
    unshelve["type"] = json!(["object", "null"]);
    object(json!({"unshelve": unshelve}), &["unshelve"])
}
