//! Compute hosts, as the oldest of Nova's resources about them has them: what is used on one, and switches that the
//! hypervisor turns.

use kilonova_core::RequestContext;
use kilonova_db::{compute_nodes, instances};
use kilonova_objects::{ComputeNode, Instance};
use kilonova_rpcapi::compute::{HostMaintenanceMode, HostPowerAction, SetHostEnabled};

use super::{ComputeError, services};
use crate::state::ApiState;

/// The first hypervisor of a host, and the servers on the host.
pub(crate) async fn resources(state: &ApiState, host: &str) -> Result<(ComputeNode, Vec<Instance>), ComputeError> {
    services::of_host(state, host).await?;
    let nodes = compute_nodes::list_by_host(&state.db, host).await?;
    let node = nodes.into_iter().next().ok_or_else(|| ComputeError::ComputeHostNotFound { host: host.to_owned() })?;
    Ok((node, instances::by_host(&state.db, host).await?))
}

/// Lets a host take new servers, or not. Answers `enabled` or `disabled`, or why not.
pub(crate) async fn set_enabled(
    state: &ApiState,
    context: &RequestContext,
    host: &str,
    enabled: bool,
) -> Result<String, ComputeError> {
    services::of_host(state, host).await?;
    Ok(state.compute.call(context, host, SetHostEnabled { enabled }).await?)
}

/// Begins or ends the maintenance of a host. Answers `on_maintenance` or `off_maintenance`, or why not.
pub(crate) async fn set_maintenance(
    state: &ApiState,
    context: &RequestContext,
    name: &str,
    mode: bool,
) -> Result<String, ComputeError> {
    services::of_host(state, name).await?;
    Ok(state.compute.call(context, name, HostMaintenanceMode { host: name.to_owned(), mode }).await?)
}

/// `startup`, `shutdown` or `reboot` of a host. Answers what it does now.
pub(crate) async fn power_action(
    state: &ApiState,
    context: &RequestContext,
    host: &str,
    action: &str,
) -> Result<String, ComputeError> {
    services::of_host(state, host).await?;
    Ok(state.compute.call(context, host, HostPowerAction { action: action.to_owned() }).await?)
}
