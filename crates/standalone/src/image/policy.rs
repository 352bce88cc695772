//! Who may see and change an image, by Glance's default policy.

use kilonova_core::RequestContext;
use kilonova_db::image::{self as rows, ImageRow};
use uuid::Uuid;

use super::BuiltinImage;
use super::error::ImageError;
use crate::web::can_write;

impl BuiltinImage {
    /// An image that the caller may see; another one is as if it were not there.
    pub(super) async fn visible(&self, context: &RequestContext, id: &str) -> Result<ImageRow, ImageError> {
        let not_found = || ImageError::no_image(id);
        let uuid = Uuid::try_parse(id).map_err(|_| not_found())?;
        let row = rows::get(&self.db, uuid).await?.ok_or_else(not_found)?;
        let is_visible = match row.visibility.as_str() {
            _ if owns(context, &row) => true,
            "public" | "community" => true,
            "shared" => rows::get_member(&self.db, uuid, context.project_id()).await?.is_some(),
            _ => false,
        };
        if is_visible { Ok(row) } else { Err(not_found()) }
    }

    /// An image that the caller may change. `action` is the name of the policy rule.
    pub(super) async fn mutable(
        &self,
        context: &RequestContext,
        id: &str,
        action: &str,
    ) -> Result<ImageRow, ImageError> {
        let row = self.visible(context, id).await?;
        ensure_mutable(context, &row, action)?;
        Ok(row)
    }
}

/// Whether the image is the caller's own, or the caller an admin.
pub(super) fn owns(context: &RequestContext, row: &ImageRow) -> bool {
    context.is_admin || row.owner.as_deref().is_some_and(|owner| !owner.is_empty() && owner == context.project_id())
}

pub(super) fn ensure_mutable(context: &RequestContext, row: &ImageRow, action: &str) -> Result<(), ImageError> {
    if owns(context, row) && can_write(context) { Ok(()) } else { Err(ImageError::not_authorized(action)) }
}

/// What only admins may set.
pub(super) fn ensure_may_set(
    context: &RequestContext,
    name: &str,
    value: &serde_json::Value,
) -> Result<(), ImageError> {
    match name {
        "visibility" if value == "public" && !context.is_admin => Err(ImageError::not_authorized("publicize_image")),
        "owner" if !context.is_admin && value.as_str() != Some(context.project_id()) => {
            let owner = value.as_str().unwrap_or("None");
            Err(ImageError::Forbidden(format!("You are not permitted to create images owned by '{owner}'.")))
        }
        _ => Ok(()),
    }
}
