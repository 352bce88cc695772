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
//!       pidfile        QEMU's pid
//!       qemu.log       what QEMU said at its last start
//!       guest.json     all that is needed to start it again; there once `spawn` has succeeded, and only then
//!   <instances_dir>/<uuid>.deleting    is being removed
//! ```
//!
//! Without `spawning`, without `guest.json`, and not empty: it is not ours (a Nova that ran here left it), and is left
//! alone.

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::errors::host_error;
use crate::driver::DriverError;

const DELETING: &str = ".deleting";

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

    pub(super) fn pidfile(&self) -> PathBuf {
        self.path.join("pidfile")
    }

    pub(super) fn qemu_log(&self) -> PathBuf {
        self.path.join("qemu.log")
    }

    pub(super) fn record(&self) -> PathBuf {
        self.path.join("guest.json")
    }

    fn deleting(&self) -> PathBuf {
        self.path.with_file_name(format!("{}{DELETING}", self.uuid))
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

/// Removes the rest of a directory that was being removed when the agent died.
pub(super) fn remove_if_deleting(path: &Path) -> Result<bool, DriverError> {
    let is_deleting = path
        .file_name()
        .and_then(|name| name.to_str()?.strip_suffix(DELETING))
        .is_some_and(|uuid| Uuid::try_parse(uuid).is_ok());
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
