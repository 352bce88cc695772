//! What this host has and has given away: its `ComputeNode` row and its resource provider.
//!
//! Placement decides what fits; the figures in the row are what it says is allocated, for people and weighers.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use kilonova_clients::placement::{Inventory, Placement, Resources};
use kilonova_core::RequestContext;
use kilonova_objects::{ComputeNode, Tracked};
use kilonova_rpcapi::ConductorApi;
use kilonova_virt::{Driver, HostResources};
use serde_json::json;
use uuid::Uuid;

use crate::ComputeConfig;
use crate::manager::ManagerError;
use crate::service::BINARY;

/// The trait that tells Nova's own providers from others'.
const OWNER_TRAIT: &str = "OWNER_NOVA";
/// The trait that keeps the scheduler away from a host whose service is disabled.
const DISABLED_TRAIT: &str = "COMPUTE_STATUS_DISABLED";

/// Keeps one compute node up to date.
pub(crate) struct ResourceTracker {
    config: ComputeConfig,
    conductor: ConductorApi,
    placement: Arc<dyn Placement>,
    driver: Arc<dyn Driver>,
    node: RwLock<Option<ComputeNode>>,
}

impl ResourceTracker {
    pub(crate) fn new(
        config: &ComputeConfig,
        conductor: ConductorApi,
        placement: Arc<dyn Placement>,
        driver: Arc<dyn Driver>,
    ) -> Self {
        Self { config: config.clone(), conductor, placement, driver, node: RwLock::default() }
    }

    /// The row as last written, once there is one.
    pub(crate) async fn node(&self) -> Option<ComputeNode> {
        self.node.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One pass: makes the row and the provider if they are not there, and corrects what changed.
    pub(crate) async fn update_available_resource(
        &self,
        context: &RequestContext,
        service_id: i64,
    ) -> Result<(), ManagerError> {
        let host = self.driver.host_resources().await?;
        let existing = self.conductor.compute_nodes_by_host(context, &self.config.host).await?;
        let existing = existing.into_iter().find(|node| node.hypervisor_hostname.as_deref() == Some(&self.config.host));
        let uuid = existing.as_ref().map_or_else(|| node_uuid(&self.config.host), |node| node.uuid);
        let inventory = self.inventory(&host);
        let mut traits: Vec<String> = host.traits.iter().cloned().chain([OWNER_TRAIT.to_owned()]).collect();
        traits.extend(self.driver.capabilities().traits().map(str::to_owned));
        let service = self.conductor.service_get(context, &self.config.host, BINARY).await?;
        if service.is_some_and(|service| service.disabled) {
            traits.push(DISABLED_TRAIT.to_owned());
        }
        self.placement.set_provider(context, uuid, &self.config.host, &inventory, &traits).await?;
        let consumers = self.placement.provider_allocations(context, uuid).await?;
        let used = sum(consumers.values());
        let node = match existing {
            None => {
                let mut node = ComputeNode { uuid, ..ComputeNode::default() };
                self.fill(&mut node, &host, &used, consumers.len(), service_id);
                self.conductor.compute_node_create(context, &node).await?
            }
            Some(existing) => {
                let mut node = Tracked::new(existing);
                self.fill(&mut node, &host, &used, consumers.len(), service_id);
                self.conductor.compute_node_save(context, &mut node).await?;
                node.into_inner()
            }
        };
        *self.node.write().unwrap_or_else(PoisonError::into_inner) = Some(node);
        Ok(())
    }

    /// Tells placement at once whether the scheduler may give servers to this host; the next pass says what the service
    /// row says.
    pub(crate) async fn set_enabled(&self, context: &RequestContext, enabled: bool) -> Result<(), ManagerError> {
        let Some(node) = self.node().await else {
            tracing::warn!(host = self.config.host, "no compute node to mark as enabled or disabled yet");
            return Ok(());
        };
        let marked = [DISABLED_TRAIT.to_owned()];
        let (add, remove): (&[String], &[String]) = if enabled { (&[], &marked) } else { (&marked, &[]) };
        Ok(self.placement.change_traits(context, node.uuid, add, remove).await?)
    }

    fn inventory(&self, host: &HostResources) -> BTreeMap<String, Inventory> {
        let class = |total: i64, reserved: i64, allocation_ratio: f64| Inventory {
            total,
            reserved: reserved.min(total),
            min_unit: 1,
            max_unit: total.max(1),
            step_size: 1,
            allocation_ratio,
        };
        let mut inventory = BTreeMap::new();
        inventory.insert("VCPU".to_owned(), class(host.vcpus, 0, self.config.cpu_allocation_ratio));
        let reserved = self.config.reserved_host_memory_mb.min(host.memory_mb / 2);
        inventory.insert("MEMORY_MB".to_owned(), class(host.memory_mb, reserved, self.config.ram_allocation_ratio));
        inventory.insert("DISK_GB".to_owned(), class(host.local_gb, 0, self.config.disk_allocation_ratio));
        inventory.retain(|_, class| class.total > 0);
        inventory
    }

    fn fill(&self, node: &mut ComputeNode, host: &HostResources, used: &Resources, running: usize, service_id: i64) {
        let used = |class: &str| used.get(class).copied().unwrap_or(0);
        node.service_id = Some(service_id);
        node.host = Some(self.config.host.clone());
        node.hypervisor_hostname = Some(self.config.host.clone());
        node.hypervisor_type = host.hypervisor_type.clone();
        node.hypervisor_version = host.hypervisor_version;
        node.host_ip = Some(self.config.my_ip.clone());
        node.cpu_info = Some(host.cpu_info.clone());
        node.vcpus = host.vcpus;
        node.memory_mb = host.memory_mb;
        node.local_gb = host.local_gb;
        node.vcpus_used = used("VCPU");
        node.memory_mb_used = used("MEMORY_MB") + self.config.reserved_host_memory_mb.min(host.memory_mb / 2);
        node.local_gb_used = used("DISK_GB");
        node.free_ram_mb = Some(node.memory_mb - node.memory_mb_used);
        node.free_disk_gb = Some(node.local_gb - node.local_gb_used);
        node.disk_available_least = Some(host.disk_available_least);
        node.current_workload = Some(0);
        node.running_vms = i64::try_from(running).ok();
        node.metrics.get_or_insert_with(|| "[]".to_owned());
        let stats = node.stats.get_or_insert_default();
        stats.insert("uptime".to_owned(), host.uptime.clone());
        node.supported_hv_specs = host.supported_instances.iter().map(hv_spec).collect();
        node.cpu_allocation_ratio = self.config.cpu_allocation_ratio;
        node.ram_allocation_ratio = self.config.ram_allocation_ratio;
        node.disk_allocation_ratio = self.config.disk_allocation_ratio;
    }
}

/// The same for one host name every time, so that a lost row does not make a second provider of one host.
fn node_uuid(host: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_DNS, format!("compute-node.{host}").as_bytes())
}

fn sum<'a>(consumers: impl Iterator<Item = &'a Resources>) -> Resources {
    let mut total = Resources::new();
    for (class, amount) in consumers.flatten() {
        *total.entry(class.clone()).or_default() += amount;
    }
    total
}

fn hv_spec((arch, hv_type, vm_mode): &(String, String, String)) -> serde_json::Value {
    json!({
        "nova_object.name": "HVSpec", "nova_object.namespace": "nova", "nova_object.version": "1.2",
        "nova_object.data": {"arch": arch, "hv_type": hv_type, "vm_mode": vm_mode},
        "nova_object.changes": ["arch", "hv_type", "vm_mode"],
    })
}
