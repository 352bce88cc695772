//! `/servers/{server_id}/remote-consoles` (since 2.6), and the actions that it took the place of (to 2.5)

use serde_json::json;

use super::authorized;
use crate::call::{Answer, Call, ok};
use crate::compute::remote_consoles::{self, Protocol};
use crate::error::ApiError;

/// `POST /servers/{server_id}/remote-consoles`
pub(crate) async fn create(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let body = &call.body["remote_console"];
    let (protocol, console_type) = (&body["protocol"], body["type"].as_str().unwrap_or_default());
    // The schema still knows one that Nova has removed.
    let spoken = protocol.as_str().and_then(Protocol::parse).ok_or_else(ApiError::malformed)?;
    let url = remote_consoles::url(&call.state, &call.context, instance, spoken, console_type).await?;
    ok(&json!({"remote_console": {"protocol": protocol, "type": console_type, "url": url}}))
}

/// `os-getVNCConsole`
pub(crate) async fn get_vnc_console(call: Call) -> Answer {
    action(call, "os-getVNCConsole", Protocol::Vnc).await
}

/// `os-getSPICEConsole`
pub(crate) async fn get_spice_console(call: Call) -> Answer {
    action(call, "os-getSPICEConsole", Protocol::Spice).await
}

/// `os-getSerialConsole`
pub(crate) async fn get_serial_console(call: Call) -> Answer {
    action(call, "os-getSerialConsole", Protocol::Serial).await
}

/// `os-getRDPConsole`, which Nova has removed: 400, and not 410.
pub(crate) async fn get_rdp_console(_call: Call) -> Answer {
    Err(ApiError::malformed())
}

async fn action(call: Call, name: &str, protocol: Protocol) -> Answer {
    let instance = authorized(&call).await?;
    let console_type = call.body[name]["type"].as_str().unwrap_or_default();
    let url = remote_consoles::url(&call.state, &call.context, instance, protocol, console_type).await?;
    ok(&json!({"console": {"type": console_type, "url": url}}))
}
