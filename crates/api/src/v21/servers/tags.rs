//! `/servers/{server_id}/tags` (since 2.26)

use axum::http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::authorized;
use crate::call::{Answer, Call, empty, ok};
use crate::compute::tags::{self, MAX_TAG_COUNT};
use crate::error::ApiError;
use crate::validation::tag_error;

/// `GET /servers/{server_id}/tags`
pub(crate) async fn index(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    ok(&json!({"tags": tags::names(&instance)}))
}

/// `GET /servers/{server_id}/tags/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let (server, tag) = (call.param("server_id"), call.param("id"));
    if !tags::names(&instance).iter().any(|name| name == tag) {
        return Err(ApiError::NotFound(format!("Server {server} has no tag '{tag}'")));
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `PUT /servers/{server_id}/tags`
pub(crate) async fn update_all(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let given = call.body["tags"].as_array().into_iter().flatten().filter_map(|tag| tag.as_str());
    let mut names: Vec<String> = Vec::new();
    for name in given {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    tags::set(&call.state, &instance, &names, "update tags").await?;
    ok(&json!({"tags": names}))
}

/// `PUT /servers/{server_id}/tags/{id}`
pub(crate) async fn update(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    tags::check_state(&instance, "update tag")?;
    let tag = call.param("id");
    if let Some(error) = tag_error(tag) {
        return Err(ApiError::BadRequest(format!(
            "Tag '{tag}' is invalid. It must be a non empty string without characters '/' and ','. Validation error \
             message: {error}"
        )));
    }
    let mut names = tags::names(&instance);
    if names.len() >= MAX_TAG_COUNT {
        return Err(ApiError::BadRequest(format!("The number of tags exceeded the per-server limit {MAX_TAG_COUNT}")));
    }
    if names.iter().any(|name| name == tag) {
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    names.push(tag.to_owned());
    tags::set(&call.state, &instance, &names, "update tag").await?;
    let mut response = empty(StatusCode::CREATED);
    let server = call.links.href("servers", &instance.uuid.to_string());
    if let Ok(location) = HeaderValue::try_from(format!("{server}/tags/{tag}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `DELETE /servers/{server_id}/tags/{id}`
pub(crate) async fn delete(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    tags::check_state(&instance, "delete tag")?;
    let tag = call.param("id");
    let mut names = tags::names(&instance);
    let before = names.len();
    names.retain(|name| name != tag);
    if names.len() == before {
        let (uuid, tag) = (instance.uuid, tag.to_owned());
        return Err(crate::compute::ComputeError::TagNotFound { uuid, tag }.into());
    }
    tags::set(&call.state, &instance, &names, "delete tag").await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `DELETE /servers/{server_id}/tags`
pub(crate) async fn delete_all(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    tags::set(&call.state, &instance, &[], "delete tags").await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
