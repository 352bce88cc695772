//! The actions `os-start`, `os-stop` and `reboot`

use axum::http::StatusCode;

use super::authorized;
use crate::call::{Answer, Call, empty};
use crate::compute::power;

/// `os-start`
pub(crate) async fn start(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    power::start(&call.state, &call.context, instance).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// `os-stop`
pub(crate) async fn stop(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    power::stop(&call.state, &call.context, instance).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// `reboot`
pub(crate) async fn reboot(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let is_hard = call.body["reboot"]["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("hard"));
    power::reboot(&call.state, &call.context, instance, is_hard).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
