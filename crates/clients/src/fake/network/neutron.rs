//! Neutron's verbs on the fake's networks, ports, groups and floating addresses.

use async_trait::async_trait;
use kilonova_core::RequestContext;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{FakeNetwork, FakePort, State};
use crate::ClientError;
use crate::network::{Network, SecurityGroup};
use crate::neutron::{Collection, Filters, Neutron};

#[async_trait]
impl Neutron for FakeNetwork {
    async fn list_resources(
        &self,
        context: &RequestContext,
        collection: Collection,
        filters: Filters<'_>,
    ) -> Result<Vec<Value>, ClientError> {
        let mut state = self.lock();
        if collection == Collection::SecurityGroups {
            state.groups_of(context.project_id());
        }
        let mut found = state.visible(context, collection);
        found.retain(|item| matches(item, filters));
        Ok(found)
    }

    async fn show_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        id: &str,
    ) -> Result<Value, ClientError> {
        self.lock().one(context, collection, id)
    }

    async fn create_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        item: Value,
    ) -> Result<Value, ClientError> {
        let mut state = self.lock();
        let id = match collection {
            Collection::SecurityGroups => state.add_group(context, &item),
            Collection::SecurityGroupRules => state.add_rule(context, item)?,
            Collection::FloatingIps => state.add_floating_ip(context, &item)?,
            Collection::Networks | Collection::Subnets | Collection::Ports => return Err(unsupported()),
        };
        state.one(context, collection, &id.to_string())
    }

    async fn update_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        id: Uuid,
        item: Value,
    ) -> Result<Value, ClientError> {
        let mut state = self.lock();
        state.one(context, collection, &id.to_string())?;
        match collection {
            Collection::Ports => state.update_port(id, &item)?,
            Collection::SecurityGroups => state.update_group(id, &item)?,
            Collection::FloatingIps => state.update_floating_ip(id, &item)?,
            Collection::Networks | Collection::Subnets | Collection::SecurityGroupRules => return Err(unsupported()),
        }
        state.one(context, collection, &id.to_string())
    }

    async fn delete_resource(
        &self,
        context: &RequestContext,
        collection: Collection,
        id: Uuid,
    ) -> Result<(), ClientError> {
        let mut state = self.lock();
        state.one(context, collection, &id.to_string())?;
        match collection {
            Collection::SecurityGroups => state.delete_group(id)?,
            Collection::SecurityGroupRules => state.rules.retain(|rule| rule["id"] != json!(id)),
            Collection::FloatingIps => state.floating_ips.retain(|floating| floating["id"] != json!(id)),
            Collection::Networks | Collection::Subnets | Collection::Ports => return Err(unsupported()),
        }
        Ok(())
    }
}

fn unsupported() -> ClientError {
    ClientError::BadRequest("the fake does not do that".to_owned())
}

/// Values of one name are alternatives; different names must all hold.
fn matches(item: &Value, filters: Filters<'_>) -> bool {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    };
    let has = |name: &str| {
        let actual = text(&item[name]);
        filters.iter().any(|(known, wanted)| *known == name && *wanted == actual)
    };
    filters.iter().all(|(name, _)| has(name))
}

impl State {
    /// What the caller sees of a collection, oldest first.
    fn visible(&self, context: &RequestContext, collection: Collection) -> Vec<Value> {
        let mut items: Vec<Value> = match collection {
            Collection::Networks => self.networks.iter().map(network_view).collect(),
            Collection::Subnets => self.networks.iter().flat_map(subnet_views).collect(),
            Collection::Ports => self.ports.iter().map(|port| self.port_view(port)).collect(),
            Collection::SecurityGroups => self.groups.values().flatten().map(|group| self.group_view(group)).collect(),
            Collection::SecurityGroupRules => self.rules.clone(),
            Collection::FloatingIps => self.floating_ips.clone(),
        };
        items.retain(|item| {
            context.is_admin
                || item["tenant_id"] == context.project_id()
                || item["shared"] == true
                || item["router:external"] == true
        });
        items
    }

    fn one(&self, context: &RequestContext, collection: Collection, id: &str) -> Result<Value, ClientError> {
        let found = self.visible(context, collection).into_iter().find(|item| item["id"] == id);
        found.ok_or_else(|| ClientError::not_found(collection.resource(), id))
    }

    fn port_view(&self, port: &FakePort) -> Value {
        let port = &port.port;
        let network = self.networks.iter().find(|network| network.id == port.network_id);
        let subnet = network.and_then(|network| network.subnet_ids.first());
        let fixed_ips = port.fixed_ips.iter().map(|address| json!({"subnet_id": subnet, "ip_address": address}));
        json!({
            "id": port.id,
            "network_id": port.network_id,
            "tenant_id": port.project_id,
            "mac_address": port.mac_address,
            "device_id": port.device_id,
            "status": if port.device_id.is_empty() { "DOWN" } else { "ACTIVE" },
            "fixed_ips": fixed_ips.collect::<Vec<_>>(),
            "security_groups": self.port_groups.get(&port.id).cloned().unwrap_or_default(),
            "port_security_enabled": network.is_none_or(|network| network.port_security_enabled),
        })
    }

