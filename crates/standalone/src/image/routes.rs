//! The routes of the Image API v2, and the handlers that are no more than a few lines.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Json, Router};
use kilonova_clients::identity::Identity;
use kilonova_core::RequestContext;
use kilonova_core::time::utcnow;
use kilonova_db::DbError;
use kilonova_db::image::{self as rows, Deletion, ImageRow, Properties, Scope, Tags};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::BuiltinImage;
use super::error::{ImageError, render_errors};
use super::filters::ListQuery;
use super::policy::{ensure_may_set, ensure_mutable};
use super::{attributes, download, members, patch, schema, upload, versions, view};
use crate::auth::authenticate;
use crate::web::{BaseUrl, can_write, encode_query, read_json, stamp_request_id};

/// Bytes of a JSON body.
pub(super) const JSON_LIMIT: usize = 1024 * 1024;

type Service = State<Arc<BuiltinImage>>;
type Caller = Extension<RequestContext>;

pub(super) fn router(service: Arc<BuiltinImage>, identity: Arc<dyn Identity>) -> Router {
    let v2 = Router::new()
        .route("/v2/images", get(list).post(create))
        .route("/v2/images/{id}", get(show).patch(update).delete(delete))
        .route("/v2/images/{id}/file", get(download::get).put(upload::put))
        .route("/v2/images/{id}/tasks", get(tasks))
        .route("/v2/images/{id}/tags/{tag}", put(add_tag).delete(remove_tag))
        .route("/v2/images/{id}/actions/deactivate", post(deactivate))
        .route("/v2/images/{id}/actions/reactivate", post(reactivate))
        .route("/v2/images/{id}/members", get(members::list).post(members::create))
        .route("/v2/images/{id}/members/{member}", get(members::show).put(members::update).delete(members::delete))
        .route("/v2/schemas/image", get(schema::image))
        .route("/v2/schemas/images", get(schema::images))
        .route("/v2/schemas/member", get(schema::member))
        .route("/v2/schemas/members", get(schema::members))
        .route("/v2/info/import", get(import_info))
        .with_state(service)
        .layer(from_fn(stamp_request_id))
        .layer(from_fn_with_state(identity, authenticate));
    Router::new()
        .route("/", get(versions::choices))
        .route("/versions", get(versions::list))
        .route("/versions/", get(versions::list))
        .merge(v2)
        .fallback(versions::fallback)
        .layer(from_fn(render_errors))
        .layer(from_fn(stamp_request_id))
}

/// No import methods: images are uploaded.
async fn import_info() -> Json<Value> {
    Json(json!({"import-methods": {"description": "Import methods available.", "type": "array", "value": []}}))
}

