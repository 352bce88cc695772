//! Tokens that are known in advance.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::{Duration, Utc};

use crate::ClientError;
use crate::identity::{Identity, TokenInfo};

/// An identity service that knows the tokens it was given.
#[derive(Debug, Default)]
pub struct FakeIdentity {
    tokens: Mutex<HashMap<String, Arc<TokenInfo>>>,
}

impl FakeIdentity {
    /// One that knows nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `token` valid for an hour, for the user `<token>-user` with these roles in a project.
    #[must_use]
    pub fn with_token(self, token: &str, project_id: &str, roles: &[&str]) -> Self {
        self.grant(token, project_id, roles);
        self
    }

    /// The same, later.
    pub fn grant(&self, token: &str, project_id: &str, roles: &[&str]) {
        let info = TokenInfo {
            user_id: format!("{token}-user"),
            user_name: token.to_owned(),
            user_domain_id: "default".to_owned(),
            project_id: Some(project_id.to_owned()),
            project_name: Some(project_id.to_owned()),
            project_domain_id: Some("default".to_owned()),
            domain_id: None,
            is_system_scoped: false,
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            expires_at: Utc::now() + Duration::hours(1),
            catalog: Arc::new(Vec::new()),
        };
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(token.to_owned(), Arc::new(info));
    }

    /// Makes a token invalid.
    pub fn revoke(&self, token: &str) {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).remove(token);
    }
}

#[async_trait]
impl Identity for FakeIdentity {
    async fn validate(&self, token: &str) -> Result<Arc<TokenInfo>, ClientError> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(token).cloned().ok_or(ClientError::Unauthorized)
    }

    /// A project exists if some token is scoped to it.
    async fn project_exists(&self, project_id: &str) -> Result<bool, ClientError> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(tokens.values().any(|token| token.project_id.as_deref() == Some(project_id)))
    }
}
