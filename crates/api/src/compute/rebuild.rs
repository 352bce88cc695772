//! `rebuild`: a server made anew, from the same image or from another one.
//!
//! ```text
//!   checks as for a create ──> instances::start_action_with ──> cast to a conductor ──> (scheduler, for another image) ──> host
//! ```

use std::collections::BTreeMap;

use kilonova_clients::image::Image;
use kilonova_core::RequestContext;
use kilonova_db::instances::{self, Save, StartAction};
use kilonova_db::{block_devices, request_specs};
use kilonova_objects::state::Action;
use kilonova_objects::wire::VersionedObject as _;
use kilonova_objects::{
    BlockDeviceMappingList, Flavor, Instance, KeyPair, KeyPairList, RequestSpec, TaskState, Tracked, Wire as _,
};
use kilonova_rpcapi::conductor::RebuildInstance;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::create::{files, image, key_pair};
use super::{ComputeError, checks, quota, trusted_certs};
use crate::policy::Target;
use crate::state::ApiState;

/// What is wanted, after the schema. `None`: as it is; where there is a second option, its `None` takes away.
#[derive(Clone, Debug)]
pub(crate) struct Rebuild {
    pub image_ref: Uuid,
    pub admin_password: String,
    pub display_name: Option<String>,
    pub display_description: Option<Option<String>>,
    pub metadata: Option<BTreeMap<String, String>>,
    pub access_ip_v4: Option<String>,
    pub access_ip_v6: Option<String>,
    pub auto_disk_config: Option<bool>,
    pub preserve_ephemeral: bool,
    /// `(path, base64)`
    pub injected_files: Vec<(String, String)>,
    pub key_name: Option<Option<String>>,
    pub user_data: Option<Option<String>>,
    pub trusted_certs: Option<Option<Vec<String>>>,
    pub hostname: Option<String>,
    pub reimage_boot_volume: bool,
}

/// Has a server made anew.
pub(crate) async fn rebuild(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    wanted: Rebuild,
) -> Result<(), ComputeError> {
    let word = Action::Rebuild.method();
    checks::unlocked(context, &instance)?;
    checks::allowed(Action::Rebuild, &instance, word)?;
    let key_pair = match &wanted.key_name {
        Some(Some(name)) => key_pair(state, context, Some(name)).await?,
        _ => None,
    };
    let new_image = image::look_up(state, context, wanted.image_ref, "Cannot find image for rebuild").await?;
    let flavor = instance.flavor.clone().ok_or_else(|| ComputeError::Internal("a server without a flavor".into()))?;
    check(state, context, &wanted, &new_image, &flavor).await?;
    let mut spec = request_specs::get(&state.db, instance.uuid).await?;
    let trusted_certs = wanted.trusted_certs.as_ref().map(|ids| trusted_certs::of_request(state, ids.as_deref()));
    let changes = changes(&instance, &wanted, &new_image, &flavor, key_pair, trusted_certs);
    let start = StartAction {
        uuid: instance.uuid,
        action: word,
        task_state: TaskState::Rebuilding,
        expected_vm_states: Some(vec![instance.vm_state]),
        expected_task_states: Some(vec![None]),
        request_id: context.request_id().to_owned(),
        user_id: context.user_id().to_owned(),
        project_id: context.project_id().to_owned(),
        workflow: None,
    };
    let busy = instances::start_action_with(&state.db, start, &changes).await;
    let busy = busy.map_err(|error| checks::lost_race(error, &instance, word))?;
    let is_same_image = instance.image_ref.as_deref() == Some(&new_image.id.to_string());
    if !is_same_image {
        spec.image = Some(image::meta(&new_image));
        request_specs::save(&state.db, &spec).await?;
        stay(&mut spec, &instance);
    }
    let told = Box::pin(tell(state, context, &instance, busy, &wanted, spec, is_same_image)).await;
    if told.is_err() {
        undo(state, &instance, &changes).await;
    }
    told
}

/// The checks of a create, on the flavor that the server has.
async fn check(
    state: &ApiState,
    context: &RequestContext,
    wanted: &Rebuild,
    new_image: &Image,
    flavor: &Flavor,
) -> Result<(), ComputeError> {
    let limits = quota::of_caller(state, context).await?;
    let items = wanted.metadata.as_ref().map_or(0, BTreeMap::len);
    if limits.exceeds("metadata_items", items) {
        return Err(ComputeError::MetadataLimitExceeded { allowed: limits.get("metadata_items") });
    }
    files::check(&limits, &wanted.injected_files)?;
    let own = Target { project_id: context.project_id(), user_id: context.user_id() };
    let zero_disk = state.policy.allows("os_compute_api:servers:create:zero_disk_flavor", context, own);
    image::check(new_image, flavor, wanted.auto_disk_config, zero_disk)
}

