//! From an HTTP request to its handler and back.
//!
//! ```text
//!   path ─┬─ /, /v2, /v2.1 ──────────────> version documents, for everybody
//!         ├─ /openapi.json ──────────────> what there is, for everybody
//!         └─ /v2.1[/{project_id}]/… ──> length ─> authenticate ─> route ─> negotiate ─> content type ─> body
//!                                          ─> action ─> microversion range ─> JSON ─> project id ─> schemas ─> handler
//! ```

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock, OnceLock};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{OriginalUri, Query as RawQuery, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header, request::Parts};
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use kilonova_core::{Microversion, RequestContext};
use serde_json::Value;
use tracing::Instrument as _;

use crate::call::{Answer, Call, Query};
use crate::error::ApiError;
use crate::middleware::request_id::RequestIds;
use crate::middleware::{authenticate::authenticate, limits, negotiate};
use crate::openapi;
use crate::routes::{ROUTES, Route, Versioned};
use crate::state::ApiState;
use crate::validation::Schema;
use crate::versions::{LEGACY, MIN_VERSION};
use crate::views::links::{Links, base_url};
use crate::views::versions;

/// The compute API, served as it is or mounted with `nest_service("/compute", …)` (`nest` would not take `/compute/`).
pub fn router(state: Arc<ApiState>) -> Router {
    let app = Arc::new(App { state, table: Table::new(ROUTES) });
    Router::new().fallback(serve).with_state(app)
}

struct App {
    state: Arc<ApiState>,
    table: Table,
}

async fn serve(State(app): State<Arc<App>>, OriginalUri(original): OriginalUri, request: Request) -> Response {
    let ids = RequestIds::of(request.headers());
    let (method, path) = (request.method().clone(), original.path().to_owned());
    let span = tracing::info_span!("api", request_id = ids.own);
    let answered = AssertUnwindSafe(answer(&app, &original, request, &ids)).catch_unwind().instrument(span).await;
    let mut response = answered.unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let what = what.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        ApiError::internal(format!("panic: {what}")).into_response()
    });
    ids.mark(&mut response);
    tracing::debug!(request_id = ids.own, %method, path, status = response.status().as_u16(), "answered");
    response
}

async fn answer(app: &App, original: &Uri, request: Request, ids: &RequestIds) -> Response {
    let (parts, body) = request.into_parts();
    let base = base_url(original, &parts, &app.state.config);
    // A slash at the end is a part without a name, which no route has: so it is with Nova's routes.
    let segments: Vec<String> = parts.uri.path().trim_start_matches('/').split('/').map(decode).collect();
    let legacy = match segments.first().map(String::as_str) {
        None | Some("") => return versions::all(&base),
        Some("v2.1") => false,
        Some("v2") => true,
        Some("openapi.json") if segments.len() == 1 && parts.method == Method::GET => return described(),
        Some(_) => return ApiError::no_such_resource().into_response(),
    };
    let rest = &segments[1..];
    if rest.iter().all(String::is_empty) {
        return versioned(&parts.headers, legacy, |_| Ok(versions::one(&base, legacy)));
    }
    let request = Incoming { parts, body, base, legacy, ids };
    match request.authenticated(app, rest).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

/// What the API says of itself, to everybody.
fn described() -> Response {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(openapi::document);
    crate::call::json(StatusCode::OK, &*DOCUMENT)
}

/// Answers in a negotiated microversion, and says so; the legacy API has none.
fn versioned(headers: &HeaderMap, legacy: bool, answer: impl FnOnce(Microversion) -> Answer) -> Response {
    if legacy {
        return answer(MIN_VERSION).unwrap_or_else(ApiError::into_response);
    }
    let negotiated = negotiate::negotiate(headers);
    let result = match negotiated.refusal {
        Some(refusal) => Err(refusal),
        None => answer(negotiated.version.unwrap_or(MIN_VERSION)),
    };
    let mut response = result.unwrap_or_else(ApiError::into_response);
    if let Some(version) = negotiated.version {
        negotiate::mark(&mut response, version);
    }
    response
}

/// A request to something that needs a token.
struct Incoming<'a> {
    parts: Parts,
    body: Body,
    base: String,
    legacy: bool,
    ids: &'a RequestIds,
}

