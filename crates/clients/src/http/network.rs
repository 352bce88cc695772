//! Neutron: the ports of servers, and what the caller may use of networks and security groups.
//!
//! A port that a server has carries a mark in its `binding:profile`, which only services may write: whether it was made
//! for the server or given to it. Neutron does not know, and it decides what happens when the server goes. The mark is
//! also how this service tells its ports from those of another cloud that shares the Neutron.

mod allocate;
mod resources;
mod wire;

use async_trait::async_trait;
use futures::future::{join_all, try_join};
use kilonova_core::{Config, RequestContext};
use kilonova_objects::network_model::Vif;
use reqwest::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use self::wire::{Mark, NetworkBody, PortBody, SecurityGroupBody};
use super::adapter::{Adapter, By, Call, Kind};
use super::answer::Failure;
use super::options::HttpConfigError;
use super::session::Sessions;
use crate::ClientError;
use crate::network::{Network, NetworkService, Port, PortRequest, SecurityGroup};

const KIND: Kind = Kind {
    service: "network",
    section: "neutron",
    service_type: "network",
    retries_option: Some("http_retries"),
    version: Some("v2.0"),
    header: None,
};
/// What the ports of a server are of.
const COMPUTE_OWNER: &str = "compute:nova";
/// Ports in one answer, where all are listed.
const PAGE: usize = 1000;

/// Networks over HTTP.
pub struct HttpNetwork {
    adapter: Adapter,
}

impl HttpNetwork {
    /// From `[neutron]`.
    pub fn from_config(config: &Config, sessions: &mut Sessions) -> Result<Self, HttpConfigError> {
        Ok(Self { adapter: Adapter::from_config(config, sessions, KIND)? })
    }

    /// Everything that a list has, page by page where Neutron makes pages. `key` is the collection's in the body.
    async fn list<T: DeserializeOwned>(
        &self,
        context: &RequestContext,
        call: Call,
        key: &str,
    ) -> Result<Vec<T>, ClientError> {
        self.pages(context, call, key, |failure| failure.other(KIND.service)).await
    }

    /// The same; `refused` is what a refusal means.
    async fn pages<T: DeserializeOwned>(
        &self,
        context: &RequestContext,
        call: Call,
        key: &str,
        refused: impl Fn(Failure) -> ClientError,
    ) -> Result<Vec<T>, ClientError> {
        let mut found = Vec::new();
        let mut page = call.clone();
        loop {
            let answer = self.adapter.send(context, &page).await?;
            let mut body = answer.ok().map_err(&refused)?;
            let Value::Array(items) = body[key].take() else {
                return Err(ClientError::unavailable(KIND.service, format!("a list without {key}")));
            };
            let marker = items.last().and_then(|item| item["id"].as_str()).map(str::to_owned);
            for item in items {
                found.push(parse(item)?);
            }
            let links = body[format!("{key}_links")].as_array();
            let has_more = links.is_some_and(|links| links.iter().any(|link| link["rel"] == "next"));
            match marker.filter(|_| has_more) {
                // The link itself is not followed: it may name a host that is only reached from elsewhere.
                Some(marker) => page = call.clone().query("marker", marker),
                None => return Ok(found),
            }
        }
    }

    /// The ports whose `device_id` is the server's, whoever made them.
    async fn ports_of(&self, context: &RequestContext, instance_uuid: Uuid) -> Result<Vec<PortBody>, ClientError> {
        self.list(context, Call::get(&["ports"]).query("device_id", instance_uuid).by(By::Service), "ports").await
    }

    async fn update_port(&self, context: &RequestContext, id: Uuid, port: Value) -> Result<PortBody, ClientError> {
        let call = Call::put(&["ports", &id.to_string()], json!({ "port": port })).by(By::Service);
        let answer = self.adapter.send(context, &call).await?;
        let mut body = answer.ok().map_err(|failure| failure.error(KIND.service, "port", id))?;
        parse(body["port"].take())
    }

    /// One that is gone already is success.
    async fn delete_port(&self, context: &RequestContext, id: Uuid) -> Result<(), ClientError> {
        let call = Call::delete(&["ports", &id.to_string()]).by(By::Service);
        match self.adapter.send(context, &call).await?.ok() {
            Err(failure) if failure.status != StatusCode::NOT_FOUND => Err(failure.other(KIND.service)),
            _ => Ok(()),
        }
    }

