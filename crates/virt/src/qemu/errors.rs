//! Failures of the host as sentences that a person can act on.

use std::io::ErrorKind;
use std::path::Path;

use super::locks::Operation;
use crate::driver::DriverError;

/// What to do about a full disk, for every message that means one.
pub(super) fn disk_full(path: &Path) -> DriverError {
    DriverError::Host(format!(
        "no space left on the file system of {}: remove servers or files there, or point [DEFAULT] instances_path at \
         a larger one",
        path.display()
    ))
}

/// A file operation that failed: could not `verb` `path`.
pub(super) fn host_error(verb: &str, path: &Path, error: &std::io::Error) -> DriverError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => disk_full(path),
        ErrorKind::PermissionDenied => DriverError::Host(format!(
            "could not {verb} {}: {error}; it must belong to the user that runs kilonova",
            path.display()
        )),
        _ => DriverError::Host(format!("could not {verb} {}: {error}", path.display())),
    }
}

/// The last lines of what a program said, for an error message.
pub(super) fn last_words(output: &[u8]) -> String {
    const MAX_CHARS: usize = 600;
    let text = String::from_utf8_lossy(output);
    let text = text.trim();
    let skipped = text.chars().count().saturating_sub(MAX_CHARS);
    text.chars().skip(skipped).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// As [`blocking`], for work on a guest's directory: a caller that is dropped leaves the work running, and the guest's
/// turn ends only with it.
pub(super) async fn blocking_in<T: Send + 'static>(
    operation: &Operation,
    work: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    let turn = operation.clone();
    blocking(move || {
        let result = work();
        drop(turn);
        result
    })
    .await
}

/// Runs what would block on a thread where it may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(DriverError::Hypervisor(format!("the QEMU driver broke off: {error}"))),
    }
}
