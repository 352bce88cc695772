//! `get_vnc_console` and its kind: where a console is, and a token that permits to connect to it.

use kilonova_core::RequestContext;
use kilonova_objects::{ConsoleAuthToken, Instance, VmState};
use kilonova_rpcapi::exception;
use kilonova_virt::{ConsoleKind, DriverError};
use serde_json::{Value, json};

use super::interfaces::refused;
use super::{Manager, ManagerError};
use crate::config::ConsoleRefusal;

/// SPICE as its clients speak it, without a page around it.
const SPICE_DIRECT: &str = "spice-direct";

impl Manager {
    /// `access_url`, `token`, `host`, `port`, `internal_access_path`, and `tlsPort` for SPICE.
    pub async fn get_console(
        &self,
        context: &RequestContext,
        instance: &Instance,
        kind: ConsoleKind,
        console_type: &str,
    ) -> Result<Value, ManagerError> {
        let base_url = self.config.consoles.base_url(kind, console_type).map_err(|refusal| {
            ManagerError::Raised(match refusal {
                ConsoleRefusal::Unavailable => exception::console_type_unavailable(console_type),
                ConsoleRefusal::Invalid => exception::console_type_invalid(console_type),
            })
        })?;
        let address = match self.driver.console(instance, kind).await {
            Err(DriverError::InstanceNotFound(uuid)) if instance.vm_state == VmState::Building => {
                return Err(refused("InstanceNotReady", 400, format!("Instance {uuid} is not ready")));
            }
            Err(DriverError::InstanceNotRunning(uuid)) => {
                return Err(refused("InstanceNotReady", 409, format!("Instance {uuid} is not ready")));
            }
            found => found?,
        };
        let console = ConsoleAuthToken {
            console_type: console_type.to_owned(),
            host: address.host,
            port: i64::from(address.port),
            tls_port: address.tls_port.map(i64::from),
            internal_access_path: address.internal_access_path.filter(|_| console_type != SPICE_DIRECT),
            instance_uuid: instance.uuid,
            access_url_base: Some(base_url.to_owned()),
            ..ConsoleAuthToken::default()
        };
        let context = context.elevated();
        let console = self.conductor.console_authorize(&context, &console, self.config.consoles.token_ttl_s).await?;
        let mut info = json!({
            "host": console.host,
            "port": console.port,
            "internal_access_path": console.internal_access_path,
            "token": console.token,
            "access_url": console.access_url(),
        });
        if kind == ConsoleKind::Spice {
            info["tlsPort"] = json!(console.tls_port);
        }
        Ok(info)
    }
}
