//! Setting one attribute of an image: types, limits, what is read-only. Create and patch use it.

use kilonova_db::image::ImageRow;
use serde_json::Value;

use super::error::ImageError;

pub(super) const CONTAINER_FORMATS: [&str; 8] = ["ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"];
pub(super) const DISK_FORMATS: [&str; 11] =
    ["ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"];
pub(super) const VISIBILITIES: [&str; 4] = ["community", "public", "private", "shared"];
const READ_ONLY: [&str; 13] = [
    "status",
    "size",
    "virtual_size",
    "checksum",
    "os_hash_algo",
    "os_hash_value",
    "created_at",
    "updated_at",
    "self",
    "file",
    "schema",
    "direct_url",
    "stores",
];
const RESERVED: [&str; 4] = ["deleted", "deleted_at", "is_public", "locations"];
const BASE: [&str; 10] = [
    "id",
    "name",
    "visibility",
    "protected",
    "os_hidden",
    "owner",
    "min_disk",
    "min_ram",
    "disk_format",
    "container_format",
];

pub(super) const MAX_TEXT: usize = 255;
const MAX_PROPERTIES: usize = 128;
const MAX_TAGS: usize = 128;

/// An attribute that every image has, whether or not it can be set.
pub(super) fn is_base(name: &str) -> bool {
    name == "tags" || BASE.contains(&name) || READ_ONLY.contains(&name) || RESERVED.contains(&name)
}

/// Refuses attributes that a user never sets.
pub(super) fn ensure_settable(name: &str) -> Result<(), ImageError> {
    if READ_ONLY.contains(&name) {
        return Err(ImageError::Forbidden(format!("Attribute '{name}' is read-only.")));
    }
    if RESERVED.contains(&name) {
        return Err(ImageError::Forbidden(format!("Attribute '{name}' is reserved.")));
    }
    Ok(())
}

/// Sets an attribute other than `id`. Whether the caller may is the policy's affair.
pub(super) fn set(row: &mut ImageRow, name: &str, value: &Value) -> Result<(), ImageError> {
    ensure_settable(name)?;
    match name {
        "name" => row.name = optional_text(value)?,
        "owner" => row.owner = optional_text(value)?,
        "visibility" => row.visibility = one_of(value, &VISIBILITIES)?.to_owned(),
        "protected" => row.is_protected = boolean(value)?,
        "os_hidden" => row.is_hidden = boolean(value)?,
        "min_disk" => row.min_disk = size(value)?,
        "min_ram" => row.min_ram = size(value)?,
        "disk_format" => row.disk_format = optional_one_of(value, &DISK_FORMATS)?,
        "container_format" => row.container_format = optional_one_of(value, &CONTAINER_FORMATS)?,
        "tags" => row.tags.0 = tags(value)?.into_iter().collect(),
        _ => set_property(row, name, value)?,
    }
    ensure_tag_limit(row)
}

fn set_property(row: &mut ImageRow, name: &str, value: &Value) -> Result<(), ImageError> {
    let value = value.as_str().ok_or_else(|| wrong_type(value, "'string'"))?;
    if name.is_empty() || name.chars().count() > MAX_TEXT {
        return Err(invalid(&format!("the name of property '{name}' is not 1 to {MAX_TEXT} characters long")));
    }
    row.properties.0.insert(name.to_owned(), value.to_owned());
    let attempted = row.properties.0.len();
    if attempted > MAX_PROPERTIES {
        return Err(ImageError::TooLarge(format!(
            "The limit has been exceeded on the number of allowed image properties. Attempted: {attempted}, Maximum: {MAX_PROPERTIES}"
        )));
    }
    Ok(())
}

/// Refuses more tags than an image may have.
pub(super) fn ensure_tag_limit(row: &ImageRow) -> Result<(), ImageError> {
    let attempted = row.tags.0.len();
    if attempted > MAX_TAGS {
        return Err(ImageError::TooLarge(format!(
            "The limit has been exceeded on the number of allowed image tags. Attempted: {attempted}, Maximum: {MAX_TAGS}"
        )));
    }
    Ok(())
}

fn tags(value: &Value) -> Result<Vec<String>, ImageError> {
    value
        .as_array()
        .ok_or_else(|| wrong_type(value, "'array'"))?
        .iter()
        .map(|tag| text(tag).map(str::to_owned))
        .collect()
}

fn text(value: &Value) -> Result<&str, ImageError> {
    let text = value.as_str().ok_or_else(|| wrong_type(value, "'string'"))?;
    if text.chars().count() > MAX_TEXT {
        return Err(invalid(&format!("{value} is too long")));
    }
    Ok(text)
}

fn optional_text(value: &Value) -> Result<Option<String>, ImageError> {
    if value.is_null() {
        return Ok(None);
    }
    if !value.is_string() {
        return Err(wrong_type(value, "'null', 'string'"));
    }
    Ok(Some(text(value)?.to_owned()))
}

fn one_of<'a>(value: &'a Value, allowed: &[&str]) -> Result<&'a str, ImageError> {
    match value.as_str() {
        Some(text) if allowed.contains(&text) => Ok(text),
        _ => Err(invalid(&format!("{value} is not one of ['{}']", allowed.join("', '")))),
    }
}

fn optional_one_of(value: &Value, allowed: &[&str]) -> Result<Option<String>, ImageError> {
    if value.is_null() { Ok(None) } else { Ok(Some(one_of(value, allowed)?.to_owned())) }
}

fn boolean(value: &Value) -> Result<bool, ImageError> {
    value.as_bool().ok_or_else(|| wrong_type(value, "'boolean'"))
}

fn size(value: &Value) -> Result<i64, ImageError> {
    let number = value.as_i64().ok_or_else(|| wrong_type(value, "'integer'"))?;
    if number < 0 {
        return Err(invalid(&format!("{number} is less than the minimum of 0")));
    }
    if number > i64::from(i32::MAX) {
        return Err(invalid(&format!("{number} is greater than the maximum of {}", i32::MAX)));
    }
    Ok(number)
}

fn wrong_type(value: &Value, types: &str) -> ImageError {
    invalid(&format!("{value} is not of type {types}"))
}

/// A value that does not fit the schema.
pub(super) fn invalid(reason: &str) -> ImageError {
    ImageError::BadRequest(format!("Provided object does not match schema 'image': {reason}"))
}
