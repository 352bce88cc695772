//! What `GET /v2/images` takes: filters, sorting, paging. Pure: it chooses from the images that the caller may see.

use std::cmp::Ordering;
use std::collections::HashMap;

use chrono::{DateTime, NaiveDateTime, Utc};
use kilonova_db::image::ImageRow;
use uuid::Uuid;

use super::attributes::VISIBILITIES;
use super::error::ImageError;
use crate::web::parse_bool;

const DEFAULT_LIMIT: usize = 25;
const MAX_LIMIT: usize = 1000;
const MEMBER_STATUSES: [&str; 4] = ["pending", "accepted", "rejected", "all"];

/// A list request.
#[derive(Debug)]
pub(super) struct ListQuery {
    pub(super) limit: usize,
    pub(super) marker: Option<String>,
    sort: Vec<(SortKey, Direction)>,
    filters: Vec<Filter>,
    visibility: Option<String>,
    member_status: String,
    hidden: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Ascending,
    Descending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SortKey {
    Name,
    Status,
    ContainerFormat,
    DiskFormat,
    Size,
    Id,
    CreatedAt,
    UpdatedAt,
}

#[derive(Debug)]
enum Filter {
    /// One of these texts.
    Text(TextField, Vec<String>),
    Tag(String),
    Protected(bool),
    SizeMin(i64),
    SizeMax(i64),
    MinDisk(i64),
    MinRam(i64),
    Instant(InstantField, Comparison, DateTime<Utc>),
    Property(String, String),
}

#[derive(Clone, Copy, Debug)]
enum TextField {
    Id,
    Name,
    Status,
    Owner,
    Checksum,
    HashAlgorithm,
    Hash,
    DiskFormat,
    ContainerFormat,
}

#[derive(Clone, Copy, Debug)]
enum InstantField {
    CreatedAt,
    UpdatedAt,
}

#[derive(Clone, Copy, Debug)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl ListQuery {
    pub(super) fn parse(pairs: &[(String, String)]) -> Result<Self, ImageError> {
        let mut query = Self {
            limit: DEFAULT_LIMIT,
            marker: None,
            sort: parse_sort(pairs)?,
            filters: Vec::new(),
            visibility: None,
            member_status: "accepted".to_owned(),
            hidden: false,
        };
        for (key, value) in pairs {
            query.parse_pair(key, value)?;
        }
        Ok(query)
    }

    fn parse_pair(&mut self, key: &str, value: &str) -> Result<(), ImageError> {
        match key {
            "limit" => self.limit = parse_limit(value)?,
            "marker" => self.marker = Some(value.to_owned()),
            "sort" | "sort_key" | "sort_dir" => {}
            "visibility" => {
                if value != "all" && !VISIBILITIES.contains(&value) {
                    return Err(bad(format!("Invalid visibility value: {value}")));
                }
                self.visibility = Some(value.to_owned());
            }
            "member_status" => {
                if !MEMBER_STATUSES.contains(&value) {
                    return Err(bad(format!("Invalid status: {value}")));
                }
                self.member_status = value.to_owned();
            }
            "os_hidden" => self.hidden = boolean(key, value)?,
            _ => self.filters.push(parse_filter(key, value)?),
        }
        Ok(())
    }

    /// The chosen page, and whether there is more. `offers` are the statuses of what is shared with `project_id`.
    pub(super) fn page(
        &self,
        rows: Vec<ImageRow>,
        marker: Option<&ImageRow>,
        project_id: &str,
        offers: &HashMap<Uuid, String>,
    ) -> (Vec<ImageRow>, bool) {
        let mut rows: Vec<ImageRow> = rows
            .into_iter()
            .filter(|row| self.matches(row, project_id, offers))
            .filter(|row| marker.is_none_or(|marker| self.compare(row, marker) == Ordering::Greater))
            .collect();
        rows.sort_by(|one, other| self.compare(one, other));
        let has_more = rows.len() > self.limit;
        rows.truncate(self.limit);
        (rows, has_more)
    }

