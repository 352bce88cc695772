//! A network for a project that has none: with a subnet, and a router to the default external network. Compute asks for
//! it where a server is to have a network "automatically".

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use kilonova_core::RequestContext;
use kilonova_db::network::{AutoAllocatedTopologyRow, NetworkRow, auto_allocated as rows, networks as network_rows};
use serde_json::{Value, json};
use uuid::Uuid;

use super::attributes::Attributes;
use super::error::NetworkError;
use super::listing::values;
use super::router_interfaces::{self, Wanted};
use super::routes::Kind;
use super::{BuiltinNetwork, ensure_owner, networks, owns, routers, subnets};

const NETWORK: &str = "auto_allocated_network";
const SUBNET: &str = "auto_allocated_subnet_v4";
const ROUTER: &str = "auto_allocated_router";
/// Networks of projects do not meet, so that each may have the same addresses.
const CIDR: &str = "10.0.0.0/22";

/// `GET /v2.0/auto-allocated-topology/{project_id}`: makes it where it is not there. With `fields=dry-run`, only says
/// whether that would work.
pub(super) async fn show(
    State(service): State<Arc<BuiltinNetwork>>,
    Extension(context): Extension<RequestContext>,
    Path(project_id): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, NetworkError> {
    let project_id = own(&context, &project_id)?;
    let id = if values(&pairs, "fields").contains(&"dry-run") {
        service.default_external_network().await?;
        "dry-run=pass".to_owned()
    } else {
        ensure_owner(&context, project_id, "get_auto_allocated_topology")?;
        service.auto_allocate(project_id).await?.to_string()
    };
    Ok(Json(json!({"auto_allocated_topology": {"id": id, "tenant_id": project_id, "project_id": project_id}})))
}

/// `DELETE /v2.0/auto-allocated-topology/{project_id}`
pub(super) async fn delete(
    State(service): State<Arc<BuiltinNetwork>>,
    Extension(context): Extension<RequestContext>,
    Path(project_id): Path<String>,
) -> Result<StatusCode, NetworkError> {
    let project_id = own(&context, &project_id)?;
    ensure_owner(&context, project_id, "delete_auto_allocated_topology")?;
    service.db.retry(|| service.remove_topology(project_id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn own<'a>(context: &RequestContext, project_id: &'a str) -> Result<&'a str, NetworkError> {
    let project_id = project_id.trim_end_matches(".json");
    if owns(context, project_id) { Ok(project_id) } else { Err(NetworkError::forbidden("get_auto_allocated_topology")) }
}

impl BuiltinNetwork {
    /// What an automatic network leads to.
    pub(super) async fn default_external_network(&self) -> Result<NetworkRow, NetworkError> {
        let none = || {
            let text = "Deployment error: No default router:external network.";
            NetworkError::conflict("AutoAllocationFailure", text)
        };
        network_rows::get_default(self.db.read()).await?.ok_or_else(none)
    }

    /// The network that the project gets, or got before.
    pub(super) async fn auto_allocate(&self, project_id: &str) -> Result<Uuid, NetworkError> {
        if let Some(row) = rows::get(self.db.read(), project_id).await? {
            return Ok(row.network_id);
        }
        let external = self.default_external_network().await?;
        self.db.retry_idempotent(|| self.make_topology(project_id, external.id)).await
    }

    async fn make_topology(&self, project_id: &str, external_id: Uuid) -> Result<Uuid, NetworkError> {
        let context = RequestContext::new("", project_id).elevated();
        let tx = self.db.begin().await?;
        if let Some(row) = rows::get(&tx, project_id).await? {
            return Ok(row.network_id);
        }
        let network = Attributes::for_create(Kind::Network, &context, &json!({"name": NETWORK}))?;
        let network_id = networks::create(&tx, &context, &network).await?;
        let subnet = json!({"name": SUBNET, "network_id": network_id, "ip_version": 4, "cidr": CIDR});
        let subnet = Attributes::for_create(Kind::Subnet, &context, &subnet)?;
        let subnet_id = subnets::create(&tx, &context, &subnet).await?;
        let router = json!({"name": ROUTER, "external_gateway_info": {"network_id": external_id}});
        let router = Attributes::for_create(Kind::Router, &context, &router)?;
        let router_id = self.create_router(&tx, &context, &router).await?;
        self.add_interface_in(&tx, &context, router_id, Wanted::Subnet(subnet_id)).await?;
        let row = AutoAllocatedTopologyRow { project_id: project_id.to_owned(), network_id, router_id };
        rows::insert(&tx, &row).await?;
        tx.commit().await?;
        Ok(network_id)
    }

    async fn remove_topology(&self, project_id: &str) -> Result<(), NetworkError> {
        let context = RequestContext::new("", project_id).elevated();
        let tx = self.db.begin().await?;
        let Some(row) = rows::get(&tx, project_id).await? else { return Ok(()) };
        router_interfaces::remove_all(&tx, row.router_id).await?;
        routers::delete(&tx, &context, row.router_id).await?;
        networks::delete(&tx, &context, row.network_id).await?;
        rows::delete(&tx, project_id).await?;
        Ok(tx.commit().await?)
    }
}
