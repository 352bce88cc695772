//! Volumes of an instance: attached, detached, exchanged.
//!
//! ```text
//!   conductor ── reserve_block_device_name ──> mapping with a name ── attachment reserved ── attach_volume
//!   attach   attachment gets this host's connector ──> driver ──> mapping keeps how to connect ──> attachment complete
//!            fails: out of the guest, attachment and mapping gone
//!   detach   driver ──> attachment gone ──> mapping gone           the driver fails: in use as before
//!   swap     as an attach of the new volume, then the old attachment goes; one mapping all the while
//! ```
//!
//! What a crash cuts off is done again when the agent starts: the mapping, and what the volume service says of the volume,
//! show how far it was.

use kilonova_clients::ClientError;
use kilonova_clients::volume::{ATTACHMENT, VOLUME, Volume};
use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use kilonova_objects::{BlockDeviceMapping, Instance, Tracked, VmState};
use kilonova_rpcapi::compute::ReserveBlockDeviceName;
use kilonova_rpcapi::exception;
use kilonova_virt::DriverError;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::device_names::{self, Refusal};
use super::interfaces::refused;
use super::{Manager, ManagerError, details};

/// Seconds after which a mapping without an attachment is nobody's: longer than a conductor may take to reserve one.
const RESERVATION_S: i64 = 600;

impl Manager {
    /// Makes the mapping of a volume that will be attached, with a name that no other disk of the instance has.
    pub async fn reserve_block_device_name(
        &self,
        context: &RequestContext,
        asked: ReserveBlockDeviceName,
    ) -> Result<BlockDeviceMapping, ManagerError> {
        let _lock = self.locks.lock(asked.instance.uuid).await;
        let reserved = Box::pin(self.reserve(context, &asked)).await;
        self.with_fault(context, &asked.instance, reserved).await
    }

    /// Gives an instance the volume of a mapping.
    pub async fn attach_volume(
        &self,
        context: &RequestContext,
        instance: Instance,
        bdm: BlockDeviceMapping,
    ) -> Result<(), ManagerError> {
        let _lock = self.locks.lock(instance.uuid).await;
        let attach = Box::pin(self.attach_or_undo(context, instance.uuid, bdm));
        let attached = self.with_event(context, instance.uuid, "compute_attach_volume", attach).await;
        self.with_fault(context, &instance, attached).await
    }

    /// Takes a volume from an instance.
    pub async fn detach_volume(
        &self,
        context: &RequestContext,
        instance: Instance,
        volume_id: &str,
    ) -> Result<(), ManagerError> {
        let _lock = self.locks.lock(instance.uuid).await;
        let detach = Box::pin(async {
            let bdm = self.conductor.block_device_by_volume(context, volume_id, instance.uuid).await?;
            self.detach_mapped(context, &instance, &bdm).await
        });
        let detached = self.with_event(context, instance.uuid, "compute_detach_volume", detach).await;
        self.with_fault(context, &instance, detached).await
    }

    /// Puts another volume in the place of one, which the volume service moves. `new_attachment` is reserved.
    pub async fn swap_volume(
        &self,
        context: &RequestContext,
        instance: Instance,
        old_volume_id: &str,
        new_volume_id: &str,
        new_attachment: Option<&str>,
    ) -> Result<(), ManagerError> {
        let _lock = self.locks.lock(instance.uuid).await;
        let new_attachment = new_attachment.and_then(|id| id.parse().ok());
        let swap = Box::pin(async {
            let new_attachment = new_attachment
                .ok_or_else(|| ManagerError::Invalid("a volume is exchanged only by an attachment".to_owned()))?;
            self.swap(context, &instance, old_volume_id, new_volume_id, new_attachment).await
        });
        let swapped = self.with_event(context, instance.uuid, "compute_swap_volume", swap).await;
        self.with_fault(context, &instance, swapped).await
    }

