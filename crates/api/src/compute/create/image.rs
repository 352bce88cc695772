//! The image of a new server: whether it can be used with the flavor, and its forms on the wire.

use std::collections::BTreeMap;

use kilonova_clients::ClientError;
use kilonova_clients::image::Image;
use kilonova_core::RequestContext;
use kilonova_objects::{Flavor, ImageMeta, ImageMetaProps};
use serde_json::json;
use uuid::Uuid;

use crate::compute::ComputeError;
use crate::state::ApiState;

const GIB: i64 = 1 << 30;
/// Longest value that system metadata take.
const MAX_SYSTEM_METADATA: usize = 255;
/// Properties that older images have under other names than the objects.
const LEGACY_NAMES: [(&str, &str); 4] = [
    ("architecture", "hw_architecture"),
    ("auto_disk_config", "hw_auto_disk_config"),
    ("vm_mode", "hw_vm_mode"),
    ("block_device_mapping", "img_block_device_mapping"),
];

/// The image, and that its kernel and ramdisk are there too.
///
/// `not_found`: the sentence where one of them is not.
pub(in crate::compute) async fn look_up(
    state: &ApiState,
    context: &RequestContext,
    id: Uuid,
    not_found: &str,
) -> Result<Image, ComputeError> {
    let image = show(state, context, id, not_found).await?;
    let (kernel, ramdisk) = kernel_and_ramdisk(&image);
    for id in [kernel, ramdisk].into_iter().flatten() {
        let id = id.parse().map_err(|_| ComputeError::invalid(not_found))?;
        show(state, context, id, not_found).await?;
    }
    Ok(image)
}

async fn show(state: &ApiState, context: &RequestContext, id: Uuid, not_found: &str) -> Result<Image, ComputeError> {
    state.clients.image.show(context, id).await.map_err(|error| match error {
        ClientError::NotFound { .. } => ComputeError::invalid(not_found),
        ClientError::Forbidden(_) => ComputeError::Invalid(format!("Not authorized for image {id}.")),
        other => other.into(),
    })
}

/// Ids of the images with kernel and ramdisk, where the image has them apart.
pub(in crate::compute) fn kernel_and_ramdisk(image: &Image) -> (Option<&str>, Option<&str>) {
    let property = |name: &str| image.properties.get(name).map(String::as_str).filter(|id| !id.is_empty());
    match property("kernel_id") {
        Some("nokernel") => (None, None),
        kernel => (kernel, property("ramdisk_id")),
    }
}

/// Whether the image can be booted in the flavor.
pub(in crate::compute) fn check(
    image: &Image,
    flavor: &Flavor,
    auto_disk_config: Option<bool>,
    may_use_zero_disk: bool,
) -> Result<(), ComputeError> {
    let id = image.id;
    if image.status != "active" {
        return Err(ComputeError::Invalid(format!("Image {id} is not active.")));
    }
    if image.properties.contains_key("cinder_encryption_key_id") {
        let reason = "Direct booting of an image uploaded from an encrypted volume is unsupported.";
        return Err(ComputeError::Invalid(format!("Image {id} is unacceptable: {reason}")));
    }
    if let Some(option) =
        image.properties.get("img_config_drive").filter(|it| !matches!(it.as_str(), "optional" | "mandatory"))
    {
        return Err(ComputeError::Invalid(format!("Image's config drive option '{option}' is invalid")));
    }
    if flavor.memory_mb < image.min_ram {
        return Err(ComputeError::invalid("Flavor's memory is too small for requested image."));
    }
    check_disk(image, flavor, may_use_zero_disk)?;
    if auto_disk_config == Some(true) && auto_disk_config_of(image) == Some("disabled") {
        return Err(ComputeError::Invalid(format!("Requested image {id} has automatic disk resize disabled.")));
    }
    Ok(())
}

