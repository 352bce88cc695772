//! `/os-aggregates`

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use kilonova_objects::Aggregate;
use kilonova_rpcapi::conductor::CacheImages;
use serde_json::json;

use crate::call::{Answer, Call, empty, ok};
use crate::compute::ComputeError;
use crate::compute::aggregates::{self, AggregateError};
use crate::error::ApiError;
use crate::policy::Target;
use crate::views::aggregates::{Created, Detail};

/// `GET /os-aggregates`
pub(crate) async fn index(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let found = kilonova_db::aggregates::list(&call.state.db).await?;
    let shown: Vec<_> = found.iter().map(|aggregate| Detail::new(aggregate, call.version)).collect();
    ok(&json!({"aggregates": shown}))
}

/// `POST /os-aggregates`
pub(crate) async fn create(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let body = &call.body["aggregate"];
    let name = body["name"].as_str().unwrap_or_default().trim();
    let zone = body["availability_zone"].as_str().map(str::trim);
    let created = aggregates::create(&call.state, name, zone).await.map_err(invalid)?;
    ok(&json!({"aggregate": Created::new(&created, call.version)}))
}

/// `GET /os-aggregates/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    let id = authorized(&call)?;
    let found = kilonova_db::aggregates::get(&call.state.db, id).await.map_err(AggregateError::from);
    answer(&call, &found.map_err(invalid)?)
}

/// `PUT /os-aggregates/{id}`
pub(crate) async fn update(call: Call) -> Answer {
    let id = authorized(&call)?;
    let body = &call.body["aggregate"];
    let name = body["name"].as_str().map(str::trim);
    let zone = body.get("availability_zone").map(|zone| zone.as_str());
    let updated = aggregates::update(&call.state, id, name, zone).await.map_err(invalid)?;
    answer(&call, &updated)
}

/// `DELETE /os-aggregates/{id}`
pub(crate) async fn delete(call: Call) -> Answer {
    let id = authorized(&call)?;
    aggregates::delete(&call.state, id).await.map_err(invalid)?;
    Ok(empty(StatusCode::OK))
}

/// Action `add_host`
pub(crate) async fn add_host(call: Call) -> Answer {
    let id = authorized(&call)?;
    let host = call.body["add_host"]["host"].as_str().unwrap_or_default();
    let changed = aggregates::add_host(&call.state, id, host).await.map_err(conflicting)?;
    answer(&call, &changed)
}

/// Action `remove_host`
pub(crate) async fn remove_host(call: Call) -> Answer {
    let id = authorized(&call)?;
    let host = call.body["remove_host"]["host"].as_str().unwrap_or_default();
    let changed = aggregates::remove_host(&call.state, id, host).await.map_err(|error| match error {
        AggregateError::NotFound { .. }
        | AggregateError::HostNotFound { .. }
        | AggregateError::Other(ComputeError::HostMappingNotFound { .. }) => {
            ApiError::NotFound(format!("Cannot remove host {host} in aggregate {id}"))
        }
        other => conflicting(other),
    })?;
    answer(&call, &changed)
}

/// Action `set_metadata`
pub(crate) async fn set_metadata(call: Call) -> Answer {
    let id = authorized(&call)?;
    let given = call.body["set_metadata"]["metadata"].as_object().into_iter().flatten();
    let metadata: BTreeMap<_, _> = given.map(|(key, value)| (key.clone(), value.as_str().map(str::to_owned))).collect();
    let changed = aggregates::update_metadata(&call.state, id, &metadata).await.map_err(invalid)?;
    answer(&call, &changed)
}

/// `POST /os-aggregates/{id}/images`: has the hosts of the aggregate fetch images before they need them.
pub(crate) async fn images(call: Call) -> Answer {
    let id = authorized(&call)?;
    let given = call.body["cache"].as_array().into_iter().flatten().filter_map(|image| image["id"].as_str());
    let image_ids: Vec<String> = given.map(str::to_owned).collect();
    if image_ids.iter().collect::<BTreeSet<_>>().len() < image_ids.len() {
        return Err(ApiError::BadRequest("Duplicate images in request".to_owned()));
    }
    let aggregate = kilonova_db::aggregates::get(&call.state.db, id).await.map_err(AggregateError::from);
    let aggregate = aggregate.map_err(invalid)?;
    call.state.conductor.cast(&call.context, CacheImages { aggregate, image_ids }).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// The aggregate of the path, once the route's rule allows it.
fn authorized(call: &Call) -> Result<i64, ApiError> {
    call.authorize(Target::default())?;
    let id = call.param("id").trim().parse();
    id.map_err(|_| ApiError::BadRequest("Invalid input received: id must be an integer".to_owned()))
}

fn answer(call: &Call, aggregate: &Aggregate) -> Answer {
    ok(&json!({"aggregate": Detail::new(aggregate, call.version)}))
}

/// Where Nova says 400 to what may not be.
fn invalid(error: AggregateError) -> ApiError {
    refused(error, ApiError::BadRequest)
}

/// Where Nova says 409 to it.
fn conflicting(error: AggregateError) -> ApiError {
    refused(error, ApiError::Conflict)
}

fn refused(error: AggregateError, invalid: fn(String) -> ApiError) -> ApiError {
    use AggregateError as E;
    match error {
        E::NotFound { .. } | E::HostNotFound { .. } => ApiError::NotFound(error.to_string()),
        E::NameExists { .. } | E::HostExists { .. } => ApiError::Conflict(error.to_string()),
        E::Add { .. } | E::Remove { .. } | E::Update { .. } | E::UpdateMetadata { .. } => invalid(error.to_string()),
        E::Other(error) => error.into(),
    }
}
