//! The root disk of a guest: a qcow2 file on top of its image's base, as large as the flavor says. And the disk of a rescue
//! system, as large as its image.

use std::ffi::OsString;
use std::path::Path;

use super::config::QemuConfig;
use super::guest_dir::GuestDir;
use super::image_cache::{Base, ImageCache};
use super::image_inspect::qemu_img;
use super::tools::{Bounds, ToolError};
use crate::driver::{DiskImage, DriverError};

/// Makes the root disk; false where there is none to make: no image, and none in the flavor.
pub(super) async fn create_root(
    config: &QemuConfig,
    images: &ImageCache,
    dir: &GuestDir,
    image: Option<&DiskImage>,
    flavor_bytes: u64,
) -> Result<bool, DriverError> {
    let base = match image {
        Some(image) => Some(images.fetch(config, image, flavor_bytes).await?),
        None if flavor_bytes == 0 => return Ok(false),
        None => None,
    };
    create(config, &dir.disk(), base.as_ref(), flavor_bytes).await?;
    Ok(true)
}

/// Makes the disk that a rescued guest starts from, instead of an older one.
pub(super) async fn create_rescue(
    config: &QemuConfig,
    images: &ImageCache,
    dir: &GuestDir,
    image: &DiskImage,
) -> Result<(), DriverError> {
    let base = images.fetch(config, image, 0).await?;
    create(config, &dir.rescue_disk(), Some(&base), 0).await
}

async fn create(config: &QemuConfig, disk: &Path, base: Option<&Base>, bytes: u64) -> Result<(), DriverError> {
    let args = arguments(disk, base, bytes);
    let bounds = Bounds::time(config.limits.tool_timeout);
    qemu_img(config).run(args, disk, bounds).await.map_err(ToolError::into_driver_error)?;
    Ok(())
}

fn arguments(disk: &Path, base: Option<&Base>, bytes: u64) -> Vec<OsString> {
    let mut args: Vec<OsString> = ["create", "-q", "-f", "qcow2"].map(Into::into).into();
    if let Some(base) = base {
        // Relative to the disk, so that the whole tree can be moved.
        args.extend(["-F", "raw", "-b"].map(Into::into));
        args.push(format!("../_base/{}", base.name).into());
    }
    args.push(disk.into());
    let bytes = match (bytes, base) {
        (0, Some(base)) => base.virtual_size,
        (bytes, _) => bytes,
    };
    args.push(bytes.to_string().into());
    args
}
