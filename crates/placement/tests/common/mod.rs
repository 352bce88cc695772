//! A placement service over a database in a directory of its own, called directly or through the HTTP client.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

pub mod api;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use kilonova_clients::fake::FakeIdentity;
use kilonova_clients::http::{HttpPlacement, Sessions};
use kilonova_clients::placement::{Allocations, Inventory, Placement, Resources};
use kilonova_core::{Config, RequestContext};
use kilonova_db::Db;
use kilonova_placement::PlacementService;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use uuid::Uuid;

pub struct Cloud {
    /// What the tests act through.
    pub placement: Arc<dyn Placement>,
    pub service: Arc<PlacementService>,
    pub db: Db,
    dir: TempDir,
}

impl Cloud {
    pub async fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap()).await
    }

    /// The same with an HTTP client in front of it, and a server in between.
    pub async fn over_http() -> Self {
        let cloud = Self::new().await;
        let placement = http_client(&cloud.service).await;
        Self { placement, ..cloud }
    }

    pub async fn reopened(self) -> Self {
        self.db.close().await.unwrap();
        Self::open(self.dir).await
    }

    async fn open(dir: TempDir) -> Self {
        let url = format!("sqlite://{}", dir.path().join("db.sqlite").display());
        let db = Db::open(&url).await.unwrap();
        let service = PlacementService::open(db.clone());
        Self { placement: service.clone(), service, db, dir }
    }

    pub async fn host(&self, number: u128, stock: &[(&str, i64)], traits: &[&str]) {
        let stock: BTreeMap<String, Inventory> =
            stock.iter().map(|(class, total)| ((*class).to_owned(), inventory(*total))).collect();
        let traits: Vec<String> = traits.iter().map(|name| (*name).to_owned()).collect();
        let context = RequestContext::admin();
        self.placement.set_provider(&context, uuid(number), &format!("host{number}"), &stock, &traits).await.unwrap();
    }
}

/// A client of the service's REST API, with the token of a service.
async fn http_client(service: &Arc<PlacementService>) -> Arc<dyn Placement> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let endpoint = json!({"interface": "internal", "region": "R", "url": format!("http://{address}/placement")});
    let catalog = json!([{"type": "placement", "name": "placement", "endpoints": [endpoint]}]);
    let login = async move || {
        let body = json!({"token": {"expires_at": "2099-01-01T00:00:00Z", "catalog": catalog}});
        (StatusCode::CREATED, [("x-subject-token", "nova")], axum::Json(body))
    };
    let identity = FakeIdentity::new().with_token("nova", "service", &["service"]);
    let app = Router::new()
        .route("/identity/v3/auth/tokens", post(login))
        .nest_service("/placement", service.router(Arc::new(identity)));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let text = format!(
        "[placement]\nauth_type = password\nauth_url = http://{address}/identity\nusername = nova\npassword = secret\n\
         user_domain_name = Default\nproject_name = service\nproject_domain_name = Default\n"
    );
    let config = Config::from_text(&text).unwrap();
    Arc::new(HttpPlacement::from_config(&config, &mut Sessions::default()).unwrap())
}

pub fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub fn inventory(total: i64) -> Inventory {
    Inventory { total, reserved: 0, min_unit: 1, max_unit: total.max(1), step_size: 1, allocation_ratio: 1.0 }
}

pub fn resources(amounts: &[(&str, i64)]) -> Resources {
    amounts.iter().map(|(class, amount)| ((*class).to_owned(), *amount)).collect()
}

pub fn allocations(provider: u128, amounts: &[(&str, i64)]) -> Allocations {
    BTreeMap::from([(uuid(provider), resources(amounts))])
}
