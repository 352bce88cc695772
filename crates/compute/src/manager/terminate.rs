//! `terminate_instance`: everything that an instance has on this host goes, then its row.
//!
//! Each step can be done again; a delete that was cut short at any of them is finished by asking once more.

use kilonova_core::RequestContext;
use kilonova_objects::{BlockDeviceMapping, Instance};

use super::{Manager, ManagerError};

impl Manager {
    /// Deletes an instance, whose disks are `bdms`.
    pub async fn terminate_instance(
        &self,
        context: &RequestContext,
        instance: Instance,
        bdms: &[BlockDeviceMapping],
    ) -> Result<(), ManagerError> {
        let _lock = self.locks.lock(instance.uuid).await;
        let event = "compute_terminate_instance";
        let result =
            Box::pin(self.with_event(context, instance.uuid, event, self.remove(context, &instance, bdms))).await;
        match result {
            Err(error) if error.is_deletion() => Ok(()),
            Err(error) => {
                tracing::error!(instance = %instance.uuid, error = %super::details(&error), "a delete failed and will be tried again");
                self.record_fault(context, &instance, &error).await;
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    async fn remove(
        &self,
        context: &RequestContext,
        instance: &Instance,
        bdms: &[BlockDeviceMapping],
    ) -> Result<(), ManagerError> {
        self.tell_delete_start(context, instance, bdms);
        self.end_moves_of_deleted(context, instance).await?;
        self.driver.destroy(instance.uuid).await?;
        self.clients.network.deallocate_for_instance(context, instance.uuid).await?;
        self.release_volumes(context, bdms).await;
        self.tell_shutdown_end(context, instance, bdms);
        self.clients.placement.delete_allocations(context, instance.uuid).await?;
        let deleted = self.conductor.instance_destroy(context, instance).await?;
        self.tell_delete_end(context, deleted, bdms);
        tracing::info!(instance = %instance.uuid, "instance deleted");
        Ok(())
    }
}
