//! Placement's REST API: routes, and the steps that every request takes.
//!
//! ```text
//! request id ─ token (all but the version document) ─ microversion ─ handler ─ error body, headers
//! ```
//!
//! Handlers parse, authorise, call and render; what an error looks like is decided in [`error`] alone.

mod allocation_candidates;
mod allocations;
mod body;
mod error;
mod query;
mod reply;
mod resource_classes;
mod resource_providers;
mod traits;
mod usages;
mod version;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::NestedPathRejection;
use axum::extract::{FromRequestParts, NestedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use kilonova_clients::ClientError;
use kilonova_clients::identity::Identity;
use kilonova_core::context::new_request_id;
use kilonova_core::{Microversion, RequestContext};
use serde_json::json;
use uuid::Uuid;

use self::error::ApiError;
use crate::{PlacementError, PlacementService};

/// What a handler returns.
type Reply = Result<Response, ApiError>;
/// What handlers work on.
type Service = State<Arc<PlacementService>>;

pub(crate) fn router(service: Arc<PlacementService>, identity: Arc<dyn Identity>) -> Router {
    Router::new()
        .route("/", get(version::document))
        .route("/resource_providers", get(resource_providers::list).post(resource_providers::create))
        .route(
            "/resource_providers/{uuid}",
            get(resource_providers::show).put(resource_providers::rename).delete(resource_providers::delete),
        )
        .route(
            "/resource_providers/{uuid}/inventories",
            get(resource_providers::inventories).put(resource_providers::put_inventories),
        )
        .route("/resource_providers/{uuid}/inventories/{class}", get(resource_providers::inventory))
        .route("/resource_providers/{uuid}/usages", get(resource_providers::usages))
        .route("/resource_providers/{uuid}/traits", get(resource_providers::traits).put(resource_providers::put_traits))
        .route("/resource_providers/{uuid}/aggregates", get(resource_providers::aggregates))
        .route("/resource_providers/{uuid}/allocations", get(resource_providers::allocations))
        .route("/resource_classes", get(resource_classes::list))
        .route("/resource_classes/{name}", get(resource_classes::show).put(resource_classes::declare))
        .route("/traits", get(traits::list))
        .route("/traits/{name}", get(traits::show).put(traits::declare))
        .route("/allocations", post(allocations::post))
        .route("/allocations/{consumer}", get(allocations::show).put(allocations::put).delete(allocations::delete))
        .route("/allocation_candidates", get(allocation_candidates::list))
        .route("/usages", get(usages::list))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .fallback(async || ApiError::not_found("The resource could not be found."))
        .with_state(service)
        .layer(middleware::from_fn_with_state(identity, every_request))
}

/// Who calls, and how the answer shall look.
#[derive(Clone, Debug)]
struct Caller {
    context: RequestContext,
    version: Microversion,
    /// Where the API is nested, for links: `/placement`.
    prefix: String,
}

impl Caller {
    /// Admins and services.
    fn require_admin(&self) -> Result<(), ApiError> {
        if self.context.is_admin || self.has_role("service") {
            return Ok(());
        }
        Err(ApiError::forbidden())
    }

    /// Also a reader of the project.
    fn require_reader_of(&self, project_id: &str) -> Result<(), ApiError> {
        if self.context.project_id() == project_id && self.has_role("reader") {
            return Ok(());
        }
        self.require_admin()
    }

    fn has_role(&self, name: &str) -> bool {
        self.context.roles.iter().any(|role| role.eq_ignore_ascii_case(name))
    }

    /// Whether the microversion is 1.`minor` or later.
    fn since(&self, minor: u16) -> bool {
        self.version.minor >= minor
    }

    /// 404 before the microversion that brought a route.
    fn route_since(&self, minor: u16) -> Result<(), ApiError> {
        if self.since(minor) {
            return Ok(());
        }
        Err(ApiError::not_found("The resource could not be found."))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| ApiError::internal("a route without a caller"))
    }
}

async fn every_request(
    State(identity): State<Arc<dyn Identity>>,
    nested: Result<NestedPath, NestedPathRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let request_id = new_request_id();
    let prefix = nested.map_or_else(|_| String::new(), |nested| prefix_of(&nested));
    let is_get = request.method() == axum::http::Method::GET;
    let mut version = None;
    let response = match admit(identity.as_ref(), request.uri().path(), request.headers()).await {
        Ok((context, asked)) => {
            version = Some(asked);
            if let Some(mut context) = context {
                context.request_id = Some(request_id.clone());
                request.extensions_mut().insert(Caller { context, version: asked, prefix });
            }
            next.run(request).await
        }
        Err(refused) => refused,
    };
    finish(response, &request_id, version, is_get)
}

/// What is wrong, if something is: said by us, or by the framework (a body over the limit, a path that is not UTF-8).
fn error_of(response: &Response) -> Option<ApiError> {
    let status = response.status();
    let is_ours = response.headers().get(header::CONTENT_TYPE) == Some(&HeaderValue::from_static("application/json"));
    let said = response.extensions().get::<ApiError>().cloned();
    said.or_else(|| (status.as_u16() >= 400 && !is_ours).then(|| ApiError::of_status(status)))
}

fn prefix_of(nested: &NestedPath) -> String {
    nested.as_str().trim_end_matches('/').to_owned()
}

/// Who calls, and at which microversion; nobody needs to be anybody to see the version document.
async fn admit(
    identity: &dyn Identity,
    path: &str,
    headers: &HeaderMap,
) -> Result<(Option<RequestContext>, Microversion), Response> {
    let context = match path {
        "" | "/" => None,
        _ => Some(authenticate(identity, headers).await?),
    };
    let version = version::negotiate(headers).map_err(IntoResponse::into_response)?;
    Ok((context, version))
}

async fn authenticate(identity: &dyn Identity, headers: &HeaderMap) -> Result<RequestContext, Response> {
    let token = headers.get("x-auth-token").and_then(|token| token.to_str().ok());
    let Some(token) = token else {
        return Err(unauthorized());
    };
    match identity.validate(token).await {
        Ok(info) => Ok(info.context(token)),
        Err(ClientError::Unauthorized) => Err(unauthorized()),
        Err(error) => {
            tracing::error!(%error, "a token could not be validated");
            Err(ApiError::unavailable().into_response())
        }
    }
}

/// As keystonemiddleware, which stands before a real Placement, answers.
fn unauthorized() -> Response {
    let body = json!({"error": {
        "code": 401,
        "title": "Unauthorized",
        "message": "The request you have made requires authentication.",
    }});
    let challenge = [(header::WWW_AUTHENTICATE, "Keystone uri=\"/identity\"")];
    (StatusCode::UNAUTHORIZED, challenge, axum::Json(body)).into_response()
}

fn finish(mut response: Response, request_id: &str, version: Option<Microversion>, is_get: bool) -> Response {
    if let Some(error) = error_of(&response) {
        // What the router put there (`allow`) stays.
        let headers = response.headers().clone();
        response = error.render(request_id, version);
        for (name, value) in headers.iter().filter(|(name, _)| *name == header::ALLOW) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert("x-openstack-request-id", value);
    }
    if let Some(version) = version {
        version::stamp(headers, version, is_get);
    }
    response
}

/// A uuid in a path; anything else names no provider.
fn provider_uuid(text: &str) -> Result<Uuid, PlacementError> {
    text.parse().map_err(|_| PlacementError::NoProvider(text.to_owned()))
}
