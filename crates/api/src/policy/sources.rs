//! Where the rules of a deployment are written: `[oslo_policy]`.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kilonova_core::{Config, ConfigError};

use super::rules::Options;
use super::{PolicyError, file};

/// `[oslo_policy] policy_file`
const DEFAULT_FILE: &str = "policy.yaml";
/// `[oslo_policy] policy_dirs`
const DEFAULT_DIR: &str = "policy.d";

/// The files, and how to look for them.
#[derive(Debug, Default)]
pub(super) struct Sources {
    config: Config,
    file: Option<String>,
    dirs: Vec<String>,
    /// The file was named by somebody, so it should be there.
    is_file_named: bool,
}

/// What is there to read; another value means that something was changed.
pub(super) type Stamp = Vec<(PathBuf, FileStamp)>;

/// Of one file: when its content or its permissions were changed (seconds, nanoseconds), its length, its inode. Nothing
/// where it cannot be looked at.
type FileStamp = Option<(i64, i64, u64, u64)>;

impl Sources {
    pub(super) fn from_config(config: &Config) -> Self {
        let named = config.get("oslo_policy", "policy_file");
        let mut dirs = config.get_all("oslo_policy", "policy_dirs");
        if dirs.is_empty() {
            dirs.push(DEFAULT_DIR.to_owned());
        }
        Self {
            config: config.clone(),
            is_file_named: named.is_some(),
            file: Some(named.unwrap_or_else(|| DEFAULT_FILE.to_owned())),
            dirs,
        }
    }

    /// A file and no directory.
    pub(super) fn one(path: &Path) -> Self {
        Self { file: Some(path.to_string_lossy().into_owned()), is_file_named: true, ..Self::default() }
    }

    /// The files that are there, in the order in which they are read: `policy_file`, then those of each directory in
    /// the order of their names.
    pub(super) fn stamp(&self) -> Result<Stamp, PolicyError> {
        let mut files: Vec<_> = self.file.iter().filter_map(|name| self.config.find_file(name)).collect();
        for dir in self.dirs.iter().filter_map(|name| self.config.find_file(name)) {
            files.extend(files_of(&dir).map_err(|source| PolicyError::Read { path: dir, source })?);
        }
        Ok(files.into_iter().map(|path| (path.clone(), file_stamp(&path))).collect())
    }

    pub(super) fn entries(stamp: &Stamp) -> Result<Vec<file::Entry>, PolicyError> {
        let mut entries = Vec::new();
        for (path, _) in stamp {
            entries.extend(file::read(path)?);
        }
        Ok(entries)
    }

    /// The policy file that was named but is not there.
    pub(super) fn missing(&self) -> Option<&str> {
        self.file.as_deref().filter(|name| self.is_file_named && self.config.find_file(name).is_none())
    }
}

/// What `[oslo_policy]` says about all rules.
pub(super) fn options(config: &Config) -> Result<Options, ConfigError> {
    let default = Options::default();
    Ok(Options {
        default_rule: config.get("oslo_policy", "policy_default_rule").unwrap_or(default.default_rule),
        enforce_scope: config.flag("oslo_policy", "enforce_scope", default.enforce_scope)?,
        enforce_new_defaults: config.flag("oslo_policy", "enforce_new_defaults", default.enforce_new_defaults)?,
    })
}

fn files_of(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !is_hidden && !entry.path().is_dir() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn file_stamp(path: &Path) -> FileStamp {
    let of = |metadata: std::fs::Metadata| (metadata.ctime(), metadata.ctime_nsec(), metadata.len(), metadata.ino());
    std::fs::metadata(path).ok().map(of)
}
