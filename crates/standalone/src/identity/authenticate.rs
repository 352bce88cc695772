//! `POST /v3/auth/tokens`: from a proof of identity and a wish for a scope to a new token.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use kilonova_db::DbError;
use kilonova_db::identity::domains::{self, Domain};
use kilonova_db::identity::projects;
use kilonova_db::identity::users::{self, User};
use kilonova_db::identity::{Resource, lock};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::fields::wrong_type;
use super::password::MAX_PASSWORD_LENGTH;
use super::token::{Claims, Methods, Scope};
use super::validate::{Token, found, target};
use super::{IdentityError, IdentityService};

/// A thing that a request names by id, or by name and maybe domain.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reference {
    Id(String),
    Name { name: String, domain: Option<Box<Reference>> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum RequestedScope {
    /// Nothing was said: the default project, if the user has one.
    Default,
    Unscoped,
    Project(Reference),
    Domain(Reference),
    System,
}

/// What the body of a request for a token says, checked for form only.
pub(crate) struct AuthRequest {
    password: Option<(Reference, String)>,
    token: Option<String>,
    scope: RequestedScope,
}

/// Who it is, once that is proven.
struct Proven {
    user: User,
    methods: Methods,
    /// Set when a token was the proof.
    token: Option<Arc<Token>>,
}

impl AuthRequest {
    pub(crate) fn parse(mut body: Map<String, Value>) -> Result<Self, IdentityError> {
        let auth = body.remove("auth").filter(|auth| !auth.is_null());
        let auth = auth.ok_or_else(|| IdentityError::expecting("auth", "request body"))?;
        let auth = object(&auth, "auth")?;
        let identity = auth.get("identity");
        let identity =
            identity.ok_or_else(|| IdentityError::Invalid("'identity' is a required property".to_owned()))?;
        let identity = object(identity, "identity")?;
        let mut request = Self { password: None, token: None, scope: parse_scope(auth.get("scope"))? };
        for method in methods(identity)? {
            let data = identity.get(method).ok_or_else(|| IdentityError::expecting(method, "identity"));
            match method {
                "password" => request.password = Some(parse_password(data?)?),
                "token" => {
                    let data = object(data?, "identity/token")?;
                    let id = data.get("id").ok_or_else(|| {
                        IdentityError::Invalid(
                            "Invalid input for field 'identity/token': 'id' is a required property".to_owned(),
                        )
                    })?;
                    request.token = Some(text(id, "identity/token/id")?.to_owned());
                }
                _ => return Err(IdentityError::UnsupportedMethod),
            }
        }
        Ok(request)
    }
}

fn methods(identity: &Map<String, Value>) -> Result<Vec<&str>, IdentityError> {
    let methods = identity.get("methods").ok_or_else(|| {
        IdentityError::Invalid("Invalid input for field 'identity': 'methods' is a required property".to_owned())
    })?;
    let Value::Array(methods) = methods else { return Err(wrong_type("identity/methods", methods, "array")) };
    methods.iter().map(|method| text(method, "identity/methods")).collect()
}

fn parse_password(data: &Value) -> Result<(Reference, String), IdentityError> {
    let user = object(data, "identity/password")?.get("user");
    let user = object(user.ok_or_else(|| IdentityError::expecting("user", "password"))?, "identity/password/user")?;
    let password = match user.get("password") {
        Some(Value::String(password)) => password.clone(),
        Some(_) => {
            // Whatever it is, it is no business of a message.
            return Err(IdentityError::Invalid(
                "Invalid input for field 'identity/password/user/password': it is not of type 'string'".to_owned(),
            ));
        }
        None => return Err(IdentityError::expecting("password", "user")),
    };
    let reference = parse_reference(user, "identity/password/user")?;
    if matches!(reference, Reference::Name { domain: None, .. }) {
        return Err(IdentityError::expecting("domain", "user"));
    }
    Ok((reference, password))
}

fn parse_scope(scope: Option<&Value>) -> Result<RequestedScope, IdentityError> {
    const KINDS: [&str; 5] = ["project", "domain", "unscoped", "system", "OS-TRUST:trust"];
    let invalid = || IdentityError::expecting("system, project, domain, OS-TRUST:trust or unscoped", "scope");
    let scope = match scope {
        None => return Ok(RequestedScope::Default),
        Some(Value::String(text)) if text == "unscoped" => return Ok(RequestedScope::Unscoped),
        Some(Value::Object(scope)) => scope,
        Some(Value::String(_)) => return Err(invalid()),
        Some(other) => return Err(wrong_type("scope", other, "object', 'string")),
    };
    let mut named = KINDS.into_iter().filter_map(|kind| scope.get(kind).map(|value| (kind, value)));
    let (Some((kind, value)), None) = (named.next(), named.next()) else { return Err(invalid()) };
    match kind {
        "unscoped" => Ok(RequestedScope::Unscoped),
        "project" => {
            let reference = parse_reference(object(value, "scope/project")?, "scope/project")?;
            if matches!(reference, Reference::Name { domain: None, .. }) {
                return Err(IdentityError::expecting("domain", "project"));
            }
            Ok(RequestedScope::Project(reference))
        }
        "domain" => Ok(RequestedScope::Domain(parse_reference(object(value, "scope/domain")?, "scope/domain")?)),
        "system" if object(value, "scope/system")?.get("all") == Some(&Value::Bool(true)) => Ok(RequestedScope::System),
        "system" => Err(IdentityError::expecting("all", "system")),
        _ => Err(IdentityError::NotImplemented),
    }
}

/// By name if there is one, as Keystone prefers it.
fn parse_reference(fields: &Map<String, Value>, path: &str) -> Result<Reference, IdentityError> {
    let field = |key: &str| {
        let value = fields.get(key).filter(|value| !value.is_null());
        value.map(|value| text(value, &format!("{path}/{key}")).map(str::to_owned)).transpose()
    };
    let domain = match fields.get("domain").filter(|domain| !domain.is_null()) {
        Some(domain) => {
            let path = format!("{path}/domain");
            Some(Box::new(parse_reference(object(domain, &path)?, &path)?))
        }
        None => None,
    };
    let id = field("id")?;
    match (field("name")?, id) {
        // A user is looked up by id when both are given; of projects and domains only one is ever sent.
        (_, Some(id)) => Ok(Reference::Id(id)),
        (Some(name), None) => Ok(Reference::Name { name, domain }),
        (None, None) => {
            Err(IdentityError::Invalid(format!("Invalid input for field {path}: id or name must be present.")))
        }
    }
}

fn object<'a>(value: &'a Value, path: &str) -> Result<&'a Map<String, Value>, IdentityError> {
    value.as_object().ok_or_else(|| wrong_type(path, value, "object"))
}

