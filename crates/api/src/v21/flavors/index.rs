//! `GET /flavors`, `GET /flavors/detail`

use kilonova_db::flavors::{self, FlavorQuery};
use kilonova_objects::Flavor;
use regex::Regex;
use serde::Serialize;

use super::shows_extra_specs;
use crate::call::{Answer, Call, ok};
use crate::error::ApiError;
use crate::v21::paging::Page;
use crate::v21::values::bool_from_string;
use crate::views::flavors::{Brief, Detail};
use crate::views::links::Link;

#[derive(Serialize)]
struct Flavors<T> {
    flavors: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flavors_links: Option<[Link; 1]>,
}

/// `GET /flavors`
pub(crate) async fn index(call: Call) -> Answer {
    call.authorize_own()?;
    let found = list(&call).await?;
    let flavors = found.iter().map(|flavor| Brief::new(flavor, &call.links, call.version)).collect();
    ok(&Flavors { flavors, flavors_links: next(&call, "flavors", &found) })
}

/// `GET /flavors/detail`
pub(crate) async fn detail(call: Call) -> Answer {
    call.authorize_own()?;
    let found = list(&call).await?;
    let specs = shows_extra_specs(&call);
    let flavors = found.iter().map(|flavor| Detail::new(flavor, &call.links, call.version, specs)).collect();
    ok(&Flavors { flavors, flavors_links: next(&call, "flavors/detail", &found) })
}

fn next(call: &Call, collection: &str, found: &[Flavor]) -> Option<[Link; 1]> {
    let last = found.last().map(|flavor| flavor.flavorid.as_str());
    call.links.next(collection, &call.query, call.state.config.max_limit, found.len(), last).map(|link| [link])
}

async fn list(call: &Call) -> Result<Vec<Flavor>, ApiError> {
    let page = Page::of(call);
    let query = &call.query;
    let mut wanted = FlavorQuery {
        min_ram: number(call, "minRam")?,
        min_disk: number(call, "minDisk")?,
        name: name(call)?,
        include_disabled: call.context.is_admin,
        sort_key: query.get("sort_key").unwrap_or_default().to_owned(),
        sort_desc: query.get("sort_dir") == Some("desc"),
        limit: Some(page.limit),
        marker: page.marker.map(str::to_owned),
        ..FlavorQuery::default()
    };
    match is_public(call)? {
        Some(true) => wanted.visible_to = Some(call.context.project_id().to_owned()),
        Some(false) => wanted.is_public = Some(false),
        None => {}
    }
    Ok(flavors::list(&call.state.db, &wanted).await?)
}

/// Only admins choose: true is what everybody sees, false the private flavors, none all.
fn is_public(call: &Call) -> Result<Option<bool>, ApiError> {
    match call.query.get("is_public").filter(|_| call.context.is_admin) {
        None => Ok(Some(true)),
        Some(text) if text.eq_ignore_ascii_case("none") => Ok(None),
        Some(text) => bool_from_string(text)
            .map(Some)
            .ok_or_else(|| ApiError::BadRequest(format!("Invalid is_public filter [{text}]"))),
    }
}

/// From 2.102 on; older schemas drop it.
fn name(call: &Call) -> Result<Option<Regex>, ApiError> {
    let parsed = call.query.get("name").map(Regex::new).transpose();
    parsed.map_err(|_| ApiError::BadRequest("Invalid filter field: name.".to_owned()))
}

fn number(call: &Call, name: &str) -> Result<Option<i64>, ApiError> {
    let parsed = call
        .query
        .get(name)
        .map(|text| text.trim().parse().map_err(|_| ApiError::BadRequest(format!("Invalid {name} filter [{text}]"))));
    parsed.transpose()
}
