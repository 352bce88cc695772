//! Runs the host's programs (`qemu-img`, `genisoimage`), bounded in time and killed when nobody waits any more.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::process::Command;

use super::errors::{disk_full, last_words};
use crate::driver::DriverError;

/// A program of the host and how to get it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tool<'a> {
    pub(super) program: &'a str,
    /// The Debian package that has it.
    pub(super) package: &'static str,
}

/// What a run may use; no bound where there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) timeout: Duration,
    pub(super) cpu_s: Option<u64>,
    pub(super) memory_bytes: Option<u64>,
}

impl Bounds {
    pub(super) fn time(timeout: Duration) -> Self {
        Self { timeout, cpu_s: None, memory_bytes: None }
    }
}

/// Why a run gave nothing.
#[derive(Debug)]
pub(super) enum ToolError {
    /// The host's fault.
    Host(DriverError),
    /// The program refused; what it said.
    Refused(String),
}

impl<'a> Tool<'a> {
    /// What to do when the program is not there.
    pub(super) fn start_error(&self, error: &std::io::Error) -> DriverError {
        let (program, package) = (self.program, self.package);
        if error.kind() == std::io::ErrorKind::NotFound {
            return DriverError::Host(format!(
                "{program} is not installed on this host: install the Debian package {package} (apt install {package})"
            ));
        }
        DriverError::Host(format!("could not run {program}: {error}"))
    }

    /// Runs it with `args`, and gives its standard output. `writes_to` is named when the disk is full.
    pub(super) async fn run<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        writes_to: &Path,
        bounds: Bounds,
    ) -> Result<Vec<u8>, ToolError> {
        let mut command = Command::new(self.program);
        command
            .args(args)
            // Messages are searched for words.
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let child = command.spawn().map_err(|error| ToolError::Host(self.start_error(&error)))?;
        bound(child.id(), bounds);
        let output = tokio::time::timeout(bounds.timeout, child.wait_with_output())
            .await
            .map_err(|_| {
                ToolError::Refused(format!("{} did not end within {} seconds", self.program, bounds.timeout.as_secs()))
            })?
            .map_err(|error| ToolError::Host(self.start_error(&error)))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let words = last_words(&output.stderr);
        if words.contains("No space left on device") {
            return Err(ToolError::Host(disk_full(writes_to)));
        }
        Err(ToolError::Refused(format!("{} failed ({}): {words}", self.program, output.status)))
    }
}

impl ToolError {
    /// Where a refusal is not the image's fault.
    pub(super) fn into_driver_error(self) -> DriverError {
        match self {
            Self::Host(error) => error,
            Self::Refused(words) => DriverError::Hypervisor(words),
        }
    }
}

/// Bounds a process that has just been started. It may have run for an instant without: these are bounds for an image
/// that keeps it busy for minutes.
fn bound(pid: Option<u32>, bounds: Bounds) {
    let Some(pid) = pid.and_then(|pid| Pid::from_raw(pid.cast_signed())) else {
        return;
    };
    let limits = [(Resource::Cpu, bounds.cpu_s), (Resource::As, bounds.memory_bytes)];
    for (resource, limit) in limits {
        let Some(limit) = limit else { continue };
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        // Fails when it has ended already.
        if let Err(error) = prlimit(Some(pid), resource, limit) {
            tracing::debug!(%error, ?resource, "a helper could not be bounded");
        }
    }
}
