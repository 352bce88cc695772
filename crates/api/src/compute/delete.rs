//! Deleting a server: the workflow row is the promise, the cast to its host the nudge.

use std::time::Duration;

use kilonova_core::RequestContext;
use kilonova_db::instances::{self, StartAction};
use kilonova_db::workflows::{NewWorkflow, WorkflowKind};
use kilonova_db::{block_devices, instances::SaveError};
use kilonova_objects::{BlockDeviceMappingList, Instance, TaskState, VmState};
use kilonova_rpcapi::compute::TerminateInstance;
use kilonova_rpcapi::workflow::STEP_TERMINATE;
use serde_json::json;

use super::{ComputeError, checks};
use crate::state::ApiState;

/// How long the host has before the workflow pass looks after a delete.
const DELETE_LEASE: Duration = Duration::from_secs(30);

/// Has a server deleted, in whatever state it is. A second delete changes nothing.
pub(crate) async fn delete(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
) -> Result<(), ComputeError> {
    checks::unlocked(context, instance)?;
    let host = instance.host.as_deref().filter(|host| !host.is_empty());
    if instance.task_state == Some(TaskState::Deleting) {
        state.nudge();
        return Ok(());
    }
    // Without a host nobody else is going to look: the pass may begin at once.
    let lease = if host.is_some() { DELETE_LEASE } else { Duration::ZERO };
    let start = StartAction {
        uuid: instance.uuid,
        action: "delete",
        task_state: TaskState::Deleting,
        expected_vm_states: None,
        expected_task_states: None,
        request_id: context.request_id().to_owned(),
        user_id: context.user_id().to_owned(),
        project_id: context.project_id().to_owned(),
        workflow: Some(NewWorkflow {
            kind: WorkflowKind::Delete,
            instance_uuid: instance.uuid,
            step: STEP_TERMINATE.to_owned(),
            payload: json!({"request_id": context.request_id()}),
            lease_owner: format!("{}:api", state.config.host),
            lease,
        }),
    };
    let instance = instances::start_action(&state.db, start).await.map_err(|error| match error {
        SaveError::Db(error) => error.into(),
        other => checks::lost_race(other, instance, "delete"),
    })?;
    delete_shelved_image(state, context, &instance).await;
    match instance.host.clone().filter(|host| !host.is_empty()) {
        Some(host) => terminate(state, context, &host, instance).await,
        None => state.nudge(),
    }
    Ok(())
}

/// The image that a shelved server was kept in is of no use any more.
async fn delete_shelved_image(state: &ApiState, context: &RequestContext, instance: &Instance) {
    if !matches!(instance.vm_state, VmState::Shelved | VmState::ShelvedOffloaded) {
        return;
    }
    let image_id = instance.system_metadata.get("shelved_image_id").and_then(|id| id.as_deref()?.parse().ok());
    let Some(image_id) = image_id else { return };
    if let Err(error) = state.clients.image.delete(context, image_id).await {
        tracing::warn!(instance = %instance.uuid, image = %image_id, %error, "the image of a shelved server stays");
    }
}

/// A cast that fails is no error: the workflow row is there.
async fn terminate(state: &ApiState, context: &RequestContext, host: &str, instance: Instance) {
    let uuid = instance.uuid;
    let disks = block_devices::list(&state.db, &[uuid]).await;
    let bdms = match disks {
        Ok(mut disks) => BlockDeviceMappingList::from(disks.remove(&uuid).unwrap_or_default()),
        Err(error) => {
            tracing::warn!(instance = %uuid, %error, "a delete waits for the workflow pass");
            return state.nudge();
        }
    };
    if let Err(error) = state.compute.cast(context, host, TerminateInstance { instance, bdms }).await {
        tracing::warn!(instance = %uuid, %error, "a delete was not handed over and waits for the workflow pass");
        state.nudge();
    }
}
