//! Service processes.

use kilonova_core::Microversion;
use kilonova_core::time::strtime;
use kilonova_objects::Service;
use serde::Serialize;
use serde_json::{Value, json};

use crate::versions::{V2_11, V2_53};

/// A service.
#[derive(Serialize)]
pub(crate) struct Detail<'a> {
    binary: Option<&'a str>,
    host: Option<&'a str>,
    id: Value,
    zone: &'a str,
    status: &'static str,
    state: &'static str,
    updated_at: Option<String>,
    disabled_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forced_down: Option<bool>,
}

impl<'a> Detail<'a> {
    pub(crate) fn new(service: &'a Service, zone: &'a str, is_up: bool, version: Microversion) -> Self {
        Self {
            binary: service.binary.as_deref(),
            host: service.host.as_deref(),
            id: if version >= V2_53 { json!(service.uuid) } else { json!(service.id) },
            zone,
            status: if service.disabled { "disabled" } else { "enabled" },
            state: if is_up { "up" } else { "down" },
            updated_at: service.last_seen_up.or(service.created_at).map(strtime),
            disabled_reason: service.disabled_reason.as_deref(),
            forced_down: (version >= V2_11).then_some(service.forced_down),
        }
    }
}
