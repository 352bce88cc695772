//! scratch
#![allow(clippy::unwrap_used, missing_docs)]
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use async_trait::async_trait;
use kilonova_clients::placement::*;
use kilonova_core::{Config, RequestContext, time::utcnow};
use kilonova_db::Db;
use kilonova_objects::*;
use kilonova_placement::PlacementService;
use kilonova_scheduler::*;
use uuid::Uuid;
struct H(Vec<HostInput>);
#[async_trait]
impl HostSource for H { async fn hosts(&self, _: &RequestContext) -> Result<Vec<HostInput>, HostSourceError> { Ok(self.0.clone()) } }
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn perf() {
    for n in [1u128, 1000] {
        let dir = tempfile::tempdir().unwrap();
        let p = PlacementService::open(Db::open(&format!("sqlite://{}", dir.path().join("d").display())).await.unwrap());
        let ctx = RequestContext::admin();
        let mut hosts = vec![];
        let t = Instant::now();
        for i in 1..=n {
            let total = 8000 / n as i64 * 4;
            let inv = |t| Inventory { total: t, reserved: 0, min_unit: 1, max_unit: t, step_size: 1, allocation_ratio: 4.0 };
            let stock = BTreeMap::from([("VCPU".to_owned(), inv(total)), ("MEMORY_MB".to_owned(), inv(total * 1024)), ("DISK_GB".to_owned(), inv(total * 10))]);
            let traits: Vec<String> = (0..40).map(|i| format!("HW_CPU_X86_FEATURE_{i:02}")).collect();
            p.set_provider(&ctx, Uuid::from_u128(i), &format!("h{i}"), &stock, &traits).await.unwrap();
            hosts.push(HostInput { node: ComputeNode { uuid: Uuid::from_u128(i), host: Some(format!("h{i}")), ..Default::default() }, service: Service { host: Some(format!("h{i}")), last_seen_up: Some(utcnow()), ..Default::default() }, availability_zone: None });
        }
        eprintln!("{n} providers: {:?}", t.elapsed());
        let q = CandidatesQuery { resources: Resources::from([("VCPU".to_owned(), 1), ("MEMORY_MB".to_owned(), 512), ("DISK_GB".to_owned(), 1)]), ..Default::default() };
        let t = Instant::now();
        for c in 0..1000u128 {
            p.set_allocations(&ctx, Uuid::from_u128(1 << 64 | c), "p", "u", &BTreeMap::from([(Uuid::from_u128(c % n + 1), q.resources.clone())])).await.unwrap();
        }
        eprintln!("{n} hosts: 1000 claims one after the other {:?}", t.elapsed());
        let t = Instant::now();
        for _ in 0..20 { p.allocation_candidates(&ctx, &q).await.unwrap(); }
        eprintln!("{n} hosts, 1000 consumers: candidates {:?}", t.elapsed() / 20);
        let m = Arc::new(SchedulerManager::new(p.clone(), Arc::new(H(hosts)), &Config::empty()).unwrap());
        let spec = RequestSpec { flavor: Flavor { vcpus: 1, memory_mb: 512, root_gb: 1, ..Default::default() }, ..Default::default() };
        let t = Instant::now();
        for _ in 0..20 { m.select_destinations(&ctx, &spec, &[Uuid::new_v4()], true).await.unwrap(); }
        eprintln!("{n} hosts: select_destinations {:?}", t.elapsed() / 20);
        let t = Instant::now();
        let all: Vec<Uuid> = (0..100).map(|_| Uuid::new_v4()).collect();
        m.select_destinations(&ctx, &spec, &all, true).await.unwrap();
        eprintln!("{n} hosts: select_destinations of 100 {:?}", t.elapsed());
        let t = Instant::now();
        let mut set = tokio::task::JoinSet::new();
        for _ in 0..16 { let (m, spec) = (m.clone(), spec.clone()); set.spawn(async move { for _ in 0..20 { m.select_destinations(&RequestContext::admin(), &spec, &[Uuid::new_v4()], true).await.unwrap(); } }); }
        set.join_all().await;
        eprintln!("{n} hosts: 16 clients x 20 {:?}", t.elapsed());
        let t = Instant::now();
        for _ in 0..100 { p.delete_allocations(&ctx, Uuid::new_v4()).await.unwrap(); }
        eprintln!("delete of nothing {:?}", t.elapsed()/100);
    }
}