impl Incoming<'_> {
    async fn authenticated(self, app: &App, segments: &[String]) -> Answer {
        limits::check_length(&self.parts.headers)?;
        let identity_uri = app.state.config.www_authenticate_uri.clone();
        let identity_uri = identity_uri.unwrap_or_else(|| identity_beside(&self.base));
        let context = authenticate(&app.state, &self.parts.headers, self.ids, &identity_uri).await?;
        let found = app.table.find(segments, &self.parts.method)?;
        let (legacy, headers) = (self.legacy, self.parts.headers.clone());
        let negotiated = negotiate::negotiate(&headers);
        let version = if legacy { MIN_VERSION } else { negotiated.version.unwrap_or(MIN_VERSION) };
        if let (false, Some(_)) = (legacy, &negotiated.refusal) {
            return Ok(versioned(&headers, legacy, |_| Err(ApiError::no_such_resource())));
        }
        let result = self.negotiated(app, context, found, version).await;
        Ok(versioned(&headers, legacy, |_| result))
    }

    async fn negotiated(self, app: &App, context: RequestContext, found: Found<'_>, version: Microversion) -> Answer {
        limits::check_content_type(&self.parts.headers)?;
        let bytes = limits::read(self.body).await?;
        let entry = found.select(&bytes)?;
        if !entry.route.exists_in(version) {
            return Err(ApiError::no_such_resource());
        }
        let schemas = if self.legacy { LEGACY } else { version };
        let mut body = read_json(&self.parts.method, &bytes)?;
        check_project(found.project_id.as_deref(), &context)?;
        let mut query = read_query(&self.parts.uri)?;
        if let Some(schema) = entry.query_schema(schemas) {
            schema.check_query(&mut query)?;
        }
        if let Some(schema) = entry.body_schema(schemas) {
            schema.check_body(&mut body, self.legacy)?;
        }
        let links = Links::new(&self.base, self.legacy, found.project_id.as_deref());
        let call = Call {
            state: Arc::clone(&app.state),
            context: Arc::new(context),
            version,
            params: found.params,
            query,
            body,
            links,
            policy: entry.route.policy,
        };
        (entry.route.handler)(call).await
    }
}

/// Where `kilonova up` has its identity service: beside the compute API.
fn identity_beside(base: &str) -> String {
    let authority = base.split_once("://").map_or(base, |(_, rest)| rest);
    let host = authority.split('/').next().unwrap_or_default();
    let scheme = base.split_once("://").map_or("http", |(scheme, _)| scheme);
    format!("{scheme}://{host}/identity")
}

fn check_project(in_url: Option<&str>, context: &RequestContext) -> Result<(), ApiError> {
    match in_url {
        Some(id) if id != context.project_id() => Err(ApiError::BadRequest(format!(
            "Malformed request URL: URL's project_id '{id}' doesn't match Context's project_id '{}'",
            context.project_id()
        ))),
        _ => Ok(()),
    }
}

fn read_json(method: &Method, bytes: &Bytes) -> Result<Value, ApiError> {
    let has_body = method == Method::POST || method == Method::PUT;
    if !has_body || bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(bytes).map_err(|_| limits::malformed())
}

fn read_query(uri: &Uri) -> Result<Query, ApiError> {
    let parsed = RawQuery::<Vec<(String, String)>>::try_from_uri(uri);
    parsed.map(|RawQuery(pairs)| Query(pairs)).map_err(|error| ApiError::BadRequest(error.to_string()))
}

/// `%41` → `A`; what is no escape stays.
fn decode(segment: &str) -> String {
    let bytes = segment.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| segment.get(at + 1..at + 3)).flatten();
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The route table, ready to be searched.
pub(crate) struct Table {
    paths: Vec<Path>,
}

struct Path {
    segments: Vec<Segment>,
    entries: Vec<Entry>,
}

