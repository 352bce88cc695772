//! `guest.json`: all that is needed to start a guest again. It holds no secret; those are on the config drive only.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use kilonova_objects::{Flavor, Instance};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::errors::{blocking_in, host_error};
use super::guest_dir::GuestDir;
use super::hardware::{DiskBus, Hardware};
use super::locks::Operation;
use super::network::Nic;
use crate::driver::{DriverError, Spawn};

/// The form of the file; a driver that knows only older ones leaves the guest alone.
const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GuestRecord {
    version: u32,
    pub(super) uuid: Uuid,
    /// `instance-00000001`
    pub(super) name: String,
    pub(super) vcpus: u32,
    pub(super) memory_mb: u64,
    pub(super) has_disk: bool,
    pub(super) has_config_drive: bool,
    pub(super) hardware: Hardware,
    pub(super) nics: Vec<Nic>,
    /// The host's port that leads to port 22 of the first interface.
    pub(super) ssh_port: Option<u16>,
    /// Its memory is in the root disk, as of the moment when it was suspended.
    #[serde(default)]
    pub(super) is_suspended: bool,
    /// What a rescued guest starts from: `rescue.qcow2` with `rescue.config` instead of its config drive.
    #[serde(default)]
    pub(super) rescue: Option<RescueDisk>,
}

/// Where the disk of a rescue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RescueDisk {
    /// In the root disk's place, which comes after the others.
    First,
    /// After all disks of the guest, which keep their places: a stable rescue.
    Last { bus: DiskBus, is_cdrom: bool },
}

/// What the flavor says, in the units that QEMU takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    vcpus: u32,
    memory_mb: u64,
    pub(super) disk_bytes: u64,
}

impl Size {
    pub(super) fn of(instance: &Instance) -> Result<Self, DriverError> {
        match &instance.flavor {
            Some(flavor) => Self::of_flavor(flavor),
            None => Self::new(
                instance.vcpus.unwrap_or_default(),
                instance.memory_mb.unwrap_or_default(),
                instance.root_gb.unwrap_or_default(),
            ),
        }
    }

    pub(super) fn of_flavor(flavor: &Flavor) -> Result<Self, DriverError> {
        if flavor.ephemeral_gb > 0 || flavor.swap > 0 {
            return Err(DriverError::NotSupported("a flavor with an ephemeral or a swap disk"));
        }
        Self::new(flavor.vcpus, flavor.memory_mb, flavor.root_gb)
    }

    fn new(vcpus: i64, memory_mb: i64, root_gb: i64) -> Result<Self, DriverError> {
        let unusable = || {
            DriverError::Hypervisor(format!(
                "a guest with {vcpus} vcpus, {memory_mb} MiB and {root_gb} GiB cannot be made"
            ))
        };
        let disk_gb = u64::try_from(root_gb).map_err(|_| unusable())?;
        let size = Self {
            vcpus: u32::try_from(vcpus).map_err(|_| unusable())?,
            memory_mb: u64::try_from(memory_mb).map_err(|_| unusable())?,
            disk_bytes: disk_gb.checked_mul(1 << 30).ok_or_else(unusable)?,
        };
        if size.vcpus == 0 || size.memory_mb == 0 {
            return Err(unusable());
        }
        Ok(size)
    }
}

impl GuestRecord {
    /// What a guest will be, before its disks and its port are there.
    pub(super) fn plan(spawn: &Spawn<'_>, size: Size, has_screen: bool) -> Result<Self, DriverError> {
        let nics: Result<_, _> = spawn.network_info.0.iter().map(Nic::of).collect();
        Ok(Self {
            version: VERSION,
            uuid: spawn.instance.uuid,
            name: spawn.instance.name(),
            vcpus: size.vcpus,
            memory_mb: size.memory_mb,
            has_disk: false,
            has_config_drive: spawn.has_config_drive,
            hardware: Hardware::of(spawn, has_screen)?,
            nics: nics?,
            ssh_port: None,
            is_suspended: false,
            rescue: None,
        })
    }

    /// The same guest in another flavor.
    pub(super) fn resized(self, size: Size) -> Self {
        Self { vcpus: size.vcpus, memory_mb: size.memory_mb, ..self }
    }

    pub(super) fn read(dir: &GuestDir) -> Result<Self, DriverError> {
        let path = dir.record();
        let bytes = std::fs::read(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => DriverError::InstanceNotFound(dir.uuid),
            _ => host_error("read", &path, &error),
        })?;
        let unreadable =
            |reason: String| DriverError::Hypervisor(format!("{} cannot be used: {reason}", path.display()));
        let record: Self = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        if record.version > VERSION {
            return Err(unreadable(format!("version {} is of a later Kilonova", record.version)));
        }
        Ok(record)
    }

    /// [`Self::write`], away from the runtime's threads.
    pub(super) async fn write_in(&self, operation: &Operation, dir: &GuestDir) -> Result<(), DriverError> {
        let (written, to) = (self.clone(), dir.clone());
        blocking_in(operation, move || written.write(&to)).await
    }

    /// Writes it so that a kill or a power cut leaves the old one or the new one.
    pub(super) fn write(&self, dir: &GuestDir) -> Result<(), DriverError> {
        let path = dir.record();
        let temporary = path.with_extension("json.part");
        let write = || {
            let mut file =
                std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            std::fs::File::open(dir.path())?.sync_all()
        };
        write().map_err(|error| host_error("write", &path, &error))
    }
}
