//! `/servers` and everything under it.

pub(crate) mod action_admin;
pub(crate) mod action_admin_password;
pub(crate) mod action_console_output;
pub(crate) mod action_crash_dump;
pub(crate) mod action_fixed_ips;
pub(crate) mod action_floating_ips;
pub(crate) mod action_images;
pub(crate) mod action_migrate;
pub(crate) mod action_pause;
pub(crate) mod action_power;
pub(crate) mod action_rebuild;
pub(crate) mod action_rescue;
pub(crate) mod action_shelve;
pub(crate) mod action_suspend;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod diagnostics;
pub(crate) mod instance_actions;
pub(crate) mod interfaces;
pub(crate) mod ips;
pub(crate) mod list;
pub(crate) mod metadata;
pub(crate) mod migrations;
pub(crate) mod remote_consoles;
pub(crate) mod security_groups;
pub(crate) mod server_password;
pub(crate) mod shares;
pub(crate) mod show;
pub(crate) mod tags;
pub(crate) mod topology;
pub(crate) mod update;
pub(crate) mod volume_attachments;

use std::collections::{BTreeMap, HashMap};

use kilonova_db::block_devices;
use kilonova_db::request_specs::{self, Asked};
use kilonova_objects::{BlockDeviceMapping, Instance};
use uuid::Uuid;

use crate::call::Call;
use crate::compute;
use crate::error::ApiError;
use crate::policy::Target;
use crate::versions::V2_96;
use crate::views::servers::{Kind, Shown, Viewer};

/// The server as a policy target.
pub(crate) fn target(instance: &Instance) -> Target<'_> {
    Target { project_id: instance.project_id(), user_id: instance.user_id.as_deref().unwrap_or_default() }
}

/// The server of the path, once the route's rule allows it.
async fn authorized(call: &Call) -> Result<Instance, ApiError> {
    let id = if call.param("server_id").is_empty() { call.param("id") } else { call.param("server_id") };
    let instance = compute::get::get(&call.state, &call.context, id).await?;
    call.authorize(target(&instance))?;
    Ok(instance)
}

/// What servers were asked with: shown from 2.96 on.
async fn asked(call: &Call, servers: &[Instance]) -> Result<HashMap<Uuid, Asked>, ApiError> {
    if !call.since(V2_96) {
        return Ok(HashMap::new());
    }
    let uuids: Vec<Uuid> = servers.iter().map(|server| server.uuid).collect();
    Ok(request_specs::asked(&call.state.db, &uuids).await?)
}

/// The volumes that servers have.
async fn volumes(call: &Call, servers: &[Instance]) -> Result<BTreeMap<Uuid, Vec<BlockDeviceMapping>>, ApiError> {
    let uuids: Vec<Uuid> = servers.iter().map(|server| server.uuid).collect();
    Ok(block_devices::volumes(&call.state.db, &uuids).await?)
}

/// A viewer for this caller, who looks at servers of `target`.
fn viewer<'a>(call: &'a Call, kind: Kind, target: Target<'_>) -> Viewer<'a> {
    let can = |rule: &str| call.can(rule, target);
    Viewer {
        version: call.version,
        kind,
        shown: Shown {
            extended_attributes: can("os_compute_api:os-extended-server-attributes"),
            flavor_extra_specs: can("os_compute_api:servers:show:flavor-extra-specs"),
            host_status: can("os_compute_api:servers:show:host_status"),
            fault_details: call.context.is_admin,
        },
        links: &call.links,
        default_zone: &call.state.config.default_availability_zone,
        server_group: None,
        asked: HashMap::new(),
        volumes: BTreeMap::new(),
        host_statuses: HashMap::new(),
        host_ids: HashMap::new(),
    }
}
