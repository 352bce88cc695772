//! `/servers/{server_id}/os-interface`

use axum::http::StatusCode;
use kilonova_clients::ClientError;
use kilonova_clients::neutron::ports::{self, ServerPort};
use kilonova_objects::Instance;
use serde_json::{Value, json};

use super::authorized;
use crate::call::{Answer, Call, empty, ok};
use crate::compute::interfaces::{self, NewInterface};
use crate::error::ApiError;
use crate::versions::V2_70;

/// `GET /servers/{server_id}/os-interface`
pub(crate) async fn index(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let ports = ports::of_server(&*call.state.clients.network, &call.context, instance.uuid).await?;
    let shown: Vec<Value> = ports.iter().map(|port| view(&call, port, tag_of(&instance, port))).collect();
    ok(&json!({"interfaceAttachments": shown}))
}

/// `GET /servers/{server_id}/os-interface/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let port = find(&call, &instance, call.param("id")).await?;
    ok(&json!({"interfaceAttachment": view(&call, &port, tag_of(&instance, &port))}))
}

/// `POST /servers/{server_id}/os-interface`
pub(crate) async fn create(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let body = &call.body["interfaceAttachment"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let new = NewInterface {
        network_id: text(&body["net_id"]),
        port_id: body["port_id"].as_str().and_then(|id| id.parse().ok()),
        fixed_ip: text(&body["fixed_ips"][0]["ip_address"]),
        tag: text(&body["tag"]),
    };
    if new.network_id.is_some() && new.port_id.is_some() {
        return Err(ApiError::BadRequest("Must not input both network_id and port_id".to_owned()));
    }
    if new.fixed_ip.is_some() && new.network_id.is_none() {
        return Err(ApiError::BadRequest("Must input network_id when request IP address".to_owned()));
    }
    let tag = new.tag.clone();
    let port = interfaces::attach(&call.state, &call.context, instance.clone(), new).await?;
    let port = find(&call, &instance, &port).await?;
    ok(&json!({"interfaceAttachment": view(&call, &port, tag)}))
}

/// `DELETE /servers/{server_id}/os-interface/{id}`
pub(crate) async fn delete(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    interfaces::detach(&call.state, &call.context, instance, call.param("id")).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// A port of the server.
async fn find(call: &Call, instance: &Instance, id: &str) -> Result<ServerPort, ApiError> {
    let found = ports::show(&*call.state.clients.network, &call.context, id).await;
    let port = found.map_err(|error| match error {
        ClientError::NotFound { .. } => ApiError::NotFound(format!("Port id {id} could not be found.")),
        other => other.into(),
    })?;
    if !port.is_of(instance.uuid) {
        let uuid = instance.uuid;
        return Err(ApiError::NotFound(format!("Instance {uuid} does not have a port with id {id}")));
    }
    Ok(port)
}

fn view(call: &Call, port: &ServerPort, tag: Option<String>) -> Value {
    let mut view = json!({
        "net_id": port.network_id,
        "port_id": port.id,
        "mac_addr": port.mac_address,
        "port_state": port.status,
        "fixed_ips": port.fixed_ips,
    });
    if call.since(V2_70) {
        view["tag"] = json!(tag);
    }
    view
}

/// The tag that the interface was plugged in with.
fn tag_of(instance: &Instance, port: &ServerPort) -> Option<String> {
    let network_info = instance.network_info();
    let vif = network_info.0.iter().find(|vif| vif.id == port.id)?;
    vif.meta.get("tag")?.as_str().map(str::to_owned)
}
