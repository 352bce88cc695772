//! `POST /servers`: what is wanted is looked up all at once, checked in Nova's order, written in one transaction with
//! its workflow rows, and then handed to a conductor.
//!
//! ```text
//!   flavor, image, key pair, networks, groups, quota, zone ──> checks ──> instances::create ──> cast
//!        (together)                                                         (all or nothing)    (only a nudge)
//! ```

mod block_devices;
mod build;
pub(in crate::compute) mod destination;
pub(in crate::compute) mod files;
pub(in crate::compute) mod image;
mod names;
mod networks;
mod password;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::join;
use kilonova_core::RequestContext;
use kilonova_db::instances::{self, Create, CreateError, JoinGroup, QuotaLimits, Usage};
use kilonova_db::{DbError, flavors, keypairs};
use kilonova_objects::{
    BlockDeviceMapping, BlockDeviceMappingList, BuildRequest, Flavor, Instance, InstanceGroup, KeyPair,
    NetworkRequestList, SecurityGroup,
};
use kilonova_rpcapi::conductor::ScheduleAndBuildInstances;
use kilonova_rpcapi::workflow::BuildPayload;
use serde_json::Value;
use uuid::Uuid;

use super::{ComputeError, quota, server_groups};
use crate::policy::Target;
use crate::state::ApiState;

pub(crate) use block_devices::BlockDevice;
pub(crate) use destination::Zone;
pub(crate) use networks::RequestedNetworks;
pub(crate) use password::generate as generate_password;

/// How long the conductor that gets the cast has before the workflow pass looks after a build.
const BUILD_LEASE: Duration = Duration::from_secs(30);

/// What is wanted, after the schema.
#[derive(Clone, Debug)]
pub(crate) struct CreateServers {
    pub display_name: String,
    pub display_description: Option<String>,
    pub hostname: Option<String>,
    pub flavor_id: String,
    pub image_ref: Uuid,
    pub min_count: u32,
    pub max_count: u32,
    pub admin_password: String,
    pub key_name: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub tags: Vec<String>,
    pub user_data: Option<String>,
    pub config_drive: bool,
    pub auto_disk_config: Option<bool>,
    pub access_ip_v4: Option<String>,
    pub access_ip_v6: Option<String>,
    /// `None`: the project's default group.
    pub security_groups: Option<Vec<String>>,
    pub networks: RequestedNetworks,
    /// `(path, base64)`
    pub injected_files: Vec<(String, String)>,
    pub block_devices: Vec<BlockDevice>,
    pub scheduler_hints: BTreeMap<String, Vec<String>>,
    pub zone: Zone,
    pub trusted_certs: Option<Vec<String>>,
}

/// What was looked up for a request and found good.
struct Found {
    flavor: Flavor,
    image: kilonova_clients::image::Image,
    key_pair: Option<KeyPair>,
    networks: Option<NetworkRequestList>,
    security_groups: Vec<SecurityGroup>,
    group: Option<InstanceGroup>,
    limits: quota::Limits,
}

/// Creates the servers. The builds go on after this returns.
pub(crate) async fn create(
    state: &ApiState,
    context: &RequestContext,
    wanted: CreateServers,
) -> Result<Vec<Instance>, ComputeError> {
    check_request(&wanted)?;
    let found = look_up(state, context, &wanted).await?;
    let reservation_id = names::reservation_id()?;
    let mut count = wanted.max_count;
    let (created, plan) = loop {
        let plan = build::plan(state, context, &wanted, &found, &reservation_id, count);
        match instances::create(&state.db, transaction(state, context, &plan, &found)).await {
            Ok(created) => break (created, plan),
            Err(CreateError::OverQuota { overs, used, limits }) => {
                let fits = fitting(used, limits, &found.flavor);
                // A request for 1 to 5 gets the 3 that fit.
                if i64::from(wanted.min_count) > fits || fits <= 0 || fits >= i64::from(count) {
                    return Err(over_quota(&wanted, count, &found.flavor, &overs, used, limits));
                }
                count = u32::try_from(fits).unwrap_or(count);
            }
            Err(CreateError::GroupIsFull) => return Err(ComputeError::GroupMemberLimitExceeded),
            Err(CreateError::Db(DbError::NotFound { resource: "server group", id })) => return Err(no_group(&id)),
            Err(CreateError::Db(error)) => return Err(error.into()),
        }
    };
    hand_over(state, context, &created, plan).await;
    Ok(created)
}

