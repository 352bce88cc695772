//! Request bodies, read attribute by attribute with Keystone's schemas and sentences.

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};

use super::IdentityError;

/// Keystone's `max_request_body_size`, in bytes.
const MAX_BODY: usize = 114_688;
/// What of a bad value goes into a message, in characters.
const MAX_SHOWN: usize = 256;

/// A JSON object as request body; an absent body is an empty object.
pub(crate) struct JsonBody(pub(crate) Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = IdentityError;

    async fn from_request(request: Request<Body>, _state: &S) -> Result<Self, IdentityError> {
        let is_json = match request.headers().get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or("?")) {
            None | Some("") => true,
            Some(kind) => {
                kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
            }
        };
        let bytes = to_bytes(request.into_body(), MAX_BODY).await;
        let bytes = bytes.map_err(|_| IdentityError::TooLarge { limit: MAX_BODY })?;
        if bytes.is_empty() {
            return Ok(Self(Map::new()));
        }
        if !is_json {
            return Err(IdentityError::expecting("application/json", "Content-Type header"));
        }
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            _ => Err(IdentityError::expecting("valid JSON", "request body")),
        }
    }
}

impl JsonBody {
    /// The one member that the body of a create or an update has.
    pub(crate) fn member(self, name: &'static str) -> Result<Fields, IdentityError> {
        let mut body = self.0;
        let member = body.remove(name);
        if let Some(other) = body.keys().next() {
            return Err(IdentityError::Invalid(format!(
                "Additional properties are not allowed ({} was unexpected)",
                repr(&json!(other))
            )));
        }
        match member {
            Some(Value::Object(values)) => Ok(Fields { path: name, values }),
            Some(other) => Err(wrong_type(name, &other, "object")),
            None => Err(IdentityError::Invalid(format!("'{name}' is a required property"))),
        }
    }
}

/// The attributes of a resource in a request. Each is taken once; what nobody takes is left for `extra`.
#[derive(Clone)]
pub(crate) struct Fields {
    path: &'static str,
    values: Map<String, Value>,
}

impl Fields {
    /// Refuses an update that says nothing.
    pub(crate) fn not_empty(self) -> Result<Self, IdentityError> {
        if self.values.is_empty() { Err(self.invalid("", "{} should be non-empty")) } else { Ok(self) }
    }

    /// Refuses an update that is meant for another resource.
    pub(crate) fn matching_id(mut self, id: &str) -> Result<Self, IdentityError> {
        match self.values.remove("id") {
            None | Some(Value::Null) => Ok(self),
            Some(Value::String(given)) if given == id => Ok(self),
            Some(_) => Err(IdentityError::Invalid("Cannot change ID".to_owned())),
        }
    }

    pub(crate) fn required_name(&mut self, max_length: usize) -> Result<String, IdentityError> {
        let missing = self.invalid("", "'name' is a required property");
        self.name(max_length)?.ok_or(missing)
    }

    /// A name, without the white space around it.
    pub(crate) fn name(&mut self, max_length: usize) -> Result<Option<String>, IdentityError> {
        let Some(value) = self.values.remove("name") else { return Ok(None) };
        let Value::String(name) = &value else { return Err(self.wrong_type("name", &value, "string")) };
        let complaint = match name.trim() {
            _ if name.is_empty() => "'' should be non-empty".to_owned(),
            _ if name.chars().count() > max_length => format!("{} is too long", repr(&value)),
            "" => format!("{} does not match '[\\\\S]+'", repr(&value)),
            name => return Ok(Some(name.to_owned())),
        };
        Err(self.invalid("name", &complaint))
    }

