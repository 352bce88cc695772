//! The directory of one guest: what is where, how it comes and how it goes.
//!
//! ```text
//!   <instances_dir>/<uuid>/            mode 0700
//!       spawning       there from the first moment on; gone once the guest is complete
//!       disk.qcow2     root disk, on top of ../_base/<image>
//!       disk.config    config drive, ISO 9660
//!       rescue.qcow2, rescue.config   the same of the system that a rescued guest starts from
//!       console.log    first serial port
//!       qmp.sock       QEMU's monitor
//!       vnc.sock, serial.sock   the screen and the first serial port, for who has a console
//!       pidfile        QEMU's pid
//!       qemu.log       what QEMU said at its last start
//!       guest.json     all that is needed to start it again; there once `spawn` has succeeded, and only then
//!   <instances_dir>/<uuid>_resize      what a guest was before a resize that nobody has confirmed yet
//!   <instances_dir>/<uuid>.deleting    is being removed, as is <uuid>_resize.deleting
//! ```
//!
//! Without `spawning`, without `guest.json`, and not empty: it is not ours (a Nova that ran here left it), and is left
//! alone.

use std::io::ErrorKind;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;
use uuid::Uuid;

use super::errors::host_error;
use crate::driver::DriverError;

const DELETING: &str = ".deleting";
const KEPT: &str = "_resize";

#[derive(Clone, Debug)]
pub(super) struct GuestDir {
    pub(super) uuid: Uuid,
    path: PathBuf,
}

/// What a guest's directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Missing,
    /// A spawn that did not end.
    Unfinished,
    Guest,
    /// Somebody else's.
    Foreign,
}

impl GuestDir {
    pub(super) fn new(instances_dir: &Path, uuid: Uuid) -> Self {
        let path = instances_dir.join(uuid.to_string());
        Self { uuid, path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn marker(&self) -> PathBuf {
        self.path.join("spawning")
    }

    pub(super) fn disk(&self) -> PathBuf {
        self.path.join("disk.qcow2")
    }

    pub(super) fn config_drive(&self) -> PathBuf {
        self.path.join("disk.config")
    }

    pub(super) fn rescue_disk(&self) -> PathBuf {
        self.path.join("rescue.qcow2")
    }

    pub(super) fn rescue_config_drive(&self) -> PathBuf {
        self.path.join("rescue.config")
    }

    pub(super) fn console_log(&self) -> PathBuf {
        self.path.join("console.log")
    }

    pub(super) fn qmp_socket(&self) -> PathBuf {
        self.path.join("qmp.sock")
    }

    /// To a socket of QEMU's. The name of one has at most 107 bytes; by way of the directory's handle it is short however
    /// deep that is.
    pub(super) async fn connect(&self, socket: &str) -> std::io::Result<UnixStream> {
        let handle = std::fs::File::open(self.path())?;
        UnixStream::connect(format!("/proc/self/fd/{}/{socket}", handle.as_raw_fd())).await
    }

    pub(super) fn pidfile(&self) -> PathBuf {
        self.path.join("pidfile")
    }

    pub(super) fn qemu_log(&self) -> PathBuf {
        self.path.join("qemu.log")
    }

    pub(super) fn record(&self) -> PathBuf {
        self.path.join("guest.json")
    }

    /// What the guest was, while a resize waits for its confirmation.
    pub(super) fn kept(&self) -> Self {
        Self { uuid: self.uuid, path: self.path.with_file_name(format!("{}{KEPT}", self.uuid)) }
    }

    fn deleting(&self) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(DELETING);
        self.path.with_file_name(name)
    }

    /// The whole directory has the name of another from now on, also after a power cut.
    pub(super) fn rename_to(&self, to: &Self) -> Result<(), DriverError> {
        let rename = || {
            std::fs::rename(&self.path, &to.path)?;
            to.path.parent().map_or(Ok(()), |parent| std::fs::File::open(parent)?.sync_all())
        };
        rename().map_err(|error| host_error("move", &self.path, &error))
    }

    pub(super) fn content(&self) -> Result<Content, DriverError> {
        let failed = |error| host_error("look into", &self.path, &error);
        let mut entries = match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Content::Missing),
            other => other.map_err(failed)?,
        };
        if self.record().try_exists().map_err(failed)? {
            Ok(Content::Guest)
        } else if self.marker().try_exists().map_err(failed)? || entries.next().is_none() {
            Ok(Content::Unfinished)
        } else {
            Ok(Content::Foreign)
        }
    }

    pub(super) fn create(&self) -> Result<(), DriverError> {
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&self.path)
            .and_then(|()| std::fs::write(self.marker(), b""))
            .map_err(|error| host_error("create", &self.path, &error))
    }

    /// Removes the directory; what a kill leaves of it is recognised by its name.
    pub(super) fn remove(&self) -> Result<(), DriverError> {
        let deleting = self.deleting();
        remove_tree(&deleting)?;
        match std::fs::rename(&self.path, &deleting) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|error| host_error("remove", &self.path, &error))?,
        }
        remove_tree(&deleting)
    }
}

/// The guest whose former self a directory's name stands for.
pub(super) fn kept_uuid_of(name: &std::ffi::OsStr) -> Option<Uuid> {
    let uuid = name.to_str()?.strip_suffix(KEPT)?;
    Uuid::try_parse(uuid).ok().filter(|parsed| parsed.to_string() == uuid)
}

/// Removes the rest of a directory that was being removed when the agent died.
pub(super) fn remove_if_deleting(path: &Path) -> Result<bool, DriverError> {
    let is_deleting = path
        .file_name()
        .and_then(|name| name.to_str()?.strip_suffix(DELETING))
        .is_some_and(|name| Uuid::try_parse(name.strip_suffix(KEPT).unwrap_or(name)).is_ok());
    if is_deleting {
        remove_tree(path)?;
    }
    Ok(is_deleting)
}

fn remove_tree(path: &Path) -> Result<(), DriverError> {
    // A helper that outlived a killed agent may still be putting files here: one more go removes those, too.
    for is_last_go in [false, false, true] {
        match std::fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty && !is_last_go => {}
            Err(error) => return Err(host_error("remove", path, &error)),
        }
    }
    Ok(())
}
