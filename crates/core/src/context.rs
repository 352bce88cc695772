//! Who asks: the security context that travels with every request and every RPC message.
//!
//! On the wire each key is prefixed `_context_` (the messaging crate does that); the names and shapes are
//! oslo.context's as Nova uses them, so a Python service reads our contexts and we read its.

use chrono::Utc;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::time::strtime;

/// The security context of one request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestContext {
    /// The same as `user_id`, under oslo.context's older name.
    pub user: Option<String>,
    /// Identity's id of the caller; null for a service acting on its own.
    pub user_id: Option<String>,
    /// The same as `project_id`, under oslo.context's older name.
    pub project: Option<String>,
    /// The project that the token is scoped to.
    pub project_id: Option<String>,
    /// Name of that project.
    pub project_name: Option<String>,
    /// Name of the caller.
    pub user_name: Option<String>,
    /// `all` for a system-scoped token.
    pub system_scope: Option<String>,
    /// Domain scope.
    pub domain: Option<String>,
    /// Domain of the user.
    pub user_domain: Option<String>,
    /// Domain of the project.
    pub project_domain: Option<String>,
    /// May do everything: `context_is_admin` held when the context was made.
    pub is_admin: bool,
    /// oslo.context's flag; Nova leaves it true.
    pub is_admin_project: bool,
    /// Unused by Nova, kept for the wire.
    pub read_only: bool,
    /// Unused by Nova, kept for the wire.
    pub show_deleted: bool,
    /// `no`, `yes` or `only`: whether queries see deleted rows.
    pub read_deleted: String,
    /// The caller's token, so that a service down the line can act for the caller.
    pub auth_token: Option<String>,
    /// `req-<uuid>` of this request.
    pub request_id: Option<String>,
    /// The request id that the caller sent in `X-OpenStack-Request-ID`.
    pub global_request_id: Option<String>,
    /// Unused by Nova, kept for the wire.
    pub resource_uuid: Option<String>,
    /// Role names, implied roles included.
    pub roles: Vec<String>,
    /// `user project domain user_domain project_domain`, `-` for what is absent.
    pub user_identity: Option<String>,
    /// Address of the HTTP client.
    pub remote_address: Option<String>,
    /// When the context was made: microseconds, no zone.
    pub timestamp: Option<String>,
    /// Quota class, if the deployment uses them.
    pub quota_class: Option<String>,
    /// v2-style catalog entries of the services that compute calls in the caller's name.
    pub service_catalog: Vec<Value>,
}

impl RequestContext {
    /// A context for a caller with a token.
    pub fn new(user_id: &str, project_id: &str) -> Self {
        Self {
            user: Some(user_id.to_owned()),
            user_id: Some(user_id.to_owned()),
            project: Some(project_id.to_owned()),
            project_id: Some(project_id.to_owned()),
            user_identity: Some(format!("{user_id} {project_id} - - -")),
            ..Self::bare()
        }
    }

    /// A service acting on its own: no user, all rights.
    pub fn admin() -> Self {
        Self { is_admin: true, ..Self::bare() }
    }

    fn bare() -> Self {
        Self {
            is_admin_project: true,
            read_deleted: "no".to_owned(),
            request_id: Some(new_request_id()),
            timestamp: Some(strtime(Utc::now())),
            ..Self::default()
        }
    }

    /// The same caller with all rights, for what a service does in the caller's name.
    pub fn elevated(&self) -> Self {
        let mut context = Self { is_admin: true, ..self.clone() };
        if !context.roles.iter().any(|role| role.eq_ignore_ascii_case("admin")) {
            context.roles.push("admin".to_owned());
        }
        context
    }

    /// `request_id`, or the empty string; for logs.
    pub fn request_id(&self) -> &str {
        self.request_id.as_deref().unwrap_or_default()
    }

    /// The project that the caller acts for, or the empty string for a service of its own.
    pub fn project_id(&self) -> &str {
        self.project_id.as_deref().unwrap_or_default()
    }

    /// The caller, or the empty string for a service of its own.
    pub fn user_id(&self) -> &str {
        self.user_id.as_deref().unwrap_or_default()
    }

    /// The keys as they travel, without the `_context_` prefix.
    pub fn to_map(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            // A struct of strings, booleans and JSON values always becomes an object.
            _ => Map::new(),
        }
    }

    /// From what travelled; unknown keys are ignored, as other services add their own.
    pub fn from_map(map: Map<String, Value>) -> Result<Self, serde_json::Error> {
        serde_json::from_value(Value::Object(map))
    }
}

/// `req-<uuid>`, the form that every OpenStack log and client knows.
pub fn new_request_id() -> String {
    format!("req-{}", uuid::Uuid::new_v4())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_context_survives_the_wire_and_unknown_keys_are_ignored() {
        let context = RequestContext::new("u", "p");
        let mut map = context.to_map();
        map.insert("traceparent".to_owned(), json!("00-ab"));
        assert_eq!(RequestContext::from_map(map).unwrap(), context);
    }

    #[test]
    fn elevation_adds_the_admin_role_once() {
        let context = RequestContext::new("u", "p").elevated().elevated();
        assert!(context.is_admin);
        assert_eq!(context.roles, ["admin"]);
    }
}
