//! `/allocations`: what consumers have; `/resource_providers/{uuid}/allocations`: who has what of a provider.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use kilonova_clients::placement::{Allocations, Resources};
use kilonova_db::placement as rows;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::body::{self, array, check_class, integer, invalid, member, object, only, read_json, string, text};
use super::error::ApiError;
use super::{Caller, Reply, Service, find, reply, usages};
use crate::claim::{Claim, Expected};
use crate::service::grouped;
use crate::{PlacementError, names};

/// Owner of allocations that came without one, before 1.8.
const INCOMPLETE_CONSUMER: &str = "00000000-0000-0000-0000-000000000000";

/// `GET /allocations/{consumer}`: an empty object for one that has nothing.
pub(super) async fn show(State(service): Service, caller: Caller, Path(consumer): Path<String>) -> Reply {
    caller.can("placement:allocations:list")?;
    let Ok(uuid) = consumer.parse::<Uuid>() else {
        return Ok(reply::json(&caller, json!({"allocations": {}}), None));
    };
    let consumer = rows::consumer(service.db().read(), uuid).await?;
    let mut allocations = Map::new();
    for row in rows::allocations_of_consumer(service.db().read(), uuid).await? {
        let entry = allocations
            .entry(row.provider.to_string())
            .or_insert_with(|| json!({"generation": row.provider_generation, "resources": {}}));
        entry["resources"][row.resource_class] = row.used.into();
    }
    let mut body = json!({"allocations": allocations});
    if let Some(consumer) = consumer.as_ref().filter(|_| caller.since(12)) {
        body["project_id"] = json!(consumer.project_id);
        body["user_id"] = json!(consumer.user_id);
        if caller.since(28) {
            body["consumer_generation"] = json!(consumer.generation);
        }
        if caller.since(38) {
            body["consumer_type"] = json!(consumer.consumer_type.as_deref().unwrap_or(usages::UNKNOWN));
        }
    }
    Ok(reply::json(&caller, body, consumer.map(|consumer| consumer.updated_at)))
}

/// `GET /resource_providers/{uuid}/allocations`
pub(super) async fn of_provider(State(service): Service, caller: Caller, Path(uuid): Path<String>) -> Reply {
    caller.can("placement:resource_providers:allocations:list")?;
    let found = find(&service, &uuid, &format!("Resource provider '{uuid}' not found: ")).await?.provider;
    let allocations = rows::allocations_of_provider(service.db().read(), found.id).await?;
    let mut views: Map<String, Value> = grouped(allocations, |row| row.consumer)
        .into_iter()
        .map(|(consumer, resources)| (consumer.to_string(), json!({"resources": resources})))
        .collect();
    if caller.since(28) {
        for consumer in rows::consumers_of_provider(service.db().read(), found.id).await? {
            if let Some(view) = views.get_mut(&consumer.uuid.to_string()) {
                view["consumer_generation"] = consumer.generation.into();
            }
        }
    }
    let body = json!({"allocations": views, "resource_provider_generation": found.generation});
    Ok(reply::json(&caller, body, Some(found.updated_at)))
}

