//! A service's own token: taken by password, renewed before it ends and after a 401, by one task while others wait.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use kilonova_core::Config;
use reqwest::{Certificate, Client, StatusCode, Url, redirect};
use rustls::crypto::CryptoProvider;
use serde_json::Value;

use super::adapter::exchange;
use super::answer::{Answer, header};
use super::options::{Credentials, HttpConfigError, Retries, Secret, Transport};
use super::single_flight::SingleFlight;
use crate::ClientError;

/// How long before its end a token is renewed; sooner for one that lives shortly.
const RENEWAL_MARGIN: TimeDelta = TimeDelta::seconds(120);
const SERVICE: &str = "identity";

/// What is open already, so that sections with the same credentials share one token.
#[derive(Debug, Default)]
pub struct Sessions(Vec<Arc<Session>>);

impl Sessions {
    /// The session of a section of `nova.conf`.
    pub(super) fn open(
        &mut self,
        config: &Config,
        section: &str,
        retries: Retries,
    ) -> Result<Arc<Session>, HttpConfigError> {
        let credentials = Credentials::from_config(config, section)?;
        let transport = Transport::from_config(config, section)?;
        let is_same = |known: &&Arc<Session>| {
            known.credentials == credentials && known.transport.is_like(&transport) && known.retries == retries
        };
        if let Some(known) = self.0.iter().find(is_same) {
            return Ok(known.clone());
        }
        let session = Arc::new(Session {
            http: client(&transport)?,
            transport,
            credentials,
            retries,
            grant: Mutex::default(),
            renewal: SingleFlight::default(),
        });
        self.0.push(session.clone());
        Ok(session)
    }
}

/// One set of credentials and what they are good for at the moment.
pub struct Session {
    http: Client,
    transport: Transport,
    credentials: Credentials,
    retries: Retries,
    grant: Mutex<Option<Arc<Grant>>>,
    renewal: SingleFlight<(), Arc<Grant>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Session").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

/// A token and its catalog.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) token: Secret,
    pub(super) catalog: Vec<Value>,
    renew_at: DateTime<Utc>,
}

impl Session {
    pub(super) fn http(&self) -> &Client {
        &self.http
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Identity's endpoint: `…/v3`.
    pub(super) fn auth_url(&self) -> &Url {
        &self.credentials.auth_url
    }

    /// A token that is good for a while.
    pub(super) async fn grant(self: &Arc<Self>) -> Result<Arc<Grant>, ClientError> {
        if let Some(grant) = self.known().filter(|grant| grant.renew_at > Utc::now()) {
            return Ok(grant);
        }
        let session = self.clone();
        self.renewal.run((), || async move { session.log_in().await }).await
    }

    /// Forgets a token that was refused, unless another has taken its place.
    pub(super) fn forget(&self, refused: &Grant) {
        let mut grant = self.grant.lock().unwrap_or_else(PoisonError::into_inner);
        if grant.as_ref().is_some_and(|grant| grant.token == refused.token) {
            *grant = None;
        }
    }

    fn known(&self) -> Option<Arc<Grant>> {
        self.grant.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn log_in(&self) -> Result<Arc<Grant>, ClientError> {
        // Whoever asked just before this work was there may find its predecessor's result.
        if let Some(grant) = self.known().filter(|grant| grant.renew_at > Utc::now()) {
            return Ok(grant);
        }
        let mut url = self.credentials.auth_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(["auth", "tokens"]);
        }
        let body = self.credentials.request();
        let attempt = |_| {
            let request = self.http.post(url.clone()).json(&body).timeout(self.transport.timeout);
            request.header("accept", "application/json")
        };
        let response = exchange(SERVICE, &self.retries, true, attempt).await?;
        let token = header(&response, "x-subject-token");
        let answer = Answer::read(SERVICE, response).await?;
        let body = answer.ok().map_err(|failure| match failure.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ClientError::unavailable(
                SERVICE,
                format!("the credentials of [{}] are refused: {}", self.transport.section, failure.message),
            ),
            _ => failure.unavailable(SERVICE),
        })?;
        let grant = Arc::new(grant(token, &body)?);
        *self.grant.lock().unwrap_or_else(PoisonError::into_inner) = Some(grant.clone());
        tracing::debug!(section = self.transport.section, renew_at = %grant.renew_at, "a service token was taken");
        Ok(grant)
    }
}

fn grant(token: Option<String>, body: &Value) -> Result<Grant, ClientError> {
    let missing = |what: &str| ClientError::unavailable(SERVICE, format!("a token without {what}"));
    let token = token.ok_or_else(|| missing("X-Subject-Token"))?;
    let expires_at = body.pointer("/token/expires_at").and_then(Value::as_str);
    let expires_at = expires_at.and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    let expires_at = expires_at.ok_or_else(|| missing("expires_at"))?.to_utc();
    let catalog = body.pointer("/token/catalog").and_then(Value::as_array).cloned().unwrap_or_default();
    let margin = RENEWAL_MARGIN.min((expires_at - Utc::now()) / 4);
    Ok(Grant { token: Secret(token), catalog, renew_at: expires_at - margin })
}

/// Makes ring the cryptography of TLS, unless the process has chosen already.
///
/// Also for others in the process that build a client of reqwest: without one, that panics.
pub fn install_tls_provider() {
    if CryptoProvider::get_default().is_none() {
        // Lost only against another thread that installs one: then there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

fn client(transport: &Transport) -> Result<Client, HttpConfigError> {
    install_tls_provider();
    let wrong = |option: &'static str, reason: String| HttpConfigError::Option {
        section: transport.section.clone(),
        option,
        reason,
    };
    let read = |option: &'static str, path: &Path| {
        std::fs::read(path).map_err(|error| wrong(option, format!("cannot read {}: {error}", path.display())))
    };
    let roots = match &transport.cafile {
        Some(path) => Certificate::from_pem_bundle(&read("cafile", path)?)
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| wrong("cafile", format!("{} holds no PEM certificates", path.display())))?,
        None => system_roots(),
    };
    // A token must not follow a redirect to another host.
    let mut builder = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .connect_timeout(transport.timeout)
        .read_timeout(transport.timeout)
        .tls_certs_only(roots)
        .tls_danger_accept_invalid_certs(transport.insecure);
    if let Some(path) = &transport.certfile {
        let mut pem = read("certfile", path)?;
        if let Some(path) = &transport.keyfile {
            pem.push(b'\n');
            pem.extend(read("keyfile", path)?);
        }
        let identity = reqwest::Identity::from_pem(&pem);
        let identity = identity.map_err(|_| wrong("certfile", "does not hold a certificate with its key".to_owned()));
        builder = builder.identity(identity?);
    }
    builder.build().map_err(|error| wrong("cafile", format!("no TLS client can be made: {error}")))
}

/// The certificates that this machine trusts, read once.
fn system_roots() -> Vec<Certificate> {
    static ROOTS: OnceLock<Vec<Certificate>> = OnceLock::new();
    let load = || {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "a certificate of the system cannot be read");
        }
        let mut store = rustls::RootCertStore::empty();
        let usable = found.certs.into_iter().filter(|certificate| store.add(certificate.clone()).is_ok());
        usable.filter_map(|certificate| Certificate::from_der(&certificate).ok()).collect()
    };
    ROOTS.get_or_init(load).clone()
}
