//! `/os-snapshots`: the volume service's, for clients of old (to 2.35).

use axum::http::StatusCode;
use kilonova_clients::ClientError;
use kilonova_clients::volume::NewSnapshot;
use serde_json::{Value, json};

use super::paging::limited;
use super::values::boolean;
use super::volumes::refused;
use crate::call::{Answer, Call, empty, ok};
use crate::error::ApiError;
use crate::views::volumes as view;

/// `GET /os-snapshots`, and `GET /os-snapshots/detail`: they show the same.
pub(crate) async fn index(call: Call) -> Answer {
    call.authorize_own()?;
    let found = call.state.clients.volume.list_snapshots(&call.context).await?;
    let shown: Vec<Value> = limited(&call, found).iter().map(view::snapshot).collect();
    ok(&json!({"snapshots": shown}))
}

/// `GET /os-snapshots/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    call.authorize_own()?;
    let found = call.state.clients.volume.show_snapshot(&call.context, call.param("id")).await;
    ok(&json!({"snapshot": view::snapshot(&found.map_err(refused)?)}))
}

/// `POST /os-snapshots`
pub(crate) async fn create(call: Call) -> Answer {
    call.authorize_own()?;
    let body = &call.body["snapshot"];
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let new = NewSnapshot {
        volume_id: text("volume_id").unwrap_or_default(),
        force: boolean(&body["force"]).unwrap_or(false),
        name: text("display_name"),
        description: text("display_description"),
    };
    let made = call.state.clients.volume.create_snapshot(&call.context, new).await.map_err(|error| match error {
        ClientError::OverQuota(_) => ApiError::Forbidden("Quota exceeded for resources: snapshots".to_owned()),
        other => refused(other),
    })?;
    ok(&json!({"snapshot": view::snapshot(&made)}))
}

/// `DELETE /os-snapshots/{id}`
pub(crate) async fn delete(call: Call) -> Answer {
    call.authorize_own()?;
    call.state.clients.volume.delete_snapshot(&call.context, call.param("id")).await.map_err(refused)?;
    Ok(empty(StatusCode::ACCEPTED))
}