    /// An attribute that is a text or `null`: the outer `None` when it is not there.
    pub(crate) fn text(&mut self, key: &str) -> Result<Option<Option<String>>, IdentityError> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(Value::String(text)) => Ok(Some(Some(text))),
            Some(other) => Err(self.wrong_type(key, &other, "string', 'null")),
        }
    }

    /// A password or `null`. Its value is in no message.
    pub(crate) fn password(&mut self) -> Result<Option<Option<String>>, IdentityError> {
        match self.values.remove("password") {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(Value::String(password)) => checked_password(password).map(|password| Some(Some(password))),
            Some(_) => Err(self.invalid("password", "it is not of type 'string', 'null'")),
        }
    }

    /// An id; `null` is as good as none.
    pub(crate) fn id(&mut self, key: &str) -> Result<Option<String>, IdentityError> {
        let Some(id) = self.text(key)?.flatten() else { return Ok(None) };
        let is_id = (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if is_id {
            return Ok(Some(id));
        }
        Err(self.invalid(key, &format!("{} does not match '^[a-zA-Z0-9-]+$'", repr(&json!(id)))))
    }

    /// A boolean, also one spelled out.
    pub(crate) fn flag(&mut self, key: &str) -> Result<Option<bool>, IdentityError> {
        let Some(value) = self.values.remove(key) else { return Ok(None) };
        let flag = match &value {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) => parse_bool(text),
            _ => None,
        };
        match flag {
            Some(flag) => Ok(Some(flag)),
            None => Err(self.wrong_type(key, &value, "boolean")),
        }
    }

    /// The options of a resource: booleans, or `null` to unset one.
    pub(crate) fn options(&mut self, known: &[&str]) -> Result<Option<Map<String, Value>>, IdentityError> {
        match self.values.remove("options") {
            None => Ok(None),
            Some(Value::Object(options)) => {
                for (name, value) in &options {
                    let path = format!("options/{name}");
                    if !known.contains(&name.as_str()) {
                        let complaint =
                            format!("Additional properties are not allowed ({} was unexpected)", repr(&json!(name)));
                        return Err(self.invalid("options", &complaint));
                    }
                    if !matches!(value, Value::Bool(_) | Value::Null) {
                        return Err(self.wrong_type(&path, value, "boolean', 'null"));
                    }
                }
                Ok(Some(options))
            }
            Some(other) => Err(self.wrong_type("options", &other, "object")),
        }
    }

    /// Distinct tags without comma or slash.
    pub(crate) fn tags(&mut self) -> Result<Option<Value>, IdentityError> {
        let Some(value) = self.values.remove("tags") else { return Ok(None) };
        let Value::Array(tags) = value else { return Err(self.wrong_type("tags", &value, "array")) };
        for (index, tag) in tags.iter().enumerate() {
            let path = format!("tags/{index}");
            let Some(text) = tag.as_str() else { return Err(self.wrong_type(&path, tag, "string")) };
            let complaint = match text {
                "" => "'' should be non-empty".to_owned(),
                _ if text.chars().count() > 255 => format!("{} is too long", repr(tag)),
                _ if text.contains([',', '/']) => format!("{} does not match '^[^,/]*$'", repr(tag)),
                _ if tags[..index].contains(tag) => format!("{} is not unique", repr(tag)),
                _ => continue,
            };
            return Err(self.invalid(&path, &complaint));
        }
        Ok(Some(Value::Array(tags)))
    }

    /// What nobody took: attributes that are kept for the client, less the ones that the service itself shows.
    pub(crate) fn extra(mut self) -> Map<String, Value> {
        for computed in ["id", "links", "password_expires_at", "original_password"] {
            self.values.remove(computed);
        }
        self.values
    }

    /// All that was not taken.
    pub(crate) fn into_values(self) -> Map<String, Value> {
        self.values
    }

    fn wrong_type(&self, key: &str, value: &Value, expected: &str) -> IdentityError {
        self.invalid(key, &format!("{} is not of type '{expected}'", repr(value)))
    }

    pub(crate) fn invalid(&self, key: &str, complaint: &str) -> IdentityError {
        let path = if key.is_empty() { self.path.to_owned() } else { format!("{}/{key}", self.path) };
        IdentityError::Invalid(format!("Invalid input for field '{path}': {complaint}"))
    }
}

/// Keystone's limit on the length of passwords.
pub(crate) fn checked_password(password: String) -> Result<String, IdentityError> {
    let limit = super::password::MAX_PASSWORD_LENGTH;
    if password.len() <= limit {
        return Ok(password);
    }
    Err(IdentityError::Forbidden(format!(
        "The password length must be less than or equal to {limit}. The server could not comply with the request \
         because the password is invalid."
    )))
}

pub(crate) fn wrong_type(path: &str, value: &Value, expected: &str) -> IdentityError {
    IdentityError::Invalid(format!("Invalid input for field '{path}': {} is not of type '{expected}'", repr(value)))
}

/// What oslo.utils takes for a boolean.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" | "y" | "on" => Some(true),
        "false" | "f" | "0" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

