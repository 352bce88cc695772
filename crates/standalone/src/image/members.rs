//! `/v2/images/{id}/members`: which projects a shared image is offered to, and their answers.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use kilonova_core::RequestContext;
use kilonova_db::DbError;
use kilonova_db::image::{self as rows, ImageRow, MemberRow};
use serde_json::{Value, json};

use super::BuiltinImage;
use super::attributes::MAX_TEXT;
use super::error::ImageError;
use super::policy::owns;
use super::routes::JSON_LIMIT;
use super::view;
use crate::web::{can_write, read_json};

type Service = State<Arc<BuiltinImage>>;
type Caller = Extension<RequestContext>;

pub(super) async fn create(
    State(service): Service,
    Extension(context): Caller,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>, ImageError> {
    let row = service.shared(&context, &id).await?;
    super::policy::ensure_mutable(&context, &row, "add_member")?;
    let body = read_json(body, JSON_LIMIT).await?;
    let member = body["member"].as_str().filter(|member| !member.is_empty() && member.chars().count() <= MAX_TEXT);
    let member = member.ok_or_else(|| ImageError::BadRequest("Member can't be empty".to_owned()))?;
    match rows::add_member(&service.db, row.id, member).await {
        Ok(row) => Ok(Json(view::member(&row))),
        Err(DbError::Exists { .. }) => {
            Err(ImageError::Conflict(format!("Image member {member} already exists for image {id}")))
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn list(
    State(service): Service,
    Extension(context): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ImageError> {
    let row = service.shared(&context, &id).await?;
    let is_seen = |member: &MemberRow| owns(&context, &row) || member.member == context.project_id();
    let members = rows::list_members(&service.db, row.id).await?;
    let members: Vec<Value> = members.iter().filter(|member| is_seen(member)).map(view::member).collect();
    Ok(Json(json!({"members": members, "schema": "/v2/schemas/members"})))
}

pub(super) async fn show(
    State(service): Service,
    Extension(context): Caller,
    Path((id, member)): Path<(String, String)>,
) -> Result<Json<Value>, ImageError> {
    let row = service.shared(&context, &id).await?;
    let found = rows::get_member(&service.db, row.id, &member).await?;
    let found = found.filter(|found| owns(&context, &row) || found.member == context.project_id());
    Ok(Json(view::member(&found.ok_or_else(|| no_member(&id, &member))?)))
}

/// The answer is the offered project's, not the owner's.
pub(super) async fn update(
    State(service): Service,
    Extension(context): Caller,
    Path((id, member)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Value>, ImageError> {
    let row = service.shared(&context, &id).await?;
    if !context.is_admin && (member != context.project_id() || !can_write(&context)) {
        return Err(ImageError::not_authorized("modify_member"));
    }
    let body = read_json(body, JSON_LIMIT).await?;
    let status = match body["status"].as_str() {
        Some(status @ ("pending" | "accepted" | "rejected")) => status,
        _ => {
            return Err(ImageError::BadRequest("Status must be \"pending\", \"accepted\" or \"rejected\".".to_owned()));
        }
    };
    match rows::set_member_status(&service.db, row.id, &member, status).await {
        Ok(row) => Ok(Json(view::member(&row))),
        Err(DbError::NotFound { .. }) => Err(no_member(&id, &member)),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn delete(
    State(service): Service,
    Extension(context): Caller,
    Path((id, member)): Path<(String, String)>,
) -> Result<StatusCode, ImageError> {
    let row = service.shared(&context, &id).await?;
    super::policy::ensure_mutable(&context, &row, "delete_member")?;
    match rows::remove_member(&service.db, row.id, &member).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(DbError::NotFound { .. }) => Err(no_member(&id, &member)),
        Err(error) => Err(error.into()),
    }
}

impl BuiltinImage {
    async fn shared(&self, context: &RequestContext, id: &str) -> Result<ImageRow, ImageError> {
        let row = self.visible(context, id).await?;
        if row.visibility == "shared" {
            return Ok(row);
        }
        Err(ImageError::Forbidden("Only shared images have members.".to_owned()))
    }
}

fn no_member(id: &str, member: &str) -> ImageError {
    ImageError::NotFound(format!("{member} not found in the member list of the image {id}."))
}
