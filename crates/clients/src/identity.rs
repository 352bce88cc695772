//! Identity (Keystone): who has this token.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use kilonova_core::RequestContext;
use serde_json::{Map, Value, json};

use crate::ClientError;

/// What a valid token says.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenInfo {
    /// User id.
    pub user_id: String,
    /// User name.
    pub user_name: String,
    /// Domain id of the user.
    pub user_domain_id: String,
    /// The project it is scoped to, if it is.
    pub project_id: Option<String>,
    /// Name of that project.
    pub project_name: Option<String>,
    /// Domain id of that project.
    pub project_domain_id: Option<String>,
    /// The domain it is scoped to, if it is.
    pub domain_id: Option<String>,
    /// Scoped to the system.
    pub is_system_scoped: bool,
    /// Role names, implied ones included.
    pub roles: Vec<String>,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// The v3 catalog.
    pub catalog: Arc<Vec<Value>>,
}

/// Service types that compute calls in the caller's name; only these travel in a context's `service_catalog`.
const CALLED_SERVICES: [&str; 8] =
    ["image", "block-storage", "volumev3", "key-manager", "placement", "network", "accelerator", "sharev2"];

impl TokenInfo {
    /// The security context of a request that came with this token.
    pub fn context(&self, token: &str) -> RequestContext {
        let project_id = self.project_id.as_deref().unwrap_or_default();
        let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        RequestContext {
            project: self.project_id.clone(),
            project_id: self.project_id.clone(),
            project_name: self.project_name.clone(),
            user_name: Some(self.user_name.clone()),
            system_scope: self.is_system_scoped.then(|| "all".to_owned()),
            domain: self.domain_id.clone(),
            user_domain: Some(self.user_domain_id.clone()),
            project_domain: self.project_domain_id.clone(),
            is_admin: self.roles.iter().any(|role| role.eq_ignore_ascii_case("admin")),
            auth_token: Some(token.to_owned()),
            roles: self.roles.clone(),
            user_identity: Some(format!(
                "{} {} {} {} {}",
                self.user_id,
                dash(&self.project_id),
                dash(&self.domain_id),
                self.user_domain_id,
                dash(&self.project_domain_id)
            )),
            service_catalog: self.catalog.iter().filter_map(v2_entry).collect(),
            ..RequestContext::new(&self.user_id, project_id)
        }
    }
}

/// A v3 catalog entry in the v2 style that Nova puts into its contexts.
fn v2_entry(service: &Value) -> Option<Value> {
    let service_type = service.get("type")?.as_str()?;
    if !CALLED_SERVICES.contains(&service_type) {
        return None;
    }
    let mut endpoint = Map::new();
    for v3 in service.get("endpoints")?.as_array()? {
        if let (Some(interface), Some(url)) = (v3["interface"].as_str(), v3["url"].as_str()) {
            endpoint.insert(format!("{interface}URL"), json!(url));
        }
        endpoint.insert("region".to_owned(), v3["region"].clone());
    }
    Some(json!({"type": service_type, "name": service["name"], "endpoints": [endpoint]}))
}

/// What compute asks of identity.
#[async_trait]
pub trait Identity: Send + Sync + 'static {
    /// Validates a token. [`ClientError::Unauthorized`] for one that is unknown, expired or revoked.
    async fn validate(&self, token: &str) -> Result<Arc<TokenInfo>, ClientError>;

    /// Whether a project exists.
    async fn project_exists(&self, project_id: &str) -> Result<bool, ClientError>;
}
