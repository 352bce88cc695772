//! `/v3/roles` and what they imply.

use std::collections::HashMap;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use kilonova_db::DbError;
use kilonova_db::identity::roles::{self, Role};
use kilonova_db::identity::{Resource, Transaction, lock};
use serde_json::{Value, json};

use super::{Answer, Created, Done, Params, Service, created};
use crate::identity::bootstrap::new_id;
use crate::identity::fields::{Fields, JsonBody, check_mutable, merge, merge_options};
use crate::identity::policy::Caller;
use crate::identity::{IdentityError, IdentityService};

const MAX_NAME: usize = 255;
const OPTIONS: [&str; 1] = ["immutable"];

/// `GET /v3/roles`.
pub(crate) async fn list(State(service): Service, caller: Caller, params: Params) -> Answer {
    caller.read("identity:list_roles")?;
    let mut roles = roles::list(service.db.read(), params.get("name")).await?;
    if params.get("domain_id").is_some_and(|domain_id| !matches!(domain_id, "" | "None" | "null")) {
        // No role belongs to a domain.
        roles.clear();
    }
    let views = roles.into_iter().map(|role| service.role(role)).collect();
    Ok(axum::Json(service.collection("/v3/roles", "roles", views, &params.0)?))
}

/// `GET /v3/roles/{role_id}`.
pub(crate) async fn show(State(service): Service, caller: Caller, Path(id): Path<String>) -> Answer {
    caller.read("identity:get_role")?;
    let role = roles::fetch(service.db.read(), &id).await?;
    Ok(axum::Json(json!({"role": service.role(role)})))
}

/// `POST /v3/roles`.
pub(crate) async fn create(State(service): Service, caller: Caller, body: JsonBody) -> Created {
    caller.manage("identity:create_role")?;
    let mut fields = body.member("role")?;
    let mut role = Role {
        id: new_id(),
        name: fields.required_name(MAX_NAME)?,
        description: fields.text("description")?.flatten(),
        options: json!({}),
        extra: json!({}),
    };
    no_domain(&mut fields)?;
    if let Some(options) = fields.options(&OPTIONS)? {
        merge_options(&mut role.options, options);
    }
    role.extra = Value::Object(fields.extra());
    let write = || async {
        let tx = service.db.begin().await?;
        roles::create(&tx, role.clone()).await.map_err(|error| conflict(error, &role))?;
        service.commit(tx).await
    };
    service.db.retry(write).await?;
    Ok(created(json!({"role": service.role(role)})))
}

/// `PATCH /v3/roles/{role_id}`.
pub(crate) async fn update(State(service): Service, caller: Caller, Path(id): Path<String>, body: JsonBody) -> Answer {
    caller.manage("identity:update_role")?;
    let fields = body.member("role")?.not_empty()?.matching_id(&id)?;
    let write = || async {
        let tx = service.db.begin().await?;
        let role = apply(&tx, &id, fields.clone()).await?;
        service.commit(tx).await?;
        Ok::<_, IdentityError>(role)
    };
    let role = service.db.retry(write).await?;
    Ok(axum::Json(json!({"role": service.role(role)})))
}

async fn apply(tx: &Transaction, id: &str, mut fields: Fields) -> Result<Role, IdentityError> {
    lock(tx, Resource::Role, id).await?;
    let mut role = roles::fetch(tx, id).await?;
    let options = fields.options(&OPTIONS)?;
    check_mutable(&role.options, options.as_ref(), ("update", "role", id))?;
    role.name = fields.name(MAX_NAME)?.unwrap_or(role.name);
    role.description = fields.text("description")?.unwrap_or(role.description);
    no_domain(&mut fields)?;
    if let Some(options) = options {
        merge_options(&mut role.options, options);
    }
    merge(&mut role.extra, fields.extra());
    roles::update(tx, role.clone()).await.map_err(|error| conflict(error, &role))?;
    Ok(role)
}

