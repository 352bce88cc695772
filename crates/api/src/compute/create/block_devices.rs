//! The disks of a new server. Without a volume service there is one way to boot: from an image on a local disk.

use kilonova_objects::{BlockDeviceMapping, Flavor};
use uuid::Uuid;

use crate::compute::ComputeError;

/// An item of `block_device_mapping_v2`, or of the older `block_device_mapping`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlockDevice {
    pub source_type: Option<String>,
    pub destination_type: Option<String>,
    pub uuid: Option<String>,
    pub volume_id: Option<String>,
    pub snapshot_id: Option<String>,
    pub boot_index: Option<i64>,
    pub volume_type: Option<String>,
    pub is_no_device: bool,
    /// For the device tags that guests see.
    pub tag: Option<String>,
}

/// What Nova says of a mapping without looking at volumes.
pub(super) fn check(devices: &[BlockDevice], image_ref: Uuid) -> Result<(), ComputeError> {
    devices.iter().try_for_each(|device| check_one(device, image_ref))?;
    if devices.len() > 1 {
        return Err(boot_sequence());
    }
    Ok(())
}

fn check_one(device: &BlockDevice, image_ref: Uuid) -> Result<(), ComputeError> {
    if let Some(id) = &device.volume_id {
        return failed_to_get("volume", id);
    }
    if let Some(id) = &device.snapshot_id {
        return failed_to_get("snapshot", id);
    }
    let local = device.destination_type.as_deref() == Some("local");
    match (device.source_type.as_deref(), device.uuid.as_deref()) {
        (None, _) => format("Invalid source_type field."),
        (Some("blank"), Some(_)) => format("Invalid device UUID."),
        (Some("blank"), None) if local => format("You specified more local devices than the limit allows"),
        (Some("blank"), None) => no_volumes(),
        (Some(_), None) => format("Missing device UUID."),
        (Some(source @ ("volume" | "snapshot")), Some(id)) => failed_to_get(source, id),
        (Some(_), Some(_)) if local && device.boot_index != Some(0) => {
            format("Mapping image to local is not supported.")
        }
        (Some(_), Some(_)) if local && device.volume_type.is_some() => {
            format("Specifying a volume_type with destination_type=local is not supported.")
        }
        (Some(_), Some(id)) if local && id.parse() != Ok(image_ref) => Err(boot_sequence()),
        (Some(_), Some(_)) if local && !device.is_no_device => Ok(()),
        (Some(_), Some(_)) if local => Err(boot_sequence()),
        _ => no_volumes(),
    }
}

fn format(details: &str) -> Result<(), ComputeError> {
    Err(ComputeError::Invalid(format!("Block Device Mapping is Invalid: {details}")))
}

fn failed_to_get(what: &str, id: &str) -> Result<(), ComputeError> {
    format(&format!("failed to get {what} {id}."))
}

fn no_volumes() -> Result<(), ComputeError> {
    Err(ComputeError::invalid("Invalid volume: there is no volume service to create one."))
}

fn boot_sequence() -> ComputeError {
    ComputeError::invalid(
        "Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping combination is \
         not valid.",
    )
}

/// The image's disk, and the empty disks that the flavor has beside it.
pub(super) fn of(
    instance_uuid: Uuid,
    image_ref: Uuid,
    flavor: &Flavor,
    requested: &[BlockDevice],
) -> Vec<BlockDeviceMapping> {
    let disk = |source_type: &str| BlockDeviceMapping {
        uuid: Some(Uuid::new_v4()),
        instance_uuid: Some(instance_uuid),
        source_type: Some(source_type.to_owned()),
        destination_type: Some("local".to_owned()),
        device_type: Some("disk".to_owned()),
        boot_index: Some(-1),
        delete_on_termination: true,
        ..BlockDeviceMapping::default()
    };
    let mut all = vec![BlockDeviceMapping {
        boot_index: Some(0),
        image_id: Some(image_ref.to_string()),
        tag: requested.first().and_then(|device| device.tag.clone()),
        ..disk("image")
    }];
    if flavor.ephemeral_gb > 0 {
        all.push(BlockDeviceMapping { volume_size: Some(flavor.ephemeral_gb), ..disk("blank") });
    }
    if flavor.swap > 0 {
        let guest_format = Some("swap".to_owned());
        all.push(BlockDeviceMapping { volume_size: Some(flavor.swap), guest_format, ..disk("blank") });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(source: &str, destination: &str, uuid: Option<Uuid>, boot_index: i64) -> BlockDevice {
        BlockDevice {
            source_type: Some(source.into()),
            destination_type: Some(destination.into()),
            uuid: uuid.map(|uuid| uuid.to_string()),
            boot_index: Some(boot_index),
            ..BlockDevice::default()
        }
    }

    #[test]
    fn only_the_image_itself_on_a_local_disk_is_accepted() {
        let (image, other) = (Uuid::new_v4(), Uuid::new_v4());
        assert!(check(&[device("image", "local", Some(image), 0)], image).is_ok());
        for (refused, text) in [
            (device("volume", "volume", Some(other), 0), "failed to get volume"),
            (device("snapshot", "volume", Some(other), 0), "failed to get snapshot"),
            (device("image", "volume", Some(image), 0), "no volume service"),
            (device("blank", "volume", None, -1), "no volume service"),
            (device("blank", "local", Some(other), -1), "Invalid device UUID."),
            (device("image", "local", None, 0), "Missing device UUID."),
            (device("image", "local", Some(image), 1), "Mapping image to local is not supported."),
            (device("image", "local", Some(other), 0), "Boot sequence"),
        ] {
            let error = check(&[refused], image).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_flavor_brings_its_ephemeral_disk_and_its_swap() {
        let flavor = Flavor { ephemeral_gb: 2, swap: 512, ..Flavor::default() };
        let disks = of(Uuid::new_v4(), Uuid::new_v4(), &flavor, &[]);
        let sizes: Vec<_> = disks.iter().map(|disk| (disk.source_type.as_deref(), disk.volume_size)).collect();
        assert_eq!(sizes, [(Some("image"), None), (Some("blank"), Some(2)), (Some("blank"), Some(512))]);
    }
}
