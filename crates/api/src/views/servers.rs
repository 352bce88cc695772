//! What a server looks like: one superset struct, filled by microversion and policy.

mod fields;

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use kilonova_core::Microversion;
use kilonova_db::request_specs::Asked;
use kilonova_objects::state::api_status;
use kilonova_objects::{BlockDeviceMapping, Instance, VmState};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::addresses::Addresses;
use super::links::{Link, Links};
use super::time::{IsoTime, StrTime};
use crate::versions::{
    V2_3, V2_9, V2_16, V2_19, V2_26, V2_47, V2_63, V2_71, V2_73, V2_75, V2_90, V2_96, V2_98, V2_100,
};
use fields::{Fault, FlavorView, Groups, ImageView, Tags, host_id, trusted_certs};

/// `{"server": {…}}`
#[derive(Serialize)]
pub(crate) struct One<T> {
    pub server: T,
}

/// `{"servers": […], "servers_links": […]}`
#[derive(Serialize)]
pub(crate) struct Many<T> {
    pub servers: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servers_links: Option<[Link; 1]>,
}

/// `{"reservation_id": "r-…"}`
#[derive(Serialize)]
pub(crate) struct Reservation<'a> {
    pub reservation_id: &'a str,
}

/// A server of `GET /servers`.
#[derive(Serialize)]
pub(crate) struct Brief<'a> {
    pub id: Uuid,
    pub name: &'a str,
    pub links: [Link; 2],
}

/// The answer to `POST /servers`.
#[derive(Serialize)]
pub(crate) struct Created<'a> {
    server: CreatedServer<'a>,
}

#[derive(Serialize)]
struct CreatedServer<'a> {
    id: Uuid,
    links: [Link; 2],
    #[serde(rename = "OS-DCF:diskConfig")]
    disk_config: &'static str,
    security_groups: Value,
    #[serde(rename = "adminPass", skip_serializing_if = "Option::is_none")]
    admin_pass: Option<&'a str>,
}

impl<'a> Created<'a> {
    /// `groups`: `security_groups` of the request.
    pub(crate) fn new(instance: &Instance, links: &Links, admin_pass: Option<&'a str>, groups: &Value) -> Self {
        let security_groups = if groups.is_array() { groups.clone() } else { serde_json::json!([{"name": "default"}]) };
        Self {
            server: CreatedServer {
                id: instance.uuid,
                links: links.of("servers", &instance.uuid.to_string()),
                disk_config: disk_config(instance),
                security_groups,
                admin_pass,
            },
        }
    }
}

/// What the caller may see, decided once for a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    /// The `OS-EXT-SRV-ATTR` fields.
    pub extended_attributes: bool,
    pub flavor_extra_specs: bool,
    pub host_status: bool,
    /// The details of faults of our own making.
    pub fault_details: bool,
}

/// Which answer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Show,
    Detail,
    /// Shows less than the others before 2.75.
    Update,
    /// As an update, but its user data stands beside the view.
    Rebuild,
}

/// Makes the views of one answer.
pub(crate) struct Viewer<'a> {
    pub version: Microversion,
    pub kind: Kind,
    pub shown: Shown,
    pub links: &'a Links,
    /// The zone of a host in none.
    pub default_zone: &'a str,
    /// The group that the server is in, where it is shown.
    pub server_group: Option<Uuid>,
    /// What the servers were asked with, where it is shown.
    pub asked: HashMap<Uuid, Asked>,
    /// The volumes of the servers.
    pub volumes: BTreeMap<Uuid, Vec<BlockDeviceMapping>>,
    /// `UP`, `DOWN`, … by host, where it is shown.
    pub host_statuses: HashMap<String, &'static str>,
    /// By project and host: a list repeats few of them.
    pub host_ids: HashMap<(String, String), String>,
}

/// The answer to `rebuild`.
#[derive(Serialize)]
pub(crate) struct Rebuilt<'a> {
    #[serde(flatten)]
    pub server: Server<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_name: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data: Option<Option<&'a str>>,
    #[serde(rename = "adminPass", skip_serializing_if = "Option::is_none")]
    pub admin_pass: Option<&'a str>,
}

/// A server with everything; what a microversion or the caller does not have is left out.
#[derive(Serialize)]
pub(crate) struct Server<'a> {
    id: Uuid,
    name: Option<&'a str>,
    status: &'static str,
    tenant_id: &'a str,
    user_id: &'a str,
    metadata: &'a BTreeMap<String, String>,
    #[serde(rename = "hostId")]
    host_id: String,
    image: ImageView<'a>,
    flavor: FlavorView<'a>,
    created: Option<IsoTime>,
    updated: Option<IsoTime>,
    addresses: Addresses<'a>,
    #[serde(rename = "accessIPv4")]
    access_ip_v4: &'a str,
    #[serde(rename = "accessIPv6")]
    access_ip_v6: &'a str,
    links: [Link; 2],
    #[serde(rename = "OS-DCF:diskConfig")]
    disk_config: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<Fault<'a>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    whole: Option<Whole<'a>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    attributes: Option<Attributes<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Tags<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted_image_certificates: Option<Option<&'a Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_groups: Option<Vec<Uuid>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked_reason: Option<Option<&'a str>>,
    #[serde(rename = "OS-EXT-SRV-ATTR:hostname", skip_serializing_if = "Option::is_none")]
    hostname: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned_availability_zone: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduler_hints: Option<Option<BTreeMap<String, Vec<String>>>>,
}