    fn matches(&self, row: &ImageRow, project_id: &str, offers: &HashMap<Uuid, String>) -> bool {
        row.is_hidden == self.hidden
            && self.matches_visibility(row, project_id)
            && self.matches_offer(row, project_id, offers)
            && self.filters.iter().all(|filter| filter.matches(row))
    }

    /// Other projects' community images are listed only when they are asked for.
    fn matches_visibility(&self, row: &ImageRow, project_id: &str) -> bool {
        match self.visibility.as_deref() {
            Some("all") => true,
            Some(wanted) => row.visibility == wanted,
            None => row.visibility != "community" || row.owner.as_deref() == Some(project_id),
        }
    }

    /// What is shared with a project is listed by the project's answer to the offer.
    fn matches_offer(&self, row: &ImageRow, project_id: &str, offers: &HashMap<Uuid, String>) -> bool {
        if row.visibility != "shared" || row.owner.as_deref() == Some(project_id) || self.member_status == "all" {
            return true;
        }
        // An admin sees what is not shared with the admin's own project, too.
        offers.get(&row.id).is_none_or(|status| *status == self.member_status)
    }

    fn compare(&self, one: &ImageRow, other: &ImageRow) -> Ordering {
        self.sort.iter().fold(Ordering::Equal, |ordering, (key, direction)| {
            ordering.then_with(|| match direction {
                Direction::Ascending => key.compare(one, other),
                Direction::Descending => key.compare(other, one),
            })
        })
    }
}

impl SortKey {
    fn parse(text: &str) -> Result<Self, ImageError> {
        Ok(match text {
            "name" => Self::Name,
            "status" => Self::Status,
            "container_format" => Self::ContainerFormat,
            "disk_format" => Self::DiskFormat,
            "size" => Self::Size,
            "id" => Self::Id,
            "created_at" => Self::CreatedAt,
            "updated_at" => Self::UpdatedAt,
            _ => {
                let known = "name, status, container_format, disk_format, size, id, created_at, updated_at";
                return Err(bad(format!("Invalid sort key: {text}. It must be one of the following: {known}.")));
            }
        })
    }

    fn compare(self, one: &ImageRow, other: &ImageRow) -> Ordering {
        match self {
            Self::Name => one.name.cmp(&other.name),
            Self::Status => one.status.cmp(&other.status),
            Self::ContainerFormat => one.container_format.cmp(&other.container_format),
            Self::DiskFormat => one.disk_format.cmp(&other.disk_format),
            Self::Size => one.size.cmp(&other.size),
            Self::Id => one.id.cmp(&other.id),
            Self::CreatedAt => one.created_at.cmp(&other.created_at),
            Self::UpdatedAt => one.updated_at.cmp(&other.updated_at),
        }
    }
}

impl Filter {
    fn matches(&self, row: &ImageRow) -> bool {
        match self {
            Self::Text(field, wanted) => field.of(row).is_some_and(|text| wanted.contains(&text)),
            Self::Tag(tag) => row.tags.0.contains(tag),
            Self::Protected(wanted) => row.is_protected == *wanted,
            Self::SizeMin(min) => row.size.is_some_and(|size| size >= *min),
            Self::SizeMax(max) => row.size.is_some_and(|size| size <= *max),
            Self::MinDisk(wanted) => row.min_disk == *wanted,
            Self::MinRam(wanted) => row.min_ram == *wanted,
            Self::Instant(InstantField::CreatedAt, comparison, at) => comparison.holds(row.created_at, *at),
            Self::Instant(InstantField::UpdatedAt, comparison, at) => comparison.holds(row.updated_at, *at),
            Self::Property(name, value) => row.properties.0.get(name) == Some(value),
        }
    }
}

