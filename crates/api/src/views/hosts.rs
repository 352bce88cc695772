//! Hosts.

use std::collections::BTreeMap;

use kilonova_objects::{ComputeNode, Instance};
use serde::Serialize;
use serde_json::{Value, json};

/// A service process, in the list of hosts.
#[derive(Serialize)]
pub(crate) struct Service<'a> {
    host_name: Option<&'a str>,
    service: Option<&'a str>,
    pub(crate) zone: &'a str,
}

impl<'a> Service<'a> {
    pub(crate) fn new(service: &'a kilonova_objects::Service, zone: &'a str) -> Self {
        Self { host_name: service.host.as_deref(), service: service.topic.as_deref(), zone }
    }
}

/// What a host has or what is used of it.
#[derive(Serialize)]
struct Resource<'a> {
    host: &'a str,
    /// A project, or a word in parentheses.
    project: &'a str,
    cpu: i64,
    memory_mb: i64,
    disk_gb: i64,
}

impl<'a> Resource<'a> {
    fn none(host: &'a str, project: &'a str) -> Self {
        Self { host, project, cpu: 0, memory_mb: 0, disk_gb: 0 }
    }

    fn add(&mut self, server: &Instance) {
        self.cpu += server.vcpus.unwrap_or(0);
        self.memory_mb += server.memory_mb.unwrap_or(0);
        self.disk_gb += server.root_gb.unwrap_or(0) + server.ephemeral_gb.unwrap_or(0);
    }
}

/// What a host has, what is used now, what its servers use if they use all of theirs, and the same by project.
pub(crate) fn resources(host: &str, node: &ComputeNode, servers: &[Instance]) -> Vec<Value> {
    let total =
        Resource { host, project: "(total)", cpu: node.vcpus, memory_mb: node.memory_mb, disk_gb: node.local_gb };
    let used = Resource {
        host,
        project: "(used_now)",
        cpu: node.vcpus_used,
        memory_mb: node.memory_mb_used,
        disk_gb: node.local_gb_used,
    };
    let mut promised = Resource::none(host, "(used_max)");
    let mut by_project: BTreeMap<&str, Resource<'_>> = BTreeMap::new();
    for server in servers {
        promised.add(server);
        let project = server.project_id();
        by_project.entry(project).or_insert_with(|| Resource::none(host, project)).add(server);
    }
    let all = [total, used, promised].into_iter().chain(by_project.into_values());
    all.map(|resource| json!({"resource": resource})).collect()
}
