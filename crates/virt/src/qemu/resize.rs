//! Resize on this host: what the guest was is set aside until the user confirms what it has become.
//!
//! ```text
//!   give away:     QEMU ends ─> <uuid> becomes <uuid>_resize
//!   finish:        <uuid> with `spawning` ─> copies of the disks, the root one grown ─> QEMU ─> guest.json
//!   confirm:       <uuid>_resize goes
//!   revert:        <uuid> goes
//!   take back:     <uuid>_resize becomes <uuid> ─> QEMU
//! ```
//!
//! Every step that is asked again finds out by the two directories how far it came. The disks of a guest that goes to
//! another host have no way there yet: `supports_migrate_to_other_host` says so.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use kilonova_objects::{Flavor, Instance};
use uuid::Uuid;

use super::errors::{blocking_in, host_error};
use super::guest_dir::{Content, GuestDir};
use super::image_inspect::qemu_img;
use super::locks::Operation;
use super::process::Process;
use super::record::{GuestRecord, Size};
use super::tools::{Bounds, Tool, ToolError};
use super::{QemuDriver, host, launch, power, spawn, suspend};
use crate::driver::{DriverError, FinishMigration};

/// What the destination is told of the disks: they are here.
const DISK_INFO: &str = "[]";
const CP: Tool<'_> = Tool { program: "cp", package: "coreutils" };

pub(super) async fn give_away(
    driver: &QemuDriver,
    instance: &Instance,
    flavor: &Flavor,
    grace: Duration,
) -> Result<String, DriverError> {
    let dir = driver.dir(instance.uuid);
    let operation = driver.locks.operation(dir.uuid).await;
    if dir.kept().content()? == Content::Guest {
        return Ok(DISK_INFO.to_owned());
    }
    let mut record = GuestRecord::read(&dir)?;
    if record.rescue.is_some() {
        return Err(DriverError::NotSupported("a resize of a rescued guest"));
    }
    let wanted = Size::of_flavor(flavor)?.disk_bytes;
    if wanted != 0 && host::disk_size(&dir.disk()).is_some_and(|bytes| bytes > wanted) {
        return Err(DriverError::Resize("Unable to resize disk down."));
    }
    if let Some(process) = Process::find(&dir) {
        power::stop(driver, &dir, &process, grace).await?;
    }
    suspend::forget(driver, &dir, &operation, &mut record).await?;
    rename(&operation, dir.clone(), dir.kept()).await?;
    Ok(DISK_INFO.to_owned())
}

pub(super) async fn finish(driver: &QemuDriver, finish: FinishMigration<'_>) -> Result<(), DriverError> {
    let dir = driver.dir(finish.instance.uuid);
    let operation = driver.locks.operation(dir.uuid).await;
    match dir.content()? {
        Content::Guest if finish.power_on => return power::ensure_running(driver, &dir, &operation).await.map(drop),
        Content::Guest => return Ok(()),
        Content::Unfinished => spawn::erase(driver, &dir, &operation).await?,
        Content::Foreign => return Err(spawn::foreign(&dir)),
        Content::Missing => {}
    }
    let size = Size::of(finish.instance)?;
    let record = GuestRecord::read(&dir.kept())?.resized(size);
    dir.create()?;
    let made = make(driver, &dir, &operation, &finish, size, record).await;
    if made.is_err()
        && let Err(undo) = spawn::erase(driver, &dir, &operation).await
    {
        tracing::error!(uuid = %dir.uuid, %undo, "a resize that failed could not be undone; the next start does it");
    }
    made
}

async fn make(
    driver: &QemuDriver,
    dir: &GuestDir,
    operation: &Operation,
    finish: &FinishMigration<'_>,
    size: Size,
    mut record: GuestRecord,
) -> Result<(), DriverError> {
    let kept = dir.kept();
    if record.has_disk {
        copy(driver, operation, &kept.disk(), &dir.disk()).await?;
        if finish.resizes_disks && host::disk_size(&dir.disk()).is_some_and(|bytes| bytes < size.disk_bytes) {
            grow(driver, &dir.disk(), size.disk_bytes).await?;
        }
    }
    if record.has_config_drive {
        copy(driver, operation, &kept.config_drive(), &dir.config_drive()).await?;
    }
    if kept.console_log().exists() {
        copy(driver, operation, &kept.console_log(), &dir.console_log()).await?;
    }
    if finish.power_on {
        launch::start(driver, dir, &mut record).await?;
    }
    spawn::complete(operation, dir, &record).await
}

pub(super) async fn confirm(driver: &QemuDriver, uuid: Uuid) -> Result<(), DriverError> {
    let kept = driver.dir(uuid).kept();
    let operation = driver.locks.operation(uuid).await;
    blocking_in(&operation, move || kept.remove()).await
}

/// Only what `finish` made goes: a guest without anything kept is the one that was.
pub(super) async fn revert(driver: &QemuDriver, uuid: Uuid) -> Result<(), DriverError> {
    let dir = driver.dir(uuid);
    let operation = driver.locks.operation(uuid).await;
    remove_resized(driver, &dir, &operation).await.map(drop)
}

pub(super) async fn take_back(driver: &QemuDriver, uuid: Uuid, power_on: bool) -> Result<(), DriverError> {
    let dir = driver.dir(uuid);
    let operation = driver.locks.operation(uuid).await;
    if remove_resized(driver, &dir, &operation).await? {
        rename(&operation, dir.kept(), dir.clone()).await?;
    }
    if power_on {
        power::ensure_running(driver, &dir, &operation).await.map(drop)
    } else {
        GuestRecord::read(&dir).map(drop)
    }
}

/// Whether there is what the guest was; if so, what it became is gone.
async fn remove_resized(driver: &QemuDriver, dir: &GuestDir, operation: &Operation) -> Result<bool, DriverError> {
    if dir.kept().content()? != Content::Guest {
        return Ok(false);
    }
    if dir.content()? == Content::Foreign {
        return Err(spawn::foreign(dir));
    }
    spawn::erase(driver, dir, operation).await?;
    Ok(true)
}

async fn rename(operation: &Operation, from: GuestDir, to: GuestDir) -> Result<(), DriverError> {
    blocking_in(operation, move || from.rename_to(&to)).await
}

/// With its holes, and sharing the bytes where the file system can.
async fn copy(driver: &QemuDriver, operation: &Operation, from: &Path, to: &Path) -> Result<(), DriverError> {
    let args =
        [OsStr::new("--sparse=auto"), OsStr::new("--reflink=auto"), OsStr::new("--"), from.as_ref(), to.as_ref()];
    let bounds = Bounds::time(driver.config.limits.convert_timeout);
    CP.run(args, to, bounds).await.map_err(ToolError::into_driver_error)?;
    let copied = to.to_owned();
    // After a confirmation it is the only one.
    let sync = move || std::fs::File::open(&copied)?.sync_all();
    let path = to.to_owned();
    blocking_in(operation, move || sync().map_err(|error| host_error("write", &path, &error))).await
}

async fn grow(driver: &QemuDriver, disk: &Path, bytes: u64) -> Result<(), DriverError> {
    let size = bytes.to_string();
    let args = ["resize".as_ref(), "-q".as_ref(), "-f".as_ref(), "qcow2".as_ref(), disk.as_os_str(), size.as_ref()];
    let bounds = Bounds::time(driver.config.limits.tool_timeout);
    qemu_img(&driver.config).run(args, disk, bounds).await.map_err(ToolError::into_driver_error)?;
    Ok(())
}
