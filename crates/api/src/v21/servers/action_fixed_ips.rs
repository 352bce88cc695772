//! The actions `addFixedIp` and `removeFixedIp` (to 2.43)

use axum::http::StatusCode;

use super::authorized;
use crate::call::{Answer, Call, empty};
use crate::compute::interfaces;

/// `addFixedIp`
pub(crate) async fn add(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let network_id = &call.body["addFixedIp"]["networkId"];
    let network_id = network_id.as_str().map_or_else(|| network_id.to_string(), str::to_owned);
    interfaces::add_fixed_ip(&call.state, &call.context, instance, network_id).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// `removeFixedIp`
pub(crate) async fn remove(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let address = call.body["removeFixedIp"]["address"].as_str().unwrap_or_default().to_owned();
    interfaces::remove_fixed_ip(&call.state, &call.context, instance, address).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