fn text<'a>(value: &'a Value, path: &str) -> Result<&'a str, IdentityError> {
    value.as_str().ok_or_else(|| wrong_type(path, value, "string"))
}

impl IdentityService {
    /// Issues a token, or tells nothing but that it does not.
    pub(crate) async fn authenticate(
        &self,
        request: AuthRequest,
        peer: Option<SocketAddr>,
    ) -> Result<(String, Arc<Token>), IdentityError> {
        let proven = self.prove(&request, peer).await?;
        let scope = self.scope(&proven, &request.scope).await?;
        let now = Utc::now().timestamp();
        let parent = proven.token.as_ref().map(|token| &token.claims);
        let ttl = i64::try_from(self.config.token_ttl.as_secs()).unwrap_or(i64::MAX);
        let claims = Claims {
            methods: parent.map_or(proven.methods, |parent| proven.methods.union(parent.methods)),
            // The generation of the row whose password was compared: a change in between ends this token, too.
            generation: proven.user.token_generation,
            user_id: proven.user.id,
            scope,
            issued_at: now,
            expires_at: parent.map_or(now.saturating_add(ttl), |parent| parent.expires_at),
            audit_id: Uuid::new_v4(),
            parent_audit_id: parent.map(|parent| parent.parent_audit_id.unwrap_or(parent.audit_id)),
        };
        let payload = claims.encode().ok_or_else(|| IdentityError::Token(claims.user_id.clone()))?;
        let token = self.keys.encrypt(&payload);
        let resolved = self.resolve_and_cache(&token, claims).await;
        if matches!(resolved, Err(IdentityError::Unauthorized)) {
            tracing::warn!(peer = ?peer, scope = ?request.scope, "no token for this scope");
        }
        Ok((token, resolved?))
    }

