//! The NUMA nodes of a server: an `InstanceNUMATopology`, which passes through here as it came.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Topology {
    nodes: Vec<Node>,
    /// Of the last node that has one.
    pagesize_kb: Option<i64>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Node {
    vcpu_set: BTreeSet<i64>,
    /// Processors that are threads of one core.
    siblings: Vec<Vec<i64>>,
    memory_mb: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_node: Option<i64>,
    /// The host's processor of each of the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_pinning: Option<BTreeMap<String, i64>>,
}

impl Topology {
    /// `shows_host`: with what of the host is used.
    pub(crate) fn new(topology: Option<&Value>, shows_host: bool) -> Self {
        let cells = topology.and_then(|topology| data(topology)?.get("cells")?.as_array());
        let cells: Vec<&Value> = cells.into_iter().flatten().filter_map(data).collect();
        let mut pagesizes = cells.iter().filter_map(|cell| cell.get("pagesize")?.as_i64());
        Self {
            pagesize_kb: pagesizes.rfind(|size| *size != 0),
            nodes: cells.into_iter().map(|cell| node(cell, shows_host)).collect(),
        }
    }
}

fn data(object: &Value) -> Option<&Value> {
    object.get("nova_object.data")
}

fn node(cell: &Value, shows_host: bool) -> Node {
    let number = |name: &str| cell.get(name).and_then(Value::as_i64);
    let set = |name: &str| cell.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_i64);
    let vcpu_set: BTreeSet<i64> = set("cpuset").chain(set("pcpuset")).collect();
    Node {
        siblings: siblings(&vcpu_set, threads(cell)),
        vcpu_set,
        memory_mb: number("memory").unwrap_or_default(),
        host_node: shows_host.then(|| number("id")).flatten(),
        cpu_pinning: shows_host.then(|| pinning(cell)),
    }
}

/// Of one core.
fn threads(cell: &Value) -> usize {
    let threads = cell.get("cpu_topology").and_then(|cpus| data(cpus)?.get("threads")?.as_u64());
    threads.and_then(|threads| usize::try_from(threads).ok()).unwrap_or_default()
}

/// What fills no core is left out.
fn siblings(vcpu_set: &BTreeSet<i64>, threads: usize) -> Vec<Vec<i64>> {
    if threads < 2 {
        return Vec::new();
    }
    let cpus: Vec<i64> = vcpu_set.iter().copied().collect();
    cpus.chunks_exact(threads).map(<[i64]>::to_vec).collect()
}

fn pinning(cell: &Value) -> BTreeMap<String, i64> {
    let pins = cell.get("cpu_pinning_raw").and_then(Value::as_object).into_iter().flatten();
    pins.filter_map(|(vcpu, pcpu)| Some((vcpu.clone(), pcpu.as_i64()?))).collect()
}