/// None: an image is not made by a task here.
async fn tasks(
    State(service): Service,
    Extension(context): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ImageError> {
    service.visible(&context, &id).await?;
    Ok(Json(json!({"tasks": []})))
}

async fn create(
    State(service): Service,
    Extension(context): Caller,
    base: BaseUrl,
    body: Body,
) -> Result<Response, ImageError> {
    if !can_write(&context) {
        return Err(ImageError::not_authorized("add_image"));
    }
    let Value::Object(wanted) = read_json(body, JSON_LIMIT).await? else {
        return Err(attributes::invalid("the body is not of type 'object'"));
    };
    let row = new_row(&context, &wanted)?;
    match rows::create(&service.db, &row).await {
        Err(DbError::Exists { .. }) => {
            return Err(ImageError::Conflict(format!("Image ID {} already exists!", row.id)));
        }
        created => created?,
    }
    let mut response = (StatusCode::CREATED, Json(view::image(&row))).into_response();
    let location = format!("{}/v2/images/{}", base.0, row.id);
    response.headers_mut().extend(location.parse().ok().map(|location: HeaderValue| (header::LOCATION, location)));
    Ok(response)
}

pub(super) fn new_row(context: &RequestContext, wanted: &Map<String, Value>) -> Result<ImageRow, ImageError> {
    let now = utcnow();
    let mut row = ImageRow {
        id: Uuid::new_v4(),
        name: None,
        status: "queued".to_owned(),
        visibility: "shared".to_owned(),
        is_protected: false,
        is_hidden: false,
        checksum: None,
        os_hash_algo: None,
        os_hash_value: None,
        owner: context.project_id.clone().filter(|owner| !owner.is_empty()),
        size: None,
        virtual_size: None,
        container_format: None,
        disk_format: None,
        created_at: now,
        updated_at: now,
        min_disk: 0,
        min_ram: 0,
        tags: Tags::default(),
        properties: Properties::default(),
    };
    for (name, value) in wanted {
        if name == "id" {
            let id = value.as_str().and_then(|id| Uuid::try_parse(id).ok());
            row.id = id.ok_or_else(|| attributes::invalid(&format!("{value} is not a UUID")))?;
        } else {
            ensure_may_set(context, name, value)?;
            attributes::set(&mut row, name, value)?;
        }
    }
    Ok(row)
}

async fn list(
    State(service): Service,
    Extension(context): Caller,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, ImageError> {
    let (page, has_more) = service.select(&context, &ListQuery::parse(&pairs)?).await?;
    Ok(Json(list_view(&pairs, &page, has_more)))
}

fn list_view(pairs: &[(String, String)], page: &[ImageRow], has_more: bool) -> Value {
    let others = || pairs.iter().filter(|(key, _)| key != "marker").map(|(key, value)| (key.as_str(), value.as_str()));
    let first = encode_query(others());
    let first = if first.is_empty() { "/v2/images".to_owned() } else { format!("/v2/images?{first}") };
    let images: Vec<Value> = page.iter().map(view::image).collect();
    let mut view = json!({"images": images, "first": first, "schema": "/v2/schemas/images"});
    if let Some(last) = page.last().filter(|_| has_more) {
        let marker = last.id.to_string();
        view["next"] = json!(format!("/v2/images?{}", encode_query(others().chain([("marker", marker.as_str())]))));
    }
    view
}

async fn show(
    State(service): Service,
    Extension(context): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ImageError> {
    Ok(Json(view::image(&service.visible(&context, &id).await?)))
}

async fn update(
    State(service): Service,
    Extension(context): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ImageError> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = given.split(';').next().unwrap_or_default().trim();
    if !patch::MEDIA_TYPES.contains(&media_type) {
        let text = format!("Unsupported content type '{given}'; use {}.", patch::MEDIA_TYPES[0]);
        let accept = [("accept-patch", patch::MEDIA_TYPES.join(", "))];
        return Ok((accept, ImageError::UnsupportedMediaType(text)).into_response());
    }
    let changes = patch::parse(media_type, &read_json(body, JSON_LIMIT).await?)?;
    let row = service.mutable(&context, &id, "modify_image").await?;
    if changes.is_empty() {
        return Ok(Json(view::image(&row)).into_response());
    }
    let changed = service.modify(&context, &row, "modify_image", |row| patch::apply(&context, row, &changes)).await?;
    Ok(Json(view::image(&changed)).into_response())
}

async fn delete(
    State(service): Service,
    Extension(context): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ImageError> {
    service.remove(&context, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn add_tag(
    State(service): Service,
    Extension(context): Caller,
    Path((id, tag)): Path<(String, String)>,
) -> Result<StatusCode, ImageError> {
    let row = service.mutable(&context, &id, "modify_image").await?;
    if tag.chars().count() > attributes::MAX_TEXT {
        return Err(attributes::invalid(&format!("'{tag}' is too long")));
    }
    let change = |row: &mut ImageRow| {
        row.tags.0.insert(tag.clone());
        attributes::ensure_tag_limit(row)
    };
    service.modify(&context, &row, "modify_image", change).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_tag(
    State(service): Service,
    Extension(context): Caller,
    Path((id, tag)): Path<(String, String)>,
) -> Result<StatusCode, ImageError> {
    let row = service.mutable(&context, &id, "modify_image").await?;
    let change = |row: &mut ImageRow| {
        if row.tags.0.remove(&tag) { Ok(()) } else { Err(ImageError::NotFound("Tag not found.".to_owned())) }
    };
    service.modify(&context, &row, "modify_image", change).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn deactivate(
    State(service): Service,
    Extension(context): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ImageError> {
    service.switch(&context, &id, "deactivate", "deactivated").await
}

async fn reactivate(
    State(service): Service,
    Extension(context): Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ImageError> {
    service.switch(&context, &id, "reactivate", "active").await
}

impl BuiltinImage {
    /// The images that a list request asks for, and whether there are more.
    pub(super) async fn select(
        &self,
        context: &RequestContext,
        query: &ListQuery,
    ) -> Result<(Vec<ImageRow>, bool), ImageError> {
        let marker = match &query.marker {
            Some(marker) => Some(self.visible(context, marker).await.map_err(|error| match error {
                ImageError::NotFound(text) => ImageError::BadRequest(text),
                error => error,
            })?),
            None => None,
        };
        let project_id = context.project_id();
        let scope = if context.is_admin { Scope::All } else { Scope::VisibleTo(project_id) };
        let offers = rows::list_offers_to(&self.db, project_id).await?;
        let offers: HashMap<Uuid, String> = offers.into_iter().map(|offer| (offer.image_id, offer.status)).collect();
        Ok(query.page(rows::list(&self.db, scope).await?, marker.as_ref(), project_id, &offers))
    }

    /// Deletes an image that the caller may delete.
    pub(super) async fn remove(&self, context: &RequestContext, id: &str) -> Result<(), ImageError> {
        let row = self.mutable(context, id, "delete_image").await?;
        match rows::delete(&self.db, row.id).await? {
            Deletion::Missing => Err(ImageError::no_image(id)),
            Deletion::Protected => {
                Err(ImageError::Forbidden(format!("Image {id} is protected and cannot be deleted.")))
            }
            Deletion::Deleted => Ok(self.store.remove(row.id).await?),
        }
    }

    /// Changes an image that the caller may change, with nobody in between.
    pub(super) async fn modify(
        &self,
        context: &RequestContext,
        row: &ImageRow,
        action: &str,
        change: impl Fn(&mut ImageRow) -> Result<(), ImageError>,
    ) -> Result<ImageRow, ImageError> {
        let checked = |row: &mut ImageRow| {
            ensure_mutable(context, row, action)?;
            change(row)
        };
        rows::modify(&self.db, row.id, checked).await?.ok_or_else(|| ImageError::no_image(row.id))
    }

    /// Between `active` and `deactivated`; only admins may.
    async fn switch(
        &self,
        context: &RequestContext,
        id: &str,
        action: &str,
        to: &str,
    ) -> Result<StatusCode, ImageError> {
        let row = self.visible(context, id).await?;
        if !context.is_admin {
            return Err(ImageError::not_authorized(action));
        }
        if rows::set_status(&self.db, row.id, &["active", "deactivated"], to).await? {
            return Ok(StatusCode::NO_CONTENT);
        }
        let status = row.status;
        Err(ImageError::Forbidden(format!("Image status transition from {status} to {to} is not allowed")))
    }
}
