//! `select_destinations` over the real placement service, with hosts that the tests make up.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kilonova_clients::ClientError;
use kilonova_clients::placement::{Allocations, Candidate, CandidatesQuery, Inventory, Placement, Resources};
use kilonova_core::time::utcnow;
use kilonova_core::{Config, RequestContext};
use kilonova_db::Db;
use kilonova_objects::{Aggregate, ComputeNode, Destination, Flavor, InstanceGroup, RequestSpec, Selection, Service};
use kilonova_placement::PlacementService;
use kilonova_scheduler::{
    CELL_UUID, HostInput, HostInventory, HostSource, HostSourceError, SchedulerError, SchedulerManager,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Hosts that a test can change.
#[derive(Default)]
struct Hosts {
    hosts: Mutex<Vec<Arc<HostInput>>>,
    aggregates: Mutex<Vec<Arc<Aggregate>>>,
}

#[async_trait]
impl HostSource for Hosts {
    async fn hosts(&self, _context: &RequestContext) -> Result<HostInventory, HostSourceError> {
        let hosts = self.hosts.lock().unwrap().clone();
        Ok(HostInventory { hosts, aggregates: self.aggregates.lock().unwrap().clone() })
    }
}

/// Placement with somebody else in it: what happens at the next claims is prepared.
struct Disturbed {
    inner: Arc<PlacementService>,
    /// So many claims are answered with a concurrent update.
    concurrent_updates: AtomicI64,
    /// Before the next claim, this consumer takes these.
    rival: Mutex<Option<(Uuid, Allocations)>>,
    /// The claim of that number, from 0, is lost on the way.
    lost: AtomicI64,
    claims: AtomicUsize,
}

#[async_trait]
impl Placement for Disturbed {
    async fn set_provider(
        &self,
        context: &RequestContext,
        uuid: Uuid,
        name: &str,
        inventory: &BTreeMap<String, Inventory>,
        traits: &[String],
    ) -> Result<(), ClientError> {
        self.inner.set_provider(context, uuid, name, inventory, traits).await
    }

    async fn change_traits(
        &self,
        context: &RequestContext,
        provider: Uuid,
        add: &[String],
        remove: &[String],
    ) -> Result<(), ClientError> {
        self.inner.change_traits(context, provider, add, remove).await
    }

    async fn delete_provider(&self, context: &RequestContext, provider: Uuid) -> Result<(), ClientError> {
        self.inner.delete_provider(context, provider).await
    }

    async fn provider_traits(&self, context: &RequestContext, provider: Uuid) -> Result<Vec<String>, ClientError> {
        self.inner.provider_traits(context, provider).await
    }

    async fn allocation_candidates(
        &self,
        context: &RequestContext,
        query: &CandidatesQuery,
    ) -> Result<Vec<Candidate>, ClientError> {
        self.inner.allocation_candidates(context, query).await
    }

    async fn set_allocations(
        &self,
        context: &RequestContext,
        consumer: Uuid,
        project_id: &str,
        user_id: &str,
        allocations: &Allocations,
    ) -> Result<(), ClientError> {
        let number = self.claims.fetch_add(1, Ordering::SeqCst) as i64;
        if self.concurrent_updates.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Err(ClientError::ConcurrentUpdate("another was faster".to_owned()));
        }
        let rival = self.rival.lock().unwrap().take();
        if let Some((rival, taken)) = rival {
            self.inner.set_allocations(context, rival, "r", "r", &taken).await?;
        }
        self.inner.set_allocations(context, consumer, project_id, user_id, allocations).await?;
        if self.lost.load(Ordering::SeqCst) == number {
            return Err(ClientError::unavailable("placement", "the answer was lost"));
        }
        Ok(())
    }

    async fn allocations(&self, context: &RequestContext, consumer: Uuid) -> Result<Allocations, ClientError> {
        self.inner.allocations(context, consumer).await
    }

    async fn delete_allocations(&self, context: &RequestContext, consumer: Uuid) -> Result<(), ClientError> {
        self.inner.delete_allocations(context, consumer).await
    }

    async fn move_allocations(&self, context: &RequestContext, from: Uuid, to: Uuid) -> Result<(), ClientError> {
        self.inner.move_allocations(context, from, to).await
    }

    async fn provider_allocations(
        &self,
        context: &RequestContext,
        provider: Uuid,
    ) -> Result<BTreeMap<Uuid, Resources>, ClientError> {
        self.inner.provider_allocations(context, provider).await
    }
}

struct Cloud {
    placement: Arc<Disturbed>,
    hosts: Arc<Hosts>,
    _dir: TempDir,
}

