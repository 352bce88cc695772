//! Hypervisors, services and servers for the tests of what a cloud consists of.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use kilonova_core::time::utcnow;
use kilonova_db::instances::{Create, NewInstance, QuotaLimits};
use kilonova_db::{compute_nodes, instances, services};
use kilonova_objects::{ComputeNode, Instance, RequestSpec, Service, VmState};
use serde_json::{Value, json};
use uuid::Uuid;

use super::cloud::{Cloud, HOST};

/// When and where a server ran.
#[derive(Clone, Copy)]
pub(super) struct Ran {
    pub(super) host: Option<&'static str>,
    /// Hours ago.
    pub(super) launched: Option<i64>,
    /// Hours ago.
    pub(super) terminated: Option<i64>,
}

/// On the compute host, since an hour.
pub(super) const RUNNING: Ran = Ran { host: Some(HOST), launched: Some(1), terminated: None };

pub(super) fn hours_ago(hours: i64) -> DateTime<Utc> {
    utcnow() - TimeDelta::hours(hours)
}

/// A server of the flavor `m1.small`.
pub(super) async fn server(cloud: &Cloud, project_id: &str, user_id: &str, ran: Ran) -> Instance {
    let flavor = kilonova_db::flavors::get(&cloud.db, "2", None).await.unwrap();
    let instance = Instance {
        uuid: Uuid::new_v4(),
        project_id: Some(project_id.to_owned()),
        user_id: Some(user_id.to_owned()),
        display_name: Some("a server".to_owned()),
        vm_state: VmState::Active,
        memory_mb: Some(flavor.memory_mb),
        vcpus: Some(flavor.vcpus),
        root_gb: Some(flavor.root_gb),
        ephemeral_gb: Some(0),
        host: ran.host.map(str::to_owned),
        node: ran.host.map(str::to_owned),
        launched_at: ran.launched.map(hours_ago),
        terminated_at: ran.terminated.map(hours_ago),
        flavor: Some(flavor),
        ..Instance::default()
    };
    let create = Create {
        new: vec![NewInstance {
            instance,
            block_devices: Vec::new(),
            request_spec: RequestSpec::default(),
            workflow_payload: Value::Null,
        }],
        request_id: "req-1".to_owned(),
        user_id: user_id.to_owned(),
        project_id: project_id.to_owned(),
        quota: QuotaLimits::UNLIMITED,
        group: None,
        lease_owner: "test".to_owned(),
        lease: Duration::from_secs(60),
    };
    instances::create(&cloud.db, create).await.unwrap().remove(0)
}

/// A hypervisor.
pub(super) async fn node(cloud: &Cloud, host: &str) -> ComputeNode {
    let node = ComputeNode {
        uuid: Uuid::new_v4(),
        host: Some(host.to_owned()),
        hypervisor_hostname: Some(format!("{host}.example.org")),
        vcpus: 8,
        memory_mb: 16_384,
        local_gb: 100,
        vcpus_used: 2,
        memory_mb_used: 2048,
        local_gb_used: 20,
        free_ram_mb: Some(14_336),
        free_disk_gb: Some(80),
        current_workload: Some(0),
        running_vms: Some(1),
        hypervisor_type: "QEMU".to_owned(),
        hypervisor_version: 10_000_000,
        cpu_info: Some(json!({"arch": "x86_64"}).to_string()),
        host_ip: Some("192.0.2.1".to_owned()),
        stats: Some(BTreeMap::new()),
        ..ComputeNode::default()
    };
    compute_nodes::create(&cloud.db, &node).await.unwrap()
}

/// A hypervisor that says how long its host is up.
pub(super) async fn set_uptime(cloud: &Cloud, node: &ComputeNode, uptime: &str) {
    let changes = json!({"stats": {"uptime": uptime}});
    compute_nodes::save(&cloud.db, node.uuid, changes.as_object().unwrap()).await.unwrap();
}

/// A service that was last seen up `age_s` seconds ago.
pub(super) async fn service(cloud: &Cloud, host: &str, binary: &str, age_s: i64) -> Service {
    let service = Service {
        host: Some(host.to_owned()),
        binary: Some(binary.to_owned()),
        topic: binary.strip_prefix("nova-").map(str::to_owned),
        version: 74,
        last_seen_up: Some(utcnow() - TimeDelta::seconds(age_s)),
        ..Service::default()
    };
    services::create(&cloud.db, &service).await.unwrap()
}

/// The service that every test cloud has.
pub(super) async fn first_service(cloud: &Cloud) -> Service {
    services::get_by_host_and_binary(&cloud.db, HOST, "nova-compute").await.unwrap().unwrap()
}