/// What `PUT` does not show before 2.75.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(rename = "OS-EXT-AZ:availability_zone")]
    availability_zone: &'a str,
    config_drive: &'a str,
    key_name: Option<&'a str>,
    #[serde(rename = "OS-SRV-USG:launched_at")]
    launched_at: Option<StrTime>,
    #[serde(rename = "OS-SRV-USG:terminated_at")]
    terminated_at: Option<StrTime>,
    #[serde(skip_serializing_if = "Groups::is_empty")]
    security_groups: Groups<'a>,
    #[serde(rename = "OS-EXT-STS:task_state")]
    task_state: Option<&'static str>,
    #[serde(rename = "OS-EXT-STS:vm_state")]
    vm_state: &'static str,
    #[serde(rename = "OS-EXT-STS:power_state")]
    power_state: i64,
    #[serde(rename = "os-extended-volumes:volumes_attached")]
    volumes_attached: Vec<AttachedVolume>,
}

/// A volume that a server has.
#[derive(Serialize)]
struct AttachedVolume {
    id: String,
    /// Since 2.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    delete_on_termination: Option<bool>,
}

/// What by default only admins see.
#[derive(Serialize)]
struct Attributes<'a> {
    #[serde(rename = "OS-EXT-SRV-ATTR:host")]
    host: Option<&'a str>,
    #[serde(rename = "OS-EXT-SRV-ATTR:instance_name")]
    instance_name: String,
    #[serde(rename = "OS-EXT-SRV-ATTR:hypervisor_hostname")]
    hypervisor_hostname: Option<&'a str>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    more: Option<MoreAttributes<'a>>,
}

/// The same since 2.3.
#[derive(Serialize)]
struct MoreAttributes<'a> {
    #[serde(rename = "OS-EXT-SRV-ATTR:hostname")]
    hostname: Option<&'a str>,
    #[serde(rename = "OS-EXT-SRV-ATTR:kernel_id")]
    kernel_id: &'a str,
    #[serde(rename = "OS-EXT-SRV-ATTR:launch_index")]
    launch_index: i64,
    #[serde(rename = "OS-EXT-SRV-ATTR:ramdisk_id")]
    ramdisk_id: &'a str,
    #[serde(rename = "OS-EXT-SRV-ATTR:reservation_id")]
    reservation_id: Option<&'a str>,
    #[serde(rename = "OS-EXT-SRV-ATTR:root_device_name")]
    root_device_name: Option<&'a str>,
    #[serde(rename = "OS-EXT-SRV-ATTR:user_data", skip_serializing_if = "Option::is_none")]
    user_data: Option<Option<&'a str>>,
}

