//! The actions `suspend` and `resume`

use axum::http::StatusCode;

use super::authorized;
use crate::call::{Answer, Call, empty};
use crate::compute::suspend;

/// `suspend`
pub(crate) async fn suspend(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    suspend::suspend(&call.state, &call.context, instance).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// `resume`
pub(crate) async fn resume(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    suspend::resume(&call.state, &call.context, instance).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
