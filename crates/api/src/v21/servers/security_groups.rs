//! `/servers/{server_id}/os-security-groups`, and the actions `addSecurityGroup` and `removeSecurityGroup`

use std::collections::BTreeSet;

use axum::http::StatusCode;
use kilonova_clients::ClientError;
use kilonova_clients::neutron::ports::{self, ServerPort};
use kilonova_clients::neutron::security_groups::{self, SecurityGroup};
use kilonova_db::instances::{self, Save};
use kilonova_objects::{Instance, SecurityGroup as ServerGroup, SecurityGroupList, Wire as _};
use serde_json::{Map, json};
use uuid::Uuid;

use super::authorized;
use crate::call::{Answer, Call, empty, ok};
use crate::error::ApiError;
use crate::views::security_groups::Groups;

/// `GET /servers/{server_id}/os-security-groups`: the groups of the server's ports.
pub(crate) async fn index(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let (network, context) = (&*call.state.clients.network, &*call.context);
    let ports = ports::of_server(network, context, instance.uuid).await?;
    let ids: BTreeSet<Uuid> = ports.into_iter().flat_map(|port| port.security_groups).collect();
    let found = security_groups::get_many(network, context, &ids).await?;
    let groups = Groups::look_up(network, context, &found).await?;
    ok(&json!({"security_groups": groups.views()}))
}

/// `addSecurityGroup`: to every port of the server.
pub(crate) async fn add(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let group = named(&call, "addSecurityGroup").await?;
    let ports = ports_of(&call, &instance).await?;
    for port in &ports {
        if !port.takes_security_groups() {
            let message =
                "Network requires port_security_enabled and subnet associated in order to apply security groups.";
            return Err(ApiError::BadRequest(message.to_owned()));
        }
        let mut groups = port.security_groups.clone();
        if !groups.contains(&group.id) {
            groups.push(group.id);
        }
        set(&call, port, &groups).await?;
    }
    let mut shown = instance.security_groups.objects.clone();
    if !shown.iter().any(|known| is_it(known, &group)) {
        shown.push(ServerGroup { name: group.name, uuid: Some(group.id), ..ServerGroup::default() });
    }
    show_groups(&call, &instance, shown).await
}

/// `removeSecurityGroup`: from every port of the server that has it.
pub(crate) async fn remove(call: Call) -> Answer {
    let instance = authorized(&call).await?;
    let group = named(&call, "removeSecurityGroup").await?;
    let ports = ports_of(&call, &instance).await?;
    let with_it: Vec<&ServerPort> = ports.iter().filter(|port| port.security_groups.contains(&group.id)).collect();
    if with_it.is_empty() {
        let (name, uuid) = (name(&call, "removeSecurityGroup")?, instance.uuid);
        let message = format!("Security group {name} not associated with the instance {uuid}");
        return Err(ApiError::NotFound(message));
    }
    for port in with_it {
        let groups: Vec<Uuid> = port.security_groups.iter().copied().filter(|id| *id != group.id).collect();
        set(&call, port, &groups).await?;
    }
    let mut shown = instance.security_groups.objects.clone();
    shown.retain(|known| !is_it(known, &group));
    show_groups(&call, &instance, shown).await
}

/// What the body calls the group.
fn name<'a>(call: &'a Call, action: &str) -> Result<&'a str, ApiError> {
    let name = call.body[action]["name"].as_str().unwrap_or_default();
    if name.trim().is_empty() {
        return Err(ApiError::BadRequest("Security group name cannot be empty".to_owned()));
    }
    Ok(name)
}

/// The group of the caller's project that the body means, by id or by name.
async fn named(call: &Call, action: &str) -> Result<SecurityGroup, ApiError> {
    let name = name(call, action)?;
    let project_id = call.context.project_id();
    let known = security_groups::list(&*call.state.clients.network, &call.context, Some(project_id)).await?;
    if let Some(group) = known.iter().find(|group| group.id.to_string() == name) {
        return Ok(group.clone());
    }
    let mut found = known.into_iter().filter(|group| group.name == name);
    match (found.next(), found.next()) {
        (Some(group), None) => Ok(group),
        (None, _) => Err(ApiError::NotFound(format!("Security group {name} is not found for project {project_id}"))),
        _ => Err(ApiError::Conflict(format!(
            "Multiple security_group matches found for name '{name}', use an ID to be more specific."
        ))),
    }
}

async fn ports_of(call: &Call, instance: &Instance) -> Result<Vec<ServerPort>, ApiError> {
    let uuid = instance.uuid;
    let ports = ports::of_server(&*call.state.clients.network, &call.context, uuid).await?;
    if ports.is_empty() {
        let message = format!("instance_id {uuid} could not be found as device id on any ports");
        return Err(ApiError::NotFound(message));
    }
    Ok(ports)
}

async fn set(call: &Call, port: &ServerPort, groups: &[Uuid]) -> Result<(), ApiError> {
    let updated = ports::set_security_groups(&*call.state.clients.network, &call.context, port.id, groups).await;
    updated.map_err(|error| match error {
        ClientError::NotFound { id, .. } => ApiError::NotFound(format!("Port id {id} could not be found.")),
        other => other.into(),
    })
}

/// `default` is known by its name alone until the network service has made it.
fn is_it(known: &ServerGroup, group: &SecurityGroup) -> bool {
    known.uuid.map_or(known.name == group.name, |uuid| uuid == group.id)
}

/// What lists of servers show, without asking the network service.
async fn show_groups(call: &Call, instance: &Instance, shown: Vec<ServerGroup>) -> Answer {
    let changes = Map::from_iter([("security_groups".to_owned(), SecurityGroupList::from(shown).to_wire())]);
    let save = Save { uuid: instance.uuid, changes: &changes, expected_vm_state: None, expected_task_state: None };
    match instances::save(&call.state.db, save).await {
        Ok(_) => Ok(empty(StatusCode::ACCEPTED)),
        Err(instances::SaveError::Db(error)) => Err(error.into()),
        Err(other) => Err(ApiError::internal(other)),
    }
}
