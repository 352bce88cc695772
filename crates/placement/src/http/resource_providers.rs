//! `/resource_providers` and what hangs below one.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse as _;
use chrono::{DateTime, Utc};
use kilonova_clients::placement::Inventory;
use kilonova_db::placement::{self as rows, ProviderFilter, ResourceProvider};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::body::{self, check_class, invalid, member, object, only, provider_generation, read_json, text};
use super::error::ApiError;
use super::query::{self, Params};
use super::{Caller, Reply, Service, provider_uuid, reply};
use crate::candidates::Group;
use crate::provider;
use crate::service::grouped;
use crate::stock::{self, StockedProvider};

/// `GET /resource_providers`
pub(super) async fn list(State(service): Service, caller: Caller, params: Params) -> Reply {
    caller.require_admin()?;
    params.allow(
        &caller,
        &[("name", 0), ("uuid", 0), ("member_of", 3), ("resources", 4), ("in_tree", 14), ("required", 18)],
    )?;
    let mut group = Group {
        in_tree: params.uuid("in_tree")?,
        in_aggregate: query::member_of(&caller, "member_of", params.all("member_of"))?,
        ..Group::default()
    };
    if let Some(text) = params.one("resources")? {
        group.resources = query::resources(text)?;
    }
    if let Some(text) = params.one("required")? {
        query::traits(&caller, "required", text, &mut group.traits)?;
    }
    let filter = ProviderFilter { uuid: params.uuid("uuid")?, name: params.one("name")? };
    let found = stock::load(service.db(), &filter).await?;
    let found = found.iter().filter(|provider| group.allows(provider)).map(|found| &found.provider);
    let views: Vec<Value> = found.map(|provider| view(&caller, provider)).collect();
    Ok(reply::json(&caller, json!({"resource_providers": views}), None))
}

/// `GET /resource_providers/{uuid}`
pub(super) async fn show(State(service): Service, caller: Caller, Path(uuid): Path<String>) -> Reply {
    caller.require_admin()?;
    let found = stock::load_one(service.db(), provider_uuid(&uuid)?).await?.provider;
    Ok(reply::json(&caller, view(&caller, &found), Some(found.updated_at)))
}

/// `POST /resource_providers`: up to 1.19 the answer is only where it is.
pub(super) async fn create(State(service): Service, caller: Caller, headers: HeaderMap, body: Bytes) -> Reply {
    caller.require_admin()?;
    let body = read_json(&headers, &body)?;
    let body = provider_body(&caller, &body, &["name", "uuid"])?;
    let uuid = match body.get("uuid") {
        Some(Value::String(text)) => body::uuid(text)?,
        Some(other) => return Err(invalid(format!("{other} is not of type 'string'"))),
        None => Uuid::new_v4(),
    };
    provider::create(service.db(), uuid, &text(body, "name")?).await?;
    let found = stock::load_one(service.db(), uuid).await?.provider;
    let location = [(header::LOCATION, format!("{}/resource_providers/{uuid}", caller.prefix))];
    if !caller.since(20) {
        return Ok((StatusCode::CREATED, location).into_response());
    }
    Ok((location, reply::json(&caller, view(&caller, &found), Some(found.updated_at))).into_response())
}

