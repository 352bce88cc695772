//! Requests to one service: where it is, with whose token, how often.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kilonova_core::{Config, RequestContext};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use super::answer::{Answer, broken};
use super::catalog;
use super::options::{Access, HttpConfigError, Retries, of_project, servers, unversioned};
use super::session::{Grant, Session, Sessions};
use crate::ClientError;

/// The longest wait between two tries.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// What a service is called, where.
pub(super) struct Kind {
    /// In errors: `network`.
    pub(super) service: &'static str,
    /// In `nova.conf`: `neutron`.
    pub(super) section: &'static str,
    /// In the catalog.
    pub(super) service_type: &'static str,
    /// Nova's own option for the number of retries.
    pub(super) retries_option: Option<&'static str>,
    /// The first segment of every path: `v2.0`.
    pub(super) version: Option<&'static str>,
    /// Sent with every request.
    pub(super) header: Option<(&'static str, &'static str)>,
}

/// Whose token a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The caller's; the service's own for a context without one, which is a service acting by itself.
    Caller,
    /// The service's own.
    Service,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Call {
    method: Method,
    /// Segments below the endpoint and its version.
    path: Vec<String>,
    query: Vec<(Cow<'static, str>, String)>,
    header: Option<(&'static str, HeaderValue)>,
    body: Option<Value>,
    /// A file that is the body.
    file: Option<PathBuf>,
    by: By,
}

impl Call {
    fn new(method: Method, path: &[&str], body: Option<Value>) -> Self {
        let path = path.iter().map(|segment| (*segment).to_owned()).collect();
        Self { method, path, query: Vec::new(), header: None, body, file: None, by: By::Caller }
    }

    pub(super) fn get(path: &[&str]) -> Self {
        Self::new(Method::GET, path, None)
    }

    pub(super) fn post(path: &[&str], body: Value) -> Self {
        Self::new(Method::POST, path, Some(body))
    }

    pub(super) fn put(path: &[&str], body: Value) -> Self {
        Self::new(Method::PUT, path, Some(body))
    }

    /// A `PUT` without a body.
    pub(super) fn declare(path: &[&str]) -> Self {
        Self::new(Method::PUT, path, None)
    }

    pub(super) fn delete(path: &[&str]) -> Self {
        Self::new(Method::DELETE, path, None)
    }

    /// Changes of a resource, in the language of that content type.
    pub(super) fn patch(path: &[&str], content_type: &'static str, body: Value) -> Self {
        Self::new(Method::PATCH, path, Some(body)).header("content-type", HeaderValue::from_static(content_type))
    }

    /// A `PUT` of the bytes of a file.
    pub(super) fn upload(path: &[&str], file: PathBuf) -> Self {
        let call = Self { file: Some(file), ..Self::new(Method::PUT, path, None) };
        call.header("content-type", HeaderValue::from_static("application/octet-stream"))
    }

    pub(super) fn query(mut self, name: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        self.query.push((name.into(), value.to_string()));
        self
    }

    /// The same parameter for each of the values.
    pub(super) fn queries(mut self, name: &'static str, values: impl IntoIterator<Item = impl ToString>) -> Self {
        self.query.extend(values.into_iter().map(|value| (name.into(), value.to_string())));
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    pub(super) fn by(mut self, by: By) -> Self {
        self.by = by;
        self
    }

    /// Whether it may be sent again when nobody knows what became of it.
    fn is_idempotent(&self) -> bool {
        self.method != Method::POST
    }
}

/// One service.
pub(super) struct Adapter {
    kind: Kind,
    access: Access,
    session: Arc<Session>,
    /// Vouches for callers whose token may end while the work goes on.
    service_user: Option<Arc<Session>>,
    /// Which of several endpoints is next.
    turn: AtomicUsize,
    /// The version at whose end a URL may name a project, which must be the caller's.
    of_projects: Option<&'static str>,
}

impl Adapter {
    pub(super) fn from_config(config: &Config, sessions: &mut Sessions, kind: Kind) -> Result<Self, HttpConfigError> {
        let access = Access::from_config(config, kind.section, kind.service_type, kind.retries_option)?;
        Self::with_access(config, sessions, kind, access)
    }

    /// With what its section says in another way than others.
    pub(super) fn with_access(
        config: &Config,
        sessions: &mut Sessions,
        kind: Kind,
        access: Access,
    ) -> Result<Self, HttpConfigError> {
        let session = sessions.open(config, kind.section, access.retries)?;
        let sends_service_token = config.flag("service_user", "send_service_user_token", false)?;
        let service_user =
            if sends_service_token { Some(sessions.open(config, "service_user", access.retries)?) } else { None };
        Ok(Self { kind, access, session, service_user, turn: AtomicUsize::default(), of_projects: None })
    }

    /// The URLs of that version of the service name the project that they are for.
    pub(super) fn of_projects(mut self, version: &'static str) -> Self {
        self.of_projects = Some(version);
        self
    }

    /// Identity itself is where its tokens come from, unless the section says otherwise.
    pub(super) fn at_auth_url(mut self) -> Self {
        if self.access.endpoints.is_empty() {
            self.access.endpoints.push(self.session.auth_url().clone());
        }
        self
    }

    /// Where `option` lists servers, they are what is asked: in turn, and the next one when one does not answer.
    pub(super) fn at_servers(mut self, config: &Config, option: &'static str) -> Result<Self, HttpConfigError> {
        let servers = servers(config, self.kind.section, option)?;
        if !servers.is_empty() {
            self.access.endpoints = servers;
        }
        Ok(self)
    }

    pub(super) fn retries(&self) -> &Retries {
        &self.access.retries
    }

    /// Sends a request and reads the answer. An `Err` is that there was no answer, or none to this service's own token.
    pub(super) async fn send(&self, context: &RequestContext, call: &Call) -> Result<Answer, ClientError> {
        let response = self.dispatch(context, call, Some(self.session.transport().timeout)).await?;
        Answer::read(self.kind.service, response).await
    }

    /// Sends a request; the body of the answer may take as long as it wants, if it never stands still for long.
    pub(super) async fn stream(&self, context: &RequestContext, call: &Call) -> Result<Response, ClientError> {
        self.dispatch(context, call, None).await
    }

    async fn dispatch(
        &self,
        context: &RequestContext,
        call: &Call,
        timeout: Option<Duration>,
    ) -> Result<Response, ClientError> {
        let caller = context.auth_token.as_deref().filter(|token| call.by == By::Caller && !token.is_empty());
        let mut grant = self.session.grant().await?;
        for is_last in [false, true] {
            let project_id = caller.map(|_| context.project_id()).filter(|id| !id.is_empty());
            let urls = self.urls(&grant, call, project_id)?;
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let token = caller.unwrap_or(&grant.token.0);
            let voucher = match (&self.service_user, caller) {
                (Some(session), Some(_)) => Some(session.grant().await?),
                _ => None,
            };
            let attempt = |number: usize| {
                let url = urls[turn.wrapping_add(number) % urls.len()].clone();
                let mut request = self.request(context, call, url, token);
                if let Some(voucher) = &voucher {
                    request = request.header("x-service-token", sensitive(&voucher.token.0));
                }
                timeout.into_iter().fold(request, RequestBuilder::timeout)
            };
            let response = exchange(self.kind.service, &self.access.retries, call.is_idempotent(), attempt).await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            // What was refused may be the caller's token, or the one that vouches for it.
            let refused = match (caller, voucher, &self.service_user) {
                (None, _, _) => (&self.session, grant.clone()),
                (Some(_), Some(voucher), Some(session)) => (session, voucher),
                _ => return Ok(response),
            };
            refused.0.forget(&refused.1);
            if is_last && caller.is_none() {
                let reason = format!("the token of [{}] is refused", self.session.transport().section);
                return Err(ClientError::unavailable(self.kind.service, reason));
            }
            if is_last {
                return Ok(response);
            }
            grant = self.session.grant().await?;
        }
        // Both rounds return.
        Err(ClientError::unavailable(self.kind.service, "the request was not sent"))
    }

    /// Never empty.
    fn urls(&self, grant: &Grant, call: &Call, project_id: Option<&str>) -> Result<Vec<Url>, ClientError> {
        if !self.access.endpoints.is_empty() {
            let endpoints = self.access.endpoints.iter().cloned();
            return Ok(endpoints.map(|endpoint| self.url(endpoint, call, project_id)).collect());
        }
        let endpoint = catalog::endpoint(&grant.catalog, &self.access).ok_or_else(|| {
            let sought = catalog::description(&self.access);
            ClientError::unavailable(self.kind.service, format!("the catalog has no endpoint of {sought}"))
        })?;
        Ok(vec![self.url(endpoint, call, project_id)])
    }

    fn url(&self, endpoint: Url, call: &Call, project_id: Option<&str>) -> Url {
        let mut url = match self.of_projects {
            Some(version) => of_project(endpoint, version, project_id),
            None if self.kind.version.is_some() => unversioned(endpoint),
            None => endpoint,
        };
        let path = self.kind.version.into_iter().chain(call.path.iter().map(String::as_str));
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        url
    }

    fn request(&self, context: &RequestContext, call: &Call, url: Url, token: &str) -> RequestBuilder {
        let mut request = self.session.http().request(call.method.clone(), url);
        request = request.header("x-auth-token", sensitive(token)).header("accept", "application/json");
        let request_id = context.global_request_id.as_deref().or(context.request_id.as_deref());
        if let Some(request_id) = request_id.and_then(|id| HeaderValue::from_str(id).ok()) {
            request = request.header("x-openstack-request-id", request_id);
        }
        if let Some((name, value)) = self.kind.header {
            request = request.header(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        if let Some((name, value)) = &call.header {
            request = request.header(*name, value.clone());
        }
        match (&call.body, &call.file) {
            (Some(body), _) => request.json(body),
            (None, Some(file)) => request.body(read(file)),
            (None, None) => request,
        }
    }
}

/// The bytes of a file, read as they are sent. One that cannot be opened breaks the request off.
fn read(file: &std::path::Path) -> Body {
    match std::fs::File::open(file) {
        Ok(file) => Body::from(tokio::fs::File::from_std(file)),
        Err(error) => Body::wrap_stream(futures::stream::once(async { Err::<Vec<u8>, _>(error) })),
    }
}

/// A token as a header that no debug output shows. What cannot be one is no token, and the service says so.
pub(super) fn sensitive(token: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(token).unwrap_or_else(|_| HeaderValue::from_static("-"));
    value.set_sensitive(true);
    value
}

/// Sends a request until it is answered: again when no connection came about, and, where it may be repeated, when the
/// connection broke or the service answers 503. `attempt` gets the number of the try, from 0.
pub(super) async fn exchange(
    service: &'static str,
    retries: &Retries,
    may_repeat: bool,
    attempt: impl Fn(usize) -> RequestBuilder,
) -> Result<Response, ClientError> {
    let (mut unconnected, mut unavailable) = (0u32, 0u32);
    loop {
        match attempt((unconnected + unavailable) as usize).send().await {
            Ok(response) if response.status() != StatusCode::SERVICE_UNAVAILABLE || !may_repeat => return Ok(response),
            Ok(response) if unavailable >= retries.status_code => return Ok(response),
            Ok(_) => {
                wait(retries.status_code_delay, unavailable).await;
                unavailable += 1;
            }
            Err(error) => {
                let is_broken = may_repeat && error.is_request() && !error.is_timeout();
                if !(error.is_connect() || is_broken) || unconnected >= retries.connect {
                    return Err(broken(service, error));
                }
                tracing::debug!(service, error = %error.without_url(), "a request is sent again");
                wait(retries.connect_delay, unconnected).await;
                unconnected += 1;
            }
        }
    }
}

/// Waits before a try that follows `times` others.
pub(super) async fn wait(first: Duration, times: u32) {
    tokio::time::sleep(first.saturating_mul(1 << times.min(16)).min(MAX_DELAY)).await;
}
