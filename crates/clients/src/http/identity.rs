//! Keystone, as keystonemiddleware asks it: what a token says, kept for a while.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use kilonova_core::{Config, RequestContext};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::adapter::{Adapter, By, Call, Kind, sensitive};
use super::options::HttpConfigError;
use super::session::Sessions;
use super::single_flight::SingleFlight;
use crate::ClientError;
use crate::identity::{Identity, TokenInfo};

const KIND: Kind = Kind {
    service: "identity",
    section: "keystone_authtoken",
    service_type: "identity",
    retries_option: Some("http_request_max_retries"),
    version: Some("v3"),
    header: None,
};
const DEFAULT_CACHE_TIME_S: i64 = 300;
/// How long a refusal is kept: long enough for a client that repeats itself, short enough for a token that was just
/// made elsewhere.
const REFUSAL_TIME: Duration = Duration::from_secs(5);
/// Tokens in the cache.
const CACHE_SIZE: usize = 10_000;

/// Identity over HTTP.
pub struct HttpIdentity {
    inner: Arc<Inner>,
    validations: SingleFlight<TokenHash, Option<Arc<TokenInfo>>>,
}

struct Inner {
    adapter: Adapter,
    cache: Mutex<Cache>,
}

/// SHA-256: the cache holds no tokens.
type TokenHash = [u8; 32];

impl HttpIdentity {
    /// From `[keystone_authtoken]`.
    pub fn from_config(config: &Config, sessions: &mut Sessions) -> Result<Self, HttpConfigError> {
        let adapter = Adapter::from_config(config, sessions, KIND)?.at_auth_url();
        let cache_time = config.parse(KIND.section, "token_cache_time", DEFAULT_CACHE_TIME_S)?;
        let cache = Mutex::new(Cache::new(u64::try_from(cache_time).ok().map(Duration::from_secs)));
        Ok(Self { inner: Arc::new(Inner { adapter, cache }), validations: SingleFlight::default() })
    }
}

#[async_trait]
impl Identity for HttpIdentity {
    async fn validate(&self, token: &str) -> Result<Arc<TokenInfo>, ClientError> {
        let hash: TokenHash = Sha256::digest(token).into();
        if let Some(known) = self.inner.cache().get(&hash) {
            return known.ok_or(ClientError::Unauthorized);
        }
        let (inner, token) = (self.inner.clone(), token.to_owned());
        let validation = || async move {
            let found = inner.ask(&token).await?;
            inner.cache().put(hash, found.clone());
            Ok(found)
        };
        self.validations.run(hash, validation).await?.ok_or(ClientError::Unauthorized)
    }

    /// As Nova decides: a project that this service may not look at is taken for one that exists.
    async fn project_exists(&self, project_id: &str) -> Result<bool, ClientError> {
        let call = Call::get(&["projects", project_id]).by(By::Service);
        let answer = self.inner.adapter.send(&RequestContext::admin(), &call).await?;
        match answer.ok() {
            Ok(_) => Ok(true),
            Err(failure) if failure.status == StatusCode::NOT_FOUND => Ok(false),
            Err(failure) if failure.status == StatusCode::FORBIDDEN => {
                tracing::info!(project_id, "the service may not look at projects: the project is taken to exist");
                Ok(true)
            }
            Err(failure) => Err(failure.unavailable(KIND.service)),
        }
    }
}

impl Inner {
    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What Keystone says; none for a token that is not valid.
    async fn ask(&self, token: &str) -> Result<Option<Arc<TokenInfo>>, ClientError> {
        let call = Call::get(&["auth", "tokens"]).by(By::Service).header("x-subject-token", sensitive(token));
        let answer = self.adapter.send(&RequestContext::admin(), &call).await?;
        match answer.ok() {
            Ok(body) => {
                let info = parse(body)?;
                Ok(Some(info).filter(|info| info.expires_at > Utc::now()).map(Arc::new))
            }
            // Keystone is asked with the service's token, so these are about the subject.
            Err(failure) if matches!(failure.status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST) => Ok(None),
            Err(failure) => Err(failure.unavailable(KIND.service)),
        }
    }
}

#[derive(Deserialize)]
struct TokenBody {
    token: Token,
}

#[derive(Deserialize)]
struct Token {
    user: Named,
    project: Option<Named>,
    domain: Option<Reference>,
    #[serde(default)]
    system: Option<System>,
    #[serde(default)]
    roles: Vec<Role>,
    expires_at: DateTime<Utc>,
    #[serde(default)]
    catalog: Vec<Value>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
    #[serde(default)]
    name: String,
    domain: Option<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    id: String,
}

#[derive(Deserialize)]
struct System {
    #[serde(default)]
    all: bool,
}

#[derive(Deserialize)]
struct Role {
    name: String,
}

fn parse(body: Value) -> Result<TokenInfo, ClientError> {
    let TokenBody { token } = serde_json::from_value(body)
        .map_err(|error| ClientError::unavailable(KIND.service, format!("a token that is none: {error}")))?;
    let (project_id, project_name, project_domain_id) = match token.project {
        Some(project) => (Some(project.id), Some(project.name), project.domain.map(|domain| domain.id)),
        None => (None, None, None),
    };
    Ok(TokenInfo {
        user_id: token.user.id,
        user_name: token.user.name,
        user_domain_id: token.user.domain.map(|domain| domain.id).unwrap_or_default(),
        project_id,
        project_name,
        project_domain_id,
        domain_id: token.domain.map(|domain| domain.id),
        is_system_scoped: token.system.is_some_and(|system| system.all),
        roles: token.roles.into_iter().map(|role| role.name).collect(),
        expires_at: token.expires_at,
        catalog: Arc::new(token.catalog),
    })
}