/// `PUT /resource_providers/{uuid}`: another name.
pub(super) async fn rename(
    State(service): Service,
    caller: Caller,
    Path(uuid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    caller.require_admin()?;
    let uuid = provider_uuid(&uuid)?;
    let body = read_json(&headers, &body)?;
    let body = provider_body(&caller, &body, &["name"])?;
    provider::rename(service.db(), uuid, &text(body, "name")?).await?;
    let found = stock::load_one(service.db(), uuid).await?.provider;
    Ok(reply::json(&caller, view(&caller, &found), Some(found.updated_at)))
}

/// `DELETE /resource_providers/{uuid}`
pub(super) async fn delete(State(service): Service, caller: Caller, Path(uuid): Path<String>) -> Reply {
    caller.require_admin()?;
    provider::delete(service.db(), provider_uuid(&uuid)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `PUT /resource_providers/{uuid}/inventories`: replaces all.
pub(super) async fn put_inventories(
    State(service): Service,
    caller: Caller,
    Path(uuid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    caller.require_admin()?;
    let uuid = provider_uuid(&uuid)?;
    let body = read_json(&headers, &body)?;
    let body = object(&body)?;
    only(body, |name| matches!(name, "resource_provider_generation" | "inventories"))?;
    let inventories = object(member(body, "inventories")?)?.iter().map(parse_inventory).collect::<Result<_, _>>()?;
    provider::set_inventory(service.db(), uuid, provider_generation(body)?, &inventories).await?;
    let found = stock::load_one(service.db(), uuid).await?;
    let views = by_class(&found, |stock| Value::Object(inventory_view(&stock.inventory)));
    Ok(with_generation(&caller, "inventories", views, &found.provider))
}

/// `PUT /resource_providers/{uuid}/traits`: replaces all.
pub(super) async fn put_traits(
    State(service): Service,
    caller: Caller,
    Path(uuid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    caller.route_since(6)?;
    caller.require_admin()?;
    let uuid = provider_uuid(&uuid)?;
    let body = read_json(&headers, &body)?;
    let body = object(&body)?;
    only(body, |name| matches!(name, "resource_provider_generation" | "traits"))?;
    let traits = member(body, "traits")?;
    let names = traits.as_array().and_then(|names| names.iter().map(|name| Some(name.as_str()?.to_owned())).collect());
    let names: Vec<String> = names.ok_or_else(|| invalid(format!("{traits} is not an array of strings")))?;
    provider::set_traits(service.db(), uuid, provider_generation(body)?, names.into_iter()).await?;
    let found = stock::load_one(service.db(), uuid).await?.provider;
    Ok(with_generation(&caller, "traits", json!(found.traits), &found))
}

/// `GET /resource_providers/{uuid}/inventories`
pub(super) async fn inventories(State(service): Service, caller: Caller, Path(uuid): Path<String>) -> Reply {
    caller.require_admin()?;
    let found = stock::load_one(service.db(), provider_uuid(&uuid)?).await?;
    let views = by_class(&found, |stock| Value::Object(inventory_view(&stock.inventory)));
    Ok(with_generation(&caller, "inventories", views, &found.provider))
}

/// `GET /resource_providers/{uuid}/inventories/{class}`
pub(super) async fn inventory(
    State(service): Service,
    caller: Caller,
    Path((uuid, class)): Path<(String, String)>,
) -> Reply {
    caller.require_admin()?;
    let found = stock::load_one(service.db(), provider_uuid(&uuid)?).await?;
    let Some(stock) = found.stock.get(&class) else {
        return Err(ApiError::not_found(format!("No inventory of class {class} for {uuid}")));
    };
    let mut view = inventory_view(&stock.inventory);
    view.insert("resource_provider_generation".to_owned(), found.provider.generation.into());
    Ok(reply::json(&caller, Value::Object(view), Some(found.provider.updated_at)))
}

/// `GET /resource_providers/{uuid}/usages`
pub(super) async fn usages(State(service): Service, caller: Caller, Path(uuid): Path<String>) -> Reply {
    caller.require_admin()?;
    let found = stock::load_one(service.db(), provider_uuid(&uuid)?).await?;
    let views = by_class(&found, |stock| stock.used.into());
    Ok(with_generation(&caller, "usages", views, &found.provider))
}

/// `GET /resource_providers/{uuid}/traits`
pub(super) async fn traits(State(service): Service, caller: Caller, Path(uuid): Path<String>) -> Reply {
    caller.route_since(6)?;
    caller.require_admin()?;
    let found = stock::load_one(service.db(), provider_uuid(&uuid)?).await?.provider;
    Ok(with_generation(&caller, "traits", json!(found.traits), &found))
}

/// `GET /resource_providers/{uuid}/aggregates`: a provider is in none.
pub(super) async fn aggregates(State(service): Service, caller: Caller, Path(uuid): Path<String>) -> Reply {
    caller.route_since(1)?;
    caller.require_admin()?;
    let found = stock::load_one(service.db(), provider_uuid(&uuid)?).await?.provider;
    if caller.since(19) {
        return Ok(with_generation(&caller, "aggregates", json!([]), &found));
    }
    Ok(reply::json(&caller, json!({"aggregates": []}), Some(found.updated_at)))
}

/// `GET /resource_providers/{uuid}/allocations`
pub(super) async fn allocations(State(service): Service, caller: Caller, Path(uuid): Path<String>) -> Reply {
    caller.require_admin()?;
    let found = stock::load_one(service.db(), provider_uuid(&uuid)?).await?.provider;
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
    Ok(with_generation(&caller, "allocations", Value::Object(views), &found))
}

/// The body of a provider. Providers are roots: a parent may only be named as none.
fn provider_body<'a>(caller: &Caller, body: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>, ApiError> {
    const PARENT: &str = "parent_provider_uuid";
    let body = object(body)?;
    only(body, |name| known.contains(&name) || (name == PARENT && caller.since(14)))?;
    match body.get(PARENT) {
        None | Some(Value::Null) => Ok(body),
        Some(_) => Err(ApiError::bad_request("Providers below others are not supported here.")),
    }
}

/// Placement's defaults for what is left out.
fn parse_inventory((class, value): (&String, &Value)) -> Result<(String, Inventory), ApiError> {
    const NAMES: [&str; 6] = ["total", "reserved", "min_unit", "max_unit", "step_size", "allocation_ratio"];
    check_class(class)?;
    let inventory = object(value)?;
    only(inventory, |name| NAMES.contains(&name))?;
    member(inventory, "total")?;
    let amount = |name: &str, default: i64| match inventory.get(name) {
        None => Ok(default),
        Some(value) => value.as_i64().ok_or_else(|| invalid(format!("{value} is not of type 'integer'"))),
    };
    let allocation_ratio = match inventory.get("allocation_ratio") {
        None => 1.0,
        Some(value) => value.as_f64().ok_or_else(|| invalid(format!("{value} is not of type 'number'")))?,
    };
    let inventory = Inventory {
        total: amount("total", 0)?,
        reserved: amount("reserved", 0)?,
        min_unit: amount("min_unit", 1)?,
        max_unit: amount("max_unit", provider::MAX_AMOUNT)?,
        step_size: amount("step_size", 1)?,
        allocation_ratio,
    };
    Ok((class.clone(), inventory))
}

fn view(caller: &Caller, provider: &ResourceProvider) -> Value {
    let own = format!("{}/resource_providers/{}", caller.prefix, provider.uuid);
    let below = [("inventories", 0), ("usages", 0), ("aggregates", 1), ("traits", 6), ("allocations", 11)];
    let mut links = vec![json!({"rel": "self", "href": own})];
    for (rel, _) in below.iter().filter(|(_, since)| caller.since(*since)) {
        links.push(json!({"rel": rel, "href": format!("{own}/{rel}")}));
    }
    let mut view = json!({
        "uuid": provider.uuid,
        "name": provider.name,
        "generation": provider.generation,
        "links": links,
    });
    if caller.since(14) {
        view["parent_provider_uuid"] = Value::Null;
        view["root_provider_uuid"] = json!(provider.uuid);
    }
    view
}

fn inventory_view(inventory: &Inventory) -> Map<String, Value> {
    Map::from_iter([
        ("total".to_owned(), inventory.total.into()),
        ("reserved".to_owned(), inventory.reserved.into()),
        ("min_unit".to_owned(), inventory.min_unit.into()),
        ("max_unit".to_owned(), inventory.max_unit.into()),
        ("step_size".to_owned(), inventory.step_size.into()),
        ("allocation_ratio".to_owned(), inventory.allocation_ratio.into()),
    ])
}

fn by_class(provider: &StockedProvider, view: impl Fn(&stock::Stock) -> Value) -> Value {
    provider.stock.iter().map(|(class, stock)| (class.clone(), view(stock))).collect()
}

fn with_generation(caller: &Caller, name: &str, value: Value, provider: &ResourceProvider) -> axum::response::Response {
    let mut body = json!({"resource_provider_generation": provider.generation});
    body[name] = value;
    let changed_at: DateTime<Utc> = provider.updated_at;
    reply::json(caller, body, Some(changed_at))
}
