//! Images of servers: `createImage`, `createBackup`, and what they and `shelve` begin with, an image without bytes.

use std::collections::BTreeMap;

use kilonova_clients::image::{Image, NewImage};
use kilonova_core::RequestContext;
use kilonova_db::instances::{self, StartAction};
use kilonova_objects::state::Action;
use kilonova_objects::{Instance, TaskState};
use kilonova_rpcapi::RpcMethod;
use kilonova_rpcapi::compute::{BackupInstance, SnapshotInstance};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{ComputeError, checks, power, quota};
use crate::state::ApiState;

/// Before this prefix is gone, a key of a server's system metadata is a property of its image.
const IMAGE_PREFIX: &str = "image_";
/// Keys that no image inherits.
const SKIPPED: [&str; 4] = ["mappings", "block_device_mapping", "img_mappings", "img_block_device_mapping"];
/// Properties that no image inherits, whatever the operator says.
const NON_INHERITABLE: [&str; 6] = [
    "cinder_encryption_key_id",
    "cinder_encryption_key_deletion_policy",
    "img_signature",
    "img_signature_hash_method",
    "img_signature_key_type",
    "img_signature_certificate_uuid",
];
/// Properties that begin so belong to the image service.
const NON_INHERITABLE_NAMESPACE: &str = "os_glance";

/// Whether an image may have so many properties of the user's own; asked up to 2.38.
pub(crate) async fn check_metadata(
    state: &ApiState,
    context: &RequestContext,
    metadata: &BTreeMap<String, String>,
) -> Result<(), ComputeError> {
    if metadata.is_empty() {
        return Ok(());
    }
    let limits = quota::of_caller(state, context).await?;
    if limits.exceeds("metadata_items", metadata.len()) {
        return Err(ComputeError::ImageMetadataLimitExceeded);
    }
    Ok(())
}

/// `createImage`: returns the image. A locked server may be copied.
pub(crate) async fn snapshot(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    name: &str,
    metadata: BTreeMap<String, String>,
) -> Result<Uuid, ComputeError> {
    checks::allowed(Action::Snapshot, &instance, Action::Snapshot.method())?;
    let image = create_image(state, context, &instance, name, "snapshot", metadata).await?;
    let method = |instance| SnapshotInstance { instance, image_id: image.id };
    let begin = Begin { action: Action::Snapshot, task_state: TaskState::ImageSnapshotPending, changes: Map::new() };
    run(state, context, &instance, &image, begin, method).await?;
    Ok(image.id)
}

/// `createBackup`: returns the image.
pub(crate) async fn backup(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    name: &str,
    backup_type: &str,
    rotation: i64,
    mut metadata: BTreeMap<String, String>,
) -> Result<Uuid, ComputeError> {
    checks::allowed(Action::Backup, &instance, Action::Backup.method())?;
    metadata.insert("backup_type".to_owned(), backup_type.to_owned());
    let image = create_image(state, context, &instance, name, "backup", metadata).await?;
    let backup_type = backup_type.to_owned();
    let method = |instance| BackupInstance { instance, image_id: image.id, backup_type, rotation };
    let begin = Begin { action: Action::Backup, task_state: TaskState::ImageBackup, changes: Map::new() };
    run(state, context, &instance, &image, begin, method).await?;
    Ok(image.id)
}

/// How an action that fills an image begins.
pub(super) struct Begin {
    pub action: Action,
    pub task_state: TaskState,
    /// Written together with the task.
    pub changes: Map<String, Value>,
}

/// Marks the server as busy and tells its host. An image that nobody fills goes.
pub(super) async fn run<M: RpcMethod>(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    image: &Image,
    begin: Begin,
    method: impl FnOnce(Instance) -> M,
) -> Result<(), ComputeError> {
    let begun = Box::pin(begin_and_tell(state, context, instance, begin, method)).await;
    if begun.is_err()
        && let Err(error) = state.clients.image.delete(context, image.id).await
    {
        tracing::warn!(image = %image.id, %error, "an image that nobody fills stays");
    }
    begun
}

