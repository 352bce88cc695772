//! `/os-floating-ips` and `/os-floating-ip-pools`: the network service's, for clients of old (to 2.35).

pub(crate) mod known;

use axum::http::StatusCode;
use kilonova_clients::neutron::floating_ips::{self, FloatingIp};
use kilonova_clients::neutron::networks;
use serde_json::{Value, json};

use crate::call::{Answer, Call, empty, ok};
use crate::compute;
use crate::error::ApiError;

/// `GET /os-floating-ip-pools`
pub(crate) async fn pools(call: Call) -> Answer {
    call.authorize_own()?;
    let pools = networks::external(&*call.state.clients.network, &call.context).await?;
    let shown: Vec<Value> = pools.iter().map(|pool| json!({"name": pool.or_id()})).collect();
    ok(&json!({"floating_ip_pools": shown}))
}

/// `GET /os-floating-ips`
pub(crate) async fn index(call: Call) -> Answer {
    call.authorize_own()?;
    let found = floating_ips::list(&*call.state.clients.network, &call.context).await?;
    ok(&json!({"floating_ips": found.iter().map(view).collect::<Vec<_>>()}))
}

/// `GET /os-floating-ips/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    call.authorize_own()?;
    let found = known::by_id(&call.state, &call.context, call.param("id")).await?;
    ok(&json!({"floating_ip": view(&found)}))
}

/// `POST /os-floating-ips`
pub(crate) async fn create(call: Call) -> Answer {
    call.authorize_own()?;
    let made = known::allocate(&call.state, &call.context, call.body["pool"].as_str()).await?;
    ok(&json!({"floating_ip": view(&made)}))
}

/// `DELETE /os-floating-ips/{id}`
pub(crate) async fn delete(call: Call) -> Answer {
    call.authorize_own()?;
    let found = known::by_id(&call.state, &call.context, call.param("id")).await?;
    if let Some(server) = &found.server_id {
        compute::get::get(&call.state, &call.context, server).await?;
    }
    known::release(&call.state, &call.context, &found).await.map_err(|error| match error {
        ApiError::NotFound(_) => ApiError::NotFound(format!("Floating IP not found for address {}.", found.address)),
        other => other,
    })?;
    Ok(empty(StatusCode::ACCEPTED))
}

fn view(floating_ip: &FloatingIp) -> Value {
    json!({
        "fixed_ip": floating_ip.fixed_address,
        "id": floating_ip.id,
        "instance_id": floating_ip.server_id,
        "ip": floating_ip.address,
        "pool": floating_ip.pool,
    })
}