    async fn prove(&self, request: &AuthRequest, peer: Option<SocketAddr>) -> Result<Proven, IdentityError> {
        let by_token = match &request.token {
            Some(token) => {
                let token = self.validate_token(token).await?;
                let user = users::fetch(self.db.read(), &token.info.user_id).await;
                let user = found(user)?.ok_or(IdentityError::Unauthorized)?;
                Some(Proven { user, methods: Methods::default().with_token(), token: Some(token) })
            }
            None => None,
        };
        let by_password = match &request.password {
            Some((reference, password)) => Some(self.check_password(reference, password, peer).await?),
            None => None,
        };
        match (by_token, by_password) {
            (Some(by_token), None) => Ok(by_token),
            (None, Some(user)) => Ok(Proven { user, methods: Methods::default().with_password(), token: None }),
            (Some(mut by_token), Some(user)) if by_token.user.id == user.id => {
                by_token.methods = by_token.methods.with_password();
                Ok(by_token)
            }
            _ => Err(IdentityError::Unauthorized),
        }
    }

    /// The user with this password. Unknown, disabled and mistyped take the same time and get the same answer.
    async fn check_password(
        &self,
        reference: &Reference,
        password: &str,
        peer: Option<SocketAddr>,
    ) -> Result<User, IdentityError> {
        let user = self.find_user(reference).await?;
        let key = user.as_ref().map_or_else(|| format!("{reference:?}"), |user| user.id.clone());
        let delay = self.failed_logins().delay(&key, Instant::now());
        tokio::time::sleep(delay).await;
        let enabled = match &user {
            Some(user) if user.enabled => {
                found(domains::fetch(self.db.read(), &user.domain_id).await)?.is_some_and(|domain| domain.enabled)
            }
            _ => false,
        };
        let fits = password.len() <= MAX_PASSWORD_LENGTH;
        let stored = user.as_ref().and_then(|user| user.password_hash.clone()).filter(|_| fits && enabled);
        let password = if fits { password.to_owned() } else { String::new() };
        let verified = self.passwords.verify(password, stored).await?;
        match user {
            Some(user) if verified => {
                self.failed_logins().succeeded(&key);
                Ok(user)
            }
            _ => {
                self.failed_logins().failed(&key, Instant::now());
                // Debug escapes control characters: the name is whatever somebody sent.
                tracing::warn!(user = ?shortened(reference), peer = ?peer, "a login failed");
                Err(IdentityError::Unauthorized)
            }
        }
    }

    /// Changes the password of somebody who knows the old one; all their tokens end.
    pub(crate) async fn change_password(
        &self,
        user_id: &str,
        original: &str,
        password: String,
        peer: Option<SocketAddr>,
    ) -> Result<(), IdentityError> {
        let proven = self.check_password(&Reference::Id(user_id.to_owned()), original, peer).await?;
        if proven.options["lock_password"] == Value::Bool(true) {
            return Err(IdentityError::Invalid(
                "You cannot change your password at this time due to password policy disallowing password changes. \
                 Please contact your administrator to reset your password."
                    .to_owned(),
            ));
        }
        let hash = self.passwords.hash(password).await?;
        let write = || async {
            let tx = self.db.begin().await?;
            lock(&tx, Resource::User, user_id).await?;
            let mut user = users::fetch(&tx, user_id).await?;
            if user.password_hash != proven.password_hash {
                // Somebody else changed it meanwhile; the old password is not the old one any more.
                return Err(IdentityError::Unauthorized);
            }
            user.password_hash = Some(hash.clone());
            user.token_generation = user.token_generation.wrapping_add(1);
            users::update(&tx, user).await?;
            self.commit(tx).await
        };
        self.db.retry(write).await
    }

