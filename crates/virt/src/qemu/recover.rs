//! After a start of the agent: finds the guests that went on without it, and removes what a killed agent left half done.

use std::collections::BTreeSet;
use std::path::Path;

use uuid::Uuid;

use super::errors::{blocking, host_error};
use super::guest_dir::{Content, GuestDir, remove_if_deleting};
use super::locks::Operation;
use super::process::{Process, pidfiles_in_use};
use super::{QemuDriver, image_cache, power, spawn};
use crate::driver::{DriverError, GuestInfo};

pub(super) async fn recover(driver: &QemuDriver) -> Result<Vec<GuestInfo>, DriverError> {
    let root = driver.config.instances_dir.clone();
    let uuids = blocking(move || {
        image_cache::remove_parts(&root)?;
        let mut uuids = uuids_of_processes(&root);
        uuids.extend(uuids_of_directories(&root)?);
        Ok(uuids)
    })
    .await?;
    for uuid in uuids {
        let dir = driver.dir(uuid);
        let operation = driver.locks.operation(uuid).await;
        // One guest that cannot be mended keeps no other from being found.
        if let Err(error) = repair(driver, &dir, &operation).await {
            tracing::error!(%uuid, %error, "a guest could not be mended");
        }
    }
    driver.infos().await
}

async fn repair(driver: &QemuDriver, dir: &GuestDir, operation: &Operation) -> Result<(), DriverError> {
    match dir.content()? {
        Content::Guest => {
            if let Some(process) = Process::find(dir) {
                tracing::info!(uuid = %dir.uuid, pid = process.pid, "adopted a running guest");
                power::continue_prelaunch(driver, dir, &process).await?;
            }
            Ok(())
        }
        Content::Unfinished | Content::Missing => {
            tracing::info!(uuid = %dir.uuid, "removing what an unfinished operation left");
            spawn::erase(driver, dir, operation).await
        }
        Content::Foreign => {
            tracing::warn!(path = %dir.path().display(), "leaving a directory alone that Kilonova did not make");
            Ok(())
        }
    }
}

/// The guests whose QEMU runs, whether their directory is still there or not.
fn uuids_of_processes(root: &Path) -> BTreeSet<Uuid> {
    let uuid_of = |pidfile: String| {
        let dir = Path::new(&pidfile).parent()?.strip_prefix(root).ok()?;
        Uuid::try_parse(dir.to_str()?).ok()
    };
    pidfiles_in_use().into_iter().filter_map(uuid_of).collect()
}

/// The guests that have a directory; finishes removals on the way.
fn uuids_of_directories(root: &Path) -> Result<Vec<Uuid>, DriverError> {
    let failed = |error| host_error("list", root, &error);
    let mut uuids = Vec::new();
    for entry in std::fs::read_dir(root).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !remove_if_deleting(&entry.path())? {
            uuids.extend(uuid_of(&entry.file_name()));
        }
    }
    Ok(uuids)
}

/// The guest that a directory's name stands for.
pub(super) fn uuid_of(name: &std::ffi::OsStr) -> Option<Uuid> {
    let name = name.to_str()?;
    // Only as we write it: other spellings of a UUID name other directories.
    Uuid::try_parse(name).ok().filter(|uuid| uuid.to_string() == name)
}
