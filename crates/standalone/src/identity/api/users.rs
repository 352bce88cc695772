//! `/v3/users`.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use kilonova_db::DbError;
use kilonova_db::identity::assignments::Target;
use kilonova_db::identity::projects::{self as project_rows, ProjectFilter};
use kilonova_db::identity::users::{self, User, UserFilter};
use kilonova_db::identity::{Resource, Transaction, domains, lock};
use serde_json::{Value, json};

use super::auth::{Peer, address, targets};
use super::{Answer, Created, Done, Params, Service, created};
use crate::identity::bootstrap::new_id;
use crate::identity::fields::{Fields, JsonBody, checked_password, merge, merge_options};
use crate::identity::policy::Caller;
use crate::identity::{IdentityError, IdentityService};

const MAX_NAME: usize = 255;

/// All but the first excuse users from rules that this service does not have; they are kept for the client.
const OPTIONS: [&str; 5] = [
    "lock_password",
    "ignore_change_password_upon_first_use",
    "ignore_password_expiry",
    "ignore_lockout_failure_attempts",
    "ignore_user_inactivity",
];

/// `GET /v3/users`.
pub(crate) async fn list(State(service): Service, caller: Caller, params: Params) -> Answer {
    caller.read("identity:list_users")?;
    let filter = UserFilter {
        name: params.owned("name"),
        domain_id: params.owned("domain_id"),
        enabled: params.flag("enabled")?,
    };
    let users = users::list(service.db.read(), &filter).await?;
    let views = users.into_iter().map(|user| service.user(user)).collect();
    Ok(axum::Json(service.collection("/v3/users", "users", views, &params.0)?))
}

/// `GET /v3/users/{user_id}`.
pub(crate) async fn show(State(service): Service, caller: Caller, Path(id): Path<String>) -> Answer {
    caller.read_or(caller.user_id() == id, "identity:get_user")?;
    let user = users::fetch(service.db.read(), &id).await?;
    Ok(axum::Json(json!({"user": service.user(user)})))
}

/// `POST /v3/users`.
pub(crate) async fn create(State(service): Service, caller: Caller, body: JsonBody) -> Created {
    caller.manage("identity:create_user")?;
    let mut fields = body.member("user")?;
    let mut user = User {
        id: new_id(),
        name: fields.required_name(MAX_NAME)?,
        domain_id: fields.id("domain_id")?.unwrap_or_else(|| caller.default_domain_id()),
        password_hash: None,
        enabled: fields.flag("enabled")?.unwrap_or(true),
        default_project_id: fields.text("default_project_id")?.flatten(),
        token_generation: 0,
        options: json!({}),
        extra: json!({}),
    };
    if let Some(options) = fields.options(&OPTIONS)? {
        merge_options(&mut user.options, options);
    }
    let password = fields.password()?.flatten();
    user.extra = Value::Object(extra(fields)?);
    domains::fetch(service.db.read(), &user.domain_id).await?;
    user.password_hash = service.hash_password(password).await?;
    let write = || async {
        let tx = service.db.begin().await?;
        lock(&tx, Resource::Domain, &user.domain_id).await?;
        domains::fetch(&tx, &user.domain_id).await?;
        users::create(&tx, user.clone()).await.map_err(|error| conflict(error, &user))?;
        service.commit(tx).await
    };
    service.db.retry(write).await?;
    Ok(created(json!({"user": service.user(user)})))
}

/// `PATCH /v3/users/{user_id}`.
pub(crate) async fn update(State(service): Service, caller: Caller, Path(id): Path<String>, body: JsonBody) -> Answer {
    caller.manage("identity:update_user")?;
    let mut fields = body.member("user")?.not_empty()?.matching_id(&id)?;
    // Checked before anything is hashed for nothing.
    users::fetch(service.db.read(), &id).await?;
    let password = fields.password()?;
    let hash = match password {
        Some(password) => Some(service.hash_password(password).await?),
        None => None,
    };
    let write = || async {
        let tx = service.db.begin().await?;
        let user = apply(&tx, &id, fields.clone(), hash.clone()).await?;
        service.commit(tx).await?;
        Ok::<_, IdentityError>(user)
    };
    let user = service.db.retry(write).await?;
    Ok(axum::Json(json!({"user": service.user(user)})))
}