impl Cloud {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("db.sqlite").display());
        let inner = PlacementService::open(Db::open(&url).await.unwrap());
        let placement = Disturbed {
            inner,
            concurrent_updates: AtomicI64::new(0),
            rival: Mutex::new(None),
            lost: AtomicI64::new(-1),
            claims: AtomicUsize::new(0),
        };
        Self { placement: Arc::new(placement), hosts: Arc::default(), _dir: dir }
    }

    /// A cloud of hosts `host1`, `host2`, … with so many vCPUs, and as many GiB of memory.
    async fn of(vcpus: &[i64]) -> Self {
        let cloud = Self::new().await;
        for (number, vcpus) in (1..).zip(vcpus) {
            cloud.add_host(number, *vcpus).await;
        }
        cloud
    }

    async fn add_host(&self, number: u128, vcpus: i64) {
        let inventory =
            |total| Inventory { total, reserved: 0, min_unit: 1, max_unit: total, step_size: 1, allocation_ratio: 1.0 };
        let stock =
            BTreeMap::from([("VCPU".to_owned(), inventory(vcpus)), ("MEMORY_MB".to_owned(), inventory(vcpus * 1024))]);
        let name = format!("host{number}");
        let (context, uuid) = (RequestContext::admin(), Uuid::from_u128(number));
        self.placement.set_provider(&context, uuid, &name, &stock, &[]).await.unwrap();
        self.hosts.hosts.lock().unwrap().push(Arc::new(HostInput {
            node: ComputeNode {
                uuid,
                host: Some(name.clone()),
                hypervisor_hostname: Some(format!("{name}.node")),
                ..ComputeNode::default()
            },
            service: Service { host: Some(name), last_seen_up: Some(utcnow()), ..Service::default() },
            availability_zone: Some("nova".to_owned()),
            aggregates: Vec::new(),
            image_properties: Vec::new(),
        }));
    }

    fn change_host(&self, number: usize, change: impl FnOnce(&mut HostInput)) {
        change(Arc::make_mut(&mut self.hosts.hosts.lock().unwrap()[number - 1]));
    }

    /// Puts hosts into a new aggregate.
    fn add_aggregate(&self, hosts: &[usize], metadata: &[(&str, &str)]) {
        let mut aggregates = self.hosts.aggregates.lock().unwrap();
        let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let uuid = Uuid::from_u128(1000 + aggregates.len() as u128);
        let aggregate = Arc::new(Aggregate { uuid, metadata: Some(metadata), ..Aggregate::default() });
        for number in hosts {
            self.change_host(*number, |host| host.aggregates.push(aggregate.clone()));
        }
        aggregates.push(aggregate);
    }

    fn scheduler(&self, options: &str) -> SchedulerManager {
        let config = Config::from_text(options).unwrap();
        SchedulerManager::new(self.placement.clone(), self.hosts.clone(), &config).unwrap()
    }

    async fn used_vcpus(&self, host: u128) -> i64 {
        let context = RequestContext::admin();
        let all = self.placement.provider_allocations(&context, Uuid::from_u128(host)).await.unwrap();
        all.values().map(|resources| resources["VCPU"]).sum()
    }

    async fn claim(&self, server: Uuid, host: u128, vcpus: i64) {
        let context = RequestContext::admin();
        let wanted = allocations(host, vcpus);
        self.placement.inner.set_allocations(&context, server, "p", "u", &wanted).await.unwrap();
    }
}

fn allocations(host: u128, vcpus: i64) -> Allocations {
    let resources = Resources::from([("VCPU".to_owned(), vcpus), ("MEMORY_MB".to_owned(), vcpus * 1024)]);
    BTreeMap::from([(Uuid::from_u128(host), resources)])
}

fn spec(vcpus: i64) -> RequestSpec {
    RequestSpec {
        flavor: Flavor { vcpus, memory_mb: vcpus * 1024, ..Flavor::default() },
        project_id: Some("p".to_owned()),
        user_id: Some("u".to_owned()),
        ..RequestSpec::default()
    }
}

fn with_hint(name: &str, servers: &[Uuid]) -> RequestSpec {
    let servers = servers.iter().map(Uuid::to_string).collect();
    RequestSpec { scheduler_hints: Some(BTreeMap::from([(name.to_owned(), servers)])), ..spec(1) }
}

fn servers(count: usize) -> Vec<Uuid> {
    (0..count).map(|_| Uuid::new_v4()).collect()
}

fn hosts(selections: &[Selection]) -> Vec<&str> {
    selections.iter().map(|selection| selection.service_host.as_str()).collect()
}

async fn select(
    scheduler: &SchedulerManager,
    spec: &RequestSpec,
    count: usize,
) -> Result<Vec<Vec<Selection>>, SchedulerError> {
    scheduler.select_destinations(&RequestContext::admin(), spec, &servers(count), true).await
}

