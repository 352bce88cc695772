//! Which extra specs of flavors are known, and what they may be, from 2.86 on.
//!
//! A spec in a known namespace must be a known one; outside of them anything goes. Of the `trait` and `resources`
//! namespaces every well-formed trait is taken, and the standard and `CUSTOM_` resource classes.

use std::sync::LazyLock;

use regex::Regex;

use super::ComputeError;

/// What a value must be.
#[derive(Clone, Copy, Debug)]
enum Value {
    Any,
    Bool,
    Int(Option<i64>, Option<i64>),
    OneOf(&'static [&'static str]),
    Pattern(&'static str),
}

use Value::{Any, Bool, Int, OneOf, Pattern};

const COUNT: Value = Int(Some(0), None);
const POSITIVE: Value = Int(Some(1), None);
const CPU_LIST: &str = r"\^?\d+((-\d+)?(,\^?\d+(-\d+)?)?)*";
const SHARES: Value = OneOf(&["custom", "high", "normal", "low"]);

/// Regular expressions of names, and what their values must be. The part before the colon is the namespace.
const SPECS: &[(&str, Value)] = &[
    ("accel:device_profile", Any),
    ("aggregate_instance_extra_specs:.+", Any),
    (
        "capabilities:(id|uuid|service_id|host|vcpus|memory_mb|local_gb|vcpus_used|memory_mb_used|local_gb_used|\
         hypervisor_type|hypervisor_version|hypervisor_hostname|free_ram_mb|free_disk_gb|current_workload|running_vms|\
         disk_available_least|host_ip|mapped|cpu_allocation_ratio|ram_allocation_ratio|disk_allocation_ratio|\
         total_usable_ram_mb|total_usable_disk_gb|disk_mb_used|free_disk_mb|vcpus_total|num_instances|num_io_ops|\
         failed_builds|aggregates|cell_uuid|updated)",
        Any,
    ),
    (
        r"capabilities:(cpu_info|metrics|stats|numa_topology|supported_hv_specs|pci_device_pools|nodename|pci_stats|supported_instances|limits|instances)(:\w+)*",
        Any,
    ),
    ("hw:cpu_realtime", Bool),
    ("hw:cpu_realtime_mask", Pattern(r"(\^)?\d+((-\d+)?(,\^?\d+(-\d+)?)?)*")),
    ("hw:hide_hypervisor_id", Bool),
    ("hw:cpu_policy", OneOf(&["dedicated", "shared", "mixed"])),
    ("hw:cpu_thread_policy", OneOf(&["prefer", "isolate", "require"])),
    ("hw:emulator_threads_policy", OneOf(&["isolate", "share"])),
    ("hw:cpu_dedicated_mask", Pattern(CPU_LIST)),
    ("hw:mem_page_size", Pattern(r"(large|small|any|\d+([kKMGT]i?)?(b|bit|B)?)")),
    ("hw:locked_memory", Bool),
    ("hw:numa_nodes", POSITIVE),
    (r"hw:numa_cpus.\d+", Pattern(CPU_LIST)),
    (r"hw:numa_mem.\d+", POSITIVE),
    ("hw:pci_numa_affinity_policy", OneOf(&["required", "preferred", "legacy", "socket"])),
    ("hw:cpu_(max_)?(sockets|cores|threads)", POSITIVE),
    ("hw:boot_menu", Bool),
    ("hw:vif_multiqueue_enabled", Bool),
    ("hw:mem_encryption", Bool),
    ("hw:mem_encryption_model", OneOf(&["amd-sev", "amd-sev-es", "amd-sev-snp", "intel-tdx"])),
    ("hw:pmem", Pattern("([a-zA-Z0-9_]+(,)?)+")),
    ("hw:pmu", Bool),
    ("hw:serial_port_count", COUNT),
    ("hw:tpm_model", OneOf(&["tpm-tis", "tpm-crb"])),
    ("hw:tpm_version", OneOf(&["1.2", "2.0"])),
    ("hw:tpm_secret_security", OneOf(&["user", "host", "deployment"])),
    ("hw:watchdog_action", OneOf(&["none", "pause", "poweroff", "reset", "disabled"])),
    ("hw:viommu_model", OneOf(&["intel", "smmuv3", "virtio", "auto"])),
    ("hw:virtio_packed_ring", Bool),
    ("hw:sound_model", OneOf(&["sb16", "es1370", "pcspk", "ac97", "ich6", "ich9", "usb", "virtio"])),
    ("hw:usb_model", OneOf(&["none", "nec-xhci", "qemu-xhci"])),
    ("hw:redirected_usb_ports", Int(Some(0), Some(15))),
    ("hw:ephemeral_encryption", Bool),
    ("hw:ephemeral_encryption_format", OneOf(&["plain", "luks", "luksv2"])),
    ("hw_rng:allowed", Bool),
    ("hw_rng:rate_(bytes|period)", COUNT),
    ("hw_video:ram_max_mb", COUNT),
    ("hide_hypervisor_id", Bool),
    ("group_policy", OneOf(&["isolate", "none"])),
    ("os:secure_boot", OneOf(&["disabled", "required"])),
    ("pci_passthrough:alias", Pattern(r"[^:]+:\d+(?:\s*,\s*[^:]+:\d+)*")),
    ("quota:(cpu|memory|disk_io|vif)_(limit|shares_share)", COUNT),
    ("quota:(cpu|memory|disk_io|vif)_reservation", Int(None, None)),
    ("quota:(cpu|memory|disk_io|vif)_shares_level", SHARES),
    ("quota:cpu_(shares|period)", COUNT),
    ("quota:cpu_quota", Int(None, None)),
    ("quota:disk_(read|write|total)_(bytes|iops)_sec", COUNT),
    ("quota:vif_(inbound|outbound)_(average|peak|burst)", COUNT),
    (
        "resources([a-zA-Z0-9_-]{1,64})?:(VCPU|MEMORY_MB|DISK_GB|PCI_DEVICE|SRIOV_NET_VF|NUMA_SOCKET|NUMA_CORE|\
         NUMA_THREAD|NUMA_MEMORY_MB|IPV4_ADDRESS|VGPU|VGPU_DISPLAY_HEAD|NET_BW_EGR_KILOBIT_PER_SEC|\
         NET_BW_IGR_KILOBIT_PER_SEC|PCPU|MEM_ENCRYPTION_CONTEXT|FPGA|PGPU|NET_PACKET_RATE_KILOPACKET_PER_SEC|\
         NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC|NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC|CUSTOM_[A-Z0-9_]+)",
        Int(None, None),
    ),
    ("trait([a-zA-Z0-9_-]{1,64})?:[A-Z][A-Z0-9_]*", OneOf(&["required", "forbidden"])),
    ("vmware:(hw_version|storage_policy)", Any),
];

