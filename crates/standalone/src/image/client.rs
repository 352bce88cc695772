//! The image service as compute sees it.

use std::path::Path;

use async_trait::async_trait;
use kilonova_clients::ClientError;
use kilonova_clients::image::{Image, ImageData, ImageQuery, ImageService, ImageUpdate, NewImage};
use kilonova_core::RequestContext;
use kilonova_db::image::{self as rows, ImageRow};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::BuiltinImage;
use super::attributes;
use super::download::{ensure_downloadable, has_data};
use super::error::ImageError;
use super::filters::ListQuery;
use super::routes::new_row;
use crate::web::can_write;

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

    async fn list(&self, context: &RequestContext, query: &ImageQuery) -> Result<Vec<Image>, ClientError> {
        let failed = |error| client_error(error, Uuid::nil());
        let mut pairs = query.filters.clone();
        pairs.extend(query.marker.iter().map(|marker| ("marker".to_owned(), marker.clone())));
        if let Some(key) = &query.sort_key {
            pairs.extend([("sort_key".to_owned(), key.clone()), ("sort_dir".to_owned(), "desc".to_owned())]);
        }
        let mut wanted = ListQuery::parse(&pairs).map_err(failed)?;
        wanted.limit = query.limit.unwrap_or(usize::MAX);
        let (page, _) = self.select(context, &wanted).await.map_err(failed)?;
        Ok(page.into_iter().map(image).collect())
    }

    async fn create(&self, context: &RequestContext, new: &NewImage) -> Result<Image, ClientError> {
        let failed = |error| client_error(error, Uuid::nil());
        if !can_write(context) {
            return Err(failed(ImageError::not_authorized("add_image")));
        }
        let row = new_row(context, &attributes_of(new)).map_err(failed)?;
        rows::create(&self.db, &row).await.map_err(|error| failed(error.into()))?;
        if let Some(member) = &new.member {
            rows::add_member(&self.db, row.id, member).await.map_err(|error| failed(error.into()))?;
        }
        Ok(image(row))
    }

    async fn update(
        &self,
        context: &RequestContext,
        image_id: Uuid,
        update: &ImageUpdate,
    ) -> Result<Image, ClientError> {
        let failed = |error| client_error(error, image_id);
        let row = self.visible(context, &image_id.to_string()).await.map_err(failed)?;
        let change = |row: &mut ImageRow| {
            if let Some(format) = &update.disk_format {
                attributes::set(row, "disk_format", &json!(format))?;
            }
            if let Some(format) = &update.container_format {
                attributes::set(row, "container_format", &json!(format))?;
            }
            if let Some(properties) = &update.properties {
                row.properties.0.clear();
                properties.iter().try_for_each(|(name, value)| attributes::set(row, name, &json!(value)))?;
            }
            Ok(())
        };
        self.modify(context, &row, "modify_image", change).await.map(image).map_err(failed)
    }

    async fn upload(&self, context: &RequestContext, image_id: Uuid, path: &Path) -> Result<(), ClientError> {
        let failed = |error| client_error(error, image_id);
        let row = self.mutable(context, &image_id.to_string(), "upload_image").await.map_err(failed)?;
        self.receive_file(row, path.to_owned()).await.map_err(failed)
    }

    async fn delete(&self, context: &RequestContext, image_id: Uuid) -> Result<(), ClientError> {
        self.remove(context, &image_id.to_string()).await.map_err(|error| client_error(error, image_id))
    }
}

/// The body that a REST client would make the image with.
fn attributes_of(new: &NewImage) -> Map<String, Value> {
    let mut body: Map<String, Value> =
        new.properties.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let attributes = json!({
        "name": new.name,
        "visibility": new.visibility,
        "container_format": new.container_format,
        "disk_format": new.disk_format,
        "min_disk": new.min_disk,
        "min_ram": new.min_ram,
    });
    body.extend(attributes.as_object().cloned().unwrap_or_default());
    body
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
