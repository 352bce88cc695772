//! The built-in identity service: Keystone's v3 API, small and real.
//!
//! Owns users, projects, roles, tokens and the service catalog of a `kilonova up` cloud. It has no groups, trusts,
//! federation or application credentials, and its catalog is computed, never stored. Called by REST clients through
//! [`IdentityService::router`] and by the other services through [`Identity`].
//!
//! ```text
//!   POST /v3/auth/tokens ─ authenticate ─ password | token ─┐
//!                                                           v
//!   X-Auth-Token ── cache ── fernet ── claims ──────────> resolve (user, scope, roles as they are now) ── Token
//! ```
//!
//! A token carries who, where and until when; names, roles and whether all that is still enabled are read from the
//! database, so every change works at once. Resolved tokens are cached until the next committed change.

mod api;
mod authenticate;
mod bootstrap;
mod cache;
mod catalog;
mod error;
mod fields;
mod keys;
mod password;
mod policy;
mod router;
mod throttle;
mod token;
mod validate;
mod view;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kilonova_clients::ClientError;
use kilonova_clients::identity::{Identity, TokenInfo};
use kilonova_db::identity::{Transaction, projects};
use kilonova_db::{Db, DbError};
use serde_json::Value;

use cache::TokenCache;
use catalog::Catalog;
use keys::KeyRepository;
use password::Passwords;
use throttle::FailedLogins;

pub use bootstrap::{Bootstrap, Bootstrapped};
pub use error::IdentityError;

/// How the identity service is set up.
#[derive(Clone, Debug)]
pub struct IdentityConfig {
    /// What clients reach this cloud under, without a path: `http://127.0.0.1:8774`.
    pub public_url: String,
    /// Where the catalog says that compute is; none: `/compute/v2.1` below `public_url`.
    pub compute_url: Option<String>,
    /// The one region: `RegionOne`.
    pub region: String,
    /// Where the Fernet keys are; made when it is missing.
    pub key_dir: PathBuf,
    /// How long a new token is good for; Keystone's default is one hour.
    pub token_ttl: Duration,
}

/// The built-in identity service.
pub struct IdentityService {
    db: Db,
    config: IdentityConfig,
    keys: KeyRepository,
    catalog: Catalog,
    cache: TokenCache,
    passwords: Passwords,
    failed_logins: Mutex<FailedLogins>,
}

impl IdentityService {
    /// Opens the service on `db`; makes Fernet keys where there are none.
    pub fn open(db: Db, config: IdentityConfig) -> Result<Arc<Self>, IdentityError> {
        Ok(Arc::new(Self {
            keys: KeyRepository::open(&config.key_dir)?,
            catalog: Catalog::new(&config.public_url, config.compute_url.as_deref(), &config.region),
            cache: TokenCache::default(),
            passwords: Passwords::default(),
            failed_logins: Mutex::default(),
            db,
            config,
        }))
    }

    /// The v3 catalog as a token for `project_id` has it. No endpoint of this cloud has a project in its URL.
    pub fn catalog(&self, _project_id: &str) -> Arc<Vec<Value>> {
        self.catalog.entries()
    }

    /// Makes a new primary key; tokens of the two keys before it stay valid.
    pub fn rotate_keys(&self) -> Result<(), IdentityError> {
        self.keys.rotate()
    }

    fn url(&self, path: &str) -> String {
        format!("{}/identity{path}", self.config.public_url)
    }

    /// Commits, and has every cached token resolved anew: whatever was changed may be part of one.
    ///
    /// Also after a failed commit, because then nobody knows whether it happened.
    async fn commit(&self, transaction: Transaction) -> Result<(), IdentityError> {
        let committed = transaction.commit().await;
        self.cache.invalidate();
        Ok(committed?)
    }

    fn failed_logins(&self) -> std::sync::MutexGuard<'_, FailedLogins> {
        self.failed_logins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for IdentityService {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("IdentityService").field("config", &self.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl Identity for IdentityService {
    async fn validate(&self, token: &str) -> Result<Arc<TokenInfo>, ClientError> {
        match self.validate_token(token).await {
            Ok(token) => Ok(token.info.clone()),
            Err(IdentityError::Unauthorized) => Err(ClientError::Unauthorized),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn project_exists(&self, project_id: &str) -> Result<bool, ClientError> {
        match projects::fetch(self.db.read(), project_id).await {
            Ok(_) => Ok(true),
            Err(DbError::NotFound { .. }) => Ok(false),
            Err(error) => Err(unavailable(error.into())),
        }
    }
}

fn unavailable(error: IdentityError) -> ClientError {
    tracing::error!(error = &error as &dyn std::error::Error, "the identity service failed");
    ClientError::unavailable("identity", error)
}
