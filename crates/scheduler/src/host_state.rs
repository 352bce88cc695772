//! A host during one request: what it is, what it has left, and what this request has put there already.

use std::collections::BTreeMap;
use std::sync::Arc;

use kilonova_clients::placement::{Candidate, Resources};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{CELL_UUID, HostInput};

/// What [`HostState::own_attribute`] knows.
const ATTRIBUTES: [&str; 23] = [
    "cell_uuid",
    "cpu_allocation_ratio",
    "cpu_info",
    "disk_allocation_ratio",
    "disk_mb_used",
    "failed_builds",
    "free_disk_mb",
    "free_ram_mb",
    "host",
    "host_ip",
    "hypervisor_hostname",
    "hypervisor_type",
    "hypervisor_version",
    "nodename",
    "num_instances",
    "num_io_ops",
    "ram_allocation_ratio",
    "stats",
    "total_usable_disk_gb",
    "total_usable_ram_mb",
    "uuid",
    "vcpus_total",
    "vcpus_used",
];

/// One host.
///
/// What is left is counted by placement, which is current, where the compute node's own report may be a minute old.
#[derive(Clone, Debug)]
pub(crate) struct HostState {
    pub(crate) input: Arc<HostInput>,
    capacity: Resources,
    used: Resources,
    /// Of its resource provider.
    pub(crate) traits: Vec<String>,
    pub(crate) num_instances: i64,
    /// Builds, resizes, snapshots and the like that are under way.
    pub(crate) num_io_ops: i64,
    /// Members of the request's server group.
    pub(crate) group_members: i64,
}

impl HostState {
    pub(crate) fn new(input: Arc<HostInput>, candidate: Candidate) -> Self {
        let num_instances = stat(&input, "num_instances").or(input.node.running_vms);
        let num_io_ops = stat(&input, "io_workload").or(input.node.current_workload);
        Self {
            capacity: candidate.capacity,
            used: candidate.used,
            traits: candidate.traits,
            num_instances: num_instances.unwrap_or_default(),
            num_io_ops: num_io_ops.unwrap_or_default(),
            group_members: 0,
            input,
        }
    }

    /// A host of which nothing is to be taken.
    pub(crate) fn as_it_is(input: Arc<HostInput>) -> Self {
        Self {
            capacity: Resources::new(),
            used: Resources::new(),
            traits: Vec::new(),
            num_instances: 0,
            num_io_ops: 0,
            group_members: 0,
            input,
        }
    }

    pub(crate) fn uuid(&self) -> Uuid {
        self.input.node.uuid
    }

    /// Name of the host that the compute service runs on.
    pub(crate) fn host(&self) -> &str {
        let node = self.input.node.host.as_deref();
        node.or(self.input.service.host.as_deref()).unwrap_or_default()
    }

    /// Hypervisor hostname.
    pub(crate) fn nodename(&self) -> &str {
        self.input.node.hypervisor_hostname.as_deref().unwrap_or_default()
    }

    /// What is left of a class.
    pub(crate) fn free(&self, resource_class: &str) -> i64 {
        let amount = |of: &Resources| of.get(resource_class).copied().unwrap_or_default();
        amount(&self.capacity).saturating_sub(amount(&self.used))
    }

    pub(crate) fn fits(&self, resources: &Resources) -> bool {
        resources.iter().all(|(class, amount)| *amount <= self.free(class))
    }

    /// A server of this request is on it now.
    pub(crate) fn consume(&mut self, resources: &Resources) {
        for (class, amount) in resources {
            *self.used.entry(class.clone()).or_default() += amount;
        }
        self.count(1);
    }

    /// Counts servers that placement knows of, but the compute node's report does not yet.
    pub(crate) fn count(&mut self, servers: i64) {
        self.num_instances += servers;
        self.num_io_ops += servers;
        self.group_members += servers;
    }

