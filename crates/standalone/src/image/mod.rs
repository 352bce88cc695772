//! The built-in image service: images in the database, their bytes as files in one directory, and the part of the
//! Image API v2 that clients need. Compute reads images through [`kilonova_clients::image::ImageService`].
//!
//! ```text
//! POST            PUT file              body complete            deactivate
//!  └─> queued ───────────────> saving ────────────────> active <────────────> deactivated
//!         ^                      │                                reactivate
//!         └──────────────────────┘ upload broken, or the process died in it
//! ```
//!
//! The file has its final name before the image is `active`, and is removed after its row: what a crash leaves over is
//! a file without an active row, and [`BuiltinImage::open`] removes it.

mod attributes;
mod client;
mod download;
mod error;
mod filters;
mod format;
mod members;
mod patch;
mod policy;
mod register;
mod routes;
mod schema;
mod store;
mod upload;
mod versions;
mod view;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use kilonova_clients::identity::Identity;
use kilonova_db::Db;
use kilonova_db::image::{self as rows, Scope};

pub use error::ImageError;
use store::Store;

/// Bytes that an image may have unless the operator says otherwise: Glance's `image_size_cap`, 1 TiB.
const DEFAULT_SIZE_LIMIT: u64 = 1 << 40;

/// The image service.
pub struct BuiltinImage {
    db: Db,
    store: Store,
    size_limit: u64,
}

impl BuiltinImage {
    /// Opens the service with its bytes in `dir`, which belongs to it alone, and winds up what a crash interrupted.
    pub async fn open(db: Db, dir: PathBuf) -> Result<Arc<Self>, ImageError> {
        Self::open_with_size_limit(db, dir, DEFAULT_SIZE_LIMIT).await
    }

    /// The same with another limit for the bytes of an image.
    pub async fn open_with_size_limit(db: Db, dir: PathBuf, size_limit: u64) -> Result<Arc<Self>, ImageError> {
        let service = Self { db, store: Store::open(dir).await?, size_limit };
        service.repair().await?;
        Ok(Arc::new(service))
    }

    /// The REST API, to be mounted with `nest_service("/image", …)`: with `nest`, `/image/` would not be found.
    pub fn router(self: &Arc<Self>, identity: Arc<dyn Identity>) -> Router {
        routes::router(Arc::clone(self), identity)
    }

    async fn repair(&self) -> Result<(), ImageError> {
        let interrupted = rows::reset_interrupted_uploads(&self.db).await?;
        if interrupted > 0 {
            tracing::warn!(interrupted, "uploads were interrupted; their images are queued again");
        }
        let images = rows::list(&self.db, Scope::All).await?;
        let with_bytes: Vec<_> = images.iter().filter(|image| image.status != "queued").map(|image| image.id).collect();
        for missing in self.store.sweep(with_bytes).await? {
            tracing::error!(image = %missing, "the bytes of an image are missing");
        }
        Ok(())
    }
}
