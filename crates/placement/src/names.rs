//! Names of resource classes and traits: what is well formed, and which classes everybody knows.

use crate::PlacementError;

/// The classes of os-resource-classes; every other class is `CUSTOM_…`.
pub(crate) const STANDARD_CLASSES: [&str; 21] = [
    "VCPU",
    "MEMORY_MB",
    "DISK_GB",
    "PCI_DEVICE",
    "SRIOV_NET_VF",
    "NUMA_SOCKET",
    "NUMA_CORE",
    "NUMA_THREAD",
    "NUMA_MEMORY_MB",
    "IPV4_ADDRESS",
    "VGPU",
    "VGPU_DISPLAY_HEAD",
    "NET_BW_EGR_KILOBIT_PER_SEC",
    "NET_BW_IGR_KILOBIT_PER_SEC",
    "PCPU",
    "MEM_ENCRYPTION_CONTEXT",
    "FPGA",
    "PGPU",
    "NET_PACKET_RATE_KILOPACKET_PER_SEC",
    "NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC",
    "NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC",
];

const CUSTOM_PREFIX: &str = "CUSTOM_";
const MAX_LEN: usize = 255;

/// Upper case letters, digits and underscores, at most 255 of them.
pub(crate) fn is_well_formed(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    !name.is_empty() && name.len() <= MAX_LEN && name.bytes().all(known)
}

/// A class that is standard or custom.
pub(crate) fn is_resource_class(name: &str) -> bool {
    STANDARD_CLASSES.contains(&name) || is_custom(name)
}

/// A name of the operator's own, of a class or a trait.
pub(crate) fn is_custom(name: &str) -> bool {
    is_well_formed(name) && name.strip_prefix(CUSTOM_PREFIX).is_some_and(|rest| !rest.is_empty())
}

/// Refuses what cannot be a trait. Which standard traits there are is not checked.
pub(crate) fn check_trait(name: &str) -> Result<(), PlacementError> {
    if is_well_formed(name) {
        return Ok(());
    }
    Err(PlacementError::Invalid(format!(
        "The trait is invalid. A valid trait must be no longer than 255 characters and only contain upper case letters, digits and underscores. Got: {name}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_standard_or_has_the_custom_prefix() {
        for good in ["VCPU", "CUSTOM_GOLD", "CUSTOM_1"] {
            assert!(is_resource_class(good), "{good}");
        }
        for bad in ["", "vcpu", "GOLD", "CUSTOM_", "CUSTOM_gold", "CUSTOM GOLD"] {
            assert!(!is_resource_class(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_trait_cannot_hold_the_separator_of_its_column() {
        assert!(check_trait("A,B").is_err());
        assert!(check_trait(&"A".repeat(256)).is_err());
        assert!(check_trait("HW_CPU_X86_AVX2").is_ok());
    }
}
