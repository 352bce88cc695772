//! The image that a guest starts from: what it is, and its bytes for a driver that does not have them yet.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kilonova_clients::image::{Image, ImageService};
use kilonova_core::RequestContext;
use kilonova_virt::{DiskImage, FetchError, ImageFile, ImageSource};
use serde_json::Value;
use uuid::Uuid;

use super::build::parse_uuid;
use super::{Manager, ManagerError};

impl Manager {
    /// The image of a build; `None` for a guest that has none.
    pub(super) async fn disk_image(
        &self,
        context: &RequestContext,
        image: &Value,
    ) -> Result<Option<DiskImage>, ManagerError> {
        let Some(id) = image.get("id").and_then(Value::as_str) else { return Ok(None) };
        let image_id = parse_uuid(id)?;
        let image = self.clients.image.show(context, image_id).await?;
        Ok(Some(self.disk_of(context, image)))
    }

    /// The disk that an image is.
    pub(super) fn disk_of(&self, context: &RequestContext, image: Image) -> DiskImage {
        let (service, image_id) = (self.clients.image.clone(), image.id);
        DiskImage {
            image_id,
            source: Arc::new(Download { service, context: context.clone(), image_id }),
            disk_format: image.disk_format.unwrap_or_else(|| "raw".to_owned()),
            cache_key: image.checksum.unwrap_or_else(|| image_id.simple().to_string()),
        }
    }
}

/// An image that the user may see, at the image service.
struct Download {
    service: Arc<dyn ImageService>,
    context: RequestContext,
    image_id: Uuid,
}

#[async_trait]
impl ImageSource for Download {
    async fn fetch(&self) -> Result<ImageFile, FetchError> {
        let data = self.service.download(&self.context, self.image_id).await?;
        Ok(ImageFile::new(data.path().to_owned(), data))
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Download").field("image_id", &self.image_id).finish_non_exhaustive()
    }
}
