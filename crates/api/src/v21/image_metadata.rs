//! `/images/{image_id}/metadata`, up to 2.38: the properties of an image.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use kilonova_clients::image::{Image, ImageUpdate};
use serde_json::json;

use super::images::{get, refused};
use super::servers::metadata::pairs;
use crate::call::{Answer, Call, empty, ok};
use crate::compute::snapshot::check_metadata;
use crate::error::ApiError;

/// `GET /images/{image_id}/metadata`
pub(crate) async fn index(call: Call) -> Answer {
    let image = image(&call).await?;
    ok(&json!({"metadata": image.properties}))
}

/// `GET /images/{image_id}/metadata/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    let image = image(&call).await?;
    let key = call.param("id");
    let value = image.properties.get(key).ok_or_else(ApiError::no_such_resource)?;
    ok(&json!({"meta": {key: value}}))
}

/// `POST /images/{image_id}/metadata`
pub(crate) async fn create(call: Call) -> Answer {
    let image = image(&call).await?;
    let mut properties = image.properties.clone();
    properties.extend(pairs(&call.body["metadata"]));
    let changed = set(&call, &image, properties).await?;
    ok(&json!({"metadata": changed.properties}))
}

/// `PUT /images/{image_id}/metadata/{id}`
pub(crate) async fn update(call: Call) -> Answer {
    let item = pairs(&call.body["meta"]);
    if !item.contains_key(call.param("id")) {
        return Err(ApiError::BadRequest("Request body and URI mismatch".to_owned()));
    }
    let image = image(&call).await?;
    let mut properties = image.properties.clone();
    properties.extend(item.clone());
    set(&call, &image, properties).await?;
    ok(&json!({"meta": item}))
}

/// `PUT /images/{image_id}/metadata`
pub(crate) async fn update_all(call: Call) -> Answer {
    let image = image(&call).await?;
    let metadata = pairs(&call.body["metadata"]);
    set(&call, &image, metadata.clone()).await?;
    ok(&json!({"metadata": metadata}))
}

/// `DELETE /images/{image_id}/metadata/{id}`
pub(crate) async fn delete(call: Call) -> Answer {
    let image = image(&call).await?;
    let mut properties = image.properties.clone();
    if properties.remove(call.param("id")).is_none() {
        return Err(ApiError::NotFound("Invalid metadata key".to_owned()));
    }
    replace(&call, &image, properties).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn image(call: &Call) -> Result<Image, ApiError> {
    get(call, call.param("image_id")).await
}

/// Replaces the properties, if there are not too many.
async fn set(call: &Call, image: &Image, properties: BTreeMap<String, String>) -> Result<Image, ApiError> {
    check_metadata(&call.state, &call.context, &properties).await?;
    replace(call, image, properties).await
}

async fn replace(call: &Call, image: &Image, properties: BTreeMap<String, String>) -> Result<Image, ApiError> {
    let update = ImageUpdate { properties: Some(properties), ..ImageUpdate::default() };
    let changed = call.state.clients.image.update(&call.context, image.id, &update).await;
    changed.map_err(|error| refused(error, image.id))
}
