//! Schemas of consoles that one connects to.

use serde_json::{Value, json};

use super::object;

fn action(name: &str, types: &[&str]) -> Value {
    object(json!({name: object(json!({"type": {"type": "string", "enum": types}}), &["type"])}), &[name])
}

pub(crate) fn get_vnc_console() -> Value {
    action("os-getVNCConsole", &["novnc", "xvpvnc"])
}

pub(crate) fn get_spice_console() -> Value {
    action("os-getSPICEConsole", &["spice-html5"])
}

pub(crate) fn get_serial_console() -> Value {
    action("os-getSerialConsole", &["serial"])
}

fn remote_console(protocols: &[&str], types: &[&str]) -> Value {
    let properties = json!({
        "protocol": {"type": "string", "enum": protocols},
        "type": {"type": "string", "enum": types},
    });
    object(json!({"remote_console": object(properties, &["protocol", "type"])}), &["remote_console"])
}

/// With what Nova has removed, which is refused later.
pub(crate) fn create() -> Value {
    remote_console(&["vnc", "spice", "serial", "rdp"], &["novnc", "xvpvnc", "spice-html5", "serial", "rdp-html5"])
}

/// With `mks`.
pub(crate) fn create_v28() -> Value {
    remote_console(
        &["vnc", "spice", "serial", "rdp", "mks"],
        &["novnc", "xvpvnc", "spice-html5", "serial", "rdp-html5", "webmks"],
    )
}

/// With `spice-direct`.
pub(crate) fn create_v299() -> Value {
    remote_console(
        &["vnc", "spice", "serial", "rdp", "mks"],
        &["novnc", "xvpvnc", "spice-html5", "serial", "rdp-html5", "webmks", "spice-direct"],
    )
}
