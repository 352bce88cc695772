//! `/servers/{server_id}/ips`

use serde_json::json;

use super::authorized;
use crate::call::{Answer, Call, ok};
use crate::error::ApiError;
use crate::views::addresses::Addresses;

/// `GET /servers/{server_id}/ips`
pub(crate) async fn index(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    ok(&json!({"addresses": Addresses::of(&instance, false)}))
}

/// `GET /servers/{server_id}/ips/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let (addresses, label) = (Addresses::of(&instance, false), call.param("id"));
    let on_network = addresses
        .on(label)
        .ok_or_else(|| ApiError::NotFound("Instance is not a member of specified network".to_owned()))?;
    ok(&json!({label: on_network}))
}