/// `DELETE /v3/roles/{role_id}`.
pub(crate) async fn delete(State(service): Service, caller: Caller, Path(id): Path<String>) -> Done {
    caller.manage("identity:delete_role")?;
    let write = || async {
        let tx = service.db.begin().await?;
        lock(&tx, Resource::Role, &id).await?;
        let role = roles::fetch(&tx, &id).await?;
        check_mutable(&role.options, None, ("delete", "role", &id))?;
        roles::delete(&tx, &id).await?;
        service.commit(tx).await
    };
    service.db.retry(write).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Roles of one domain only are not among what this service has.
fn no_domain(fields: &mut Fields) -> Result<(), IdentityError> {
    if fields.id("domain_id")?.is_some() { Err(IdentityError::NotImplemented) } else { Ok(()) }
}

/// `GET /v3/roles/{role_id}/implies`.
pub(crate) async fn implied(State(service): Service, caller: Caller, Path(id): Path<String>) -> Answer {
    caller.read("identity:list_implied_roles")?;
    roles::fetch(service.db.read(), &id).await?;
    let inferences = inferences_by_prior(&service).await?;
    let none = json!({"prior_role": brief(&service, &roles::fetch(service.db.read(), &id).await?), "implies": []});
    let inference = inferences.into_iter().find(|one| one["prior_role"]["id"] == json!(id)).unwrap_or(none);
    let links = json!({"self": service.url(&format!("/v3/roles/{id}/implies"))});
    Ok(axum::Json(json!({"role_inference": inference, "links": links})))
}

/// `GET /v3/roles/{role_id}/implies/{implied_role_id}`.
pub(crate) async fn implication(
    State(service): Service,
    caller: Caller,
    Path((prior_id, implied_id)): Path<(String, String)>,
) -> Answer {
    caller.read("identity:get_implied_role")?;
    let prior = roles::fetch(service.db.read(), &prior_id).await?;
    let implied = roles::fetch(service.db.read(), &implied_id).await?;
    let implications = roles::implications(service.db.read()).await?;
    if !implications.iter().any(|one| one.prior_role_id == prior_id && one.implied_role_id == implied_id) {
        return Err(IdentityError::Missing(format!("{prior_id} does not imply {implied_id}.")));
    }
    let inference = json!({"prior_role": brief(&service, &prior), "implies": brief(&service, &implied)});
    let links = json!({"self": service.url(&format!("/v3/roles/{prior_id}/implies/{implied_id}"))});
    Ok(axum::Json(json!({"role_inference": inference, "links": links})))
}

/// `GET /v3/role_inferences`.
pub(crate) async fn inferences(State(service): Service, caller: Caller) -> Answer {
    caller.read("identity:list_role_inference_rules")?;
    let inferences = inferences_by_prior(&service).await?;
    let links = json!({"self": service.url("/v3/role_inferences")});
    Ok(axum::Json(json!({"role_inferences": inferences, "links": links})))
}

/// One entry for each role that implies another.
async fn inferences_by_prior(service: &IdentityService) -> Result<Vec<Value>, IdentityError> {
    let roles = roles::list(service.db.read(), None).await?;
    let by_id: HashMap<&str, &Role> = roles.iter().map(|role| (role.id.as_str(), role)).collect();
    let implications = roles::implications(service.db.read()).await?;
    let mut inferences = Vec::new();
    for prior in &roles {
        let implied: Vec<Value> = implications
            .iter()
            .filter(|one| one.prior_role_id == prior.id)
            .filter_map(|one| by_id.get(one.implied_role_id.as_str()))
            .map(|role| brief(service, role))
            .collect();
        if !implied.is_empty() {
            inferences.push(json!({"prior_role": brief(service, prior), "implies": implied}));
        }
    }
    Ok(inferences)
}

fn brief(service: &IdentityService, role: &Role) -> Value {
    service.linked("roles", json!({"id": role.id, "name": role.name}))
}

fn conflict(error: DbError, role: &Role) -> IdentityError {
    IdentityError::or_conflict(error, "role", || format!("Duplicate entry found with name {}", role.name))
}