    async fn find_user(&self, reference: &Reference) -> Result<Option<User>, IdentityError> {
        match reference {
            Reference::Id(id) => found(users::fetch(self.db.read(), id).await),
            Reference::Name { name, domain } => {
                let Some(domain) = self.find_domain_of(domain.as_deref()).await? else { return Ok(None) };
                found(users::fetch_by_name(self.db.read(), &domain.id, name.trim()).await)
            }
        }
    }

    async fn find_domain_of(&self, reference: Option<&Reference>) -> Result<Option<Domain>, IdentityError> {
        match reference {
            Some(reference) => self.find_domain(reference).await,
            None => Ok(None),
        }
    }

    async fn find_domain(&self, reference: &Reference) -> Result<Option<Domain>, IdentityError> {
        let domain: Result<Domain, DbError> = match reference {
            Reference::Id(id) => domains::fetch(self.db.read(), id).await,
            Reference::Name { name, .. } => domains::fetch_by_name(self.db.read(), name).await,
        };
        found(domain)
    }

    /// The scope to issue for. Whether the user has a role there is decided when the token is resolved.
    async fn scope(&self, proven: &Proven, requested: &RequestedScope) -> Result<Scope, IdentityError> {
        let from_system = proven.token.as_ref().is_some_and(|token| token.claims.scope == Scope::System);
        if from_system && matches!(requested, RequestedScope::Project(_) | RequestedScope::Domain(_)) {
            let rule = "Using a system-scoped token to create a project-scoped or domain-scoped token is not allowed.";
            return Err(IdentityError::NotAuthorized(rule.to_owned()));
        }
        match requested {
            RequestedScope::Unscoped => Ok(Scope::Unscoped),
            RequestedScope::System => Ok(Scope::System),
            RequestedScope::Domain(reference) => {
                let domain = self.find_domain(reference).await?.ok_or(IdentityError::Unauthorized)?;
                Ok(Scope::Domain(domain.id))
            }
            RequestedScope::Project(Reference::Id(id)) => {
                let project = found(projects::fetch(self.db.read(), id).await)?.ok_or(IdentityError::Unauthorized)?;
                Ok(Scope::Project(project.id))
            }
            RequestedScope::Project(Reference::Name { name, domain }) => {
                let domain = self.find_domain_of(domain.as_deref()).await?.ok_or(IdentityError::Unauthorized)?;
                let project = projects::fetch_by_name(self.db.read(), &domain.id, name.trim()).await;
                Ok(Scope::Project(found(project)?.ok_or(IdentityError::Unauthorized)?.id))
            }
            RequestedScope::Default => self.default_scope(&proven.user).await,
        }
    }

    /// The default project when it can be used, else none: as Keystone, a bad default is no reason to refuse.
    async fn default_scope(&self, user: &User) -> Result<Scope, IdentityError> {
        let Some(id) = &user.default_project_id else { return Ok(Scope::Unscoped) };
        let conn = self.db.read();
        let Some(project) = found(projects::fetch(conn, id).await)?.filter(|project| project.enabled) else {
            return Ok(Scope::Unscoped);
        };
        let domain = found(domains::fetch(conn, &project.domain_id).await)?;
        let scope = Scope::Project(project.id);
        let roles = match target(&scope) {
            Some(target) if domain.is_some_and(|domain| domain.enabled) => {
                self.effective_roles(&user.id, target).await?
            }
            _ => return Ok(Scope::Unscoped),
        };
        Ok(if roles.is_empty() { Scope::Unscoped } else { scope })
    }
}

