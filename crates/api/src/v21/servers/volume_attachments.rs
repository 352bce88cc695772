//! `/servers/{server_id}/os-volume_attachments`

use axum::http::StatusCode;
use kilonova_db::block_devices;
use kilonova_objects::{BlockDeviceMapping, Instance, VmState};
use serde_json::{Value, json};

use super::{authorized, target};
use crate::call::{Answer, Call, empty, ok};
use crate::compute::volumes::{self, NewAttachment};
use crate::compute::{self, ComputeError};
use crate::error::ApiError;
use crate::v21::paging::limited;
use crate::v21::values::boolean;
use crate::versions::{V2_20, V2_60, V2_70, V2_79, V2_85, V2_89, V2_101};

/// Asked instead of the route's rule where a volume takes the place of another.
const SWAP: &str = "os_compute_api:os-volumes-attachments:swap";

/// `GET /servers/{server_id}/os-volume_attachments`
pub(crate) async fn index(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let mut disks = block_devices::list(&call.state.db, &[instance.uuid]).await?;
    // By Nova's rule disks that are no volumes count, and are not shown.
    let disks = limited(&call, disks.remove(&instance.uuid).unwrap_or_default());
    let shown: Vec<Value> = disks.iter().filter(|disk| is_shown(&call, disk)).map(|disk| view(&call, disk)).collect();
    ok(&json!({"volumeAttachments": shown}))
}

/// `GET /servers/{server_id}/os-volume_attachments/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let disk = find(&call, &instance).await?;
    if !is_shown(&call, &disk) {
        return Err(not_attached(&call));
    }
    ok(&json!({"volumeAttachment": view(&call, &disk)}))
}

/// `POST /servers/{server_id}/os-volume_attachments`
pub(crate) async fn create(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let body = &call.body["volumeAttachment"];
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    ensure_shelved_version(&call, &instance, "attach_volume")?;
    let new = NewAttachment {
        volume_id: text("volumeId").unwrap_or_default(),
        device: text("device").filter(|device| !device.is_empty()),
        tag: text("tag"),
        delete_on_termination: boolean(&body["delete_on_termination"]).unwrap_or(false),
        supports_multiattach: call.since(V2_60),
        is_awaited: !call.since(V2_101),
    };
    let device = volumes::attach(&call.state, &call.context, instance.clone(), new.clone()).await?;
    if !new.is_awaited {
        return Ok(empty(StatusCode::ACCEPTED));
    }
    let (volume_id, server_id) = (&new.volume_id, call.param("server_id"));
    let mut view = json!({"id": volume_id, "serverId": server_id, "volumeId": volume_id, "device": device});
    if call.since(V2_70) {
        view["tag"] = json!(new.tag);
    }
    if call.since(V2_79) {
        view["delete_on_termination"] = json!(new.delete_on_termination);
    }
    ok(&json!({"volumeAttachment": view}))
}

/// `PUT /servers/{server_id}/os-volume_attachments/{id}`: what of the attachment can be changed, from 2.85 on; or, where
/// the body names another volume than the path, that volume in its place.
pub(crate) async fn update(call: Call) -> Answer {
    let id = call.param("server_id");
    let instance = compute::get::get(&call.state, &call.context, id).await?;
    let is_swap = !call.since(V2_85) || call.body["volumeAttachment"]["volumeId"] != call.param("id");
    if is_swap {
        // By Nova's choice of whatever project.
        call.require(SWAP, call.own())?;
    } else {
        call.authorize(target(&instance))?;
    }
    if call.since(V2_85) {
        change(&call, &instance).await?;
    }
    if is_swap {
        swap(&call, instance).await?;
    }
    Ok(empty(StatusCode::ACCEPTED))
}

