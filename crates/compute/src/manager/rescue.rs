//! `rescue_instance`, `unrescue_instance`.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use kilonova_objects::{Instance, TaskState, Tracked, VmState};
use kilonova_rpcapi::compute::RescueInstance;
use kilonova_rpcapi::notifications::InstanceAction;
use kilonova_virt::{DiskImage, DriverError, Rescue};

use super::build::parse_uuid;
use super::notify::RescueImage;
use super::power::PowerAction;
use super::{Manager, ManagerError};

const RESCUE: PowerAction = PowerAction {
    event: "compute_rescue_instance",
    told: Some(InstanceAction::Rescue),
    begins_in: TaskState::Rescuing,
    tasks: &[Some(TaskState::Rescuing)],
    errors_out: true,
};
const UNRESCUE: PowerAction = PowerAction {
    event: "compute_unrescue_instance",
    told: Some(InstanceAction::Unrescue),
    begins_in: TaskState::Unrescuing,
    tasks: &[Some(TaskState::Unrescuing)],
    errors_out: true,
};

/// The image that a guest is started from.
struct Found {
    name: String,
    disk: DiskImage,
    properties: BTreeMap<String, String>,
}

impl Manager {
    /// Starts an instance from another image: the one that was named, else the one that the instance was made from.
    pub async fn rescue_instance(&self, context: &RequestContext, message: RescueInstance) -> Result<(), ManagerError> {
        let RescueInstance { instance, rescue_password, rescue_image_ref, clean_shutdown } = message;
        let found = self.rescue_image(context, &instance, rescue_image_ref.as_deref()).await;
        let grace = if clean_shutdown { self.config.shutdown_timeout } else { Duration::ZERO };
        let name = found.as_ref().map(|found| found.name.clone()).unwrap_or_default();
        let uuid = instance.uuid;
        let telling = async {
            let telling = self.telling(context, uuid, RESCUE.told).await;
            telling.with_rescue_image(RescueImage { image_ref: rescue_image_ref, name })
        };
        let work = async |instance: &mut Tracked<Instance>| {
            let found = found?;
            let rescue = Rescue {
                instance,
                image: found.disk,
                image_properties: found.properties,
                network_info: &instance.network_info(),
                admin_password: rescue_password.as_deref(),
                grace,
            };
            self.driver.rescue(rescue).await.map_err(|error| match error {
                error @ DriverError::NotSupported(_) => error.into(),
                error => ManagerError::NotRescuable { uuid, error },
            })?;
            instance.launched_at = Some(utcnow());
            self.settle(context, instance, VmState::Rescued, RESCUE.tasks).await
        };
        Box::pin(self.told_power_action(context, instance, &RESCUE, telling, work)).await
    }

    /// Starts a rescued instance from its own disks again.
    pub async fn unrescue_instance(&self, context: &RequestContext, instance: Instance) -> Result<(), ManagerError> {
        let work = async |instance: &mut Tracked<Instance>| {
            self.driver.unrescue(instance, &instance.network_info()).await?;
            self.settle(context, instance, VmState::Active, UNRESCUE.tasks).await
        };
        Box::pin(self.power_action(context, instance, &UNRESCUE, work)).await
    }

    /// Nova's `_poll_rescued_instances`: one pass over the instances of this host. Ends rescues that took too long.
    pub async fn poll_rescued_instances(&self, context: &RequestContext) -> Result<(), ManagerError> {
        let Some(timeout) = self.config.rescue_timeout.and_then(|timeout| TimeDelta::from_std(timeout).ok()) else {
            return Ok(());
        };
        let is_over = |instance: &Instance| {
            instance.vm_state == VmState::Rescued
                && instance.task_state.is_none()
                && instance.launched_at.is_some_and(|since| utcnow() - since > timeout)
        };
        let mut marker = None;
        loop {
            let page = self.page_of_instances(context, &mut marker).await?;
            if page.is_empty() {
                return Ok(());
            }
            for instance in page.into_iter().filter(is_over) {
                let uuid = instance.uuid;
                tracing::info!(instance = %uuid, "a rescue took too long and is ended");
                if let Err(error) = Box::pin(self.unrescue(context, instance)).await {
                    tracing::warn!(instance = %uuid, error = %super::details(&error), "a rescue was not ended");
                }
            }
        }
    }

    async fn rescue_image(
        &self,
        context: &RequestContext,
        instance: &Instance,
        named: Option<&str>,
    ) -> Result<Found, ManagerError> {
        let base = instance.system_metadata.get("image_base_image_ref").and_then(Option::as_deref);
        let id = [named, base, instance.image_ref.as_deref()].into_iter().flatten().find(|id| !id.is_empty());
        let id = id.ok_or_else(|| ManagerError::Invalid("there is no image to rescue the instance with".to_owned()))?;
        let image = self.clients.image.show(context, parse_uuid(id)?).await?;
        let (name, properties) = (image.name.clone().unwrap_or_default(), image.properties.clone());
        Ok(Found { name, properties, disk: self.disk_of(context, &image) })
    }
}
