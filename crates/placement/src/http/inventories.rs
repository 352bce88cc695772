//! `/resource_providers/{uuid}/inventories`: what a provider has.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use kilonova_clients::placement::Inventory;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::body::{check_class, integer, invalid, member, object, only, provider_generation, read_json, string};
use super::error::ApiError;
use super::{Caller, Reply, Service, find, provider_uuid, reply};
use crate::PlacementError;
use crate::inventory::{self, Change, MAX_AMOUNT};
use crate::stock::{self, StockedProvider};

const FIELDS: [&str; 6] = ["total", "reserved", "min_unit", "max_unit", "step_size", "allocation_ratio"];
/// Largest number of a single precision column, which Placement has.
const MAX_RATIO: f64 = 3.40282e+38;

/// `GET /resource_providers/{uuid}/inventories`
pub(super) async fn list(State(service): Service, caller: Caller, Path(uuid): Path<String>) -> Reply {
    caller.can("placement:resource_providers:inventories:list")?;
    let found = find(&service, &uuid, &format!("No resource provider with uuid {uuid} found : ")).await?;
    Ok(all(&caller, &found))
}

/// `GET /resource_providers/{uuid}/inventories/{class}`
pub(super) async fn show(
    State(service): Service,
    caller: Caller,
    Path((uuid, class)): Path<(String, String)>,
) -> Reply {
    caller.can("placement:resource_providers:inventories:show")?;
    let found = find(&service, &uuid, &format!("No resource provider with uuid {uuid} found : ")).await?;
    one(&caller, &found, &class)
}

/// `POST /resource_providers/{uuid}/inventories`: something that it did not have.
pub(super) async fn create(
    State(service): Service,
    caller: Caller,
    Path(uuid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let body = read_json(&headers, &body);
    caller.can("placement:resource_providers:inventories:create")?;
    let uuid = provider_uuid(&uuid)?;
    stock::load_one(service.db(), uuid).await?;
    let body = body?;
    let body = object(&body)?;
    only(body, |name| FIELDS.contains(&name) || matches!(name, "resource_class" | "resource_provider_generation"))?;
    body.get("resource_provider_generation").map(integer).transpose()?;
    let class = string(member(body, "resource_class")?)?;
    check_class(class)?;
    let inventory = parse(body)?;
    let refused = |error: &dyn std::fmt::Display| {
        ApiError::bad_request(format!("Unable to create inventory for resource provider {uuid}: {error}"))
    };
    check_capacity(&caller, uuid, class, &inventory).map_err(|error| refused(&error))?;
    let change = inventory::change(service.db(), uuid, class, Change::Add(&inventory)).await;
    change.map_err(|error| match error {
        PlacementError::UnknownClass(_) => refused(&error),
        other => other.into(),
    })?;
    let found = stock::load_one(service.db(), uuid).await?;
    let location = format!("{}/resource_providers/{uuid}/inventories/{class}", caller.prefix);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], one(&caller, &found, class)?).into_response())
}

