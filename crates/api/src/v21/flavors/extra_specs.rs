//! `/flavors/{flavor_id}/os-extra_specs`

use std::collections::BTreeMap;

use axum::http::StatusCode;
use kilonova_db::{DbError, flavors};
use serde_json::{Value, json};

use super::visible;
use crate::call::{Answer, Call, empty, ok};
use crate::compute::extra_specs;
use crate::error::ApiError;
use crate::policy::Target;
use crate::versions::V2_86;

/// `GET /flavors/{flavor_id}/os-extra_specs`
pub(crate) async fn index(call: Call) -> Answer {
    call.authorize_own()?;
    let flavor = visible(&call, call.param("flavor_id")).await?;
    ok(&json!({"extra_specs": flavor.extra_specs}))
}

/// `GET /flavors/{flavor_id}/os-extra_specs/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    call.authorize_own()?;
    let flavor = visible(&call, call.param("flavor_id")).await?;
    let key = call.param("id");
    let value = flavor.extra_specs.get(key).ok_or_else(|| no_such_spec(&call))?;
    ok(&json!({key: value}))
}

/// `POST /flavors/{flavor_id}/os-extra_specs`. The answer is the body as it came.
pub(crate) async fn create(call: Call) -> Answer {
    call.authorize(Target::default())?;
    set(&call, &checked(&call, &call.body["extra_specs"])?).await
}

/// `PUT /flavors/{flavor_id}/os-extra_specs/{id}`. The answer is the body as it came.
pub(crate) async fn update(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let specs = checked(&call, &call.body)?;
    if !specs.contains_key(call.param("id")) {
        return Err(ApiError::BadRequest("Request body and URI mismatch".to_owned()));
    }
    set(&call, &specs).await
}

/// `DELETE /flavors/{flavor_id}/os-extra_specs/{id}`
pub(crate) async fn delete(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let deleted = flavors::delete_extra_spec(&call.state.db, call.param("flavor_id"), call.param("id")).await;
    deleted.map_err(|error| match error {
        DbError::NotFound { resource: "extra spec", .. } => no_such_spec(&call),
        other => other.into(),
    })?;
    Ok(empty(StatusCode::OK))
}

fn no_such_spec(call: &Call) -> ApiError {
    let (flavor, key) = (call.param("flavor_id"), call.param("id"));
    ApiError::NotFound(format!("Flavor {flavor} has no extra specs with key {key}."))
}

/// The specs of a body, numbers as text; from 2.86 on only ones that make sense.
fn checked(call: &Call, body: &Value) -> Result<BTreeMap<String, String>, ApiError> {
    let mut specs = BTreeMap::new();
    for (name, value) in body.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if call.since(V2_86) {
            extra_specs::validate(name, &value)?;
        }
        specs.insert(name.clone(), value);
    }
    Ok(specs)
}

async fn set(call: &Call, specs: &BTreeMap<String, String>) -> Answer {
    flavors::set_extra_specs(&call.state.db, call.param("flavor_id"), specs).await?;
    ok(&call.body)
}
