//! `/allocations/{consumer}`: what a consumer has; `/allocations`: what several have, changed at once.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use kilonova_clients::placement::{Allocations, Resources};
use kilonova_db::placement as rows;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::body::{self, check_class, invalid, member, object, only, read_json, text};
use super::error::ApiError;
use super::{Caller, Reply, Service, reply};
use crate::claim::{Claim, Expected};

/// Owner of allocations that came without one, before 1.8.
const INCOMPLETE_CONSUMER: &str = "00000000-0000-0000-0000-000000000000";

/// `GET /allocations/{consumer}`: an empty object for one that has nothing.
pub(super) async fn show(State(service): Service, caller: Caller, Path(consumer): Path<String>) -> Reply {
    caller.require_admin()?;
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
    }
    Ok(reply::json(&caller, body, consumer.map(|consumer| consumer.updated_at)))
}

/// `PUT /allocations/{consumer}`: replaces all that it has.
pub(super) async fn put(
    State(service): Service,
    caller: Caller,
    Path(consumer): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    caller.require_admin()?;
    let consumer: Uuid =
        consumer.parse().map_err(|_| ApiError::bad_request(format!("Malformed consumer_uuid: {consumer}")))?;
    let wanted = parse(&caller, &read_json(&headers, &body)?, false)?;
    service.claim(&wanted.claim(consumer)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /allocations`: replaces all that several consumers have, all or none. Since 1.13.
pub(super) async fn post(State(service): Service, caller: Caller, headers: HeaderMap, body: Bytes) -> Reply {
    caller.require_admin()?;
    if !caller.since(13) {
        return Err(ApiError::not_found("The resource could not be found."));
    }
    let body = read_json(&headers, &body)?;
    let consumers = object(&body)?;
    if consumers.is_empty() {
        return Err(invalid("{} does not have enough properties"));
    }
    let mut wanted = Vec::with_capacity(consumers.len());
    for (consumer, entry) in consumers {
        wanted.push((body::uuid(consumer)?, parse(&caller, entry, true)?));
    }
    let claims: Vec<Claim<'_>> = wanted.iter().map(|(consumer, wanted)| wanted.claim(*consumer)).collect();
    service.claim_all(&claims).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `DELETE /allocations/{consumer}`
pub(super) async fn delete(State(service): Service, caller: Caller, Path(consumer): Path<String>) -> Reply {
    caller.require_admin()?;
    let released = match consumer.parse() {
        Ok(uuid) => service.release(uuid).await?,
        Err(_) => false,
    };
    if released {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(ApiError::not_found(format!("No allocations for consumer '{consumer}'")))
}

/// A body that was understood.
#[derive(Debug, PartialEq)]
struct Wanted {
    project_id: String,
    user_id: String,
    allocations: Allocations,
    expected: Expected,
}

impl Wanted {
    fn claim(&self, consumer: Uuid) -> Claim<'_> {
        Claim {
            consumer,
            project_id: &self.project_id,
            user_id: &self.user_id,
            allocations: &self.allocations,
            expected: self.expected,
        }
    }
}

/// Among others a consumer may give up all it has.
fn parse(caller: &Caller, body: &Value, is_among_others: bool) -> Result<Wanted, ApiError> {
    let body = object(body)?;
    let known = [("allocations", 0), ("project_id", 8), ("user_id", 8), ("consumer_generation", 28), ("mappings", 34)];
    only(body, |name| known.iter().any(|(known, since)| *known == name && caller.since(*since)))?;
    let allocations = member(body, "allocations")?;
    let allocations = if caller.since(12) { by_provider(allocations)? } else { from_list(allocations)? };
    if allocations.is_empty() && !is_among_others && !caller.since(28) {
        return Err(invalid("allocations is too short"));
    }
    let owner = |name| -> Result<String, ApiError> {
        if caller.since(8) { text(body, name) } else { Ok(INCOMPLETE_CONSUMER.to_owned()) }
    };
    if let Some(mappings) = body.get("mappings") {
        object(mappings)?;
    }
    Ok(Wanted {
        project_id: owner("project_id")?,
        user_id: owner("user_id")?,
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

/// The form from 1.12: amounts by provider.
fn by_provider(allocations: &Value) -> Result<Allocations, ApiError> {
    let entry = |(uuid, entry): (&String, &Value)| {
        let entry = object(entry)?;
        only(entry, |name| matches!(name, "resources" | "generation"))?;
        Ok((body::uuid(uuid)?, resources(member(entry, "resources")?)?))
    };
    object(allocations)?.iter().map(entry).collect()
}

/// The form before 1.12: a list of providers with their amounts.
fn from_list(allocations: &Value) -> Result<Allocations, ApiError> {
    let list = allocations.as_array();
    let list = list.ok_or_else(|| invalid(format!("{allocations} is not of type 'array'")))?;
    let mut by_provider = Allocations::new();
    for entry in list {
        let entry = object(entry)?;
        only(entry, |name| matches!(name, "resource_provider" | "resources"))?;
        let uuid = text(object(member(entry, "resource_provider")?)?, "uuid")?;
        by_provider.insert(body::uuid(&uuid)?, resources(member(entry, "resources")?)?);
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
