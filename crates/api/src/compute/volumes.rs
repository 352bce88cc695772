//! The volumes of a server: attached, detached, exchanged.

use kilonova_clients::ClientError;
use kilonova_clients::volume::{VOLUME, Volume};
use kilonova_core::RequestContext;
use kilonova_db::{actions, block_devices};
use kilonova_objects::state::Action;
use kilonova_objects::{BlockDeviceMapping, Instance, VmState};
use kilonova_rpcapi::compute::{DetachVolume, SwapVolume};
use kilonova_rpcapi::conductor::AttachVolume;
use serde_json::{Map, json};
use uuid::Uuid;

use super::{ComputeError, checks};
use crate::state::ApiState;

/// What a server is to get.
#[derive(Clone, Debug)]
pub(crate) struct NewAttachment {
    pub volume_id: String,
    /// The name that the disk should have.
    pub device: Option<String>,
    pub tag: Option<String>,
    pub delete_on_termination: bool,
    /// Whether the caller's microversion knows of volumes that several servers have.
    pub supports_multiattach: bool,
    /// Whether the caller waits for the name.
    pub is_awaited: bool,
}

/// A volume, if the caller may see it.
pub(crate) async fn show(state: &ApiState, context: &RequestContext, id: &str) -> Result<Volume, ComputeError> {
    state.clients.volume.show_volume(context, id).await.map_err(refused)
}

/// The mapping of a volume of a server.
pub(crate) async fn mapping(
    state: &ApiState,
    volume_id: &str,
    instance_uuid: Uuid,
) -> Result<Option<BlockDeviceMapping>, ComputeError> {
    Ok(block_devices::by_volume_and_instance(&state.db, volume_id, instance_uuid).await?)
}

/// Attaches a volume; returns the name of the disk where the caller waits for it.
pub(crate) async fn attach(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    new: NewAttachment,
) -> Result<Option<String>, ComputeError> {
    checks::unlocked(context, &instance)?;
    checks::allowed(Action::AttachVolume, &instance, Action::AttachVolume.method())?;
    let volume = show(state, context, &new.volume_id).await?;
    ensure_free(state, &instance, &volume).await?;
    ensure_same_zone(state, &instance, &volume)?;
    if instance.vm_state == VmState::ShelvedOffloaded {
        return attach_offloaded(state, context, &instance, &volume, &new).await;
    }
    checks::host(&instance)?;
    let method = AttachVolume {
        instance,
        volume: volume.to_dict(),
        device: new.device,
        disk_bus: None,
        device_type: None,
        tag: new.tag,
        supports_multiattach: new.supports_multiattach,
        delete_on_termination: new.delete_on_termination,
    };
    if new.is_awaited {
        return Ok(state.conductor.long_call(context, method).await?);
    }
    state.conductor.cast(context, method).await?;
    Ok(None)
}

/// Of a server without a host only the records are made; it gets the volume when it is unshelved.
async fn attach_offloaded(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    volume: &Volume,
    new: &NewAttachment,
) -> Result<Option<String>, ComputeError> {
    if new.tag.is_some() {
        return Err(ComputeError::VolumeTaggedAttachToShelvedNotSupported);
    }
    if volume.multiattach {
        return Err(ComputeError::MultiattachToShelvedNotSupported);
    }
    let volumes = &state.clients.volume;
    let reserved = volumes.create_attachment(context, &volume.id, instance.uuid).await.map_err(refused)?;
    let mapping = BlockDeviceMapping {
        instance_uuid: Some(instance.uuid),
        source_type: Some("volume".to_owned()),
        destination_type: Some("volume".to_owned()),
        volume_id: Some(volume.id.clone()),
        attachment_id: Some(reserved.id),
        delete_on_termination: new.delete_on_termination,
        ..BlockDeviceMapping::default()
    };
    let made = async {
        block_devices::save(&state.db, &mapping).await?;
        record(state, context, instance, Action::AttachVolume).await?;
        // Without a host there is no connector; the volume shows all the same that it has a server.
        volumes.complete_attachment(context, reserved.id).await.map_err(refused)
    };
    if let Err(error) = made.await {
        undo_offloaded(state, context, instance, &volume.id, reserved.id).await;
        return Err(error);
    }
    Ok(None)
}

