//! The actions `createImage` and `createBackup`

use axum::http::{HeaderValue, StatusCode, header};
use serde_json::json;
use uuid::Uuid;

use super::authorized;
use super::metadata::pairs;
use crate::call::{Answer, Call, empty, json};
use crate::compute::snapshot;
use crate::v21::images;
use crate::versions::{V2_39, V2_45};

/// `createImage`
pub(crate) async fn create_image(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let wanted = &call.body["createImage"];
    let (name, metadata) = (wanted["name"].as_str().unwrap_or_default().trim(), pairs(&wanted["metadata"]));
    if !call.since(V2_39) {
        snapshot::check_metadata(&call.state, &call.context, &metadata).await?;
    }
    let image_id = snapshot::snapshot(&call.state, &call.context, instance, name, metadata).await?;
    accepted(&call, image_id, Some(images::url(&call, image_id)))
}

/// `createBackup`
pub(crate) async fn create_backup(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let wanted = &call.body["createBackup"];
    let (name, metadata) = (wanted["name"].as_str().unwrap_or_default().trim(), pairs(&wanted["metadata"]));
    let backup_type = wanted["backup_type"].as_str().unwrap_or_default();
    // A number that may come as a string.
    let rotation =
        wanted["rotation"].as_i64().or_else(|| wanted["rotation"].as_str()?.parse().ok()).unwrap_or(i64::MAX);
    if !call.since(V2_39) {
        snapshot::check_metadata(&call.state, &call.context, &metadata).await?;
    }
    let state = &call.state;
    let image_id = snapshot::backup(state, &call.context, instance, name, backup_type, rotation, metadata).await?;
    // Of a backup that is deleted at once nobody needs the address.
    let location = (rotation > 0).then(|| call.links.href("images", &image_id.to_string()));
    accepted(&call, image_id, location)
}

/// The image: where it is, or from 2.45 on its id.
fn accepted(call: &Call, image_id: Uuid, location: Option<String>) -> Answer {
    if call.since(V2_45) {
        return Ok(json(StatusCode::ACCEPTED, &json!({"image_id": image_id})));
    }
    let mut response = empty(StatusCode::ACCEPTED);
    if let Some(location) = location.and_then(|location| HeaderValue::try_from(location).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}