/// What can be seen in the request alone.
fn check_request(wanted: &CreateServers) -> Result<(), ComputeError> {
    if wanted.min_count > wanted.max_count {
        return Err(ComputeError::invalid("min_count must be <= max_count"));
    }
    block_devices::check(&wanted.block_devices, wanted.image_ref)?;
    let several = wanted.max_count > 1;
    if several {
        wanted.networks.check_for_several()?;
    }
    if several && wanted.hostname.is_some() {
        return Err(ComputeError::invalid("Unable to allocate a single hostname to multiple instances"));
    }
    Ok(())
}

/// Looks everything up at once; errors are told in Nova's order whatever came first.
async fn look_up(state: &ApiState, context: &RequestContext, wanted: &CreateServers) -> Result<Found, ComputeError> {
    let visible_to = (!context.is_admin).then(|| context.project_id());
    let (flavor, image, key_pair, networks, groups, limits, zone, group) = join!(
        flavors::get(&state.db, &wanted.flavor_id, visible_to),
        image::look_up(state, context, wanted.image_ref, "Can not find requested image"),
        key_pair(state, context, wanted.key_name.as_deref()),
        networks::look_up(state, context, &wanted.networks),
        networks::security_groups(state, context, wanted),
        quota::of_caller(state, context),
        destination::check(state, &wanted.zone),
        server_group(state, context, &wanted.scheduler_hints),
    );
    let flavor = flavor.map_err(|error| no_flavor(error, &wanted.flavor_id))?;
    zone?;
    let (image, limits) = (image?, limits?);
    let own = Target { project_id: context.project_id(), user_id: context.user_id() };
    let zero_disk = state.policy.allows("os_compute_api:servers:create:zero_disk_flavor", context, own);
    image::check(&image, &flavor, wanted.auto_disk_config, zero_disk)?;
    if flavor.disabled {
        return Err(ComputeError::Invalid(format!("Flavor {} could not be found.", flavor.id)));
    }
    files::check(&limits, &wanted.injected_files)?;
    check_metadata(&limits, &wanted.metadata)?;
    let security_groups = groups?;
    let networks = networks?;
    Ok(Found { flavor, image, key_pair: key_pair?, networks, security_groups, group: group?, limits })
}

/// The group that the hint `group` names.
async fn server_group(
    state: &ApiState,
    context: &RequestContext,
    hints: &BTreeMap<String, Vec<String>>,
) -> Result<Option<InstanceGroup>, ComputeError> {
    let Some(id) = hints.get("group").and_then(|groups| groups.first()) else { return Ok(None) };
    match server_groups::get(state, context, id).await {
        Err(ComputeError::InstanceGroupNotFound { id }) => Err(no_group(&id)),
        found => found.map(Some),
    }
}

/// A group that a request for servers names is a part of the request: 400 and not 404.
fn no_group(id: &str) -> ComputeError {
    ComputeError::Invalid(ComputeError::InstanceGroupNotFound { id: id.to_owned() }.to_string())
}

fn no_flavor(error: DbError, id: &str) -> ComputeError {
    match error {
        DbError::NotFound { .. } => ComputeError::Invalid(format!("Flavor {id} could not be found.")),
        other => other.into(),
    }
}

pub(in crate::compute) async fn key_pair(
    state: &ApiState,
    context: &RequestContext,
    name: Option<&str>,
) -> Result<Option<KeyPair>, ComputeError> {
    let Some(name) = name else { return Ok(None) };
    match keypairs::get(&state.db, context.user_id(), name).await {
        Ok(found) => Ok(Some(found)),
        Err(DbError::NotFound { .. }) => Err(ComputeError::invalid("Invalid key_name provided.")),
        Err(other) => Err(other.into()),
    }
}

fn check_metadata(limits: &quota::Limits, metadata: &BTreeMap<String, String>) -> Result<(), ComputeError> {
    if limits.exceeds("metadata_items", metadata.len()) {
        return Err(ComputeError::MetadataLimitExceeded { allowed: limits.get("metadata_items") });
    }
    Ok(())
}

/// How many servers of a flavor the quota still has room for.
fn fitting(used: Usage, limits: QuotaLimits, flavor: &Flavor) -> i64 {
    let room = |limit: i64, used: i64, each: i64| match (limit, each) {
        (limit, _) if limit < 0 => i64::MAX,
        (_, 0) => i64::MAX,
        (limit, each) => (limit - used).max(0) / each,
    };
    room(limits.instances, used.instances, 1).min(room(limits.cores, used.cores, flavor.vcpus)).min(room(
        limits.ram,
        used.ram,
        flavor.memory_mb,
    ))
}

