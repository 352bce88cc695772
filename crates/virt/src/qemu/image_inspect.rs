//! What a disk image really is, before any program that trusts images gets to see it.
//!
//! An image is a user's file. A header that names another file (a backing file, a data file) would hand that file of
//! the host to the guest; a header that is taken for another format does the same by a detour. So the content must be
//! what the image service says, and nothing in it may point elsewhere. Formats whose files can point elsewhere in more
//! ways than these, such as vmdk, are refused.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use serde_json::Value;
use uuid::Uuid;

use super::config::QemuConfig;
use super::errors::{blocking, host_error};
use super::tools::{Bounds, Tool, ToolError};
use crate::driver::DriverError;

/// A format that a root disk can be made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Raw,
    Qcow2,
    Vdi,
    Vhd,
    Vhdx,
}

impl Format {
    /// From the image service's `disk_format`.
    fn declared(disk_format: &str) -> Option<Self> {
        match disk_format {
            "raw" => Some(Self::Raw),
            "qcow2" => Some(Self::Qcow2),
            "vdi" => Some(Self::Vdi),
            "vhd" => Some(Self::Vhd),
            "vhdx" => Some(Self::Vhdx),
            _ => None,
        }
    }

    /// QEMU's name.
    pub(super) fn driver(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vdi => "vdi",
            Self::Vhd => "vpc",
            Self::Vhdx => "vhdx",
        }
    }
}

/// An image whose bytes are on this host.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    pub(super) image_id: Uuid,
    pub(super) path: PathBuf,
    /// What the image service says.
    pub(super) disk_format: String,
}

/// An image that may be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inspected {
    pub(super) format: Format,
    /// Bytes of the disk that it holds.
    pub(super) virtual_size: u64,
}

/// Looks at an image's file.
pub(super) async fn inspect(config: &QemuConfig, image: &Fetched) -> Result<Inspected, DriverError> {
    let declared = image.disk_format.clone();
    let format = Format::declared(&declared).ok_or_else(|| {
        unacceptable(image, format!("disk_format {declared} cannot be booted here; convert it to qcow2 or raw"))
    })?;
    let of_image = image.clone();
    let size = blocking(move || look(&of_image, format)).await?;
    let virtual_size = match size {
        Some(size) => size,
        None => size_by_qemu_img(config, image, format).await?,
    };
    Ok(Inspected { format, virtual_size })
}

/// Refuses a damaged image. A conversion does not: what lies beyond the end of a file that was cut off it takes for
/// zeros.
pub(super) async fn check(config: &QemuConfig, image: &Fetched, format: Format) -> Result<(), DriverError> {
    /// Space in the file that nothing uses; harmless.
    const LEAKS: i32 = 3;
    /// The format has nothing to check.
    const CANNOT: i32 = 63;
    if format == Format::Raw {
        return Ok(());
    }
    let args = ["check".as_ref(), "-q".as_ref(), "-f".as_ref(), format.driver().as_ref(), image.path.as_os_str()];
    match qemu_img(config).run(args, &image.path, bounds(config)).await {
        Ok(_) => Ok(()),
        Err(ToolError::Refused { code: Some(LEAKS | CANNOT), .. }) => Ok(()),
        Err(ToolError::Host(error)) => Err(error),
        Err(ToolError::Refused { words, .. }) => {
            tracing::info!(image = %image.image_id, words, "an image is damaged");
            let reason = "it is damaged or cut off (qemu-img check finds errors); upload it again";
            Err(unacceptable(image, reason.to_owned()))
        }
    }
}

fn bounds(config: &QemuConfig) -> Bounds {
    Bounds {
        timeout: config.limits.tool_timeout,
        cpu_s: Some(config.limits.inspect_cpu_s),
        memory_bytes: Some(config.limits.inspect_memory_bytes),
    }
}

/// That an image cannot be used.
pub(super) fn unacceptable(image: &Fetched, reason: String) -> DriverError {
    DriverError::ImageUnacceptable { image_id: image.image_id.to_string(), reason }
}

