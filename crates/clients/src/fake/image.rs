//! Images whose bytes are wherever the test put them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use uuid::Uuid;

use crate::ClientError;
use crate::image::{Image, ImageData, ImageQuery, ImageService, ImageUpdate, NewImage};

/// An image service that has the images it was given.
#[derive(Debug, Default)]
pub struct FakeImage {
    images: Mutex<HashMap<Uuid, (Image, PathBuf)>>,
    failing_uploads: Mutex<usize>,
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
        self.images().insert(image.id, (image, path.into()));
    }

    /// Removes an image.
    pub fn remove(&self, image_id: Uuid) {
        self.images().remove(&image_id);
    }

    /// An image, whoever owns it.
    pub fn get(&self, image_id: Uuid) -> Option<Image> {
        self.images().get(&image_id).map(|(image, _)| image.clone())
    }

    /// Every image, oldest first.
    pub fn all(&self) -> Vec<Image> {
        let mut images: Vec<Image> = self.images().values().map(|(image, _)| image.clone()).collect();
        images.sort_by_key(|image| (image.created_at, image.id));
        images
    }

    /// The next `times` uploads fail: the service does not answer.
    pub fn fail_uploads(&self, times: usize) {
        *self.failing_uploads.lock().unwrap_or_else(PoisonError::into_inner) = times;
    }

    fn images(&self) -> MutexGuard<'_, HashMap<Uuid, (Image, PathBuf)>> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn visible(&self, context: &RequestContext, image_id: Uuid) -> Result<(Image, PathBuf), ClientError> {
        let found = self.images().get(&image_id).filter(|(image, _)| is_visible(context, image)).cloned();
        found.ok_or_else(|| ClientError::not_found("image", image_id))
    }

    /// Changes an image that the caller may change.
    fn change(
        &self,
        context: &RequestContext,
        image_id: Uuid,
        change: impl FnOnce(&mut Image, &mut PathBuf),
    ) -> Result<Image, ClientError> {
        self.visible(context, image_id)?;
        let mut images = self.images();
        let (image, path) = images.get_mut(&image_id).ok_or_else(|| ClientError::not_found("image", image_id))?;
        if !is_owner(context, image) {
            return Err(ClientError::Forbidden(format!("Not authorized for image {image_id}.")));
        }
        change(image, path);
        image.updated_at = utcnow();
        Ok(image.clone())
    }
}

fn is_owner(context: &RequestContext, image: &Image) -> bool {
    context.is_admin || image.owner.as_deref() == Some(context.project_id())
}

fn is_visible(context: &RequestContext, image: &Image) -> bool {
    is_owner(context, image) || matches!(image.visibility.as_str(), "public" | "community")
}

/// Some of Glance's filters: name, status and properties.
fn matches(image: &Image, (name, wanted): &(String, String)) -> bool {
    match name.as_str() {
        "name" => image.name.as_ref() == Some(wanted),
        "status" => image.status == *wanted,
        "min_ram" => image.min_ram.to_string() == *wanted,
        "min_disk" => image.min_disk.to_string() == *wanted,
        property => image.properties.get(property) == Some(wanted),
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

    async fn list(&self, context: &RequestContext, query: &ImageQuery) -> Result<Vec<Image>, ClientError> {
        let mut images = self.all();
        images.reverse();
        images.retain(|image| is_visible(context, image) && query.filters.iter().all(|filter| matches(image, filter)));
        if let Some(marker) = &query.marker {
            let after = images.iter().position(|image| image.id.to_string() == *marker);
            let after = after.ok_or_else(|| ClientError::BadRequest(format!("Invalid marker: {marker}")))?;
            images.drain(..=after);
        }
        images.truncate(query.limit.unwrap_or(usize::MAX));
        Ok(images)
    }

    async fn create(&self, context: &RequestContext, image: &NewImage) -> Result<Image, ClientError> {
        let now = utcnow();
        let made = Image {
            id: Uuid::new_v4(),
            name: Some(image.name.clone()),
            status: "queued".to_owned(),
            visibility: image.visibility.clone(),
            is_protected: false,
            is_hidden: false,
            checksum: None,
            os_hash_algo: None,
            os_hash_value: None,
            owner: context.project_id.clone(),
            size: None,
            virtual_size: None,
            container_format: image.container_format.clone(),
            disk_format: image.disk_format.clone(),
            created_at: now,
            updated_at: now,
            min_disk: image.min_disk,
            min_ram: image.min_ram,
            tags: Vec::new(),
            properties: image.properties.clone(),
        };
        self.put(made.clone(), PathBuf::new());
        Ok(made)
    }

    async fn update(
        &self,
        context: &RequestContext,
        image_id: Uuid,
        update: &ImageUpdate,
    ) -> Result<Image, ClientError> {
        self.change(context, image_id, |image, _| {
            image.disk_format = update.disk_format.clone().or(image.disk_format.take());
            image.container_format = update.container_format.clone().or(image.container_format.take());
            if let Some(properties) = &update.properties {
                image.properties.clone_from(properties);
            }
        })
    }

    async fn upload(&self, context: &RequestContext, image_id: Uuid, path: &Path) -> Result<(), ClientError> {
        let bytes = std::fs::read(path).map_err(|error| ClientError::unavailable("image", error))?;
        {
            let mut failing = self.failing_uploads.lock().unwrap_or_else(PoisonError::into_inner);
            if *failing > 0 {
                *failing -= 1;
                return Err(ClientError::unavailable("image", "told to fail"));
            }
        }
        let change = |image: &mut Image, at: &mut PathBuf| {
            image.status = "active".to_owned();
            image.size = i64::try_from(bytes.len()).ok();
            *at = path.to_owned();
        };
        self.change(context, image_id, change).map(drop)
    }

    async fn delete(&self, context: &RequestContext, image_id: Uuid) -> Result<(), ClientError> {
        self.change(context, image_id, |_, _| {})?;
        self.remove(image_id);
        Ok(())
    }
}