    fn group_view(&self, group: &SecurityGroup) -> Value {
        let rules = self.rules.iter().filter(|rule| rule["security_group_id"] == json!(group.id));
        json!({
            "id": group.id,
            "name": group.name,
            "tenant_id": group.project_id,
            "description": self.descriptions.get(&group.id).cloned().unwrap_or_default(),
            "security_group_rules": rules.collect::<Vec<_>>(),
        })
    }

    fn group_mut(&mut self, id: Uuid) -> Result<&mut SecurityGroup, ClientError> {
        let mut groups = self.groups.values_mut().flatten();
        groups.find(|group| group.id == id).ok_or_else(|| ClientError::not_found("security group", id))
    }

    fn add_group(&mut self, context: &RequestContext, item: &Value) -> Uuid {
        let (id, project_id) = (Uuid::new_v4(), context.project_id().to_owned());
        let name = text(&item["name"]);
        self.groups_of(&project_id).push(SecurityGroup { id, name, project_id });
        self.descriptions.insert(id, text(&item["description"]));
        id
    }

    fn update_group(&mut self, id: Uuid, item: &Value) -> Result<(), ClientError> {
        let group = self.group_mut(id)?;
        if group.name == "default" && item["name"] != "default" {
            return Err(ClientError::Conflict("Updating default security group not allowed.".to_owned()));
        }
        group.name = text(&item["name"]);
        self.descriptions.insert(id, text(&item["description"]));
        Ok(())
    }

    fn delete_group(&mut self, id: Uuid) -> Result<(), ClientError> {
        if self.port_groups.values().any(|groups| groups.contains(&id)) {
            return Err(ClientError::Conflict(format!("Security Group {id} in use.")));
        }
        for groups in self.groups.values_mut() {
            groups.retain(|group| group.id != id);
        }
        self.rules.retain(|rule| rule["security_group_id"] != json!(id));
        Ok(())
    }

    fn add_rule(&mut self, context: &RequestContext, mut rule: Value) -> Result<Uuid, ClientError> {
        let group = text(&rule["security_group_id"]);
        let group = self.one(context, Collection::SecurityGroups, &group)?;
        let id = Uuid::new_v4();
        rule["id"] = json!(id);
        rule["tenant_id"] = group["tenant_id"].clone();
        self.rules.push(rule);
        Ok(id)
    }

    fn update_port(&mut self, id: Uuid, item: &Value) -> Result<(), ClientError> {
        if let Some(groups) = item["security_groups"].as_array() {
            let ids = groups.iter().filter_map(|group| group.as_str()?.parse().ok()).collect();
            self.port_groups.insert(id, ids);
        }
        let Some(wanted) = item["fixed_ips"].as_array() else { return Ok(()) };
        let position = self.ports.iter().position(|port| port.port.id == id);
        let position = position.ok_or_else(|| ClientError::not_found("port", id))?;
        let network_id = self.ports[position].port.network_id;
        let address = |state: &mut Self, wanted: &Value| match wanted["ip_address"].as_str() {
            Some(address) => address.to_owned(),
            None => state.next_address(network_id).1,
        };
        let fixed_ips = wanted.iter().map(|wanted| address(self, wanted)).collect();
        self.ports[position].port.fixed_ips = fixed_ips;
        Ok(())
    }

    fn add_floating_ip(&mut self, context: &RequestContext, item: &Value) -> Result<Uuid, ClientError> {
        let network = text(&item["floating_network_id"]);
        self.one(context, Collection::Networks, &network)?;
        if self.floating_ips_left == Some(0) {
            return Err(ClientError::Conflict(format!("No more IP addresses available on network {network}.")));
        }
        self.floating_ips_left = self.floating_ips_left.map(|left| left - 1);
        let id = Uuid::new_v4();
        self.floating_ips.push(json!({
            "id": id,
            "tenant_id": context.project_id(),
            "floating_network_id": network,
            "floating_ip_address": format!("172.24.4.{}", self.floating_ips.len() + 10),
            "port_id": null,
            "fixed_ip_address": null,
        }));
        Ok(id)
    }

    fn update_floating_ip(&mut self, id: Uuid, item: &Value) -> Result<(), ClientError> {
        let fixed = if item["port_id"].is_null() { Value::Null } else { item["fixed_ip_address"].clone() };
        let taken = |other: &Value| !fixed.is_null() && other["fixed_ip_address"] == fixed && other["id"] != json!(id);
        if self.floating_ips.iter().any(taken) {
            return Err(ClientError::Conflict(format!("Cannot associate floating IP {id}: the fixed IP has one.")));
        }
        for floating in self.floating_ips.iter_mut().filter(|floating| floating["id"] == json!(id)) {
            floating["port_id"] = item["port_id"].clone();
            floating["fixed_ip_address"] = fixed.clone();
        }
        Ok(())
    }
}

fn network_view(network: &Network) -> Value {
    json!({
        "id": network.id,
        "name": network.name,
        "tenant_id": network.project_id,
        "shared": network.is_shared,
        "router:external": network.is_external,
        "subnets": network.subnet_ids,
    })
}

fn subnet_views(network: &Network) -> impl Iterator<Item = Value> {
    network.subnet_ids.iter().map(
        |id| json!({"id": id, "network_id": network.id, "tenant_id": network.project_id, "shared": network.is_shared}),
    )
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
