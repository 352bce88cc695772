//! Guests that no instance owns: an instance was deleted, or went to another host, while this agent could not hear it.

use kilonova_core::RequestContext;
use kilonova_virt::GuestInfo;
use uuid::Uuid;

use super::{Manager, ManagerError};

impl Manager {
    /// Nova's `_cleanup_running_deleted_instances`: one look at all guests.
    pub async fn cleanup_running_deleted_instances(&self, context: &RequestContext) -> Result<(), ManagerError> {
        let guests = self.driver.list_guests().await?;
        self.remove_orphans(context, &guests).await;
        Ok(())
    }

    pub(super) async fn remove_orphans(&self, context: &RequestContext, guests: &[GuestInfo]) {
        let context = RequestContext { read_deleted: "yes".to_owned(), ..context.clone() };
        for guest in guests {
            // Who works on the instance knows better.
            let Some(_lock) = self.locks.try_lock(guest.uuid) else { continue };
            if self.is_orphan(&context, guest.uuid).await {
                tracing::warn!(instance = %guest.uuid, "removing a guest that no instance owns");
                if let Err(error) = self.driver.destroy(guest.uuid).await {
                    tracing::error!(instance = %guest.uuid, %error, "an orphaned guest could not be removed");
                }
            }
        }
    }

    /// Whether the instance is known to be gone from here. Rows outlive their instances, so a guest that the database
    /// has never heard of says that it is the wrong database, or an older copy: that is no reason to destroy disks.
    async fn is_orphan(&self, context: &RequestContext, uuid: Uuid) -> bool {
        match self.conductor.instance_get(context, uuid).await {
            Ok(instance) => instance.deleted || !self.is_mine(&instance),
            Err(error) if error.is("InstanceNotFound") => {
                tracing::error!(instance = %uuid, "a guest is not in the database, not even as deleted: remove it by hand if it is not wanted");
                false
            }
            Err(error) => {
                tracing::warn!(instance = %uuid, %error, "cannot tell whether a guest is still wanted");
                false
            }
        }
    }
}
