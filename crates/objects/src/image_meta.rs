//! What a build needs to know of an image.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::wire::{self, VersionedObject, Wire, WireError};

crate::versioned_object! {
    /// An image without its bytes.
    ImageMeta, "ImageMeta", "1.8", {
        [lazy] id: Option<Uuid>,
        [lazy] name: String,
        [lazy] status: String,
        [lazy] visibility: String,
        [lazy] protected: bool,
        [lazy] checksum: String,
        [lazy] owner: String,
        [lazy] size: i64,
        [lazy] virtual_size: i64,
        [lazy] container_format: String,
        [lazy] disk_format: String,
        [lazy] created_at: Option<DateTime<Utc>>,
        [lazy] updated_at: Option<DateTime<Utc>>,
        [lazy] tags: Vec<String>,
        [lazy] direct_url: String,
        min_ram: i64,
        min_disk: i64,
        properties: ImageMetaProps,
    }
}

/// The properties that Nova knows (`hw_*`, `os_*`, `img_*`), by name: only those that are set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageMetaProps(pub BTreeMap<String, Value>);

impl ImageMetaProps {
    /// Every property that Nova knows, sorted.
    pub const NAMES: [&str; 86] = [
        "hw_architecture",
        "hw_auto_disk_config",
        "hw_boot_menu",
        "hw_cdrom_bus",
        "hw_cpu_cores",
        "hw_cpu_max_cores",
        "hw_cpu_max_sockets",
        "hw_cpu_max_threads",
        "hw_cpu_policy",
        "hw_cpu_realtime_mask",
        "hw_cpu_sockets",
        "hw_cpu_thread_policy",
        "hw_cpu_threads",
        "hw_device_id",
        "hw_disk_bus",
        "hw_disk_type",
        "hw_emulation_architecture",
        "hw_ephemeral_encryption",
        "hw_ephemeral_encryption_format",
        "hw_ephemeral_encryption_secret_uuid",
        "hw_firmware_stateless",
        "hw_firmware_type",
        "hw_floppy_bus",
        "hw_input_bus",
        "hw_ipxe_boot",
        "hw_locked_memory",
        "hw_machine_type",
        "hw_maxphysaddr_bits",
        "hw_maxphysaddr_mode",
        "hw_mem_encryption",
        "hw_mem_encryption_model",
        "hw_mem_page_size",
        "hw_numa_cpus",
        "hw_numa_mem",
        "hw_numa_nodes",
        "hw_pci_numa_affinity_policy",
        "hw_pmu",
        "hw_pointer_model",
        "hw_qemu_guest_agent",
        "hw_redirected_usb_ports",
        "hw_rescue_bus",
        "hw_rescue_device",
        "hw_rng_model",
        "hw_scsi_model",
        "hw_serial_port_count",
        "hw_sound_model",
        "hw_time_hpet",
        "hw_tpm_model",
        "hw_tpm_version",
        "hw_usb_model",
        "hw_video_model",
        "hw_video_ram",
        "hw_vif_model",
        "hw_vif_multiqueue_enabled",
        "hw_viommu_model",
        "hw_virtio_packed_ring",
        "hw_vm_mode",
        "hw_watchdog_action",
        "img_bdm_v2",
        "img_bittorrent",
        "img_block_device_mapping",
        "img_cache_in_nova",
        "img_compression_level",
        "img_config_drive",
        "img_hide_hypervisor_id",
        "img_hv_requested_version",
        "img_hv_type",
        "img_linked_clone",
        "img_mappings",
        "img_owner_id",
        "img_root_device_name",
        "img_signature",
        "img_signature_certificate_uuid",
        "img_signature_hash_method",
        "img_signature_key_type",
        "img_use_agent",
        "img_version",
        "os_admin_user",
        "os_command_line",
        "os_distro",
        "os_require_quiesce",
        "os_secure_boot",
        "os_skip_agent_inject_files_at_boot",
        "os_skip_agent_inject_ssh",
        "os_type",
        "traits_required",
    ];

    /// What some of them were called once and are still called in older images, sorted.
    pub const LEGACY_NAMES: [&str; 22] = [
        "architecture",
        "auto_disk_config",
        "bdm_v2",
        "bittorrent",
        "block_device_mapping",
        "cache_in_nova",
        "hypervisor_type",
        "hypervisor_version_requires",
        "ipxe_boot",
        "mappings",
        "owner_id",
        "root_device_name",
        "vm_mode",
        "vmware_disktype",
        "vmware_image_version",
        "vmware_linked_clone",
        "vmware_ostype",
        "xenapi_device_id",
        "xenapi_image_compression_level",
        "xenapi_skip_agent_inject_files_at_boot",
        "xenapi_skip_agent_inject_ssh",
        "xenapi_use_agent",
    ];

    /// Whether Nova knows a property of an image, by its name of now or of once.
    pub fn knows(name: &str) -> bool {
        Self::NAMES.binary_search(&name).is_ok() || Self::LEGACY_NAMES.binary_search(&name).is_ok()
    }

    /// A property as text, whatever its type on the wire.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
}

impl VersionedObject for ImageMetaProps {
    const NAME: &'static str = "ImageMetaProps";
    const VERSION: &'static str = "1.44";

    fn data(&self) -> Map<String, Value> {
        self.0.clone().into_iter().collect()
    }

    fn from_data(data: &Map<String, Value>) -> Result<Self, WireError> {
        Ok(Self(data.clone().into_iter().collect()))
    }
}

impl Wire for ImageMetaProps {
    fn to_wire(&self) -> Value {
        wire::envelope::<Self>(self.data(), &[])
    }
    fn from_wire(value: &Value) -> Result<Self, WireError> {
        Self::from_data(wire::open::<Self>(value)?)
    }
    fn when_unset() -> Option<Self> {
        Some(Self::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_because_they_are_sorted() {
        assert!(ImageMetaProps::NAMES.is_sorted() && ImageMetaProps::LEGACY_NAMES.is_sorted());
        assert!(
            ImageMetaProps::NAMES.iter().chain(&ImageMetaProps::LEGACY_NAMES).all(|name| ImageMetaProps::knows(name))
        );
        assert!(!ImageMetaProps::knows("min_disk"));
    }
}
