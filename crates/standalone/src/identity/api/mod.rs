//! The handlers, one file per resource: each parses, authorises, acts, renders.

pub(crate) mod assignments;
pub(crate) mod auth;
pub(crate) mod catalog;
pub(crate) mod domains;
pub(crate) mod grants;
pub(crate) mod groups;
pub(crate) mod projects;
pub(crate) mod roles;
pub(crate) mod users;
pub(crate) mod versions;

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde_json::Value;

use super::fields::parse_bool;
use super::{IdentityError, IdentityService};

pub(crate) type Service = State<Arc<IdentityService>>;
/// A body, or why there is none.
pub(crate) type Answer = Result<axum::Json<Value>, IdentityError>;
/// The body of 201, or why there is none.
pub(crate) type Created = Result<(StatusCode, axum::Json<Value>), IdentityError>;
/// 204, or why not.
pub(crate) type Done = Result<StatusCode, IdentityError>;

fn created(body: Value) -> (StatusCode, axum::Json<Value>) {
    (StatusCode::CREATED, axum::Json(body))
}

/// The query of a request; unknown parameters are nobody's business, as in Keystone.
pub(crate) struct Params(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = IdentityError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, IdentityError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(IdentityError::Invalid(error.to_string())),
        }
    }
}

impl Params {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn owned(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    /// A parameter whose presence says yes, unless its value says no.
    fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value != "0")
    }

    /// A filter for a boolean.
    fn flag(&self, name: &str) -> Result<Option<bool>, IdentityError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        // Keystone takes the bare `?enabled` for yes.
        let flag = if value.is_empty() { Some(true) } else { parse_bool(value) };
        let invalid = || IdentityError::Invalid(format!("Invalid input for field '{name}': it is not a boolean"));
        flag.map(Some).ok_or_else(invalid)
    }
}
