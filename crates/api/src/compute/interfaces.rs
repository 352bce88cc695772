//! The interfaces and fixed addresses of a server.

use kilonova_clients::ClientError;
use kilonova_core::RequestContext;
use kilonova_db::actions;
use kilonova_objects::Instance;
use kilonova_objects::state::Action;
use kilonova_rpcapi::compute::{AddFixedIpToInstance, AttachInterface, DetachInterface, RemoveFixedIpFromInstance};
use uuid::Uuid;

use super::{ComputeError, checks};
use crate::state::ApiState;

/// What is to be plugged in: a port, or a new one on a network; neither is the only network that there is.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewInterface {
    pub network_id: Option<String>,
    pub port_id: Option<Uuid>,
    pub fixed_ip: Option<String>,
    pub tag: Option<String>,
}

/// Plugs in an interface and returns its port.
pub(crate) async fn attach(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    new: NewInterface,
) -> Result<String, ComputeError> {
    let host = ready(context, &instance, Action::AttachInterface)?;
    record(state, context, &instance, Action::AttachInterface).await?;
    if let Some(port_id) = new.port_id {
        ensure_usable(state, context, &instance, port_id).await?;
    }
    let method = AttachInterface {
        instance,
        network_id: new.network_id,
        port_id: new.port_id.map(|id| id.to_string()),
        requested_ip: new.fixed_ip,
        tag: new.tag,
    };
    let vif = state.compute.call(context, &host, method).await?;
    let port = vif["id"].as_str().ok_or_else(|| ComputeError::Internal("an interface without a port".to_owned()))?;
    Ok(port.to_owned())
}

/// Tells the host to take an interface out.
pub(crate) async fn detach(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    port_id: &str,
) -> Result<(), ComputeError> {
    let host = ready(context, &instance, Action::DetachInterface)?;
    record(state, context, &instance, Action::DetachInterface).await?;
    let method = DetachInterface { instance, port_id: port_id.to_owned() };
    Ok(state.compute.cast(context, &host, method).await?)
}

/// `addFixedIp`: tells the host.
pub(crate) async fn add_fixed_ip(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    network_id: String,
) -> Result<(), ComputeError> {
    checks::unlocked(context, &instance)?;
    let host = checks::host(&instance)?.to_owned();
    Ok(state.compute.cast(context, &host, AddFixedIpToInstance { instance, network_id }).await?)
}

/// `removeFixedIp`: tells the host.
pub(crate) async fn remove_fixed_ip(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    address: String,
) -> Result<(), ComputeError> {
    checks::unlocked(context, &instance)?;
    let host = checks::host(&instance)?.to_owned();
    Ok(state.compute.cast(context, &host, RemoveFixedIpFromInstance { instance, address }).await?)
}

/// The host, if the action may be done now; it asks again.
fn ready(context: &RequestContext, instance: &Instance, action: Action) -> Result<String, ComputeError> {
    checks::unlocked(context, instance)?;
    checks::allowed(action, instance, action.method())?;
    Ok(checks::host(instance)?.to_owned())
}

async fn record(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    action: Action,
) -> Result<(), ComputeError> {
    let (request_id, user_id, project_id) = (context.request_id(), context.user_id(), context.project_id());
    actions::start(&state.db, instance.uuid, action.method(), request_id, user_id, project_id).await?;
    Ok(())
}

/// A port must be of the server's project, and free. Whose it is an admin's eyes see.
async fn ensure_usable(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    port_id: Uuid,
) -> Result<(), ComputeError> {
    let port = state.clients.network.show_port(&context.elevated(), port_id).await.map_err(|error| match error {
        ClientError::NotFound { .. } => ComputeError::PortNotFound { port: port_id.to_string() },
        other => other.into(),
    })?;
    if port.project_id != instance.project_id() {
        let uuid = instance.uuid;
        return Err(ComputeError::Invalid(format!("Port {port_id} not usable for instance {uuid}.")));
    }
    if !port.device_id.is_empty() {
        return Err(ComputeError::PortInUse { port: port_id });
    }
    Ok(())
}
