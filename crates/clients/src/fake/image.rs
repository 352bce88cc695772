//! Images whose bytes are wherever the test put them.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use uuid::Uuid;

use crate::ClientError;
use crate::image::{Image, ImageData, ImageService};

/// An image service that has the images it was given.
#[derive(Debug, Default)]
pub struct FakeImage {
    images: Mutex<HashMap<Uuid, (Image, PathBuf)>>,
}

impl FakeImage {
    /// One without images.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a public, active, raw image whose bytes are in that file, and returns it.
    ///
    /// The file is only named to who downloads: it need not exist for a test that never looks into it.
    pub fn add(&self, name: &str, path: impl Into<PathBuf>) -> Image {
        let (now, path) = (utcnow(), path.into());
        let size = std::fs::metadata(&path).ok().and_then(|metadata| i64::try_from(metadata.len()).ok());
        let image = Image {
            id: Uuid::new_v4(),
            name: Some(name.to_owned()),
            status: "active".to_owned(),
            visibility: "public".to_owned(),
            is_protected: false,
            is_hidden: false,
            checksum: None,
            os_hash_algo: None,
            os_hash_value: None,
            owner: None,
            size,
            virtual_size: size,
            container_format: Some("bare".to_owned()),
            disk_format: Some("raw".to_owned()),
            created_at: now,
            updated_at: now,
            min_disk: 0,
            min_ram: 0,
            tags: Vec::new(),
            properties: BTreeMap::new(),
        };
        self.put(image.clone(), path);
        image
    }

    /// Adds or replaces an image as it is given.
    pub fn put(&self, image: Image, path: impl Into<PathBuf>) {
        self.images.lock().unwrap_or_else(PoisonError::into_inner).insert(image.id, (image, path.into()));
    }

    /// Removes an image.
    pub fn remove(&self, image_id: Uuid) {
        self.images.lock().unwrap_or_else(PoisonError::into_inner).remove(&image_id);
    }

    fn visible(&self, context: &RequestContext, image_id: Uuid) -> Result<(Image, PathBuf), ClientError> {
        let images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        let found = images.get(&image_id).filter(|(image, _)| {
            context.is_admin
                || matches!(image.visibility.as_str(), "public" | "community")
                || image.owner.as_deref() == Some(context.project_id())
        });
        found.cloned().ok_or_else(|| ClientError::not_found("image", image_id))
    }
}

#[async_trait]
impl ImageService for FakeImage {
    async fn show(&self, context: &RequestContext, image_id: Uuid) -> Result<Image, ClientError> {
        Ok(self.visible(context, image_id)?.0)
    }

    async fn download(&self, context: &RequestContext, image_id: Uuid) -> Result<ImageData, ClientError> {
        let (image, path) = self.visible(context, image_id)?;
        if image.status != "active" {
            return Err(ClientError::not_found("image", image_id));
        }
        Ok(ImageData::File(path))
    }
}