    async fn reserve(
        &self,
        context: &RequestContext,
        asked: &ReserveBlockDeviceName,
    ) -> Result<BlockDeviceMapping, ManagerError> {
        let (uuid, volume_id) = (asked.instance.uuid, &asked.volume_id);
        let capabilities = self.driver.capabilities();
        if asked.tag.is_some() && !capabilities.supports_tagged_attach_volume {
            let message = "Tagged volume attachment is not supported for this server instance.".to_owned();
            return Err(refused("VolumeTaggedAttachNotSupported", 400, message));
        }
        if asked.multiattach {
            self.ensure_multiattach(volume_id)?;
        }
        let disks = self.conductor.block_devices(context, uuid).await?;
        if disks.iter().any(|disk| disk.volume_id.as_ref() == Some(volume_id)) {
            let message = format!("Invalid volume: volume {volume_id} already attached");
            return Err(refused("InvalidVolume", 400, message));
        }
        let most = self.config.max_disk_devices_to_attach;
        let name = device_names::next(&asked.instance, &disks, asked.device.as_deref(), most).map_err(no_name)?;
        let bdm = BlockDeviceMapping {
            instance_uuid: Some(uuid),
            source_type: Some("volume".to_owned()),
            destination_type: Some("volume".to_owned()),
            volume_id: Some(volume_id.clone()),
            device_name: Some(name),
            disk_bus: asked.disk_bus.clone(),
            device_type: asked.device_type.clone(),
            tag: asked.tag.clone(),
            ..BlockDeviceMapping::default()
        };
        Ok(self.conductor.block_device_create(context, &bdm).await?)
    }

    fn ensure_multiattach(&self, volume_id: &str) -> Result<(), ManagerError> {
        if self.driver.capabilities().supports_multiattach {
            return Ok(());
        }
        let message = format!("Volume {volume_id} has 'multiattach' set, which is not supported for this instance.");
        Err(refused("MultiattachNotSupportedByVirtDriver", 400, message))
    }

    /// An attach that fails leaves nothing; one of which the end could not be saved is done again.
    async fn attach_or_undo(
        &self,
        context: &RequestContext,
        uuid: Uuid,
        bdm: BlockDeviceMapping,
    ) -> Result<(), ManagerError> {
        let mut bdm = Tracked::new(bdm);
        let attached = self.attach_mapped(context, uuid, &mut bdm).await;
        if let Err(error) = &attached {
            tracing::warn!(instance = %uuid, volume = ?bdm.volume_id, error = %details(error), "a volume could not be attached");
            self.end_attachment(context, &bdm).await;
            if let Err(error) = self.conductor.block_device_destroy(context, &bdm).await {
                tracing::error!(instance = %uuid, %error, "the mapping of a volume that is not attached stays");
            }
        }
        attached
    }

    async fn attach_mapped(
        &self,
        context: &RequestContext,
        uuid: Uuid,
        bdm: &mut Tracked<BlockDeviceMapping>,
    ) -> Result<(), ManagerError> {
        let elevated = context.elevated();
        let volumes = &self.clients.volume;
        let instance = self.mine(context, uuid).await?;
        let (volume_id, attachment) = mapped(bdm)?;
        let volume = volumes.show_volume(&elevated, &volume_id).await.map_err(raised)?;
        let info = self.connect(&elevated, &instance, &volume, bdm, attachment).await?;
        self.driver.attach_volume(&instance, &info, device(bdm)).await?;
        bdm.connection_info = Some(info.to_string());
        bdm.volume_size = bdm.volume_size.or(Some(volume.size));
        let saved = match self.conductor.block_device_save(context, bdm).await {
            // In use from now on; how to connect is kept before, for who detaches it then.
            Ok(()) => volumes.complete_attachment(&elevated, attachment).await.map_err(raised),
            Err(error) => Err(error.into()),
        };
        if saved.is_err() {
            self.take_out(&instance, &info, bdm).await;
        }
        saved
    }

    /// Has a volume exported to this host; returns how to connect to it.
    async fn connect(
        &self,
        context: &RequestContext,
        instance: &Instance,
        volume: &Volume,
        bdm: &BlockDeviceMapping,
        attachment: Uuid,
    ) -> Result<Value, ManagerError> {
        if volume.multiattach {
            self.ensure_multiattach(&volume.id)?;
        }
        let mut connector =
            self.driver.volume_connector(instance, &self.config.host, &self.config.my_block_storage_ip)?;
        connector["mountpoint"] = json!(bdm.device_name);
        let updated = self.clients.volume.update_attachment(context, attachment, connector).await.map_err(raised)?;
        let mut info: Map<String, Value> = updated.connection_info;
        info.entry("serial").or_insert_with(|| json!(volume.id));
        if volume.multiattach {
            info.insert("multiattach".to_owned(), json!(true));
        }
        Ok(Value::Object(info))
    }

