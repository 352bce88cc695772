//! `shelve`, `shelveOffload`, `unshelve`.
//!
//! A server that was offloaded has no host that could look after its unshelving: the workflow row is the promise that a
//! conductor does.

use std::collections::BTreeMap;
use std::time::Duration;

use kilonova_core::RequestContext;
use kilonova_db::instances::{self, StartAction};
use kilonova_db::workflows::{NewWorkflow, WorkflowKind};
use kilonova_db::{compute_nodes, request_specs, services};
use kilonova_objects::state::Action;
use kilonova_objects::{Instance, RequestSpec, TaskState, VmState, Wire as _};
use kilonova_rpcapi::compute::{ShelveInstance, ShelveOffloadInstance};
use kilonova_rpcapi::conductor::UnshelveInstance;
use kilonova_rpcapi::workflow::{STEP_UNSHELVE, UnshelvePayload};
use serde_json::Map;

use super::create::destination;
use super::snapshot::{Begin, create_image, run};
use super::{ComputeError, availability_zones, checks, power};
use crate::policy::Target;
use crate::state::ApiState;

/// How long the conductor that gets the cast has before the workflow pass looks after an unshelve.
const UNSHELVE_LEASE: Duration = Duration::from_secs(30);
const UNSHELVE_TO_HOST: &str = "os_compute_api:os-shelve:unshelve_to_host";

/// `shelve`
pub(crate) async fn shelve(state: &ApiState, context: &RequestContext, instance: Instance) -> Result<(), ComputeError> {
    checks::unlocked(context, &instance)?;
    checks::allowed(Action::Shelve, &instance, Action::Shelve.method())?;
    let name = format!("{}-shelved", instance.display_name.as_deref().unwrap_or_default());
    let image = create_image(state, context, &instance, &name, "snapshot", BTreeMap::new()).await?;
    let image_id = image.id;
    let mut system_metadata = instance.system_metadata.clone();
    system_metadata.insert("image_base_image_ref".to_owned(), instance.image_ref.clone());
    let changes = Map::from_iter([("system_metadata".to_owned(), system_metadata.to_wire())]);
    let method = |instance| ShelveInstance { instance, image_id, clean_shutdown: true, accel_uuids: Vec::new() };
    let begin = Begin { action: Action::Shelve, task_state: TaskState::Shelving, changes };
    run(state, context, &instance, &image, begin, method).await
}

/// `shelveOffload`
pub(crate) async fn shelve_offload(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
) -> Result<(), ComputeError> {
    let word = Action::ShelveOffload.method();
    checks::unlocked(context, &instance)?;
    checks::allowed(Action::ShelveOffload, &instance, word)?;
    let host = checks::host(&instance)?.to_owned();
    let start = begin(context, &instance, word, TaskState::ShelvingOffloading, None);
    let busy = instances::start_action(&state.db, start).await;
    let busy = busy.map_err(|error| checks::lost_race(error, &instance, word))?;
    let method = ShelveOffloadInstance { instance: busy, clean_shutdown: true, accel_uuids: Vec::new() };
    if let Err(error) = state.compute.cast(context, &host, method).await {
        power::free(state, &instance, TaskState::ShelvingOffloading).await;
        return Err(error.into());
    }
    Ok(())
}

fn begin(
    context: &RequestContext,
    instance: &Instance,
    action: &'static str,
    task_state: TaskState,
    workflow: Option<NewWorkflow>,
) -> StartAction {
    StartAction {
        uuid: instance.uuid,
        action,
        task_state,
        expected_vm_states: Some(vec![instance.vm_state]),
        expected_task_states: Some(vec![None]),
        request_id: context.request_id().to_owned(),
        user_id: context.user_id().to_owned(),
        project_id: context.project_id().to_owned(),
        workflow,
    }
}

