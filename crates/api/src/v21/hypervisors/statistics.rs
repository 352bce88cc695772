//! `GET /os-hypervisors/statistics`: sums over the hypervisors of enabled services, up to 2.87.

use kilonova_objects::ComputeNode;
use serde_json::json;

use crate::call::{Answer, Call, ok};
use crate::compute::hypervisors;
use crate::policy::Target;

pub(crate) async fn statistics(call: Call) -> Answer {
    call.authorize(Target::default())?;
    let all = hypervisors::list(&call.state, false).await?;
    let nodes: Vec<&ComputeNode> =
        all.iter().filter(|hypervisor| !hypervisor.service.disabled).map(|hypervisor| &hypervisor.node).collect();
    let sum = |field: fn(&ComputeNode) -> i64| nodes.iter().map(|node| field(node)).sum::<i64>();
    ok(&json!({"hypervisor_statistics": {
        "count": nodes.len(),
        "vcpus": sum(|node| node.vcpus),
        "memory_mb": sum(|node| node.memory_mb),
        "local_gb": sum(|node| node.local_gb),
        "vcpus_used": sum(|node| node.vcpus_used),
        "memory_mb_used": sum(|node| node.memory_mb_used),
        "local_gb_used": sum(|node| node.local_gb_used),
        "free_ram_mb": sum(|node| node.free_ram_mb.unwrap_or(0)),
        "free_disk_gb": sum(|node| node.free_disk_gb.unwrap_or(0)),
        "current_workload": sum(|node| node.current_workload.unwrap_or(0)),
        "running_vms": sum(|node| node.running_vms.unwrap_or(0)),
        "disk_available_least": sum(|node| node.disk_available_least.unwrap_or(0)),
    }}))
}
