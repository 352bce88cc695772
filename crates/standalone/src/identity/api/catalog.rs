//! `/v3/services`, `/v3/endpoints`, `/v3/regions`: the computed catalog, to be read only.

use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::{Answer, Params, Service};
use crate::identity::policy::Caller;
use crate::identity::{IdentityError, IdentityService};

/// `GET /v3/services`.
pub(crate) async fn services(State(service): Service, caller: Caller, params: Params) -> Answer {
    caller.read("identity:list_services")?;
    list(&service, "services", service.catalog.services(), &["type", "name"], &params)
}

/// `GET /v3/services/{id}`.
pub(crate) async fn service(State(service): Service, caller: Caller, Path(id): Path<String>) -> Answer {
    caller.read("identity:get_service")?;
    show(&service, "services", "service", service.catalog.services(), id)
}

/// `GET /v3/endpoints`.
pub(crate) async fn endpoints(State(service): Service, caller: Caller, params: Params) -> Answer {
    caller.read("identity:list_endpoints")?;
    list(&service, "endpoints", service.catalog.endpoints(), &["interface", "service_id", "region_id"], &params)
}

/// `GET /v3/endpoints/{id}`.
pub(crate) async fn endpoint(State(service): Service, caller: Caller, Path(id): Path<String>) -> Answer {
    caller.read("identity:get_endpoint")?;
    show(&service, "endpoints", "endpoint", service.catalog.endpoints(), id)
}

/// `GET /v3/regions`: for everybody.
pub(crate) async fn regions(State(service): Service, _caller: Caller, params: Params) -> Answer {
    list(&service, "regions", service.catalog.regions(), &["parent_region_id"], &params)
}

/// `GET /v3/regions/{id}`: for everybody.
pub(crate) async fn region(State(service): Service, _caller: Caller, Path(id): Path<String>) -> Answer {
    show(&service, "regions", "region", service.catalog.regions(), id)
}

fn list(
    service: &IdentityService,
    collection: &str,
    mut resources: Vec<Value>,
    filters: &[&str],
    params: &Params,
) -> Answer {
    for filter in filters {
        if let Some(wanted) = params.get(filter) {
            resources.retain(|resource| resource[filter].as_str() == Some(wanted));
        }
    }
    let views = resources.into_iter().map(|resource| service.linked(collection, resource)).collect();
    Ok(axum::Json(service.collection(&format!("/v3/{collection}"), collection, views, &params.0)?))
}

fn show(
    service: &IdentityService,
    collection: &str,
    member: &'static str,
    resources: Vec<Value>,
    id: String,
) -> Answer {
    let found = resources.into_iter().find(|resource| resource["id"].as_str() == Some(id.as_str()));
    let found = found.ok_or(IdentityError::NotFound { resource: member, id })?;
    Ok(axum::Json(json!({member: service.linked(collection, found)})))
}