/// What tokens say, the oldest thrown out when it is full.
struct Cache {
    /// None: nothing is kept.
    time: Option<Duration>,
    entries: HashMap<TokenHash, Entry>,
    /// In the order of their coming.
    order: VecDeque<TokenHash>,
}

struct Entry {
    /// None: it is not valid.
    info: Option<Arc<TokenInfo>>,
    until: Instant,
}

impl Cache {
    fn new(time: Option<Duration>) -> Self {
        Self { time, entries: HashMap::new(), order: VecDeque::new() }
    }

    /// None: not known (any more).
    fn get(&self, hash: &TokenHash) -> Option<Option<Arc<TokenInfo>>> {
        let entry = self.entries.get(hash).filter(|entry| entry.until > Instant::now())?;
        // The clock of the wall may be set; a token never outlives its end by it.
        let is_over = entry.info.as_ref().is_some_and(|info| info.expires_at <= Utc::now());
        if is_over { Some(None) } else { Some(entry.info.clone()) }
    }

    fn put(&mut self, hash: TokenHash, info: Option<Arc<TokenInfo>>) {
        let Some(time) = self.time else { return };
        let time = match &info {
            Some(info) => time.min((info.expires_at - Utc::now()).to_std().unwrap_or_default()),
            None => time.min(REFUSAL_TIME),
        };
        if self.entries.insert(hash, Entry { info, until: Instant::now() + time }).is_none() {
            self.order.push_back(hash);
        }
        while self.entries.len() > CACHE_SIZE {
            let Some(oldest) = self.order.pop_front() else { break };
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;

    fn body(expires_in: TimeDelta) -> Value {
        json!({"token": {
            "user": {"id": "u", "name": "alice", "domain": {"id": "ud", "name": "UD"}, "password_expires_at": null},
            "project": {"id": "p", "name": "prj", "domain": {"id": "pd", "name": "PD"}},
            "roles": [{"id": "1", "name": "member"}, {"id": "2", "name": "reader"}],
            "expires_at": (Utc::now() + expires_in).to_rfc3339(),
            "catalog": [{"type": "image", "endpoints": []}],
            "is_domain": false, "methods": ["password"],
        }})
    }

    fn hash(number: usize) -> TokenHash {
        Sha256::digest(number.to_string()).into()
    }

    #[test]
    fn a_token_of_every_scope_is_read() {
        let info = parse(body(TimeDelta::hours(1))).unwrap();
        assert_eq!(
            (info.user_id.as_str(), info.user_name.as_str(), info.user_domain_id.as_str()),
            ("u", "alice", "ud")
        );
        assert_eq!(info.project_id.as_deref(), Some("p"));
        assert_eq!((info.project_name.as_deref(), info.project_domain_id.as_deref()), (Some("prj"), Some("pd")));
        assert_eq!((info.roles.join(","), info.catalog.len()), ("member,reader".to_owned(), 1));
        let at = "2036-01-01T00:00:00.000000Z";
        let system = json!({"token": {"user": {"id": "u"}, "system": {"all": true}, "expires_at": at}});
        let domain = json!({"token": {"user": {"id": "u"}, "domain": {"id": "d"}, "expires_at": at}});
        assert!(parse(system).unwrap().is_system_scoped);
        assert_eq!(parse(domain).unwrap().domain_id.as_deref(), Some("d"));
        assert!(matches!(parse(json!({})), Err(ClientError::Unavailable { .. })));
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_nothing_beyond_its_end() {
        let info = |seconds| Some(Arc::new(parse(body(TimeDelta::seconds(seconds))).unwrap()));
        let mut cache = Cache::new(Some(Duration::from_secs(300)));
        cache.put(hash(0), info(3600));
        cache.put(hash(1), info(-1));
        assert!(cache.get(&hash(0)).is_some_and(|known| known.is_some()));
        assert_eq!(cache.get(&hash(1)), None);
        let far = Instant::now() + Duration::from_secs(299);
        assert!(cache.entries[&hash(0)].until > far);
        cache.put(hash(2), info(60));
        assert!(cache.entries[&hash(2)].until < far);
        cache.put(hash(3), None);
        assert_eq!(cache.get(&hash(3)), Some(None));
        for number in 4..CACHE_SIZE + 4 {
            cache.put(hash(number), None);
        }
        assert_eq!((cache.entries.len(), cache.order.len()), (CACHE_SIZE, CACHE_SIZE));
        assert_eq!(cache.get(&hash(0)), None);
        assert_eq!(cache.get(&hash(CACHE_SIZE + 3)), Some(None));
    }

    #[test]
    fn a_cache_without_a_time_keeps_nothing() {
        let mut cache = Cache::new(None);
        cache.put(hash(0), None);
        assert_eq!(cache.get(&hash(0)), None);
    }
}
