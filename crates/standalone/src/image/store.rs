//! The bytes of images: one file each, named by the image's id, which appears complete and synced or not at all.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use kilonova_db::image::StoredData;
use md5::Md5;
use sha2::{Digest as _, Sha512};
use uuid::Uuid;

use super::format;

/// The directory.
#[derive(Clone, Debug)]
pub(super) struct Store {
    dir: PathBuf,
}

impl Store {
    pub(super) async fn open(dir: PathBuf) -> io::Result<Self> {
        tokio::fs::create_dir_all(&dir).await?;
        Ok(Self { dir })
    }

    /// Where the bytes of an image are, if it has any.
    pub(super) fn path(&self, id: Uuid) -> PathBuf {
        self.dir.join(id.to_string())
    }

    /// Removes the bytes of an image; none is success.
    pub(super) async fn remove(&self, id: Uuid) -> io::Result<()> {
        match tokio::fs::remove_file(self.path(id)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes what is of no image in `wanted`, and returns the images whose bytes are missing.
    pub(super) async fn sweep(&self, wanted: Vec<Uuid>) -> io::Result<Vec<Uuid>> {
        let mut missing: HashSet<Uuid> = wanted.into_iter().collect();
        let mut entries = tokio::fs::read_dir(&self.dir).await?;
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name();
            let Some((id, is_partial)) = name.to_str().and_then(parse_name) else { continue };
            if is_partial || !missing.remove(&id) {
                tokio::fs::remove_file(entry.path()).await?;
            }
        }
        Ok(missing.into_iter().collect())
    }

    /// Begins to write the bytes of an image. Blocking, as everything of [`Intake`] is.
    pub(super) fn intake(&self, id: Uuid, disk_format: Option<&str>) -> io::Result<Intake> {
        let partial = Partial(self.dir.join(format!("{id}{PARTIAL}")));
        Ok(Intake {
            file: File::create(&partial.0)?,
            partial,
            target: self.path(id),
            disk_format: disk_format.map(str::to_owned),
            head: Vec::with_capacity(format::HEAD_LENGTH),
            size: 0,
            md5: Md5::new(),
            sha512: Sha512::new(),
        })
    }
}

const PARTIAL: &str = ".part";

/// Image and whether the file is a partial one; none for files that are not ours.
fn parse_name(name: &str) -> Option<(Uuid, bool)> {
    let (id, is_partial) = name.strip_suffix(PARTIAL).map_or((name, false), |id| (id, true));
    Some((Uuid::try_parse(id).ok()?, is_partial))
}

/// A file that goes away unless it is renamed.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // Gone already after the rename; what cannot be removed now is swept at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The bytes of an image on their way to the disk. Dropped before [`Intake::finish`], nothing stays.
pub(super) struct Intake {
    file: File,
    partial: Partial,
    target: PathBuf,
    disk_format: Option<String>,
    head: Vec<u8>,
    size: u64,
    md5: Md5,
    sha512: Sha512,
}

impl Intake {
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        let missing = format::HEAD_LENGTH - self.head.len();
        self.head.extend_from_slice(&bytes[..missing.min(bytes.len())]);
        self.size += bytes.len() as u64;
        self.md5.update(bytes);
        self.sha512.update(bytes);
        Ok(())
    }

    /// Makes the bytes durable under their final name.
    pub(super) fn finish(self) -> io::Result<StoredData> {
        self.file.sync_all()?;
        std::fs::rename(&self.partial.0, &self.target)?;
        sync_directory(&self.target)?;
        let virtual_size = format::virtual_size(self.disk_format.as_deref(), &self.head, self.size);
        Ok(StoredData {
            size: as_signed(self.size),
            virtual_size: virtual_size.map(as_signed),
            checksum: hex(&self.md5.finalize()),
            sha512: hex(&self.sha512.finalize()),
        })
    }
}

fn sync_directory(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

fn as_signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Digits, lower case.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