    #[cfg(test)]
    pub(crate) fn capacity_for_test(&mut self, amounts: &[(&str, i64)]) {
        self.capacity = amounts.iter().map(|(class, amount)| ((*class).to_owned(), *amount)).collect();
    }

    /// What the node's monitors measured last: value by name. Shares of the CPU's time (`….percent`) are in percent.
    pub(crate) fn metrics(&self) -> BTreeMap<String, f64> {
        #[derive(serde::Deserialize)]
        struct Metric {
            name: String,
            value: Option<f64>,
        }
        let read = self.input.node.metrics.as_deref().map(serde_json::from_str::<Vec<Metric>>);
        let metrics = read.and_then(Result::ok).unwrap_or_default();
        let value = |metric: Metric| {
            let scale = if metric.name.ends_with(".percent") { 100.0 } else { 1.0 };
            Some((metric.name, (metric.value? * scale).trunc()))
        };
        metrics.into_iter().filter_map(value).collect()
    }

    /// A number in the node's stats.
    pub(crate) fn stat(&self, name: &str) -> Option<i64> {
        stat(&self.input, name)
    }

    /// An attribute under the name that Nova's host state has it, or one of the node's stats.
    pub(crate) fn attribute(&self, name: &str) -> Option<Value> {
        let stat = || self.input.node.stats.as_ref()?.get(name)?.as_deref().map(Value::from);
        self.own_attribute(name).or_else(stat)
    }

    /// All that the host has of what Nova's host state has; `cpu_info` as it is in its JSON.
    pub(crate) fn own_attributes(&self) -> Map<String, Value> {
        let attribute = |name: &&str| Some(((*name).to_owned(), self.own_attribute(name)?));
        let mut all: Map<String, Value> = ATTRIBUTES.iter().filter_map(attribute).collect();
        let cpu_info = self.input.node.cpu_info.as_deref().and_then(|text| serde_json::from_str(text).ok());
        if let Some(cpu_info) = cpu_info {
            all.insert("cpu_info".to_owned(), cpu_info);
        }
        all
    }

    /// An attribute under the name that Nova's host state has it.
    pub(crate) fn own_attribute(&self, name: &str) -> Option<Value> {
        let node = &self.input.node;
        let value = match name {
            "host" => self.host().into(),
            "nodename" | "hypervisor_hostname" => self.nodename().into(),
            "vcpus_total" => node.vcpus.into(),
            "vcpus_used" => node.vcpus_used.into(),
            "total_usable_ram_mb" => node.memory_mb.into(),
            "total_usable_disk_gb" => node.local_gb.into(),
            "free_ram_mb" => self.free("MEMORY_MB").into(),
            "free_disk_mb" => self.free("DISK_GB").saturating_mul(1024).into(),
            "hypervisor_type" => node.hypervisor_type.as_str().into(),
            "hypervisor_version" => node.hypervisor_version.into(),
            "host_ip" => node.host_ip.as_deref()?.into(),
            "cpu_info" => node.cpu_info.as_deref()?.into(),
            "cpu_allocation_ratio" => node.cpu_allocation_ratio.into(),
            "ram_allocation_ratio" => node.ram_allocation_ratio.into(),
            "disk_allocation_ratio" => node.disk_allocation_ratio.into(),
            "num_instances" => self.num_instances.into(),
            "num_io_ops" => self.num_io_ops.into(),
            "uuid" => self.uuid().to_string().into(),
            "disk_mb_used" => node.local_gb_used.saturating_mul(1024).into(),
            "failed_builds" => self.stat("failed_builds").unwrap_or_default().into(),
            "cell_uuid" => CELL_UUID.to_string().into(),
            "stats" => serde_json::to_value(node.stats.as_ref()?).ok()?,
            _ => return None,
        };
        Some(value)
    }
}

fn stat(input: &HostInput, name: &str) -> Option<i64> {
    input.node.stats.as_ref()?.get(name)?.as_deref()?.parse().ok()
}
