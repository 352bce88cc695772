//! The image service as compute sees it.

use async_trait::async_trait;
use kilonova_clients::ClientError;
use kilonova_clients::image::{Image, ImageData, ImageService};
use kilonova_core::RequestContext;
use kilonova_db::image::ImageRow;
use uuid::Uuid;

use super::BuiltinImage;
use super::download::{ensure_downloadable, has_data};
use super::error::ImageError;

#[async_trait]
impl ImageService for BuiltinImage {
    async fn show(&self, context: &RequestContext, image_id: Uuid) -> Result<Image, ClientError> {
        let row = self.visible(context, &image_id.to_string()).await.map_err(|error| client_error(error, image_id))?;
        Ok(image(row))
    }

    async fn download(&self, context: &RequestContext, image_id: Uuid) -> Result<ImageData, ClientError> {
        let found = self.visible(context, &image_id.to_string()).await;
        let row = found.map_err(|error| client_error(error, image_id))?;
        ensure_downloadable(context, &row).map_err(|error| client_error(error, image_id))?;
        if !has_data(&row) {
            return Err(ClientError::not_found("image", image_id));
        }
        Ok(ImageData::File(self.store.path(image_id)))
    }
}

fn client_error(error: ImageError, id: Uuid) -> ClientError {
    match error {
        ImageError::NotFound(_) | ImageError::Gone(_) => ClientError::not_found("image", id),
        ImageError::Forbidden(text) => ClientError::Forbidden(text),
        ImageError::Conflict(text) => ClientError::Conflict(text),
        error @ (ImageError::Database(_) | ImageError::Store(_) | ImageError::Task(_)) => {
            tracing::error!(%error, image = %id, "the image service failed");
            ClientError::unavailable("image", error)
        }
        other => ClientError::BadRequest(other.to_string()),
    }
}

fn image(row: ImageRow) -> Image {
    Image {
        id: row.id,
        name: row.name,
        status: row.status,
        visibility: row.visibility,
        is_protected: row.is_protected,
        is_hidden: row.is_hidden,
        checksum: row.checksum,
        os_hash_algo: row.os_hash_algo,
        os_hash_value: row.os_hash_value,
        owner: row.owner,
        size: row.size,
        virtual_size: row.virtual_size,
        container_format: row.container_format,
        disk_format: row.disk_format,
        created_at: row.created_at,
        updated_at: row.updated_at,
        min_disk: row.min_disk,
        min_ram: row.min_ram,
        tags: row.tags.0.into_iter().collect(),
        properties: row.properties.0,
    }
}
