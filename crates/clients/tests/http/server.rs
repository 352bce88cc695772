//! A server of all services that answers as a test says and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use kilonova_core::Config;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// `GET /placement/traits`.
    pub(crate) what: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    /// How many like it came before.
    pub(crate) number: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn token(&self) -> &str {
        self.header("x-auth-token")
    }
}

pub(crate) const LOGIN: &str = "POST /identity/v3/auth/tokens";

pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// `answer` may leave a request to the default: a login gets `service-1`, `service-2`, …, all else 404.
    pub(crate) async fn start<F>(answer: impl Fn(Seen) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<Response>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self::serve(listener, url, answer)
    }

    pub(crate) fn serve<L, F>(
        listener: L,
        url: String,
        answer: impl Fn(Seen) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        L: axum::serve::Listener<Addr = SocketAddr>,
        F: Future<Output = Option<Response>> + Send + 'static,
    {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (log, base) = (seen.clone(), url.clone());
        let app = Router::new().fallback(async move |request: Request| {
            let request = remember(&log, request).await;
            match answer(request.clone()).await {
                Some(response) => response,
                None if request.what == LOGIN => login(&base, request.number + 1, "2099-01-01T00:00:00.000000Z"),
                None => StatusCode::NOT_FOUND.into_response(),
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests without logins.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.what).filter(|what| what != LOGIN).collect()
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        self.seen().iter().filter(|seen| seen.what == what).count()
    }

    /// Credentials for this server, no waits between retries, and `options`: section, line.
    pub(crate) fn config(&self, options: &[(&str, &str)]) -> Config {
        let mut text = String::new();
        for section in ["keystone_authtoken", "glance", "neutron", "placement", "cinder", "service_user"] {
            text += &format!("[{section}]\nconnect_retry_delay = 0\nstatus_code_retry_delay = 0\n");
            if section == "keystone_authtoken" {
                text += &format!(
                    "auth_type = password\nauth_url = {}/identity\nusername = nova\npassword = top secret\n\
                     user_domain_name = Default\nproject_name = service\nproject_domain_name = Default\n",
                    self.url
                );
            }
            for (_, line) in options.iter().filter(|(of, _)| *of == section) {
                text += &format!("{line}\n");
            }
        }
        Config::from_text(&text).unwrap()
    }
}

async fn remember(log: &Mutex<Vec<Seen>>, request: Request) -> Seen {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.unwrap();
    let mut log = log.lock().unwrap();
    let what = format!("{} {}", parts.method, parts.uri.path());
    let seen = Seen {
        number: log.iter().filter(|seen| seen.what == what).count(),
        what,
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    };
    log.push(seen.clone());
    seen
}

/// The token `service-<number>` and a catalog of the services.
pub(crate) fn login(base: &str, number: usize, expires_at: &str) -> Response {
    let service = |kind: &str| {
        let endpoint = json!({"interface": "internal", "region": "R", "url": format!("{base}/{kind}")});
        json!({"type": kind, "name": kind, "endpoints": [endpoint]})
    };
    let mut catalog: Vec<Value> = ["identity", "image", "network", "placement"].into_iter().map(service).collect();
    let volumes = json!({"interface": "public", "region": "R", "url": format!("{base}/volume/v3/services-own")});
    catalog.push(json!({"type": "block-storage", "name": "cinder", "endpoints": [volumes]}));
    let body = json!({"token": {"expires_at": expires_at, "catalog": catalog}});
    (StatusCode::CREATED, [("x-subject-token", format!("service-{number}"))], axum::Json(body)).into_response()
}

pub(crate) fn reply(status: u16, body: Value) -> Option<Response> {
    let status = StatusCode::from_u16(status).unwrap();
    Some(if body.is_null() { status.into_response() } else { (status, axum::Json(body)).into_response() })
}

/// An answer that never comes.
pub(crate) async fn never() -> Option<Response> {
    std::future::pending().await
}

pub(crate) fn text(status: u16, text: &'static str) -> Option<Response> {
    Some((StatusCode::from_u16(status).unwrap(), Body::from(text)).into_response())
}
