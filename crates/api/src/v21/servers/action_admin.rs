//! The actions `lock`, `unlock`, `os-resetState` and `injectNetworkInfo`

use axum::http::StatusCode;
use kilonova_objects::VmState;

use super::{authorized, target};
use crate::call::{Answer, Call, empty};
use crate::compute::{network_info, update};

/// `lock`
pub(crate) async fn lock(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    // Before 2.73 the schema lets anything through, and nothing of it counts.
    let reason = call.since(crate::versions::V2_73).then(|| call.body["lock"]["locked_reason"].as_str()).flatten();
    update::lock(&call.state, &call.context, &instance, reason).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// `unlock`
pub(crate) async fn unlock(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    if !update::is_expected_locked_by(&call.context, &instance) {
        call.require("os_compute_api:os-lock-server:unlock:unlock_override", target(&instance))?;
    }
    update::unlock(&call.state, &call.context, &instance).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// `os-resetState`
pub(crate) async fn reset_state(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let is_active = call.body["os-resetState"]["state"] == "active";
    let state = if is_active { VmState::Active } else { VmState::Error };
    update::reset_state(&call.state, &call.context, &instance, state).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// `injectNetworkInfo`
pub(crate) async fn inject_network_info(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    network_info::inject(&call.state, &call.context, instance).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
