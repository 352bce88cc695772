//! `/traits`, and the traits of a provider.

use std::collections::BTreeSet;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use kilonova_db::placement::{self as rows, Names, ResourceProvider};
use serde_json::{Value, json};

use super::body::{array, invalid, member, object, only, provider_generation, read_json, string};
use super::error::ApiError;
use super::query::Params;
use super::{Caller, Reply, Service, find, provider_uuid, reply};
use crate::{PlacementError, PlacementService, names, provider, stock};

const KIND: Names = Names::Traits;

/// `GET /traits`
pub(super) async fn list(State(service): Service, caller: Caller, params: Params) -> Reply {
    caller.route_since(6)?;
    caller.can("placement:traits:list")?;
    params.allow(&caller, &[("name", 6), ("associated", 6)])?;
    let mut names = names::all(service.db().read(), KIND).await?;
    if let Some(text) = params.last("name") {
        let (operator, value) = text.split_once(':').ok_or_else(|| {
            ApiError::bad_request(format!(
                "Badly formatted name parameter. Expected name query string parameter in form: \
                 ?name=[in|startswith]:[name1,name2|prefix]. Got: \"{text}\""
            ))
        })?;
        match operator {
            "startswith" => names.retain(|name| name.starts_with(value)),
            "in" => names.retain(|name| value.split(',').any(|asked| asked == name)),
            // As in Placement, any other operator asks for nothing.
            _ => (),
        }
    }
    if let Some(text) = params.last("associated") {
        let is_wanted = flag(text)?;
        let associated = associated(&service).await?;
        names.retain(|name| associated.contains(name) == is_wanted);
    }
    Ok(reply::json(&caller, json!({"traits": names}), None))
}

/// `GET /traits/{name}`
pub(super) async fn show(State(service): Service, caller: Caller, Path(name): Path<String>) -> Reply {
    caller.route_since(6)?;
    caller.can("placement:traits:show")?;
    check(&service, &name).await?;
    Ok(reply::status(&caller, StatusCode::NO_CONTENT))
}

/// `PUT /traits/{name}`: makes a trait of one's own.
pub(super) async fn declare(State(service): Service, caller: Caller, Path(name): Path<String>) -> Reply {
    caller.route_since(6)?;
    caller.can("placement:traits:update")?;
    if !names::is_custom(&name) {
        return Err(ApiError::bad_request(
            "The trait is invalid. A valid trait must be no longer than 255 characters, start with the prefix \
             \"CUSTOM_\" and use following characters: \"A\"-\"Z\", \"0\"-\"9\" and \"_\"",
        ));
    }
    let is_new = names::create(service.db(), KIND, &name).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
    let location = [(header::LOCATION, format!("{}/traits/{name}", caller.prefix))];
    Ok((location, reply::status(&caller, status)).into_response())
}

/// `DELETE /traits/{name}`: one of one's own that no provider has.
pub(super) async fn delete(State(service): Service, caller: Caller, Path(name): Path<String>) -> Reply {
    caller.route_since(6)?;
    caller.can("placement:traits:delete")?;
    if names::is_standard(KIND, &name) {
        return Err(ApiError::bad_request(format!("Cannot delete standard trait {name}.")));
    }
    check(&service, &name).await?;
    if !names::delete(service.db(), KIND, &name).await? {
        return Err(ApiError::conflict(format!("The trait {name} is in use by a resource provider.")));
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `GET /resource_providers/{uuid}/traits`
pub(super) async fn of_provider(State(service): Service, caller: Caller, Path(uuid): Path<String>) -> Reply {
    caller.route_since(6)?;
    caller.can("placement:resource_providers:traits:list")?;
    let found = find(&service, &uuid, &format!("No resource provider with uuid {uuid} found: ")).await?.provider;
    Ok(view(&caller, &found))
}

/// `PUT /resource_providers/{uuid}/traits`: replaces all.
pub(super) async fn set_for_provider(
    State(service): Service,
    caller: Caller,
    Path(uuid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    caller.route_since(6)?;
    let body = read_json(&headers, &body);
    caller.can("placement:resource_providers:traits:update")?;
    let (generation, names) = parse(&body?)?;
    let uuid = provider_uuid(&uuid)?;
    provider::set_traits(service.db(), uuid, Some(generation), &names).await.map_err(|error| match error {
        PlacementError::UnknownTrait(names) => ApiError::bad_request(format!("No such trait {names}")),
        other => other.into(),
    })?;
    Ok(view(&caller, &stock::load_one(service.db(), uuid).await?.provider))
}

/// `DELETE /resource_providers/{uuid}/traits`
pub(super) async fn clear_for_provider(State(service): Service, caller: Caller, Path(uuid): Path<String>) -> Reply {
    caller.route_since(6)?;
    caller.can("placement:resource_providers:traits:delete")?;
    provider::set_traits(service.db(), provider_uuid(&uuid)?, None, &[]).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn parse(body: &Value) -> Result<(i64, Vec<String>), ApiError> {
    let body = object(body)?;
    only(body, |name| matches!(name, "resource_provider_generation" | "traits"))?;
    let generation = provider_generation(body)?;
    let name = |value: &Value| {
        let name = string(value)?;
        if (1..=255).contains(&name.chars().count()) {
            Ok(name.to_owned())
        } else {
            Err(invalid("a trait has 1 to 255 characters"))
        }
    };
    let names = array(member(body, "traits")?)?.iter().map(name).collect::<Result<_, ApiError>>()?;
    Ok((generation, names))
}

fn view(caller: &Caller, provider: &ResourceProvider) -> Response {
    let body = json!({"traits": provider.traits, "resource_provider_generation": provider.generation});
    reply::json(caller, body, Some(provider.updated_at))
}

async fn check(service: &PlacementService, name: &str) -> Result<(), ApiError> {
    names::check(service.db().read(), KIND, [name]).await.map_err(|error| match error {
        PlacementError::UnknownTrait(_) => ApiError::not_found(error.to_string()),
        other => other.into(),
    })
}

/// Those that some provider has.
async fn associated(service: &PlacementService) -> Result<BTreeSet<String>, ApiError> {
    Ok(rows::trait_sets(service.db().read()).await?.into_iter().flatten().collect())
}

fn flag(text: &str) -> Result<bool, ApiError> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(ApiError::bad_request("The query parameter \"associated\" only accepts \"true\" or \"false\"")),
    }
}
