//! The actions `pause` and `unpause`

use axum::http::StatusCode;

use super::authorized;
use crate::call::{Answer, Call, empty};
use crate::compute::pause;

/// `pause`
pub(crate) async fn pause(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    pause::pause(&call.state, &call.context, instance).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// `unpause`
pub(crate) async fn unpause(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    pause::unpause(&call.state, &call.context, instance).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
