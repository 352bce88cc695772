//! `os-migrateLive`, and what is done to a live migration that goes on.

use kilonova_core::RequestContext;
use kilonova_db::instances::{self, MoveRecord};
use kilonova_db::{DbError, actions, request_specs, server_migrations};
use kilonova_objects::migration::status;
use kilonova_objects::state::Action;
use kilonova_objects::{Instance, Migration, TaskState};
use kilonova_rpcapi::RpcError;
use kilonova_rpcapi::compute::{LiveMigrationAbort, LiveMigrationForceComplete};
use kilonova_rpcapi::conductor::{LiveMigrateInstance, MigrateServer};
use kilonova_rpcapi::workflow::{MovePayload, STEP_LIVE_MIGRATE};
use serde_json::{Value, json};
use uuid::Uuid;

use super::resize::{begin, named_host, or_wait};
use super::{ComputeError, checks};
use crate::state::ApiState;

/// Exceptions of the checks that a caller who waits for them is told.
const TOLD: [&str; 13] = [
    "NoValidHost",
    "MaxRetriesExceeded",
    "ComputeServiceUnavailable",
    "ComputeHostNotFound",
    "InvalidHypervisorType",
    "InvalidCPUInfo",
    "UnableToMigrateToSelf",
    "DestinationHypervisorTooOld",
    "InvalidLocalStorage",
    "InvalidSharedStorage",
    "HypervisorUnavailable",
    "MigrationPreCheckError",
    "MigrationSchedulerRPCError",
];

/// What is asked of a live migration.
pub(crate) struct Asked {
    pub(crate) host: Option<String>,
    /// Whether the scheduler is not asked about the host; `None`: as before one could say.
    pub(crate) force: Option<bool>,
    /// `None`: as the hosts' storage is.
    pub(crate) block_migration: Option<bool>,
    pub(crate) disk_over_commit: Option<bool>,
    /// Whether the caller waits for the checks.
    pub(crate) waits: bool,
}

/// Has a server moved while it runs.
pub(crate) async fn live_migrate(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    asked: Asked,
) -> Result<(), ComputeError> {
    let action = Action::LiveMigrate;
    checks::unlocked(context, &instance)?;
    checks::allowed(action, &instance, action.method())?;
    let named = match &asked.host {
        Some(host) => Some(named_host(state, host).await?),
        None => None,
    };
    let mut spec = request_specs::get(&state.db, instance.uuid).await?;
    let is_forced = asked.force != Some(false);
    spec.requested_destination = named.filter(|_| !is_forced);
    let mut message = LiveMigrateInstance {
        instance: instance.clone(),
        scheduler_hint: json!({"host": asked.host.filter(|_| is_forced)}),
        block_migration: asked.block_migration,
        disk_over_commit: asked.disk_over_commit,
        request_spec: Some(spec),
    };
    let payload = MovePayload::of(context, None, &message);
    let changes = json!({"task_state": TaskState::Migrating.as_str()});
    let begin = begin(state, context, &instance, action, changes, MoveRecord::None, STEP_LIVE_MIGRATE, &payload);
    let (busy, _) = instances::start_move(&state.db, begin)
        .await
        .map_err(|error| checks::lost_race(error, &instance, action.method()))?;
    message.instance = *busy;
    if !asked.waits {
        let cast = state.conductor.cast(context, message).await;
        or_wait(state, &instance, cast);
        return Ok(());
    }
    state.conductor.call(context, waited_for(message)).await.map_err(|error| told(error, &instance))
}

/// The same as the message that is answered.
fn waited_for(message: LiveMigrateInstance) -> MigrateServer {
    MigrateServer {
        instance: message.instance,
        scheduler_hint: message.scheduler_hint,
        live: true,
        rebuild: false,
        flavor: None,
        block_migration: message.block_migration,
        disk_over_commit: message.disk_over_commit,
        reservations: Value::Null,
        clean_shutdown: true,
        request_spec: message.request_spec,
        host_list: None,
    }
}

fn told(error: RpcError, instance: &Instance) -> ComputeError {
    match &error {
        RpcError::Remote(exception) if TOLD.contains(&exception.class.as_str()) => {
            ComputeError::Invalid(exception.message.clone())
        }
        RpcError::Remote(exception) if exception.class == "InstanceInvalidState" => {
            let state = exception.kwargs.get("state").and_then(Value::as_str).unwrap_or_default().to_owned();
            let action = Action::LiveMigrate.method();
            ComputeError::InstanceInvalidState { uuid: instance.uuid, action, attr: "power_state", state }
        }
        _ => error.into(),
    }
}

/// A move of a server, by its id.
pub(crate) async fn find(state: &ApiState, instance_uuid: Uuid, id: &str) -> Result<Option<Migration>, ComputeError> {
    let Ok(number) = id.parse() else { return Ok(None) };
    match server_migrations::get(&state.db, number).await {
        Ok(migration) => Ok(Some(migration).filter(|migration| migration.instance_uuid == instance_uuid)),
        Err(DbError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn not_found(instance: &Instance, id: &str) -> String {
    format!("Migration {id} not found for instance {}", instance.uuid)
}

fn check_status(
    migration: &Migration,
    instance: &Instance,
    allowed: &[&str],
    method: &str,
) -> Result<(), ComputeError> {
    if allowed.contains(&migration.status.as_str()) {
        return Ok(());
    }
    let (id, uuid, state) = (migration.id, instance.uuid, &migration.status);
    Err(ComputeError::Invalid(format!(
        "Migration {id} state of instance {uuid} is {state}. Cannot {method} while the migration is in this state."
    )))
}

/// Lets a live migration end soon.
pub(crate) async fn force_complete(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    id: &str,
) -> Result<(), ComputeError> {
    let action = Action::ForceCompleteLiveMigration;
    checks::unlocked(context, &instance)?;
    checks::allowed(action, &instance, action.method())?;
    let found = find(state, instance.uuid, id).await?;
    let migration = found.ok_or_else(|| ComputeError::Invalid(not_found(&instance, id)))?;
    check_status(&migration, &instance, &[status::RUNNING], "force complete")?;
    record(state, context, &instance, "live_migration_force_complete").await?;
    let host = checks::host(&instance)?.to_owned();
    Ok(state.compute.cast(context, &host, LiveMigrationForceComplete { instance }).await?)
}

/// Ends a live migration; since 2.65 also one that does not run yet.
pub(crate) async fn abort(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    id: &str,
    may_be_queued: bool,
) -> Result<(), ComputeError> {
    let action = Action::AbortLiveMigration;
    checks::unlocked(context, &instance)?;
    checks::allowed(action, &instance, action.method())?;
    let found = find(state, instance.uuid, id).await?;
    let migration = found.ok_or_else(|| ComputeError::MigrationNotFoundForInstance(not_found(&instance, id)))?;
    let allowed: &[&str] =
        if may_be_queued { &[status::RUNNING, status::QUEUED, status::PREPARING] } else { &[status::RUNNING] };
    check_status(&migration, &instance, allowed, "abort live migration")?;
    record(state, context, &instance, "live_migration_cancel").await?;
    let host = checks::host(&instance)?.to_owned();
    Ok(state.compute.cast(context, &host, LiveMigrationAbort { instance, migration_id: migration.id }).await?)
}

async fn record(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    action: &str,
) -> Result<(), ComputeError> {
    let (request_id, user_id, project_id) = (context.request_id(), context.user_id(), context.project_id());
    actions::start(&state.db, instance.uuid, action, request_id, user_id, project_id).await?;
    Ok(())
}
