//! Hypervisors with the compute service that runs them, and the servers on them.

use std::collections::BTreeMap;

use kilonova_db::instances::{Expand, InstanceQuery};
use kilonova_db::{DbError, compute_nodes, instances, services};
use kilonova_objects::{ComputeNode, Service};
use uuid::Uuid;

use super::ComputeError;
use super::services::COMPUTE;
use crate::state::ApiState;

/// A hypervisor.
#[derive(Clone, Debug)]
pub(crate) struct Hypervisor {
    pub(crate) node: ComputeNode,
    pub(crate) service: Service,
    /// If asked for: the servers on its host, by uuid and by the name that the hypervisor knows.
    pub(crate) servers: Option<Vec<(Uuid, String)>>,
}

/// A hypervisor by uuid, or by the row id that the API showed before 2.53.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HypervisorId {
    Uuid(Uuid),
    Row(i64),
}

/// Every hypervisor.
pub(crate) async fn list(state: &ApiState, with_servers: bool) -> Result<Vec<Hypervisor>, ComputeError> {
    let nodes = compute_nodes::list(&state.db).await?;
    whole(state, nodes, with_servers).await
}

/// Those whose name contains `pattern`; that there is none is an error.
pub(crate) async fn search(
    state: &ApiState,
    pattern: &str,
    with_servers: bool,
) -> Result<Vec<Hypervisor>, ComputeError> {
    let nodes = compute_nodes::search(&state.db, pattern).await?;
    if nodes.is_empty() {
        return Err(ComputeError::NoHypervisorMatching { pattern: pattern.to_owned() });
    }
    whole(state, nodes, with_servers).await
}

/// One hypervisor.
pub(crate) async fn get(state: &ApiState, id: HypervisorId, with_servers: bool) -> Result<Hypervisor, ComputeError> {
    let (found, id) = match id {
        HypervisorId::Uuid(uuid) => (compute_nodes::get(&state.db, uuid).await, uuid.to_string()),
        HypervisorId::Row(row) => (compute_nodes::get_by_id(&state.db, row).await, row.to_string()),
    };
    let node = match found {
        Ok(node) => node,
        Err(DbError::NotFound { .. }) => return Err(ComputeError::HypervisorNotFound { id }),
        Err(error) => return Err(error.into()),
    };
    let mut whole = whole(state, vec![node], with_servers).await?;
    whole.pop().ok_or(ComputeError::HypervisorNotFound { id })
}

/// One whose compute service was deleted does not count any more.
async fn whole(state: &ApiState, nodes: Vec<ComputeNode>, with_servers: bool) -> Result<Vec<Hypervisor>, ComputeError> {
    let services = services::list(&state.db, Some(COMPUTE), None).await?;
    let services: BTreeMap<String, Service> =
        services.into_iter().filter_map(|service| Some((service.host.clone()?, service))).collect();
    let servers = if with_servers { Some(servers_by_host(state, &nodes).await?) } else { None };
    let with_service = nodes.into_iter().filter_map(|node| {
        let host = node.host.as_deref()?;
        let service = services.get(host)?.clone();
        let servers = servers.as_ref().map(|servers| servers.get(host).cloned().unwrap_or_default());
        Some(Hypervisor { node, service, servers })
    });
    Ok(with_service.collect())
}

type ByHost = BTreeMap<String, Vec<(Uuid, String)>>;

/// One query, however many hosts there are.
async fn servers_by_host(state: &ApiState, nodes: &[ComputeNode]) -> Result<ByHost, ComputeError> {
    let only = if let [node] = nodes { node.host.clone() } else { None };
    let query =
        InstanceQuery { host: only, with: Expand { metadata: false, faults: false }, ..InstanceQuery::default() };
    let mut servers = ByHost::new();
    for instance in instances::list(&state.db, &query).await? {
        if let Some(host) = instance.host.clone().filter(|host| !host.is_empty()) {
            servers.entry(host).or_default().push((instance.uuid, instance.name()));
        }
    }
    Ok(servers)
}