impl<'a> Viewer<'a> {
    /// The view of a server.
    pub(crate) fn server(&mut self, instance: &'a Instance) -> Server<'a> {
        let id = instance.uuid.to_string();
        let (version, kind) = (self.version, self.kind);
        let whole = !matches!(kind, Kind::Update | Kind::Rebuild) || version >= V2_75;
        let status = status(instance);
        let since = |from: Microversion| version >= from;
        let has_attributes = whole && self.shown.extended_attributes;
        let asked = self.asked.remove(&instance.uuid);
        // A server without a spec has no hints, which a list says in another way.
        let no_hints = || (kind != Kind::Detail).then(BTreeMap::new);
        Server {
            id: instance.uuid,
            name: instance.display_name.as_deref(),
            status,
            tenant_id: instance.project_id(),
            user_id: text(&instance.user_id),
            metadata: &instance.metadata,
            host_id: self.host_id(instance),
            image: ImageView::new(instance, self.links, since(V2_98)),
            flavor: FlavorView::new(instance, self.links, since(V2_47), self.shown.flavor_extra_specs),
            created: instance.created_at.map(IsoTime),
            updated: instance.updated_at.or(instance.created_at).map(IsoTime),
            addresses: addresses(instance, whole),
            access_ip_v4: text(&instance.access_ip_v4),
            access_ip_v6: text(&instance.access_ip_v6),
            links: self.links.of("servers", &id),
            disk_config: disk_config(instance),
            progress: has_progress(status).then(|| instance.progress.unwrap_or_default()),
            fault: matches!(status, "ERROR" | "DELETED")
                .then(|| Fault::new(instance, self.shown.fault_details))
                .flatten(),
            whole: whole.then(|| self.whole(instance)),
            attributes: has_attributes.then(|| self.attributes(instance)),
            locked: since(V2_9).then_some(instance.locked_by.is_some()),
            host_status: (whole && since(V2_16) && self.shown.host_status).then(|| self.host_status(instance)),
            description: since(V2_19).then_some(instance.display_description.as_deref()),
            tags: since(V2_26).then_some(Tags(instance)),
            trusted_image_certificates: since(V2_63).then(|| trusted_certs(instance)),
            server_groups: (since(V2_71) && kind != Kind::Detail).then(|| self.server_group.into_iter().collect()),
            locked_reason: since(V2_73).then(|| system_metadata(instance, "locked_reason")),
            hostname: (since(V2_90) && !has_attributes).then_some(instance.hostname.as_deref()),
            pinned_availability_zone: (whole && since(V2_96))
                .then(|| asked.as_ref().and_then(|asked| asked.availability_zone.clone())),
            scheduler_hints: since(V2_100).then(|| asked.map_or_else(no_hints, |asked| asked.scheduler_hints)),
        }
    }

    fn whole(&self, instance: &'a Instance) -> Whole<'a> {
        let stamp = |at: Option<DateTime<Utc>>| at.map(StrTime);
        let host = instance.host.as_deref().filter(|host| !host.is_empty());
        Whole {
            availability_zone: instance.availability_zone.as_deref().unwrap_or(if host.is_some() {
                self.default_zone
            } else {
                ""
            }),
            config_drive: text(&instance.config_drive),
            key_name: instance.key_name.as_deref(),
            launched_at: stamp(instance.launched_at),
            terminated_at: stamp(instance.terminated_at),
            security_groups: Groups(instance),
            task_state: instance.task_state.map(|state| state.as_str()),
            vm_state: instance.vm_state.as_str(),
            power_state: instance.power_state.number(),
            volumes_attached: self.volumes_attached(instance.uuid),
        }
    }

    fn volumes_attached(&self, uuid: Uuid) -> Vec<AttachedVolume> {
        let disks = self.volumes.get(&uuid).map_or(&[][..], Vec::as_slice);
        let attached = |disk: &BlockDeviceMapping| {
            let delete_on_termination = (self.version >= V2_3).then_some(disk.delete_on_termination);
            Some(AttachedVolume { id: disk.volume_id.clone()?, delete_on_termination })
        };
        disks.iter().filter_map(attached).collect()
    }

    fn host_status(&self, instance: &Instance) -> &'static str {
        let host = instance.host.as_deref().unwrap_or_default();
        self.host_statuses.get(host).copied().unwrap_or_default()
    }

    fn attributes(&self, instance: &'a Instance) -> Attributes<'a> {
        Attributes {
            host: instance.host.as_deref(),
            instance_name: instance.name(),
            hypervisor_hostname: instance.node.as_deref(),
            more: (self.version >= V2_3).then(|| MoreAttributes {
                hostname: instance.hostname.as_deref(),
                kernel_id: text(&instance.kernel_id),
                launch_index: instance.launch_index.unwrap_or_default(),
                ramdisk_id: text(&instance.ramdisk_id),
                reservation_id: instance.reservation_id.as_deref(),
                root_device_name: instance.root_device_name.as_deref(),
                user_data: (self.kind != Kind::Rebuild).then_some(instance.user_data.as_deref()),
            }),
        }
    }

    fn host_id(&mut self, instance: &Instance) -> String {
        let Some(host) = instance.host.as_deref().filter(|host| !host.is_empty()) else {
            return String::new();
        };
        let key = (instance.project_id().to_owned(), host.to_owned());
        self.host_ids.entry(key).or_insert_with(|| host_id(instance.project_id(), host)).clone()
    }
}

/// Hidden while the server is being built.
fn addresses(instance: &Instance, is_extended: bool) -> Addresses<'_> {
    if instance.vm_state == VmState::Building {
        return Addresses::default();
    }
    Addresses::of(instance, is_extended)
}

fn status(instance: &Instance) -> &'static str {
    if instance.deleted { "DELETED" } else { api_status(instance.vm_state, instance.task_state) }
}

fn has_progress(status: &str) -> bool {
    matches!(status, "ACTIVE" | "BUILD" | "REBUILD" | "RESIZE" | "VERIFY_RESIZE" | "MIGRATING")
}

fn disk_config(instance: &Instance) -> &'static str {
    if instance.auto_disk_config { "AUTO" } else { "MANUAL" }
}

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

fn system_metadata<'a>(instance: &'a Instance, key: &str) -> Option<&'a str> {
    instance.system_metadata.get(key)?.as_deref()
}

pub(crate) use fields::host_id as obfuscated_host;
