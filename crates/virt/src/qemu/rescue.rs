//! Rescue: the guest starts from another image, with its own disks beside it, to be mended.
//!
//! ```text
//!   rescue:    rescue.qcow2, rescue.config ─> QEMU ends ─> guest.json: rescue ─> QEMU
//!   unrescue:  QEMU ends ─> guest.json: no rescue ─> QEMU ─> rescue.qcow2 and rescue.config go
//! ```
//!
//! Until `guest.json` is written the guest is as before, and what was made is made anew by the next rescue.

use uuid::Uuid;

use super::config_drive;
use super::errors::{blocking_in, host_error};
use super::guest_dir::GuestDir;
use super::hardware::DiskBus;
use super::locks::Operation;
use super::process::Process;
use super::record::{GuestRecord, RescueDisk};
use super::{QemuDriver, disk, power, suspend};
use crate::driver::{DriverError, Injected, Rescue, RescueDevice, Spawn};

/// What `hw_rescue_bus` may say.
const BUSES: [&str; 3] = ["virtio", "scsi", "sata"];

pub(super) async fn rescue(driver: &QemuDriver, rescue: Rescue<'_>) -> Result<(), DriverError> {
    let dir = driver.dir(rescue.instance.uuid);
    let operation = driver.locks.operation(dir.uuid).await;
    let mut record = GuestRecord::read(&dir)?;
    let place = place(&record, &rescue)?;
    make(driver, &dir, &operation, &rescue).await?;
    if let Some(process) = Process::find(&dir) {
        power::stop(driver, &dir, &process, rescue.grace).await?;
    }
    suspend::forget(driver, &dir, &operation, &mut record).await?;
    record.rescue = Some(place);
    record.write_in(&operation, &dir).await?;
    power::start(driver, &dir, &operation, &mut record).await
}

pub(super) async fn unrescue(driver: &QemuDriver, uuid: Uuid) -> Result<(), DriverError> {
    let dir = driver.dir(uuid);
    let operation = driver.locks.operation(uuid).await;
    let mut record = GuestRecord::read(&dir)?;
    if record.rescue.is_some() {
        // The rescue system has nothing to lose.
        if let Some(process) = Process::find(&dir) {
            power::quit(driver, &dir, &process).await?;
        }
        record.rescue = None;
        record.write_in(&operation, &dir).await?;
    }
    power::ensure_running(driver, &dir, &operation).await?;
    blocking_in(&operation, move || remove(&dir)).await
}

/// Where the disk is attached.
fn place(record: &GuestRecord, rescue: &Rescue<'_>) -> Result<RescueDisk, DriverError> {
    let Some(RescueDevice { device, bus }) = RescueDevice::of(&rescue.image_properties, "qemu", &BUSES)? else {
        return Ok(RescueDisk::First);
    };
    let is_cdrom = match device.as_str() {
        "disk" => false,
        "cdrom" => true,
        _ => return Err(DriverError::UnsupportedRescueDevice(device)),
    };
    let bus = match bus.as_deref() {
        Some("virtio") => DiskBus::Virtio,
        Some("scsi") => DiskBus::Scsi,
        Some("sata") => DiskBus::Sata,
        _ if is_cdrom => DiskBus::Sata,
        _ => record.hardware.disk_bus,
    };
    Ok(RescueDisk::Last { bus, is_cdrom })
}

async fn make(
    driver: &QemuDriver,
    dir: &GuestDir,
    operation: &Operation,
    rescue: &Rescue<'_>,
) -> Result<(), DriverError> {
    let config = &driver.config;
    let described = Spawn {
        instance: rescue.instance,
        image: None,
        image_properties: rescue.image_properties.clone(),
        network_info: rescue.network_info,
        injected: Injected { admin_password: rescue.admin_password.map(str::to_owned), files: Vec::new() },
        has_config_drive: true,
    };
    let entries = config_drive::entries(&described, &config.dhcp_domain)?;
    disk::create_rescue(config, &driver.images, dir, &rescue.image).await?;
    config_drive::create(config, dir, operation, &dir.rescue_config_drive(), entries).await
}

fn remove(dir: &GuestDir) -> Result<(), DriverError> {
    for path in [dir.rescue_disk(), dir.rescue_config_drive()] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(host_error("remove", &path, &error));
            }
            _ => {}
        }
    }
    Ok(())
}
