//! The `Placement` trait over SQLite: claims, providers, candidates. Each test twice: on the service itself, and through
//! the HTTP client and the REST API.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{Cloud, allocations, inventory, resources, uuid};
use kilonova_clients::ClientError;
use kilonova_clients::placement::{CandidatesQuery, Placement as _};
use kilonova_core::RequestContext;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Runs each test directly and over HTTP.
macro_rules! suite {
    ($($test:ident,)*) => {
        mod directly {
            $(#[tokio::test] async fn $test() { super::$test(super::Cloud::new().await).await })*
        }
        mod over_http {
            $(#[tokio::test] async fn $test() { super::$test(super::Cloud::over_http().await).await })*
        }
    };
}

suite! {
    a_claim_takes_the_last_unit_and_the_next_is_a_conflict_that_changes_nothing,
    a_claim_that_fits_in_one_class_only_takes_nothing_of_either,
    a_consumer_that_claims_again_does_not_compete_with_itself,
    a_claim_moves_from_one_provider_to_another_whole,
    a_claim_on_what_is_not_there_is_refused_with_a_reason,
    deleting_allocations_twice_is_success_and_frees_once,
    concurrent_claims_and_releases_never_exceed_the_capacity_and_lose_none_of_it,
    setting_a_provider_to_what_it_is_changes_nothing,
    a_class_in_use_cannot_go_but_may_shrink_below_its_use,
    a_name_belongs_to_one_provider_and_follows_a_renamed_host,
    inventory_that_makes_no_sense_is_refused_and_a_total_of_zero_is_none,
    a_provider_with_allocations_stays_and_one_without_goes,
    candidates_obey_amounts_traits_tree_and_limit,
    traits_are_added_and_removed_and_a_repeat_changes_nothing,
}

fn context() -> RequestContext {
    RequestContext::admin()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

async fn claim(cloud: &Cloud, consumer: u128, provider: u128, vcpus: i64) -> Result<(), ClientError> {
    let wanted = allocations(provider, &[("VCPU", vcpus)]);
    cloud.placement.set_allocations(&context(), uuid(consumer), "p", "u", &wanted).await
}

async fn candidates(cloud: &Cloud, query: &CandidatesQuery) -> Vec<Uuid> {
    let found = cloud.placement.allocation_candidates(&context(), query).await.unwrap();
    found.into_iter().map(|candidate| candidate.provider.uuid).collect()
}

async fn generation(cloud: &Cloud, provider: u128) -> i64 {
    let query = CandidatesQuery { in_tree: Some(uuid(provider)), ..CandidatesQuery::default() };
    let found = cloud.service.allocation_candidates(&context(), &query).await.unwrap();
    found[0].provider.generation
}

async fn a_claim_takes_the_last_unit_and_the_next_is_a_conflict_that_changes_nothing(cloud: Cloud) {
    cloud.host(1, &[("VCPU", 4), ("MEMORY_MB", 1024)], &[]).await;
    claim(&cloud, 10, 1, 3).await.unwrap();
    claim(&cloud, 11, 1, 1).await.unwrap();
    let before = generation(&cloud, 1).await;
    let error = claim(&cloud, 12, 1, 1).await.unwrap_err();
    let ClientError::Conflict(text) = error else { panic!("{error:?}") };
    assert!(text.ends_with("The requested amount would exceed the capacity."), "{text}");
    assert_eq!(generation(&cloud, 1).await, before);
    let all = cloud.placement.provider_allocations(&context(), uuid(1)).await.unwrap();
    assert_eq!(all, BTreeMap::from([(uuid(10), resources(&[("VCPU", 3)])), (uuid(11), resources(&[("VCPU", 1)]))]));
}

async fn a_claim_that_fits_in_one_class_only_takes_nothing_of_either(cloud: Cloud) {
    cloud.host(1, &[("VCPU", 4), ("MEMORY_MB", 1024)], &[]).await;
    let wanted = allocations(1, &[("VCPU", 1), ("MEMORY_MB", 1025)]);
    let refused = cloud.placement.set_allocations(&context(), uuid(10), "p", "u", &wanted).await;
    assert!(matches!(refused, Err(ClientError::Conflict(_))), "{refused:?}");
    assert_eq!(cloud.placement.allocations(&context(), uuid(10)).await.unwrap(), BTreeMap::new());
}

async fn a_consumer_that_claims_again_does_not_compete_with_itself(cloud: Cloud) {
    cloud.host(1, &[("VCPU", 4)], &[]).await;
    claim(&cloud, 10, 1, 4).await.unwrap();
    claim(&cloud, 10, 1, 4).await.unwrap();
    claim(&cloud, 10, 1, 2).await.unwrap();
    claim(&cloud, 11, 1, 2).await.unwrap();
}

async fn a_claim_moves_from_one_provider_to_another_whole(cloud: Cloud) {
    cloud.host(1, &[("VCPU", 4)], &[]).await;
    cloud.host(2, &[("VCPU", 4)], &[]).await;
    claim(&cloud, 10, 1, 4).await.unwrap();
    claim(&cloud, 10, 2, 4).await.unwrap();
    let has = cloud.placement.allocations(&context(), uuid(10)).await.unwrap();
    assert_eq!(has, allocations(2, &[("VCPU", 4)]));
    claim(&cloud, 11, 1, 4).await.unwrap();
}

async fn a_claim_on_what_is_not_there_is_refused_with_a_reason(cloud: Cloud) {
    cloud.host(1, &[("VCPU", 4)], &[]).await;
    let unknown = claim(&cloud, 10, 9, 1).await;
    assert!(matches!(unknown, Err(ClientError::BadRequest(_))), "{unknown:?}");
    let wanted = allocations(1, &[("VGPU", 1)]);
    let no_class = cloud.placement.set_allocations(&context(), uuid(10), "p", "u", &wanted).await;
    assert!(matches!(no_class, Err(ClientError::Conflict(_))), "{no_class:?}");
    let nothing = claim(&cloud, 10, 1, 0).await;
    // Below the smallest unit for the service; its REST API has a schema that does not know amounts of nothing.
    assert!(matches!(nothing, Err(ClientError::Conflict(_) | ClientError::BadRequest(_))), "{nothing:?}");
}

async fn deleting_allocations_twice_is_success_and_frees_once(cloud: Cloud) {
    cloud.host(1, &[("VCPU", 4)], &[]).await;
    claim(&cloud, 10, 1, 4).await.unwrap();
    cloud.placement.delete_allocations(&context(), uuid(10)).await.unwrap();
    cloud.placement.delete_allocations(&context(), uuid(10)).await.unwrap();
    claim(&cloud, 11, 1, 4).await.unwrap();
}

async fn concurrent_claims_and_releases_never_exceed_the_capacity_and_lose_none_of_it(cloud: Cloud) {
    let cloud = Arc::new(cloud);
    cloud.host(1, &[("VCPU", 7)], &[]).await;
    let mut tasks = JoinSet::new();
    for consumer in 100..140u128 {
        let cloud = cloud.clone();
        tasks.spawn(async move {
            let won = claim(&cloud, consumer, 1, 1 + (consumer % 3) as i64).await.is_ok();
            let all = cloud.placement.provider_allocations(&context(), uuid(1)).await.unwrap();
            let used: i64 = all.values().map(|resources| resources["VCPU"]).sum();
            assert!(used <= 7, "{used} of 7 are taken");
            if won {
                cloud.placement.delete_allocations(&context(), uuid(consumer)).await.unwrap();
            }
            won
        });
    }
    let won = tasks.join_all().await.into_iter().filter(|won| *won).count();
    assert!(won >= 3, "{won} claims were granted");
    claim(&cloud, 1000, 1, 7).await.unwrap();
}

async fn setting_a_provider_to_what_it_is_changes_nothing(cloud: Cloud) {
    cloud.host(1, &[("VCPU", 4)], &["CUSTOM_B", "CUSTOM_A"]).await;
    let before = generation(&cloud, 1).await;
    cloud.host(1, &[("VCPU", 4)], &["CUSTOM_A", "CUSTOM_B", "CUSTOM_A"]).await;
    assert_eq!(generation(&cloud, 1).await, before);
    cloud.host(1, &[("VCPU", 5)], &["CUSTOM_A", "CUSTOM_B"]).await;
    assert_eq!(generation(&cloud, 1).await, before + 1);
}

async fn a_class_in_use_cannot_go_but_may_shrink_below_its_use(cloud: Cloud) {
    cloud.host(1, &[("VCPU", 4), ("VGPU", 1)], &[]).await;
    claim(&cloud, 10, 1, 4).await.unwrap();
    let only_gpu = BTreeMap::from([("VGPU".to_owned(), inventory(1))]);
    let refused = cloud.placement.set_provider(&context(), uuid(1), "host1", &only_gpu, &[]).await;
    assert!(matches!(refused, Err(ClientError::Conflict(_))), "{refused:?}");
    cloud.host(1, &[("VCPU", 2)], &[]).await;
    let query = CandidatesQuery { in_tree: Some(uuid(1)), ..CandidatesQuery::default() };
    let found = cloud.service.allocation_candidates(&context(), &query).await.unwrap();
    assert_eq!(found[0].capacity, resources(&[("VCPU", 2)]));
    assert_eq!(found[0].used, resources(&[("VCPU", 4)]));
    assert!(claim(&cloud, 11, 1, 1).await.is_err());
}

async fn a_name_belongs_to_one_provider_and_follows_a_renamed_host(cloud: Cloud) {
    cloud.host(1, &[("VCPU", 4)], &[]).await;
    let stock = BTreeMap::from([("VCPU".to_owned(), inventory(4))]);
    let taken = cloud.placement.set_provider(&context(), uuid(2), "host1", &stock, &[]).await;
    assert!(matches!(taken, Err(ClientError::Conflict(_))), "{taken:?}");
    cloud.placement.set_provider(&context(), uuid(1), "renamed", &stock, &[]).await.unwrap();
    cloud.placement.set_provider(&context(), uuid(2), "host1", &stock, &[]).await.unwrap();
}

async fn inventory_that_makes_no_sense_is_refused_and_a_total_of_zero_is_none(cloud: Cloud) {
    let set = async |class: &str, change: fn(&mut kilonova_clients::placement::Inventory)| {
        let mut bad = inventory(4);
        change(&mut bad);
        let stock = BTreeMap::from([(class.to_owned(), bad)]);
        cloud.placement.set_provider(&context(), uuid(1), "host1", &stock, &[]).await
    };
    assert!(matches!(set("vcpu", |_| ()).await, Err(ClientError::BadRequest(_))));
    assert!(matches!(set("VCPU", |i| i.total = -1).await, Err(ClientError::BadRequest(_))));
    assert!(matches!(set("VCPU", |i| i.reserved = 5).await, Err(ClientError::BadRequest(_))));
    assert!(matches!(set("VCPU", |i| i.step_size = 0).await, Err(ClientError::BadRequest(_))));
    assert!(matches!(set("VCPU", |i| i.allocation_ratio = f64::NAN).await, Err(ClientError::BadRequest(_))));
    let query = CandidatesQuery { resources: resources(&[("VCPU", 1)]), ..Default::default() };
    assert!(candidates(&cloud, &query).await.is_empty());
    set("VCPU", |i| i.total = 0).await.unwrap();
    assert!(candidates(&cloud, &query).await.is_empty());
}

async fn a_provider_with_allocations_stays_and_one_without_goes(cloud: Cloud) {
    cloud.host(1, &[("VCPU", 4)], &[]).await;
    claim(&cloud, 10, 1, 1).await.unwrap();
    let refused = cloud.placement.delete_provider(&context(), uuid(1)).await;
    assert!(matches!(refused, Err(ClientError::Conflict(_))), "{refused:?}");
    cloud.placement.delete_allocations(&context(), uuid(10)).await.unwrap();
    cloud.placement.delete_provider(&context(), uuid(1)).await.unwrap();
    let gone = cloud.placement.delete_provider(&context(), uuid(1)).await;
    assert!(matches!(gone, Err(ClientError::NotFound { .. })), "{gone:?}");
}

async fn candidates_obey_amounts_traits_tree_and_limit(cloud: Cloud) {
    cloud.host(1, &[("VCPU", 4)], &["CUSTOM_FAST"]).await;
    cloud.host(2, &[("VCPU", 8)], &["CUSTOM_FAST", "CUSTOM_OLD"]).await;
    cloud.host(3, &[("VCPU", 8), ("VGPU", 1)], &[]).await;
    let query = |vcpus| CandidatesQuery { resources: resources(&[("VCPU", vcpus)]), ..CandidatesQuery::default() };
    assert_eq!(candidates(&cloud, &query(4)).await, [uuid(1), uuid(2), uuid(3)]);
    assert_eq!(candidates(&cloud, &query(5)).await, [uuid(2), uuid(3)]);
    let fast = CandidatesQuery { required: names(&["CUSTOM_FAST"]), ..query(1) };
    assert_eq!(candidates(&cloud, &fast).await, [uuid(1), uuid(2)]);
    let not_old = CandidatesQuery { forbidden: names(&["CUSTOM_OLD"]), ..fast };
    assert_eq!(candidates(&cloud, &not_old).await, [uuid(1)]);
    let there = CandidatesQuery { in_tree: Some(uuid(3)), ..query(8) };
    assert_eq!(candidates(&cloud, &there).await, [uuid(3)]);
    let nowhere = CandidatesQuery { in_tree: Some(uuid(9)), ..query(1) };
    assert!(candidates(&cloud, &nowhere).await.is_empty());
    let two = CandidatesQuery { limit: Some(2), ..query(1) };
    assert_eq!(candidates(&cloud, &two).await, [uuid(1), uuid(2)]);
}

async fn traits_are_added_and_removed_and_a_repeat_changes_nothing(cloud: Cloud) {
    cloud.host(1, &[("VCPU", 4)], &["CUSTOM_A"]).await;
    let change = async |add: &[&str], remove: &[&str]| {
        let (add, remove) = (names(add), names(remove));
        cloud.placement.change_traits(&context(), uuid(1), &add, &remove).await
    };
    change(&["COMPUTE_STATUS_DISABLED"], &["CUSTOM_A"]).await.unwrap();
    let before = generation(&cloud, 1).await;
    change(&["COMPUTE_STATUS_DISABLED"], &["CUSTOM_A", "CUSTOM_B"]).await.unwrap();
    assert_eq!(generation(&cloud, 1).await, before);
    let found = cloud.service.allocation_candidates(&context(), &CandidatesQuery::default()).await.unwrap();
    assert_eq!(found[0].traits, ["COMPUTE_STATUS_DISABLED"]);
    assert!(matches!(change(&["not a trait"], &[]).await, Err(ClientError::BadRequest(_))));
    let unknown = cloud.placement.change_traits(&context(), uuid(9), &names(&["CUSTOM_A"]), &[]).await;
    assert!(matches!(unknown, Err(ClientError::NotFound { .. })), "{unknown:?}");
}

#[tokio::test]
async fn everything_is_there_after_the_database_was_closed_and_opened() {
    let cloud = Cloud::new().await;
    cloud.host(1, &[("VCPU", 4)], &["CUSTOM_A"]).await;
    claim(&cloud, 10, 1, 3).await.unwrap();
    let cloud = cloud.reopened().await;
    let has = cloud.placement.allocations(&context(), uuid(10)).await.unwrap();
    assert_eq!(has, allocations(1, &[("VCPU", 3)]));
    assert!(claim(&cloud, 11, 1, 2).await.is_err());
}

#[tokio::test]
async fn an_inventory_that_is_refused_makes_no_provider() {
    let cloud = Cloud::new().await;
    let stock = BTreeMap::from([("vcpu".to_owned(), inventory(4))]);
    assert!(cloud.placement.set_provider(&context(), uuid(1), "host1", &stock, &[]).await.is_err());
    assert!(candidates(&cloud, &CandidatesQuery::default()).await.is_empty());
}

#[tokio::test]
async fn over_http_changes_of_one_provider_at_the_same_time_are_all_made() {
    let cloud = Arc::new(Cloud::over_http().await);
    cloud.host(1, &[("VCPU", 4), ("CUSTOM_GOLD", 1)], &["CUSTOM_0"]).await;
    let mut tasks = JoinSet::new();
    for number in 1..=4 {
        let cloud = cloud.clone();
        let add = names(&[&format!("CUSTOM_{number}")]);
        tasks.spawn(async move { cloud.placement.change_traits(&context(), uuid(1), &add, &[]).await.unwrap() });
    }
    tasks.join_all().await;
    let query = CandidatesQuery { resources: resources(&[("CUSTOM_GOLD", 1)]), ..CandidatesQuery::default() };
    let found = cloud.placement.allocation_candidates(&context(), &query).await.unwrap();
    assert_eq!(found[0].traits, ["CUSTOM_0", "CUSTOM_1", "CUSTOM_2", "CUSTOM_3", "CUSTOM_4"]);
    assert_eq!(found, cloud.service.allocation_candidates(&context(), &query).await.unwrap());
}

#[tokio::test]
async fn over_http_a_query_without_amounts_is_refused_as_placement_does() {
    let cloud = Cloud::over_http().await;
    let refused = cloud.placement.allocation_candidates(&context(), &CandidatesQuery::default()).await;
    assert!(matches!(refused, Err(ClientError::BadRequest(_))), "{refused:?}");
}
