//! A copy of a guest's root disk: one qcow2 file that needs no base.
//!
//! Of a guest that runs it holds the disk of the moment when it was asked for, as after a power cut: QEMU copies what the
//! guest writes meanwhile first.

use std::ffi::OsString;
use std::path::Path;

use serde_json::json;
use uuid::Uuid;

use super::QemuDriver;
use super::errors::host_error;
use super::guest_dir::GuestDir;
use super::image_cache::new_part;
use super::image_inspect::qemu_img;
use super::jobs::{self, refused};
use super::power::{exchange, exchange_with};
use super::process::Process;
use super::record::GuestRecord;
use super::tools::{Bounds, ToolError};
use crate::driver::{DriverError, ImageFile, Snapshot};

/// The copy, while QEMU writes it.
const COPY: &str = "copy";

pub(super) async fn snapshot(driver: &QemuDriver, uuid: Uuid) -> Result<Snapshot, DriverError> {
    let dir = driver.dir(uuid);
    let _operation = driver.locks.operation(uuid).await;
    if !GuestRecord::read(&dir)?.has_disk {
        return Err(DriverError::NotSupported("an image of a guest without a disk"));
    }
    let part = new_part(&driver.config.instances_dir, "snapshot")?;
    match Process::find(&dir) {
        Some(_) => copy_live(driver, &dir, part.path()).await?,
        None => convert(driver, &dir, part.path()).await?,
    }
    Ok(Snapshot { file: ImageFile::new(part.path().to_owned(), part), disk_format: "qcow2".to_owned() })
}

async fn convert(driver: &QemuDriver, dir: &GuestDir, to: &Path) -> Result<(), DriverError> {
    let mut args: Vec<OsString> = ["convert", "-q", "-f", "qcow2", "-O", "qcow2"].map(Into::into).into();
    args.extend([dir.disk().into(), to.into()]);
    let bounds = Bounds::time(driver.config.limits.convert_timeout);
    qemu_img(&driver.config).run(args, to, bounds).await.map_err(ToolError::into_driver_error)?;
    Ok(())
}

async fn copy_live(driver: &QemuDriver, dir: &GuestDir, to: &Path) -> Result<(), DriverError> {
    jobs::clear(driver, dir).await?;
    // One that was left.
    let _ = remove_copy(driver, dir).await;
    let bytes = virtual_size(driver, dir).await?;
    // QEMU runs elsewhere.
    let to = std::path::absolute(to).map_err(|error| host_error("find", to, &error))?;
    let mut args: Vec<OsString> = ["create", "-q", "-f", "qcow2"].map(Into::into).into();
    args.extend([to.clone().into(), bytes.to_string().into()]);
    let bounds = Bounds::time(driver.config.limits.tool_timeout);
    qemu_img(&driver.config).run(args, &to, bounds).await.map_err(ToolError::into_driver_error)?;
    let file = json!({ "driver": "file", "filename": to });
    let node = json!({ "node-name": COPY, "driver": "qcow2", "file": file });
    exchange_with(driver, dir, "blockdev-add", node).await.map_err(refused)?;
    let arguments = json!({ "device": "root", "target": COPY, "sync": "full", "auto-dismiss": false });
    let copied = jobs::run(driver, dir, "blockdev-backup", arguments, driver.config.limits.convert_timeout).await;
    let removed = remove_copy(driver, dir).await;
    copied.and(removed)
}

async fn remove_copy(driver: &QemuDriver, dir: &GuestDir) -> Result<(), DriverError> {
    exchange_with(driver, dir, "blockdev-del", json!({ "node-name": COPY })).await.map(drop).map_err(refused)
}

/// Bytes of the root disk as the guest sees it.
async fn virtual_size(driver: &QemuDriver, dir: &GuestDir) -> Result<u64, DriverError> {
    let nodes = exchange(driver, dir, "query-named-block-nodes").await.map_err(refused)?;
    let root = nodes.as_array().into_iter().flatten().find(|node| node["node-name"] == "root");
    let bytes = root.and_then(|node| node["image"]["virtual-size"].as_u64());
    bytes.ok_or_else(|| DriverError::Hypervisor("QEMU does not know its root disk".to_owned()))
}
