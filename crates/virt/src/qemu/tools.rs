//! Runs the host's programs (`qemu-img`, `genisoimage`), bounded in time and killed when nobody waits any more.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::io::{AsyncRead, AsyncReadExt as _};
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
    /// The program refused: its exit code, and what it said.
    Refused { code: Option<i32>, words: String },
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
        let mut child = command.spawn().map_err(|error| ToolError::Host(self.start_error(&error)))?;
        bound(child.id(), bounds);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let run = async { tokio::try_join!(child.wait(), last_of(stdout), last_of(stderr)) };
        let (status, stdout, stderr) = tokio::time::timeout(bounds.timeout, run)
            .await
            .map_err(|_| ToolError::Refused {
                code: None,
                words: format!("{} did not end within {} seconds", self.program, bounds.timeout.as_secs()),
            })?
            .map_err(|error| ToolError::Host(self.start_error(&error)))?;
        if status.success() {
            return Ok(stdout);
        }
        let words = last_words(&stderr);
        if words.contains("No space left on device") {
            return Err(ToolError::Host(disk_full(writes_to)));
        }
        Err(ToolError::Refused { code: status.code(), words: format!("{} failed ({status}): {words}", self.program) })
    }
}

/// The end of what a program says: an image that it complains about must not fill our memory.
async fn last_of(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    const KEPT_BYTES: usize = 64 * 1024;
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else {
        return Ok(kept);
    };
    while pipe.read_buf(&mut kept).await? != 0 {
        if kept.len() > 2 * KEPT_BYTES {
            kept.drain(..kept.len() - KEPT_BYTES);
        }
    }
    Ok(kept)
}

impl ToolError {
    /// Where a refusal is not the image's fault.
    pub(super) fn into_driver_error(self) -> DriverError {
        match self {
            Self::Host(error) => error,
            Self::Refused { words, .. } => DriverError::Hypervisor(words),
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(script: &str, bounds: Bounds) -> Result<Vec<u8>, ToolError> {
        let tool = Tool { program: "sh", package: "dash" };
        tool.run(["-c", script], Path::new("/somewhere"), bounds).await
    }

    fn patient() -> Bounds {
        Bounds::time(Duration::from_secs(60))
    }

    #[tokio::test]
    async fn of_a_flood_the_end_is_kept() {
        let script = "yes 0123456789 | head -c 10000000; echo end";
        let output = sh(script, patient()).await.unwrap();
        assert!(output.ends_with(b"end\n"));
        assert!(output.len() < 1 << 20);
    }

    #[tokio::test]
    async fn a_run_over_its_time_or_its_processor_time_ends() {
        let hurried = Bounds::time(Duration::from_millis(50));
        let error = sh("exec sleep 60", hurried).await.unwrap_err();
        assert!(matches!(error, ToolError::Refused { code: None, .. }));
        let bounds = Bounds { cpu_s: Some(1), ..patient() };
        let error = sh("while :; do :; done", bounds).await.unwrap_err();
        assert!(matches!(error, ToolError::Refused { code: None, .. }));
    }
}
