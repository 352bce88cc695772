//! `resize`, `migrate`, `confirmResize`, `revertResize`: checked in Nova's order, written in one transaction with the
//! workflow that is the promise, and handed over by a cast that is only a nudge.

use std::time::Duration;

use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use kilonova_db::instances::{self, MoveRecord, SaveError, StartMove, Usage};
use kilonova_db::workflows::{NewWorkflow, WorkflowKind};
use kilonova_db::{DbError, compute_nodes, flavors, request_specs, server_migrations, services};
use kilonova_objects::migration::status;
use kilonova_objects::state::Action;
use kilonova_objects::{Destination, Flavor, Instance, Migration, RequestSpec, TaskState};
use kilonova_rpcapi::compute::{ConfirmResize, RevertResize};
use kilonova_rpcapi::conductor::MigrateServer;
use kilonova_rpcapi::workflow::{MovePayload, STEP_COLD_MIGRATE, STEP_CONFIRM_RESIZE, STEP_REVERT_RESIZE};
use serde_json::{Map, Value, json};

use super::{ComputeError, availability_zones, checks, quota};
use crate::state::ApiState;

/// How long whoever gets the cast has before the workflow pass looks after a move.
const MOVE_LEASE: Duration = Duration::from_secs(30);
const GIB: i64 = 1 << 30;

/// Has a server moved into another flavor, on whatever host has room for it.
pub(crate) async fn resize(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    flavor_id: &str,
    auto_disk_config: Option<bool>,
) -> Result<(), ComputeError> {
    check(state, context, &instance, Action::Resize).await?;
    check_auto_disk_config(&instance, auto_disk_config)?;
    let flavor = flavors::get(&state.db, flavor_id, None).await.map_err(|error| match error {
        DbError::NotFound { .. } => no_flavor(flavor_id),
        other => other.into(),
    })?;
    let old = instance.flavor.clone().unwrap_or_default();
    let is_on_volume = instance.image_ref.as_deref().is_none_or(str::is_empty);
    if flavor.root_gb == 0 && old.root_gb != 0 && !is_on_volume {
        let reason = "Resize to zero disk flavor is not allowed.";
        return Err(ComputeError::Invalid(format!("Server disk was unable to be resized because: {reason}")));
    }
    if flavor.id == old.id {
        return Err(ComputeError::invalid("When resizing, instances must change flavor!"));
    }
    if flavor.disabled {
        return Err(no_flavor(flavor_id));
    }
    check_quota(state, context, &instance, &old, &flavor).await?;
    check_image(&instance, &flavor, is_on_volume)?;
    let mut spec = request_specs::get(&state.db, instance.uuid).await?;
    spec.ignore_hosts = Some(if state.config.allow_resize_to_same_host { vec![] } else { own_host(&instance) });
    spec.requested_destination = None;
    Box::pin(start(state, context, instance, Action::Resize, flavor, spec, auto_disk_config.unwrap_or(false))).await
}

/// Has a server moved to another host.
pub(crate) async fn migrate(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    host: Option<&str>,
) -> Result<(), ComputeError> {
    check(state, context, &instance, Action::Migrate).await?;
    let destination = match host {
        Some(host) => Some(destination(state, &instance, host).await?),
        None => None,
    };
    let mut spec = request_specs::get(&state.db, instance.uuid).await?;
    // A migration to the host that it is on has no use.
    spec.ignore_hosts = Some(own_host(&instance));
    spec.requested_destination = destination;
    let flavor = instance.flavor.clone().unwrap_or_default();
    Box::pin(start(state, context, instance, Action::Migrate, flavor, spec, false)).await
}

async fn check(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    action: Action,
) -> Result<(), ComputeError> {
    checks::unlocked(context, instance)?;
    checks::allowed(action, instance, action.method())?;
    let host = checks::host(instance)?;
    if is_up(state, host).await? { Ok(()) } else { Err(ComputeError::ServiceUnavailable) }
}

/// Whether the compute service of a host reported lately.
pub(super) async fn is_up(state: &ApiState, host: &str) -> Result<bool, ComputeError> {
    let service = services::get_by_host_and_binary(&state.db, host, "nova-compute").await?;
    Ok(service.is_some_and(|service| service.is_up(utcnow(), state.config.service_down_time_s)))
}

fn own_host(instance: &Instance) -> Vec<String> {
    instance.host.iter().cloned().collect()
}

fn no_flavor(flavor_id: &str) -> ComputeError {
    ComputeError::Invalid(format!("Flavor {flavor_id} could not be found."))
}

async fn destination(state: &ApiState, instance: &Instance, host: &str) -> Result<Destination, ComputeError> {
    if instance.host.as_deref() == Some(host) {
        return Err(ComputeError::invalid("Cannot migrate to the host where the server exists."));
    }
    named_host(state, host).await
}

/// A host that somebody named, by its hypervisor.
pub(super) async fn named_host(state: &ApiState, host: &str) -> Result<Destination, ComputeError> {
    let node = compute_nodes::list_by_host(&state.db, host).await?.into_iter().next();
    let node = node.ok_or_else(|| ComputeError::Invalid(format!("Compute host {host} could not be found.")))?;
    Ok(Destination { host: node.host, node: node.hypervisor_hostname, ..Destination::default() })
}

