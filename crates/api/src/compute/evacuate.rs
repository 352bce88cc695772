//! `evacuate`: a server whose host is down is made again on another one.

use kilonova_core::RequestContext;
use kilonova_db::instances::{self, MoveRecord};
use kilonova_db::{request_specs, services};
use kilonova_objects::migration::{migration_type, status};
use kilonova_objects::state::Action;
use kilonova_objects::{Instance, Migration, TaskState};
use kilonova_rpcapi::conductor::RebuildInstance;
use kilonova_rpcapi::workflow::{MovePayload, STEP_EVACUATE};
use serde_json::{Value, json};
use uuid::Uuid;

use super::resize::{begin, is_up, named_host, or_wait};
use super::{ComputeError, checks};
use crate::state::ApiState;

/// What is asked of an evacuation.
pub(crate) struct Asked {
    pub(crate) host: Option<String>,
    /// Whether the scheduler is not asked about the host; `None`: as before one could say.
    pub(crate) force: Option<bool>,
    pub(crate) on_shared_storage: Option<bool>,
    pub(crate) admin_password: Option<String>,
    /// The vm_state that the server shall have.
    pub(crate) target_state: Option<&'static str>,
}

/// Has a server made again on another host.
pub(crate) async fn evacuate(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    asked: Asked,
) -> Result<(), ComputeError> {
    if let Some(host) = &asked.host
        && services::get_by_host_and_binary(&state.db, host, "nova-compute").await?.is_none()
    {
        return Err(ComputeError::EvacuationHostNotFound { host: host.clone() });
    }
    if instance.host == asked.host {
        return Err(ComputeError::invalid("The target host can't be the same one."));
    }
    let action = Action::Evacuate;
    checks::allowed(action, &instance, action.method())?;
    let source = instance.host.clone().unwrap_or_default();
    if is_up(state, &source).await? {
        return Err(ComputeError::Invalid(format!("Compute service of {source} is still in use.")));
    }
    let mut spec = request_specs::get(&state.db, instance.uuid).await?;
    let is_forced = asked.force != Some(false);
    spec.requested_destination = match &asked.host {
        Some(host) if !is_forced => Some(named_host(state, host).await?),
        _ => None,
    };
    let mut message = RebuildInstance {
        instance: instance.clone(),
        new_pass: asked.admin_password,
        injected_files: None,
        image_ref: None,
        orig_image_ref: None,
        orig_sys_metadata: Value::Null,
        bdms: None,
        recreate: true,
        on_shared_storage: asked.on_shared_storage,
        preserve_ephemeral: false,
        host: asked.host.clone().filter(|_| is_forced),
        request_spec: Some(spec),
        reimage_boot_volume: false,
        target_state: asked.target_state.map(str::to_owned),
    };
    let migration = Migration {
        uuid: Uuid::new_v4(),
        instance_uuid: instance.uuid,
        source_compute: instance.host.clone(),
        source_node: instance.node.clone(),
        dest_compute: asked.host,
        status: status::ACCEPTED.to_owned(),
        migration_type: migration_type::EVACUATION.to_owned(),
        user_id: context.user_id.clone(),
        project_id: context.project_id.clone(),
        ..Migration::default()
    };
    let payload = MovePayload::of(context, None, &message);
    let changes = json!({"task_state": TaskState::Rebuilding.as_str()});
    let record = MoveRecord::New(Box::new(migration));
    let begin = begin(state, context, &instance, action, changes, record, STEP_EVACUATE, &payload);
    let (busy, _) = instances::start_move(&state.db, begin)
        .await
        .map_err(|error| checks::lost_race(error, &instance, action.method()))?;
    message.instance = *busy;
    let cast = state.conductor.cast(context, message).await;
    or_wait(state, &instance, cast);
    Ok(())
}