    /// Takes a port from its server. One that is gone already is success.
    async fn release_port(&self, context: &RequestContext, port: &PortBody) -> Result<(), ClientError> {
        match self.update_port(context, port.id, port.released()).await {
            Ok(_) | Err(ClientError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends what a server has of a port.
    async fn let_go(&self, context: &RequestContext, port: &PortBody) -> Result<(), ClientError> {
        match (port.mark(), port.device_owner()) {
            (Some(Mark::Given), _) => self.release_port(context, port).await,
            // Without a mark and an owner: made, and not bound before the process died.
            (Some(Mark::Made), _) | (None, "") => self.delete_port(context, port.id).await,
            (None, owner) if owner.starts_with("compute:") => {
                tracing::warn!(port = %port.id, "a port that another service bound is released and not deleted");
                self.release_port(context, port).await
            }
            (None, owner) => {
                tracing::warn!(port = %port.id, owner, "a port with a server's id is not a server's: it is left alone");
                Ok(())
            }
        }
    }
}

#[async_trait]
impl NetworkService for HttpNetwork {
    async fn available_networks(&self, context: &RequestContext) -> Result<Vec<Network>, ClientError> {
        let networks = || Call::get(&["networks"]);
        let own = networks().query("tenant_id", context.project_id()).query("shared", "False");
        let shared = networks().query("shared", "True");
        let (own, shared): (Vec<NetworkBody>, Vec<NetworkBody>) =
            try_join(self.list(context, own, "networks"), self.list(context, shared, "networks")).await?;
        Ok(own.into_iter().chain(shared).map(Network::from).collect())
    }

    async fn can_auto_allocate(&self, context: &RequestContext, project_id: &str) -> Result<bool, ClientError> {
        let call = Call::get(&["auto-allocated-topology", project_id]).query("fields", "dry-run");
        match self.adapter.send(context, &call).await?.ok() {
            Ok(_) => Ok(true),
            Err(failure) if failure.status == StatusCode::CONFLICT => Ok(false),
            Err(failure) => Err(failure.other(KIND.service)),
        }
    }

    async fn auto_allocate(&self, context: &RequestContext, project_id: &str) -> Result<Uuid, ClientError> {
        let answer = self.adapter.send(context, &Call::get(&["auto-allocated-topology", project_id])).await?;
        let mut body = answer.ok().map_err(|failure| failure.error(KIND.service, "project", project_id))?;
        parse(body["auto_allocated_topology"]["id"].take())
    }

    async fn show_port(&self, context: &RequestContext, port_id: Uuid) -> Result<Port, ClientError> {
        let answer = self.adapter.send(context, &Call::get(&["ports", &port_id.to_string()])).await?;
        let mut body = answer.ok().map_err(|failure| failure.error(KIND.service, "port", port_id))?;
        let port: PortBody = parse(body["port"].take())?;
        // Without a token of the caller's own Neutron was asked by the service, which sees everything.
        if !has_token(context) && !owns(context, port.project_id()) {
            return Err(ClientError::not_found("port", port_id));
        }
        Ok(port.into())
    }

    async fn security_groups(
        &self,
        context: &RequestContext,
        project_id: &str,
    ) -> Result<Vec<SecurityGroup>, ClientError> {
        if !owns(context, project_id) {
            return Err(ClientError::Forbidden("rule:get_security_groups is disallowed by policy".to_owned()));
        }
        let call = Call::get(&["security-groups"]).query("tenant_id", project_id);
        // Neutron makes the default group of a project whose groups are listed.
        let groups: Vec<SecurityGroupBody> = self.list(context, call, "security_groups").await?;
        Ok(groups.into_iter().map(SecurityGroup::from).collect())
    }

    async fn allocate_for_instance(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        project_id: &str,
        host: &str,
        requests: &[PortRequest],
    ) -> Result<Vec<Vif>, ClientError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let server = allocate::Server { uuid: instance_uuid, project_id, host };
        self.allocate(context, &server, requests, &[]).await
    }

    async fn allocate_port_for_instance(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        project_id: &str,
        host: &str,
        request: &PortRequest,
        held: &[Uuid],
    ) -> Result<Vif, ClientError> {
        let server = allocate::Server { uuid: instance_uuid, project_id, host };
        let vifs = self.allocate(context, &server, std::slice::from_ref(request), held).await?;
        vifs.into_iter().next().ok_or_else(|| ClientError::unavailable(KIND.service, "no port was made"))
    }

    async fn deallocate_for_instance(&self, context: &RequestContext, instance_uuid: Uuid) -> Result<(), ClientError> {
        let ports = self.ports_of(context, instance_uuid).await?;
        // All are tried, whatever becomes of one.
        join_all(ports.iter().map(|port| self.let_go(context, port))).await.into_iter().collect()
    }

    async fn deallocate_port_for_instance(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        port_id: Uuid,
    ) -> Result<(), ClientError> {
        let ports = self.ports_of(context, instance_uuid).await?;
        match ports.iter().find(|port| port.id == port_id) {
            Some(port) => self.let_go(context, port).await,
            None => Ok(()),
        }
    }

    async fn instance_vifs(&self, context: &RequestContext, instance_uuid: Uuid) -> Result<Vec<Vif>, ClientError> {
        let ports = self.ports_of(context, instance_uuid).await?;
        self.vifs(context, &ports).await
    }

    async fn setup_instance_network_on_host(
        &self,
        context: &RequestContext,
        instance_uuid: Uuid,
        host: &str,
    ) -> Result<(), ClientError> {
        let ports = self.ports_of(context, instance_uuid).await?;
        let binding = json!({"binding:host_id": (!host.is_empty()).then_some(host)});
        let updates = ports.iter().map(|port| self.update_port(context, port.id, binding.clone()));
        join_all(updates).await.into_iter().try_for_each(|updated| updated.map(drop))
    }

    async fn devices_with_ports(&self, context: &RequestContext) -> Result<Vec<Uuid>, ClientError> {
        let call = Call::get(&["ports"]).query("device_owner", COMPUTE_OWNER).query("limit", PAGE).by(By::Service);
        let ports: Vec<PortBody> = self.list(context, call, "ports").await?;
        let marked = ports.iter().filter(|port| port.mark().is_some());
        let mut devices: Vec<Uuid> = marked.filter_map(|port| port.device_id().parse().ok()).collect();
        devices.sort_unstable();
        devices.dedup();
        Ok(devices)
    }
}

fn has_token(context: &RequestContext) -> bool {
    context.auth_token.as_deref().is_some_and(|token| !token.is_empty())
}

fn owns(context: &RequestContext, project_id: &str) -> bool {
    context.is_admin || (!project_id.is_empty() && context.project_id() == project_id)
}

fn parse<T: DeserializeOwned>(value: Value) -> Result<T, ClientError> {
    serde_json::from_value(value)
        .map_err(|error| ClientError::unavailable(KIND.service, format!("an answer that makes no sense: {error}")))
}