/// The hosts that servers got, in their order.
async fn chosen(scheduler: &SchedulerManager, spec: &RequestSpec, count: usize) -> Vec<String> {
    let selected = select(scheduler, spec, count).await.unwrap();
    selected.iter().map(|selections| selections[0].service_host.clone()).collect()
}

async fn refusal(scheduler: &SchedulerManager, spec: &RequestSpec, count: usize) -> String {
    select(scheduler, spec, count).await.unwrap_err().to_string()
}

#[tokio::test]
async fn the_best_host_is_claimed_and_the_next_best_are_alternates() {
    let cloud = Cloud::of(&[2, 8, 4, 6]).await;
    let server = servers(1);
    let selected =
        cloud.scheduler("").select_destinations(&RequestContext::admin(), &spec(2), &server, true).await.unwrap();
    assert_eq!(hosts(&selected[0]), ["host2", "host4", "host3"]);
    let first = &selected[0][0];
    assert_eq!(first.compute_node_uuid, Uuid::from_u128(2));
    assert_eq!(first.nodename, "host2.node");
    assert_eq!(first.cell_uuid, CELL_UUID);
    assert_eq!(first.availability_zone.as_deref(), Some("nova"));
    assert_eq!(first.allocation_request_version.as_deref(), Some("1.36"));
    let request: Value = serde_json::from_str(first.allocation_request.as_ref().unwrap()).unwrap();
    let uuid = Uuid::from_u128(2).to_string();
    assert_eq!(request, json!({"allocations": {uuid: {"resources": {"VCPU": 2, "MEMORY_MB": 2048}}}}));
    let has = cloud.placement.allocations(&RequestContext::admin(), server[0]).await.unwrap();
    assert_eq!(has, allocations(2, 2));
    for alternate in [1, 3, 4] {
        assert_eq!(cloud.used_vcpus(alternate).await, 0);
    }
}

#[tokio::test]
async fn alternates_are_left_out_where_nobody_asks_and_bounded_by_max_attempts() {
    let cloud = Cloud::of(&[4, 4, 4]).await;
    let count = async |options: &str, return_alternates: bool| {
        let scheduler = cloud.scheduler(options);
        let (context, servers) = (RequestContext::admin(), servers(1));
        let selected = scheduler.select_destinations(&context, &spec(1), &servers, return_alternates).await;
        selected.unwrap()[0].len()
    };
    assert_eq!(count("", false).await, 1);
    assert_eq!(count("[scheduler]\nmax_attempts = 2\n", true).await, 2);
    assert_eq!(count("[scheduler]\nmax_attempts = 9\n", true).await, 3);
}

#[tokio::test]
async fn many_servers_of_one_request_are_spread_and_fill_the_hosts_exactly() {
    let cloud = Cloud::of(&[30, 30, 40]).await;
    // Without it they would go to the less busy ones.
    let scheduler = cloud.scheduler("[filter_scheduler]\nio_ops_weight_multiplier = 0\n");
    let all = chosen(&scheduler, &spec(1), 100).await;
    let count = |name: &str| all.iter().filter(|host| *host == name).count();
    assert_eq!((count("host1"), count("host2"), count("host3")), (30, 30, 40));
    // The first ten go to the biggest, until it is as full as the others.
    assert!(all[..10].iter().all(|host| host == "host3"), "{all:?}");
    let reason = refusal(&scheduler, &spec(1), 1).await;
    assert_eq!(
        reason,
        "No valid host was found. There are not enough hosts available. \
         (placement (MEMORY_MB=1024, VCPU=1, !COMPUTE_STATUS_DISABLED): 3 of 3 refused)"
    );
}

#[tokio::test]
async fn when_one_of_several_finds_no_host_all_claims_are_given_back() {
    let cloud = Cloud::of(&[3, 2]).await;
    let reason = refusal(&cloud.scheduler(""), &spec(1), 6).await;
    assert!(reason.contains("capacity: 2 of 2 refused"), "{reason}");
    assert!(reason.ends_with("5 of 6 servers could be placed)"), "{reason}");
    assert_eq!((cloud.used_vcpus(1).await, cloud.used_vcpus(2).await), (0, 0));
    assert_eq!(chosen(&cloud.scheduler(""), &spec(1), 5).await.len(), 5);
}

#[tokio::test]
async fn a_lost_answer_fails_the_request_and_leaves_no_claim() {
    let cloud = Cloud::of(&[8]).await;
    cloud.placement.lost.store(1, Ordering::SeqCst);
    let error = select(&cloud.scheduler(""), &spec(1), 3).await.unwrap_err();
    assert!(matches!(error, SchedulerError::Placement(_)), "{error:?}");
    assert_eq!(cloud.used_vcpus(1).await, 0);
}