enum Segment {
    Literal(&'static str),
    Param(&'static str),
}

/// A row with its schemas, compiled when they are first needed.
pub(crate) struct Entry {
    pub route: &'static Route,
    body: Vec<OnceLock<Schema>>,
    query: Vec<OnceLock<Schema>>,
}

/// A path that matched, with the rows of the method.
struct Found<'a> {
    entries: Vec<&'a Entry>,
    params: Vec<(&'static str, String)>,
    project_id: Option<String>,
}

impl Table {
    pub(crate) fn new(routes: &'static [Route]) -> Self {
        let mut paths: Vec<(&'static str, Path)> = Vec::new();
        for route in routes {
            let entry = Entry::new(route);
            match paths.iter_mut().find(|(path, _)| *path == route.path) {
                Some((_, path)) => path.entries.push(entry),
                None => paths.push((route.path, Path { segments: segments(route.path), entries: vec![entry] })),
            }
        }
        // Literals first: `/servers/detail` is not the server `detail`.
        paths.sort_by_key(|(_, path)| path.segments.iter().filter(|part| matches!(part, Segment::Param(_))).count());
        Self { paths: paths.into_iter().map(|(_, path)| path).collect() }
    }

    /// Every row, for tests.
    #[cfg(test)]
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.paths.iter().flat_map(|path| &path.entries)
    }

    /// The path without, else with a project id in front. 404 for no path, 405 for a path without that method.
    fn find(&self, segments: &[String], method: &Method) -> Result<Found<'_>, ApiError> {
        let plain = self.match_path(segments).map(|found| (found, None));
        let scoped = || {
            let (project_id, rest) = segments.split_first().filter(|(first, _)| !first.is_empty())?;
            Some((self.match_path(rest)?, Some(project_id.clone())))
        };
        let ((path, params), project_id) = plain.or_else(scoped).ok_or_else(ApiError::no_such_resource)?;
        let entries: Vec<&Entry> = path.entries.iter().filter(|entry| entry.route.method.is(method)).collect();
        if entries.is_empty() {
            let mut allow: Vec<&str> = path.entries.iter().map(|entry| entry.route.method.as_str()).collect();
            allow.dedup();
            return Err(ApiError::MethodNotAllowed { allow: allow.join(", ") });
        }
        Ok(Found { entries, params, project_id })
    }

    fn match_path(&self, segments: &[String]) -> Option<(&Path, Vec<(&'static str, String)>)> {
        self.paths.iter().find_map(|path| Some((path, path.matches(segments)?)))
    }
}

impl Path {
    fn matches(&self, segments: &[String]) -> Option<Vec<(&'static str, String)>> {
        if self.segments.len() != segments.len() {
            return None;
        }
        let mut params = Vec::new();
        for (part, given) in self.segments.iter().zip(segments) {
            match part {
                Segment::Literal(literal) if literal == given => {}
                Segment::Literal(_) => return None,
                Segment::Param(_) if given.is_empty() => return None,
                Segment::Param(name) => params.push((*name, given.clone())),
            }
        }
        Some(params)
    }
}

fn segments(path: &'static str) -> Vec<Segment> {
    let parts = path.split('/').filter(|part| !part.is_empty());
    let segment = |part: &'static str| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        Some(name) => Segment::Param(name),
        None => Segment::Literal(part),
    };
    parts.map(segment).collect()
}

impl<'a> Found<'a> {
    /// The row: of a path with actions, the one whose key the body has.
    fn select(&self, bytes: &Bytes) -> Result<&'a Entry, ApiError> {
        if let [entry] = self.entries.as_slice()
            && entry.route.action.is_none()
        {
            return Ok(entry);
        }
        let body: Value = serde_json::from_slice(bytes).map_err(|_| limits::malformed())?;
        let object = body.as_object().filter(|object| object.len() == 1).ok_or_else(limits::malformed)?;
        let name = object.keys().next().map(String::as_str).unwrap_or_default();
        let entry = self.entries.iter().find(|entry| entry.route.action == Some(name));
        entry.copied().ok_or_else(|| ApiError::BadRequest(format!("There is no such action: {name}")))
    }
}

impl Entry {
    fn new(route: &'static Route) -> Self {
        let empty = |schemas: &[Versioned]| schemas.iter().map(|_| OnceLock::new()).collect();
        Self { route, body: empty(route.body), query: empty(route.query) }
    }

    pub(crate) fn body_schema(&self, version: Microversion) -> Option<&Schema> {
        schema(self.route.body, &self.body, version)
    }

    pub(crate) fn query_schema(&self, version: Microversion) -> Option<&Schema> {
        schema(self.route.query, &self.query, version)
    }
}

fn schema<'a>(sources: &[Versioned], compiled: &'a [OnceLock<Schema>], version: Microversion) -> Option<&'a Schema> {
    let at = sources.iter().position(|source| (source.from..=source.to).contains(&version));
    let at = at.or_else(|| (version == LEGACY && !sources.is_empty()).then_some(0))?;
    Some(compiled.get(at)?.get_or_init(|| Schema::compile((sources[at].schema)())))
}

/// The `Host` that links are made for.
pub(crate) fn host(parts: &Parts) -> &str {
    let header = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    header.or_else(|| parts.uri.authority().map(|authority| authority.as_str())).unwrap_or("localhost")
}
