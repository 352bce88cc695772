//! Suspend and resume: the guest's memory goes into its root disk, as an internal snapshot, and QEMU ends.
//!
//! ```text
//!   running ─stop, snapshot-save─> stopped ─guest.json: is_suspended─> ─quit─> no QEMU
//!   no QEMU ─`-loadvm`─> stopped ─guest.json: not is_suspended─> ─cont─> running ─> the saved memory is deleted
//! ```
//!
//! The saved memory goes with the disk of its moment: used a second time it would take back what the guest wrote since. So
//! `guest.json` says that it is there only while nothing has run since.

use serde_json::json;
use uuid::Uuid;

use super::QemuDriver;
use super::guest_dir::GuestDir;
use super::image_inspect::qemu_img;
use super::jobs::{self, refused};
use super::locks::Operation;
use super::power::{self, exchange};
use super::process::Process;
use super::record::GuestRecord;
use super::tools::Bounds;
use crate::driver::DriverError;

/// The snapshot's name.
pub(super) const SUSPENDED: &str = "suspended";

pub(super) async fn suspend(driver: &QemuDriver, uuid: Uuid) -> Result<(), DriverError> {
    let dir = driver.dir(uuid);
    let operation = driver.locks.operation(uuid).await;
    let mut record = GuestRecord::read(&dir)?;
    let Some(process) = Process::find(&dir) else {
        // An earlier try got this far.
        return if record.is_suspended { Ok(()) } else { Err(DriverError::InstanceNotRunning(uuid)) };
    };
    if !record.has_disk {
        return Err(DriverError::NotSupported("suspending a guest without a disk"));
    }
    exchange(driver, &dir, "stop").await.map_err(refused)?;
    if let Err(error) = save(driver, &dir).await {
        if let Err(error) = exchange(driver, &dir, "cont").await {
            tracing::warn!(%uuid, %error, "a guest that could not be suspended stays paused");
        }
        return Err(error);
    }
    record.is_suspended = true;
    record.write_in(&operation, &dir).await?;
    power::quit(driver, &dir, &process).await
}

pub(super) async fn resume(driver: &QemuDriver, uuid: Uuid) -> Result<(), DriverError> {
    let dir = driver.dir(uuid);
    let operation = driver.locks.operation(uuid).await;
    let mut record = GuestRecord::read(&dir)?;
    if Process::find(&dir).is_some() {
        // Suspending did not end, or an earlier try to resume did not.
        if record.is_suspended {
            record.is_suspended = false;
            record.write_in(&operation, &dir).await?;
        }
        exchange(driver, &dir, "cont").await.map_err(refused)?;
    } else {
        power::start(driver, &dir, &operation, &mut record).await?;
    }
    if let Err(error) = delete(driver, &dir).await {
        tracing::warn!(%uuid, %error, "the memory that was saved stays in the disk");
    }
    Ok(())
}

/// Gives up the memory of a guest that is off: it starts from its disk.
pub(super) async fn forget(
    driver: &QemuDriver,
    dir: &GuestDir,
    operation: &Operation,
    record: &mut GuestRecord,
) -> Result<(), DriverError> {
    if !record.is_suspended {
        return Ok(());
    }
    record.is_suspended = false;
    record.write_in(operation, dir).await?;
    let disk = dir.disk();
    let args = ["snapshot".as_ref(), "-q".as_ref(), "-d".as_ref(), SUSPENDED.as_ref(), disk.as_os_str()];
    let bounds = Bounds::time(driver.config.limits.tool_timeout);
    if let Err(error) = qemu_img(&driver.config).run(args, &disk, bounds).await {
        tracing::warn!(uuid = %dir.uuid, ?error, "the memory that was saved stays in the disk");
    }
    Ok(())
}

async fn save(driver: &QemuDriver, dir: &GuestDir) -> Result<(), DriverError> {
    jobs::clear(driver, dir).await?;
    // One that was left by what went wrong has the same name.
    delete(driver, dir).await?;
    let arguments = json!({ "tag": SUSPENDED, "vmstate": "root", "devices": ["root"] });
    jobs::run(driver, dir, "snapshot-save", arguments, driver.config.limits.convert_timeout).await
}

async fn delete(driver: &QemuDriver, dir: &GuestDir) -> Result<(), DriverError> {
    let arguments = json!({ "tag": SUSPENDED, "devices": ["root"] });
    jobs::run(driver, dir, "snapshot-delete", arguments, driver.config.limits.convert_timeout).await
}