#[tokio::test]
async fn the_reason_says_which_filter_refused_how_many() {
    let cloud = Cloud::of(&[4, 4, 4]).await;
    cloud.change_host(1, |host| host.service.disabled = true);
    for number in [2, 3] {
        cloud.change_host(number, |host| host.availability_zone = Some("east".to_owned()));
    }
    let spec = RequestSpec { availability_zone: Some("west".to_owned()), ..spec(1) };
    assert_eq!(
        refusal(&cloud.scheduler(""), &spec, 1).await,
        "No valid host was found. There are not enough hosts available. \
         (ComputeFilter: 1 of 3 refused; AvailabilityZoneFilter: 2 of 2 refused)"
    );
    let empty = Cloud::new().await;
    let reason = refusal(&empty.scheduler(""), &spec, 1).await;
    assert!(reason.ends_with("(no compute host is known)"), "{reason}");
}

#[tokio::test]
async fn a_host_that_was_disabled_or_added_a_moment_ago_is_seen_at_once() {
    let cloud = Cloud::of(&[4]).await;
    let scheduler = cloud.scheduler("");
    assert_eq!(chosen(&scheduler, &spec(1), 1).await, ["host1"]);
    cloud.change_host(1, |host| host.service.disabled = true);
    assert!(select(&scheduler, &spec(1), 1).await.is_err());
    cloud.add_host(2, 2).await;
    assert_eq!(chosen(&scheduler, &spec(1), 1).await, ["host2"]);
}

#[tokio::test]
async fn a_refused_claim_goes_to_the_next_host() {
    let cloud = Cloud::of(&[4, 3]).await;
    *cloud.placement.rival.lock().unwrap() = Some((Uuid::new_v4(), allocations(1, 4)));
    let selected = select(&cloud.scheduler(""), &spec(2), 1).await.unwrap();
    assert_eq!(hosts(&selected[0]), ["host2"]);
    assert_eq!((cloud.used_vcpus(1).await, cloud.used_vcpus(2).await), (4, 2));
}

#[tokio::test]
async fn when_all_claims_were_refused_a_second_look_finds_what_became_free() {
    let cloud = Cloud::of(&[4, 3]).await;
    let mover = Uuid::from_u128(77);
    cloud.claim(mover, 2, 3).await;
    // Host2 is full when it is looked at; then its server moves to host1, right before our claim there.
    *cloud.placement.rival.lock().unwrap() = Some((mover, allocations(1, 3)));
    assert_eq!(chosen(&cloud.scheduler(""), &spec(2), 1).await, ["host2"]);
    assert_eq!((cloud.used_vcpus(1).await, cloud.used_vcpus(2).await), (3, 2));
}

#[tokio::test]
async fn a_concurrent_update_is_tried_again_on_the_same_host() {
    let cloud = Cloud::of(&[4, 3]).await;
    cloud.placement.concurrent_updates.store(3, Ordering::SeqCst);
    assert_eq!(chosen(&cloud.scheduler(""), &spec(1), 1).await, ["host1"]);
    // And not for ever.
    cloud.placement.concurrent_updates.store(i64::MAX, Ordering::SeqCst);
    let reason = refusal(&cloud.scheduler(""), &spec(1), 1).await;
    assert!(reason.contains("claim: 2 of 2 refused"), "{reason}");
}

#[tokio::test]
async fn hints_place_a_server_with_or_apart_from_others() {
    let cloud = Cloud::of(&[8, 4, 2]).await;
    let scheduler = cloud.scheduler("");
    let (on_two, on_one) = (Uuid::from_u128(100), Uuid::from_u128(101));
    cloud.claim(on_two, 2, 1).await;
    cloud.claim(on_one, 1, 1).await;
    assert_eq!(chosen(&scheduler, &with_hint("same_host", &[on_two]), 1).await, ["host2"]);
    let apart = with_hint("different_host", &[on_two, on_one]);
    assert_eq!(chosen(&scheduler, &apart, 1).await, ["host3"]);
    let nobody = with_hint("same_host", &[Uuid::from_u128(999)]);
    let reason = refusal(&scheduler, &nobody, 1).await;
    assert!(reason.contains("SameHostFilter: 3 of 3 refused"), "{reason}");
}

#[tokio::test]
async fn forced_hosts_pass_no_filter_but_need_room() {
    let cloud = Cloud::of(&[4, 8]).await;
    cloud.change_host(1, |host| host.service.disabled = true);
    let scheduler = cloud.scheduler("");
    let forced = |vcpus| RequestSpec { force_hosts: Some(vec!["host1".to_owned()]), ..spec(vcpus) };
    assert_eq!(chosen(&scheduler, &forced(4), 1).await, ["host1"]);
    assert!(select(&scheduler, &forced(1), 1).await.is_err());
}

