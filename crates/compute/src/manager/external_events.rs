//! `external_instance_event`: what other services tell of instances of this host.
//!
//! A port that is plugged is told of too; nobody waits for that here, because a driver's guests do not need it.

use kilonova_core::RequestContext;
use kilonova_objects::{Instance, InstanceExternalEvent};
use kilonova_virt::DriverError;

use super::{Manager, ManagerError, details};

impl Manager {
    /// Each event in its turn; one that cannot be followed keeps no other from it.
    pub async fn external_instance_event(
        &self,
        context: &RequestContext,
        instances: &[Instance],
        events: &[InstanceExternalEvent],
    ) {
        for event in events {
            let Some(instance) = instances.iter().find(|instance| instance.uuid == event.instance_uuid) else {
                continue;
            };
            if let Err(error) = Box::pin(self.follow(context, instance, event)).await {
                let (event, error) = (event.key(), details(&error));
                tracing::warn!(instance = %instance.uuid, event, error, "an external event was not followed");
            }
        }
    }

    async fn follow(
        &self,
        context: &RequestContext,
        instance: &Instance,
        event: &InstanceExternalEvent,
    ) -> Result<(), ManagerError> {
        let tag = event.tag.as_deref().unwrap_or_default();
        match event.name.as_str() {
            "network-changed" => self.network_changed(context, instance).await,
            "network-vif-deleted" => self.vif_deleted(context, instance, tag).await,
            "volume-extended" => self.extend_volume(context, instance, tag).await,
            "power-update" => self.power_update(context, instance.uuid, tag == "POWER_ON").await,
            _ => {
                tracing::debug!(instance = %instance.uuid, event = event.key(), "an external event that nobody waits for");
                Ok(())
            }
        }
    }

    async fn network_changed(&self, context: &RequestContext, instance: &Instance) -> Result<(), ManagerError> {
        let _lock = self.locks.lock(instance.uuid).await;
        let mut now = self.mine(context, instance.uuid).await?;
        self.refresh_network_info(context, &mut now).await
    }

    /// The owner of a port has deleted it: the interface goes too.
    async fn vif_deleted(
        &self,
        context: &RequestContext,
        instance: &Instance,
        port_id: &str,
    ) -> Result<(), ManagerError> {
        let _lock = self.locks.lock(instance.uuid).await;
        let mut now = self.mine(context, instance.uuid).await?;
        let mut network_info = now.network_info();
        let position = network_info.0.iter().position(|vif| vif.id.to_string() == port_id);
        let Some(position) = position else { return Ok(()) };
        let vif = network_info.0.remove(position);
        match self.driver.detach_interface(&now, &vif).await {
            // By Nova's rule a guest whose driver cannot take it out keeps a dead interface.
            Ok(()) | Err(DriverError::NotSupported(_)) => {}
            Err(error) => return Err(error.into()),
        }
        self.save_network_info(context, &mut now, &network_info).await
    }

    /// A volume has become larger: the guest shall see that.
    async fn extend_volume(
        &self,
        context: &RequestContext,
        instance: &Instance,
        volume_id: &str,
    ) -> Result<(), ManagerError> {
        let extend = self.ensure_not_attached(context, instance, volume_id);
        let extended = self.with_event(context, instance.uuid, "compute_extend_volume", extend).await;
        self.with_fault(context, instance, extended).await
    }

    /// No driver can let a guest see that a volume is larger.
    async fn ensure_not_attached(
        &self,
        context: &RequestContext,
        instance: &Instance,
        volume_id: &str,
    ) -> Result<(), ManagerError> {
        let disks = self.conductor.block_devices(context, instance.uuid).await?;
        if disks.iter().any(|disk| disk.volume_id.as_deref() == Some(volume_id)) {
            return Err(DriverError::NotSupported("extend_volume").into());
        }
        tracing::warn!(instance = %instance.uuid, volume = volume_id, "the volume that was extended is not attached");
        Ok(())
    }
}
