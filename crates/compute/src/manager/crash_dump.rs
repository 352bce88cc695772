//! `trigger_crash_dump`.

use kilonova_core::RequestContext;
use kilonova_objects::Instance;
use kilonova_rpcapi::notifications::InstanceAction;

use super::{Manager, ManagerError};

impl Manager {
    /// Interrupts the system of an instance. What that does is the system's business, so no state changes; nor is there
    /// a turn to wait for, since what holds it may be the guest that is to be looked into.
    pub async fn trigger_crash_dump(&self, context: &RequestContext, instance: Instance) -> Result<(), ManagerError> {
        let uuid = instance.uuid;
        let event = "compute_trigger_crash_dump";
        let telling = self.telling(context, uuid, Some(InstanceAction::TriggerCrashDump)).await;
        telling.start_now(&instance);
        let work = async { self.driver.trigger_crash_dump(uuid).await.map_err(ManagerError::from) };
        let triggered = self.with_event(context, uuid, event, work).await;
        match &triggered {
            Ok(()) => telling.end(&instance),
            Err(error) => {
                tracing::warn!(instance = %uuid, error = %super::details(error), "no crash dump was triggered");
                self.record_fault(context, &instance, error).await;
            }
        }
        triggered
    }
}