#[tokio::test]
async fn a_requested_destination_and_ignored_hosts_are_honoured_and_filtered() {
    let cloud = Cloud::of(&[8, 4, 2]).await;
    let scheduler = cloud.scheduler("[scheduler]\nmax_placement_results = 1\n");
    let destination = Destination { host: Some("host3".to_owned()), ..Destination::default() };
    let to_three = RequestSpec { requested_destination: Some(destination), ..spec(1) };
    assert_eq!(chosen(&scheduler, &to_three, 1).await, ["host3"]);
    let not_one = RequestSpec { ignore_hosts: Some(vec!["host1".to_owned()]), ..spec(1) };
    assert_eq!(chosen(&scheduler, &not_one, 1).await, ["host2"]);
    cloud.change_host(3, |host| host.service.disabled = true);
    assert!(select(&scheduler, &to_three, 1).await.is_err());
}

#[tokio::test]
async fn servers_of_a_group_keep_apart_or_together_within_one_request_too() {
    let cloud = Cloud::of(&[8, 4, 2]).await;
    let scheduler = cloud.scheduler("");
    let member = Uuid::from_u128(100);
    let group = |policy: &str| RequestSpec {
        instance_group: Some(InstanceGroup {
            policy: Some(policy.to_owned()),
            members: Some(vec![member.to_string()]),
            ..InstanceGroup::default()
        }),
        ..spec(1)
    };
    cloud.claim(member, 2, 1).await;
    assert_eq!(chosen(&scheduler, &group("anti-affinity"), 2).await, ["host1", "host3"]);
    let reason = refusal(&scheduler, &group("anti-affinity"), 3).await;
    assert!(reason.contains("ServerGroupAntiAffinityFilter"), "{reason}");
    assert_eq!(chosen(&scheduler, &group("affinity"), 2).await, ["host2", "host2"]);
    assert!(select(&scheduler, &group("affinity"), 2).await.is_err());
}

#[tokio::test]
async fn soft_policies_are_wishes_that_hold_within_one_request_too() {
    let cloud = Cloud::of(&[8, 8, 8]).await;
    let scheduler = cloud.scheduler("[filter_scheduler]\nsoft_affinity_weight_multiplier = 10\n");
    let group = |policy: &str| RequestSpec {
        instance_group: Some(InstanceGroup { policy: Some(policy.to_owned()), ..InstanceGroup::default() }),
        ..spec(1)
    };
    assert_eq!(chosen(&scheduler, &group("soft-affinity"), 3).await, ["host1", "host1", "host1"]);
    let mut apart = chosen(&scheduler, &group("soft-anti-affinity"), 4).await;
    apart.sort();
    apart.dedup();
    assert_eq!(apart, ["host1", "host2", "host3"]);
}

#[tokio::test]
async fn the_chance_scheduler_uses_every_host_that_passes_and_claims_too() {
    let cloud = Cloud::of(&[50, 50, 50]).await;
    cloud.change_host(3, |host| host.service.disabled = true);
    let scheduler = cloud.scheduler("[scheduler]\ndriver = chance_scheduler\n");
    let all = chosen(&scheduler, &spec(1), 60).await;
    let used: BTreeSet<String> = all.into_iter().collect();
    assert_eq!(used, BTreeSet::from(["host1".to_owned(), "host2".to_owned()]));
    assert_eq!(cloud.used_vcpus(1).await + cloud.used_vcpus(2).await, 60);
}

#[tokio::test]
async fn filters_of_aggregates_leave_the_hosts_that_the_request_fits() {
    let cloud = Cloud::of(&[8, 4, 2]).await;
    cloud.add_aggregate(&[1], &[("filter_tenant_id", "other"), ("instance_type", "large")]);
    cloud.add_aggregate(&[3], &[("ssd", "true"), ("max_instances_per_host", "2")]);
    let with = |filter: &str| format!("[filter_scheduler]\nenabled_filters = ComputeFilter, {filter}\n");
    for (filter, expected) in [
        ("AllHostsFilter", "host1"),
        ("AggregateMultiTenancyIsolation", "host2"),
        ("AggregateTypeAffinityFilter", "host2"),
        ("AggregateImagePropertiesIsolation", "host1"),
    ] {
        assert_eq!(chosen(&cloud.scheduler(&with(filter)), &spec(1), 1).await, [expected], "{filter}");
    }
    let mut on_ssd = spec(1);
    on_ssd.flavor.extra_specs.insert("ssd".to_owned(), "true".to_owned());
    let scheduler = cloud.scheduler(&with("AggregateInstanceExtraSpecsFilter, AggregateNumInstancesFilter"));
    cloud.change_host(3, |host| {
        host.node.stats = Some(BTreeMap::from([("num_instances".to_owned(), Some("1".to_owned()))]))
    });
    assert_eq!(chosen(&scheduler, &on_ssd, 1).await, ["host3"]);
    let reason = refusal(&scheduler, &on_ssd, 2).await;
    assert!(reason.contains("AggregateInstanceExtraSpecsFilter: 2 of 3 refused"), "{reason}");
    assert!(reason.ends_with("1 of 2 servers could be placed)") || reason.contains("capacity"), "{reason}");
}

