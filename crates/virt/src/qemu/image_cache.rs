//! Images as raw files in `<instances_dir>/_base`, converted once and shared by all guests as what their disks are
//! based on.
//!
//! ```text
//!   image ──fetch, inspect──> _base/<key>.<random>.part ──rename──> _base/<key>
//! ```
//!
//! Spawns that want one image wait for one conversion. What a killed conversion leaves is a `.part` file, which
//! `recover` removes.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use uuid::Uuid;

use super::config::QemuConfig;
use super::errors::{blocking, host_error};
use super::image_inspect::{Fetched, Inspected, check, check_fits, inspect, qemu_img, unacceptable};
use super::tools::{Bounds, ToolError};
use crate::driver::{DiskImage, DriverError};

const PART: &str = ".part";

#[derive(Debug)]
pub(super) struct ImageCache {
    dir: PathBuf,
    keys: Mutex<HashMap<String, Weak<AsyncMutex<()>>>>,
    conversions: Semaphore,
}

/// A raw file that disks are based on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// Its name in the cache.
    pub(super) name: String,
    pub(super) virtual_size: u64,
}

impl ImageCache {
    pub(super) fn new(config: &QemuConfig) -> Self {
        Self {
            dir: base_dir(&config.instances_dir),
            keys: Mutex::default(),
            conversions: Semaphore::new(config.limits.concurrent_conversions.max(1)),
        }
    }

    /// Whether the base of an image is there.
    pub(super) fn contains(&self, image: &DiskImage) -> Result<bool, DriverError> {
        Ok(size_of(&self.dir.join(key(image)))?.is_some())
    }

    /// The base of an image, made if it is not there. An image over `flavor_bytes` is refused before anything is
    /// written; 0 bytes mean no bound.
    pub(super) async fn fetch(
        &self,
        config: &QemuConfig,
        image: &DiskImage,
        flavor_bytes: u64,
    ) -> Result<Base, DriverError> {
        let name = key(image);
        let lock = self.lock_of(&name);
        let _one_at_a_time = lock.lock().await;
        let path = self.dir.join(&name);
        if let Some(virtual_size) = size_of(&path)? {
            check_fits(virtual_size, flavor_bytes)?;
            return Ok(Base { name, virtual_size });
        }
        // The file is there until it is converted.
        let file = image.source.fetch().await.map_err(DriverError::ImageFetch)?;
        let image =
            &Fetched { image_id: image.image_id, path: file.path().to_owned(), disk_format: image.disk_format.clone() };
        let inspected = inspect(config, image).await?;
        check_fits(inspected.virtual_size, flavor_bytes)?;
        let _turn = self.conversions.acquire().await;
        check(config, image, inspected.format).await?;
        self.convert(config, image, inspected, &path).await?;
        let virtual_size = size_of(&path)?.unwrap_or(inspected.virtual_size);
        Ok(Base { name, virtual_size })
    }

    async fn convert(
        &self,
        config: &QemuConfig,
        image: &Fetched,
        inspected: Inspected,
        path: &Path,
    ) -> Result<(), DriverError> {
        let part = part_in(&self.dir, path.file_name().and_then(|name| name.to_str()).unwrap_or_default())?;
        let args = [
            "convert".as_ref(),
            "-f".as_ref(),
            inspected.format.driver().as_ref(),
            "-O".as_ref(),
            "raw".as_ref(),
            image.path.as_os_str(),
            part.0.as_os_str(),
        ];
        qemu_img(config).run(args, &self.dir, Bounds::time(config.limits.convert_timeout)).await.map_err(|error| {
            match error {
                ToolError::Host(error) => error,
                ToolError::Refused { words, .. } => unacceptable(image, words),
            }
        })?;
        let (path, dir) = (path.to_owned(), self.dir.clone());
        blocking(move || part.publish(&path, &dir)).await
    }

    fn lock_of(&self, name: &str) -> Arc<AsyncMutex<()>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = keys.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        keys.insert(name.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

/// Removes what killed conversions left. Nothing may be converting.
pub(super) fn remove_parts(instances_dir: &Path) -> Result<(), DriverError> {
    let dir = base_dir(instances_dir);
    let failed = |error| host_error("clean up", &dir, &error);
    let entries = match std::fs::read_dir(&dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed)?,
    };
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.to_string_lossy().ends_with(PART) {
            tracing::info!(path = %path.display(), "removing a half-converted image");
            std::fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

fn base_dir(instances_dir: &Path) -> PathBuf {
    instances_dir.join("_base")
}

/// The name of an image's base. The format is part of it: the same bytes are another disk when they are read as another
/// format, and what was inspected as one must not be served as the other.
fn key(image: &DiskImage) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_plain = |text: &str| !text.is_empty() && text.len() <= 128 && text.chars().all(safe);
    if is_plain(&image.cache_key) && is_plain(&image.disk_format) {
        return format!("{}.{}", image.cache_key, image.disk_format);
    }
    let bytes = format!("{}.{}", image.cache_key, image.disk_format);
    Uuid::new_v5(&image.image_id, bytes.as_bytes()).to_string()
}

fn size_of(path: &Path) -> Result<Option<u64>, DriverError> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(host_error("read", path, &error)),
    }
}

/// A file in the making; gone if it is dropped before it was published.
#[derive(Debug)]
pub(super) struct Part(PathBuf);

/// A file of its own beside the images, which is removed when it is dropped, and after a kill by [`remove_parts`].
pub(super) fn new_part(instances_dir: &Path, name: &str) -> Result<Part, DriverError> {
    part_in(&base_dir(instances_dir), name)
}

fn part_in(dir: &Path, name: &str) -> Result<Part, DriverError> {
    std::fs::create_dir_all(dir).map_err(|error| host_error("create", dir, &error))?;
    Ok(Part(dir.join(format!("{name}.{}{PART}", Uuid::new_v4().simple()))))
}

impl Part {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    // Synced first: after a power cut a base is whole or not there.
    fn publish(self, path: &Path, dir: &Path) -> Result<(), DriverError> {
        let done = std::fs::File::open(&self.0)
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&self.0, path))
            .and_then(|()| std::fs::File::open(dir)?.sync_all());
        done.map_err(|error| host_error("write", path, &error))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It is not there any more when it was published.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(cache_key: &str, disk_format: &str) -> DiskImage {
        DiskImage {
            image_id: Uuid::nil(),
            source: Arc::new(PathBuf::from("/nonexistent")),
            disk_format: disk_format.to_owned(),
            cache_key: cache_key.to_owned(),
        }
    }

    #[test]
    fn no_key_leads_out_of_the_cache() {
        assert_eq!(key(&image("d41d8cd9", "raw")), "d41d8cd9.raw");
        for hostile in ["../../etc/passwd", "", "a/b", ".", "x.part"] {
            let key = key(&image(hostile, "raw"));
            assert!(Uuid::try_parse(&key).is_ok(), "{key}");
        }
    }

    #[test]
    fn one_checksum_under_two_formats_is_two_bases() {
        assert_ne!(key(&image("d41d8cd9", "raw")), key(&image("d41d8cd9", "qcow2")));
    }
}
