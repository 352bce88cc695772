//! Hypervisors.

use kilonova_core::Microversion;
use kilonova_objects::{ComputeNode, Service};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::compute::hypervisors::Hypervisor;
use crate::versions::{V2_28, V2_53, V2_75, V2_88};

/// In a brief list.
#[derive(Serialize)]
pub(crate) struct Brief<'a> {
    id: Value,
    hypervisor_hostname: Option<&'a str>,
    state: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    servers: Option<Vec<Server<'a>>>,
}

#[derive(Serialize)]
struct Server<'a> {
    name: &'a str,
    uuid: Uuid,
}

/// With what it is and, up to 2.87, with what it has.
#[derive(Serialize)]
pub(crate) struct Detail<'a> {
    #[serde(flatten)]
    brief: Brief<'a>,
    hypervisor_type: &'a str,
    hypervisor_version: i64,
    host_ip: Option<&'a str>,
    service: Of<'a>,
    #[serde(flatten)]
    resources: Option<Resources<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime: Option<Option<&'a str>>,
}

/// Its service.
#[derive(Serialize)]
struct Of<'a> {
    id: Value,
    host: Option<&'a str>,
    disabled_reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Resources<'a> {
    vcpus: i64,
    memory_mb: i64,
    local_gb: i64,
    vcpus_used: i64,
    memory_mb_used: i64,
    local_gb_used: i64,
    free_ram_mb: Option<i64>,
    free_disk_gb: Option<i64>,
    current_workload: Option<i64>,
    running_vms: Option<i64>,
    disk_available_least: Option<i64>,
    cpu_info: CpuInfo<'a>,
}

/// Text in older microversions, then an object.
#[derive(Serialize)]
#[serde(untagged)]
enum CpuInfo<'a> {
    Text(&'a str),
    Object(Value),
}

impl<'a> Brief<'a> {
    pub(crate) fn new(hypervisor: &'a Hypervisor, is_up: bool, version: Microversion) -> Self {
        let Hypervisor { node, service, servers } = hypervisor;
        let shown = |servers: &&Vec<(Uuid, String)>| !servers.is_empty() || version >= V2_75;
        let server = |(uuid, name): &'a (Uuid, String)| Server { name, uuid: *uuid };
        Self {
            id: if version >= V2_53 { json!(node.uuid) } else { json!(node.id) },
            hypervisor_hostname: node.hypervisor_hostname.as_deref(),
            state: if is_up { "up" } else { "down" },
            status: if service.disabled { "disabled" } else { "enabled" },
            servers: servers.as_ref().filter(shown).map(|servers| servers.iter().map(server).collect()),
        }
    }
}

impl<'a> Detail<'a> {
    pub(crate) fn new(hypervisor: &'a Hypervisor, is_up: bool, version: Microversion) -> Self {
        let node = &hypervisor.node;
        Self {
            brief: Brief::new(hypervisor, is_up, version),
            hypervisor_type: &node.hypervisor_type,
            hypervisor_version: node.hypervisor_version,
            host_ip: node.host_ip.as_deref(),
            service: of(node, &hypervisor.service, version),
            resources: (version < V2_88).then(|| resources(node, version)),
            uptime: (version >= V2_88).then(|| uptime(node)),
        }
    }
}

/// What the host last said of its uptime, if its driver says such a thing.
pub(crate) fn uptime(node: &ComputeNode) -> Option<&str> {
    node.stats.as_ref()?.get("uptime")?.as_deref()
}

fn of<'a>(node: &'a ComputeNode, service: &'a Service, version: Microversion) -> Of<'a> {
    Of {
        id: if version >= V2_53 { json!(service.uuid) } else { json!(service.id) },
        host: node.host.as_deref(),
        disabled_reason: service.disabled_reason.as_deref(),
    }
}

fn resources(node: &ComputeNode, version: Microversion) -> Resources<'_> {
    let text = node.cpu_info.as_deref().unwrap_or_default();
    Resources {
        vcpus: node.vcpus,
        memory_mb: node.memory_mb,
        local_gb: node.local_gb,
        vcpus_used: node.vcpus_used,
        memory_mb_used: node.memory_mb_used,
        local_gb_used: node.local_gb_used,
        free_ram_mb: node.free_ram_mb,
        free_disk_gb: node.free_disk_gb,
        current_workload: node.current_workload,
        running_vms: node.running_vms,
        disk_available_least: node.disk_available_least,
        cpu_info: if version >= V2_28 {
            // What a host reports as its processor is its driver's business; an object it must be.
            CpuInfo::Object(serde_json::from_str(text).ok().filter(Value::is_object).unwrap_or_else(|| json!({})))
        } else {
            CpuInfo::Text(text)
        },
    }
}
