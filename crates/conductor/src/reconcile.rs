//! Heals what belongs to nobody: allocations and ports of instances that are gone. A crash between two steps can leave
//! them, nothing else does.

use kilonova_core::RequestContext;
use kilonova_db::compute_nodes;

use crate::Conductor;
use crate::allocations::{held_of, owners};
use crate::tasks::TaskError;

impl Conductor {
    /// One look at all allocations and ports.
    pub(crate) async fn reconcile(&self) -> Result<(), TaskError> {
        let (context, placement) = (RequestContext::admin(), &self.clients.placement);
        // What holds is read before what should hold: a row is written before its first claim, so nothing that is
        // being made looks like an orphan.
        let mut held = Vec::new();
        for node in compute_nodes::list(&self.db).await? {
            match held_of(placement.as_ref(), node.uuid).await {
                Ok(of_node) => held.extend(of_node),
                Err(error) => tracing::warn!(provider = %node.uuid, %error, "a provider's allocations cannot be read"),
            }
        }
        let devices = self.clients.network.devices_with_ports(&context).await?;
        let owners = owners(&self.db).await?;
        for orphan in held.into_iter().filter(|held| !owners.contains(&held.consumer)) {
            tracing::warn!(consumer = %orphan.consumer, "removing allocations that no instance owns");
            placement.delete_allocations(&context, orphan.consumer).await?;
        }
        for device in devices.into_iter().filter(|uuid| !owners.contains(uuid)) {
            tracing::warn!(%device, "removing ports that no instance owns");
            self.clients.network.deallocate_for_instance(&context, device).await?;
        }
        Ok(())
    }
}