#[tokio::test]
async fn an_aggregate_turns_the_wish_for_its_hosts_around() {
    let cloud = Cloud::of(&[4, 8, 6]).await;
    let options = "[filter_scheduler]\nweight_classes = RAMWeigher\n";
    assert_eq!(chosen(&cloud.scheduler(options), &spec(1), 1).await, ["host2"]);
    cloud.add_aggregate(&[2], &[("ram_weight_multiplier", "-1")]);
    assert_eq!(chosen(&cloud.scheduler(options), &spec(1), 1).await, ["host3"]);
}

#[tokio::test]
async fn a_host_that_failed_to_build_or_is_busy_is_the_last_choice() {
    let cloud = Cloud::of(&[4, 8]).await;
    let stats = |name: &str| Some(BTreeMap::from([(name.to_owned(), Some("1".to_owned()))]));
    cloud.change_host(2, |host| host.node.stats = stats("failed_builds"));
    assert_eq!(chosen(&cloud.scheduler(""), &spec(1), 1).await, ["host1"]);
    cloud.change_host(2, |host| host.node.stats = stats("io_workload"));
    let options = "[filter_scheduler]\nio_ops_weight_multiplier = -100\n";
    assert_eq!(chosen(&cloud.scheduler(options), &spec(1), 1).await, ["host1"]);
    assert_eq!(
        chosen(&cloud.scheduler("[filter_scheduler]\nio_ops_weight_multiplier = 0\n"), &spec(1), 1).await,
        ["host2"]
    );
}

#[tokio::test]
async fn request_filters_look_past_the_limit_on_candidates() {
    let cloud = Cloud::of(&[8, 4, 2]).await;
    cloud.add_aggregate(&[2], &[("filter_tenant_id", "p")]);
    cloud.add_aggregate(&[1, 3], &[("trait:CUSTOM_RARE", "required")]);
    let few = "[scheduler]\nmax_placement_results = 1\n";
    let tenants = cloud.scheduler(&format!("{few}limit_tenants_to_placement_aggregate = true\n"));
    assert_eq!(chosen(&tenants, &spec(1), 1).await, ["host2"]);
    let isolated = cloud.scheduler(&format!("{few}enable_isolated_aggregate_filtering = true\n"));
    assert_eq!(chosen(&isolated, &spec(1), 1).await, ["host2"]);
    let reason = refusal(&isolated, &spec(5), 1).await;
    assert!(reason.contains("isolated aggregates: 1 of 1 refused"), "{reason}");
}

