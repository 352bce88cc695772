//! How an operation on an instance ends.

use kilonova_core::RequestContext;
use kilonova_objects::{Instance, TaskState, Tracked, VmState};

use super::{Manager, ManagerError};

impl Manager {
    /// Ends an operation that was begun in one of `tasks`. One that failed leaves the instance in `vm_state`, without a
    /// task and with a fault; one that a delete or another action overtook has not failed; and of one whose end the
    /// conductor could not be told the task stays, for `repair_stale_tasks`.
    pub(super) async fn conclude(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        vm_state: VmState,
        tasks: &[Option<TaskState>],
        result: Result<(), ManagerError>,
    ) -> Result<(), ManagerError> {
        let uuid = instance.uuid;
        match result {
            Ok(()) => Ok(()),
            Err(error) if error.is_deletion() || error.is_conflict() => {
                tracing::info!(instance = %uuid, %error, "overtaken by another action");
                Ok(())
            }
            Err(error @ ManagerError::Rpc(_)) => {
                tracing::error!(instance = %uuid, error = %super::details(&error), "how an action ended could not be saved");
                Err(error)
            }
            Err(error) => {
                tracing::warn!(instance = %uuid, error = %super::details(&error), "an action failed");
                instance.vm_state = vm_state;
                self.abandon_task(context, instance, tasks, &error).await?;
                Err(error)
            }
        }
    }
}
