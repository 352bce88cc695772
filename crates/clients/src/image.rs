//! Image (Glance): disk images and their properties.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use kilonova_core::RequestContext;
use kilonova_core::time::strtime;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::ClientError;

/// An image without its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Its id.
    pub id: Uuid,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// `queued`, `saving`, `active`, `deactivated`, `deleted`, …
    pub status: String,
    /// `public`, `private`, `shared`, `community`.
    pub visibility: String,
    /// Cannot be deleted.
    pub is_protected: bool,
    /// Not shown in lists by default.
    pub is_hidden: bool,
    /// MD5 in hex, once there are bytes.
    pub checksum: Option<String>,
    /// `sha512`.
    pub os_hash_algo: Option<String>,
    /// That hash in hex.
    pub os_hash_value: Option<String>,
    /// Project id.
    pub owner: Option<String>,
    /// Bytes as stored.
    pub size: Option<i64>,
    /// Bytes of the disk that a guest sees.
    pub virtual_size: Option<i64>,
    /// `bare`, …
    pub container_format: Option<String>,
    /// `raw`, `qcow2`, …
    pub disk_format: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was changed.
    pub updated_at: DateTime<Utc>,
    /// GiB.
    pub min_disk: i64,
    /// MiB.
    pub min_ram: i64,
    /// Tags.
    pub tags: Vec<String>,
    /// Everything else: `hw_*`, `os_*`, the user's own.
    pub properties: BTreeMap<String, String>,
}

impl Image {
    /// On the wire between services: a dict as Nova's own image client makes it.
    pub fn to_dict(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "status": self.status,
            "visibility": self.visibility,
            "is_public": self.visibility == "public",
            "protected": self.is_protected,
            "checksum": self.checksum,
            "owner": self.owner,
            "size": self.size,
            "virtual_size": self.virtual_size,
            "container_format": self.container_format,
            "disk_format": self.disk_format,
            "created_at": strtime(self.created_at),
            "updated_at": strtime(self.updated_at),
            "deleted_at": null,
            "deleted": false,
            "min_ram": self.min_ram,
            "min_disk": self.min_disk,
            "tags": self.tags,
            "properties": self.properties,
        })
    }
}

/// An image that is to be made, without its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewImage {
    /// Its name.
    pub name: String,
    /// `private`, `shared`, …
    pub visibility: String,
    /// `bare`, …; none: who uploads the bytes says it.
    pub container_format: Option<String>,
    /// `raw`, `qcow2`, …; none: who uploads the bytes says it.
    pub disk_format: Option<String>,
    /// GiB.
    pub min_disk: i64,
    /// MiB.
    pub min_ram: i64,
    /// Everything else.
    pub properties: BTreeMap<String, String>,
    /// A project that it is shared with.
    pub member: Option<String>,
}

/// What is to be changed of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageUpdate {
    /// Another container format.
    pub container_format: Option<String>,
    /// Another disk format.
    pub disk_format: Option<String>,
    /// All properties that it has from then on; none: they stay as they are.
    pub properties: Option<BTreeMap<String, String>>,
}

/// Which images are listed, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageQuery {
    /// Names and values as Glance's list takes them: attributes, or properties.
    pub filters: Vec<(String, String)>,
    /// At most so many.
    pub limit: Option<usize>,
    /// Those after this image.
    pub marker: Option<String>,
    /// `created_at`, …, newest or largest first.
    pub sort_key: Option<String>,
}

/// Where the bytes of an image are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageData {
    /// A file on this host that may be read but not changed.
    File(PathBuf),
    /// A file that was made for this and goes away when the last who holds it drops it.
    Temporary(Arc<TemporaryFile>),
}

impl ImageData {
    /// The file; to be read while this value is held, and not to be changed.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Temporary(file) => file.path(),
        }
    }
}

/// A file that is removed when it is dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct TemporaryFile(PathBuf);

impl TemporaryFile {
    /// Owns the file at `path`, which need not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.0.display(), %error, "a temporary file was not removed");
            }
            _ => {}
        }
    }
}

/// What compute asks of the image service.
#[async_trait]
pub trait ImageService: Send + Sync + 'static {
    /// An image that the caller may see.
    async fn show(&self, context: &RequestContext, image_id: Uuid) -> Result<Image, ClientError>;

    /// Its bytes, whole and as the image service has them. [`ClientError::NotFound`] also for an image that has none yet.
    async fn download(&self, context: &RequestContext, image_id: Uuid) -> Result<ImageData, ClientError>;

    /// The images that the caller may see. [`ClientError::BadRequest`] for a filter or a marker that makes no sense.
    async fn list(&self, context: &RequestContext, query: &ImageQuery) -> Result<Vec<Image>, ClientError>;

    /// Makes an image of the caller's project, which has no bytes yet: `queued`.
    async fn create(&self, context: &RequestContext, image: &NewImage) -> Result<Image, ClientError>;

    /// Changes an image. [`ClientError::Forbidden`] for one that the caller may see but not change.
    async fn update(
        &self,
        context: &RequestContext,
        image_id: Uuid,
        update: &ImageUpdate,
    ) -> Result<Image, ClientError>;

    /// Gives a queued image, which has its formats, the bytes of the file at `path`; it is `active` after that.
    async fn upload(&self, context: &RequestContext, image_id: Uuid, path: &Path) -> Result<(), ClientError>;

    /// Deletes an image with its bytes. [`ClientError::NotFound`] if it is gone, [`ClientError::Forbidden`] for one that
    /// the caller may not delete, or nobody.
    async fn delete(&self, context: &RequestContext, image_id: Uuid) -> Result<(), ClientError>;
}