/// `DELETE /servers/{server_id}/os-volume_attachments/{id}`
pub(crate) async fn delete(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    ensure_shelved_version(&call, &instance, "detach_volume")?;
    let volume = volumes::show(&call.state, &call.context, call.param("id")).await?;
    let disk = find(&call, &instance).await?;
    if disk.boot_index == Some(0) {
        return Err(ApiError::BadRequest("Cannot detach a root device volume".to_owned()));
    }
    volumes::detach(&call.state, &call.context, instance, &volume, &disk).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

async fn change(call: &Call, instance: &Instance) -> Result<(), ApiError> {
    let body = &call.body["volumeAttachment"];
    let found = volumes::mapping(&call.state, call.param("id"), instance.uuid).await?;
    let disk = found.ok_or_else(|| no_mapping(call))?;
    let kept = [
        ("id", json!(call.param("id"))),
        ("serverId", json!(instance.uuid)),
        ("device", json!(disk.device_name)),
        ("tag", json!(disk.tag)),
    ];
    for (name, now) in kept {
        if body.get(name).is_some_and(|wanted| *wanted != now) {
            return Err(ApiError::BadRequest(format!("The {name} property is not mutable")));
        }
    }
    if let Some(wanted) = boolean(&body["delete_on_termination"]) {
        volumes::set_delete_on_termination(&call.state, &disk, wanted).await?;
    }
    Ok(())
}

async fn swap(call: &Call, instance: Instance) -> Result<(), ApiError> {
    let (state, context, old_id) = (&call.state, &call.context, call.param("id"));
    let old = volumes::show(state, context, old_id).await?;
    if old.migration_status.as_deref().is_none_or(str::is_empty) {
        let message = format!("volume {old_id} is not migrating; this API should only be called by Cinder");
        return Err(ApiError::Conflict(message));
    }
    let new_id = call.body["volumeAttachment"]["volumeId"].as_str().unwrap_or_default();
    let new = volumes::show(state, context, new_id).await.map_err(|error| match error {
        // What is in a body and not there is a bad request.
        ComputeError::VolumeNotFound { .. } => ApiError::BadRequest(error.to_string()),
        other => other.into(),
    })?;
    Ok(volumes::swap(state, context, instance, &old, &new).await?)
}

/// Volumes of shelved servers came with 2.20.
fn ensure_shelved_version(call: &Call, instance: &Instance, action: &'static str) -> Result<(), ApiError> {
    if call.since(V2_20) || !matches!(instance.vm_state, VmState::Shelved | VmState::ShelvedOffloaded) {
        return Ok(());
    }
    let state = instance.vm_state.to_string();
    Err(ComputeError::InstanceInvalidState { uuid: instance.uuid, action, attr: "vm_state", state }.into())
}

async fn find(call: &Call, instance: &Instance) -> Result<BlockDeviceMapping, ApiError> {
    let found = volumes::mapping(&call.state, call.param("id"), instance.uuid).await?;
    found.ok_or_else(|| not_attached(call))
}

fn not_attached(call: &Call) -> ApiError {
    let (server, volume) = (call.param("server_id"), call.param("id"));
    ApiError::NotFound(format!("Instance {server} is not attached to volume {volume}"))
}

fn no_mapping(call: &Call) -> ApiError {
    ComputeError::VolumeBdmOfServerNotFound { volume_id: call.param("id").to_owned() }.into()
}

/// A view of 2.89 needs the attachment's id, which is not there at once.
fn is_shown(call: &Call, disk: &BlockDeviceMapping) -> bool {
    disk.volume_id.is_some() && (!call.since(V2_89) || disk.attachment_id.is_some())
}

fn view(call: &Call, disk: &BlockDeviceMapping) -> Value {
    let mut view = json!({"volumeId": disk.volume_id, "serverId": disk.instance_uuid});
    if let Some(device) = disk.device_name.as_deref().filter(|device| !device.is_empty()) {
        view["device"] = json!(device);
    }
    if call.since(V2_70) {
        view["tag"] = json!(disk.tag);
    }
    if call.since(V2_79) {
        view["delete_on_termination"] = json!(disk.delete_on_termination);
    }
    if call.since(V2_89) {
        view["attachment_id"] = json!(disk.attachment_id);
        view["bdm_uuid"] = json!(disk.uuid);
    } else {
        view["id"] = json!(disk.volume_id);
    }
    view
}
