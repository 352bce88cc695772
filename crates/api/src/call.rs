//! One authenticated, negotiated and validated request on its way to a handler, and how handlers answer.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use kilonova_core::{Microversion, RequestContext};
use serde::Serialize;
use serde_json::Value;

use crate::error::ApiError;
use crate::policy::Target;
use crate::state::ApiState;
use crate::views::links::Links;

/// What a handler returns.
pub(crate) type Answer = Result<Response, ApiError>;

/// A request as a handler sees it.
pub(crate) struct Call {
    pub state: Arc<ApiState>,
    /// Who asks.
    pub context: Arc<RequestContext>,
    /// The negotiated microversion; 2.1 for the legacy API.
    pub version: Microversion,
    /// The `{…}` parts of the path.
    pub params: Vec<(&'static str, String)>,
    /// What the query schema let through.
    pub query: Query,
    /// What the body schema let through; null where there is no body.
    pub body: Value,
    /// Makes the links of the answer.
    pub links: Links,
    /// The policy rule of the route.
    pub policy: &'static str,
}

impl Call {
    /// A `{name}` part of the path. The route table's test makes sure that it is there.
    pub(crate) fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }

    /// Whether the negotiated microversion is at least `version`.
    pub(crate) fn since(&self, version: Microversion) -> bool {
        self.version >= version
    }

    /// Fails unless the route's own rule allows it on a resource of that project and user.
    pub(crate) fn authorize(&self, target: Target<'_>) -> Result<(), ApiError> {
        self.require(self.policy, target)
    }

    /// As [`Call::authorize`], for something that belongs to the caller's own project.
    pub(crate) fn authorize_own(&self) -> Result<(), ApiError> {
        self.authorize(self.own())
    }

    /// The caller's own project and user as a target.
    pub(crate) fn own(&self) -> Target<'_> {
        Target { project_id: self.context.project_id(), user_id: self.context.user_id() }
    }

    /// Fails unless `rule` allows it.
    pub(crate) fn require(&self, rule: &str, target: Target<'_>) -> Result<(), ApiError> {
        if self.can(rule, target) { Ok(()) } else { Err(ApiError::policy(rule)) }
    }

    /// Whether `rule` allows it.
    pub(crate) fn can(&self, rule: &str, target: Target<'_>) -> bool {
        self.state.policy.allows(rule, &self.context, target)
    }
}

/// The query string, in the order of its parameters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(pub Vec<(String, String)>);

impl Query {
    /// The last value of a parameter: what a Python dict of them holds.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether the parameter is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// A JSON answer.
pub(crate) fn json<T: Serialize + ?Sized>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => bytes_answer(status, bytes),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            empty(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// A 200 answer with a JSON body.
pub(crate) fn ok<T: Serialize + ?Sized>(body: &T) -> Answer {
    Ok(json(StatusCode::OK, body))
}

/// An answer without a body: 202, 204.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn bytes_answer(status: StatusCode, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
