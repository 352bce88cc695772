//! What is asked of the scheduler, and what it answers.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::flavor::Flavor;
use crate::image_meta::ImageMeta;
use crate::instance::{InstancePciRequests, SecurityGroupList};

crate::versioned_object! {
    /// All that the scheduler needs to place an instance.
    RequestSpec, "RequestSpec", "1.15", {
        [lazy] id: i64,
        image: Option<ImageMeta>,
        numa_topology: Option<Value>,
        pci_requests: Option<InstancePciRequests>,
        project_id: Option<String>,
        user_id: Option<String>,
        availability_zone: Option<String>,
        flavor: Flavor,
        num_instances: i64,
        ignore_hosts: Option<Vec<String>>,
        force_hosts: Option<Vec<String>>,
        force_nodes: Option<Vec<String>>,
        requested_destination: Option<Destination>,
        retry: Option<SchedulerRetries>,
        limits: Option<SchedulerLimits>,
        instance_group: Option<InstanceGroup>,
        scheduler_hints: Option<BTreeMap<String, Vec<String>>>,
        instance_uuid: Uuid,
        security_groups: SecurityGroupList,
        [lazy] network_metadata: NetworkMetadata,
        [lazy] is_bfv: bool,
        requested_resources: Option<Vec<Value>>,
        [lazy] request_level_params: RequestLevelParams,
        [lazy] requested_networks: NetworkRequestList,
    }
}

impl RequestSpec {
    /// The values of a scheduler hint.
    pub fn hint(&self, name: &str) -> &[String] {
        self.scheduler_hints.as_ref().and_then(|hints| hints.get(name)).map_or(&[], Vec::as_slice)
    }
}

crate::versioned_object! {
    /// Where a request wants to go.
    Destination, "Destination", "1.4", {
        host: Option<String>,
        node: Option<String>,
        [lazy] cell: Option<Value>,
        [lazy] aggregates: Option<Vec<String>>,
        [lazy] allow_cross_cell_move: bool,
        [lazy] forbidden_aggregates: Option<Vec<String>>,
    }
}

crate::versioned_object! {
    /// How often, and where, a build was tried.
    SchedulerRetries, "SchedulerRetries", "1.1", {
        num_attempts: i64,
        hosts: Value,
    }
}

crate::versioned_object! {
    /// Limits that the host enforces at its claim.
    SchedulerLimits, "SchedulerLimits", "1.0", {
        numa_topology: Option<Value>,
        vcpu: Option<i64>,
        disk_gb: Option<i64>,
        memory_mb: Option<i64>,
    }
}

crate::versioned_object! {
    /// A server group as the scheduler sees it.
    InstanceGroup, "InstanceGroup", "1.11", {
        [lazy] id: i64,
        [lazy] user_id: Option<String>,
        [lazy] project_id: Option<String>,
        uuid: Uuid,
        name: Option<String>,
        [lazy] policies: Option<Vec<String>>,
        members: Option<Vec<String>>,
        hosts: Option<Vec<String>>,
        policy: Option<String>,
        /// `max_server_per_host` of the policy `anti-affinity`; numbers are texts. Nova's name of the field.
        [lazy] _rules: BTreeMap<String, String>,
        [lazy] created_at: Option<DateTime<Utc>>,
    }
}

impl InstanceGroup {
    /// How many members a host may have under the policy `anti-affinity`.
    pub fn max_server_per_host(&self) -> i64 {
        self._rules.get("max_server_per_host").and_then(|max| max.parse().ok()).unwrap_or(1)
    }
}

crate::versioned_object! {
    /// The kinds of physical network that a request touches.
    NetworkMetadata, "NetworkMetadata", "1.0", {
        physnets: Vec<String>,
        tunneled: bool,
    }
}

crate::versioned_object! {
    /// Placement parameters that hold for a whole request.
    RequestLevelParams, "RequestLevelParams", "1.1", {
        [lazy] root_required: Vec<String>,
        [lazy] root_forbidden: Vec<String>,
        [lazy] same_subtree: Vec<Value>,
    }
}

crate::versioned_object! {
    /// A network, or a port, that a server is asked with.
    NetworkRequest, "NetworkRequest", "1.3", {
        network_id: Option<String>,
        address: Option<String>,
        port_id: Option<Uuid>,
        pci_request_id: Option<Uuid>,
        tag: Option<String>,
        arq_uuid: Option<Uuid>,
        device_profile: Option<String>,
    }
}

/// `network_id` of the request for no network at all.
pub const NETWORK_ID_NONE: &str = "none";
/// `network_id` of the request for whatever network the project has.
pub const NETWORK_ID_AUTO: &str = "auto";

crate::object_list!(
    /// The networks that a server is asked with.
    NetworkRequestList, "1.1", NetworkRequest
);

crate::versioned_object! {
    /// A host that the scheduler chose.
    Selection, "Selection", "1.1", {
        compute_node_uuid: Uuid,
        service_host: String,
        nodename: String,
        cell_uuid: Uuid,
        limits: Option<SchedulerLimits>,
        /// JSON text of the allocations that were, or may be, claimed.
        allocation_request: Option<String>,
        allocation_request_version: Option<String>,
        availability_zone: Option<String>,
    }
}
