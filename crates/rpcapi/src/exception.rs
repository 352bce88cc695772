//! Nova's exceptions that travel. A Python peer rebuilds `nova.exception.<class>(*args, **kwargs)`, and its `except`
//! clauses match only exact class names; so do ours ([`crate::RpcError::is`]).

use kilonova_messaging::RemoteException;
use kilonova_objects::{TaskState, VmState};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// One of Nova's exceptions with its sentence, its format arguments and its HTTP code.
pub fn nova(class: &str, message: String, code: u16, kwargs: &[(&str, Value)]) -> RemoteException {
    let mut map: Map<String, Value> = kwargs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    map.insert("code".to_owned(), json!(code));
    RemoteException::new("nova.exception", class, message).with_kwargs(map)
}

/// `InstanceNotFound`
pub fn instance_not_found(uuid: Uuid) -> RemoteException {
    nova("InstanceNotFound", format!("Instance {uuid} could not be found."), 404, &[("instance_id", json!(uuid))])
}

/// `InstanceActionNotFound`
pub fn instance_action_not_found(instance_uuid: Uuid, request_id: &str) -> RemoteException {
    nova(
        "InstanceActionNotFound",
        format!("Action for request_id {request_id} on instance {instance_uuid} not found"),
        404,
        &[("request_id", json!(request_id)), ("instance_uuid", json!(instance_uuid))],
    )
}

/// `ComputeHostNotFound`
pub fn compute_host_not_found(host: &str) -> RemoteException {
    nova("ComputeHostNotFound", format!("Compute host {host} could not be found."), 404, &[("host", json!(host))])
}

/// `ServiceNotFound`
pub fn service_not_found(service_id: &str) -> RemoteException {
    nova(
        "ServiceNotFound",
        format!("Service {service_id} could not be found."),
        404,
        &[("service_id", json!(service_id))],
    )
}

/// `UnexpectedTaskStateError`, or `UnexpectedDeletingTaskStateError` when the instance is being deleted.
pub fn unexpected_task_state(
    instance_uuid: Uuid,
    expected: &[Option<TaskState>],
    actual: Option<TaskState>,
) -> RemoteException {
    let class = match actual {
        Some(TaskState::Deleting) => "UnexpectedDeletingTaskStateError",
        _ => "UnexpectedTaskStateError",
    };
    conflict(
        class,
        instance_uuid,
        json!({"task_state": expected.iter().map(|state| state.map(TaskState::as_str)).collect::<Vec<_>>()}),
        json!({"task_state": actual.map(TaskState::as_str)}),
    )
}

/// `InstanceUpdateConflict`, for another vm_state than the expected ones.
pub fn unexpected_vm_state(instance_uuid: Uuid, expected: &[VmState], actual: VmState) -> RemoteException {
    conflict(
        "InstanceUpdateConflict",
        instance_uuid,
        json!({"vm_state": expected.iter().map(|state| state.as_str()).collect::<Vec<_>>()}),
        json!({"vm_state": actual.as_str()}),
    )
}

fn conflict(class: &str, instance_uuid: Uuid, expected: Value, actual: Value) -> RemoteException {
    nova(
        class,
        format!("Conflict updating instance {instance_uuid}. Expected: {expected}. Actual: {actual}"),
        409,
        &[("instance_uuid", json!(instance_uuid)), ("expected", expected), ("actual", actual)],
    )
}

/// `InstanceInvalidState`: `attr` is what of the instance does not allow `method`, and `state` its value.
pub fn instance_invalid_state(instance_uuid: Uuid, attr: &str, state: &str, method: &str) -> RemoteException {
    nova(
        "InstanceInvalidState",
        format!("Instance {instance_uuid} in {attr} {state}. Cannot {method} while the instance is in this state."),
        400,
        &[
            ("attr", json!(attr)),
            ("instance_uuid", json!(instance_uuid)),
            ("state", json!(state)),
            ("method", json!(method)),
        ],
    )
}

/// `InstancePasswordSetFailed`
pub fn instance_password_set_failed(instance_uuid: Uuid, reason: &str) -> RemoteException {
    nova(
        "InstancePasswordSetFailed",
        format!("Failed to set admin password on {instance_uuid} because {reason}"),
        500,
        &[("instance", json!(instance_uuid)), ("reason", json!(reason))],
    )
}

/// `NoValidHost`
pub fn no_valid_host(reason: &str) -> RemoteException {
    nova(
        "NoValidHost",
        format!("No valid host was found. {reason}").trim_end().to_owned(),
        500,
        &[("reason", json!(reason))],
    )
}