/// What is logged of a user that somebody named.
fn shortened(reference: &Reference) -> String {
    let (Reference::Id(name) | Reference::Name { name, .. }) = reference;
    name.chars().take(255).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: Value) -> Result<AuthRequest, IdentityError> {
        AuthRequest::parse(body.as_object().unwrap().clone())
    }

    fn scope(scope: Value) -> Result<RequestedScope, IdentityError> {
        let identity = json!({"methods": ["token"], "token": {"id": "t"}});
        parse(json!({"auth": {"identity": identity, "scope": scope}})).map(|request| request.scope)
    }

    fn named(name: &str, domain: Option<Reference>) -> Reference {
        Reference::Name { name: name.to_owned(), domain: domain.map(Box::new) }
    }

    #[test]
    fn scopes_are_read_in_every_form_that_clients_send() {
        let default = || Some(Reference::Id("default".to_owned()));
        let cases = [
            (json!("unscoped"), RequestedScope::Unscoped),
            (json!({"unscoped": {}}), RequestedScope::Unscoped),
            (json!({"project": {"id": "p"}}), RequestedScope::Project(Reference::Id("p".to_owned()))),
            (
                json!({"project": {"name": "p", "domain": {"id": "default"}}}),
                RequestedScope::Project(named("p", default())),
            ),
            (
                json!({"project": {"name": "p", "domain": {"name": "Default"}}}),
                RequestedScope::Project(named("p", Some(named("Default", None)))),
            ),
            (json!({"domain": {"name": "Default"}}), RequestedScope::Domain(named("Default", None))),
            (json!({"system": {"all": true}}), RequestedScope::System),
        ];
        for (value, expected) in cases {
            assert_eq!(scope(value.clone()).unwrap(), expected, "{value}");
        }
    }

    #[test]
    fn scopes_that_are_none_are_refused() {
        let cases = [
            json!({}),
            json!("project"),
            json!(5),
            json!({"project": {"id": "p"}, "domain": {"id": "d"}}),
            json!({"project": {}}),
            json!({"project": {"name": "p"}}),
            json!({"project": {"name": "p", "domain": {}}}),
            json!({"system": {"all": false}}),
            json!({"system": {}}),
        ];
        for value in cases {
            assert!(matches!(scope(value.clone()), Err(IdentityError::Invalid(_))), "{value}");
        }
        assert!(matches!(scope(json!({"OS-TRUST:trust": {"id": "t"}})), Err(IdentityError::NotImplemented)));
    }

    #[test]
    fn a_request_without_its_parts_names_what_is_missing() {
        let message = |body: Value| parse(body).err().unwrap().to_string();
        let identity = |identity: Value| message(json!({"auth": {"identity": identity}}));
        assert!(message(json!({})).starts_with("Expecting to find auth in request body."));
        assert_eq!(message(json!({"auth": {}})), "'identity' is a required property");
        assert_eq!(identity(json!({})), "Invalid input for field 'identity': 'methods' is a required property");
        assert!(identity(json!({"methods": ["password"]})).starts_with("Expecting to find password in identity."));
        let user = |user: Value| identity(json!({"methods": ["password"], "password": {"user": user}}));
        assert!(user(json!({"id": "u"})).starts_with("Expecting to find password in user."));
        assert!(user(json!({"name": "u", "password": "p"})).starts_with("Expecting to find domain in user."));
        assert_eq!(
            user(json!({"password": "p"})),
            "Invalid input for field identity/password/user: id or name must be present."
        );
        assert!(!user(json!({"id": "u", "password": ["hunter2"]})).contains("hunter2"));
        assert!(matches!(
            parse(json!({"auth": {"identity": {"methods": ["totp"], "totp": {}}}})),
            Err(IdentityError::UnsupportedMethod)
        ));
    }
}