async fn undo_offloaded(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    volume_id: &str,
    attachment: Uuid,
) {
    if let Err(error) = state.clients.volume.delete_attachment(context, attachment).await {
        tracing::error!(instance = %instance.uuid, %attachment, %error, "an attachment stays");
    }
    let forgotten = match block_devices::by_volume_and_instance(&state.db, volume_id, instance.uuid).await {
        Ok(Some(mapping)) => block_devices::destroy(&state.db, mapping.id).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = forgotten {
        tracing::error!(instance = %instance.uuid, volume = volume_id, %error, "the mapping of a volume stays");
    }
}

/// Detaches a volume.
pub(crate) async fn detach(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    volume: &Volume,
    mapping: &BlockDeviceMapping,
) -> Result<(), ComputeError> {
    checks::unlocked(context, &instance)?;
    checks::allowed(Action::DetachVolume, &instance, Action::DetachVolume.method())?;
    if instance.vm_state == VmState::ShelvedOffloaded {
        record(state, context, &instance, Action::DetachVolume).await?;
        return detach_offloaded(state, context, mapping).await;
    }
    let host = checks::host(&instance)?.to_owned();
    begin_detaching(state, context, &volume.id).await?;
    let attachment_id = volume.attached_to(instance.uuid).and_then(|attached| attached.attachment_id.clone());
    let handed_over = async {
        record(state, context, &instance, Action::DetachVolume).await?;
        let method = DetachVolume { volume_id: volume.id.clone(), instance: instance.clone(), attachment_id };
        Ok(state.compute.cast(context, &host, method).await?)
    };
    let handed_over: Result<(), ComputeError> = handed_over.await;
    if handed_over.is_err() {
        roll_detaching(state, context, &volume.id).await;
    }
    handed_over
}

async fn detach_offloaded(
    state: &ApiState,
    context: &RequestContext,
    mapping: &BlockDeviceMapping,
) -> Result<(), ComputeError> {
    let volumes = &state.clients.volume;
    if let Some(attachment) = mapping.attachment_id {
        volumes.delete_attachment(context, attachment).await.map_err(refused)?;
    }
    if let Some(volume_id) = mapping.volume_id.as_ref().filter(|_| mapping.delete_on_termination)
        && let Err(error) = volumes.delete_volume(context, volume_id).await
    {
        tracing::warn!(volume = volume_id, %error, "a volume stays that was to go with its attachment");
    }
    Ok(block_devices::destroy(&state.db, mapping.id).await?)
}

/// Has the host put `new_volume` in the place of `old_volume`, which the volume service moves.
pub(crate) async fn swap(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    old_volume: &Volume,
    new_volume: &Volume,
) -> Result<(), ComputeError> {
    checks::unlocked(context, &instance)?;
    checks::allowed(Action::SwapVolume, &instance, Action::SwapVolume.method())?;
    let host = checks::host(&instance)?.to_owned();
    if old_volume.attached_to(instance.uuid).is_none() {
        return Err(invalid_volume("Old volume is attached to a different instance."));
    }
    if new_volume.is_attached() {
        return Err(invalid_volume("New volume must be detached in order to swap."));
    }
    if new_volume.size < old_volume.size {
        return Err(invalid_volume("New volume must be the same size or larger."));
    }
    ensure_same_zone(state, &instance, new_volume)?;
    begin_detaching(state, context, &old_volume.id).await?;
    let swapped = Box::pin(hand_over_swap(state, context, &host, &instance, old_volume, new_volume)).await;
    if swapped.is_err() {
        roll_detaching(state, context, &old_volume.id).await;
    }
    swapped
}

async fn hand_over_swap(
    state: &ApiState,
    context: &RequestContext,
    host: &str,
    instance: &Instance,
    old_volume: &Volume,
    new_volume: &Volume,
) -> Result<(), ComputeError> {
    // After the volume cannot get more servers.
    if writers(state, context, old_volume).await? > 1 {
        return Err(ComputeError::MultiattachSwapVolumeNotSupported);
    }
    let found = mapping(state, &old_volume.id, instance.uuid).await?;
    found.ok_or_else(|| ComputeError::VolumeBdmOfServerNotFound { volume_id: old_volume.id.clone() })?;
    ensure_free(state, instance, new_volume).await?;
    let volumes = &state.clients.volume;
    let reserved = volumes.create_attachment(context, &new_volume.id, instance.uuid).await.map_err(refused)?;
    let handed_over = async {
        record(state, context, instance, Action::SwapVolume).await?;
        let method = SwapVolume {
            instance: instance.clone(),
            old_volume_id: old_volume.id.clone(),
            new_volume_id: new_volume.id.clone(),
            new_attachment_id: Some(reserved.id.to_string()),
        };
        Ok(state.compute.cast(context, host, method).await?)
    };
    let handed_over: Result<(), ComputeError> = handed_over.await;
    if handed_over.is_err()
        && let Err(error) = volumes.delete_attachment(context, reserved.id).await
    {
        tracing::error!(volume = new_volume.id, %error, "an attachment stays");
    }
    handed_over
}

/// How many servers may write to a volume.
async fn writers(state: &ApiState, context: &RequestContext, volume: &Volume) -> Result<usize, ComputeError> {
    if volume.attachments.len() < 2 {
        return Ok(volume.attachments.len());
    }
    let mut count = 0;
    for attached in &volume.attachments {
        let id = attached.attachment_id.as_deref().and_then(|id| id.parse().ok());
        let mode = match id {
            Some(id) => match state.clients.volume.show_attachment(context, id).await {
                Ok(attachment) => attachment.attach_mode,
                Err(ClientError::NotFound { .. }) => None,
                Err(error) => return Err(refused(error)),
            },
            None => None,
        };
        // What is not known is written to.
        count += usize::from(mode.as_deref().is_none_or(|mode| mode == "rw"));
    }
    Ok(count)
}

/// Sets whether a volume goes with its server.
pub(crate) async fn set_delete_on_termination(
    state: &ApiState,
    mapping: &BlockDeviceMapping,
    delete_on_termination: bool,
) -> Result<(), ComputeError> {
    let changes = Map::from_iter([("delete_on_termination".to_owned(), json!(delete_on_termination))]);
    block_devices::update(&state.db, mapping.id, &changes).await?;
    Ok(())
}

/// No server has the volume; or others, if several may.
async fn ensure_free(state: &ApiState, instance: &Instance, volume: &Volume) -> Result<(), ComputeError> {
    let mappings = block_devices::of_volume(&state.db, &volume.id).await?;
    if mappings.is_empty() {
        return Ok(());
    }
    if !volume.multiattach {
        let servers = mappings.iter().filter_map(|mapping| mapping.instance_uuid).map(|uuid| uuid.to_string());
        let servers = servers.collect::<Vec<_>>().join(" ");
        return Err(invalid_volume(&format!("volume {} is already attached to instances: {servers}", volume.id)));
    }
    if mappings.iter().any(|mapping| mapping.instance_uuid == Some(instance.uuid)) {
        return Err(invalid_volume(&format!("volume {} already attached", volume.id)));
    }
    Ok(())
}

/// `[cinder] cross_az_attach`
fn ensure_same_zone(state: &ApiState, instance: &Instance, volume: &Volume) -> Result<(), ComputeError> {
    let config = &state.config;
    let zone = instance.availability_zone.as_deref().unwrap_or(&config.default_availability_zone);
    if config.cross_az_attach || volume.availability_zone.as_deref() == Some(zone) {
        return Ok(());
    }
    let (uuid, id, of_volume) = (instance.uuid, &volume.id, volume.availability_zone.as_deref().unwrap_or("None"));
    Err(invalid_volume(&format!(
        "Instance {uuid} and volume {id} are not in the same availability_zone. Instance is in {zone}. Volume is in \
         {of_volume}"
    )))
}

async fn begin_detaching(state: &ApiState, context: &RequestContext, volume_id: &str) -> Result<(), ComputeError> {
    let begun = state.clients.volume.begin_detaching(context, volume_id).await;
    begun.map_err(|error| match error {
        ClientError::BadRequest(reason) => invalid_volume(&format!("Invalid input received: {reason}")),
        other => refused(other),
    })
}

async fn roll_detaching(state: &ApiState, context: &RequestContext, volume_id: &str) {
    if let Err(error) = state.clients.volume.roll_detaching(context, volume_id).await {
        tracing::error!(volume = volume_id, %error, "a volume stays in the state detaching");
    }
}

async fn record(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    action: Action,
) -> Result<(), ComputeError> {
    let (request_id, user_id, project_id) = (context.request_id(), context.user_id(), context.project_id());
    actions::start(&state.db, instance.uuid, action.method(), request_id, user_id, project_id).await?;
    Ok(())
}

fn invalid_volume(reason: &str) -> ComputeError {
    ComputeError::Invalid(format!("Invalid volume: {reason}"))
}

/// What the volume service says, in Nova's words.
fn refused(error: ClientError) -> ComputeError {
    match error {
        ClientError::NotFound { resource: VOLUME, id } => ComputeError::VolumeNotFound { volume_id: id },
        ClientError::BadRequest(reason) => ComputeError::Invalid(format!("Invalid input received: {reason}")),
        other => other.into(),
    }
}