fn check_auto_disk_config(instance: &Instance, auto_disk_config: Option<bool>) -> Result<(), ComputeError> {
    let of_image = |name: &str| instance.system_metadata.get(name).and_then(Option::as_deref);
    let is_disabled = of_image("image_auto_disk_config").is_some_and(|it| it.trim().eq_ignore_ascii_case("disabled"));
    if auto_disk_config == Some(true) && is_disabled {
        let image = of_image("image_base_image_ref").unwrap_or_default();
        return Err(ComputeError::Invalid(format!("Requested image {image} has automatic disk resize disabled.")));
    }
    Ok(())
}

/// What the image said when the server was made must fit the new flavor too.
fn check_image(instance: &Instance, flavor: &Flavor, is_on_volume: bool) -> Result<(), ComputeError> {
    let number = |name: &str| -> i64 {
        let stored = instance.system_metadata.get(name).and_then(Option::as_deref);
        stored.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    if flavor.memory_mb < number("image_min_ram") {
        return Err(ComputeError::invalid("Flavor's memory is too small for requested image."));
    }
    let (disk, min_disk) = (flavor.root_gb * GIB, number("image_min_disk") * GIB);
    if !is_on_volume && disk != 0 && min_disk > disk {
        return Err(ComputeError::Invalid(format!(
            "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is {disk} bytes, \
             minimum size is {min_disk} bytes."
        )));
    }
    Ok(())
}

/// By Nova's rule only what grows is checked, and at the begin only.
async fn check_quota(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    old: &Flavor,
    new: &Flavor,
) -> Result<(), ComputeError> {
    let deltas = [("cores", new.vcpus - old.vcpus), ("ram", new.memory_mb - old.memory_mb)];
    if deltas.iter().all(|(_, delta)| *delta <= 0) {
        return Ok(());
    }
    let project_id = instance.project_id.as_deref().unwrap_or_else(|| context.project_id());
    let (project, user) = futures::try_join!(
        of_owner(state, project_id, None),
        of_owner(state, project_id, instance.user_id.as_deref()),
    )?;
    let over = |resource: &'static str, delta: i64| {
        let exceeds = |(limits, used): &(quota::Limits, Usage)| {
            let (limit, used) = (limits.get(resource), used_of(used, resource));
            (delta > 0 && limit >= 0 && used + delta > limit).then_some((resource, delta, used, limit))
        };
        exceeds(&project).or_else(|| exceeds(&user))
    };
    let overs: Vec<_> = deltas.into_iter().filter_map(|(resource, delta)| over(resource, delta)).collect();
    if overs.is_empty() {
        return Ok(());
    }
    let list = |texts: Vec<String>| texts.join(", ");
    Err(ComputeError::TooManyInstances {
        overs: list(overs.iter().map(|(resource, ..)| (*resource).to_owned()).collect()),
        requested: list(overs.iter().map(|(_, delta, ..)| delta.to_string()).collect()),
        used: list(overs.iter().map(|(_, _, used, _)| used.to_string()).collect()),
        allowed: list(overs.iter().map(|(.., limit)| limit.to_string()).collect()),
    })
}

async fn of_owner(
    state: &ApiState,
    project_id: &str,
    user_id: Option<&str>,
) -> Result<(quota::Limits, Usage), ComputeError> {
    let limits = quota::limits(state, project_id, user_id).await?;
    Ok((limits, instances::usage(&state.db, project_id, user_id).await?))
}

fn used_of(used: &Usage, resource: &str) -> i64 {
    if resource == "cores" { used.cores } else { used.ram }
}

async fn start(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    action: Action,
    flavor: Flavor,
    spec: RequestSpec,
    auto_disk_config: bool,
) -> Result<(), ComputeError> {
    let mut message = MigrateServer {
        instance: instance.clone(),
        scheduler_hint: json!({"filter_properties": {"ignore_hosts": spec.ignore_hosts}}),
        live: false,
        rebuild: false,
        flavor: Some(flavor),
        block_migration: None,
        disk_over_commit: None,
        reservations: Value::Null,
        clean_shutdown: true,
        request_spec: Some(spec),
        host_list: None,
    };
    let payload = MovePayload::of(context, None, &message);
    let changes = json!({
        "task_state": TaskState::ResizePrep.as_str(), "progress": 0, "auto_disk_config": auto_disk_config,
    });
    let begin = begin(state, context, &instance, action, changes, MoveRecord::None, STEP_COLD_MIGRATE, &payload);
    let (busy, _) = instances::start_move(&state.db, begin)
        .await
        .map_err(|error| checks::lost_race(error, &instance, action.method()))?;
    message.instance = *busy;
    let cast = state.conductor.cast(context, message).await;
    or_wait(state, &instance, cast);
    Ok(())
}

