//! `/servers/{server_id}/os-server-password`

use axum::http::StatusCode;
use serde_json::json;

use super::authorized;
use crate::call::{Answer, Call, empty, ok};
use crate::compute::server_password;

/// `GET /servers/{server_id}/os-server-password`
pub(crate) async fn index(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    ok(&json!({"password": server_password::encrypted(&instance)}))
}

/// `DELETE /servers/{server_id}/os-server-password`
pub(crate) async fn clear(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    server_password::clear(&call.state, &instance).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
