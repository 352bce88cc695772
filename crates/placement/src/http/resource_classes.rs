//! `/resource_classes`: the standard ones, and those that somebody added.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse as _;
use kilonova_db::placement::Names;
use serde_json::{Value, json};

use super::body::{invalid, member, object, only, read_json, string};
use super::error::ApiError;
use super::{Caller, Reply, Service, reply};
use crate::names;

const KIND: Names = Names::ResourceClasses;

/// `GET /resource_classes`
pub(super) async fn list(State(service): Service, caller: Caller) -> Reply {
    caller.route_since(2)?;
    caller.can("placement:resource_classes:list")?;
    let names = names::all(service.db().read(), KIND).await?;
    let views: Vec<Value> = names.iter().map(|name| view(&caller, name)).collect();
    Ok(reply::json(&caller, json!({"resource_classes": views}), None))
}

/// `GET /resource_classes/{name}`
pub(super) async fn show(State(service): Service, caller: Caller, Path(name): Path<String>) -> Reply {
    caller.route_since(2)?;
    caller.can("placement:resource_classes:show")?;
    names::check(service.db().read(), KIND, [name.as_str()]).await?;
    Ok(reply::json(&caller, view(&caller, &name), None))
}

/// `POST /resource_classes`: makes a class of one's own.
pub(super) async fn create(State(service): Service, caller: Caller, headers: HeaderMap, body: Bytes) -> Reply {
    caller.route_since(2)?;
    let body = read_json(&headers, &body);
    caller.can("placement:resource_classes:create")?;
    let name = parse(&body?)?;
    if !names::create(service.db(), KIND, &name).await? {
        return Err(ApiError::conflict(format!("Conflicting resource class already exists: {name}")));
    }
    Ok((StatusCode::CREATED, [(header::LOCATION, href(&caller, &name))]).into_response())
}

/// `PUT /resource_classes/{name}`: up to 1.6 another name, from 1.7 makes it if it is not there.
pub(super) async fn update(
    State(service): Service,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    caller.route_since(2)?;
    if caller.since(7) {
        caller.can("placement:resource_classes:update")?;
        check_custom(&name)?;
        let is_new = names::create(service.db(), KIND, &name).await?;
        let status = if is_new { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
        return Ok((status, [(header::LOCATION, href(&caller, &name))]).into_response());
    }
    let body = read_json(&headers, &body);
    caller.can("placement:resource_classes:update")?;
    let new = parse(&body?)?;
    names::check(service.db().read(), KIND, [name.as_str()]).await?;
    if names::is_standard(KIND, &name) {
        return Err(ApiError::bad_request(format!("Cannot update standard resource class {name}")));
    }
    if !names::rename_class(service.db(), &name, &new).await? {
        return Err(ApiError::conflict(format!("Resource class already exists: {new}")));
    }
    Ok(reply::json(&caller, view(&caller, &new), None))
}

/// `DELETE /resource_classes/{name}`: one of one's own that no provider has.
pub(super) async fn delete(State(service): Service, caller: Caller, Path(name): Path<String>) -> Reply {
    caller.route_since(2)?;
    caller.can("placement:resource_classes:delete")?;
    names::check(service.db().read(), KIND, [name.as_str()]).await?;
    if names::is_standard(KIND, &name) {
        return Err(ApiError::bad_request(format!(
            "Error in delete resource class: Cannot delete standard resource class {name}."
        )));
    }
    if !names::delete(service.db(), KIND, &name).await? {
        return Err(ApiError::conflict(format!(
            "Error in delete resource class: Cannot delete resource class {name}. Class is in use in inventory."
        )));
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn parse(body: &Value) -> Result<String, ApiError> {
    let body = object(body)?;
    only(body, |name| name == "name")?;
    let name = string(member(body, "name")?)?;
    check_custom(name)?;
    Ok(name.to_owned())
}

fn check_custom(name: &str) -> Result<(), ApiError> {
    if names::is_custom(name) {
        return Ok(());
    }
    Err(invalid(format!("'{name}' does not match '^CUSTOM_[A-Z0-9_]+$'")))
}

fn href(caller: &Caller, name: &str) -> String {
    format!("{}/resource_classes/{name}", caller.prefix)
}

fn view(caller: &Caller, name: &str) -> Value {
    json!({"name": name, "links": [{"rel": "self", "href": href(caller, name)}]})
}
