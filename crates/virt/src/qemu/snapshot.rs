//! A copy of a guest's root disk: one qcow2 file that needs no base.
//!
//! Only of a guest that is off: of one that runs, the copy would hold the disk of no moment.

use std::ffi::OsString;

use uuid::Uuid;

use super::QemuDriver;
use super::image_cache::new_part;
use super::image_inspect::qemu_img;
use super::process::Process;
use super::record::GuestRecord;
use super::tools::{Bounds, ToolError};
use crate::driver::{DriverError, ImageFile, Snapshot};

pub(super) async fn snapshot(driver: &QemuDriver, uuid: Uuid) -> Result<Snapshot, DriverError> {
    let dir = driver.dir(uuid);
    let _operation = driver.locks.operation(uuid).await;
    GuestRecord::read(&dir)?;
    if Process::find(&dir).is_some() {
        return Err(DriverError::NotSupported("A snapshot of a running guest"));
    }
    let part = new_part(&driver.config.instances_dir, "snapshot")?;
    let mut args: Vec<OsString> = ["convert", "-q", "-f", "qcow2", "-O", "qcow2"].map(Into::into).into();
    args.extend([dir.disk().into(), part.path().into()]);
    let bounds = Bounds::time(driver.config.limits.convert_timeout);
    qemu_img(&driver.config).run(args, part.path(), bounds).await.map_err(ToolError::into_driver_error)?;
    Ok(Snapshot { file: ImageFile::new(part.path().to_owned(), part), disk_format: "qcow2".to_owned() })
}
