//! Starting a server from another image, to repair its disk; and from its own again.

use std::collections::BTreeMap;

use kilonova_clients::ClientError;
use kilonova_core::RequestContext;
use kilonova_db::{block_devices, compute_nodes};
use kilonova_objects::state::Action;
use kilonova_objects::{BlockDeviceMapping, Instance, TaskState};
use kilonova_rpcapi::compute::{RescueInstance, UnrescueInstance};

use super::{ComputeError, checks, power};
use crate::state::ApiState;

/// The trait of hosts that rescue servers whose root disk is a volume.
const RESCUES_VOLUMES: &str = "COMPUTE_RESCUE_BFV";
/// What a volume snapshot has for an image's disks, under its old and its new name.
const SNAPSHOTS: [&str; 2] = ["block_device_mapping", "img_block_device_mapping"];

/// What a rescue is asked with.
pub(crate) struct Rescue<'a> {
    /// For the administrator of the rescue system.
    pub password: String,
    /// The image; the one that the server was made from where none is named.
    pub image_ref: Option<&'a str>,
    /// Since 2.87 a server may be rescued whose root disk is a volume.
    pub allows_volume: bool,
}

/// `rescue`
pub(crate) async fn rescue(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    wanted: Rescue<'_>,
) -> Result<(), ComputeError> {
    checks::unlocked(context, &instance)?;
    checks::allowed(Action::Rescue, &instance, Action::Rescue.method())?;
    let properties = match wanted.image_ref {
        Some(image_ref) => of_image(state, context, image_ref).await?,
        None => of_server(&instance),
    };
    let mut disks = block_devices::list(&state.db, &[instance.uuid]).await?;
    let disks = disks.remove(&instance.uuid).unwrap_or_default();
    if is_volume_backed(&instance, &disks) {
        let is_stable = ["hw_rescue_bus", "hw_rescue_device"].iter().all(|name| properties.contains_key(*name));
        check_volume(state, context, &instance, wanted.allows_volume && is_stable).await?;
    }
    let method = |instance| RescueInstance {
        instance,
        rescue_password: Some(wanted.password),
        rescue_image_ref: wanted.image_ref.map(str::to_owned),
        clean_shutdown: true,
    };
    power::run(state, context, instance, Action::Rescue, TaskState::Rescuing, method).await
}

/// `unrescue`
pub(crate) async fn unrescue(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
) -> Result<(), ComputeError> {
    let method = |instance| UnrescueInstance { instance };
    power::run(state, context, instance, Action::Unrescue, TaskState::Unrescuing, method).await
}

/// The properties of an image that a server can be rescued with.
async fn of_image(
    state: &ApiState,
    context: &RequestContext,
    image_ref: &str,
) -> Result<BTreeMap<String, String>, ComputeError> {
    let unsupported = || ComputeError::UnsupportedRescueImage { image: image_ref.to_owned() };
    let id = image_ref.parse().map_err(|_| unsupported())?;
    let image = state.clients.image.show(context, id).await.map_err(|error| match error {
        ClientError::NotFound { .. } | ClientError::BadRequest(_) => unsupported(),
        other => other.into(),
    })?;
    if SNAPSHOTS.iter().any(|name| image.properties.contains_key(*name)) {
        return Err(unsupported());
    }
    Ok(image.properties)
}

/// The properties of the image that a server was made from.
fn of_server(instance: &Instance) -> BTreeMap<String, String> {
    let own = instance.system_metadata.iter();
    own.filter_map(|(key, value)| Some((key.strip_prefix("image_")?.to_owned(), value.clone()?))).collect()
}

/// Whether the root disk is a volume.
fn is_volume_backed(instance: &Instance, disks: &[BlockDeviceMapping]) -> bool {
    match disks.iter().find(|disk| disk.boot_index == Some(0)) {
        Some(root) => root.destination_type.as_deref() == Some("volume"),
        None => instance.image_ref.as_deref().is_none_or(str::is_empty),
    }
}

async fn check_volume(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    is_allowed: bool,
) -> Result<(), ComputeError> {
    let refused = |reason| Err(ComputeError::InstanceNotRescuable { uuid: instance.uuid, reason });
    if !is_allowed {
        return refused("Cannot rescue a volume-backed instance");
    }
    let nodes = compute_nodes::list_by_host(&state.db, checks::host(instance)?).await?;
    let node = nodes.into_iter().find(|node| node.hypervisor_hostname == instance.node);
    let traits = match node {
        Some(node) => state.clients.placement.provider_traits(context, node.uuid).await?,
        None => Vec::new(),
    };
    if traits.iter().any(|name| name == RESCUES_VOLUMES) {
        return Ok(());
    }
    refused("Host unable to rescue a volume-backed instance")
}