    /// Undoes what the driver did; the guest keeps what it does not give back until it ends.
    async fn take_out(&self, instance: &Instance, info: &Value, bdm: &BlockDeviceMapping) {
        if let Err(error) = self.driver.detach_volume(instance, info, device(bdm)).await {
            tracing::warn!(instance = %instance.uuid, volume = ?bdm.volume_id, %error, "a volume stays in a guest");
        }
    }

    /// The volume is available again. A failure leaves it reserved.
    async fn end_attachment(&self, context: &RequestContext, bdm: &BlockDeviceMapping) {
        let Some(attachment) = bdm.attachment_id else { return };
        if let Err(error) = self.clients.volume.delete_attachment(&context.elevated(), attachment).await {
            tracing::error!(volume = ?bdm.volume_id, %attachment, %error, "an attachment stays");
        }
    }

    async fn detach_mapped(
        &self,
        context: &RequestContext,
        instance: &Instance,
        bdm: &BlockDeviceMapping,
    ) -> Result<(), ManagerError> {
        let instance_now = self.mine(context, instance.uuid).await?;
        let (volume_id, attachment) = mapped(bdm)?;
        let detached = self.driver.detach_volume(&instance_now, &connection_info(bdm), device(bdm)).await;
        match detached {
            // There is no guest: it has nothing of the volume.
            Ok(()) | Err(DriverError::InstanceNotFound(_)) => {}
            Err(error) => {
                self.roll_detaching(context, &volume_id).await;
                return Err(error.into());
            }
        }
        self.clients.volume.delete_attachment(context, attachment).await.map_err(raised)?;
        Ok(self.conductor.block_device_destroy(context, bdm).await?)
    }

    async fn roll_detaching(&self, context: &RequestContext, volume_id: &str) {
        if let Err(error) = self.clients.volume.roll_detaching(context, volume_id).await {
            tracing::error!(volume = volume_id, %error, "a volume stays in the state detaching");
        }
    }

    async fn swap(
        &self,
        context: &RequestContext,
        instance: &Instance,
        old_id: &str,
        new_id: &str,
        new_attachment: Uuid,
    ) -> Result<(), ManagerError> {
        let context = &context.elevated();
        let volumes = &self.clients.volume;
        let found = self.conductor.block_device_by_volume(context, old_id, instance.uuid).await?;
        let mut bdm = Tracked::new(found);
        mapped(&bdm)?;
        let old = volumes.show_volume(context, old_id).await.map_err(raised)?;
        let new = volumes.show_volume(context, new_id).await.map_err(raised)?;
        let is_move = old.migration_status.as_deref() == Some("migrating");
        let swapped = self.swap_in_guest(context, instance, &bdm, (&old, &new), new_attachment).await;
        let mut info = match swapped {
            Ok(info) => info,
            Err(error) => {
                self.roll_detaching(context, old_id).await;
                if let Err(error) = volumes.delete_attachment(context, new_attachment).await {
                    tracing::error!(volume = new_id, %error, "an attachment stays");
                }
                if is_move && let Err(error) = volumes.migrate_volume_completion(context, old_id, new_id, true).await {
                    tracing::error!(volume = old_id, %error, "the volume service does not know that a move failed");
                }
                return Err(error);
            }
        };
        // The guest has the new volume: from here on there is no way back.
        self.end_attachment(context, &bdm).await;
        let completed = if is_move {
            volumes.migrate_volume_completion(context, old_id, new_id, false).await.map_err(raised)
        } else {
            Ok(new_id.to_owned())
        };
        let kept_id = completed.as_ref().map_or(new_id, String::as_str).to_owned();
        // The copy had an id of its own as long as it was one.
        info["serial"] = json!(kept_id);
        info["volume_id"] = json!(kept_id);
        if info["data"].is_object() {
            info["data"]["volume_id"] = json!(kept_id);
        }
        bdm.connection_info = Some(info.to_string());
        bdm.source_type = Some("volume".to_owned());
        bdm.destination_type = Some("volume".to_owned());
        bdm.snapshot_id = None;
        bdm.volume_id = Some(kept_id);
        bdm.attachment_id = Some(new_attachment);
        if new.size > old.size {
            bdm.volume_size = Some(new.size);
        }
        self.conductor.block_device_save(context, &mut bdm).await?;
        completed.map(drop)
    }