/// `PUT /allocations/{consumer}`: replaces all that it has.
pub(super) async fn set(
    State(service): Service,
    caller: Caller,
    Path(consumer): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let body = read_json(&headers, &body);
    caller.can("placement:allocations:update")?;
    let body = body?;
    let consumer: Uuid =
        consumer.parse().map_err(|_| ApiError::bad_request(format!("Malformed consumer_uuid: {consumer}")))?;
    let claim = parse(&caller, consumer, &body)?;
    if claim.allocations.is_empty() && !caller.since(28) {
        return Err(invalid("{} does not have enough properties"));
    }
    service.claim(&[claim]).await.map_err(|error| match error {
        PlacementError::UnknownClass(_) => {
            ApiError::bad_request(format!("Unable to allocate inventory for consumer {consumer}: {error}"))
        }
        other => other.into(),
    })?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /allocations`, from 1.13: replaces all that several consumers have, at once.
pub(super) async fn set_many(State(service): Service, caller: Caller, headers: HeaderMap, body: Bytes) -> Reply {
    caller.route_since(13)?;
    let body = read_json(&headers, &body);
    caller.can("placement:allocations:manage")?;
    let claims = parse_many(&caller, &body?)?;
    if claims.is_empty() {
        return Err(invalid("{} does not have enough properties"));
    }
    service.claim(&claims).await.map_err(|error| match error {
        PlacementError::UnknownClass(_) => ApiError::bad_request(format!("Unable to allocate inventory {error}")),
        other => other.into(),
    })?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `DELETE /allocations/{consumer}`
pub(super) async fn delete(State(service): Service, caller: Caller, Path(consumer): Path<String>) -> Reply {
    caller.can("placement:allocations:delete")?;
    let has_released = match consumer.parse::<Uuid>() {
        Ok(uuid) => service.release(uuid).await?,
        Err(_) => false,
    };
    if has_released {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(ApiError::not_found(format!("No allocations for consumer '{consumer}'")))
}

/// Claims by consumer.
pub(super) fn parse_many(caller: &Caller, body: &Value) -> Result<Vec<Claim>, ApiError> {
    object(body)?.iter().map(|(consumer, claim)| parse(caller, body::uuid(consumer)?, claim)).collect()
}

fn parse(caller: &Caller, consumer: Uuid, body: &Value) -> Result<Claim, ApiError> {
    let body = object(body)?;
    let known = [
        ("allocations", 0),
        ("project_id", 8),
        ("user_id", 8),
        ("consumer_generation", 28),
        ("mappings", 34),
        ("consumer_type", 38),
    ];
    only(body, |name| known.iter().any(|(known, since)| *known == name && caller.since(*since)))?;
    let allocations = member(body, "allocations")?;
    let allocations = if caller.since(12) { by_provider(allocations)? } else { from_list(allocations)? };
    let owner = |name| -> Result<String, ApiError> {
        if caller.since(8) { text(body, name) } else { Ok(INCOMPLETE_CONSUMER.to_owned()) }
    };
    if let Some(mappings) = body.get("mappings") {
        check_mappings(mappings)?;
    }
    Ok(Claim {
        consumer,
        project_id: owner("project_id")?,
        user_id: owner("user_id")?,
        consumer_type: if caller.since(38) { Some(consumer_type(body)?) } else { None },
        allocations,
        expected: if caller.since(28) { generation(body)? } else { Expected::Any },
    })
}

fn generation(body: &Map<String, Value>) -> Result<Expected, ApiError> {
    match member(body, "consumer_generation")? {
        Value::Null => Ok(Expected::Exactly(None)),
        value => {
            let number = value.as_i64();
            let number = number.ok_or_else(|| invalid(format!("{value} is not of type 'integer', 'null'")))?;
            Ok(Expected::Exactly(Some(number)))
        }
    }
}

fn consumer_type(body: &Map<String, Value>) -> Result<String, ApiError> {
    let name = text(body, "consumer_type")?;
    if names::is_well_formed(&name) {
        return Ok(name);
    }
    Err(invalid(format!("'{name}' does not match '^[A-Z0-9_]+$'")))
}

/// Which group of the request each provider is for: known to the client, not kept.
fn check_mappings(mappings: &Value) -> Result<(), ApiError> {
    let mappings = object(mappings)?;
    if mappings.is_empty() {
        return Err(invalid("{} does not have enough properties"));
    }
    for (_, providers) in mappings.iter().filter(|(suffix, _)| !suffix.is_empty()) {
        let providers = array(providers)?;
        if providers.is_empty() {
            return Err(invalid("[] is too short"));
        }
        for provider in providers {
            body::uuid(string(provider)?)?;
        }
    }
    Ok(())
}

/// The form from 1.12: amounts by provider.
fn by_provider(allocations: &Value) -> Result<Allocations, ApiError> {
    let entry = |(uuid, entry): (&String, &Value)| {
        let entry = object(entry)?;
        only(entry, |name| matches!(name, "resources" | "generation"))?;
        entry.get("generation").map(integer).transpose()?;
        Ok((body::uuid(uuid)?, resources(member(entry, "resources")?)?))
    };
    object(allocations)?.iter().map(entry).collect()
}

/// The form before 1.12: a list of providers with their amounts.
fn from_list(allocations: &Value) -> Result<Allocations, ApiError> {
    let mut by_provider = Allocations::new();
    for entry in array(allocations)? {
        let entry = object(entry)?;
        only(entry, |name| matches!(name, "resource_provider" | "resources"))?;
        let provider = object(member(entry, "resource_provider")?)?;
        only(provider, |name| name == "uuid")?;
        let uuid = string(member(provider, "uuid")?)?;
        by_provider.insert(body::uuid(uuid)?, resources(member(entry, "resources")?)?);
    }
    Ok(by_provider)
}

fn resources(value: &Value) -> Result<Resources, ApiError> {
    let mut resources = Resources::new();
    for (class, amount) in object(value)? {
        check_class(class)?;
        let amount = amount
            .as_i64()
            .filter(|amount| *amount >= 1)
            .ok_or_else(|| invalid(format!("{amount} is not an integer of at least 1")))?;
        resources.insert(class.clone(), amount);
    }
    if resources.is_empty() {
        return Err(invalid("{} does not have enough properties"));
    }
    Ok(resources)
}