/// What begins a move: from the state that the server was seen in, and with the workflow that is the promise.
#[expect(clippy::too_many_arguments, reason = "all of it differs from move to move")]
pub(super) fn begin(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    action: Action,
    changes: Value,
    record: MoveRecord,
    step: &str,
    payload: &MovePayload,
) -> StartMove {
    let changes = match changes {
        Value::Object(changes) => changes,
        _ => Map::new(),
    };
    StartMove {
        uuid: instance.uuid,
        action: recorded(action),
        changes,
        expected_vm_states: Some(vec![instance.vm_state]),
        expected_task_states: Some(vec![instance.task_state]),
        request_id: context.request_id().to_owned(),
        user_id: context.user_id().to_owned(),
        project_id: context.project_id().to_owned(),
        record,
        workflow: NewWorkflow {
            kind: WorkflowKind::Move,
            instance_uuid: instance.uuid,
            step: step.to_owned(),
            payload: payload.to_value(),
            lease_owner: format!("{}:api", state.config.host),
            lease: MOVE_LEASE,
        },
    }
}

/// Nova's names of recorded actions are not all those of its refusals.
fn recorded(action: Action) -> &'static str {
    match action {
        Action::LiveMigrate => "live-migration",
        other => other.method(),
    }
}

/// A cast that fails is no error: the workflow row is there.
pub(super) fn or_wait(state: &ApiState, instance: &Instance, cast: Result<(), kilonova_rpcapi::RpcError>) {
    if let Err(error) = cast {
        tracing::warn!(instance = %instance.uuid, %error, "a move was not handed over and waits for the workflow pass");
        state.nudge();
    }
}

/// The record of a resize that waits.
async fn finished(state: &ApiState, instance: &Instance) -> Result<Migration, ComputeError> {
    let found = server_migrations::get_by_instance_and_status(&state.db, instance.uuid, status::FINISHED).await;
    found.map_err(not_resized)
}

fn not_resized(error: DbError) -> ComputeError {
    match error {
        DbError::NotFound { resource: "migration", .. } => ComputeError::invalid("Instance has not been resized."),
        other => other.into(),
    }
}

fn not_begun(error: SaveError, instance: &Instance, word: &'static str) -> ComputeError {
    match error {
        SaveError::Db(error) => not_resized(error),
        other => checks::lost_race(other, instance, word),
    }
}

/// Keeps a resize.
pub(crate) async fn confirm(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
) -> Result<(), ComputeError> {
    let action = Action::ConfirmResize;
    checks::unlocked(context, &instance)?;
    checks::allowed(action, &instance, action.method())?;
    let migration = finished(state, &instance).await?;
    let source = migration.source_compute.clone().unwrap_or_default();
    if !is_up(state, &source).await? {
        return Err(ComputeError::ServiceUnavailable);
    }
    let message = ConfirmResize { instance: instance.clone(), migration: migration.clone() };
    let payload = MovePayload::of(context, Some(migration.id), &message);
    let record = MoveRecord::Advance { id: migration.id, from: status::FINISHED, to: status::CONFIRMING };
    let begin = begin(state, context, &instance, action, json!({}), record, STEP_CONFIRM_RESIZE, &payload);
    let begun = instances::start_move(&state.db, begin).await;
    let (now, record) = begun.map_err(|error| not_begun(error, &instance, action.method()))?;
    let message = ConfirmResize { instance: *now, migration: record.unwrap_or(migration) };
    let cast = state.compute.cast(context, &source, message).await;
    or_wait(state, &instance, cast);
    Ok(())
}

/// Takes a resize back.
pub(crate) async fn revert(state: &ApiState, context: &RequestContext, instance: Instance) -> Result<(), ComputeError> {
    let action = Action::RevertResize;
    checks::unlocked(context, &instance)?;
    checks::allowed(action, &instance, action.method())?;
    let migration = finished(state, &instance).await?;
    let new = instance.flavor.clone().unwrap_or_default();
    let old = instance.old_flavor.clone().unwrap_or_else(|| new.clone());
    check_quota(state, context, &instance, &new, &old).await?;
    let mut spec = request_specs::get(&state.db, instance.uuid).await?;
    // As it will be: the row follows the server's own flavor, once the source has taken it back.
    spec.flavor = old;
    let source = migration.source_compute.clone().unwrap_or_default();
    let zone = availability_zones::read(state).await?.of_host(&source).to_owned();
    let message = RevertResize { instance: instance.clone(), migration: migration.clone(), request_spec: None };
    let payload = MovePayload::of(context, Some(migration.id), &message);
    let record = MoveRecord::Advance { id: migration.id, from: status::FINISHED, to: status::REVERTING };
    let changes = json!({"task_state": TaskState::ResizeReverting.as_str(), "availability_zone": zone});
    let begin = begin(state, context, &instance, action, changes, record, STEP_REVERT_RESIZE, &payload);
    let begun = instances::start_move(&state.db, begin).await;
    let (busy, record) = begun.map_err(|error| not_begun(error, &instance, action.method()))?;
    let dest = migration.dest_compute.clone().unwrap_or_default();
    let message = RevertResize { instance: *busy, migration: record.unwrap_or(migration), request_spec: Some(spec) };
    let cast = state.compute.cast(context, &dest, message).await;
    or_wait(state, &instance, cast);
    Ok(())
}
