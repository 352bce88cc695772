//! What the API hands to the conductor beside the message: the payload of a build's workflow row. A message is only a
//! nudge; with this the conductor can do the work when the message was lost.

use kilonova_core::RequestContext;
use kilonova_objects::{NetworkRequestList, Selection, Wire, WireError};
use serde_json::{Map, Value, json};

/// First step of a build: no host is chosen yet.
pub const STEP_SCHEDULE: &str = "schedule";
/// Second step of a build: a host was chosen and asked.
pub const STEP_BUILD: &str = "build";
/// Only step of a delete.
pub const STEP_TERMINATE: &str = "terminate";

/// Only step of an unshelve: no host is chosen yet.
pub const STEP_UNSHELVE: &str = "unshelve";

/// All that an unshelve needs and that is in no other row.
#[derive(Clone, Debug, Default)]
pub struct UnshelvePayload {
    /// Who asked; without the token.
    pub context: RequestContext,
    /// The only host that the server may go to.
    pub host: Option<String>,
}

impl UnshelvePayload {
    /// For the row.
    pub fn to_value(&self) -> Value {
        json!({"context": lasting(&self.context), "host": self.host})
    }

    /// From the row.
    pub fn from_value(value: &Value) -> Result<Self, WireError> {
        let map = value.as_object().ok_or_else(|| WireError::type_of("an unshelve payload", value))?;
        Ok(Self { context: context_of(map, value)?, host: field(map, "host")? })
    }
}

/// A context without what may be over when the work is taken up again.
fn lasting(context: &RequestContext) -> Map<String, Value> {
    let mut context = context.clone();
    context.auth_token = None;
    context.service_catalog = Vec::new();
    context.to_map()
}

fn context_of(map: &Map<String, Value>, payload: &Value) -> Result<RequestContext, WireError> {
    let context = map.get("context").and_then(Value::as_object).cloned().unwrap_or_default();
    RequestContext::from_map(context).map_err(|_| WireError::type_of("a context", payload))
}

/// All that a build needs and that is in no other row. It goes with the row when the build is done.
#[derive(Clone, Debug, Default)]
pub struct BuildPayload {
    /// Who asked; without the token, which may be over when the work is taken up again.
    pub context: RequestContext,
    /// Image properties as the message carries them.
    pub image: Value,
    /// The server's password.
    pub admin_password: Option<String>,
    /// `[path, base64]` pairs.
    pub injected_files: Vec<Value>,
    /// The networks asked for.
    pub requested_networks: Option<NetworkRequestList>,
    /// Security groups by name or id.
    pub security_groups: Vec<String>,
    /// The chosen host and its alternates, once there is one.
    pub selections: Vec<Selection>,
}

impl BuildPayload {
    /// For the row.
    pub fn to_value(&self) -> Value {
        json!({
            "context": lasting(&self.context),
            "image": self.image,
            "admin_password": self.admin_password,
            "injected_files": self.injected_files,
            "requested_networks": self.requested_networks.to_wire(),
            "security_groups": self.security_groups,
            "selections": self.selections.to_wire(),
        })
    }

    /// From the row.
    pub fn from_value(value: &Value) -> Result<Self, WireError> {
        let map = value.as_object().ok_or_else(|| WireError::type_of("a build payload", value))?;
        Ok(Self {
            context: context_of(map, value)?,
            image: field(map, "image")?,
            admin_password: field(map, "admin_password")?,
            injected_files: field(map, "injected_files")?,
            requested_networks: field(map, "requested_networks")?,
            security_groups: field(map, "security_groups")?,
            selections: field(map, "selections")?,
        })
    }
}

fn field<T: Wire>(map: &Map<String, Value>, name: &'static str) -> Result<T, WireError> {
    map.get(name).map_or_else(|| T::when_unset().ok_or(WireError::Missing), T::from_wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_kept_whole_but_for_the_token() {
        let mut context = RequestContext::new("u", "p");
        context.auth_token = Some("secret".to_owned());
        let payload = BuildPayload {
            context,
            image: json!({"id": "x"}),
            admin_password: Some("pw".to_owned()),
            injected_files: vec![json!(["/a", "YQ=="])],
            requested_networks: Some(NetworkRequestList::default()),
            security_groups: vec!["default".to_owned()],
            selections: vec![Selection { nodename: "n".to_owned(), ..Selection::default() }],
        };
        let value = payload.to_value();
        assert!(!value.to_string().contains("secret"));
        assert_eq!(BuildPayload::from_value(&value).unwrap().to_value(), value);
    }
}
