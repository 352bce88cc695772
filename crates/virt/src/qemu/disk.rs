//! The root disk of a guest: a qcow2 file on top of its image's base, as large as the flavor says.

use std::ffi::OsString;

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
    let args = arguments(dir, base.as_ref(), flavor_bytes);
    qemu_img(config)
        .run(args, dir.path(), Bounds::time(config.limits.tool_timeout))
        .await
        .map_err(ToolError::into_driver_error)?;
    Ok(true)
}

fn arguments(dir: &GuestDir, base: Option<&Base>, flavor_bytes: u64) -> Vec<OsString> {
    let mut args: Vec<OsString> = ["create", "-q", "-f", "qcow2"].map(Into::into).into();
    if let Some(base) = base {
        // Relative to the disk, so that the whole tree can be moved.
        args.extend(["-F", "raw", "-b"].map(Into::into));
        args.push(format!("../_base/{}", base.name).into());
    }
    args.push(dir.disk().into());
    let bytes = match (flavor_bytes, base) {
        (0, Some(base)) => base.virtual_size,
        (bytes, _) => bytes,
    };
    args.push(bytes.to_string().into());
    args
}