    /// Returns how to connect to the new volume, which is in use then.
    async fn swap_in_guest(
        &self,
        context: &RequestContext,
        instance: &Instance,
        bdm: &BlockDeviceMapping,
        (old, new): (&Volume, &Volume),
        new_attachment: Uuid,
    ) -> Result<Value, ManagerError> {
        let instance = self.mine(context, instance.uuid).await?;
        let info = self.connect(context, &instance, new, bdm, new_attachment).await?;
        let resize_to_gb = (new.size > old.size).then_some(new.size);
        self.driver.swap_volume(&instance, &connection_info(bdm), &info, device(bdm), resize_to_gb).await?;
        self.clients.volume.complete_attachment(context, new_attachment).await.map_err(raised)?;
        Ok(info)
    }

    /// What an instance that is deleted has of volumes ends; those that are to go with it are deleted. By Nova's rule a
    /// delete does not fail because of a volume.
    pub(super) async fn release_volumes(&self, context: &RequestContext, bdms: &[BlockDeviceMapping]) {
        for bdm in bdms {
            let Some(volume_id) = &bdm.volume_id else { continue };
            self.end_attachment(context, bdm).await;
            if bdm.delete_on_termination
                && let Err(error) = self.clients.volume.delete_volume(context, volume_id).await
                && !matches!(error, ClientError::NotFound { .. })
            {
                tracing::warn!(volume = volume_id, %error, "a volume stays that was to go with its server");
            }
        }
    }

    /// The guest is gone from this host and will be made elsewhere: its volumes stay its own, and no host has them.
    pub(super) async fn disconnect_volumes(&self, context: &RequestContext, uuid: Uuid) -> Result<(), ManagerError> {
        let volumes = &self.clients.volume;
        for bdm in self.volumes_of(context, uuid).await? {
            let mut bdm = Tracked::new(bdm);
            let (volume_id, attachment) = mapped(&bdm)?;
            if bdm.connection_info.is_none() {
                continue;
            }
            let context = &context.elevated();
            // In that order: nobody else gets the volume in between.
            let reserved = volumes.create_attachment(context, &volume_id, uuid).await.map_err(raised)?;
            volumes.delete_attachment(context, attachment).await.map_err(raised)?;
            bdm.attachment_id = Some(reserved.id);
            bdm.connection_info = None;
            self.conductor.block_device_save(context, &mut bdm).await?;
        }
        Ok(())
    }

    /// A guest was made: it gets the volumes that the instance has.
    pub(super) async fn connect_volumes(
        &self,
        context: &RequestContext,
        instance: &Instance,
    ) -> Result<(), ManagerError> {
        let context = &context.elevated();
        for bdm in self.volumes_of(context, instance.uuid).await? {
            let mut bdm = Tracked::new(bdm);
            let (volume_id, attachment) = mapped(&bdm)?;
            let volume = self.clients.volume.show_volume(context, &volume_id).await.map_err(raised)?;
            if bdm.device_name.is_none() {
                let disks = self.conductor.block_devices(context, instance.uuid).await?;
                let name = device_names::next(instance, &disks, None, self.config.max_disk_devices_to_attach);
                bdm.device_name = Some(name.map_err(no_name)?);
            }
            let info = self.connect(context, instance, &volume, &bdm, attachment).await?;
            self.driver.attach_volume(instance, &info, device(&bdm)).await?;
            bdm.connection_info = Some(info.to_string());
            bdm.volume_size = bdm.volume_size.or(Some(volume.size));
            self.conductor.block_device_save(context, &mut bdm).await?;
            self.clients.volume.complete_attachment(context, attachment).await.map_err(raised)?;
        }
        Ok(())
    }

    /// The mappings of volumes that have an attachment.
    async fn volumes_of(&self, context: &RequestContext, uuid: Uuid) -> Result<Vec<BlockDeviceMapping>, ManagerError> {
        let mut disks = self.conductor.block_devices(context, uuid).await?;
        disks.retain(|disk| disk.volume_id.is_some() && disk.attachment_id.is_some());
        Ok(disks)
    }

