//! What an image looks like in the Compute API.

use std::collections::BTreeMap;

use kilonova_clients::image::Image;
use serde::Serialize;
use uuid::Uuid;

use super::links::{Link, Links};
use super::time::IsoTime;

/// `{"image": {…}}`
#[derive(Serialize)]
pub(crate) struct One<T> {
    pub image: T,
}

/// `{"images": […], "images_links": […]}`
#[derive(Serialize)]
pub(crate) struct Many<T> {
    pub images: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images_links: Option<[Link; 1]>,
}

/// A link that says what is behind it.
#[derive(Serialize)]
struct Alternate {
    rel: &'static str,
    r#type: &'static str,
    href: String,
}

/// Links here, and one to the image service.
type ImageLinks = (Link, Link, Alternate);

fn links(image: &Image, links: &Links, alternate: String) -> ImageLinks {
    let [own, bookmark] = links.of("images", &image.id.to_string());
    (own, bookmark, Alternate { rel: "alternate", r#type: "application/vnd.openstack.image", href: alternate })
}

/// An image of `GET /images`.
#[derive(Serialize)]
pub(crate) struct Brief<'a> {
    id: Uuid,
    name: Option<&'a str>,
    links: ImageLinks,
}

impl<'a> Brief<'a> {
    /// `alternate`: where the image is at the image service.
    pub(crate) fn new(image: &'a Image, own: &Links, alternate: String) -> Self {
        Self { id: image.id, name: image.name.as_deref(), links: links(image, own, alternate) }
    }
}

/// An image with everything.
#[derive(Serialize)]
pub(crate) struct Whole<'a> {
    id: Uuid,
    name: Option<&'a str>,
    #[serde(rename = "minRam")]
    min_ram: i64,
    #[serde(rename = "minDisk")]
    min_disk: i64,
    metadata: &'a BTreeMap<String, String>,
    created: IsoTime,
    updated: IsoTime,
    status: &'static str,
    progress: u8,
    #[serde(rename = "OS-EXT-IMG-SIZE:size")]
    /// 0 while nothing is in it.
    size: i64,
    links: ImageLinks,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Server<'a>>,
    #[serde(rename = "OS-DCF:diskConfig", skip_serializing_if = "Option::is_none")]
    disk_config: Option<&'static str>,
}

/// The server that an image was made of.
#[derive(Serialize)]
struct Server<'a> {
    id: &'a str,
    links: [Link; 2],
}

impl<'a> Whole<'a> {
    /// `alternate`: where the image is at the image service.
    pub(crate) fn new(image: &'a Image, own: &Links, alternate: String) -> Self {
        let property = |name: &str| image.properties.get(name).map(String::as_str);
        let (status, progress) = status(&image.status);
        Self {
            id: image.id,
            name: image.name.as_deref(),
            min_ram: image.min_ram,
            min_disk: image.min_disk,
            metadata: &image.properties,
            created: IsoTime(image.created_at),
            updated: IsoTime(image.updated_at),
            status,
            progress,
            size: image.size.unwrap_or_default(),
            links: links(image, own, alternate),
            server: property("instance_uuid").map(|id| Server { id, links: own.of("servers", id) }),
            disk_config: property("auto_disk_config").map(|value| if is_true(value) { "AUTO" } else { "MANUAL" }),
        }
    }
}

/// Nova's word and percentage for a status of the image service.
fn status(status: &str) -> (&'static str, u8) {
    match status {
        "active" => ("ACTIVE", 100),
        "queued" => ("SAVING", 25),
        "saving" => ("SAVING", 50),
        "deleted" | "pending_delete" => ("DELETED", 0),
        "killed" => ("ERROR", 0),
        _ => ("UNKNOWN", 0),
    }
}

fn is_true(value: &str) -> bool {
    matches!(value.trim().to_ascii_lowercase().as_str(), "1" | "t" | "true" | "on" | "y" | "yes")
}
