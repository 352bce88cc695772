//! `/images`, up to 2.35: what the image service says, in the words of the first Compute API.

use axum::http::StatusCode;
use kilonova_clients::ClientError;
use kilonova_clients::image::{Image, ImageQuery};
use uuid::Uuid;

use crate::call::{Answer, Call, Query, empty, ok};
use crate::error::ApiError;
use crate::views::images::{Brief, Many, One, Whole};

/// Nova's names of filters, and the image service's.
const FILTERS: [(&str, &str); 6] = [
    ("name", "name"),
    ("status", "status"),
    ("server", "instance_uuid"),
    ("type", "image_type"),
    ("minRam", "min_ram"),
    ("minDisk", "min_disk"),
];

/// `GET /images`
pub(crate) async fn index(call: Call) -> Answer {
    let found = list(&call).await?;
    let images = found.iter().map(|image| Brief::new(image, &call.links, url(&call, image.id))).collect();
    ok(&Many { images, images_links: next(&call, "images", &found) })
}

/// `GET /images/detail`
pub(crate) async fn detail(call: Call) -> Answer {
    let found = list(&call).await?;
    let images = found.iter().map(|image| Whole::new(image, &call.links, url(&call, image.id))).collect();
    ok(&Many { images, images_links: next(&call, "images/detail", &found) })
}

/// `GET /images/{id}`
pub(crate) async fn show(call: Call) -> Answer {
    let image = get(&call, call.param("id")).await?;
    ok(&One { image: Whole::new(&image, &call.links, url(&call, image.id)) })
}

/// `DELETE /images/{id}`
pub(crate) async fn delete(call: Call) -> Answer {
    let id = call.param("id").parse().map_err(|_| not_found())?;
    match call.state.clients.image.delete(&call.context, id).await {
        Ok(()) => Ok(empty(StatusCode::NO_CONTENT)),
        Err(ClientError::NotFound { .. }) => Err(not_found()),
        Err(ClientError::Forbidden(_)) => {
            Err(ApiError::Forbidden("You are not allowed to delete the image.".to_owned()))
        }
        Err(other) => Err(other.into()),
    }
}

/// An image that the caller may see.
pub(super) async fn get(call: &Call, id: &str) -> Result<Image, ApiError> {
    let uuid: Uuid = id.parse().map_err(|_| not_found())?;
    call.state.clients.image.show(&call.context, uuid).await.map_err(|error| refused(error, uuid))
}

/// What Nova says for the image service.
pub(super) fn refused(error: ClientError, id: Uuid) -> ApiError {
    match error {
        ClientError::NotFound { .. } => not_found(),
        ClientError::Forbidden(_) => ApiError::Forbidden(format!("Not authorized for image {id}.")),
        other => other.into(),
    }
}

fn not_found() -> ApiError {
    ApiError::NotFound("Image not found.".to_owned())
}

/// Where an image is at the image service, as far as the caller's catalog says; else here.
pub(super) fn url(call: &Call, id: Uuid) -> String {
    let entry = call.context.service_catalog.iter().find(|entry| entry["type"] == "image");
    let endpoint = entry.and_then(|entry| entry.pointer("/endpoints/0"));
    let url = endpoint.and_then(|endpoint| {
        ["internalURL", "publicURL"].iter().find_map(|interface| endpoint.get(*interface)?.as_str())
    });
    let Some(url) = url else { return call.links.href("images", &id.to_string()) };
    let url = url.trim_end_matches('/').trim_end_matches("/v2");
    match &call.state.config.glance_link_prefix {
        Some(prefix) => format!("{}{}/images/{id}", prefix.trim_end_matches('/'), path(url)),
        None => format!("{url}/images/{id}"),
    }
}

/// What comes after scheme and authority.
fn path(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("", |slash| &rest[slash..])
}

async fn list(call: &Call) -> Result<Vec<Image>, ApiError> {
    let limit = call.query.get("limit").and_then(|limit| limit.parse().ok());
    let query = ImageQuery {
        filters: filters(&call.query),
        limit,
        marker: call.query.get("marker").map(str::to_owned),
        sort_key: None,
    };
    Ok(call.state.clients.image.list(&call.context, &query).await?)
}

fn filters(query: &Query) -> Vec<(String, String)> {
    let mut filters = Vec::new();
    for (name, theirs) in FILTERS {
        let Some(value) = query.get(name) else { continue };
        let value = match name {
            "status" => value.to_ascii_lowercase(),
            // A server may come as a link to it.
            "server" => value.rsplit('/').next().unwrap_or(value).to_owned(),
            _ => value.to_owned(),
        };
        filters.push((theirs.to_owned(), value));
    }
    if let Some(since) = query.get("changes-since") {
        filters.push(("updated_at".to_owned(), format!("gte:{since}")));
    }
    let properties = query.0.iter().filter_map(|(name, value)| Some((name.strip_prefix("property-")?, value)));
    filters.extend(properties.map(|(name, value)| (name.to_owned(), value.clone())));
    filters
}

fn next(call: &Call, collection: &str, shown: &[Image]) -> Option<[crate::views::links::Link; 1]> {
    let last = shown.last().map(|image| image.id.to_string());
    let max_limit = call.state.config.max_limit;
    call.links.next(collection, &call.query, max_limit, shown.len(), last.as_deref()).map(|link| [link])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_have_the_image_services_names() {
        let pairs = [
            ("status", "ACTIVE"),
            ("server", "http://h/servers/u"),
            ("type", "snapshot"),
            ("minRam", "64"),
            ("changes-since", "2026-01-01"),
            ("property-x", "y"),
            ("limit", "3"),
        ];
        let query = Query(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let filters = filters(&query);
        let filters: Vec<(&str, &str)> = filters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            filters,
            [
                ("status", "active"),
                ("instance_uuid", "u"),
                ("image_type", "snapshot"),
                ("min_ram", "64"),
                ("updated_at", "gte:2026-01-01"),
                ("x", "y"),
            ]
        );
    }

    #[test]
    fn a_prefix_takes_the_place_of_scheme_and_authority() {
        assert_eq!((path("http://h:9292/image"), path("http://h:9292")), ("/image", ""));
    }
}