/// What is written together with the task.
fn changes(
    before: &Instance,
    wanted: &Rebuild,
    new_image: &Image,
    flavor: &Flavor,
    key_pair: Option<KeyPair>,
    trusted_certs: Option<Option<Value>>,
) -> Map<String, Value> {
    let mut instance = Tracked::new(before.clone());
    if let Some(trusted_certs) = trusted_certs {
        instance.trusted_certs = trusted_certs;
    }
    apply(&mut instance, wanted, key_pair);
    apply_image(&mut instance, new_image, flavor, wanted.auto_disk_config);
    let (names, mut data) = (instance.changes(), instance.data());
    data.retain(|name, _| names.contains(name));
    data
}

fn apply(instance: &mut Instance, wanted: &Rebuild, key_pair: Option<KeyPair>) {
    if wanted.key_name.is_some() {
        instance.key_name = key_pair.as_ref().map(|pair| pair.name.clone());
        instance.key_data = key_pair.as_ref().and_then(|pair| pair.public_key.clone());
        instance.keypairs = KeyPairList::from(key_pair.into_iter().collect::<Vec<_>>());
    }
    if let Some(user_data) = &wanted.user_data {
        instance.user_data.clone_from(user_data);
    }
    if let Some(description) = &wanted.display_description {
        instance.display_description.clone_from(description);
    }
    if let Some(metadata) = &wanted.metadata {
        instance.metadata.clone_from(metadata);
    }
    for (field, value) in [
        (&mut instance.hostname, &wanted.hostname),
        (&mut instance.display_name, &wanted.display_name),
        (&mut instance.access_ip_v4, &wanted.access_ip_v4),
        (&mut instance.access_ip_v6, &wanted.access_ip_v6),
    ] {
        if value.is_some() {
            field.clone_from(value);
        }
    }
}

fn apply_image(instance: &mut Instance, new_image: &Image, flavor: &Flavor, auto_disk_config: Option<bool>) {
    let property = |name: &str| new_image.properties.get(name).cloned();
    let (kernel, ramdisk) = image::kernel_and_ramdisk(new_image);
    let id = new_image.id.to_string();
    instance.os_type = property("os_type");
    instance.architecture = property("architecture");
    instance.vm_mode = property("vm_mode");
    instance.auto_disk_config = auto_disk_config.unwrap_or_else(|| image::auto_disk_config(new_image));
    instance.image_ref = Some(id.clone());
    instance.kernel_id = Some(kernel.unwrap_or_default().to_owned());
    instance.ramdisk_id = Some(ramdisk.unwrap_or_default().to_owned());
    instance.progress = Some(0);
    instance.system_metadata.retain(|key, _| !key.starts_with("image_"));
    instance.system_metadata.extend(image::system_metadata(new_image, flavor));
    instance.system_metadata.insert("image_base_image_ref".to_owned(), Some(id));
}

/// The question to the scheduler: whether the host that the server is on may have the new image.
fn stay(spec: &mut RequestSpec, instance: &Instance) {
    spec.scheduler_hints.get_or_insert_default().insert("_nova_check_type".to_owned(), vec!["rebuild".to_owned()]);
    spec.force_hosts = instance.host.clone().map(|host| vec![host]);
    spec.force_nodes = instance.node.clone().map(|node| vec![node]);
    spec.requested_destination = None;
}

async fn tell(
    state: &ApiState,
    context: &RequestContext,
    before: &Instance,
    busy: Instance,
    wanted: &Rebuild,
    spec: RequestSpec,
    is_same_image: bool,
) -> Result<(), ComputeError> {
    let mut bdms = block_devices::list(&state.db, &[busy.uuid]).await?;
    let message = RebuildInstance {
        new_pass: Some(wanted.admin_password.clone()),
        injected_files: Some(files::on_the_wire(&wanted.injected_files)),
        image_ref: Some(wanted.image_ref.to_string()),
        orig_image_ref: before.image_ref.clone(),
        orig_sys_metadata: before.system_metadata.to_wire(),
        bdms: Some(BlockDeviceMappingList::from(bdms.remove(&busy.uuid).unwrap_or_default())),
        recreate: false,
        on_shared_storage: Some(false),
        preserve_ephemeral: wanted.preserve_ephemeral,
        // Without one the conductor asks the scheduler.
        host: busy.host.clone().filter(|_| is_same_image),
        request_spec: Some(spec),
        reimage_boot_volume: wanted.reimage_boot_volume,
        target_state: None,
        instance: busy,
    };
    Ok(state.conductor.cast(context, message).await?)
}

/// Nobody was told: the server is what it was.
async fn undo(state: &ApiState, before: &Instance, changes: &Map<String, Value>) {
    let mut old = before.data();
    old.retain(|name, _| changes.contains_key(name));
    old.insert("task_state".to_owned(), Value::Null);
    let save = Save {
        uuid: before.uuid,
        changes: &old,
        expected_vm_state: None,
        expected_task_state: Some(vec![Some(TaskState::Rebuilding)]),
    };
    if let Err(error) = instances::save(&state.db, save).await {
        tracing::error!(instance = %before.uuid, %error, "a server stays marked as being rebuilt");
    }
}