/// Where a server is to run again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Destination {
    /// Not given: the zone that it was pinned to, if any. `Some(None)`: any zone from now on.
    pub new_az: Option<Option<String>>,
    /// The host.
    pub host: Option<String>,
}

/// `unshelve`
pub(crate) async fn unshelve(
    state: &ApiState,
    context: &RequestContext,
    instance: Instance,
    to: Destination,
) -> Result<(), ComputeError> {
    let word = Action::Unshelve.method();
    checks::unlocked(context, &instance)?;
    checks::allowed(Action::Unshelve, &instance, word)?;
    let mut spec = request_specs::get(&state.db, instance.uuid).await?;
    let availability_zone = check_destination(state, context, &instance, &spec, &to).await?;
    let workflow = NewWorkflow {
        kind: WorkflowKind::Unshelve,
        instance_uuid: instance.uuid,
        step: STEP_UNSHELVE.to_owned(),
        payload: UnshelvePayload { context: context.clone(), host: to.host }.to_value(),
        lease_owner: format!("{}:api", state.config.host),
        lease: UNSHELVE_LEASE,
    };
    let start = begin(context, &instance, word, TaskState::Unshelving, Some(workflow));
    let busy = if to.new_az.is_some() {
        spec.availability_zone = availability_zone;
        instances::start_action_in_zone(&state.db, start, spec.availability_zone.as_deref()).await
    } else {
        instances::start_action(&state.db, start).await
    };
    let busy = busy.map_err(|error| checks::lost_race(error, &instance, word))?;
    let uuid = busy.uuid;
    // A cast that fails is no error: the workflow row is there.
    let message = UnshelveInstance { instance: busy, request_spec: Some(spec) };
    if let Err(error) = state.conductor.cast(context, message).await {
        tracing::warn!(instance = %uuid, %error, "an unshelve was not handed over and waits for the workflow pass");
        state.nudge();
    }
    Ok(())
}

/// Nova's checks of the place, in their order; returns the zone that the server is in after it, if it must be in one.
async fn check_destination(
    state: &ApiState,
    context: &RequestContext,
    instance: &Instance,
    spec: &RequestSpec,
    to: &Destination,
) -> Result<Option<String>, ComputeError> {
    let (uuid, vm_state) = (instance.uuid, instance.vm_state);
    if (to.new_az.is_some() || to.host.is_some()) && vm_state != VmState::ShelvedOffloaded {
        return Err(ComputeError::UnshelveInstanceInvalidState { uuid, status: vm_state.to_string() });
    }
    if let Some(Some(zone)) = &to.new_az
        && !destination::available_zones(state).await?.contains(zone)
    {
        return Err(ComputeError::invalid("The requested availability zone is not available"));
    }
    let zone = to.new_az.clone().unwrap_or_else(|| spec.availability_zone.clone());
    let Some(host) = &to.host else { return Ok(zone) };
    let target = Target { project_id: instance.project_id(), user_id: instance.user_id.as_deref().unwrap_or_default() };
    if !state.policy.allows(UNSHELVE_TO_HOST, context, target) {
        return Err(ComputeError::PolicyNotAuthorized { rule: UNSHELVE_TO_HOST });
    }
    if compute_nodes::list_by_host(&state.db, host).await?.is_empty() {
        return Err(ComputeError::Invalid(format!("Compute host {host} could not be found.")));
    }
    if let Some(availability_zone) = &zone
        && zone_of(state, host).await?.as_ref() != Some(availability_zone)
    {
        let (host, availability_zone) = (host.clone(), availability_zone.clone());
        return Err(ComputeError::UnshelveHostNotInAz { host, availability_zone });
    }
    Ok(zone)
}

async fn zone_of(state: &ApiState, host: &str) -> Result<Option<String>, ComputeError> {
    let zones = availability_zones::read(state).await?;
    let service = services::get_by_host_and_binary(&state.db, host, "nova-compute").await?;
    Ok(service.map(|service| zones.of(&service).to_owned()))
}
