//! Snapshots of volumes in use, which the volume service takes with the hypervisor's help.

use kilonova_core::RequestContext;
use kilonova_db::block_devices;
use kilonova_db::instances::{self, Deleted};
use kilonova_objects::{Instance, VmState};
use kilonova_rpcapi::compute::{VolumeSnapshotCreate, VolumeSnapshotDelete};
use serde_json::Value;

use super::{ComputeError, checks};
use crate::state::ApiState;

/// Has the host of the server that has the volume write a snapshot's changes into another file from now on.
pub(crate) async fn create(
    state: &ApiState,
    context: &RequestContext,
    volume_id: &str,
    create_info: &Value,
) -> Result<(), ComputeError> {
    let instance = of_volume(state, volume_id).await?;
    let host = idle_on(&instance, "volume_snapshot_create")?;
    let (volume_id, create_info) = (volume_id.to_owned(), create_info.clone());
    Ok(state.compute.cast(context, &host, VolumeSnapshotCreate { instance, volume_id, create_info }).await?)
}

/// Has the host merge the files of a snapshot.
pub(crate) async fn delete(
    state: &ApiState,
    context: &RequestContext,
    volume_id: &str,
    snapshot_id: &str,
    delete_info: &Value,
) -> Result<(), ComputeError> {
    const ACTION: &str = "volume_snapshot_delete";
    let instance = of_volume(state, volume_id).await?;
    let host = idle_on(&instance, ACTION)?;
    // Only a running guest's files can be merged into each other.
    if !delete_info["merge_target_file"].is_null() && instance.vm_state != VmState::Active {
        let (uuid, state) = (instance.uuid, instance.vm_state.to_string());
        return Err(ComputeError::InstanceInvalidState { uuid, action: ACTION, attr: "vm_state", state });
    }
    let (volume_id, snapshot_id) = (volume_id.to_owned(), snapshot_id.to_owned());
    let delete_info = delete_info.clone();
    let method = VolumeSnapshotDelete { instance, volume_id, snapshot_id, delete_info };
    Ok(state.compute.cast(context, &host, method).await?)
}

async fn of_volume(state: &ApiState, volume_id: &str) -> Result<Instance, ComputeError> {
    let found = block_devices::by_volume(&state.db, volume_id).await?;
    let uuid = found.and_then(|mapping| mapping.instance_uuid);
    let uuid = uuid.ok_or_else(|| ComputeError::VolumeBdmNotFound { volume_id: volume_id.to_owned() })?;
    Ok(instances::get(&state.db, uuid, Deleted::No).await?)
}

/// The host of a server to which nothing else is done now.
fn idle_on(instance: &Instance, action: &'static str) -> Result<String, ComputeError> {
    let host = checks::host(instance)?.to_owned();
    match instance.task_state {
        None => Ok(host),
        Some(task) => {
            let (uuid, state) = (instance.uuid, task.to_string());
            Err(ComputeError::InstanceInvalidState { uuid, action, attr: "task_state", state })
        }
    }
}
