//! What the host of a server counts of it.

use kilonova_core::RequestContext;
use kilonova_objects::{Diagnostics, Instance};
use kilonova_rpcapi::compute::{GetDiagnostics, GetInstanceDiagnostics};
use kilonova_rpcapi::{RpcError, RpcMethod};
use serde_json::Value;
use uuid::Uuid;

use super::{ComputeError, checks};
use crate::state::ApiState;

/// In the driver's own words: before 2.48.
pub(crate) async fn of_driver(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
) -> Result<Value, ComputeError> {
    ask(state, context, instance, |instance| GetDiagnostics { instance }).await
}

/// In words that all drivers share.
pub(crate) async fn standardized(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
) -> Result<Diagnostics, ComputeError> {
    ask(state, context, instance, |instance| GetInstanceDiagnostics { instance }).await
}

async fn ask<M: RpcMethod>(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    method: impl FnOnce(Instance) -> M,
) -> Result<M::Reply, ComputeError> {
    let uuid = instance.uuid;
    let host = checks::host(&instance)?.to_owned();
    state.compute.call(context, &host, method(instance)).await.map_err(|error| refused(error, uuid))
}

fn refused(error: RpcError, uuid: Uuid) -> ComputeError {
    if error.is("NotImplementedError") {
        return ComputeError::FeatureNotSupported;
    }
    match &error {
        RpcError::Remote(exception) if exception.class == "InstanceInvalidState" => {
            let state = exception.kwargs.get("state").and_then(Value::as_str).unwrap_or_default().to_owned();
            ComputeError::InstanceInvalidState { uuid, action: "get_diagnostics", attr: "power state", state }
        }
        _ => error.into(),
    }
}
