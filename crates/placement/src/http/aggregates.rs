//! `/resource_providers/{uuid}/aggregates`: who is in an aggregate with whom. Aggregates are uuids that somebody says.

use std::collections::BTreeSet;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use kilonova_db::placement::ResourceProvider;
use serde_json::{Value, json};
use uuid::Uuid;

use super::body::{array, invalid, member, object, only, provider_generation, read_json, string, uuid};
use super::error::ApiError;
use super::{Caller, Reply, Service, provider_uuid, reply};
use crate::{provider, stock};

/// `GET /resource_providers/{uuid}/aggregates`
pub(super) async fn list(State(service): Service, caller: Caller, Path(uuid): Path<String>) -> Reply {
    caller.route_since(1)?;
    caller.can("placement:resource_providers:aggregates:list")?;
    let found = stock::load_one(service.db(), provider_uuid(&uuid)?).await?.provider;
    Ok(view(&caller, &found, json!(found.aggregates)))
}

/// `PUT /resource_providers/{uuid}/aggregates`: replaces all; from 1.19 with the provider's generation.
pub(super) async fn set(
    State(service): Service,
    caller: Caller,
    Path(uuid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    caller.route_since(1)?;
    let body = read_json(&headers, &body);
    caller.can("placement:resource_providers:aggregates:update")?;
    let body = body?;
    let uuid = provider_uuid(&uuid)?;
    stock::load_one(service.db(), uuid).await?;
    let (aggregates, generation) = if caller.since(19) {
        let body = object(&body)?;
        only(body, |name| matches!(name, "aggregates" | "resource_provider_generation"))?;
        (parse(member(body, "aggregates")?)?, Some(provider_generation(body)?))
    } else {
        (parse(&body)?, None)
    };
    provider::set_aggregates(service.db(), uuid, generation, &aggregates).await?;
    let found = stock::load_one(service.db(), uuid).await?.provider;
    Ok(view(&caller, &found, json!(aggregates)))
}

fn parse(value: &Value) -> Result<BTreeSet<Uuid>, ApiError> {
    let mut aggregates = BTreeSet::new();
    for item in array(value)? {
        if !aggregates.insert(uuid(string(item)?)?) {
            return Err(invalid(format!("{value} has non-unique elements")));
        }
    }
    Ok(aggregates)
}

fn view(caller: &Caller, provider: &ResourceProvider, aggregates: Value) -> Response {
    let mut body = json!({"aggregates": aggregates});
    if caller.since(19) {
        body["resource_provider_generation"] = provider.generation.into();
    }
    reply::json(caller, body, None)
}
