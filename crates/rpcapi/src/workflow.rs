//! What the API hands to the conductor beside the message: the payload of a build's workflow row. A message is only a
//! nudge; with this the conductor can do the work when the message was lost.

use kilonova_core::RequestContext;
use kilonova_objects::{Instance, NetworkRequestList, Selection, Wire, WireError};
use serde_json::{Map, Value, json};

use crate::RpcMethod;

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

/// Only step of a resize or a cold migration; the server's task says how far it is.
pub const STEP_COLD_MIGRATE: &str = "cold_migrate";
/// Only step of a live migration; the status of its record says how far it is.
pub const STEP_LIVE_MIGRATE: &str = "live_migrate";
/// Only step of an evacuation.
pub const STEP_EVACUATE: &str = "evacuate";
/// Only step of a confirmation.
pub const STEP_CONFIRM_RESIZE: &str = "confirm_resize";
/// Only step of a revert.
pub const STEP_REVERT_RESIZE: &str = "revert_resize";

/// All that a move needs and that is in no other row.
#[derive(Clone, Debug, Default)]
pub struct MovePayload {
    /// Who asked, without the token.
    pub context: RequestContext,
    /// The record of the move, once there is one.
    pub migration_id: Option<i64>,
    /// The arguments of the message that asks for it, but for the instance, which is read anew.
    pub arguments: Map<String, Value>,
}

impl MovePayload {
    /// For a move that `method` asks for.
    pub fn of<M: RpcMethod>(context: &RequestContext, migration_id: Option<i64>, method: &M) -> Self {
        let mut arguments = method.to_args();
        arguments.remove(INSTANCE);
        Self { context: context.clone(), migration_id, arguments }
    }

    /// The message again, for `instance` as it is now.
    pub fn method<M: RpcMethod>(&self, instance: &Instance) -> Result<M, WireError> {
        let mut arguments = self.arguments.clone();
        arguments.insert(INSTANCE.to_owned(), instance.to_wire());
        M::from_args(&arguments)
    }

    /// For the row.
    pub fn to_value(&self) -> Value {
        json!({
            "context": lasting(&self.context),
            "migration_id": self.migration_id,
            "arguments": self.arguments,
        })
    }

    /// From the row.
    pub fn from_value(value: &Value) -> Result<Self, WireError> {
        let map = value.as_object().ok_or_else(|| WireError::type_of("a move's payload", value))?;
        let arguments = map.get("arguments").and_then(Value::as_object).cloned().unwrap_or_default();
        Ok(Self { context: context_of(map, value)?, migration_id: field(map, "migration_id")?, arguments })
    }
}

const INSTANCE: &str = "instance";

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
    fn a_move_is_asked_for_again_with_the_instance_of_now() {
        let mut context = RequestContext::new("u", "p");
        context.auth_token = Some("secret".to_owned());
        let asked = crate::compute::StopInstance { instance: Instance::default(), clean_shutdown: true };
        let payload = MovePayload::of(&context, Some(7), &asked);
        let value = payload.to_value();
        assert!(!value.to_string().contains("secret"));
        let again = MovePayload::from_value(&value).unwrap();
        assert_eq!((again.migration_id, again.to_value()), (Some(7), value));
        let now = Instance { host: Some("elsewhere".to_owned()), ..Instance::default() };
        let method: crate::compute::StopInstance = again.method(&now).unwrap();
        assert!(method.clean_shutdown);
        assert_eq!(method.instance.host, now.host);
    }

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
