//! Guests that no instance owns: an instance was deleted, or went to another host, while this agent could not hear it.

use kilonova_core::RequestContext;
use kilonova_objects::migration::migration_type;
use kilonova_virt::GuestInfo;
use serde_json::json;
use uuid::Uuid;

use super::{Manager, ManagerError};

impl Manager {
    /// Nova's `_cleanup_running_deleted_instances`: one look at all guests.
    pub async fn cleanup_running_deleted_instances(&self, context: &RequestContext) -> Result<(), ManagerError> {
        let guests = self.driver.list_guests().await?;
        self.finish_left_moves(context).await;
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
        self.remove_orphans_kept(&context).await;
    }

    /// The same for what is kept of guests that were given away. Where the instance is this host's and has no guest, it
    /// may be all that there is of it.
    async fn remove_orphans_kept(&self, context: &RequestContext) {
        let kept = match self.driver.list_kept().await {
            Ok(kept) => kept,
            Err(error) => return tracing::warn!(%error, "what is kept of guests is not known now"),
        };
        for uuid in kept {
            let Some(_lock) = self.locks.try_lock(uuid) else { continue };
            if self.is_orphan(context, uuid).await {
                tracing::warn!(instance = %uuid, "removing what was kept of a guest that moved away");
                if let Err(error) = self.forget_kept(uuid).await {
                    tracing::error!(instance = %uuid, %error, "what was kept of a guest could not be removed");
                }
            }
        }
    }

    /// Whether a move from or to this host goes on, which may want what is here. An evacuation does not.
    async fn is_on_the_move(&self, context: &RequestContext, uuid: Uuid) -> bool {
        let filters = json!({"instance_uuid": uuid, "host": self.config.host});
        match self.conductor.migrations(context, filters).await {
            Ok(moves) => moves
                .iter()
                .any(|migration| !migration.is_over() && migration.migration_type != migration_type::EVACUATION),
            Err(error) => {
                tracing::warn!(instance = %uuid, %error, "cannot tell whether a guest is on the move");
                true
            }
        }
    }

    /// Whether the instance is known to be gone from here. Rows outlive their instances, so a guest that the database
    /// has never heard of says that it is the wrong database, or an older copy: that is no reason to destroy disks.
    async fn is_orphan(&self, context: &RequestContext, uuid: Uuid) -> bool {
        match self.conductor.instance_get(context, uuid).await {
            Ok(instance) if instance.deleted => true,
            Ok(instance) => !self.is_mine(&instance) && !self.is_on_the_move(context, uuid).await,
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
