//! The host can read the image's format (`query_placement_for_image_type_support`).

use kilonova_objects::RequestSpec;

/// What os-traits has under `COMPUTE_IMAGE_TYPE_`.
const TYPES: [&str; 11] = ["AKI", "AMI", "ARI", "ISO", "PLOOP", "QCOW2", "RAW", "VDI", "VHD", "VHDX", "VMDK"];

/// None for a server on a volume, whose image no host reads, and for a format that has no trait.
pub(super) fn required_trait(spec: &RequestSpec) -> Option<String> {
    let image = spec.image.as_ref().filter(|_| !spec.is_bfv)?;
    let format = image.disk_format.to_ascii_uppercase();
    TYPES.contains(&format.as_str()).then(|| format!("COMPUTE_IMAGE_TYPE_{format}"))
}

#[cfg(test)]
mod tests {
    use kilonova_objects::ImageMeta;

    use super::*;

    #[test]
    fn a_format_is_a_trait_unless_the_server_is_on_a_volume() {
        for (disk_format, is_bfv, expected) in [
            ("qcow2", false, Some("COMPUTE_IMAGE_TYPE_QCOW2")),
            ("RAW", false, Some("COMPUTE_IMAGE_TYPE_RAW")),
            ("qcow2", true, None),
            ("pony", false, None),
            ("", false, None),
        ] {
            let image = ImageMeta { disk_format: disk_format.to_owned(), ..ImageMeta::default() };
            let spec = RequestSpec { image: Some(image), is_bfv, ..RequestSpec::default() };
            assert_eq!(required_trait(&spec).as_deref(), expected, "{disk_format} {is_bfv}");
        }
        assert_eq!(required_trait(&RequestSpec::default()), None);
    }
}
