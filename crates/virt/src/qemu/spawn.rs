//! Makes a guest, and takes one away.
//!
//! ```text
//!   directory with `spawning` ─> root disk, config drive (together) ─> QEMU, stopped ─> cont ─> guest.json
//! ```
//!
//! Whatever happens before `guest.json` is there, the directory is an unfinished one: an error removes it, and after a
//! kill `recover`, `destroy` or the next `spawn` does.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::errors::{blocking_in, host_error};
use super::guest_dir::{Content, GuestDir};
use super::locks::Operation;
use super::process::Process;
use super::record::{GuestRecord, Size};
use super::{QemuDriver, config_drive, disk, launch, power};
use crate::driver::{DriverError, Spawn};

/// The metadata key of a guest's forwarded ssh port; its value is `<address>:<port>` of the host.
pub(super) const SSH_FORWARD: &str = "kilonova:ssh";

pub(super) async fn spawn(driver: &QemuDriver, spawn: Spawn<'_>) -> Result<BTreeMap<String, String>, DriverError> {
    let dir = driver.dir(spawn.instance.uuid);
    let operation = driver.locks.operation(dir.uuid).await;
    match dir.content()? {
        Content::Guest => {
            let record = power::ensure_running(driver, &dir, &operation).await?;
            return Ok(metadata(driver, &record));
        }
        Content::Unfinished => erase(driver, &dir, &operation).await?,
        Content::Foreign => return Err(foreign(&dir)),
        Content::Missing => {}
    }
    let size = Size::of(spawn.instance)?;
    let record = GuestRecord::plan(&spawn, size, driver.config.has_screens)?;
    dir.create()?;
    match build(driver, &dir, &operation, &spawn, size, record).await {
        Ok(record) => Ok(metadata(driver, &record)),
        Err(error) => {
            if let Err(undo) = erase(driver, &dir, &operation).await {
                tracing::error!(uuid = %dir.uuid, %undo, "a failed spawn could not be undone; the next start does it");
            }
            Err(error)
        }
    }
}

async fn build(
    driver: &QemuDriver,
    dir: &GuestDir,
    operation: &Operation,
    spawn: &Spawn<'_>,
    size: Size,
    mut record: GuestRecord,
) -> Result<GuestRecord, DriverError> {
    let config = &driver.config;
    let root = disk::create_root(config, &driver.images, dir, spawn.image.as_ref(), size.disk_bytes);
    let drive = async {
        if spawn.has_config_drive {
            let entries = config_drive::entries(spawn, &config.dhcp_domain)?;
            config_drive::create(config, dir, operation, &dir.config_drive(), entries).await?;
        }
        Ok(())
    };
    // To the end of both, even if one fails: nothing may still be writing when the directory is removed.
    let (root, drive): (_, Result<(), DriverError>) = tokio::join!(root, drive);
    record.has_disk = root?;
    drive?;
    launch::start(driver, dir, &mut record).await?;
    complete(operation, dir, &record).await?;
    Ok(record)
}

/// From here on the guest is one.
pub(super) async fn complete(operation: &Operation, dir: &GuestDir, record: &GuestRecord) -> Result<(), DriverError> {
    let (written, to) = (record.clone(), dir.clone());
    blocking_in(operation, move || {
        written.write(&to)?;
        std::fs::remove_file(to.marker()).map_err(|error| host_error("remove", &to.marker(), &error))
    })
    .await
}

/// Takes a guest away, whatever there is of it.
pub(super) async fn destroy(driver: &QemuDriver, uuid: Uuid) -> Result<(), DriverError> {
    let dir = driver.dir(uuid);
    // Before its turn: an operation that waits for the guest to shut down then has nothing to wait for.
    kill_all(&dir).await?;
    let operation = driver.locks.operation(uuid).await;
    let kept = dir.kept();
    blocking_in(&operation, move || kept.remove()).await?;
    if dir.content()? == Content::Foreign {
        tracing::warn!(path = %dir.path().display(), "not removing a directory that Kilonova did not make");
        return Ok(());
    }
    erase(driver, &dir, &operation).await
}

/// Kills what runs and removes what there is.
pub(super) async fn erase(driver: &QemuDriver, dir: &GuestDir, operation: &Operation) -> Result<(), DriverError> {
    kill_all(dir).await?;
    let removed = dir.clone();
    blocking_in(operation, move || removed.remove()).await?;
    driver.ports.release(dir.uuid);
    Ok(())
}

async fn kill_all(dir: &GuestDir) -> Result<(), DriverError> {
    for process in Process::scan(dir).await? {
        process.kill().await?;
    }
    Ok(())
}

pub(super) fn metadata(driver: &QemuDriver, record: &GuestRecord) -> BTreeMap<String, String> {
    let ssh = record.ssh_port.map(|port| (SSH_FORWARD.to_owned(), format!("{}:{port}", driver.ports.address())));
    ssh.into_iter().collect()
}

pub(super) fn foreign(dir: &GuestDir) -> DriverError {
    DriverError::Host(format!("{} holds files that Kilonova did not make; move them away", dir.path().display()))
}
