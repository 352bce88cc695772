//! Instances and what hangs on one.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::block_device::BlockDeviceMappingList;
use crate::flavor::Flavor;
use crate::keypair::KeyPairList;
use crate::network_model::NetworkInfo;
use crate::state::{PowerState, TaskState, VmState};
use crate::wire::WireError;

crate::versioned_object! {
    /// A server, as the services know it.
    Instance, "Instance", "2.8", {
        [lazy] id: i64,
        user_id: Option<String>,
        project_id: Option<String>,
        image_ref: Option<String>,
        kernel_id: Option<String>,
        ramdisk_id: Option<String>,
        hostname: Option<String>,
        launch_index: Option<i64>,
        key_name: Option<String>,
        key_data: Option<String>,
        power_state: PowerState,
        vm_state: VmState,
        task_state: Option<TaskState>,
        [lazy] services: Option<Value>,
        memory_mb: Option<i64>,
        vcpus: Option<i64>,
        root_gb: Option<i64>,
        ephemeral_gb: Option<i64>,
        ephemeral_key_uuid: Option<Uuid>,
        host: Option<String>,
        node: Option<String>,
        compute_id: Option<i64>,
        instance_type_id: Option<i64>,
        /// base64, as the API took it.
        user_data: Option<String>,
        reservation_id: Option<String>,
        launched_at: Option<DateTime<Utc>>,
        terminated_at: Option<DateTime<Utc>>,
        availability_zone: Option<String>,
        display_name: Option<String>,
        display_description: Option<String>,
        launched_on: Option<String>,
        locked: bool,
        /// `admin` or `owner`.
        locked_by: Option<String>,
        os_type: Option<String>,
        architecture: Option<String>,
        vm_mode: Option<String>,
        uuid: Uuid,
        root_device_name: Option<String>,
        [lazy] default_ephemeral_device: Option<String>,
        [lazy] default_swap_device: Option<String>,
        /// `True` or the empty string.
        config_drive: Option<String>,
        access_ip_v4: Option<String>,
        access_ip_v6: Option<String>,
        auto_disk_config: bool,
        progress: Option<i64>,
        shutdown_terminate: bool,
        disable_terminate: bool,
        cell_name: Option<String>,
        [lazy] metadata: BTreeMap<String, String>,
        [lazy] system_metadata: BTreeMap<String, Option<String>>,
        [lazy] info_cache: Option<InstanceInfoCache>,
        [lazy] security_groups: SecurityGroupList,
        [lazy] fault: Option<InstanceFault>,
        [lazy] cleaned: bool,
        [lazy] pci_devices: Option<Value>,
        [lazy] numa_topology: Option<Value>,
        [lazy] pci_requests: Option<InstancePciRequests>,
        [lazy] device_metadata: Option<Value>,
        [lazy] tags: Option<TagList>,
        [lazy] flavor: Option<Flavor>,
        [lazy] old_flavor: Option<Flavor>,
        [lazy] new_flavor: Option<Flavor>,
        [lazy] vcpu_model: Option<Value>,
        [lazy] ec2_ids: Option<Ec2Ids>,
        [lazy] migration_context: Option<Value>,
        [lazy] keypairs: KeyPairList,
        [lazy] trusted_certs: Option<Value>,
        hidden: bool,
        [lazy] resources: Option<Value>,
        created_at: Option<DateTime<Utc>>,
        updated_at: Option<DateTime<Utc>>,
        [lazy] deleted_at: Option<DateTime<Utc>>,
        deleted: bool,
    }
}

impl Instance {
    /// The addresses and ports as last known.
    pub fn network_info(&self) -> NetworkInfo {
        self.info_cache.as_ref().map(|cache| cache.network_info()).unwrap_or_default()
    }

    /// `instance-0000002a`: the name that the hypervisor knows the guest by (Nova's default `instance_name_template`).
    pub fn name(&self) -> String {
        format!("instance-{:08x}", self.id)
    }

    /// The project, or the empty string.
    pub fn project_id(&self) -> &str {
        self.project_id.as_deref().unwrap_or_default()
    }
}

crate::object_list!(
    /// Several instances.
    InstanceList, "2.6", Instance
);

crate::versioned_object! {
    /// The network model of an instance as last known.
    InstanceInfoCache, "InstanceInfoCache", "1.5", {
        instance_uuid: Uuid,
        /// JSON text of [`NetworkInfo`].
        network_info: Option<String>,
        [lazy] created_at: Option<DateTime<Utc>>,
        [lazy] updated_at: Option<DateTime<Utc>>,
        [lazy] deleted_at: Option<DateTime<Utc>>,
        [lazy] deleted: bool,
    }
}

impl InstanceInfoCache {
    /// A cache that holds `network_info`.
    pub fn new(instance_uuid: Uuid, network_info: &NetworkInfo) -> Self {
        Self { instance_uuid, network_info: Some(network_info.to_json()), ..Self::default() }
    }

    /// The model; empty where nothing, or nothing readable, is cached.
    pub fn network_info(&self) -> NetworkInfo {
        self.network_info.as_deref().and_then(|text| NetworkInfo::from_json(text).ok()).unwrap_or_default()
    }
}

crate::versioned_object! {
    /// A security group by its name (or, from the network service, its id).
    SecurityGroup, "SecurityGroup", "1.2", {
        [lazy] id: i64,
        name: String,
        [lazy] description: String,
        [lazy] user_id: String,
        [lazy] project_id: String,
        [lazy] uuid: Option<Uuid>,
    }
}

crate::object_list!(
    /// The security groups that a server was asked with.
    SecurityGroupList, "1.1", SecurityGroup
);

crate::versioned_object! {
    /// The PCI devices that an instance asks for: none, so far.
    InstancePciRequests, "InstancePCIRequests", "1.1", {
        [lazy] instance_uuid: Option<Uuid>,
        requests: Vec<Value>,
    }
}

crate::versioned_object! {
    /// A server tag.
    Tag, "Tag", "1.1", {
        resource_id: Option<String>,
        tag: String,
    }
}

crate::object_list!(
    /// The tags of a server.
    TagList, "1.1", Tag
);

crate::versioned_object! {
    /// The ids that the EC2 API shows.
    Ec2Ids, "EC2Ids", "1.0", {
        instance_id: String,
        ami_id: Option<String>,
        kernel_id: Option<String>,
        ramdisk_id: Option<String>,
    }
}

crate::versioned_object! {
    /// Why an instance is in error.
    InstanceFault, "InstanceFault", "1.2", {
        [lazy] id: i64,
        instance_uuid: Uuid,
        code: i64,
        message: Option<String>,
        details: Option<String>,
        host: Option<String>,
        [lazy] created_at: Option<DateTime<Utc>>,
        [lazy] updated_at: Option<DateTime<Utc>>,
        [lazy] deleted_at: Option<DateTime<Utc>>,
        [lazy] deleted: bool,
    }
}

crate::versioned_object! {
    /// A server that was accepted and not yet placed.
    BuildRequest, "BuildRequest", "1.3", {
        [lazy] id: i64,
        instance_uuid: Uuid,
        project_id: Option<String>,
        instance: Option<Instance>,
        block_device_mappings: BlockDeviceMappingList,
        created_at: Option<DateTime<Utc>>,
        updated_at: Option<DateTime<Utc>>,
        tags: TagList,
    }
}

impl BuildRequest {
    /// The instance to build.
    pub fn instance(&self) -> Result<&Instance, WireError> {
        self.instance.as_ref().ok_or(WireError::Field {
            object: "BuildRequest",
            field: "instance",
            source: Box::new(WireError::Missing),
        })
    }
}
