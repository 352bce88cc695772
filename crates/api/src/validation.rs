//! JSON Schemas with Nova's formats, and Nova's sentence for the first error.
//!
//! The sentences of the validator itself are those of Python's jsonschema package, as clients see them:
//! `Invalid input for field/attribute name. Value: x. 'x' is too long`.

mod formats;
pub(crate) use formats::parse_isotime;
mod python;
mod sentences;

use jsonschema::{Keyword, Validator};
use serde_json::{Map, Value, json};

use crate::call::Query;
use crate::error::ApiError;

/// A compiled schema.
pub(crate) struct Schema {
    source: Value,
    validator: Validator,
}

impl Schema {
    /// Compiles a schema of this crate; that each of them compiles is shown by a test.
    pub(crate) fn compile(source: Value) -> Self {
        let options = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .should_validate_formats(true)
            .with_keyword("minimum", |_, limit, _| Ok(Box::new(Bound { limit: limit.clone(), is_minimum: true })))
            .with_keyword("maximum", |_, limit, _| Ok(Box::new(Bound { limit: limit.clone(), is_minimum: false })));
        let validator = formats::register(options).build(&source);
        Self { validator: validator.expect("the crate's own schemas compile, which a test shows"), source }
    }

    /// Checks a body. The legacy API drops what it does not know instead of refusing it.
    pub(crate) fn check_body(&self, body: &mut Value, legacy: bool) -> Result<(), ApiError> {
        if legacy {
            drop_unknown(&self.source, body);
        }
        if self.validator.is_valid(body) {
            return Ok(());
        }
        Err(self.refusal(body, "field/attribute", |path| path.last().cloned()))
    }

    /// Checks a query string and, where unknown parameters are let through, drops them.
    pub(crate) fn check_query(&self, query: &mut Query) -> Result<(), ApiError> {
        let mut object: Map<String, Value> = Map::new();
        for (name, value) in &query.0 {
            let values = object.entry(name.clone()).or_insert_with(|| json!([]));
            if let Some(values) = values.as_array_mut() {
                values.push(json!(value));
            }
        }
        let object = Value::Object(object);
        if !self.validator.is_valid(&object) {
            return Err(self.refusal(&object, "query parameters", |path| path.first().cloned()));
        }
        // All patterns of query strings are beginnings of names.
        let patterns = self.source["patternProperties"].as_object().into_iter().flat_map(Map::keys);
        let prefixes: Vec<&str> = patterns.map(|pattern| pattern.trim_start_matches('^')).chain(["_"]).collect();
        let has_prefix = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let known = |name: &str| self.source["properties"].get(name).is_some() || has_prefix(name);
        query.0.retain(|(name, _)| known(name));
        Ok(())
    }

    fn refusal(&self, instance: &Value, what: &str, name: fn(&[String]) -> Option<String>) -> ApiError {
        ApiError::BadRequest(sentences::first(&self.validator, &self.source, instance, what, name))
    }
}

/// What is wrong with a tag that came in the path, if anything is.
pub(crate) fn tag_error(tag: &str) -> Option<String> {
    let schema = Schema::compile(crate::schemas::parameter_types::tag());
    schema.check_body(&mut json!(tag), false).err().map(|error| error.to_string())
}

