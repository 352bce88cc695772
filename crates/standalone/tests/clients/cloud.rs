//! The built-in services on a port of the loopback, and what the tests act through.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use kilonova_clients::http;
use kilonova_clients::identity::Identity;
use kilonova_clients::image::ImageService;
use kilonova_clients::network::NetworkService;
use kilonova_core::{Config, RequestContext};
use kilonova_db::Db;
use kilonova_standalone::identity::{Bootstrap, Bootstrapped, IdentityConfig, IdentityService};
use kilonova_standalone::image::BuiltinImage;
use kilonova_standalone::network::BuiltinNetwork;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tower::ServiceExt as _;
use uuid::Uuid;

/// The users admin, demo and nova have their names as passwords.
pub(crate) struct Cloud {
    pub(crate) identity: Arc<dyn Identity>,
    pub(crate) image: Arc<dyn ImageService>,
    pub(crate) network: Arc<dyn NetworkService>,
    pub(crate) builtin: Builtin,
    pub(crate) ids: Bootstrapped,
    router: Router,
    dir: TempDir,
}

#[derive(Clone)]
pub(crate) struct Builtin {
    pub(crate) identity: Arc<IdentityService>,
    pub(crate) image: Arc<BuiltinImage>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Cloud {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&format!("sqlite://{}/db.sqlite", dir.path().display())).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = IdentityConfig {
            public_url: format!("http://{}", listener.local_addr().unwrap()),
            compute_url: None,
            region: "RegionOne".to_owned(),
            key_dir: dir.path().join("fernet-keys"),
            token_ttl: Duration::from_secs(3600),
        };
        let identity = IdentityService::open(db.clone(), config).unwrap();
        let ids = identity
            .bootstrap(&Bootstrap {
                admin_password: "admin".to_owned(),
                demo_password: "demo".to_owned(),
                service_password: Some("nova".to_owned()),
            })
            .await
            .unwrap();
        let image = BuiltinImage::open(db.clone(), dir.path().join("images")).await.unwrap();
        let network = BuiltinNetwork::open(db);
        network.bootstrap(&ids.demo_project_id, &ids.admin_project_id).await.unwrap();
        let router = Router::new()
            .nest_service("/identity", identity.router())
            .nest_service("/image", image.router(identity.clone()))
            .nest_service("/network", network.router(identity.clone()));
        let served = router.clone();
        tokio::spawn(async move { axum::serve(listener, served).await });
        let builtin = Builtin { identity: identity.clone(), image: image.clone() };
        Self { identity, image, network, builtin, ids, router, dir }
    }

    /// The same with HTTP clients in front; `options` go into `[keystone_authtoken]`.
    pub(crate) async fn over_http(options: &str) -> Self {
        let cloud = Self::new().await;
        let clients = http::clients(&cloud.config(options), &cloud.downloads()).unwrap();
        Self { identity: clients.identity, image: clients.image, network: clients.network, ..cloud }
    }

    pub(crate) fn config(&self, options: &str) -> Config {
        let catalog = self.builtin.identity.catalog("");
        let identity = catalog.iter().find(|service| service["type"] == "identity").unwrap();
        let auth_url = identity["endpoints"][0]["url"].as_str().unwrap();
        let text = format!(
            "[keystone_authtoken]\nauth_type = password\nauth_url = {auth_url}\nusername = nova\npassword = nova\n\
             user_domain_name = Default\nproject_name = service\nproject_domain_name = Default\n{options}\n"
        );
        Config::from_text(&text).unwrap()
    }

    pub(crate) fn downloads(&self) -> PathBuf {
        self.dir.path().join("downloads")
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A request to the REST APIs.
    pub(crate) async fn rest(&self, token: &str, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        let kind = if path.ends_with("/file") { "application/octet-stream" } else { "application/json" };
        let request = Request::builder().method(method).uri(path).header("x-auth-token", token);
        let request = request.header("accept", "application/json").header("content-type", kind);
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 1 << 24).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
        }
    }

    /// The same, and the answer must be a success.
    pub(crate) async fn done(&self, token: &str, method: &str, path: &str, body: impl Into<Body>) -> Value {
        let answer = self.rest(token, method, path, body).await;
        assert!(answer.status.is_success(), "{method} {path}: {} {}", answer.status, answer.body);
        answer.body
    }

    /// A token of a user whose password is its name, for a project.
    pub(crate) async fn token(&self, user: &str, project: &str) -> String {
        let name = |name: &str| json!({"name": name, "domain": {"id": "default"}});
        let mut user_body = name(user);
        user_body["password"] = json!(user);
        let identity = json!({"methods": ["password"], "password": {"user": user_body}});
        let body = json!({"auth": {"identity": identity, "scope": {"project": name(project)}}});
        let answer = self.rest("", "POST", "/identity/v3/auth/tokens", body.to_string()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.headers["x-subject-token"].to_str().unwrap().to_owned()
    }

    /// The context of a request of that user.
    pub(crate) async fn context(&self, user: &str, project: &str) -> RequestContext {
        let token = self.token(user, project).await;
        self.builtin.identity.validate(&token).await.unwrap().context(&token)
    }

    pub(crate) async fn demo(&self) -> RequestContext {
        self.context("demo", "demo").await
    }

    /// The user and project `other`, made here, with the role member.
    pub(crate) async fn other(&self) -> RequestContext {
        let admin = self.token("admin", "admin").await;
        let id = |body: Value, kind: &str| body[kind]["id"].as_str().unwrap().to_owned();
        let project =
            self.done(&admin, "POST", "/identity/v3/projects", json!({"project": {"name": "other"}}).to_string());
        let project = id(project.await, "project");
        let user = json!({"user": {"name": "other", "password": "other"}}).to_string();
        let user = id(self.done(&admin, "POST", "/identity/v3/users", user).await, "user");
        let roles = self.done(&admin, "GET", "/identity/v3/roles?name=member", "").await;
        let role = roles["roles"][0]["id"].as_str().unwrap();
        let grant = format!("/identity/v3/projects/{project}/users/{user}/roles/{role}");
        self.done(&admin, "PUT", &grant, "").await;
        self.context("other", "other").await
    }
}

/// The token of a context.
pub(crate) fn token(context: &RequestContext) -> &str {
    context.auth_token.as_deref().unwrap()
}

pub(crate) fn id(value: &Value) -> Uuid {
    value["id"].as_str().unwrap().parse().unwrap()
}
