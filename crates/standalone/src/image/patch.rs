//! `PATCH` of an image: Glance's dialects of JSON patch, 2.1 (as RFC 6902) and 2.0 (the operation is the key).

use kilonova_core::RequestContext;
use kilonova_db::image::ImageRow;
use serde_json::{Map, Value};

use super::attributes;
use super::error::ImageError;
use super::policy::ensure_may_set;

/// The media types, newest first.
pub(super) const MEDIA_TYPES: [&str; 2] =
    ["application/openstack-images-v2.1-json-patch", "application/openstack-images-v2.0-json-patch"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Add,
    Replace,
    Remove,
}

/// One step of a patch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    operation: Operation,
    name: String,
    value: Value,
}

/// Parses a patch of the media type.
pub(super) fn parse(media_type: &str, body: &Value) -> Result<Vec<Change>, ImageError> {
    let is_old = media_type == MEDIA_TYPES[1];
    let steps = body.as_array().ok_or_else(|| bad("Request body must be a JSON array of operation objects."))?;
    steps.iter().map(|step| parse_step(step, is_old)).collect()
}

fn parse_step(step: &Value, is_old: bool) -> Result<Change, ImageError> {
    let step = step.as_object().ok_or_else(|| bad("Operations must be JSON objects."))?;
    let (operation, path) = if is_old { old_operation(step)? } else { operation(step)? };
    let name = parse_path(path)?;
    let value = match (operation, step.get("value")) {
        (Operation::Remove, _) => Value::Null,
        (_, Some(value)) => value.clone(),
        (_, None) => return Err(bad("Unable to find 'value' in JSON Schema change")),
    };
    Ok(Change { operation, name, value })
}

fn operation(step: &Map<String, Value>) -> Result<(Operation, &str), ImageError> {
    let operation = match step.get("op").and_then(Value::as_str) {
        Some("add") => Operation::Add,
        Some("replace") => Operation::Replace,
        Some("remove") => Operation::Remove,
        Some(other) => {
            return Err(bad(&format!(
                "Invalid operation: `{other}`. It must be one of the following: add, remove, replace."
            )));
        }
        None => return Err(bad("Unable to find 'op' in JSON Schema change")),
    };
    let path = step.get("path").and_then(Value::as_str);
    Ok((operation, path.ok_or_else(|| bad("Unable to find 'path' in JSON Schema change"))?))
}

fn old_operation(step: &Map<String, Value>) -> Result<(Operation, &str), ImageError> {
    let known = [("add", Operation::Add), ("replace", Operation::Replace), ("remove", Operation::Remove)];
    let mut found = known.iter().filter_map(|(key, operation)| Some((*operation, step.get(*key)?.as_str()?)));
    match (found.next(), found.next()) {
        (Some(found), None) => Ok(found),
        _ => Err(bad("Operation objects must contain exactly one member named \"add\", \"remove\", or \"replace\".")),
    }
}

/// A JSON pointer with one step.
fn parse_path(path: &str) -> Result<String, ImageError> {
    let name = path.strip_prefix('/').ok_or_else(|| bad(&format!("Pointer `{path}` does not start with \"/\".")))?;
    if name.is_empty() || name.contains('/') {
        return Err(bad(&format!("Invalid JSON pointer for this resource: '{path}'")));
    }
    Ok(name.replace("~1", "/").replace("~0", "~"))
}

fn bad(text: &str) -> ImageError {
    ImageError::BadRequest(text.to_owned())
}

/// Applies the steps in order. On an error `row` is half changed and must be thrown away.
pub(super) fn apply(context: &RequestContext, row: &mut ImageRow, changes: &[Change]) -> Result<(), ImageError> {
    changes.iter().try_for_each(|change| apply_one(context, row, change))
}

fn apply_one(context: &RequestContext, row: &mut ImageRow, change: &Change) -> Result<(), ImageError> {
    let name = change.name.as_str();
    attributes::ensure_settable(name)?;
    if name == "id" {
        return Err(ImageError::Forbidden("Attribute 'id' is read-only.".to_owned()));
    }
    let exists = attributes::is_base(name) || row.properties.0.contains_key(name);
    if change.operation != Operation::Add && !exists {
        return Err(ImageError::Conflict(format!("Property {name} does not exist.")));
    }
    if change.operation == Operation::Remove {
        return remove(row, name);
    }
    if matches!(name, "disk_format" | "container_format") && row.status != "queued" {
        return Err(ImageError::Forbidden(format!("Attribute {name} can be only replaced for a queued image.")));
    }
    ensure_may_set(context, name, &change.value)?;
    attributes::set(row, name, &change.value)
}

fn remove(row: &mut ImageRow, name: &str) -> Result<(), ImageError> {
    if attributes::is_base(name) {
        return Err(ImageError::Forbidden(format!("Property {name} may not be removed.")));
    }
    row.properties.0.remove(name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_dialects_say_the_same() {
        let new = json!([{"op": "replace", "path": "/a~1b~0", "value": "x"}, {"op": "remove", "path": "/c"}]);
        let old = json!([{"replace": "/a~1b~0", "value": "x"}, {"remove": "/c"}]);
        let changes = parse(MEDIA_TYPES[0], &new).unwrap();
        assert_eq!(changes, parse(MEDIA_TYPES[1], &old).unwrap());
        assert_eq!(changes[0].name, "a/b~");
        assert_eq!((changes[1].operation, changes[1].name.as_str()), (Operation::Remove, "c"));
    }

    #[test]
    fn nonsense_is_refused() {
        for nonsense in [
            json!({}),
            json!([1]),
            json!([{"path": "/a", "value": "x"}]),
            json!([{"op": "move", "path": "/a", "from": "/b"}]),
            json!([{"op": "add", "path": "a", "value": "x"}]),
            json!([{"op": "add", "path": "/", "value": "x"}]),
            json!([{"op": "add", "path": "/tags/0", "value": "x"}]),
            json!([{"op": "add", "path": "/a"}]),
        ] {
            assert!(matches!(parse(MEDIA_TYPES[0], &nonsense), Err(ImageError::BadRequest(_))), "{nonsense}");
        }
        assert!(parse(MEDIA_TYPES[1], &json!([{"add": "/a", "remove": "/a", "value": "x"}])).is_err());
    }
}