/// Drops the properties that an object schema neither names nor lets through. Where none is named at all the object is
/// left alone, so that it is refused.
fn drop_unknown(schema: &Value, instance: &mut Value) {
    match instance {
        Value::Object(object) => {
            let Some(properties) = schema["properties"].as_object() else { return };
            let closed = schema["additionalProperties"] == json!(false) && schema.get("patternProperties").is_none();
            if closed && object.keys().any(|name| properties.contains_key(name)) {
                object.retain(|name, _| properties.contains_key(name));
            }
            for (name, value) in object.iter_mut() {
                if let Some(schema) = properties.get(name) {
                    drop_unknown(schema, value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| drop_unknown(&schema["items"], item)),
        _ => {}
    }
}

/// `minimum` and `maximum` that also look at numbers in strings, as Nova's do.
struct Bound {
    limit: Value,
    is_minimum: bool,
}

impl<'i> Keyword<'i> for Bound {
    fn validate(&self, instance: &'i Value) -> Result<(), jsonschema::ValidationError<'i>> {
        if Keyword::is_valid(self, instance) {
            return Ok(());
        }
        let than = if self.is_minimum { "less than the minimum" } else { "greater than the maximum" };
        let number = instance.as_str().map_or_else(|| python::repr(instance), str::to_owned);
        Err(jsonschema::ValidationError::custom(format!("{number} is {than} of {}", python::repr(&self.limit))))
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        let number = match instance {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse::<f64>().ok(),
            _ => None,
        };
        match (number, self.limit.as_f64()) {
            (Some(number), Some(limit)) if self.is_minimum => number >= limit,
            (Some(number), Some(limit)) => number <= limit,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(schema: Value, instance: Value) -> String {
        Schema::compile(schema).check_body(&mut instance.clone(), false).unwrap_err().to_string()
    }

    fn object(name: &str, schema: Value) -> Value {
        json!({"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": false})
    }

    #[test]
    fn errors_read_as_nova_writes_them() {
        let name = object("name", json!({"type": "string", "minLength": 1, "maxLength": 3}));
        assert_eq!(
            sentence(name.clone(), json!({"name": "abcd"})),
            "Invalid input for field/attribute name. Value: abcd. 'abcd' is too long"
        );
        assert_eq!(
            sentence(name.clone(), json!({"name": 3})),
            "Invalid input for field/attribute name. Value: 3. 3 is not of type 'string'"
        );
        assert_eq!(
            sentence(name.clone(), json!({"name": ""})),
            "Invalid input for field/attribute name. Value: . '' should be non-empty"
        );
        assert_eq!(sentence(name.clone(), json!({})), "'name' is a required property");
        assert_eq!(sentence(name.clone(), Value::Null), "None is not of type 'object'");
        assert_eq!(
            sentence(object("server", name), json!({"server": {"name": "a", "x": 1, "y": 2}})),
            "Invalid input for field/attribute server. Value: {'name': 'a', 'x': 1, 'y': 2}. \
             Additional properties are not allowed ('x', 'y' were unexpected)"
        );
    }

    #[test]
    fn bounds_hold_for_numbers_in_strings_too() {
        let count = object("min_count", json!({"type": ["integer", "string"], "pattern": "^[0-9]*$", "minimum": 1}));
        assert_eq!(
            sentence(count.clone(), json!({"min_count": "0"})),
            "Invalid input for field/attribute min_count. Value: 0. 0 is less than the minimum of 1"
        );
        assert!(Schema::compile(count).check_body(&mut json!({"min_count": "2"}), false).is_ok());
    }

    #[test]
    fn the_legacy_api_drops_what_it_does_not_know() {
        let schema = object("server", object("name", json!({"type": "string"})));
        let mut body = json!({"server": {"name": "a", "colour": "blue"}, "more": 1});
        Schema::compile(schema.clone()).check_body(&mut body, true).unwrap();
        assert_eq!(body, json!({"server": {"name": "a"}}));
        assert!(Schema::compile(schema).check_body(&mut json!({"colour": "blue"}), true).is_err());
    }

    #[test]
    fn a_query_is_named_by_its_parameter() {
        let mut query = Query(vec![("limit".into(), "x".into()), ("other".into(), "y".into())]);
        let schema = Schema::compile(json!({
            "type": "object",
            "properties": {"limit": {"type": "array", "items": {"type": "string", "pattern": "^[0-9]+$"}}},
            "additionalProperties": true,
        }));
        let error = schema.check_query(&mut query).unwrap_err().to_string();
        assert_eq!(error, "Invalid input for query parameters limit. Value: x. 'x' does not match '^[0-9]+$'");
        query.0[0].1 = "3".into();
        schema.check_query(&mut query).unwrap();
        assert_eq!(query.0, [("limit".to_owned(), "3".to_owned())]);
    }
}