impl TextField {
    fn of(self, row: &ImageRow) -> Option<String> {
        match self {
            Self::Id => Some(row.id.to_string()),
            Self::Name => row.name.clone(),
            Self::Status => Some(row.status.clone()),
            Self::Owner => row.owner.clone(),
            Self::Checksum => row.checksum.clone(),
            Self::HashAlgorithm => row.os_hash_algo.clone(),
            Self::Hash => row.os_hash_value.clone(),
            Self::DiskFormat => row.disk_format.clone(),
            Self::ContainerFormat => row.container_format.clone(),
        }
    }
}

impl Comparison {
    /// In whole seconds, as instants are shown.
    fn holds(self, one: DateTime<Utc>, other: DateTime<Utc>) -> bool {
        let (one, other) = (one.timestamp(), other.timestamp());
        match self {
            Self::Equal => one == other,
            Self::NotEqual => one != other,
            Self::Less => one < other,
            Self::LessOrEqual => one <= other,
            Self::Greater => one > other,
            Self::GreaterOrEqual => one >= other,
        }
    }
}

fn parse_filter(key: &str, value: &str) -> Result<Filter, ImageError> {
    let exact = |field| Ok(Filter::Text(field, vec![value.to_owned()]));
    let any_of = |field| Ok(Filter::Text(field, split_in(value)?));
    match key {
        "id" => any_of(TextField::Id),
        "name" => any_of(TextField::Name),
        "status" => any_of(TextField::Status),
        "disk_format" => any_of(TextField::DiskFormat),
        "container_format" => any_of(TextField::ContainerFormat),
        "owner" => exact(TextField::Owner),
        "checksum" => exact(TextField::Checksum),
        "os_hash_algo" => exact(TextField::HashAlgorithm),
        "os_hash_value" => exact(TextField::Hash),
        "tag" => Ok(Filter::Tag(value.to_owned())),
        "protected" => Ok(Filter::Protected(boolean(key, value)?)),
        "size_min" => Ok(Filter::SizeMin(number(key, value)?)),
        "size_max" => Ok(Filter::SizeMax(number(key, value)?)),
        "min_disk" => Ok(Filter::MinDisk(number(key, value)?)),
        "min_ram" => Ok(Filter::MinRam(number(key, value)?)),
        "created_at" => parse_instant(InstantField::CreatedAt, value),
        "updated_at" => parse_instant(InstantField::UpdatedAt, value),
        _ => Ok(Filter::Property(key.to_owned(), value.to_owned())),
    }
}

/// `in:a,"b,c"`, or the value itself.
fn split_in(value: &str) -> Result<Vec<String>, ImageError> {
    let Some(list) = value.strip_prefix("in:") else { return Ok(vec![value.to_owned()]) };
    let (mut items, mut item, mut is_quoted) = (Vec::new(), String::new(), false);
    for character in list.chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => items.push(std::mem::take(&mut item)),
            _ => item.push(character),
        }
    }
    if is_quoted {
        return Err(bad(format!("Invalid filter value {value}. The quote is not closed.")));
    }
    items.push(item);
    Ok(items)
}

fn parse_instant(field: InstantField, value: &str) -> Result<Filter, ImageError> {
    let (comparison, text) = match value.split_once(':') {
        Some(("eq", text)) => (Comparison::Equal, text),
        Some(("neq", text)) => (Comparison::NotEqual, text),
        Some(("lt", text)) => (Comparison::Less, text),
        Some(("lte", text)) => (Comparison::LessOrEqual, text),
        Some(("gt", text)) => (Comparison::Greater, text),
        Some(("gte", text)) => (Comparison::GreaterOrEqual, text),
        _ => (Comparison::Equal, value),
    };
    let zoned = DateTime::parse_from_rfc3339(text).map(|at| at.with_timezone(&Utc));
    let at = zoned.or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S").map(|at| at.and_utc()));
    Ok(Filter::Instant(field, comparison, at.map_err(|_| bad(format!("Invalid time format: {text}")))?))
}

fn parse_limit(value: &str) -> Result<usize, ImageError> {
    match value.parse::<i64>() {
        Ok(limit) => usize::try_from(limit)
            .map(|limit| limit.min(MAX_LIMIT))
            .map_err(|_| bad("limit param must be positive".to_owned())),
        Err(_) => Err(bad("limit param must be an integer".to_owned())),
    }
}