/// A value as Python shows it, for the messages that clients know; cut when it is long.
fn repr(value: &Value) -> String {
    let shown = match value {
        Value::String(text) => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Null => "None".to_owned(),
        other => other.to_string(),
    };
    match shown.char_indices().nth(MAX_SHOWN) {
        Some((cut, _)) => format!("{}...", &shown[..cut]),
        None => shown,
    }
}

/// Merges an update into stored attributes.
pub(crate) fn merge(stored: &mut Value, update: Map<String, Value>) {
    match stored {
        Value::Object(stored) => stored.extend(update),
        other => *other = Value::Object(update),
    }
}

/// Merges an update into stored options; `null` unsets one.
pub(crate) fn merge_options(stored: &mut Value, update: Map<String, Value>) {
    merge(stored, update);
    if let Value::Object(options) = stored {
        options.retain(|_, value| !value.is_null());
    }
}

/// Refuses to change or to remove a resource whose option `immutable` is set, unless the change unsets it.
pub(crate) fn check_mutable(
    options: &Value,
    update: Option<&Map<String, Value>>,
    (verb, resource, id): (&str, &str, &str),
) -> Result<(), IdentityError> {
    let unset = update.and_then(|update| update.get("immutable")).is_some_and(|value| value != &json!(true));
    if options["immutable"] != json!(true) || unset {
        return Ok(());
    }
    Err(IdentityError::Forbidden(format!(
        "Unable to {verb} immutable {resource} resource: `{id}. Set resource option \"immutable\" to false first."
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(value: Value) -> Fields {
        JsonBody(json!({"user": value}).as_object().unwrap().clone()).member("user").ok().unwrap()
    }

    fn message<T>(result: Result<T, IdentityError>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn names_are_checked_as_keystones_schema_does() {
        let name = |value: Value| fields(json!({"name": value})).required_name(5);
        assert_eq!(name(json!(" bob ")).unwrap(), "bob");
        assert_eq!(message(name(json!(5))), "Invalid input for field 'user/name': 5 is not of type 'string'");
        assert_eq!(message(name(json!(""))), "Invalid input for field 'user/name': '' should be non-empty");
        assert_eq!(message(name(json!("123456"))), "Invalid input for field 'user/name': '123456' is too long");
        assert_eq!(message(name(json!("  "))), "Invalid input for field 'user/name': '  ' does not match '[\\\\S]+'");
        let missing = message(fields(json!({})).required_name(5));
        assert_eq!(missing, "Invalid input for field 'user': 'name' is a required property");
    }

    #[test]
    fn a_body_without_its_member_or_with_another_one_is_refused() {
        let body = |value: Value| JsonBody(value.as_object().unwrap().clone()).member("user");
        assert_eq!(message(body(json!({}))), "'user' is a required property");
        assert_eq!(message(body(json!({"user": 1}))), "Invalid input for field 'user': 1 is not of type 'object'");
        let unexpected = message(body(json!({"user": {}, "usr": {}})));
        assert_eq!(unexpected, "Additional properties are not allowed ('usr' was unexpected)");
    }

    #[test]
    fn a_password_is_in_no_message() {
        let message = message(fields(json!({"password": ["hunter2"]})).password());
        assert_eq!(message, "Invalid input for field 'user/password': it is not of type 'string', 'null'");
    }

    #[test]
    fn flags_may_be_spelled_out() {
        let flag = |value: Value| fields(json!({"enabled": value})).flag("enabled");
        assert_eq!(flag(json!(false)).unwrap(), Some(false));
        assert_eq!(flag(json!("True")).unwrap(), Some(true));
        assert!(flag(json!("maybe")).is_err());
        assert!(flag(json!(null)).is_err());
    }

    #[test]
    fn tags_are_distinct_texts_without_separators() {
        let tags = |value: Value| fields(json!({"tags": value})).tags();
        assert_eq!(tags(json!(["a", "b"])).unwrap(), Some(json!(["a", "b"])));
        for bad in [json!("a"), json!([1]), json!([""]), json!(["a,b"]), json!(["a/b"]), json!(["a", "a"])] {
            assert!(tags(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_long_value_is_cut_in_the_message() {
        let message = message(fields(json!({"name": "x".repeat(10_000)})).required_name(255));
        assert!(message.len() < 350, "{}", message.len());
    }
}
