//! `/resource_classes`: the standard ones, and the custom ones that some provider has.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use serde_json::{Value, json};

use super::error::ApiError;
use super::query::Params;
use super::{Caller, Reply, Service, reply};
use crate::names::{self, STANDARD_CLASSES};

/// `GET /resource_classes`
pub(super) async fn list(State(service): Service, caller: Caller, params: Params) -> Reply {
    caller.route_since(2)?;
    caller.require_admin()?;
    params.allow(&caller, &[])?;
    let custom = kilonova_db::placement::resource_classes(service.db().read()).await?;
    let mut names: Vec<String> = STANDARD_CLASSES.map(str::to_owned).into();
    let known: BTreeSet<&str> = STANDARD_CLASSES.into();
    names.extend(custom.into_iter().filter(|name| !known.contains(name.as_str())));
    let views: Vec<Value> = names.iter().map(|name| view(&caller, name)).collect();
    Ok(reply::json(&caller, json!({"resource_classes": views}), None))
}

/// `GET /resource_classes/{name}`
pub(super) async fn show(State(service): Service, caller: Caller, Path(name): Path<String>) -> Reply {
    caller.route_since(2)?;
    caller.require_admin()?;
    let custom = kilonova_db::placement::resource_classes(service.db().read()).await?;
    if STANDARD_CLASSES.contains(&name.as_str()) || custom.contains(&name) {
        return Ok(reply::json(&caller, view(&caller, &name), None));
    }
    Err(ApiError::not_found(format!("No such resource class {name}.")))
}

/// `PUT /resource_classes/{name}`: nothing has to be kept, a provider can have inventory of any custom class.
pub(super) async fn declare(State(service): Service, caller: Caller, Path(name): Path<String>) -> Reply {
    caller.route_since(7)?;
    caller.require_admin()?;
    if !names::is_custom(&name) {
        return Err(ApiError::bad_request(format!("Custom resource classes begin with CUSTOM_. Got: {name}")));
    }
    let custom = kilonova_db::placement::resource_classes(service.db().read()).await?;
    Ok((if custom.contains(&name) { StatusCode::NO_CONTENT } else { StatusCode::CREATED }).into_response())
}

fn view(caller: &Caller, name: &str) -> Value {
    let href = format!("{}/resource_classes/{name}", caller.prefix);
    json!({"name": name, "links": [{"rel": "self", "href": href}]})
}
