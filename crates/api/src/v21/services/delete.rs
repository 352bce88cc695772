//! `DELETE /os-services/{id}`

use axum::http::StatusCode;

use crate::call::{Answer, Call, empty};
use crate::compute::services::{self, ServiceId};
use crate::error::ApiError;
use crate::policy::Target;
use crate::v21::values::uuid_like;
use crate::versions::V2_53;

pub(crate) async fn delete(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let found = services::get(&call.state, parse_id(&call)?).await?;
    let service = found.ok_or_else(|| ApiError::NotFound(format!("Service {} not found.", call.param("id"))))?;
    services::delete(&call.state, &call.context, &service).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn parse_id(call: &Call) -> Result<ServiceId, ApiError> {
    let id = call.param("id");
    if call.since(V2_53) {
        let uuid = uuid_like(id).ok_or_else(|| ApiError::BadRequest(format!("Invalid uuid {id}")))?;
        return Ok(ServiceId::Uuid(uuid));
    }
    let row =
        id.parse().map_err(|_| ApiError::BadRequest("Invalid input received: id must be an integer".to_owned()))?;
    Ok(ServiceId::Row(row))
}