    /// Finishes, or undoes, what a crash left of attaching and detaching.
    pub(super) async fn repair_volumes(&self, context: &RequestContext, instance: &Instance) {
        let uuid = instance.uuid;
        // Who is to be unshelved gets its volumes with its guest.
        let has_no_guest =
            matches!(instance.vm_state, VmState::Building | VmState::Deleted | VmState::ShelvedOffloaded);
        if has_no_guest || !self.is_mine(instance) {
            return;
        }
        let disks = match self.conductor.block_devices(context, uuid).await {
            Ok(disks) => disks,
            Err(error) => {
                return tracing::error!(instance = %uuid, %error, "the disks of an instance could not be read");
            }
        };
        for bdm in disks {
            let Some(volume_id) = bdm.volume_id.clone() else { continue };
            let repaired = Box::pin(self.repair_volume(context, instance, bdm, &volume_id)).await;
            if let Err(error) = repaired {
                tracing::error!(instance = %uuid, volume = volume_id, error = %details(&error), "a volume could not be repaired");
            }
        }
    }

    async fn repair_volume(
        &self,
        context: &RequestContext,
        instance: &Instance,
        bdm: BlockDeviceMapping,
        volume_id: &str,
    ) -> Result<(), ManagerError> {
        if bdm.attachment_id.is_none() {
            let is_old = bdm.created_at.is_some_and(|at| (utcnow() - at).num_seconds() > RESERVATION_S);
            if is_old {
                tracing::info!(instance = %instance.uuid, volume = volume_id, "nobody attaches a volume any more");
                self.conductor.block_device_destroy(context, &bdm).await?;
            }
            return Ok(());
        }
        if bdm.connection_info.is_none() {
            tracing::info!(instance = %instance.uuid, volume = volume_id, "attaching what a restart cut short");
            return self.attach_volume(context, instance.clone(), bdm).await;
        }
        let volume = match self.clients.volume.show_volume(context, volume_id).await {
            Ok(volume) if volume.status == "detaching" => volume,
            Ok(_) | Err(ClientError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if volume.migration_status.as_deref().is_some_and(|status| !status.is_empty()) {
            tracing::info!(instance = %instance.uuid, volume = volume_id, "an exchange that a restart cut short did not happen");
            return Ok(self.clients.volume.roll_detaching(context, volume_id).await?);
        }
        tracing::info!(instance = %instance.uuid, volume = volume_id, "detaching what a restart cut short");
        self.detach_volume(context, instance.clone(), volume_id).await
    }
}

/// The volume and the attachment of a mapping.
fn mapped(bdm: &BlockDeviceMapping) -> Result<(String, Uuid), ManagerError> {
    match (&bdm.volume_id, bdm.attachment_id) {
        (Some(volume_id), Some(attachment)) => Ok((volume_id.clone(), attachment)),
        (Some(volume_id), None) => {
            let message = format!("Invalid volume: volume {volume_id} has no attachment");
            Err(refused("InvalidVolume", 400, message))
        }
        (None, _) => Err(ManagerError::Invalid("a disk that is no volume".to_owned())),
    }
}

fn device(bdm: &BlockDeviceMapping) -> &str {
    bdm.device_name.as_deref().unwrap_or_default()
}

/// How a mapping says to connect; empty where it does not.
fn connection_info(bdm: &BlockDeviceMapping) -> Value {
    let parsed = bdm.connection_info.as_deref().and_then(|text| serde_json::from_str(text).ok());
    parsed.unwrap_or_else(|| json!({}))
}

fn no_name(refusal: Refusal) -> ManagerError {
    match refusal {
        Refusal::Invalid(path) => {
            refused("InvalidDevicePath", 400, format!("The supplied device path ({path}) is invalid."))
        }
        Refusal::InUse(path) => {
            refused("DevicePathInUse", 409, format!("The supplied device path ({path}) is in use."))
        }
        Refusal::TooMany(most) => {
            let message = format!(
                "The maximum allowed number of disk devices ({most}) to attach to a single instance has been exceeded."
            );
            refused("TooManyDiskDevices", 403, message)
        }
    }
}

/// What the volume service says, as Nova calls it.
fn raised(error: ClientError) -> ManagerError {
    match error {
        ClientError::NotFound { resource: VOLUME, id } => ManagerError::Raised(exception::volume_not_found(&id)),
        ClientError::NotFound { resource: ATTACHMENT, id } => {
            refused("VolumeAttachmentNotFound", 404, format!("Volume attachment {id} could not be found."))
        }
        ClientError::BadRequest(reason) => ManagerError::Raised(exception::invalid_input(&reason)),
        other => other.into(),
    }
}
