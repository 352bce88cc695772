//! Consoles that one connects to.

use kilonova_core::RequestContext;
use kilonova_objects::{Instance, TaskState};
use kilonova_rpcapi::compute::{GetMksConsole, GetSerialConsole, GetSpiceConsole, GetVncConsole};

use super::{ComputeError, checks};
use crate::state::ApiState;

/// By what a console speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Vnc,
    Spice,
    Serial,
    Mks,
}

impl Protocol {
    /// As request bodies have it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "vnc" => Some(Self::Vnc),
            "spice" => Some(Self::Spice),
            "serial" => Some(Self::Serial),
            "mks" => Some(Self::Mks),
            _ => None,
        }
    }

    /// What a refusal calls it.
    const fn word(self) -> &'static str {
        match self {
            Self::Vnc => "get_vnc_console",
            Self::Spice => "get_spice_console",
            Self::Serial => "get_serial_console",
            Self::Mks => "get_mks_console",
        }
    }
}

/// Where a user's client goes, with a token that permits to connect for a while.
pub(crate) async fn url(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    protocol: Protocol,
    console_type: &str,
) -> Result<String, ComputeError> {
    let host = checks::host(&instance)?.to_owned();
    if let Some(task @ (TaskState::Deleting | TaskState::Migrating)) = instance.task_state {
        let (uuid, action, state) = (instance.uuid, protocol.word(), task.to_string());
        return Err(ComputeError::InstanceInvalidState { uuid, action, attr: "task_state", state });
    }
    let (compute, console_type) = (&state.compute, console_type.to_owned());
    let info = match protocol {
        Protocol::Vnc => compute.call(context, &host, GetVncConsole { instance, console_type }).await,
        Protocol::Spice => compute.call(context, &host, GetSpiceConsole { instance, console_type }).await,
        Protocol::Serial => compute.call(context, &host, GetSerialConsole { instance, console_type }).await,
        Protocol::Mks => compute.call(context, &host, GetMksConsole { instance, console_type }).await,
    };
    let info =
        info.map_err(
            |error| {
                if error.is("NotImplementedError") { ComputeError::ConsoleUnsupported } else { error.into() }
            },
        )?;
    let url = info["access_url"].as_str();
    Ok(url.ok_or_else(|| ComputeError::Internal("a console without an address".to_owned()))?.to_owned())
}
