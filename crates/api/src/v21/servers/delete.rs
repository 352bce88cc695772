//! `DELETE /servers/{id}`, and the actions `forceDelete` and `restore`

use axum::http::StatusCode;

use super::authorized;
use crate::call::{Answer, Call, empty};
use crate::compute::{self, soft_delete};

/// `DELETE /servers/{id}`
pub(crate) async fn delete(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    if call.state.config.has_soft_delete {
        soft_delete::soft_delete(&call.state, &call.context, &instance).await?;
    } else {
        compute::delete::delete(&call.state, &call.context, &instance).await?;
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `forceDelete`: at once, also what was soft-deleted.
pub(crate) async fn force_delete(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    compute::delete::delete(&call.state, &call.context, &instance).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// `restore`
pub(crate) async fn restore(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    soft_delete::restore(&call.state, &call.context, instance).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
