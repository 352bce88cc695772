//! Which error is told, and in which words.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use super::formats;
use super::python::{repr, repr_str, str};

/// The sentence for the error that Python's validator meets first: it descends into the properties before it looks at
/// what an object lacks or has too much.
pub(super) fn first(
    validator: &Validator,
    schema: &Value,
    instance: &Value,
    what: &str,
    name: fn(&[String]) -> Option<String>,
) -> String {
    let mut errors: Vec<(Vec<String>, ValidationError<'_>)> =
        validator.iter_errors(instance).map(|error| (path(&error), error)).collect();
    errors.sort_by(|(a, left), (b, right)| deeper_first(a, b).then(rank(left.kind()).cmp(&rank(right.kind()))));
    let Some((path, error)) = errors.first() else {
        return "The server could not comply with the request since it is either malformed or otherwise incorrect."
            .to_owned();
    };
    if let Kind::Format { format } = error.kind()
        && let Some(reason) = name_reason(format)
    {
        return format!("An invalid 'name' value was provided. The name must be: {reason}");
    }
    let message = message(error, instance_at(instance, path), schema);
    match name(path) {
        Some(name) => {
            format!("Invalid input for {what} {name}. Value: {}. {message}", str(instance_at(instance, path)))
        }
        None => message,
    }
}

fn path(error: &ValidationError<'_>) -> Vec<String> {
    let unescape = |part: &str| part.replace("~1", "/").replace("~0", "~");
    error.instance_path().as_str().split('/').skip(1).map(unescape).collect()
}

fn instance_at<'a>(instance: &'a Value, path: &[String]) -> &'a Value {
    path.iter().fold(instance, |value, part| match value {
        Value::Array(items) => part.parse::<usize>().ok().and_then(|at| items.get(at)).unwrap_or(&Value::Null),
        other => &other[part.as_str()],
    })
}

/// What is inside goes before what it is in; siblings keep their order.
fn deeper_first(a: &[String], b: &[String]) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    let common = a.iter().zip(b).take_while(|(left, right)| left == right).count();
    match (a.get(common), b.get(common)) {
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(left), Some(right)) => left.cmp(right),
        (None, None) => Ordering::Equal,
    }
}

/// The order of keywords in Nova's schemas.
fn rank(kind: &Kind) -> u8 {
    match kind {
        Kind::Type { .. } => 0,
        Kind::Enum { .. } => 1,
        Kind::Format { .. } | Kind::Pattern { .. } => 2,
        Kind::Required { .. } => 4,
        Kind::AdditionalProperties { .. } => 5,
        _ => 3,
    }
}

fn name_reason(format: &str) -> Option<&'static str> {
    match format {
        "name" => Some(formats::NAME),
        "name_with_leading_trailing_spaces" => Some(formats::SPACED_NAME),
        "az_name_with_leading_trailing_spaces" => Some(formats::SPACED_AZ_NAME),
        "az_name" => Some(formats::AZ_NAME),
        _ => None,
    }
}

/// The words of Python's jsonschema.
fn message(error: &ValidationError<'_>, instance: &Value, schema: &Value) -> String {
    let value = repr(instance);
    let short = |limit: u64| if limit == 1 { "should be non-empty" } else { "is too short" };
    let long = |limit: u64| if limit == 0 { "is expected to be empty" } else { "is too long" };
    match error.kind() {
        Kind::Type { kind } => format!("{value} is not of type {}", types(kind)),
        Kind::Enum { options } => format!("{value} is not one of {}", repr(options)),
        Kind::Format { format } if format == "description" => format!("{value} does not match the allowed characters"),
        Kind::Format { format } => format!("{value} is not a {}", repr_str(format)),
        Kind::Pattern { pattern } => format!("{value} does not match {}", repr_str(pattern)),
        Kind::MinLength { limit } | Kind::MinItems { limit } => format!("{value} {}", short(*limit)),
        Kind::MaxLength { limit } | Kind::MaxItems { limit } => format!("{value} {}", long(*limit)),
        Kind::MinProperties { limit: 1 } => format!("{value} should be non-empty"),
        Kind::MinProperties { .. } => format!("{value} does not have enough properties"),
        Kind::MaxProperties { .. } => format!("{value} has too many properties"),
        Kind::UniqueItems => format!("{value} has non-unique elements"),
        Kind::Required { property } => format!("{} is a required property", repr(property)),
        Kind::AdditionalProperties { unexpected } => additional(unexpected, error, schema),
        Kind::OneOfNotValid { .. } | Kind::AnyOf { .. } => {
            format!("{value} is not valid under any of the given schemas")
        }
        Kind::OneOfMultipleValid { .. } => format!("{value} is valid under more than one of the given schemas"),
        Kind::Custom { message, .. } => message.clone(),
        _ => error.to_string(),
    }
}

fn types(kind: &TypeKind) -> String {
    let names: Vec<String> = match kind {
        TypeKind::Single(one) => vec![one.to_string()],
        TypeKind::Multiple(several) => several.iter().map(|one| one.to_string()).collect(),
    };
    names.iter().map(|name| repr_str(name)).collect::<Vec<_>>().join(", ")
}

fn additional(unexpected: &[String], error: &ValidationError<'_>, schema: &Value) -> String {
    let mut names = unexpected.to_vec();
    names.sort();
    let names = names.iter().map(|name| repr_str(name)).collect::<Vec<_>>().join(", ");
    let object = error.schema_path().as_str().rsplit_once('/').and_then(|(parent, _)| schema.pointer(parent));
    let patterns = object.and_then(|object| object.get("patternProperties")?.as_object());
    match patterns {
        Some(patterns) => {
            let verb = if unexpected.len() == 1 { "does" } else { "do" };
            let patterns = patterns.keys().map(|pattern| repr_str(pattern)).collect::<Vec<_>>().join(", ");
            format!("{names} {verb} not match any of the regexes: {patterns}")
        }
        None => {
            let verb = if unexpected.len() == 1 { "was" } else { "were" };
            format!("Additional properties are not allowed ({names} {verb} unexpected)")
        }
    }
}
