//! `rebuild_instance`: the guest and its disk are destroyed and made anew from an image, on the same host.
//!
//! ```text
//!   rebuilding ──power off, destroy──> rebuild_block_device_mapping ──> rebuild_spawning ──spawn──> ACTIVE
//!       │                                       │                              │                  (and stopped again,
//!       └──── the driver cannot: as before      └──────── failed: ERROR ───────┘                   if it was)
//! ```

use kilonova_clients::image::Image;
use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use kilonova_objects::{Instance, TaskState, Tracked, VmState};
use kilonova_rpcapi::compute::RebuildInstance;
use kilonova_rpcapi::notifications::{InstanceAction, InstanceEvent};
use kilonova_rpcapi::objects::Expected;
use kilonova_virt::{DriverError, Injected, Spawn};
use serde_json::json;

use super::build::{injected_file, parse_uuid};
use super::{Manager, ManagerError};

const EVENT: &str = "compute_rebuild_instance";
const TASKS: [Option<TaskState>; 3] =
    [Some(TaskState::Rebuilding), Some(TaskState::RebuildBlockDeviceMapping), Some(TaskState::RebuildSpawning)];

impl Manager {
    /// Makes an instance anew; with `recreate` one whose host is down.
    pub async fn rebuild_instance(
        &self,
        context: &RequestContext,
        message: RebuildInstance,
    ) -> Result<(), ManagerError> {
        if message.recreate {
            return Box::pin(self.evacuate_here(context, message)).await;
        }
        let (uuid, vm_state) = (message.instance.uuid, message.instance.vm_state);
        let mut instance = Tracked::new(message.instance.clone());
        {
            let _lock = self.locks.lock(uuid).await;
            if !self.is_wanted(context, &instance, &[Some(TaskState::Rebuilding)]).await? {
                tracing::info!(instance = %uuid, "a rebuild is done already, or not wanted any more");
                return Ok(());
            }
            // Looked up before anything is destroyed: without it nothing has happened.
            let image = self.image_to_rebuild(context, &message).await;
            let is_begun = image.is_ok();
            let work = Box::pin(async { self.rebuild(context, &mut instance, image?, &message).await });
            let result = self.with_event(context, uuid, EVENT, work).await;
            if let Err(error) = &result
                && !matches!(error, ManagerError::Rpc(_))
                && !error.is_conflict()
            {
                self.telling(context, uuid, Some(InstanceAction::Rebuild)).await.error(&instance, error);
            }
            let failed_state = match &result {
                Err(ManagerError::Driver(DriverError::NotSupported(_))) => vm_state,
                Err(_) if !is_begun => vm_state,
                _ => VmState::Error,
            };
            self.conclude(context, &mut instance, failed_state, &TASKS, result).await?;
        }
        if instance.task_state == Some(TaskState::PoweringOff) {
            return self.stop_instance(context, instance.into_inner(), false).await;
        }
        Ok(())
    }

    async fn rebuild(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        image: Option<Image>,
        message: &RebuildInstance,
    ) -> Result<(), ManagerError> {
        let was_stopped = instance.vm_state == VmState::Stopped;
        let image_name = json!(image.as_ref().and_then(|image| image.name.clone()).unwrap_or_default());
        let disks = message.bdms.as_ref().map(|bdms| bdms.objects.as_slice());
        let tell = |instance: &Instance, event: InstanceEvent<'_>| {
            let event = event.with_usage("image_name", image_name.clone());
            self.notifications.instance(context, instance, &event.with_disks(disks));
        };
        tell(instance, InstanceEvent::start(InstanceAction::Rebuild));
        instance.power_state = self.power_state(instance.uuid).await;
        self.save(context, instance, Expected::tasks(&[Some(TaskState::Rebuilding)])).await?;
        if message.preserve_ephemeral {
            let sentence = "The current driver does not support preserving ephemeral partitions.";
            return Err(ManagerError::Invalid(sentence.to_owned()));
        }
        self.check_trusted_certs(instance)?;
        self.remove_to_rebuild(context, instance).await?;
        self.spawn_again(context, instance, image.as_ref(), message).await?;
        instance.vm_state = VmState::Active;
        // Who was off is stopped once more, as a stop of its own.
        instance.task_state = was_stopped.then_some(TaskState::PoweringOff);
        instance.launched_at = Some(utcnow());
        self.save(context, instance, Expected::tasks(&[Some(TaskState::RebuildSpawning)])).await?;
        self.saw(instance.uuid, instance.power_state);
        tell(instance, InstanceEvent::end(InstanceAction::Rebuild));
        tracing::info!(instance = %instance.uuid, "instance rebuilt");
        Ok(())
    }

    async fn image_to_rebuild(
        &self,
        context: &RequestContext,
        message: &RebuildInstance,
    ) -> Result<Option<Image>, ManagerError> {
        match message.image_ref.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => Ok(Some(self.clients.image.show(context, parse_uuid(id)?).await?)),
            None => Ok(None),
        }
    }

    async fn remove_to_rebuild(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
    ) -> Result<(), ManagerError> {
        match self.driver.power_off(instance.uuid, self.config.shutdown_timeout).await {
            // An earlier rebuild failed after it had destroyed the guest.
            Err(DriverError::InstanceNotFound(_)) => {}
            stopped => stopped?,
        }
        self.driver.destroy(instance.uuid).await?;
        instance.task_state = Some(TaskState::RebuildBlockDeviceMapping);
        self.save(context, instance, Expected::tasks(&[Some(TaskState::Rebuilding)])).await?;
        instance.task_state = Some(TaskState::RebuildSpawning);
        self.save(context, instance, Expected::tasks(&[Some(TaskState::RebuildBlockDeviceMapping)])).await
    }

    async fn spawn_again(
        &self,
        context: &RequestContext,
        instance: &mut Tracked<Instance>,
        image: Option<&Image>,
        message: &RebuildInstance,
    ) -> Result<(), ManagerError> {
        let files = message.injected_files.iter().flatten().map(injected_file).collect::<Result<_, _>>()?;
        let spawn = Spawn {
            instance,
            image: image.map(|image| self.disk_of(context, image)),
            image_properties: image.map(|image| image.properties.clone()).unwrap_or_default(),
            network_info: &instance.network_info(),
            injected: Injected { admin_password: message.new_pass.clone(), files },
            has_config_drive: self.wants_config_drive(instance),
        };
        let metadata = self.driver.spawn(spawn).await?;
        self.connect_volumes(context, instance).await?;
        instance.metadata.extend(metadata);
        instance.power_state = self.power_state(instance.uuid).await;
        Ok(())
    }
}
