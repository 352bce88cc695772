//! A guest's QEMU process: found by its command line, held by a pidfd, so that no other process is ever killed in its
//! place.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::errors::blocking;
use super::guest_dir::GuestDir;
use crate::driver::DriverError;

/// How long the kernel may take to end a killed process.
const KILL_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    fd: AsyncFd<OwnedFd>,
}

impl Process {
    /// The process that the guest's pidfile names, if it is alive and is this guest's QEMU.
    pub(super) fn find(dir: &GuestDir) -> Option<Self> {
        let text = std::fs::read_to_string(dir.pidfile()).ok()?;
        Self::open(text.trim().parse().ok()?, dir)
    }

    /// `pid`, if it is alive and is this guest's QEMU.
    pub(super) fn open(pid: u32, dir: &GuestDir) -> Option<Self> {
        let raw = Pid::from_raw(pid.cast_signed())?;
        // First the handle, then the check: what the handle stays on is what was checked.
        let fd = pidfd_open(raw, PidfdFlags::NONBLOCK).ok()?;
        if !is_guest(pid, dir) {
            return None;
        }
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for owners that may close the handle early; an OwnedFd does not"
        )]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE).ok()?;
        Some(Self { pid, fd })
    }

    /// Every QEMU of this guest, also one that has not written its pidfile.
    pub(super) async fn scan(dir: &GuestDir) -> Result<Vec<Self>, DriverError> {
        let of = dir.clone();
        let found = blocking(move || Ok(pids().filter(|pid| is_guest(*pid, &of)).collect::<Vec<_>>()));
        let open = |pid| Self::open(pid, dir);
        Ok(found.await?.into_iter().filter_map(open).collect())
    }

    /// True once it has ended.
    pub(super) async fn wait(&self, bound: Duration) -> bool {
        tokio::time::timeout(bound, self.fd.readable()).await.is_ok()
    }

    /// Ends it at once.
    pub(super) async fn kill(&self) -> Result<(), DriverError> {
        match pidfd_send_signal(self.fd.get_ref(), Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => {
                return Err(DriverError::Hypervisor(format!("could not kill QEMU, pid {}: {error}", self.pid)));
            }
        }
        if self.wait(KILL_TIMEOUT).await {
            return Ok(());
        }
        Err(DriverError::Hypervisor(format!(
            "QEMU, pid {}, was killed and does not end: a disk that does not answer can hold it",
            self.pid
        )))
    }
}

/// The `-pidfile` of every process that has one, for finding QEMUs whose directory is gone or unfinished.
pub(super) fn pidfiles_in_use() -> Vec<String> {
    pids().filter_map(|pid| value_of(&arguments(pid), "-pidfile").map(str::to_owned)).collect()
}

fn pids() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

// A zombie has no arguments, so it is nobody's QEMU.
fn is_guest(pid: u32, dir: &GuestDir) -> bool {
    let arguments = arguments(pid);
    value_of(&arguments, "-uuid") == Some(dir.uuid.to_string().as_str())
        && value_of(&arguments, "-pidfile").map(Path::new) == Some(dir.pidfile().as_path())
}

fn arguments(pid: u32) -> Vec<String> {
    let Ok(bytes) = std::fs::read(format!("/proc/{pid}/cmdline")) else {
        return Vec::new();
    };
    bytes.split(|byte| *byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}

fn value_of<'a>(arguments: &'a [String], option: &str) -> Option<&'a str> {
    let at = arguments.iter().position(|argument| argument == option)?;
    arguments.get(at + 1).map(String::as_str)
}