/// A root disk of 0 GiB is as large as the image, which only some may use.
fn check_disk(image: &Image, flavor: &Flavor, may_use_zero_disk: bool) -> Result<(), ComputeError> {
    let disk = flavor.root_gb * GIB;
    let (size, min_disk) = (image.size.unwrap_or_default(), image.min_disk * GIB);
    if disk == 0 {
        let refused = ComputeError::BootFromVolumeRequiredForZeroDiskFlavor;
        return if may_use_zero_disk { Ok(()) } else { Err(refused) };
    }
    if size > disk {
        return Err(ComputeError::Invalid(format!(
            "Flavor's disk is too small for requested image. Flavor disk is {disk} bytes, image is {size} bytes."
        )));
    }
    if min_disk > disk {
        return Err(ComputeError::Invalid(format!(
            "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is {disk} bytes, \
             minimum size is {min_disk} bytes."
        )));
    }
    Ok(())
}

/// What a server does where the request says nothing.
pub(in crate::compute) fn auto_disk_config(image: &Image) -> bool {
    matches!(auto_disk_config_of(image), Some("true" | "1" | "on" | "yes" | "y" | "t"))
}

fn auto_disk_config_of(image: &Image) -> Option<&'static str> {
    let value = image.properties.get("auto_disk_config")?.trim().to_ascii_lowercase();
    ["disabled", "true", "1", "on", "yes", "y", "t"].into_iter().find(|known| *known == value)
}

/// `image_*` of a server's system metadata.
pub(in crate::compute) fn system_metadata(image: &Image, flavor: &Flavor) -> BTreeMap<String, Option<String>> {
    /// Properties that servers do not inherit.
    const SKIPPED: [&str; 3] = ["mappings", "block_device_mapping", "signature_verified"];
    let properties = image.properties.iter().filter(|(name, _)| !SKIPPED.contains(&name.as_str()));
    let cut = |text: &str| text.chars().take(MAX_SYSTEM_METADATA).collect::<String>();
    let mut all: BTreeMap<String, Option<String>> =
        properties.map(|(name, value)| (format!("image_{name}"), Some(cut(value)))).collect();
    let min_disk = image.min_disk.max(flavor.root_gb);
    all.insert("image_min_ram".to_owned(), Some(image.min_ram.to_string()));
    all.insert("image_min_disk".to_owned(), Some(min_disk.to_string()));
    for (name, value) in [("disk_format", &image.disk_format), ("container_format", &image.container_format)] {
        if value.is_some() {
            all.insert(format!("image_{name}"), value.clone());
        }
    }
    all.entry("image_base_image_ref".to_owned()).or_insert_with(|| Some(image.id.to_string()));
    all
}

/// For the scheduler.
pub(in crate::compute) fn meta(image: &Image) -> ImageMeta {
    let known = |name: &str| ["hw_", "os_", "img_"].iter().any(|prefix| name.starts_with(prefix));
    let renamed = |name: &str| LEGACY_NAMES.iter().find(|(old, _)| *old == name).map(|(_, new)| (*new).to_owned());
    let properties = image.properties.iter().filter_map(|(name, value)| {
        let name = if known(name) { Some(name.clone()) } else { renamed(name) };
        Some((name?, json!(value)))
    });
    ImageMeta {
        id: Some(image.id),
        name: image.name.clone().unwrap_or_default(),
        status: image.status.clone(),
        visibility: image.visibility.clone(),
        protected: image.is_protected,
        checksum: image.checksum.clone().unwrap_or_default(),
        owner: image.owner.clone().unwrap_or_default(),
        size: image.size.unwrap_or_default(),
        virtual_size: image.virtual_size.unwrap_or_default(),
        container_format: image.container_format.clone().unwrap_or_default(),
        disk_format: image.disk_format.clone().unwrap_or_default(),
        created_at: Some(image.created_at),
        updated_at: Some(image.updated_at),
        tags: image.tags.clone(),
        min_ram: image.min_ram,
        min_disk: image.min_disk,
        properties: ImageMetaProps(properties.collect()),
        ..ImageMeta::default()
    }
}