/// Compares the content with the format; the virtual size where the header gives it at a glance.
fn look(image: &Fetched, format: Format) -> Result<Option<u64>, DriverError> {
    let failed = |error| host_error("read the image's file", &image.path, &error);
    let mut file = File::open(&image.path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut start = Vec::new();
    (&mut file).take(4096).read_to_end(&mut start).map_err(failed)?;
    let mut end = [0; 512];
    let has_end = length >= 512 && file.read_exact_at(&mut end, length - 512).is_ok();
    let found = detect(&start, has_end.then_some(&end[..]));
    let is_match = match (format, found) {
        (Format::Raw, None) => true,
        (_, Some(found)) => found == format.driver(),
        (_, None) => false,
    };
    if !is_match {
        return Err(unacceptable(
            image,
            format!(
                "Image content does not match disk_format: it was uploaded as {} and is {}",
                image.disk_format,
                found.unwrap_or("raw")
            ),
        ));
    }
    match format {
        Format::Raw => Ok(Some(length)),
        Format::Qcow2 => qcow2_size(&start).map(Some).map_err(|reason| unacceptable(image, reason.to_owned())),
        Format::Vdi | Format::Vhd | Format::Vhdx => Ok(None),
    }
}

/// The format that the content announces, by its magic bytes. A raw disk announces none; nor does an ISO file or a
/// partition table make a disk less raw.
fn detect(start: &[u8], end: Option<&[u8]>) -> Option<&'static str> {
    let at = |offset: usize, magic: &[u8]| start.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let known: [(usize, &[u8], &str); 9] = [
        (0, b"QFI\xfb", "qcow2"),
        (0, b"KDMV", "vmdk"),
        (0, b"COWD", "vmdk"),
        (0, b"# Disk DescriptorFile", "vmdk"),
        (0, b"QED\0", "qed"),
        (0, b"LUKS\xba\xbe", "luks"),
        (0, b"vhdxfile", "vhdx"),
        (0, b"conectix", "vpc"),
        (0x40, &[0x7f, 0x10, 0xda, 0xbe], "vdi"),
    ];
    let found = known.iter().find(|(offset, magic, _)| at(*offset, magic));
    // A VHD of fixed size has its only header at the end.
    let vhd_footer = end.is_some_and(|end| end.starts_with(b"conectix"));
    found.map(|(_, _, name)| *name).or(vhd_footer.then_some("vpc"))
}

/// The virtual size in a qcow2 header (QEMU's docs/interop/qcow2.txt), or why it is refused.
fn qcow2_size(header: &[u8]) -> Result<u64, &'static str> {
    const SHORT: &str = "the qcow2 header is cut off";
    const DIRTY: u64 = 1;
    const CORRUPT: u64 = 1 << 1;
    const DATA_FILE: u64 = 1 << 2;
    const COMPRESSION: u64 = 1 << 3;
    const EXTENDED_L2: u64 = 1 << 4;
    let u32_at = |offset: usize| -> Result<u32, &'static str> {
        let bytes = header.get(offset..offset + 4).ok_or(SHORT)?;
        Ok(u32::from_be_bytes(bytes.try_into().map_err(|_| SHORT)?))
    };
    let u64_at = |offset: usize| -> Result<u64, &'static str> {
        Ok(u64::from(u32_at(offset)?) << 32 | u64::from(u32_at(offset + 4)?))
    };
    let version = u32_at(4)?;
    if !(2..=3).contains(&version) {
        return Err("its qcow2 version is neither 2 nor 3");
    }
    if u64_at(8)? != 0 {
        return Err("it has a backing file; upload a flattened image (qemu-img convert)");
    }
    if !(9..=21).contains(&u32_at(20)?) {
        return Err("the qcow2 header is corrupt: impossible cluster size");
    }
    if u32_at(32)? != 0 {
        return Err("it is encrypted");
    }
    if version == 3 {
        let features = u64_at(72)?;
        if features & DATA_FILE != 0 {
            return Err("it has an external data file; upload a self-contained image (qemu-img convert)");
        }
        if features & CORRUPT != 0 {
            return Err("it is marked as corrupt");
        }
        if features & !(DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2) != 0 {
            return Err("it uses qcow2 features that are not known here");
        }
    }
    u64_at(24)
}

