//! `/os-assisted-volume-snapshots`: the volume service asks for snapshots of volumes that the hypervisor has open.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::call::{Answer, Call, empty, ok};
use crate::compute::{ComputeError, volume_snapshots};
use crate::error::ApiError;
use crate::policy::Target;

/// `POST /os-assisted-volume-snapshots`
pub(crate) async fn create(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let snapshot = &call.body["snapshot"];
    let volume_id = snapshot["volume_id"].as_str().unwrap_or_default();
    let create_info = &snapshot["create_info"];
    volume_snapshots::create(&call.state, &call.context, volume_id, create_info).await.map_err(refused)?;
    ok(&json!({"snapshot": {"id": create_info["id"], "volumeId": volume_id}}))
}

/// `DELETE /os-assisted-volume-snapshots/{id}`
pub(crate) async fn delete(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let (volume_id, delete_info) = parse(&call)?;
    let id = call.param("id");
    volume_snapshots::delete(&call.state, &call.context, &volume_id, id, &delete_info).await.map_err(refused)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The JSON text in the query. Nova's sentences are those of Python's `KeyError`, and of its JSON reader.
fn parse(call: &Call) -> Result<(String, Value), ApiError> {
    let missing = |name: &str| ApiError::BadRequest(format!("'{name}'"));
    let text = call.query.get("delete_info").ok_or_else(|| missing("delete_info"))?;
    let info: Value = serde_json::from_str(text).map_err(|error| ApiError::BadRequest(error.to_string()))?;
    let volume_id = info["volume_id"].as_str().ok_or_else(|| missing("volume_id"))?.to_owned();
    Ok((volume_id, info))
}

/// What is a conflict elsewhere is 400 here, in every microversion.
fn refused(error: ComputeError) -> ApiError {
    match ApiError::from(error) {
        ApiError::Conflict(message) => ApiError::BadRequest(message),
        other => other,
    }
}
