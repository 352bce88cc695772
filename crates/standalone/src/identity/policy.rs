//! Who is calling, and what they may do: the defaults of Keystone's policy.
//!
//! `admin` on anything manages everything, as in Keystone. `reader` on the system reads everything. Anybody reads
//! themselves and what their token is scoped to.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::validate::Token;
use super::{IdentityError, IdentityService};

/// The bearer of a valid `X-Auth-Token`.
pub(crate) struct Caller {
    token: Arc<Token>,
}

impl FromRequestParts<Arc<IdentityService>> for Caller {
    type Rejection = IdentityError;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<IdentityService>) -> Result<Self, IdentityError> {
        let token = parts.headers.get("x-auth-token").and_then(|token| token.to_str().ok());
        let token = service.validate_token(token.ok_or(IdentityError::Unauthorized)?).await?;
        Ok(Self { token })
    }
}

impl Caller {
    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    pub(crate) fn user_id(&self) -> &str {
        &self.token.info.user_id
    }

    /// Where something is created that names no domain.
    pub(crate) fn default_domain_id(&self) -> String {
        self.token.info.domain_id.clone().unwrap_or_else(|| super::bootstrap::DEFAULT_DOMAIN_ID.to_owned())
    }

    fn has_role(&self, name: &str) -> bool {
        self.token.info.roles.iter().any(|role| role.eq_ignore_ascii_case(name))
    }

    fn is_admin(&self) -> bool {
        self.has_role("admin")
    }

    fn is_system_reader(&self) -> bool {
        self.token.info.is_system_scoped && self.has_role("reader")
    }

    /// For admins; `rule` is Keystone's name of what is asked for.
    pub(crate) fn manage(&self, rule: &str) -> Result<(), IdentityError> {
        self.require(self.is_admin(), rule)
    }

    /// For admins and readers of the whole system.
    pub(crate) fn read(&self, rule: &str) -> Result<(), IdentityError> {
        self.read_or(false, rule)
    }

    /// As [`Self::read`], and for whom it is their own.
    pub(crate) fn read_or(&self, is_own: bool, rule: &str) -> Result<(), IdentityError> {
        self.require(self.is_admin() || self.is_system_reader() || is_own, rule)
    }

    /// For admins, system readers, services, and the user that `subject` belongs to.
    pub(crate) fn validate(&self, subject: &Token) -> Result<(), IdentityError> {
        let is_own = subject.info.user_id == self.token.info.user_id;
        self.read_or(is_own || self.has_role("service"), "identity:validate_token")
    }

    /// For admins and the user that `subject` belongs to.
    pub(crate) fn revoke(&self, subject: &Token) -> Result<(), IdentityError> {
        let is_own = subject.info.user_id == self.token.info.user_id;
        self.require(self.is_admin() || is_own, "identity:revoke_token")
    }

    fn require(&self, allowed: bool, rule: &str) -> Result<(), IdentityError> {
        if allowed { Ok(()) } else { Err(IdentityError::NotAuthorized(rule.to_owned())) }
    }
}
