//! `/os-hosts`, up to 2.42.

use serde_json::{Map, Value, json};

use crate::call::{Answer, Call, ok};
use crate::compute::{ComputeError, availability_zones, hosts, services};
use crate::error::ApiError;
use crate::policy::Target;
use crate::views::hosts::{Service, resources};

/// `GET /os-hosts`
pub(crate) async fn index(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let zones = availability_zones::read(&call.state).await?;
    let wanted = call.query.get("zone").filter(|zone| !zone.is_empty());
    let services = services::list(&call.state, None, None).await?;
    let enabled = services.iter().filter(|service| !service.disabled);
    let shown = enabled.map(|service| Service::new(service, zones.of(service)));
    let shown: Vec<_> = shown.filter(|service| wanted.is_none_or(|zone| service.zone == zone)).collect();
    ok(&json!({"hosts": shown}))
}

/// `GET /os-hosts/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let host = call.param("id");
    let (node, servers) = hosts::resources(&call.state, host).await?;
    ok(&json!({"host": resources(host, &node, &servers)}))
}

/// `PUT /os-hosts/{id}`
pub(crate) async fn update(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let host = call.param("id");
    let mut answer = Map::from_iter([("host".to_owned(), json!(host))]);
    if let Some(enabled) = is_enable(&call.body["status"]) {
        let status = hosts::set_enabled(&call.state, &call.context, host, enabled).await.map_err(refused)?;
        answer.insert("status".to_owned(), json!(one_of(&["enabled", "disabled"], status)?));
    }
    if let Some(mode) = is_enable(&call.body["maintenance_mode"]) {
        let mode = hosts::set_maintenance(&call.state, &call.context, host, mode).await.map_err(refused)?;
        answer.insert("maintenance_mode".to_owned(), json!(one_of(&["on_maintenance", "off_maintenance"], mode)?));
    }
    ok(&answer)
}

/// `GET /os-hosts/{id}/startup`
pub(crate) async fn startup(call: Call) -> Answer {
    power_action(call, "startup").await
}

/// `GET /os-hosts/{id}/shutdown`
pub(crate) async fn shutdown(call: Call) -> Answer {
    power_action(call, "shutdown").await
}

/// `GET /os-hosts/{id}/reboot`
pub(crate) async fn reboot(call: Call) -> Answer {
    power_action(call, "reboot").await
}

async fn power_action(call: Call, action: &str) -> Answer {
    call.authorize(Target::default())?;
    let host = call.param("id");
    let done = hosts::power_action(&call.state, &call.context, host, action).await.map_err(refused)?;
    ok(&json!({"host": host, "power_action": done}))
}

/// `None` where it is not asked for.
fn is_enable(value: &Value) -> Option<bool> {
    Some(value.as_str()?.eq_ignore_ascii_case("enable"))
}

/// Anything else that a driver says is why it did not.
fn one_of(expected: &[&str], said: String) -> Result<String, ApiError> {
    if expected.contains(&said.as_str()) { Ok(said) } else { Err(ApiError::BadRequest(said)) }
}

fn refused(error: ComputeError) -> ApiError {
    match error {
        ComputeError::Rpc(error) if error.is("NotImplementedError") => {
            ApiError::NotImplemented("The requested functionality is not supported.".to_owned())
        }
        other => other.into(),
    }
}
