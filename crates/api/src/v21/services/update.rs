//! `PUT /os-services/{id}`: from 2.53 on the service, before that the action is in the path.

use kilonova_objects::Service;
use serde_json::{Map, Value, json};

use super::{only_compute, update_by_host, view};
use crate::call::{Answer, Call, ok};
use crate::compute::availability_zones;
use crate::compute::services::{self, ServiceId};
use crate::error::ApiError;
use crate::policy::Target;
use crate::v21::values::{boolean, uuid_like};
use crate::versions::V2_53;

pub(crate) async fn update(call: Call) -> Answer {
    if !call.since(V2_53) {
        return update_by_host::update(call).await;
    }
    let service = authorized(&call).await?;
    only_compute(service.binary.as_deref().unwrap_or_default())?;
    let changes = changes(&call.body)?;
    let updated = services::update(&call.state, &call.context, &service, &changes).await?;
    let zones = availability_zones::read(&call.state).await?;
    ok(&json!({"service": view(&call, &zones, &updated)}))
}

async fn authorized(call: &Call) -> Result<Service, ApiError> {
    let id = call.param("id");
    let uuid = uuid_like(id).ok_or_else(|| ApiError::BadRequest(format!("Invalid uuid {id}")))?;
    call.authorize(Target::default())?;
    let found = services::get(&call.state, ServiceId::Uuid(uuid)).await?;
    found.ok_or_else(|| ApiError::NotFound(format!("Service {id} could not be found.")))
}

fn changes(body: &Value) -> Result<Map<String, Value>, ApiError> {
    let mut changes = Map::new();
    let reason = &body["disabled_reason"];
    match body["status"].as_str() {
        Some("enabled") if !reason.is_null() => {
            return Err(ApiError::BadRequest(
                "Specifying 'disabled_reason' with status 'enabled' is invalid.".to_owned(),
            ));
        }
        Some(status) => {
            changes.insert("disabled".to_owned(), json!(status == "disabled"));
            changes.insert("disabled_reason".to_owned(), reason.clone());
        }
        None => {}
    }
    if let Some(forced_down) = boolean(&body["forced_down"]) {
        changes.insert("forced_down".to_owned(), json!(forced_down));
    }
    if changes.is_empty() {
        return Err(ApiError::BadRequest(
            "No updates were requested. Fields 'status' or 'forced_down' should be specified.".to_owned(),
        ));
    }
    Ok(changes)
}
