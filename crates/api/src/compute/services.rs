//! Service processes: which there are, and whether compute hosts take new servers.

use chrono::Utc;
use kilonova_clients::ClientError;
use kilonova_core::RequestContext;
use kilonova_db::instances::{Expand, InstanceQuery};
use kilonova_db::server_migrations::MigrationQuery;
use kilonova_db::{DbError, aggregates, compute_nodes, instances, server_migrations, services};
use kilonova_objects::migration::status;
use kilonova_objects::{ComputeNode, Service};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::ComputeError;
use crate::state::ApiState;

/// The binary of the compute agents, the only services that can be changed.
pub(crate) const COMPUTE: &str = "nova-compute";
/// APIs that register themselves but send no heartbeats.
const API_BINARIES: [&str; 2] = ["nova-osapi_compute", "nova-metadata"];
/// On the resource providers of a disabled compute service: the scheduler forbids it.
const COMPUTE_STATUS_DISABLED: &str = "COMPUTE_STATUS_DISABLED";

/// A service by uuid, or by the row id that the API showed before 2.53.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ServiceId {
    Uuid(Uuid),
    Row(i64),
}

/// Whether a service is an API, which sends no heartbeats.
pub(crate) fn is_api(service: &Service) -> bool {
    service.binary.as_deref().is_some_and(|binary| API_BINARIES.contains(&binary))
}

/// Whether a service is alive.
pub(crate) fn is_up(state: &ApiState, service: &Service) -> bool {
    service.is_up(Utc::now(), state.config.service_down_time_s)
}

/// The services but the APIs.
pub(crate) async fn list(
    state: &ApiState,
    host: Option<&str>,
    binary: Option<&str>,
) -> Result<Vec<Service>, ComputeError> {
    let mut found = services::list(&state.db, binary, host).await?;
    found.retain(|service| !is_api(service));
    Ok(found)
}

/// One service; `None` if there is none with that id.
pub(crate) async fn get(state: &ApiState, id: ServiceId) -> Result<Option<Service>, ComputeError> {
    match id {
        ServiceId::Uuid(uuid) => match services::get(&state.db, uuid).await {
            Ok(service) => Ok(Some(service)),
            Err(DbError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        },
        ServiceId::Row(id) => {
            let all = services::list(&state.db, None, None).await?;
            Ok(all.into_iter().find(|service| service.id == id))
        }
    }
}

/// The compute service of a host.
pub(crate) async fn of_host(state: &ApiState, host: &str) -> Result<Service, ComputeError> {
    let found = services::get_by_host_and_binary(&state.db, host, COMPUTE).await?;
    found.ok_or_else(|| ComputeError::HostMappingNotFound { host: host.to_owned() })
}

/// Changes a compute service. Where it becomes enabled or disabled, its resource providers are told; that they cannot
/// be is logged and no error, as in Nova.
pub(crate) async fn update(
    state: &ApiState,
    context: &RequestContext,
    service: &Service,
    changes: &Map<String, Value>,
) -> Result<Service, ComputeError> {
    let updated = services::save(&state.db, service.id, changes).await?;
    if changes.contains_key("disabled")
        && let Err(error) = sync_trait(state, context, &updated).await
    {
        tracing::error!(
            host = updated.host, %error,
            "cannot change the trait COMPUTE_STATUS_DISABLED of a compute service; enable or disable it again"
        );
    }
    Ok(updated)
}

async fn sync_trait(state: &ApiState, context: &RequestContext, service: &Service) -> Result<(), ComputeError> {
    let status = [COMPUTE_STATUS_DISABLED.to_owned()];
    let (add, remove): (&[String], &[String]) = if service.disabled { (&status, &[]) } else { (&[], &status) };
    for node in nodes(state, service).await? {
        match state.clients.placement.change_traits(context, node.uuid, add, remove).await {
            // A host that has never reported its inventory has no provider yet.
            Ok(()) | Err(ClientError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn nodes(state: &ApiState, service: &Service) -> Result<Vec<ComputeNode>, ComputeError> {
    Ok(compute_nodes::list_by_host(&state.db, service.host.as_deref().unwrap_or_default()).await?)
}

/// Forgets a service; of a compute service also its hypervisors and their resource providers. Refused while servers are
/// on it or on their way to it.
pub(crate) async fn delete(state: &ApiState, context: &RequestContext, service: &Service) -> Result<(), ComputeError> {
    if service.binary.as_deref() == Some(COMPUTE) {
        refuse_in_use(state, service).await?;
        for node in nodes(state, service).await? {
            delete_provider(state, context, &node).await?;
            ignore_missing(compute_nodes::delete(&state.db, node.uuid).await)?;
        }
        aggregates::forget_host(&state.db, service.host.as_deref().unwrap_or_default()).await?;
    }
    match service.uuid {
        Some(uuid) => ignore_missing(services::delete(&state.db, uuid).await),
        None => Err(DbError::corrupt("service", service.id, "it has no uuid").into()),
    }
}

async fn refuse_in_use(state: &ApiState, service: &Service) -> Result<(), ComputeError> {
    let on_host = InstanceQuery {
        host: Some(service.host.clone().unwrap_or_default()),
        limit: Some(1),
        with: Expand { metadata: false, faults: false },
        ..InstanceQuery::default()
    };
    let found = instances::list_brief(&state.db, &on_host).await?;
    if !found.is_empty() {
        return Err(ComputeError::ServiceHasInstances);
    }
    // An evacuation that is `done` waits for nobody but the agent that goes.
    let ends = status::OVER.iter().chain(&[status::DONE]).map(|end| (*end).to_owned());
    let moves =
        MigrationQuery { host: service.host.clone(), not_statuses: Some(ends.collect()), ..MigrationQuery::default() };
    let found =
        server_migrations::list(&state.db, &MigrationQuery { limit: Some(1), newest_first: true, ..moves }).await?;
    if found.is_empty() { Ok(()) } else { Err(ComputeError::ServiceHasMigrations) }
}

/// Something is allocated there although no server is on the host: one is on its way.
async fn delete_provider(state: &ApiState, context: &RequestContext, node: &ComputeNode) -> Result<(), ComputeError> {
    match state.clients.placement.delete_provider(context, node.uuid).await {
        Ok(()) | Err(ClientError::NotFound { .. }) => Ok(()),
        Err(ClientError::Conflict(reason)) => {
            tracing::info!(provider = %node.uuid, reason, "the provider of a compute service is in use");
            Err(ComputeError::ServiceHasMigrations)
        }
        Err(error) => {
            tracing::error!(provider = %node.uuid, %error, "cannot delete the provider of a deleted compute service");
            Ok(())
        }
    }
}

/// Somebody else was faster.
fn ignore_missing(deleted: Result<(), DbError>) -> Result<(), ComputeError> {
    match deleted {
        Err(DbError::NotFound { .. }) => Ok(()),
        other => Ok(other?),
    }
}
