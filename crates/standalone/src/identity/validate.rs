//! From a token to what it means now.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use kilonova_clients::identity::TokenInfo;
use kilonova_db::DbError;
use kilonova_db::identity::assignments::{self, AssignmentFilter, Target};
use kilonova_db::identity::domains::{self, Domain};
use kilonova_db::identity::projects::{self, Project};
use kilonova_db::identity::roles::{self, ImpliedRole};
use kilonova_db::identity::{revocations, users};
use uuid::Uuid;

use super::token::{Claims, Scope};
use super::{IdentityError, IdentityService};

/// Keystone's `allow_expired_window`: how long after its end a token can still be asked for with `allow_expired`.
const ALLOW_EXPIRED_WINDOW_S: i64 = 48 * 3600;

/// A valid token: what it says, and what the database says about that.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) claims: Claims,
    /// What the other services get to see.
    pub(crate) info: Arc<TokenInfo>,
    pub(crate) user_domain_name: String,
    /// The domain that it is scoped to, or that its project is in.
    pub(crate) scope_domain: Option<DomainName>,
    /// Role ids by name, implied ones included.
    pub(crate) roles: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DomainName {
    pub(crate) id: String,
    pub(crate) name: String,
}

impl From<Domain> for DomainName {
    fn from(domain: Domain) -> Self {
        Self { id: domain.id, name: domain.name }
    }
}

/// The text form of an audit id, as Keystone's tokens show it and as revocations are stored.
pub(crate) fn audit_text(audit_id: &Uuid) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(audit_id.as_bytes())
}

impl IdentityService {
    /// The meaning of a token, from the cache or the database; 401 for one that means nothing, or nothing any more.
    pub(crate) async fn validate_token(&self, token: &str) -> Result<Arc<Token>, IdentityError> {
        if let Some(known) = self.cache.get(token) {
            return if known.claims.expires_at > Utc::now().timestamp() {
                Ok(known)
            } else {
                Err(IdentityError::Unauthorized)
            };
        }
        let claims = self.decrypt(token)?;
        if claims.expires_at <= Utc::now().timestamp() {
            return Err(IdentityError::Unauthorized);
        }
        self.resolve_and_cache(token, claims).await
    }

    /// As [`Self::validate_token`], for a service that finishes what began before the token expired.
    pub(crate) async fn validate_expired_token(&self, token: &str) -> Result<Arc<Token>, IdentityError> {
        let claims = self.decrypt(token)?;
        if claims.expires_at + ALLOW_EXPIRED_WINDOW_S <= Utc::now().timestamp() {
            return Err(IdentityError::Unauthorized);
        }
        let token = self.resolve(claims).await?;
        token.map(Arc::new).ok_or(IdentityError::Unauthorized)
    }

    pub(crate) async fn resolve_and_cache(&self, token: &str, claims: Claims) -> Result<Arc<Token>, IdentityError> {
        let revision = self.cache.revision();
        let resolved = Arc::new(self.resolve(claims).await?.ok_or(IdentityError::Unauthorized)?);
        self.cache.insert(token, revision, resolved.clone());
        Ok(resolved)
    }

    fn decrypt(&self, token: &str) -> Result<Claims, IdentityError> {
        self.keys.decrypt(token).and_then(|payload| Claims::decode(&payload)).ok_or(IdentityError::Unauthorized)
    }

    /// `None` when the token was revoked, or when its user, its scope or its last role is gone or disabled.
    async fn resolve(&self, claims: Claims) -> Result<Option<Token>, IdentityError> {
        let conn = self.db.read();
        let audit_ids: Vec<String> =
            [Some(&claims.audit_id), claims.parent_audit_id.as_ref()].into_iter().flatten().map(audit_text).collect();
        if revocations::is_revoked(conn, &audit_ids).await? {
            return Ok(None);
        }
        let Some(user) = found(users::fetch(conn, &claims.user_id).await)? else { return Ok(None) };
        if !user.enabled || user.token_generation != claims.generation {
            return Ok(None);
        }
        let Some(user_domain) = self.enabled_domain(&user.domain_id).await? else { return Ok(None) };
        let Some((project, scope_domain)) = self.enabled_scope(&claims.scope).await? else { return Ok(None) };
        let roles = match target(&claims.scope) {
            Some(target) => self.effective_roles(&user.id, target).await?,
            None => BTreeMap::new(),
        };
        if roles.is_empty() && claims.scope != Scope::Unscoped {
            return Ok(None);
        }
        let project = project.as_ref();
        let info = TokenInfo {
            user_id: user.id,
            user_name: user.name,
            user_domain_id: user.domain_id,
            project_id: project.map(|project| project.id.clone()),
            project_name: project.map(|project| project.name.clone()),
            project_domain_id: project.map(|project| project.domain_id.clone()),
            domain_id: if let Scope::Domain(id) = &claims.scope { Some(id.clone()) } else { None },
            is_system_scoped: claims.scope == Scope::System,
            roles: roles.keys().cloned().collect(),
            expires_at: DateTime::from_timestamp(claims.expires_at, 0).ok_or(IdentityError::Unauthorized)?,
            catalog: if claims.scope == Scope::Unscoped { Arc::default() } else { self.catalog.entries() },
        };
        let scope_domain = scope_domain.map(DomainName::from);
        Ok(Some(Token { claims, info: Arc::new(info), user_domain_name: user_domain.name, scope_domain, roles }))
    }

    async fn enabled_domain(&self, id: &str) -> Result<Option<Domain>, IdentityError> {
        Ok(found(domains::fetch(self.db.read(), id).await)?.filter(|domain| domain.enabled))
    }