/// For formats that we do not read ourselves. The format is given, never guessed.
async fn size_by_qemu_img(config: &QemuConfig, image: &Fetched, format: Format) -> Result<u64, DriverError> {
    let args = [
        "info".as_ref(),
        "--force-share".as_ref(),
        "--output=json".as_ref(),
        "-f".as_ref(),
        format.driver().as_ref(),
        image.path.as_os_str(),
    ];
    let output = qemu_img(config).run(args, &image.path, bounds(config)).await.map_err(|error| match error {
        ToolError::Host(error) => error,
        ToolError::Refused { words, .. } => unacceptable(image, words),
    })?;
    let info: Value = serde_json::from_slice(&output)
        .map_err(|error| DriverError::Hypervisor(format!("qemu-img info gave no JSON: {error}")))?;
    if info.get("backing-filename").is_some() {
        return Err(unacceptable(image, "it has a backing file".to_owned()));
    }
    info.get("virtual-size").and_then(Value::as_u64).ok_or_else(|| unacceptable(image, "it has no size".to_owned()))
}

/// `qemu-img` and where it comes from.
pub(super) fn qemu_img(config: &QemuConfig) -> Tool<'_> {
    Tool { program: &config.qemu_img, package: "qemu-utils" }
}

/// That an image does not fit, if it does not. A flavor without a root disk takes the image's size.
pub(super) fn check_fits(virtual_size: u64, flavor_bytes: u64) -> Result<(), DriverError> {
    if flavor_bytes != 0 && virtual_size > flavor_bytes {
        return Err(DriverError::FlavorDiskSmallerThanImage { flavor_bytes, image_bytes: virtual_size });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = vec![0; 104];
        bytes[..4].copy_from_slice(b"QFI\xfb");
        bytes[7] = 3;
        bytes[23] = 16;
        bytes[24..32].copy_from_slice(&(10u64 << 20).to_be_bytes());
        change(&mut bytes);
        bytes
    }

    #[test]
    fn a_plain_qcow2_has_its_virtual_size() {
        assert_eq!(qcow2_size(&header(|_| {})), Ok(10 << 20));
        // Version 2 ends before the feature bits.
        let old = header(|bytes| {
            bytes[7] = 2;
            bytes.truncate(72);
        });
        assert_eq!(qcow2_size(&old), Ok(10 << 20));
    }

    #[test]
    fn a_qcow2_that_points_elsewhere_or_is_damaged_is_refused() {
        type Change = fn(&mut Vec<u8>);
        let cases: [(Change, &str); 8] = [
            (|bytes| bytes[15] = 104, "backing file"),
            (|bytes| bytes[79] = 4, "data file"),
            (|bytes| bytes[79] = 2, "corrupt"),
            (|bytes| bytes[78] = 1, "not known"),
            (|bytes| bytes[35] = 2, "encrypted"),
            (|bytes| bytes[7] = 4, "version"),
            (|bytes| bytes[23] = 60, "cluster size"),
            (|bytes| bytes.truncate(40), "cut off"),
        ];
        for (change, word) in cases {
            let reason = qcow2_size(&header(change)).unwrap_err();
            assert!(reason.contains(word), "{word}: {reason}");
        }
    }

    #[test]
    fn formats_are_known_by_their_content() {
        assert_eq!(detect(&header(|_| {}), None), Some("qcow2"));
        assert_eq!(detect(b"KDMV....", None), Some("vmdk"));
        assert_eq!(detect(&[0; 4096], None), None);
        assert_eq!(detect(b"", None), None);
        let mut vdi = vec![0; 512];
        vdi[0x40..0x44].copy_from_slice(&0xbeda_107f_u32.to_le_bytes());
        assert_eq!(detect(&vdi, None), Some("vdi"));
        assert_eq!(detect(&[0; 512], Some(b"conectix....")), Some("vpc"));
    }

    #[test]
    fn an_image_fits_up_to_the_last_byte_and_always_without_a_root_disk() {
        assert!(check_fits(1 << 30, 1 << 30).is_ok());
        assert!(check_fits((1 << 30) + 1, 1 << 30).is_err());
        assert!(check_fits(1 << 40, 0).is_ok());
    }
}