/// `PUT /resource_providers/{uuid}/inventories`: replaces all.
pub(super) async fn set(
    State(service): Service,
    caller: Caller,
    Path(uuid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let body = read_json(&headers, &body);
    caller.can("placement:resource_providers:inventories:update")?;
    let uuid = provider_uuid(&uuid)?;
    let before = stock::load_one(service.db(), uuid).await?.provider;
    let (generation, inventories) = parse_all(&body?)?;
    if generation != before.generation {
        return Err(ApiError::concurrent_update("resource provider generation conflict"));
    }
    for (class, inventory) in &inventories {
        check_capacity(&caller, uuid, class, inventory).map_err(|error| unable_to_update(uuid, error))?;
    }
    inventory::set_all(service.db(), uuid, Some(generation), &inventories).await.map_err(|error| match error {
        PlacementError::UnknownClass(_) => {
            ApiError::bad_request(format!("Unknown resource class in inventory for resource provider {uuid}: {error}"))
        }
        PlacementError::InventoryInUse { .. } => ApiError::inventory_in_use(format!("update conflict: {error}")),
        other => other.into(),
    })?;
    Ok(all(&caller, &stock::load_one(service.db(), uuid).await?))
}

/// `PUT /resource_providers/{uuid}/inventories/{class}`: other amounts of something that it has.
pub(super) async fn update(
    State(service): Service,
    caller: Caller,
    Path((uuid, class)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let body = read_json(&headers, &body);
    caller.can("placement:resource_providers:inventories:update")?;
    let uuid = provider_uuid(&uuid)?;
    let before = stock::load_one(service.db(), uuid).await?.provider;
    let body = body?;
    let body = object(&body)?;
    only(body, |name| FIELDS.contains(&name) || name == "resource_provider_generation")?;
    let inventory = parse(body)?;
    let generation = provider_generation(body)?;
    if generation != before.generation {
        return Err(ApiError::concurrent_update("resource provider generation conflict"));
    }
    check_capacity(&caller, uuid, &class, &inventory).map_err(|error| unable_to_update(uuid, error))?;
    let change = inventory::change(service.db(), uuid, &class, Change::Update(&inventory, generation)).await;
    change.map_err(|error| match error {
        PlacementError::NoSuchInventory(_) => ApiError::bad_request(format!(
            "No inventory record with resource class for resource provider {uuid}: {error}"
        )),
        other => other.into(),
    })?;
    one(&caller, &stock::load_one(service.db(), uuid).await?, &class)
}

/// `DELETE /resource_providers/{uuid}/inventories/{class}`
pub(super) async fn delete(
    State(service): Service,
    caller: Caller,
    Path((uuid, class)): Path<(String, String)>,
) -> Reply {
    caller.can("placement:resource_providers:inventories:delete")?;
    let uuid = provider_uuid(&uuid)?;
    inventory::change(service.db(), uuid, &class, Change::Delete).await.map_err(|error| match error {
        PlacementError::InventoryInUse { .. } => {
            ApiError::concurrent_update(format!("Unable to delete inventory of class {class}: {error}"))
        }
        PlacementError::NoSuchInventory(_) => ApiError::not_found(format!(
            "No inventory of class {class} found for delete: No inventory of class {class} found for delete"
        )),
        PlacementError::UnknownClass(_) => {
            ApiError::not_found(format!("No inventory of class {class} found for delete: {error}"))
        }
        other => other.into(),
    })?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `DELETE /resource_providers/{uuid}/inventories`, from 1.5.
pub(super) async fn delete_all(State(service): Service, caller: Caller, Path(uuid): Path<String>) -> Reply {
    if !caller.since(5) {
        return Err(ApiError::method_not_allowed());
    }
    caller.can("placement:resource_providers:inventories:delete")?;
    inventory::set_all(service.db(), provider_uuid(&uuid)?, None, &BTreeMap::new()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn unable_to_update(uuid: Uuid, error: String) -> ApiError {
    ApiError::bad_request(format!("Unable to update inventory for resource provider {uuid}: {error}"))
}

/// The sentence for what leaves nothing: from 1.26 everything may be kept back.
fn check_capacity(caller: &Caller, uuid: Uuid, class: &str, inventory: &Inventory) -> Result<(), String> {
    let (least, what) = if caller.since(26) { (0, "greater than") } else { (1, "greater than or equal to") };
    if inventory.capacity() >= least {
        return Ok(());
    }
    Err(format!("Invalid inventory for '{class}' on resource provider '{uuid}'. The reserved value is {what} total."))
}

/// The generation that was seen, and what a provider shall have.
pub(super) fn parse_all(body: &Value) -> Result<(i64, BTreeMap<String, Inventory>), ApiError> {
    let body = object(body)?;
    only(body, |name| matches!(name, "resource_provider_generation" | "inventories"))?;
    let generation = provider_generation(body)?;
    let mut inventories = BTreeMap::new();
    for (class, value) in object(member(body, "inventories")?)? {
        check_class(class)?;
        let inventory = object(value)?;
        only(inventory, |name| FIELDS.contains(&name) || name == "resource_provider_generation")?;
        inventories.insert(class.clone(), parse(inventory)?);
    }
    Ok((generation, inventories))
}

/// Placement's defaults for what is left out.
fn parse(inventory: &Map<String, Value>) -> Result<Inventory, ApiError> {
    member(inventory, "total")?;
    let amount = |name: &str, least: i64, default: i64| {
        let amount = inventory.get(name).map_or(Ok(default), integer)?;
        match amount {
            less if less < least => Err(invalid(format!("{less} is less than the minimum of {least}"))),
            more if more > MAX_AMOUNT => Err(invalid(format!("{more} is greater than the maximum of {MAX_AMOUNT}"))),
            amount => Ok(amount),
        }
    };
    let allocation_ratio = match inventory.get("allocation_ratio") {
        None => 1.0,
        Some(value) => value
            .as_f64()
            .filter(|ratio| *ratio <= MAX_RATIO)
            .ok_or_else(|| invalid(format!("{value} is not of type 'number' up to {MAX_RATIO:e}")))?,
    };
    Ok(Inventory {
        total: amount("total", 1, 0)?,
        reserved: amount("reserved", 0, 0)?,
        min_unit: amount("min_unit", 1, 1)?,
        max_unit: amount("max_unit", 1, MAX_AMOUNT)?,
        step_size: amount("step_size", 1, 1)?,
        allocation_ratio,
    })
}

fn all(caller: &Caller, found: &StockedProvider) -> Response {
    let views: Map<String, Value> =
        found.stock.iter().map(|(class, stock)| (class.clone(), Value::Object(view(&stock.inventory)))).collect();
    let body = json!({"inventories": views, "resource_provider_generation": found.provider.generation});
    reply::json(caller, body, Some(found.provider.updated_at))
}

fn one(caller: &Caller, found: &StockedProvider, class: &str) -> Reply {
    let Some(stock) = found.stock.get(class) else {
        return Err(ApiError::not_found(format!("No inventory of class {class} for {}", found.provider.uuid)));
    };
    let mut view = view(&stock.inventory);
    view.insert("resource_provider_generation".to_owned(), found.provider.generation.into());
    Ok(reply::json(caller, Value::Object(view), Some(found.provider.updated_at)))
}

fn view(inventory: &Inventory) -> Map<String, Value> {
    Map::from_iter([
        ("total".to_owned(), inventory.total.into()),
        ("reserved".to_owned(), inventory.reserved.into()),
        ("min_unit".to_owned(), inventory.min_unit.into()),
        ("max_unit".to_owned(), inventory.max_unit.into()),
        ("step_size".to_owned(), inventory.step_size.into()),
        ("allocation_ratio".to_owned(), inventory.allocation_ratio.into()),
    ])
}
