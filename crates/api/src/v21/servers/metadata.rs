//! `/servers/{server_id}/metadata`

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::authorized;
use crate::call::{Answer, Call, empty, ok};
use crate::compute;
use crate::error::ApiError;

/// `GET /servers/{server_id}/metadata`
pub(crate) async fn index(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    ok(&json!({"metadata": instance.metadata}))
}

/// `GET /servers/{server_id}/metadata/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let key = call.param("id");
    let value = instance.metadata.get(key).ok_or(compute::ComputeError::MetadataItemNotFound)?;
    ok(&json!({"meta": {key: value}}))
}

/// `POST /servers/{server_id}/metadata`
pub(crate) async fn create(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let metadata = pairs(&call.body["metadata"]);
    let whole = compute::metadata::update(&call.state, &call.context, &instance, &metadata, false).await?;
    ok(&json!({"metadata": whole}))
}

/// `PUT /servers/{server_id}/metadata`
pub(crate) async fn update_all(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let metadata = pairs(&call.body["metadata"]);
    let whole = compute::metadata::update(&call.state, &call.context, &instance, &metadata, true).await?;
    ok(&json!({"metadata": whole}))
}

/// `PUT /servers/{server_id}/metadata/{id}`
pub(crate) async fn update(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let item = pairs(&call.body["meta"]);
    if !item.contains_key(call.param("id")) {
        return Err(ApiError::BadRequest("Request body and URI mismatch".to_owned()));
    }
    compute::metadata::update(&call.state, &call.context, &instance, &item, false).await?;
    ok(&json!({"meta": item}))
}

/// `DELETE /servers/{server_id}/metadata/{id}`
pub(crate) async fn delete(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    compute::metadata::delete(&call.state, &call.context, &instance, call.param("id")).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The metadata of a body that the schema let through: an object of strings.
pub(crate) fn pairs(value: &Value) -> BTreeMap<String, String> {
    let object = value.as_object().into_iter().flatten();
    object.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