#[tokio::test]
async fn a_project_without_an_aggregate_is_told_so_where_it_needs_one() {
    let cloud = Cloud::of(&[8]).await;
    let options = "limit_tenants_to_placement_aggregate = true\nplacement_aggregate_required_for_tenants = true";
    let reason = refusal(&cloud.scheduler(&format!("[scheduler]\n{options}\n")), &spec(1), 1).await;
    assert_eq!(reason, "No valid host was found. Scheduling failed: No hosts available for tenant");
    assert_eq!(cloud.placement.claims.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_request_for_a_feature_goes_where_its_trait_is() {
    let cloud = Cloud::of(&[8, 4]).await;
    let context = RequestContext::admin();
    let packed = ["COMPUTE_NET_VIRTIO_PACKED".to_owned()];
    cloud.placement.inner.change_traits(&context, Uuid::from_u128(2), &packed, &[]).await.unwrap();
    let mut wanted = spec(1);
    wanted.flavor.extra_specs.insert("hw:virtio_packed_ring".to_owned(), "true".to_owned());
    assert_eq!(chosen(&cloud.scheduler(""), &wanted, 1).await, ["host2"]);
}

#[tokio::test]
async fn a_query_of_the_user_chooses_among_hosts_by_what_is_left_of_them() {
    let cloud = Cloud::of(&[8, 4]).await;
    let scheduler = cloud.scheduler("[filter_scheduler]\nenabled_filters = JsonFilter\n");
    let query = |query: &str| RequestSpec {
        scheduler_hints: Some(BTreeMap::from([("query".to_owned(), vec![query.to_owned()])])),
        ..spec(1)
    };
    assert_eq!(chosen(&scheduler, &query(r#"["<", "$free_ram_mb", 8192]"#), 1).await, ["host2"]);
    // One server more and host1 has no more than that left.
    let reason = refusal(&scheduler, &query(r#"[">=", "$free_ram_mb", 8192]"#), 2).await;
    assert!(reason.contains("JsonFilter: 2 of 2 refused; 1 of 2"), "{reason}");
}

#[tokio::test]
async fn a_rule_of_the_operator_is_asked_again_for_every_server_and_named_in_the_reason() {
    let cloud = Cloud::of(&[8, 4]).await;
    let rule = "host.free_ram_mb - request.flavor.memory_mb >= 2048";
    let scheduler = cloud.scheduler(&format!("[filter_scheduler]\nrules = {rule}\n"));
    let reason = refusal(&scheduler, &spec(2), 5).await;
    assert!(reason.ends_with(&format!("rule {rule}: 2 of 2 refused; 4 of 5 servers could be placed)")), "{reason}");
    assert_eq!(chosen(&scheduler, &spec(2), 4).await.len(), 4);
}

#[tokio::test]
async fn a_metric_that_is_weighed_and_missing_fails_the_request() {
    let cloud = Cloud::of(&[8, 4]).await;
    let metrics = "[metrics]\nweight_setting = cpu.frequency = 1\n";
    let error = select(&cloud.scheduler(metrics), &spec(1), 1).await.unwrap_err();
    assert!(matches!(error, SchedulerError::ComputeHostMetricNotFound { .. }), "{error:?}");
    assert_eq!((cloud.used_vcpus(1).await, cloud.used_vcpus(2).await), (0, 0));
    let metric = |value: i64| Some(json!([{"name": "cpu.frequency", "value": value}]).to_string());
    cloud.change_host(2, |host| host.node.metrics = metric(4000));
    let filtered = format!("[filter_scheduler]\nenabled_filters = MetricsFilter\n{metrics}");
    assert_eq!(chosen(&cloud.scheduler(&filtered), &spec(1), 1).await, ["host2"]);
    cloud.change_host(1, |host| host.node.metrics = metric(1000));
    let alone = format!("[filter_scheduler]\nweight_classes = MetricsWeigher\n{metrics}");
    assert_eq!(chosen(&cloud.scheduler(&alone), &spec(1), 1).await, ["host2"]);
}

#[tokio::test]
async fn alike_images_are_packed_where_it_is_wished() {
    let cloud = Cloud::of(&[8, 4]).await;
    let windows = BTreeMap::from([("os_distro".to_owned(), "windows".to_owned())]);
    cloud.change_host(2, |host| host.image_properties = vec![windows]);
    let mut image = kilonova_objects::ImageMeta::default();
    image.properties.0.insert("os_distro".to_owned(), json!("windows"));
    let spec = RequestSpec { image: Some(image), ..spec(1) };
    assert_eq!(chosen(&cloud.scheduler(""), &spec, 1).await, ["host1"]);
    let packed = "[filter_scheduler]\nimage_props_weight_multiplier = 100\n";
    assert_eq!(chosen(&cloud.scheduler(packed), &spec, 1).await, ["host2"]);
}

#[tokio::test]
async fn no_server_at_all_is_no_error() {
    let cloud = Cloud::of(&[1]).await;
    assert!(select(&cloud.scheduler(""), &spec(1), 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_option_that_makes_no_sense_stops_the_start() {
    let cloud = Cloud::new().await;
    for (options, name) in [
        ("[scheduler]\ndriver = pony\n", "[scheduler] driver"),
        ("[scheduler]\nmax_attempts = many\n", "[scheduler] max_attempts"),
        ("[scheduler]\nmax_attempts = 0\n", "[scheduler] max_attempts"),
        ("[scheduler]\nmax_placement_results = 0\n", "[scheduler] max_placement_results"),
        ("[filter_scheduler]\nhost_subset_size = 0\n", "[filter_scheduler] host_subset_size"),
        ("[filter_scheduler]\nenabled_filters = Pony\n", "[filter_scheduler] enabled_filters"),
        ("[filter_scheduler]\nenabled_filters = NUMATopologyFilter\n", "[filter_scheduler] enabled_filters"),
        (
            "[filter_scheduler]\nenabled_filters = IsolatedHostsFilter\nisolated_images = x\n",
            "[filter_scheduler] isolated_images",
        ),
        ("[filter_scheduler]\nrules = host.free_ram_mb >\n", "[filter_scheduler] rules"),
        ("[filter_scheduler]\nweight_classes = Pony\n", "[filter_scheduler] weight_classes"),
        ("[filter_scheduler]\ntrack_instance_changes = x\n", "[filter_scheduler] track_instance_changes"),
        ("[metrics]\nweight_setting = x\n", "[metrics] weight_setting"),
        ("[scheduler]\nenable_isolated_aggregate_filtering = x\n", "[scheduler] enable_isolated_aggregate_filtering"),
        ("[filter_scheduler]\nram_weight_multiplier = x\n", "[filter_scheduler] ram_weight_multiplier"),
        ("[filter_scheduler]\nram_weight_multiplier = NaN\n", "[filter_scheduler] ram_weight_multiplier"),
    ] {
        let config = Config::from_text(options).unwrap();
        let made = SchedulerManager::new(cloud.placement.clone(), cloud.hosts.clone(), &config);
        let Err(error) = made else { panic!("{options} was accepted") };
        assert!(error.to_string().starts_with(name), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_schedulers_never_oversell_and_lose_no_capacity() {
    const VCPUS: [i64; 3] = [7, 5, 11];
    let cloud = Arc::new(Cloud::of(&VCPUS).await);
    let drivers = ["filter_scheduler", "chance_scheduler", "filter_scheduler", "chance_scheduler"];
    let mut tasks = JoinSet::new();
    for (number, driver) in drivers.iter().enumerate() {
        let scheduler = Arc::new(cloud.scheduler(&format!("[scheduler]\ndriver = {driver}\n")));
        for round in 0..12 {
            let (cloud, scheduler) = (cloud.clone(), scheduler.clone());
            tasks.spawn(build_and_delete(cloud, scheduler, 1 + (number + round) % 4));
        }
    }
    let granted: usize = tasks.join_all().await.into_iter().sum();
    assert!(granted > 0, "nothing was ever granted");
    // Everything was given back, and all of it can be had.
    let total: i64 = VCPUS.iter().sum();
    assert_eq!(chosen(&cloud.scheduler(""), &spec(1), total as usize).await.len(), total as usize);
    for (number, vcpus) in (1..).zip(VCPUS) {
        assert_eq!(cloud.used_vcpus(number).await, vcpus);
    }
    assert!(select(&cloud.scheduler(""), &spec(1), 1).await.is_err());
}

/// Places `count` servers, looks that no host holds more than it has, and deletes them; how many were placed.
async fn build_and_delete(cloud: Arc<Cloud>, scheduler: Arc<SchedulerManager>, count: usize) -> usize {
    let (context, servers) = (RequestContext::admin(), servers(count));
    let selected = scheduler.select_destinations(&context, &spec(2), &servers, false).await;
    for (number, vcpus) in [(1, 7), (2, 5), (3, 11)] {
        let used = cloud.used_vcpus(number).await;
        assert!(used <= vcpus, "{used} of {vcpus} vCPUs of host{number} are taken");
    }
    match selected {
        Ok(_) => {
            for server in &servers {
                cloud.placement.delete_allocations(&context, *server).await.unwrap();
            }
            count
        }
        Err(SchedulerError::NoValidHost { .. }) => 0,
        Err(error) => panic!("{error:?}"),
    }
}

/// The question whether a server on that host may have an image with these properties.
fn rebuild(host: &str, properties: Value) -> RequestSpec {
    let mut image = kilonova_objects::ImageMeta::default();
    image.properties.0 = serde_json::from_value(properties).unwrap();
    RequestSpec {
        image: Some(image),
        scheduler_hints: Some(BTreeMap::from([("_nova_check_type".to_owned(), vec!["rebuild".to_owned()])])),
        force_hosts: Some(vec![host.to_owned()]),
        force_nodes: Some(vec![format!("{host}.node")]),
        availability_zone: Some("another".to_owned()),
        ..spec(100)
    }
}

#[tokio::test]
async fn a_rebuild_stays_on_its_host_and_claims_nothing() {
    let cloud = Cloud::of(&[1, 1]).await;
    cloud.change_host(2, |host| host.service.disabled = true);
    let scheduler = cloud.scheduler("");
    let selected = select(&scheduler, &rebuild("host2", json!({})), 1).await.unwrap();
    assert_eq!(hosts(&selected[0]), ["host2"]);
    assert_eq!((selected[0][0].nodename.as_str(), &selected[0][0].allocation_request), ("host2.node", &None));
    assert_eq!((cloud.used_vcpus(1).await, cloud.used_vcpus(2).await), (0, 0));
    assert_eq!(cloud.placement.claims.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_host_is_asked_whether_it_can_run_the_new_image() {
    let cloud = Cloud::of(&[1, 1]).await;
    cloud.change_host(1, |host| {
        host.node.supported_hv_specs = vec![json!({
            "nova_object.name": "HVSpec", "nova_object.namespace": "nova", "nova_object.version": "1.2",
            "nova_object.data": {"arch": "x86_64", "hv_type": "qemu", "vm_mode": "hvm"},
        })];
    });
    let scheduler = cloud.scheduler("");
    let image = |architecture: &str| rebuild("host1", json!({"hw_architecture": architecture}));
    assert_eq!(chosen(&scheduler, &image("x86_64"), 1).await, ["host1"]);
    let refused = refusal(&scheduler, &image("aarch64"), 1).await;
    assert!(refused.contains("ImagePropertiesFilter: 1 of 1 refused"), "{refused}");
}
