//! The action `trigger_crash_dump`

use axum::http::StatusCode;

use super::authorized;
use crate::call::{Answer, Call, empty};
use crate::compute::crash_dump;

/// `trigger_crash_dump`
pub(crate) async fn trigger(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    crash_dump::trigger(&call.state, &call.context, instance).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