    /// The project and the domain of a scope; `None` when one of them is gone or disabled.
    async fn enabled_scope(&self, scope: &Scope) -> Result<Option<(Option<Project>, Option<Domain>)>, IdentityError> {
        Ok(match scope {
            Scope::Unscoped | Scope::System => Some((None, None)),
            Scope::Domain(id) => self.enabled_domain(id).await?.map(|domain| (None, Some(domain))),
            Scope::Project(id) => {
                let project = found(projects::fetch(self.db.read(), id).await)?;
                let Some(project) = project.filter(|project| project.enabled) else { return Ok(None) };
                self.enabled_domain(&project.domain_id).await?.map(|domain| (Some(project), Some(domain)))
            }
        })
    }

    /// Role ids by name: the assigned ones and what they imply.
    pub(crate) async fn effective_roles(
        &self,
        user_id: &str,
        target: Target,
    ) -> Result<BTreeMap<String, String>, IdentityError> {
        let conn = self.db.read();
        let filter = AssignmentFilter { user_id: Some(user_id.to_owned()), target: Some(target), role_id: None };
        let assigned = assignments::list(conn, &filter).await?;
        if assigned.is_empty() {
            return Ok(BTreeMap::new());
        }
        let implications = roles::implications(conn).await?;
        let mut names: HashMap<String, String> =
            roles::list(conn, None).await?.into_iter().map(|role| (role.id, role.name)).collect();
        let ids = with_implied(assigned.into_iter().map(|assignment| assignment.role_id), &implications);
        Ok(ids.into_keys().filter_map(|id| names.remove(&id).map(|name| (name, id))).collect())
    }
}

/// The roles and all that they imply, at any distance; each with the role that brought it in, if it was implied.
pub(crate) fn with_implied(
    roles: impl IntoIterator<Item = String>,
    implications: &[ImpliedRole],
) -> BTreeMap<String, Option<String>> {
    let mut all: BTreeMap<String, Option<String>> = roles.into_iter().map(|role| (role, None)).collect();
    let mut unexplored: Vec<String> = all.keys().cloned().collect();
    while let Some(prior) = unexplored.pop() {
        for implication in implications.iter().filter(|implication| implication.prior_role_id == prior) {
            if !all.contains_key(&implication.implied_role_id) {
                all.insert(implication.implied_role_id.clone(), Some(prior.clone()));
                unexplored.push(implication.implied_role_id.clone());
            }
        }
    }
    all
}

pub(crate) fn target(scope: &Scope) -> Option<Target> {
    match scope {
        Scope::Unscoped => None,
        Scope::Project(id) => Some(Target::Project(id.clone())),
        Scope::Domain(id) => Some(Target::Domain(id.clone())),
        Scope::System => Some(Target::System),
    }
}

/// What is not there is no failure here.
pub(crate) fn found<T>(fetched: Result<T, DbError>) -> Result<Option<T>, IdentityError> {
    match fetched {
        Ok(row) => Ok(Some(row)),
        Err(DbError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::token::Methods;
    use super::*;

    pub(crate) fn token() -> Token {
        let claims = Claims {
            methods: Methods::default(),
            user_id: "u".to_owned(),
            scope: Scope::Unscoped,
            generation: 0,
            issued_at: 0,
            expires_at: i64::MAX,
            audit_id: Uuid::nil(),
            parent_audit_id: None,
        };
        let info = TokenInfo {
            user_id: "u".to_owned(),
            user_name: "u".to_owned(),
            user_domain_id: "default".to_owned(),
            project_id: None,
            project_name: None,
            project_domain_id: None,
            domain_id: None,
            is_system_scoped: false,
            roles: Vec::new(),
            expires_at: DateTime::<Utc>::MAX_UTC,
            catalog: Arc::default(),
        };
        Token {
            claims,
            info: Arc::new(info),
            user_domain_name: String::new(),
            scope_domain: None,
            roles: BTreeMap::new(),
        }
    }

    fn implies(prior: &str, implied: &str) -> ImpliedRole {
        ImpliedRole { prior_role_id: prior.to_owned(), implied_role_id: implied.to_owned() }
    }

    fn expand(roles: &[&str], implications: &[ImpliedRole]) -> Vec<(String, Option<String>)> {
        with_implied(roles.iter().map(|role| (*role).to_owned()), implications).into_iter().collect()
    }

    #[test]
    fn roles_are_implied_at_any_distance_each_by_its_nearest_prior() {
        let chain = [implies("admin", "manager"), implies("manager", "member"), implies("member", "reader")];
        let (manager, member) = (Some("manager".to_owned()), Some("member".to_owned()));
        assert_eq!(
            expand(&["admin"], &chain),
            [
                ("admin".to_owned(), None),
                ("manager".to_owned(), Some("admin".to_owned())),
                ("member".to_owned(), manager),
                ("reader".to_owned(), member.clone()),
            ]
        );
        assert_eq!(expand(&["reader"], &chain), [("reader".to_owned(), None)]);
        // What is assigned itself is not called implied.
        assert_eq!(expand(&["reader", "member"], &chain), [("member".to_owned(), None), ("reader".to_owned(), None)]);
    }

    #[test]
    fn a_circle_of_implications_ends() {
        let circle = [implies("a", "b"), implies("b", "a")];
        assert_eq!(expand(&["a"], &circle), [("a".to_owned(), None), ("b".to_owned(), Some("a".to_owned()))]);
    }
}
