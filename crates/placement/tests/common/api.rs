//! The REST API of a service, called as a client would.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use chrono::{TimeDelta, Utc};
use kilonova_clients::ClientError;
use kilonova_clients::identity::{Identity, TokenInfo};
use kilonova_core::RequestContext;
use serde_json::Value;
use tower::ServiceExt as _;

use super::{Cloud, allocations, uuid};

/// The token is the comma-separated list of its roles; its project is `p`.
struct Roles;

#[async_trait]
impl Identity for Roles {
    async fn validate(&self, token: &str) -> Result<Arc<TokenInfo>, ClientError> {
        match token {
            "expired" => return Err(ClientError::Unauthorized),
            "down" => return Err(ClientError::unavailable("identity", "no answer")),
            _ => (),
        }
        Ok(Arc::new(TokenInfo {
            user_id: "u".to_owned(),
            user_name: "user".to_owned(),
            user_domain_id: "default".to_owned(),
            project_id: Some("p".to_owned()),
            project_name: None,
            project_domain_id: None,
            domain_id: None,
            is_system_scoped: false,
            roles: token.split(',').map(str::to_owned).collect(),
            expires_at: Utc::now() + TimeDelta::hours(1),
            catalog: Arc::default(),
        }))
    }

    async fn project_exists(&self, _project_id: &str) -> Result<bool, ClientError> {
        Ok(true)
    }
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn error(&self) -> &Value {
        &self.body["errors"][0]
    }

    pub fn detail(&self) -> &str {
        self.error()["detail"].as_str().unwrap_or_default()
    }
}

pub struct Api {
    pub cloud: Cloud,
    router: Router,
}

impl Api {
    pub async fn new() -> Self {
        let cloud = Cloud::new().await;
        let router = Router::new().nest_service("/placement", cloud.service.router(Arc::new(Roles)));
        Self { cloud, router }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("not JSON: {bytes:?}"))
        };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn call(&self, method: &str, path: &str, version: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/placement{path}"))
            .header("x-auth-token", "admin")
            .header("openstack-api-version", format!("placement {version}"));
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).unwrap()).await
    }

    pub async fn get(&self, path: &str, version: &str) -> Answer {
        self.call("GET", path, version, None).await
    }

    pub async fn as_role(&self, token: Option<&str>, path: &str) -> Answer {
        let mut request =
            Request::builder().uri(format!("/placement{path}")).header("openstack-api-version", "placement latest");
        if let Some(token) = token {
            request = request.header("x-auth-token", token);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub async fn claim(&self, consumer: u128, provider: u128, vcpus: i64) {
        let wanted = allocations(provider, &[("VCPU", vcpus)]);
        let context = RequestContext::admin();
        let placement = &self.cloud.placement;
        placement.set_allocations(&context, uuid(consumer), "p", "u", &wanted).await.unwrap();
    }
}
