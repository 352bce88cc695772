//! `/resource_providers`: the providers themselves.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse as _;
use kilonova_clients::placement::Resources;
use kilonova_db::placement::{Names, ResourceProvider};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::body::{self, invalid, member, object, only, read_json, string};
use super::error::ApiError;
use super::query::{self, Params};
use super::{Caller, Reply, Service, provider_uuid, reply};
use crate::candidates::Group;
use crate::forest::Forest;
use crate::provider::Changes;
use crate::stock::StockedProvider;
use crate::{PlacementError, PlacementService, names, provider, stock};

const MAX_NAME: usize = 200;

/// `GET /resource_providers`
pub(super) async fn list(State(service): Service, caller: Caller, params: Params) -> Reply {
    caller.can("placement:resource_providers:list")?;
    params.allow(
        &caller,
        &[("name", 0), ("uuid", 0), ("member_of", 3), ("resources", 4), ("in_tree", 14), ("required", 18)],
    )?;
    let (uuid, name) = (params.uuid("uuid")?, params.last("name").filter(|name| !name.is_empty()));
    let in_tree = params.uuid("in_tree")?;
    let (member_of, forbidden_aggs) = query::member_of(&caller, "", params.all("member_of"))?;
    let traits = query::traits(&caller, params.all("required"))?;
    let resources = params.last("resources").map(query::resources).transpose()?.unwrap_or_default();
    let group = Group { resources, traits, in_tree, member_of, forbidden_aggs };
    let forest = service.forest().await?;
    let is_meant = |provider: &&Arc<StockedProvider>| {
        uuid.is_none_or(|uuid| provider.provider.uuid == uuid) && name.is_none_or(|name| provider.provider.name == name)
    };
    let found = filtered(&service, &forest, &group).await?;
    let found: Vec<&Arc<StockedProvider>> = found.into_iter().filter(is_meant).collect();
    let views: Vec<Value> = found.iter().map(|found| view(&caller, &found.provider)).collect();
    let changed_at = found.iter().map(|found| found.provider.updated_at).max();
    Ok(reply::json(&caller, json!({"resource_providers": views}), changed_at))
}

/// The providers that satisfy `group` one by one. Nobody learns of an unknown name behind what nobody satisfies.
async fn filtered<'f>(
    service: &PlacementService,
    forest: &'f Forest,
    group: &Group,
) -> Result<Vec<&'f Arc<StockedProvider>>, ApiError> {
    let mut found: Vec<&Arc<StockedProvider>> = forest.providers.iter().collect();
    if let Some(uuid) = group.in_tree {
        let Some(root) = forest.place(uuid).map(|place| forest.root(place)) else {
            return Ok(Vec::new());
        };
        let tree = forest.trees.iter().find(|tree| tree.root == root);
        found = tree.map_or_else(Vec::new, |tree| tree.members.iter().map(|place| &forest.providers[*place]).collect());
    }
    let unknown_trait = |error| match error {
        PlacementError::UnknownTrait(_) => {
            ApiError::bad_request(format!("Invalid trait(s) in \"required\" parameter: {error}"))
        }
        other => other.into(),
    };
    names::check(service.db().read(), Names::Traits, group.traits.names()).await.map_err(unknown_trait)?;
    found.retain(|provider| group.allows(provider));
    let classes = group.resources.keys().map(String::as_str);
    names::check(service.db().read(), Names::ResourceClasses, classes).await.map_err(query::unknown_class)?;
    found.retain(|provider| takes(provider, &group.resources));
    Ok(found)
}

fn takes(provider: &StockedProvider, resources: &Resources) -> bool {
    resources.iter().all(|(class, amount)| provider.takes(class, *amount))
}

/// `GET /resource_providers/{uuid}`
pub(super) async fn show(State(service): Service, caller: Caller, Path(uuid): Path<String>) -> Reply {
    caller.can("placement:resource_providers:show")?;
    let found = stock::load_one(service.db(), provider_uuid(&uuid)?).await?.provider;
    Ok(reply::json(&caller, view(&caller, &found), Some(found.updated_at)))
}

/// `POST /resource_providers`: up to 1.19 the answer is only where it is.
pub(super) async fn create(State(service): Service, caller: Caller, headers: HeaderMap, body: Bytes) -> Reply {
    let body = read_json(&headers, &body);
    caller.can("placement:resource_providers:create")?;
    let body = body?;
    let body = provider_body(&caller, &body, &["name", "uuid"])?;
    let uuid = match body.get("uuid") {
        Some(value) => body::uuid(string(value)?)?,
        None => Uuid::new_v4(),
    };
    provider::create(service.db(), uuid, name(body)?, parent(body)?.flatten()).await?;
    let found = stock::load_one(service.db(), uuid).await?.provider;
    let location = [(header::LOCATION, format!("{}/resource_providers/{uuid}", caller.prefix))];
    if !caller.since(20) {
        return Ok((StatusCode::CREATED, location).into_response());
    }
    Ok((location, reply::json(&caller, view(&caller, &found), Some(found.updated_at))).into_response())
}

/// `PUT /resource_providers/{uuid}`: another name, and from 1.14 another parent; from 1.37 even where there is one.
pub(super) async fn update(
    State(service): Service,
    caller: Caller,
    Path(uuid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let body = read_json(&headers, &body);
    caller.can("placement:resource_providers:update")?;
    let uuid = provider_uuid(&uuid)?;
    stock::load_one(service.db(), uuid).await?;
    let body = body?;
    let body = provider_body(&caller, &body, &["name"])?;
    let name = name(body)?;
    let changes = Changes { name, parent: parent(body)?, may_move: caller.since(37) };
    provider::update(service.db(), uuid, changes).await?;
    let found = stock::load_one(service.db(), uuid).await?.provider;
    Ok(reply::json(&caller, view(&caller, &found), Some(found.updated_at)))
}

/// `DELETE /resource_providers/{uuid}`
pub(super) async fn delete(State(service): Service, caller: Caller, Path(uuid): Path<String>) -> Reply {
    caller.can("placement:resource_providers:delete")?;
    let gone = |_| ApiError::not_found(format!("No resource provider with uuid {uuid} found for delete"));
    let id = provider_uuid(&uuid).map_err(gone)?;
    provider::delete(service.db(), id).await.map_err(|error| match error {
        error @ PlacementError::NoProvider(_) => gone(error),
        other => other.into(),
    })?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn provider_body<'a>(caller: &Caller, body: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>, ApiError> {
    let body = object(body)?;
    only(body, |name| known.contains(&name) || (name == PARENT && caller.since(14)))?;
    Ok(body)
}

const PARENT: &str = "parent_provider_uuid";

fn name(body: &Map<String, Value>) -> Result<&str, ApiError> {
    let name = string(member(body, "name")?)?;
    if name.chars().count() > MAX_NAME {
        return Err(invalid(format!("'{name}' is too long")));
    }
    Ok(name)
}

/// `None`: nothing is said; `Some(None)`: none.
fn parent(body: &Map<String, Value>) -> Result<Option<Option<Uuid>>, ApiError> {
    match body.get(PARENT) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(value) => Ok(Some(Some(body::uuid(string(value)?)?))),
    }
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
        view["parent_provider_uuid"] = json!(provider.parent_provider_uuid);
        view["root_provider_uuid"] = json!(provider.root_provider_uuid);
    }
    view
}
