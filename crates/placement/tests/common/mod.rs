//! A placement service over a database in a directory of its own.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::collections::BTreeMap;
use std::sync::Arc;

use kilonova_clients::placement::{Allocations, Inventory, Placement as _, Resources};
use kilonova_core::RequestContext;
use kilonova_db::Db;
use kilonova_placement::PlacementService;
use tempfile::TempDir;
use uuid::Uuid;

pub struct Cloud {
    pub placement: Arc<PlacementService>,
    db: Db,
    dir: TempDir,
}

impl Cloud {
    pub async fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap()).await
    }

    pub async fn reopened(self) -> Self {
        self.db.close().await.unwrap();
        Self::open(self.dir).await
    }

    async fn open(dir: TempDir) -> Self {
        let url = format!("sqlite://{}", dir.path().join("db.sqlite").display());
        let db = Db::open(&url).await.unwrap();
        Self { placement: PlacementService::open(db.clone()), db, dir }
    }

    pub async fn host(&self, number: u128, stock: &[(&str, i64)], traits: &[&str]) {
        let stock: BTreeMap<String, Inventory> =
            stock.iter().map(|(class, total)| ((*class).to_owned(), inventory(*total))).collect();
        let traits: Vec<String> = traits.iter().map(|name| (*name).to_owned()).collect();
        let context = RequestContext::admin();
        self.placement.set_provider(&context, uuid(number), &format!("host{number}"), &stock, &traits).await.unwrap();
    }
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