fn over_quota(
    wanted: &CreateServers,
    count: u32,
    flavor: &Flavor,
    overs: &[&'static str],
    used: Usage,
    limits: QuotaLimits,
) -> ComputeError {
    let (min, max) = (wanted.min_count, count);
    let of = |resource: &str| match resource {
        "cores" => ((i64::from(max) * flavor.vcpus).to_string(), used.cores, limits.cores),
        "ram" => ((i64::from(max) * flavor.memory_mb).to_string(), used.ram, limits.ram),
        _ => (if min == max { max.to_string() } else { format!("{min}-{max}") }, used.instances, limits.instances),
    };
    let mut overs = overs.to_vec();
    overs.sort_unstable();
    let all: Vec<(String, i64, i64)> = overs.iter().map(|resource| of(resource)).collect();
    let list = |texts: Vec<String>| texts.join(", ");
    ComputeError::TooManyInstances {
        overs: overs.join(", "),
        requested: list(all.iter().map(|(requested, ..)| requested.clone()).collect()),
        used: list(all.iter().map(|(_, used, _)| used.to_string()).collect()),
        allowed: list(all.iter().map(|(.., allowed)| allowed.to_string()).collect()),
    }
}

fn transaction(state: &ApiState, context: &RequestContext, plan: &build::Plan, found: &Found) -> Create {
    let max_members = found.limits.get("server_group_members");
    Create {
        new: plan.new.clone(),
        request_id: context.request_id().to_owned(),
        user_id: context.user_id().to_owned(),
        project_id: context.project_id().to_owned(),
        quota: found.limits.of_instances(),
        group: found.group.as_ref().map(|group| JoinGroup { uuid: group.uuid, max_members }),
        lease_owner: format!("{}:api", state.config.host),
        lease: BUILD_LEASE,
    }
}

/// Casts to a conductor. A cast that fails is no error: the workflow rows are there, and the pass will find them.
async fn hand_over(state: &ApiState, context: &RequestContext, created: &[Instance], plan: build::Plan) {
    let first = plan.new.first();
    let tags = first.and_then(|new| new.instance.tags.clone()).unwrap_or_default();
    // The disks of the request; each server has its own in its build request.
    let disks = first.map(|new| new.block_devices.clone()).unwrap_or_default();
    let of_request = disks.into_iter().map(|disk| BlockDeviceMapping { uuid: None, instance_uuid: None, ..disk });
    let block_device_mapping = BlockDeviceMappingList::from(of_request.collect::<Vec<_>>());
    let (build_requests, request_specs) = created
        .iter()
        .zip(plan.new)
        .map(|(instance, new)| (build_request(instance, new.block_devices), new.request_spec))
        .unzip();
    let message = ScheduleAndBuildInstances {
        build_requests,
        request_specs,
        image: plan.image,
        admin_password: Some(plan.admin_password),
        injected_files: plan.injected_files,
        requested_networks: plan.networks,
        block_device_mapping,
        tags,
    };
    if let Err(error) = state.conductor.cast(context, message).await {
        let request_id = context.request_id();
        tracing::warn!(request_id, %error, "a build was not handed over and waits for the workflow pass");
        state.nudge();
    }
}

fn build_request(instance: &Instance, disks: Vec<BlockDeviceMapping>) -> BuildRequest {
    BuildRequest {
        instance_uuid: instance.uuid,
        project_id: instance.project_id.clone(),
        instance: Some(instance.clone()),
        block_device_mappings: disks.into(),
        created_at: instance.created_at,
        tags: instance.tags.clone().unwrap_or_default(),
        ..BuildRequest::default()
    }
}

/// What a conductor needs beside the rows.
fn workflow_payload(context: &RequestContext, image: &Value, wanted: &CreateServers, found: &Found) -> Value {
    let identifier = |group: &SecurityGroup| group.uuid.map_or_else(|| group.name.clone(), |uuid| uuid.to_string());
    let payload = BuildPayload {
        context: context.clone(),
        image: image.clone(),
        admin_password: Some(wanted.admin_password.clone()),
        injected_files: files::on_the_wire(&wanted.injected_files),
        requested_networks: found.networks.clone(),
        security_groups: found.security_groups.iter().map(identifier).collect(),
        selections: Vec::new(),
    };
    payload.to_value()
}
