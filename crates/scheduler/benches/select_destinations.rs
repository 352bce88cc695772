//! What a decision takes: `cargo bench -p kilonova-scheduler`. Placement and the hosts answer from memory, so this is the
//! scheduler's own time. For each size one line of JSON: `{"phase": "hosts_1000", "p50_ms": …, "p99_ms": …}`, and for a
//! batch of servers in one request `{"phase": "batch_100_hosts_10000", "ms": …}`.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kilonova_clients::ClientError;
use kilonova_clients::placement::{
    Allocations, Candidate, CandidatesQuery, Inventory, Placement, ResourceProvider, Resources,
};
use kilonova_core::time::utcnow;
use kilonova_core::{Config, RequestContext};
use kilonova_objects::{ComputeNode, Flavor, RequestSpec, Service};
use kilonova_scheduler::{HostInput, HostInventory, HostSource, HostSourceError, SchedulerManager};
use serde_json::json;
use uuid::Uuid;

const MEMORY_MB: i64 = 512 * 1024;
const VCPUS: i64 = 128;
const DISK_GB: i64 = 4000;

/// How many hosts, how many requests for one server, and requests for how many servers at once.
const SIZES: [(u128, usize, &[usize]); 3] = [(1_000, 300, &[100]), (10_000, 60, &[100, 1_000]), (100_000, 5, &[])];

/// So many hosts, each of them with another amount in use.
struct Cloud {
    candidates: Vec<Candidate>,
    inventory: HostInventory,
}

impl Cloud {
    fn new(hosts: u128) -> Self {
        let candidate = |number: u128| {
            let used = i64::try_from(number % 64).unwrap();
            Candidate {
                provider: ResourceProvider { uuid: Uuid::from_u128(number), name: format!("n{number}"), generation: 1 },
                resources: Resources::new(),
                capacity: resources(VCPUS, MEMORY_MB, DISK_GB),
                used: resources(used, used * 1024, used * 10),
                traits: vec!["COMPUTE_NODE".to_owned(), "OWNER_NOVA".to_owned()],
            }
        };
        let host = |number: u128| {
            Arc::new(HostInput {
                node: ComputeNode {
                    uuid: Uuid::from_u128(number),
                    host: Some(format!("host{number}")),
                    hypervisor_hostname: Some(format!("n{number}")),
                    hypervisor_version: 8_002_000,
                    stats: Some(BTreeMap::from([
                        ("num_instances".to_owned(), Some((number % 64).to_string())),
                        ("io_workload".to_owned(), Some("0".to_owned())),
                        ("failed_builds".to_owned(), Some("0".to_owned())),
                    ])),
                    ..ComputeNode::default()
                },
                service: Service {
                    host: Some(format!("host{number}")),
                    last_seen_up: Some(utcnow()),
                    ..Service::default()
                },
                availability_zone: Some("nova".to_owned()),
                aggregates: Vec::new(),
                image_properties: Vec::new(),
            })
        };
        let inventory = HostInventory { hosts: (1..=hosts).map(host).collect(), aggregates: Vec::new() };
        Self { candidates: (1..=hosts).map(candidate).collect(), inventory }
    }
}

fn resources(vcpus: i64, memory_mb: i64, disk_gb: i64) -> Resources {
    let amounts = [("VCPU", vcpus), ("MEMORY_MB", memory_mb), ("DISK_GB", disk_gb)];
    amounts.map(|(class, amount)| (class.to_owned(), amount)).into()
}

#[async_trait]
impl HostSource for Cloud {
    async fn hosts(&self, _: &RequestContext) -> Result<HostInventory, HostSourceError> {
        Ok(self.inventory.clone())
    }
}

#[async_trait]
impl Placement for Cloud {
    async fn set_provider(
        &self,
        _: &RequestContext,
        _: Uuid,
        _: &str,
        _: &BTreeMap<String, Inventory>,
        _: &[String],
    ) -> Result<(), ClientError> {
        Ok(())
    }

    async fn change_traits(&self, _: &RequestContext, _: Uuid, _: &[String], _: &[String]) -> Result<(), ClientError> {
        Ok(())
    }

    async fn delete_provider(&self, _: &RequestContext, _: Uuid) -> Result<(), ClientError> {
        Ok(())
    }

    async fn provider_traits(&self, _: &RequestContext, _: Uuid) -> Result<Vec<String>, ClientError> {
        Ok(Vec::new())
    }

    async fn allocation_candidates(
        &self,
        _: &RequestContext,
        _: &CandidatesQuery,
    ) -> Result<Vec<Candidate>, ClientError> {
        Ok(self.candidates.clone())
    }

    async fn set_allocations(
        &self,
        _: &RequestContext,
        _: Uuid,
        _: &str,
        _: &str,
        _: &Allocations,
    ) -> Result<(), ClientError> {
        Ok(())
    }

    async fn allocations(&self, _: &RequestContext, _: Uuid) -> Result<Allocations, ClientError> {
        Ok(Allocations::new())
    }

    async fn delete_allocations(&self, _: &RequestContext, _: Uuid) -> Result<(), ClientError> {
        Ok(())
    }

    async fn move_allocations(&self, _: &RequestContext, _: Uuid, _: Uuid) -> Result<(), ClientError> {
        Ok(())
    }

    async fn provider_allocations(
        &self,
        _: &RequestContext,
        _: Uuid,
    ) -> Result<BTreeMap<Uuid, Resources>, ClientError> {
        Ok(BTreeMap::new())
    }
}

/// How long one request for `servers` servers takes.
async fn select(scheduler: &SchedulerManager, servers: usize) -> Duration {
    let flavor = Flavor { vcpus: 1, memory_mb: 2048, root_gb: 20, ..Flavor::default() };
    let spec = RequestSpec { flavor, ..RequestSpec::default() };
    let uuids: Vec<Uuid> = (0..servers).map(|_| Uuid::new_v4()).collect();
    let start = Instant::now();
    let selected = scheduler.select_destinations(&RequestContext::admin(), &spec, &uuids, true).await.unwrap();
    let took = start.elapsed();
    assert_eq!(selected.len(), servers);
    took
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // However long this takes, the hosts stay up.
    let config = Config::from_text("[DEFAULT]\nservice_down_time = 86400\n").unwrap();
    for (hosts, rounds, batches) in SIZES {
        let cloud = Arc::new(Cloud::new(hosts));
        let scheduler = SchedulerManager::new(cloud.clone(), cloud, &config).unwrap();
        let mut times = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            times.push(select(&scheduler, 1).await);
        }
        times.sort_unstable();
        let (p50, p99) = (times[rounds / 2], times[rounds * 99 / 100]);
        println!("{}", json!({"phase": format!("hosts_{hosts}"), "p50_ms": ms(p50), "p99_ms": ms(p99)}));
        for servers in batches {
            let took = select(&scheduler, *servers).await;
            println!("{}", json!({"phase": format!("batch_{servers}_hosts_{hosts}"), "ms": ms(took)}));
        }
    }
}
