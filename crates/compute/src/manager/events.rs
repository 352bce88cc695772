//! Action events: the record of each step, which `openstack server event show` prints.

use std::future::Future;

use kilonova_core::RequestContext;
use kilonova_rpcapi::objects::EventOutcome;
use uuid::Uuid;

use super::{Manager, ManagerError, details};

impl Manager {
    /// Runs one step of an action between its start and finish events. A record that cannot be written stops nothing.
    pub(super) async fn with_event<T>(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        event: &str,
        step: impl Future<Output = Result<T, ManagerError>>,
    ) -> Result<T, ManagerError> {
        if let Err(error) = self.conductor.event_start(context, instance_uuid, event, &self.config.host).await {
            tracing::debug!(instance = %instance_uuid, event, %error, "the start of an event was not recorded");
        }
        // Boxed: a step is as large as all that happens in it.
        let result = Box::pin(step).await;
        let outcome = match &result {
            // What was overtaken has not failed: the record is that of who came first.
            Err(error) if !error.is_deletion() && !error.is_conflict() => {
                EventOutcome::Failure { message: error.to_string(), traceback: details(error) }
            }
            _ => EventOutcome::Success,
        };
        // Nobody waits for that: what comes next is somebody else's request.
        if let Err(error) = self.conductor.event_finish(context, instance_uuid, event, &outcome).await {
            tracing::debug!(instance = %instance_uuid, event, %error, "the end of an event was not recorded");
        }
        result
    }
}
