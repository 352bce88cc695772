//! The actions `rescue` and `unrescue`

use axum::http::StatusCode;
use serde_json::json;

use super::authorized;
use crate::call::{Answer, Call, empty, ok};
use crate::compute::create::generate_password;
use crate::compute::rescue::{self, Rescue};
use crate::versions::V2_87;

/// `rescue`: answers at once, and yet with 200.
pub(crate) async fn rescue(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let asked = &call.body["rescue"];
    let password = match asked["adminPass"].as_str() {
        Some(password) => password.to_owned(),
        None => generate_password(call.state.config.password_length)?,
    };
    let wanted = Rescue {
        password: password.clone(),
        image_ref: asked["rescue_image_ref"].as_str(),
        allows_volume: call.since(V2_87),
    };
    Box::pin(rescue::rescue(&call.state, &call.context, instance, wanted)).await?;
    if call.state.config.enable_instance_password { ok(&json!({"adminPass": password})) } else { ok(&json!({})) }
}

/// `unrescue`
pub(crate) async fn unrescue(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    rescue::unrescue(&call.state, &call.context, instance).await?;
    Ok(empty(StatusCode::ACCEPTED))
}