async fn apply(
    tx: &Transaction,
    id: &str,
    mut fields: Fields,
    hash: Option<Option<String>>,
) -> Result<User, IdentityError> {
    lock(tx, Resource::User, id).await?;
    let mut user = users::fetch(tx, id).await?;
    let was_enabled = user.enabled;
    if fields.id("domain_id")?.is_some_and(|domain_id| domain_id != user.domain_id) {
        return Err(IdentityError::Invalid("Cannot change Domain ID".to_owned()));
    }
    user.name = fields.name(MAX_NAME)?.unwrap_or(user.name);
    user.enabled = fields.flag("enabled")?.unwrap_or(user.enabled);
    user.default_project_id = fields.text("default_project_id")?.unwrap_or(user.default_project_id);
    if let Some(options) = fields.options(&OPTIONS)? {
        merge_options(&mut user.options, options);
    }
    merge(&mut user.extra, extra(fields)?);
    let password_changed = hash.is_some();
    user.password_hash = hash.unwrap_or(user.password_hash);
    if password_changed || (was_enabled && !user.enabled) {
        user.token_generation = user.token_generation.wrapping_add(1);
    }
    users::update(tx, user.clone()).await.map_err(|error| conflict(error, &user))?;
    Ok(user)
}

/// `DELETE /v3/users/{user_id}`.
pub(crate) async fn delete(State(service): Service, caller: Caller, Path(id): Path<String>) -> Done {
    caller.manage("identity:delete_user")?;
    let write = || async {
        let tx = service.db.begin().await?;
        users::delete(&tx, &id).await?;
        service.commit(tx).await
    };
    service.db.retry(write).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v3/users/{user_id}/password`: needs the old password, and no token.
pub(crate) async fn change_password(
    State(service): Service,
    peer: Peer,
    Path(id): Path<String>,
    body: JsonBody,
) -> Done {
    let fields = body.member("user")?;
    let mut values = fields.into_values();
    let mut take = |key: &str| match values.remove(key) {
        Some(Value::String(password)) => Ok(password),
        Some(_) => Err(IdentityError::Invalid(format!("Invalid input for field '{key}': it is not of type 'string'"))),
        None => Err(IdentityError::Invalid(format!("'{key}' is a required property"))),
    };
    let (original, password) = (take("original_password")?, take("password")?);
    if let Some(other) = values.keys().next() {
        return Err(IdentityError::Invalid(format!(
            "Additional properties are not allowed ('{other}' was unexpected)"
        )));
    }
    service.change_password(&id, &original, checked_password(password)?, address(peer)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v3/users/{user_id}/projects`.
pub(crate) async fn projects(
    State(service): Service,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    caller.read_or(caller.user_id() == id, "identity:list_user_projects")?;
    users::fetch(service.db.read(), &id).await?;
    let targets = targets(&service, &id).await?;
    let ids = targets.into_iter().filter_map(|target| if let Target::Project(id) = target { Some(id) } else { None });
    let filter = ProjectFilter {
        ids: Some(ids.collect()),
        name: params.owned("name"),
        domain_id: params.owned("domain_id"),
        enabled: params.flag("enabled")?,
        parent_id: None,
    };
    let projects = project_rows::list(service.db.read(), &filter).await?;
    let views = projects.into_iter().map(|project| service.project(project)).collect();
    Ok(axum::Json(service.collection(&format!("/v3/users/{id}/projects"), "projects", views, &params.0)?))
}

/// What is kept for the client. Federation is not among it.
fn extra(fields: Fields) -> Result<serde_json::Map<String, Value>, IdentityError> {
    let extra = fields.extra();
    match extra.get("federated") {
        None => Ok(extra),
        Some(Value::Array(identities)) if identities.is_empty() => Ok(extra),
        Some(_) => Err(IdentityError::NotImplemented),
    }
}

fn conflict(error: DbError, user: &User) -> IdentityError {
    IdentityError::or_conflict(error, "user", || {
        format!("Duplicate entry found with name {} at domain ID {}", user.name, user.domain_id)
    })
}

impl IdentityService {
    async fn hash_password(&self, password: Option<String>) -> Result<Option<String>, IdentityError> {
        match password {
            Some(password) => Ok(Some(self.passwords.hash(password).await?)),
            None => Ok(None),
        }
    }
}
