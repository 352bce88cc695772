//! `/os-volumes`: the volume service's, for clients of old (to 2.35).

use axum::http::{HeaderValue, StatusCode, header};
use kilonova_clients::ClientError;
use kilonova_clients::volume::{NewVolume, SNAPSHOT, VOLUME, Volume};
use serde_json::{Value, json};

use super::paging::limited;
use super::values::integer;
use crate::call::{Answer, Call, empty, json as answer, ok};
use crate::error::ApiError;
use crate::views::volumes as view;

/// `GET /os-volumes`, and `GET /os-volumes/detail`: they show the same.
pub(crate) async fn index(call: Call) -> Answer {
    call.authorize_own()?;
    let found = call.state.clients.volume.list_volumes(&call.context).await?;
    let shown: Vec<Value> = limited(&call, found).iter().map(view::volume).collect();
    ok(&json!({"volumes": shown}))
}

/// `GET /os-volumes/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    call.authorize_own()?;
    let found = call.state.clients.volume.show_volume(&call.context, call.param("id")).await;
    ok(&json!({"volume": view::volume(&found.map_err(refused)?)}))
}

/// `POST /os-volumes`
pub(crate) async fn create(call: Call) -> Answer {
    call.authorize_own()?;
    let volume = make(&call).await.map_err(refused)?;
    let mut response = answer(StatusCode::OK, &json!({"volume": view::volume(&volume)}));
    if let Ok(location) = HeaderValue::try_from(call.links.href("os-volumes", &volume.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `DELETE /os-volumes/{id}`
pub(crate) async fn delete(call: Call) -> Answer {
    call.authorize_own()?;
    call.state.clients.volume.delete_volume(&call.context, call.param("id")).await.map_err(refused)?;
    Ok(empty(StatusCode::ACCEPTED))
}

async fn make(call: &Call) -> Result<Volume, ClientError> {
    let (volumes, body) = (&call.state.clients.volume, &call.body["volume"]);
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let snapshot_id = text("snapshot_id");
    if let Some(id) = &snapshot_id {
        volumes.show_snapshot(&call.context, id).await?;
    }
    let size = integer(&body["size"]).ok_or_else(|| ClientError::BadRequest("the size is too large".to_owned()))?;
    let new = NewVolume {
        size,
        name: text("display_name"),
        description: text("display_description"),
        volume_type: text("volume_type"),
        snapshot_id,
        image_id: None,
        availability_zone: text("availability_zone"),
        metadata: body["metadata"].as_object().cloned(),
    };
    volumes.create_volume(&call.context, new).await
}

/// What the volume service says, in Nova's words.
pub(super) fn refused(error: ClientError) -> ApiError {
    match error {
        ClientError::NotFound { resource: VOLUME, id } => {
            ApiError::NotFound(format!("Volume {id} could not be found."))
        }
        ClientError::NotFound { resource: SNAPSHOT, id } => {
            ApiError::NotFound(format!("Snapshot {id} could not be found."))
        }
        ClientError::BadRequest(reason) => ApiError::BadRequest(format!("Invalid input received: {reason}")),
        other => other.into(),
    }
}