/// `TaskAlreadyRunning`
pub fn task_already_running(task_name: &str, host: &str) -> RemoteException {
    let message = format!("Task {task_name} is already running on host {host}");
    nova("TaskAlreadyRunning", message, 500, &[("task_name", json!(task_name)), ("host", json!(host))])
}

/// `TaskNotRunning`
pub fn task_not_running(task_name: &str, host: &str) -> RemoteException {
    let message = format!("Task {task_name} is not running on host {host}");
    nova("TaskNotRunning", message, 500, &[("task_name", json!(task_name)), ("host", json!(host))])
}

/// Python's `NotImplementedError`: the driver does not do that.
pub fn not_implemented(what: &str) -> RemoteException {
    RemoteException::new("builtins", "NotImplementedError", what)
}

/// `ConsoleTypeUnavailable`: the operator does not want such consoles.
pub fn console_type_unavailable(console_type: &str) -> RemoteException {
    let message = format!("Unavailable console type {console_type}.");
    nova("ConsoleTypeUnavailable", message, 400, &[("console_type", json!(console_type))])
}

/// `ConsoleTypeInvalid`: there are no such consoles.
pub fn console_type_invalid(console_type: &str) -> RemoteException {
    let message = format!("Invalid console type {console_type}");
    nova("ConsoleTypeInvalid", message, 400, &[("console_type", json!(console_type))])
}

/// `VolumeBDMNotFound`
pub fn volume_bdm_not_found(volume_id: &str) -> RemoteException {
    let message = format!("No volume Block Device Mapping with id {volume_id}.");
    nova("VolumeBDMNotFound", message, 404, &[("volume_id", json!(volume_id))])
}

/// `VolumeNotFound`
pub fn volume_not_found(volume_id: &str) -> RemoteException {
    let message = format!("Volume {volume_id} could not be found.");
    nova("VolumeNotFound", message, 404, &[("volume_id", json!(volume_id))])
}

/// `InvalidInput`: what another service calls a bad request.
pub fn invalid_input(reason: &str) -> RemoteException {
    nova("InvalidInput", format!("Invalid input received: {reason}"), 400, &[("reason", json!(reason))])
}

/// `MultiattachNotSupportedOldMicroversion`
pub fn multiattach_not_supported_old_microversion() -> RemoteException {
    let message = "Multiattach volumes are only supported starting with compute API version 2.60.";
    nova("MultiattachNotSupportedOldMicroversion", message.to_owned(), 400, &[])
}

/// `InvalidToken`
pub fn invalid_token() -> RemoteException {
    let message = "The token '***' is invalid or has expired".to_owned();
    nova("InvalidToken", message, 400, &[("token", json!("***"))])
}

/// `MaxRetriesExceeded`
pub fn max_retries_exceeded(reason: &str) -> RemoteException {
    let message = format!("Exceeded maximum number of retries. {reason}");
    nova("MaxRetriesExceeded", message, 500, &[("reason", json!(reason))])
}

/// `MigrationNotFound`
pub fn migration_not_found(id: &str) -> RemoteException {
    nova("MigrationNotFound", format!("Migration {id} could not be found."), 404, &[("migration_id", json!(id))])
}

/// `MigrationNotFoundByStatus`
pub fn migration_not_found_by_status(instance_uuid: Uuid, status: &str) -> RemoteException {
    nova(
        "MigrationNotFoundByStatus",
        format!("Migration not found for instance {instance_uuid} with status {status}."),
        404,
        &[("instance_id", json!(instance_uuid)), ("status", json!(status))],
    )
}

/// `MigrationPreCheckError`
pub fn migration_pre_check_error(reason: &str) -> RemoteException {
    nova("MigrationPreCheckError", format!("Migration pre-check error: {reason}"), 500, &[("reason", json!(reason))])
}

/// `InvalidMigrationState`
pub fn invalid_migration_state(migration_id: i64, instance_uuid: Uuid, state: &str, method: &str) -> RemoteException {
    nova(
        "InvalidMigrationState",
        format!(
            "Migration {migration_id} state of instance {instance_uuid} is {state}. Cannot {method} while the \
             migration is in this state."
        ),
        400,
        &[
            ("migration_id", json!(migration_id)),
            ("instance_uuid", json!(instance_uuid)),
            ("state", json!(state)),
            ("method", json!(method)),
        ],
    )
}

/// Any other failure, as a class that every Python peer can rebuild.
pub fn internal(error: &dyn std::error::Error) -> RemoteException {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        message.push_str(": ");
        message.push_str(&inner.to_string());
        source = inner.source();
    }
    nova("NovaException", message, 500, &[])
}
