//! `/v3/domains`.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use kilonova_db::DbError;
use kilonova_db::identity::domains::{self, Domain, DomainFilter};
use kilonova_db::identity::{Resource, Transaction, lock};
use serde_json::{Value, json};

use super::{Answer, Created, Done, Params, Service, created};
use crate::identity::IdentityError;
use crate::identity::bootstrap::new_id;
use crate::identity::fields::{Fields, JsonBody, check_mutable, merge, merge_options};
use crate::identity::policy::Caller;

const MAX_NAME: usize = 64;
const OPTIONS: [&str; 1] = ["immutable"];

/// `GET /v3/domains`.
pub(crate) async fn list(State(service): Service, caller: Caller, params: Params) -> Answer {
    caller.read("identity:list_domains")?;
    let filter = DomainFilter { name: params.owned("name"), enabled: params.flag("enabled")? };
    let domains = domains::list(service.db.read(), &filter).await?;
    let views = domains.into_iter().map(|domain| service.domain(domain)).collect();
    Ok(axum::Json(service.collection("/v3/domains", "domains", views, &params.0)?))
}

/// `GET /v3/domains/{domain_id}`.
pub(crate) async fn show(State(service): Service, caller: Caller, Path(id): Path<String>) -> Answer {
    let is_own = caller.token().scope_domain.as_ref().is_some_and(|domain| domain.id == id);
    caller.read_or(is_own, "identity:get_domain")?;
    let domain = domains::fetch(service.db.read(), &id).await?;
    Ok(axum::Json(json!({"domain": service.domain(domain)})))
}

/// `POST /v3/domains`.
pub(crate) async fn create(State(service): Service, caller: Caller, body: JsonBody) -> Created {
    caller.manage("identity:create_domain")?;
    let mut fields = body.member("domain")?;
    let mut domain = Domain {
        id: explicit_id(&mut fields)?.unwrap_or_else(new_id),
        name: fields.required_name(MAX_NAME)?,
        description: fields.text("description")?.flatten().unwrap_or_default(),
        enabled: fields.flag("enabled")?.unwrap_or(true),
        options: json!({}),
        extra: json!({}),
    };
    no_tags(&mut fields)?;
    if let Some(options) = fields.options(&OPTIONS)? {
        merge_options(&mut domain.options, options);
    }
    domain.extra = Value::Object(fields.extra());
    let write = || async {
        let tx = service.db.begin().await?;
        domains::create(&tx, domain.clone()).await.map_err(|error| conflict(error, &domain))?;
        service.commit(tx).await
    };
    service.db.retry(write).await?;
    Ok(created(json!({"domain": service.domain(domain)})))
}

/// An id that the caller chose: 32 hexadecimal digits.
fn explicit_id(fields: &mut Fields) -> Result<Option<String>, IdentityError> {
    let Some(id) = fields.id("explicit_domain_id")? else { return Ok(None) };
    let is_uuid = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let invalid = || IdentityError::Invalid("Domain ID does not conform to required UUID format.".to_owned());
    is_uuid.then_some(Some(id)).ok_or_else(invalid)
}

/// Domains have no tags here; an empty list says nothing.
fn no_tags(fields: &mut Fields) -> Result<(), IdentityError> {
    match fields.tags()? {
        Some(tags) if tags != json!([]) => Err(IdentityError::NotImplemented),
        _ => Ok(()),
    }
}

/// `PATCH /v3/domains/{domain_id}`.
pub(crate) async fn update(State(service): Service, caller: Caller, Path(id): Path<String>, body: JsonBody) -> Answer {
    caller.manage("identity:update_domain")?;
    let fields = body.member("domain")?.not_empty()?.matching_id(&id)?;
    let write = || async {
        let tx = service.db.begin().await?;
        let domain = apply(&tx, &id, fields.clone()).await?;
        service.commit(tx).await?;
        Ok::<_, IdentityError>(domain)
    };
    let domain = service.db.retry(write).await?;
    Ok(axum::Json(json!({"domain": service.domain(domain)})))
}

async fn apply(tx: &Transaction, id: &str, mut fields: Fields) -> Result<Domain, IdentityError> {
    lock(tx, Resource::Domain, id).await?;
    let mut domain = domains::fetch(tx, id).await?;
    let options = fields.options(&OPTIONS)?;
    check_mutable(&domain.options, options.as_ref(), ("update", "domain", id))?;
    domain.name = fields.name(MAX_NAME)?.unwrap_or(domain.name);
    if let Some(description) = fields.text("description")? {
        domain.description = description.unwrap_or_default();
    }
    domain.enabled = fields.flag("enabled")?.unwrap_or(domain.enabled);
    no_tags(&mut fields)?;
    if let Some(options) = options {
        merge_options(&mut domain.options, options);
    }
    merge(&mut domain.extra, fields.extra());
    domains::update(tx, domain.clone()).await.map_err(|error| conflict(error, &domain))?;
    Ok(domain)
}

/// `DELETE /v3/domains/{domain_id}`: with all that is in it.
pub(crate) async fn delete(State(service): Service, caller: Caller, Path(id): Path<String>) -> Done {
    caller.manage("identity:delete_domain")?;
    let write = || async {
        let tx = service.db.begin().await?;
        lock(&tx, Resource::Domain, &id).await?;
        let domain = domains::fetch(&tx, &id).await?;
        check_mutable(&domain.options, None, ("delete", "domain", &id))?;
        if domain.enabled {
            let reason = "Cannot delete a domain that is enabled, please disable it first.";
            return Err(IdentityError::Forbidden(reason.to_owned()));
        }
        domains::delete(&tx, &id).await?;
        service.commit(tx).await
    };
    service.db.retry(write).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Keystone keeps domains as projects, and says so.
fn conflict(error: DbError, domain: &Domain) -> IdentityError {
    IdentityError::or_conflict(error, "project", || {
        format!("it is not permitted to have two projects acting as domains with the same name: {}", domain.name)
    })
}
