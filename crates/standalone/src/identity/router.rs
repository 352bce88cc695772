//! The routes, and what all answers have in common.
//!
//! ```text
//!   request ── id, span ── own task unless GET ── handler ── error form ── headers ── response
//! ```
//!
//! What writes runs in a task of its own: a client that hangs up does not leave half of it undone, or a commit without
//! the cache being told.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, VARY, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use tracing::Instrument as _;
use uuid::Uuid;

use super::api::{assignments, auth, catalog, domains, grants, groups, projects, roles, users, versions};
use super::{IdentityError, IdentityService};

impl IdentityService {
    /// The REST API, to be nested at `/identity`.
    pub fn router(self: &Arc<Self>) -> Router {
        let mut router = Router::new()
            .route("/", get(versions::list))
            .route("/v3", get(versions::show))
            .route("/v3/", get(versions::show))
            .route("/v3/auth/tokens", get(auth::validate).post(auth::issue).delete(auth::revoke))
            .route("/v3/auth/catalog", get(auth::catalog))
            .route("/v3/auth/projects", get(auth::projects))
            .route("/v3/auth/domains", get(auth::domains))
            .route("/v3/auth/system", get(auth::system))
            .route("/v3/users", get(users::list).post(users::create))
            .route("/v3/users/{user_id}", get(users::show).patch(users::update).delete(users::delete))
            .route("/v3/users/{user_id}/password", post(users::change_password))
            .route("/v3/users/{user_id}/projects", get(users::projects))
            .route("/v3/users/{user_id}/groups", get(groups::of_user))
            .route("/v3/projects", get(projects::list).post(projects::create))
            .route("/v3/projects/{project_id}", get(projects::show).patch(projects::update).delete(projects::delete))
            .route("/v3/domains", get(domains::list).post(domains::create))
            .route("/v3/domains/{domain_id}", get(domains::show).patch(domains::update).delete(domains::delete))
            .route("/v3/roles", get(roles::list).post(roles::create))
            .route("/v3/roles/{role_id}", get(roles::show).patch(roles::update).delete(roles::delete))
            .route("/v3/roles/{role_id}/implies", get(roles::implied))
            .route(
                "/v3/roles/{role_id}/implies/{implied_role_id}",
                get(roles::implication).put(not_implemented).delete(not_implemented),
            )
            .route("/v3/role_inferences", get(roles::inferences))
            .route("/v3/role_assignments", get(assignments::list))
            .route("/v3/groups", get(groups::list).post(not_implemented))
            .route("/v3/groups/{group_id}", get(groups::show))
            .route("/v3/groups/{group_id}/users", get(groups::show))
            .route("/v3/services", get(catalog::services).post(not_implemented))
            .route("/v3/services/{id}", get(catalog::service).patch(not_implemented).delete(not_implemented))
            .route("/v3/endpoints", get(catalog::endpoints).post(not_implemented))
            .route("/v3/endpoints/{id}", get(catalog::endpoint).patch(not_implemented).delete(not_implemented))
            .route("/v3/regions", get(catalog::regions).post(not_implemented))
            .route("/v3/regions/{id}", get(catalog::region).patch(not_implemented).delete(not_implemented));
        for target in ["/v3/projects/{project_id}", "/v3/domains/{domain_id}", "/v3/system"] {
            router = router
                .route(&format!("{target}/users/{{user_id}}/roles"), get(grants::list))
                .route(
                    &format!("{target}/users/{{user_id}}/roles/{{role_id}}"),
                    get(grants::check).head(grants::check).put(grants::grant).delete(grants::revoke),
                )
                .route(&format!("{target}/groups/{{group_id}}/roles"), get(groups::show))
                .route(&format!("{target}/groups/{{group_id}}/roles/{{role_id}}"), any(groups::show));
        }
        router
            .fallback(async || IdentityError::UrlNotFound)
            .method_not_allowed_fallback(async || IdentityError::MethodNotAllowed)
            .layer(from_fn_with_state(self.clone(), serve))
            .with_state(self.clone())
    }
}

/// For what Keystone does and this service does not, once the caller may ask for it at all.
async fn not_implemented(caller: super::policy::Caller) -> IdentityError {
    caller.manage("identity:not_implemented").err().unwrap_or(IdentityError::NotImplemented)
}

async fn serve(State(service): State<Arc<IdentityService>>, request: Request, next: Next) -> Response {
    let request_id = format!("req-{}", Uuid::new_v4());
    let span = tracing::info_span!("identity", request_id);
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let answer = next.run(request).instrument(span);
    let response = if is_read {
        answer.await
    } else {
        let answered = tokio::spawn(answer).await;
        answered.unwrap_or_else(|error| IdentityError::Panicked(error.to_string()).into_response())
    };
    finished(&service, response, &request_id)
}

fn finished(service: &IdentityService, response: Response, request_id: &str) -> Response {
    let mut response = in_error_form(response);
    let challenge = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("X-Auth-Token"));
    if let Ok(request_id) = HeaderValue::from_str(request_id) {
        headers.insert("x-openstack-request-id", request_id);
    }
    if challenge && let Ok(challenge) = HeaderValue::from_str(&format!("Keystone uri=\"{}\"", service.url("/v3"))) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Refusals that axum words itself, a path that is no UTF-8 for one, in the form that clients can read.
fn in_error_form(response: Response) -> Response {
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    match response.status() {
        status if is_json || !(status.is_client_error() || status.is_server_error()) => response,
        StatusCode::NOT_FOUND => IdentityError::UrlNotFound.into_response(),
        StatusCode::METHOD_NOT_ALLOWED => IdentityError::MethodNotAllowed.into_response(),
        status if status.is_server_error() => IdentityError::Panicked(status.to_string()).into_response(),
        status => IdentityError::Invalid(status.to_string()).into_response(),
    }
}
