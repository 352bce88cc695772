//! The route table: one row per operation. The router, the version document and the coverage tests come from it.
//!
//! A row says method and path (without `/v2.1` and the optional project id), the action key in the body where there is
//! one, the microversions in which the operation exists, its policy rule, the schemas of its body and its query by
//! microversion, and its handler. To add one, see `docs/adding-an-api.md`.

use axum::http::Method;
use futures::future::BoxFuture;
use kilonova_core::Microversion;
use serde_json::Value;

use crate::call::{Answer, Call};
use crate::versions::{LEGACY, MAX_VERSION, MIN_VERSION};

/// Answers one operation.
pub(crate) type Handler = fn(Call) -> BoxFuture<'static, Answer>;

/// A schema and the microversions that it holds for, both ends included. [`LEGACY`] stands for the `/v2` API; where no
/// range has it, the oldest schema holds there too.
#[derive(Clone, Copy)]
pub(crate) struct Versioned {
    pub from: Microversion,
    pub to: Microversion,
    pub schema: fn() -> Value,
}

impl Versioned {
    pub const fn new(from: Microversion, to: Microversion, schema: fn() -> Value) -> Self {
        Self { from, to, schema }
    }

    /// For every microversion from `from` on.
    pub const fn since(from: Microversion, schema: fn() -> Value) -> Self {
        Self::new(from, MAX_VERSION, schema)
    }

    /// For every microversion.
    pub const fn always(schema: fn() -> Value) -> Self {
        Self::new(LEGACY, MAX_VERSION, schema)
    }
}

/// A row of the table.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    pub method: Verb,
    /// `/servers/{id}`
    pub path: &'static str,
    /// The key of the body that selects the operation.
    pub action: Option<&'static str>,
    pub from: Microversion,
    pub to: Microversion,
    pub policy: &'static str,
    pub body: &'static [Versioned],
    pub query: &'static [Versioned],
    pub handler: Handler,
}

/// The methods of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

impl Verb {
    pub fn is(self, method: &Method) -> bool {
        self.as_str() == method.as_str()
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

impl Route {
    const fn new(method: Verb, path: &'static str, policy: &'static str, handler: Handler) -> Self {
        Self { method, path, action: None, from: MIN_VERSION, to: MAX_VERSION, policy, body: &[], query: &[], handler }
    }

    /// Selected by this key of the body.
    const fn action(mut self, name: &'static str) -> Self {
        self.action = Some(name);
        self
    }

    /// With a body.
    const fn body(mut self, schemas: &'static [Versioned]) -> Self {
        self.body = schemas;
        self
    }

    /// With a checked query string.
    const fn query(mut self, schemas: &'static [Versioned]) -> Self {
        self.query = schemas;
        self
    }

    /// Exists from this microversion on.
    const fn since(mut self, version: Microversion) -> Self {
        self.from = version;
        self
    }

    /// Exists up to this microversion.
    #[allow(dead_code, reason = "resources that Nova removed come with the proxies")]
    const fn until(mut self, version: Microversion) -> Self {
        self.to = version;
        self
    }

    /// Whether the operation exists in a microversion.
    pub fn exists_in(&self, version: Microversion) -> bool {
        (self.from..=self.to).contains(&version)
    }
}

const fn get(path: &'static str, policy: &'static str, handler: Handler) -> Route {
    Route::new(Verb::Get, path, policy, handler)
}

const fn post(path: &'static str, policy: &'static str, handler: Handler) -> Route {
    Route::new(Verb::Post, path, policy, handler)
}

const fn put(path: &'static str, policy: &'static str, handler: Handler) -> Route {
    Route::new(Verb::Put, path, policy, handler)
}

const fn delete(path: &'static str, policy: &'static str, handler: Handler) -> Route {
    Route::new(Verb::Delete, path, policy, handler)
}

const fn server_action(name: &'static str, policy: &'static str, handler: Handler) -> Route {
    post("/servers/{id}/action", policy, handler).action(name)
}

/// An `async fn(Call) -> Answer` as a [`Handler`].
macro_rules! handler {
    ($path:path) => {
        |call| Box::pin($path(call))
    };
}

/// The table.
#[rustfmt::skip]
pub(crate) const ROUTES: &[Route] = &{
    use crate::schemas::{any_query, server_metadata};
    use crate::v21::servers::metadata;
    const ANY_QUERY: &[Versioned] = &[Versioned::always(any_query)];
    [
        get("/servers/{server_id}/metadata", "os_compute_api:server-metadata:index", handler!(metadata::index)).query(ANY_QUERY),
        post("/servers/{server_id}/metadata", "os_compute_api:server-metadata:create", handler!(metadata::create))
            .body(&[Versioned::always(server_metadata::create)]),
        put("/servers/{server_id}/metadata", "os_compute_api:server-metadata:update_all", handler!(metadata::update_all))
            .body(&[Versioned::always(server_metadata::create)]),
        get("/servers/{server_id}/metadata/{id}", "os_compute_api:server-metadata:show", handler!(metadata::show)).query(ANY_QUERY),
        put("/servers/{server_id}/metadata/{id}", "os_compute_api:server-metadata:update", handler!(metadata::update))
            .body(&[Versioned::always(server_metadata::update)]),
        delete("/servers/{server_id}/metadata/{id}", "os_compute_api:server-metadata:delete", handler!(metadata::delete)),
    ]
};