async fn begin_and_tell<M: RpcMethod>(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    begin: Begin,
    method: impl FnOnce(Instance) -> M,
) -> Result<(), ComputeError> {
    let word = begin.action.method();
    let host = checks::host(instance)?.to_owned();
    let start = StartAction {
        uuid: instance.uuid,
        action: word,
        task_state: begin.task_state,
        expected_vm_states: Some(vec![instance.vm_state]),
        expected_task_states: Some(vec![None]),
        request_id: context.request_id().to_owned(),
        user_id: context.user_id().to_owned(),
        project_id: context.project_id().to_owned(),
        workflow: None,
    };
    let busy = instances::start_action_with(&state.db, start, &begin.changes).await;
    let busy = busy.map_err(|error| checks::lost_race(error, instance, word))?;
    if let Err(error) = state.compute.cast(context, &host, method(busy)).await {
        power::free(state, instance, begin.task_state).await;
        return Err(error.into());
    }
    Ok(())
}

/// Makes the image of a server, without bytes. `image_type` is `snapshot` or `backup`; `more` are properties that count
/// more than those that it inherits.
pub(super) async fn create_image(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    name: &str,
    image_type: &str,
    more: BTreeMap<String, String>,
) -> Result<Image, ComputeError> {
    let mut image = inherited(instance, &state.config.non_inheritable_image_properties);
    image.name = name.to_owned();
    if image_type == "snapshot" {
        // The host says in which format it has copied the disk.
        (image.disk_format, image.container_format) = (None, None);
    }
    let own = [
        ("instance_uuid", instance.uuid.to_string()),
        ("user_id", context.user_id().to_owned()),
        ("image_type", image_type.to_owned()),
    ];
    image.properties.extend(own.map(|(name, value)| (name.to_owned(), value)));
    image.properties.extend(more);
    if context.project_id() == instance.project_id() {
        image.visibility = "private".to_owned();
    } else {
        // Of another's server: its owner may use the image.
        image.visibility = "shared".to_owned();
        image.properties.insert("instance_owner".to_owned(), instance.project_id().to_owned());
        image.member = Some(instance.project_id().to_owned());
    }
    Ok(state.clients.image.create(context, &image).await?)
}

/// What an image of a server has of the image that the server was made from.
fn inherited(instance: &Instance, non_inheritable: &[String]) -> NewImage {
    let mut image = NewImage::default();
    for (key, value) in &instance.system_metadata {
        let Some(value) = value else { continue };
        let name = key.strip_prefix(IMAGE_PREFIX).unwrap_or(key);
        match name {
            "min_ram" => image.min_ram = value.parse().unwrap_or_default(),
            "min_disk" => image.min_disk = value.parse().unwrap_or_default(),
            "disk_format" => image.disk_format = Some(value.clone()),
            "container_format" => image.container_format = Some(value.clone()),
            // The image service takes no empty ones.
            "kernel_id" | "ramdisk_id" if matches!(value.trim(), "" | "None" | "none") => {}
            name if SKIPPED.contains(&name) || NON_INHERITABLE.contains(&name) => {}
            name if name.starts_with(NON_INHERITABLE_NAMESPACE) => {}
            name if non_inheritable.iter().any(|other| other == name) => {}
            name => drop(image.properties.insert(name.to_owned(), value.clone())),
        }
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_inherits_what_it_may() {
        let pairs = [
            ("image_min_ram", "64"),
            ("image_min_disk", "2"),
            ("image_disk_format", "qcow2"),
            ("image_hw_disk_bus", "virtio"),
            ("image_img_signature", "x"),
            ("image_os_glance_import", "x"),
            ("image_bittorrent", "x"),
            ("image_mappings", "x"),
            ("image_kernel_id", ""),
            ("owner_user_name", "demo"),
        ];
        let system_metadata = pairs.map(|(key, value)| (key.to_owned(), Some(value.to_owned()))).into();
        let instance = Instance { system_metadata, ..Instance::default() };
        let image = inherited(&instance, &["bittorrent".to_owned()]);
        assert_eq!((image.min_ram, image.min_disk, image.disk_format.as_deref()), (64, 2, Some("qcow2")));
        let properties: Vec<(&str, &str)> =
            image.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(properties, [("hw_disk_bus", "virtio"), ("owner_user_name", "demo")]);
    }
}
