//! JSON bodies: what they must be, and the sentence for what they are not.

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::error::ApiError;
use crate::names;

pub(super) fn read_json(headers: &HeaderMap, body: &Bytes) -> Result<Value, ApiError> {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = media.unwrap_or("None");
    if media.split(';').next().map(str::trim) != Some("application/json") {
        return Err(ApiError::unsupported_media_type(media));
    }
    serde_json::from_slice(body).map_err(|error| ApiError::bad_request(format!("Malformed JSON: {error}")))
}

pub(super) fn invalid(why: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request(format!("JSON does not validate: {why}"))
}

pub(super) fn object(value: &Value) -> Result<&Map<String, Value>, ApiError> {
    value.as_object().ok_or_else(|| invalid(format!("{value} is not of type 'object'")))
}

pub(super) fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a Value, ApiError> {
    object.get(name).ok_or_else(|| invalid(format!("'{name}' is a required property")))
}

/// The generation of the provider that a change was decided on.
pub(super) fn provider_generation(body: &Map<String, Value>) -> Result<i64, ApiError> {
    integer(member(body, "resource_provider_generation")?)
}

pub(super) fn uuid(text: &str) -> Result<Uuid, ApiError> {
    text.parse().map_err(|_| invalid(format!("'{text}' is not a 'uuid'")))
}

/// A class in the key of an object; whether there is one of that name is not looked at.
pub(super) fn check_class(class: &str) -> Result<(), ApiError> {
    if !names::is_well_formed(class) {
        return Err(invalid(format!("'{class}' does not match any of the regexes: '^[A-Z0-9_]+$'")));
    }
    Ok(())
}

pub(super) fn integer(value: &Value) -> Result<i64, ApiError> {
    value.as_i64().ok_or_else(|| invalid(format!("{value} is not of type 'integer'")))
}

pub(super) fn array(value: &Value) -> Result<&[Value], ApiError> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| invalid(format!("{value} is not of type 'array'")))
}

pub(super) fn string(value: &Value) -> Result<&str, ApiError> {
    value.as_str().ok_or_else(|| invalid(format!("{value} is not of type 'string'")))
}

/// 1 to 255 characters.
pub(super) fn text(object: &Map<String, Value>, name: &str) -> Result<String, ApiError> {
    let value = member(object, name)?;
    let text = value.as_str().filter(|text| (1..=255).contains(&text.chars().count()));
    text.map(str::to_owned).ok_or_else(|| invalid(format!("{value} is not a valid {name}")))
}

pub(super) fn only(object: &Map<String, Value>, known: impl Fn(&str) -> bool) -> Result<(), ApiError> {
    match object.keys().find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => Err(invalid(format!("Additional properties are not allowed ('{name}' was unexpected)"))),
    }
}