struct Spec {
    name: Regex,
    value: Value,
    /// The expression of the value, where it has one.
    pattern: Option<Regex>,
}

static REGISTRY: LazyLock<Vec<Spec>> = LazyLock::new(|| {
    let spec = |(name, value): &(&str, Value)| {
        let pattern = if let Pattern(pattern) = value { Some(full(pattern)) } else { None };
        Spec { name: full(name), value: *value, pattern }
    };
    SPECS.iter().map(spec).collect()
});

static NAMESPACES: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let namespaces = SPECS.iter().filter_map(|(name, _)| name.split_once(':'));
    namespaces.map(|(namespace, _)| full(namespace)).collect()
});

fn full(pattern: &str) -> Regex {
    Regex::new(&format!("^(?:{pattern})$")).expect("the table's expressions compile, which a test shows")
}

/// Refuses a value that the spec cannot have, and a spec that its namespace does not have.
pub(crate) fn validate(name: &str, value: &str) -> Result<(), ComputeError> {
    let failed = |reason: String| Err(ComputeError::Invalid(format!("Validation failed; {reason}")));
    if let Some(spec) = REGISTRY.iter().find(|spec| spec.name.is_match(name)) {
        return spec.check(value).or_else(failed);
    }
    let is_known = |namespace: &str| NAMESPACES.iter().any(|known| known.is_match(namespace));
    match name.split_once(':') {
        Some((namespace, _)) if is_known(namespace) => {
            failed(format!("extra spec '{name}' does not appear to be a valid extra spec."))
        }
        _ => Ok(()),
    }
}

