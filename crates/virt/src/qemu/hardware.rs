//! What an image asks of the virtual hardware (`hw_disk_bus`, `hw_vif_model`, `hw_cdrom_bus`), as QEMU devices.

use serde::{Deserialize, Serialize};

use crate::driver::{DriverError, Spawn};

/// How a disk is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum DiskBus {
    #[default]
    Virtio,
    Scsi,
    Sata,
}

/// The devices of a guest. The config drive is a virtio disk unless the image asks for a CD-ROM: every image that
/// finds its root disk finds it, and cloud kernels without a SATA driver exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hardware {
    pub(super) disk_bus: DiskBus,
    pub(super) config_drive_bus: DiskBus,
    /// QEMU's device name.
    pub(super) nic_device: String,
    /// A graphics card, and VNC.
    #[serde(default)]
    pub(super) has_screen: bool,
}

impl Hardware {
    pub(super) fn of(spawn: &Spawn<'_>, has_screen: bool) -> Result<Self, DriverError> {
        let property = |name: &str| spawn.image_properties.get(name).map(String::as_str);
        let refused = |name: &str, value: &str, known: &str| DriverError::ImageUnacceptable {
            image_id: spawn.image.as_ref().map(|image| image.image_id.to_string()).unwrap_or_default(),
            reason: format!("{name}={value} is not supported by this driver; it has {known}"),
        };
        let bus = |name: &str| match property(name) {
            None | Some("virtio") => Ok(DiskBus::Virtio),
            Some("scsi") => Ok(DiskBus::Scsi),
            // The machine has no IDE; its SATA controller is what such a guest finds.
            Some("sata" | "ide") => Ok(DiskBus::Sata),
            Some(other) => Err(refused(name, other, "virtio, scsi, sata, ide")),
        };
        let nic_device = match property("hw_vif_model") {
            None | Some("virtio") => "virtio-net-pci",
            Some("e1000") => "e1000",
            Some("e1000e") => "e1000e",
            Some("rtl8139") => "rtl8139",
            Some(other) => {
                let known = "virtio, e1000, e1000e, rtl8139";
                return Err(refused("hw_vif_model", other, known));
            }
        };
        Ok(Self {
            disk_bus: bus("hw_disk_bus")?,
            config_drive_bus: bus("hw_cdrom_bus")?,
            nic_device: nic_device.to_owned(),
            has_screen,
        })
    }

    pub(super) fn needs_scsi(&self) -> bool {
        [self.disk_bus, self.config_drive_bus].contains(&DiskBus::Scsi)
    }
}

impl DiskBus {
    /// The device of a disk on this bus.
    pub(super) fn disk_device(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-blk-pci",
            Self::Scsi => "scsi-hd",
            Self::Sata => "ide-hd",
        }
    }

    /// The device of a config drive: a CD-ROM where the bus knows one.
    pub(super) fn config_drive_device(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-blk-pci",
            Self::Scsi => "scsi-cd",
            Self::Sata => "ide-cd",
        }
    }
}
