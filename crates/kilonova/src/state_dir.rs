//! Where a cloud keeps everything, and that only one process at a time does.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};

/// `$XDG_STATE_HOME/kilonova`, or `~/.local/state/kilonova`.
pub(crate) fn default() -> anyhow::Result<PathBuf> {
    if let Some(state_home) = std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(state_home).join("kilonova"));
    }
    let home = std::env::var_os("HOME").context("neither XDG_STATE_HOME nor HOME is set: give --state-dir")?;
    Ok(PathBuf::from(home).join(".local/state/kilonova"))
}

/// A state directory that this process holds alone until it ends.
pub(crate) struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Makes the directory if it is not there (mode 0700) and locks it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let make = DirBuilder::new().recursive(true).mode(0o700).create(path);
        make.with_context(|| format!("cannot make the state directory {}", path.display()))?;
        let path = path.canonicalize()?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path.join("lock"))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!("another kilonova uses the state directory {}", path.display());
        }
        Ok(Self { path, _lock: lock })
    }

    /// The name of the compute host, kept from the first start on: guests belong to it, and under another name their
    /// agent would take them for somebody else's. A machine may be renamed; `configured` (`[DEFAULT] host`) may not
    /// change.
    pub(crate) fn host_name(&self, configured: Option<String>, current: &str) -> anyhow::Result<String> {
        let path = self.path.join("host");
        match std::fs::read_to_string(&path) {
            Ok(kept) => {
                let kept = kept.trim().to_owned();
                match configured.filter(|configured| *configured != kept) {
                    None => Ok(kept),
                    Some(other) => bail!(
                        "[DEFAULT] host is {other}, but the guests in {} belong to {kept}: set it back, or use another \
                         state directory",
                        self.path.display()
                    ),
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let name = configured.unwrap_or_else(|| current.to_owned());
                write_private(&path, &format!("{name}\n"))?;
                Ok(name)
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// The directory, absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Writes a file that only its owner may read: whole, or not at all.
pub(crate) fn write_private(path: &Path, contents: &str) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(contents.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_keeps_its_first_name() {
        let dir = tempfile::tempdir().unwrap();
        let state_dir = StateDir::open(dir.path()).unwrap();
        assert_eq!(state_dir.host_name(None, "alpha").unwrap(), "alpha");
        assert_eq!(state_dir.host_name(None, "renamed").unwrap(), "alpha");
        assert_eq!(state_dir.host_name(Some("alpha".to_owned()), "renamed").unwrap(), "alpha");
        let error = state_dir.host_name(Some("beta".to_owned()), "renamed").unwrap_err().to_string();
        assert!(error.contains("beta") && error.contains("alpha"), "{error}");
    }

    #[test]
    fn only_one_process_uses_a_state_directory() {
        let dir = tempfile::tempdir().unwrap();
        let _first = StateDir::open(dir.path()).unwrap();
        assert!(StateDir::open(dir.path()).err().unwrap().to_string().contains("another kilonova"));
    }
}
