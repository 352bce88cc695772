//! `/v3/auth`: tokens, and where their bearer could go.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use kilonova_db::identity::assignments::{self, Assignment, AssignmentFilter, Target};
use kilonova_db::identity::projects::{self, ProjectFilter};
use kilonova_db::identity::revocations;
use serde_json::json;

use super::{Answer, Done, Params, Service};
use crate::identity::authenticate::AuthRequest;
use crate::identity::fields::{JsonBody, parse_bool};
use crate::identity::policy::Caller;
use crate::identity::validate::{Token, audit_text};
use crate::identity::{IdentityError, IdentityService, view};

/// Who is at the other end, if the server told.
pub(crate) type Peer = Option<Extension<ConnectInfo<SocketAddr>>>;

pub(crate) fn address(peer: Peer) -> Option<SocketAddr> {
    peer.map(|peer| peer.0.0)
}

/// `POST /v3/auth/tokens`.
pub(crate) async fn issue(
    State(service): Service,
    peer: Peer,
    params: Params,
    JsonBody(body): JsonBody,
) -> Result<Response, IdentityError> {
    let request = AuthRequest::parse(body)?;
    let (id, token) = service.authenticate(request, address(peer)).await?;
    let body = view::token(&token, params.get("nocatalog").is_none());
    Ok((StatusCode::CREATED, [("X-Subject-Token", id)], axum::Json(body)).into_response())
}

/// `GET` and `HEAD /v3/auth/tokens`.
pub(crate) async fn validate(
    State(service): Service,
    caller: Caller,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, IdentityError> {
    let id = subject(&headers)?;
    let allow_expired = params.get("allow_expired").and_then(parse_bool).unwrap_or(false);
    let token = subject_token(&service, id, allow_expired).await?;
    caller.validate(&token)?;
    let body = view::token(&token, params.get("nocatalog").is_none());
    Ok(([("X-Subject-Token", id)], axum::Json(body)).into_response())
}

/// `DELETE /v3/auth/tokens`.
pub(crate) async fn revoke(State(service): Service, caller: Caller, headers: HeaderMap) -> Done {
    let token = subject_token(&service, subject(&headers)?, false).await?;
    caller.revoke(&token)?;
    let audit_id = audit_text(&token.claims.audit_id);
    let write = || async {
        let tx = service.db.begin().await?;
        // What expired long ago is refused for that alone; the window of `allow_expired` is well within two days.
        revocations::purge(&tx, Utc::now().timestamp() - 2 * 24 * 3600).await?;
        revocations::revoke(&tx, &audit_id, token.claims.expires_at).await?;
        service.commit(tx).await
    };
    service.db.retry_idempotent(write).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn subject(headers: &HeaderMap) -> Result<&str, IdentityError> {
    let subject = headers.get("x-subject-token").and_then(|token| token.to_str().ok());
    subject.ok_or_else(|| IdentityError::Missing("No token in the request".to_owned()))
}

async fn subject_token(service: &IdentityService, id: &str, allow_expired: bool) -> Result<Arc<Token>, IdentityError> {
    let token = if allow_expired { service.validate_expired_token(id).await } else { service.validate_token(id).await };
    token.map_err(|error| match error {
        IdentityError::Unauthorized => IdentityError::NotFound { resource: "token", id: id.to_owned() },
        error => error,
    })
}

/// `GET /v3/auth/catalog`.
pub(crate) async fn catalog(State(service): Service, caller: Caller) -> Answer {
    let Some(project_id) = &caller.token().info.project_id else {
        return Err(IdentityError::Forbidden("You are not authorized to perform the requested action.".to_owned()));
    };
    let links = json!({"self": service.url("/v3/auth/catalog")});
    Ok(axum::Json(json!({"catalog": *service.catalog(project_id), "links": links})))
}

/// `GET /v3/auth/projects`: what a token of this user can be scoped to.
pub(crate) async fn projects(State(service): Service, caller: Caller, params: Params) -> Answer {
    let targets = targets(&service, caller.user_id()).await?;
    let ids = targets.into_iter().filter_map(|target| if let Target::Project(id) = target { Some(id) } else { None });
    let filter = ProjectFilter { ids: Some(ids.collect()), enabled: Some(true), ..Default::default() };
    let projects = projects::list(service.db.read(), &filter).await?;
    let views = projects.into_iter().map(|project| service.project(project)).collect();
    Ok(axum::Json(service.collection("/v3/auth/projects", "projects", views, &params.0)?))
}

/// `GET /v3/auth/domains`.
pub(crate) async fn domains(State(service): Service, caller: Caller, params: Params) -> Answer {
    let targets = targets(&service, caller.user_id()).await?;
    let all = kilonova_db::identity::domains::list(service.db.read(), &Default::default()).await?;
    let views = all
        .into_iter()
        .filter(|domain| domain.enabled && targets.contains(&Target::Domain(domain.id.clone())))
        .map(|domain| service.domain(domain))
        .collect();
    Ok(axum::Json(service.collection("/v3/auth/domains", "domains", views, &params.0)?))
}

/// `GET /v3/auth/system`.
pub(crate) async fn system(State(service): Service, caller: Caller) -> Answer {
    let targets = targets(&service, caller.user_id()).await?;
    let system = if targets.contains(&Target::System) { json!([{"all": true}]) } else { json!([]) };
    Ok(axum::Json(json!({"system": system, "links": {"self": service.url("/v3/auth/system")}})))
}

/// Everything that the user has a role on.
pub(crate) async fn targets(service: &IdentityService, user_id: &str) -> Result<Vec<Target>, IdentityError> {
    let filter = AssignmentFilter { user_id: Some(user_id.to_owned()), ..Default::default() };
    let assigned: Vec<Assignment> = assignments::list(service.db.read(), &filter).await?;
    Ok(assigned.into_iter().map(|assignment| assignment.target).collect())
}
