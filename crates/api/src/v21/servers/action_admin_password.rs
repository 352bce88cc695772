//! The action `changePassword`

use axum::http::StatusCode;

use super::authorized;
use crate::call::{Answer, Call, empty};
use crate::compute::admin_password;

/// `changePassword`
pub(crate) async fn change_password(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let password = call.body["changePassword"]["adminPass"].as_str().unwrap_or_default().to_owned();
    admin_password::set(&call.state, &call.context, instance, password).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
