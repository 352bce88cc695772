//! How long candidates take over ten thousand providers: `cargo nextest run --release --package kilonova-placement
//! --test speed --run-ignored all --no-capture`.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a measurement, which says what it measured")]

mod common;

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use common::api::Api;
use common::uuid;
use kilonova_db::placement::{self as rows, Inventory, NewProvider};

const PROVIDERS: u128 = 10_000;
const ROUNDS: u32 = 20;
/// As Nova's scheduler asks.
const QUERY: &str = "/allocation_candidates?limit=1000&resources=DISK_GB:1,MEMORY_MB:512,VCPU:1\
                     &root_required=OWNER_NOVA,!COMPUTE_STATUS_DISABLED";
const MOST: Duration = Duration::from_millis(50);

async fn fill(api: &Api) {
    let tx = api.cloud.db.begin().await.unwrap();
    for number in 1..=PROVIDERS {
        let (uuid, name) = (uuid(number), format!("host{number}"));
        let new = NewProvider { uuid, name: &name, parent_provider_uuid: None, root_provider_uuid: uuid };
        rows::create_provider(&tx, &new).await.unwrap();
    }
    let mut providers = rows::providers(&tx, &rows::ProviderFilter::default()).await.unwrap();
    for chunk in providers.chunks_mut(1_000) {
        let mut inventories = Vec::new();
        for provider in &mut *chunk {
            provider.traits = vec!["OWNER_NOVA".to_owned()];
            rows::update_provider(&tx, provider).await.unwrap();
            for class in ["DISK_GB", "MEMORY_MB", "VCPU"] {
                inventories.push(Inventory {
                    resource_provider_id: provider.id,
                    resource_class: class.to_owned(),
                    total: 4096,
                    reserved: 0,
                    min_unit: 1,
                    max_unit: 4096,
                    step_size: 1,
                    allocation_ratio: 1.0,
                });
            }
        }
        rows::put_inventories(&tx, &inventories).await.unwrap();
        let ids: Vec<i64> = chunk.iter().map(|provider| provider.id).collect();
        rows::raise_generations(&tx, &ids, 1).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn ask(api: &Api) -> Duration {
    let start = Instant::now();
    let answer = api.get(QUERY, "1.36").await;
    let took = start.elapsed();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body["allocation_requests"].as_array().unwrap().len(), 1_000);
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test]
#[ignore = "measures a release build"]
async fn a_thousand_candidates_of_ten_thousand_providers_take_less_than_50_ms() {
    let api = Api::new().await;
    fill(&api).await;
    let first = ask(&api).await;
    let (mut unchanged, mut changed) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        unchanged.push(ask(&api).await);
        api.claim(100_000 + u128::from(round), 1 + u128::from(round), 1).await;
        changed.push(ask(&api).await);
    }
    let (unchanged, changed) = (median(unchanged), median(changed));
    eprintln!("first {first:?}, then {unchanged:?}, after a claim {changed:?}");
    assert!(unchanged < MOST && changed < MOST, "{unchanged:?}, {changed:?}");
}