fn parse_sort(pairs: &[(String, String)]) -> Result<Vec<(SortKey, Direction)>, ImageError> {
    let values = |wanted: &str| -> Vec<&str> {
        pairs.iter().filter(|(key, _)| key == wanted).map(|(_, value)| value.as_str()).collect()
    };
    let (new, keys, directions) = (values("sort"), values("sort_key"), values("sort_dir"));
    let has_old = !keys.is_empty() || !directions.is_empty();
    if has_old && !new.is_empty() {
        return Err(bad("Old and new sorting syntax cannot be combined".to_owned()));
    }
    let mut sort = Vec::new();
    for item in new.iter().flat_map(|list| list.split(',')) {
        let (key, direction) = item.trim().split_once(':').unwrap_or((item.trim(), "desc"));
        sort.push((SortKey::parse(key)?, parse_direction(direction)?));
    }
    if directions.len() > 1 && directions.len() != keys.len() {
        return Err(bad("Number of sort dirs does not match the number of sort keys".to_owned()));
    }
    let last = directions.last().copied().unwrap_or("desc");
    for (position, key) in keys.iter().enumerate() {
        sort.push((SortKey::parse(key)?, parse_direction(directions.get(position).copied().unwrap_or(last))?));
    }
    let last = sort.last().map_or(parse_direction(last)?, |(_, direction)| *direction);
    for key in [SortKey::CreatedAt, SortKey::Id] {
        if !sort.iter().any(|(known, _)| *known == key) {
            sort.push((key, if sort.is_empty() { last } else { sort[sort.len() - 1].1 }));
        }
    }
    Ok(sort)
}

fn parse_direction(text: &str) -> Result<Direction, ImageError> {
    match text {
        "asc" => Ok(Direction::Ascending),
        "desc" => Ok(Direction::Descending),
        _ => Err(bad(format!("Invalid sort direction: {text}. It must be one of the following: asc, desc."))),
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, ImageError> {
    parse_bool(value).ok_or_else(|| {
        bad(format!("Invalid value '{value}' for '{key}' filter. Valid values are case sensitive 'true' or 'false'."))
    })
}

fn number(key: &str, value: &str) -> Result<i64, ImageError> {
    match value.parse::<i64>() {
        Ok(number) if number >= 0 => Ok(number),
        _ => Err(bad(format!("Unable to filter by {key}: '{value}' is not a number that is 0 or greater"))),
    }
}

fn bad(text: String) -> ImageError {
    ImageError::BadRequest(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_values_may_be_quoted() {
        assert_eq!(split_in("plain,text").unwrap(), ["plain,text"]);
        assert_eq!(split_in("in:a,\"b,c\",d").unwrap(), ["a", "b,c", "d"]);
        assert!(split_in("in:\"a").is_err());
    }

    #[test]
    fn the_newest_come_first_unless_asked_otherwise() {
        use Direction::{Ascending, Descending};
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let sort = |given: &[(&str, &str)]| parse_sort(&pairs(given)).unwrap();
        assert_eq!(sort(&[]), [(SortKey::CreatedAt, Descending), (SortKey::Id, Descending)]);
        let by_name = [(SortKey::Name, Ascending), (SortKey::CreatedAt, Ascending), (SortKey::Id, Ascending)];
        assert_eq!(sort(&[("sort", "name:asc")]), by_name);
        assert_eq!(sort(&[("sort_key", "name"), ("sort_dir", "asc")]), by_name);
        for wrong in [
            pairs(&[("sort", "name"), ("sort_key", "name")]),
            pairs(&[("sort", "colour")]),
            pairs(&[("sort", "name:up")]),
            pairs(&[("sort_key", "name"), ("sort_dir", "asc"), ("sort_dir", "asc")]),
        ] {
            assert!(parse_sort(&wrong).is_err(), "{wrong:?}");
        }
    }
}
