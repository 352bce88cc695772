//! Schemas of what other services tell of servers.

use kilonova_core::Microversion;
use serde_json::{Value, json};

use super::{object, parameter_types as types};
use crate::versions::{MIN_VERSION, V2_51, V2_76, V2_82, V2_93};

/// The events, and the microversion that each is new in.
const NAMES: [(Microversion, &str); 8] = [
    (MIN_VERSION, "network-changed"),
    (MIN_VERSION, "network-vif-plugged"),
    (MIN_VERSION, "network-vif-unplugged"),
    (MIN_VERSION, "network-vif-deleted"),
    (V2_51, "volume-extended"),
    (V2_76, "power-update"),
    (V2_82, "accelerator-request-bound"),
    (V2_93, "volume-reimaged"),
];

pub(crate) fn create(version: Microversion) -> Value {
    let names: Vec<&str> = NAMES.iter().filter(|(since, _)| version >= *since).map(|(_, name)| *name).collect();
    let properties = json!({
        "name": {"type": "string", "enum": names},
        "server_uuid": types::uuid(),
        "status": {"type": "string", "enum": ["failed", "completed", "in-progress"]},
        "tag": {"type": "string", "maxLength": 255},
    });
    let event = object(properties, &["name", "server_uuid"]);
    object(json!({"events": {"type": "array", "minItems": 1, "items": event}}), &["events"])
}
