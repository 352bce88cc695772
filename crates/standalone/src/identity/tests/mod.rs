//! The identity service through its REST API, over a database in a temporary directory.

mod assignments;
mod domains;
mod login;
mod personas;
mod projects;
mod protocol;
mod roles;
mod tokens;
mod users;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use kilonova_db::Db;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::{Bootstrap, Bootstrapped, IdentityConfig, IdentityService};

const URL: &str = "http://cloud:8774";

/// A bootstrapped service; the users admin and demo have their names as passwords.
struct Cloud {
    service: Arc<IdentityService>,
    router: Router,
    ids: Bootstrapped,
    directory: TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    #[track_caller]
    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self
    }

    #[track_caller]
    fn expect_error(self, status: u16, message: &str) {
        let answer = self.expect(status);
        assert_eq!(answer.body["error"]["message"], json!(message));
        assert_eq!(answer.body["error"]["code"], json!(status));
        assert_eq!(answer.body["error"]["title"], json!(answer.status.canonical_reason()));
        assert_eq!(answer.headers["content-type"], "application/json");
    }

    #[track_caller]
    fn token(self) -> String {
        let answer = self.expect(201);
        answer.headers["x-subject-token"].to_str().unwrap().to_owned()
    }

    /// The values of `key` in a collection.
    #[track_caller]
    fn all(self, collection: &str, key: &str) -> Vec<String> {
        let body = self.expect(200).body;
        let values = body[collection].as_array().unwrap().iter().map(|one| one[key].as_str().unwrap().to_owned());
        values.collect()
    }
}

fn passwords(service: Option<&str>) -> Bootstrap {
    Bootstrap {
        admin_password: "admin".to_owned(),
        demo_password: "demo".to_owned(),
        service_password: service.map(str::to_owned),
    }
}

impl Cloud {
    async fn new() -> Self {
        Self::with_ttl(Duration::from_secs(3600)).await
    }

    async fn with_ttl(token_ttl: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::open(directory, token_ttl).await
    }

    async fn open(directory: TempDir, token_ttl: Duration) -> Self {
        let db = Db::open(&format!("sqlite://{}", directory.path().join("state.db").display())).await.unwrap();
        let config = IdentityConfig {
            public_url: URL.to_owned(),
            compute_url: None,
            region: "RegionOne".to_owned(),
            key_dir: directory.path().join("fernet-keys"),
            token_ttl,
        };
        let service = IdentityService::open(db, config).unwrap();
        let ids = service.bootstrap(&passwords(None)).await.unwrap();
        Self { router: service.router(), service, ids, directory }
    }

    /// As after a restart of the process.
    async fn restarted(self) -> Self {
        let Self { service, router, directory, .. } = self;
        drop((service, router));
        Self::open(directory, Duration::from_secs(3600)).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        assert_eq!(parts.headers["vary"], "X-Auth-Token");
        assert!(parts.headers["x-openstack-request-id"].to_str().unwrap().starts_with("req-"));
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn call(&self, method: Method, path: &str, token: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("X-Auth-Token", token);
        if body.is_some() {
            request = request.header("Content-Type", "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).unwrap()).await
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        self.call(Method::GET, path, token, None).await
    }

    async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.call(Method::POST, path, token, Some(body)).await
    }

    async fn patch(&self, path: &str, token: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, token, Some(body)).await
    }

    async fn put(&self, path: &str, token: &str) -> Answer {
        self.call(Method::PUT, path, token, None).await
    }

    async fn delete(&self, path: &str, token: &str) -> Answer {
        self.call(Method::DELETE, path, token, None).await
    }

    async fn login(&self, body: Value) -> Answer {
        let request = Request::post("/v3/auth/tokens").header("Content-Type", "application/json");
        self.send(request.body(Body::from(json!({"auth": body}).to_string())).unwrap()).await
    }

    /// Asks about `subject` with `token`.
    async fn about(&self, method: Method, query: &str, token: &str, subject: &str) -> Answer {
        let request = Request::builder().method(method).uri(format!("/v3/auth/tokens{query}"));
        let request = request.header("X-Auth-Token", token).header("X-Subject-Token", subject);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// A token of admin for the project admin.
    async fn admin(&self) -> String {
        let scope = json!({"project": {"name": "admin", "domain": {"id": "default"}}});
        self.login(json!({"identity": password("admin", "admin"), "scope": scope})).await.token()
    }

    /// A token of demo for the project demo.
    async fn demo(&self) -> String {
        let scope = json!({"project": {"id": self.ids.demo_project_id}});
        self.login(json!({"identity": password("demo", "demo"), "scope": scope})).await.token()
    }

    async fn role_id(&self, token: &str, name: &str) -> String {
        self.get(&format!("/v3/roles?name={name}"), token).await.all("roles", "id").pop().unwrap()
    }

    /// Makes a user with its name as password and returns its id.
    async fn user(&self, token: &str, name: &str) -> String {
        let body = json!({"user": {"name": name, "password": name}});
        id(self.post("/v3/users", token, body).await.expect(201).body["user"].clone())
    }

    async fn grant(&self, token: &str, place: &str, user_id: &str, role: &str) {
        let role_id = self.role_id(token, role).await;
        self.put(&format!("/v3/{place}/users/{user_id}/roles/{role_id}"), token).await.expect(204);
    }
}

fn password(name: &str, password: &str) -> Value {
    let user = json!({"name": name, "domain": {"name": "Default"}, "password": password});
    json!({"methods": ["password"], "password": {"user": user}})
}

fn by_token(token: &str) -> Value {
    json!({"methods": ["token"], "token": {"id": token}})
}

fn id(resource: Value) -> String {
    resource["id"].as_str().unwrap().to_owned()
}

const UNAUTHORIZED: &str = "The request you have made requires authentication.";

fn forbidden(rule: &str) -> String {
    format!("You are not authorized to perform the requested action: {rule}.")
}
