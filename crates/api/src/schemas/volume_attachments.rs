//! Schemas of the volumes that servers have.

use serde_json::{Value, json};

use super::query::closed;
use super::{object, parameter_types as types, volumes};

/// `limit`, `offset`, and nothing else.
pub(crate) fn index_query_v275() -> Value {
    closed(volumes::index_query())
}

/// The name of a disk, as a guest may see it.
fn device() -> Value {
    json!({"type": ["string", "null"], "pattern": "(^/dev/x{0,1}[a-z]{0,1}d{0,1})([a-z]+)[0-9]*$"})
}

fn attachment(properties: Value) -> Value {
    object(json!({"volumeAttachment": object(properties, &["volumeId"])}), &["volumeAttachment"])
}

pub(crate) fn attach() -> Value {
    attachment(json!({"volumeId": types::uuid(), "device": device()}))
}

/// With `tag`.
pub(crate) fn attach_v249() -> Value {
    attachment(json!({"volumeId": types::uuid(), "device": device(), "tag": types::tag()}))
}

/// With `delete_on_termination`.
pub(crate) fn attach_v279() -> Value {
    attachment(json!({
        "volumeId": types::uuid(),
        "device": device(),
        "tag": types::tag(),
        "delete_on_termination": types::boolean(),
    }))
}

/// The volume that takes the place of the one in the path.
pub(crate) fn update() -> Value {
    attachment(json!({"volumeId": types::uuid()}))
}

/// All that a view has, though little of it can be changed.
pub(crate) fn update_v285() -> Value {
    attachment(json!({
        "volumeId": types::uuid(),
        "device": device(),
        "tag": types::tag(),
        "delete_on_termination": types::boolean(),
        "serverId": types::uuid(),
        "id": types::uuid(),
    }))
}
