//! `DELETE /servers/{id}`, and the action `forceDelete`

use axum::http::StatusCode;

use super::authorized;
use crate::call::{Answer, Call, empty};
use crate::compute;

/// `DELETE /servers/{id}`
pub(crate) async fn delete(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    compute::delete::delete(&call.state, &call.context, &instance).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `forceDelete`
pub(crate) async fn force_delete(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    compute::delete::delete(&call.state, &call.context, &instance).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
