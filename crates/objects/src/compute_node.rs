//! What a hypervisor has and has given away.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

crate::versioned_object! {
    /// A hypervisor of a compute host.
    ComputeNode, "ComputeNode", "1.19", {
        [lazy] id: i64,
        /// Also the uuid of its resource provider.
        uuid: Uuid,
        service_id: Option<i64>,
        host: Option<String>,
        vcpus: i64,
        memory_mb: i64,
        local_gb: i64,
        vcpus_used: i64,
        memory_mb_used: i64,
        local_gb_used: i64,
        hypervisor_type: String,
        hypervisor_version: i64,
        hypervisor_hostname: Option<String>,
        free_ram_mb: Option<i64>,
        free_disk_gb: Option<i64>,
        current_workload: Option<i64>,
        running_vms: Option<i64>,
        /// JSON text.
        cpu_info: Option<String>,
        disk_available_least: Option<i64>,
        /// JSON text.
        metrics: Option<String>,
        stats: Option<BTreeMap<String, Option<String>>>,
        host_ip: Option<String>,
        /// JSON text.
        numa_topology: Option<String>,
        /// `HVSpec` objects as they came.
        supported_hv_specs: Vec<Value>,
        [lazy] pci_device_pools: Option<Value>,
        cpu_allocation_ratio: f64,
        ram_allocation_ratio: f64,
        disk_allocation_ratio: f64,
        [lazy] mapped: i64,
        [lazy] created_at: Option<DateTime<Utc>>,
        [lazy] updated_at: Option<DateTime<Utc>>,
        [lazy] deleted_at: Option<DateTime<Utc>>,
        [lazy] deleted: bool,
    }
}

crate::object_list!(
    /// Several hypervisors.
    ComputeNodeList, "1.17", ComputeNode
);
