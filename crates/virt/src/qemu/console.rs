//! The console log: QEMU appends what the guest writes to its serial port; we read the end, and bound the length.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::errors::host_error;
use crate::driver::DriverError;

/// The last `max_bytes`.
pub(super) fn tail(path: &Path, max_bytes: u64) -> Result<Vec<u8>, DriverError> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(max_bytes)))?;
        let mut bytes = Vec::new();
        // It may grow meanwhile.
        file.take(max_bytes).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| host_error("read", path, &error)),
    }
}

/// Cuts a log that is longer than `max_bytes` to the last quarter of that. QEMU appends, so it goes on at the new end;
/// what the guest writes during the cut itself is lost.
pub(super) fn trim(path: &Path, max_bytes: u64) -> Result<(), DriverError> {
    let cut = || -> std::io::Result<()> {
        let length = match std::fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other?.len(),
        };
        if length <= max_bytes {
            return Ok(());
        }
        let mut file = OpenOptions::new().read(true).append(true).open(path)?;
        let keep = max_bytes / 4;
        file.seek(SeekFrom::Start(length.saturating_sub(keep)))?;
        let mut kept = Vec::new();
        (&mut file).take(keep).read_to_end(&mut kept)?;
        file.set_len(0)?;
        file.write_all(&kept)
    };
    cut().map_err(|error| host_error("cut", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_end_or_all_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        assert_eq!(tail(&path, 10).unwrap(), b"");
        std::fs::write(&path, b"0123456789").unwrap();
        assert_eq!(tail(&path, 3).unwrap(), b"789");
        assert_eq!(tail(&path, 10).unwrap(), b"0123456789");
        assert_eq!(tail(&path, u64::MAX).unwrap(), b"0123456789");
        assert_eq!(tail(&path, 0).unwrap(), b"");
    }

    #[test]
    fn a_log_over_its_bound_keeps_its_end_and_whoever_appends_goes_on_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        trim(&path, 8).unwrap();
        let mut writer = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        writer.write_all(b"01234567").unwrap();
        trim(&path, 8).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"01234567");
        writer.write_all(b"8").unwrap();
        trim(&path, 8).unwrap();
        writer.write_all(b"9").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"789");
    }
}