impl Spec {
    fn check(&self, value: &str) -> Result<(), String> {
        match self.value {
            Any => Ok(()),
            Bool if is_boolean(value) => Ok(()),
            Bool => Err(format!("'{value}' is not a valid boolean-like value.")),
            Int(min, max) => check_integer(value, min, max),
            OneOf(words) if words.contains(&value) => Ok(()),
            OneOf(words) => Err(format!("'{value}' is not one of: {}.", words.join(", "))),
            Pattern(_) if self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(value)) => Ok(()),
            Pattern(pattern) => Err(format!("'{value}' is not of the format '{pattern}'.")),
        }
    }
}

fn is_boolean(value: &str) -> bool {
    let words = ["1", "t", "true", "on", "y", "yes", "0", "f", "false", "off", "n", "no"];
    words.contains(&value.trim().to_lowercase().as_str())
}

fn check_integer(value: &str, min: Option<i64>, max: Option<i64>) -> Result<(), String> {
    let number: i64 = value.trim().parse().map_err(|_| format!("'{value}' is not a valid integer value."))?;
    if let Some(max) = max.filter(|max| number > *max) {
        return Err(format!("'{number}' is greater than the max value of '{max}'."));
    }
    match min.filter(|min| number < *min) {
        Some(min) => Err(format!("'{number}' is less than the min value of '{min}'.")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_specs_take_the_values_that_they_are_for() {
        for (name, value) in [
            ("hw:cpu_policy", "dedicated"),
            ("hw:cpu_max_threads", "2"),
            ("hw:cpu_realtime", "Yes"),
            ("hw:numa_cpus.0", "0-3,^1"),
            ("hw:mem_page_size", "2MB"),
            ("hw_rng:allowed", "true"),
            ("resources:VGPU", "1"),
            ("resources_accel1:CUSTOM_FPGA", "2"),
            ("trait:HW_CPU_X86_AVX2", "required"),
            ("trait1:CUSTOM_GOLD", "forbidden"),
            ("capabilities:cpu_info:features", "<in> avx"),
            ("quota:disk_total_iops_sec", "500"),
            ("quota:cpu_quota", "-1"),
            ("aggregate_instance_extra_specs:ssd", "true"),
            ("pci_passthrough:alias", "a1:2, b:1"),
        ] {
            assert!(validate(name, value).is_ok(), "{name}={value}");
        }
    }

    #[test]
    fn what_has_no_known_namespace_is_let_through() {
        for name in ["colour", "mine:colour", "hwx:cpu_policy", "os-x:y"] {
            assert!(validate(name, "blue").is_ok(), "{name}");
        }
    }

    #[test]
    fn refusals_read_as_nova_writes_them() {
        for (name, value, reason) in [
            ("hw:cpu_policy", "some", "'some' is not one of: dedicated, shared, mixed."),
            ("hw:cpu_realtime", "maybe", "'maybe' is not a valid boolean-like value."),
            ("hw:numa_nodes", "0", "'0' is less than the min value of '1'."),
            ("hw:numa_nodes", "x", "'x' is not a valid integer value."),
            ("hw:redirected_usb_ports", "16", "'16' is greater than the max value of '15'."),
            ("hw:pmem", "", "'' is not of the format '([a-zA-Z0-9_]+(,)?)+'."),
            ("hw:colour", "blue", "extra spec 'hw:colour' does not appear to be a valid extra spec."),
            ("trait1:lower", "required", "extra spec 'trait1:lower' does not appear to be a valid extra spec."),
            ("resources:FOO", "1", "extra spec 'resources:FOO' does not appear to be a valid extra spec."),
            ("trait:CUSTOM_A", "maybe", "'maybe' is not one of: required, forbidden."),
        ] {
            assert_eq!(validate(name, value).unwrap_err().to_string(), format!("Validation failed; {reason}"));
        }
    }
}
