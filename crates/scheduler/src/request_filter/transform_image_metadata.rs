//! The host has the devices that the image's properties name (`image_metadata_prefilter`).

use std::collections::BTreeSet;

use kilonova_objects::RequestSpec;

/// Property, the beginning of its traits' names, and what os-traits has under it.
const PROPERTIES: [(&str, &str, &[&str]); 7] = [
    ("hw_cdrom_bus", "COMPUTE_STORAGE_BUS", &STORAGE_BUSES),
    ("hw_disk_bus", "COMPUTE_STORAGE_BUS", &STORAGE_BUSES),
    (
        "hw_video_model",
        "COMPUTE_GRAPHICS_MODEL",
        &["BOCHS", "CIRRUS", "GOP", "NONE", "QXL", "VGA", "VIRTIO", "VMVGA", "XEN"],
    ),
    (
        "hw_vif_model",
        "COMPUTE_NET_VIF_MODEL",
        &[
            "E1000",
            "E1000E",
            "IGB",
            "LAN9118",
            "NE2K_PCI",
            "NETFRONT",
            "PCNET",
            "RTL8139",
            "SPAPR_VLAN",
            "SRIOV",
            "VIRTIO",
            "VMXNET",
            "VMXNET3",
        ],
    ),
    (
        "hw_architecture",
        "HW_ARCH",
        &[
            "AARCH64",
            "ALPHA",
            "ARMV6",
            "ARMV7",
            "ARMV7B",
            "CRIS",
            "I686",
            "IA64",
            "LM32",
            "M68K",
            "MICROBLAZE",
            "MICROBLAZEEL",
            "MIPS",
            "MIPS64",
            "MIPS64EL",
            "MIPSEL",
            "OPENRISC",
            "PARISC",
            "PARISC64",
            "PPC",
            "PPC64",
            "PPC64LE",
            "PPCEMB",
            "PPCLE",
            "S390",
            "S390X",
            "SH4",
            "SH4EB",
            "SPARC",
            "SPARC64",
            "UNICORE32",
            "X86_64",
            "XTENSA",
            "XTENSAEB",
        ],
    ),
    ("hw_emulation_architecture", "COMPUTE_ARCH", &["AARCH64", "MIPSEL", "PPC64LE", "RISCV64", "S390X", "X86_64"]),
    // The models are called COMPUTE_VIOMMU_MODEL_…, where Nova, and so we, look for COMPUTE_VIOMMU_INTEL and find none.
    ("hw_viommu_model", "COMPUTE_VIOMMU", &[]),
];

const STORAGE_BUSES: [&str; 9] = ["FDC", "IDE", "LXC", "SATA", "SCSI", "UML", "USB", "VIRTIO", "XEN"];

/// None at all when one property's value has no trait: then the properties are left to the host.
pub(super) fn traits(spec: &RequestSpec) -> BTreeSet<String> {
    let Some(image) = &spec.image else {
        return BTreeSet::new();
    };
    let set = PROPERTIES.iter().filter_map(|(name, prefix, known)| Some((image.properties.text(name)?, prefix, known)));
    let name_of = |(value, prefix, known): (String, &&str, &&[&str])| {
        let value = value.replace('-', "_").to_ascii_uppercase();
        known.contains(&value.as_str()).then(|| format!("{prefix}_{value}"))
    };
    set.map(name_of).collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::filters::testing::with_image;

    #[test]
    fn each_property_is_a_trait_and_an_unknown_value_ends_it() {
        for (properties, expected) in [
            (json!({}), &[] as &[&str]),
            (json!({"hw_machine_type": "q35"}), &[]),
            (json!({"hw_disk_bus": "virtio"}), &["COMPUTE_STORAGE_BUS_VIRTIO"]),
            (json!({"hw_cdrom_bus": "sata"}), &["COMPUTE_STORAGE_BUS_SATA"]),
            (json!({"hw_video_model": "qxl"}), &["COMPUTE_GRAPHICS_MODEL_QXL"]),
            (json!({"hw_vif_model": "spapr-vlan"}), &["COMPUTE_NET_VIF_MODEL_SPAPR_VLAN"]),
            (json!({"hw_emulation_architecture": "aarch64"}), &["COMPUTE_ARCH_AARCH64"]),
            (
                json!({"hw_architecture": "x86_64", "hw_disk_bus": "scsi"}),
                &["COMPUTE_STORAGE_BUS_SCSI", "HW_ARCH_X86_64"],
            ),
            (json!({"hw_disk_bus": "pony", "hw_video_model": "qxl"}), &[]),
            (json!({"hw_viommu_model": "intel", "hw_video_model": "qxl"}), &[]),
        ] {
            assert!(traits(&with_image(properties.clone())).iter().eq(expected), "{properties}");
        }
        assert!(traits(&RequestSpec::default()).is_empty());
    }
}
