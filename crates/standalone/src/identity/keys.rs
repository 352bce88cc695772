//! The Fernet keys on disk, laid out as Keystone does it.
//!
//! A directory of files named by number, one key each: the highest is the primary, which encrypts; `0` is staged and
//! becomes the next primary; all of them decrypt. Rotation renames `0` to one more than the highest, stages a new `0`
//! and drops the lowest numbers above [`MAX_ACTIVE_KEYS`].

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Error, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use fernet::{Fernet, MultiFernet};

use super::IdentityError;

/// Keystone's default: staged, primary, and one that only decrypts.
const MAX_ACTIVE_KEYS: usize = 3;

pub(crate) struct KeyRepository {
    directory: PathBuf,
    keys: RwLock<MultiFernet>,
}

impl KeyRepository {
    /// Reads the keys; an empty or missing directory gets a staged and a primary one.
    pub(crate) fn open(directory: &Path) -> Result<Self, IdentityError> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(at(directory))?;
        if numbers(directory)?.iter().all(|number| *number == 0) {
            write_key(directory, 0)?;
            write_key(directory, 1)?;
        }
        Ok(Self { directory: directory.to_owned(), keys: RwLock::new(load(directory)?) })
    }

    pub(crate) fn encrypt(&self, payload: &[u8]) -> String {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).encrypt(payload)
    }

    pub(crate) fn decrypt(&self, token: &str) -> Option<Vec<u8>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).decrypt(token).ok()
    }

    pub(crate) fn rotate(&self) -> Result<(), IdentityError> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let primary = numbers(&self.directory)?.into_iter().max().unwrap_or_default() + 1;
        let staged = self.directory.join("0");
        std::fs::rename(&staged, self.directory.join(primary.to_string())).map_err(at(&staged))?;
        write_key(&self.directory, 0)?;
        self.purge()?;
        *keys = load(&self.directory)?;
        Ok(())
    }

    fn purge(&self) -> Result<(), IdentityError> {
        let mut rotated = numbers(&self.directory)?;
        rotated.retain(|number| *number != 0);
        rotated.sort_unstable();
        for number in rotated.iter().take(rotated.len().saturating_sub(MAX_ACTIVE_KEYS - 1)) {
            let path = self.directory.join(number.to_string());
            std::fs::remove_file(&path).map_err(at(&path))?;
        }
        Ok(())
    }
}

/// The numbers of the keys that are there; files with other names are none of ours.
fn numbers(directory: &Path) -> Result<Vec<u32>, IdentityError> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(at(directory))? {
        let name = entry.map_err(at(directory))?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(numbers)
}

fn load(directory: &Path) -> Result<MultiFernet, IdentityError> {
    let mut numbers = numbers(directory)?;
    numbers.sort_unstable_by(|one, other| other.cmp(one));
    let keys: Result<Vec<Fernet>, _> =
        numbers.iter().map(|number| read_key(&directory.join(number.to_string()))).collect();
    let keys = keys?;
    if keys.is_empty() {
        return Err(at(directory)(Error::new(ErrorKind::NotFound, "there is no key")));
    }
    Ok(MultiFernet::new(keys))
}

fn read_key(path: &Path) -> Result<Fernet, IdentityError> {
    let text = std::fs::read_to_string(path).map_err(at(path))?;
    let mode = std::fs::metadata(path).map_err(at(path))?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{:o}", mode & 0o777), "others can read a Fernet key");
    }
    Fernet::new(text.trim()).ok_or_else(|| at(path)(Error::new(ErrorKind::InvalidData, "it is no Fernet key")))
}

/// Writes beside, then renames: a key is there as a whole or not at all.
fn write_key(directory: &Path, number: u32) -> Result<(), IdentityError> {
    let path = directory.join(number.to_string());
    let temporary = directory.join(format!("{number}.tmp"));
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(at(&temporary)(error)),
        _ => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(at(&temporary))?;
    file.write_all(Fernet::generate_key().as_bytes()).map_err(at(&temporary))?;
    file.sync_all().map_err(at(&temporary))?;
    std::fs::rename(&temporary, &path).map_err(at(&path))?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(at(directory))
}

fn at(path: &Path) -> impl Fn(Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::Key { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<u32> {
        let mut names = numbers(directory).unwrap();
        names.sort_unstable();
        names
    }

    #[test]
    fn keys_are_made_once_private_and_survive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let token = KeyRepository::open(&path).unwrap().encrypt(b"who");
        assert_eq!(names(&path), [0, 1]);
        for number in ["0", "1"] {
            assert_eq!(std::fs::metadata(path.join(number)).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(KeyRepository::open(&path).unwrap().decrypt(&token).as_deref(), Some(b"who".as_slice()));
    }

    #[test]
    fn rotation_keeps_tokens_of_the_key_before_and_drops_older_ones() {
        let directory = tempfile::tempdir().unwrap();
        let keys = KeyRepository::open(directory.path()).unwrap();
        let first = keys.encrypt(b"first");
        keys.rotate().unwrap();
        let second = keys.encrypt(b"second");
        assert_eq!(names(directory.path()), [0, 1, 2]);
        assert!(keys.decrypt(&first).is_some());
        keys.rotate().unwrap();
        assert_eq!(names(directory.path()), [0, 2, 3]);
        assert!(keys.decrypt(&first).is_none());
        assert!(keys.decrypt(&second).is_some());
    }

    #[test]
    fn a_broken_key_names_its_file() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("1"), "no key").unwrap();
        let error = KeyRepository::open(directory.path()).err().unwrap().to_string();
        assert!(error.contains(&directory.path().join("1").display().to_string()), "{error}");
    }

    #[test]
    fn a_lonely_staged_key_gets_a_primary_one() {
        let directory = tempfile::tempdir().unwrap();
        write_key(directory.path(), 0).unwrap();
        KeyRepository::open(directory.path()).unwrap();
        assert_eq!(names(directory.path()), [0, 1]);
    }
}
