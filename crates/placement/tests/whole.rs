//! The rest of the API: trees, single inventories, aggregates, names, batches, consumer types, the reshaper, groups.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod common;

use axum::http::StatusCode;
use common::api::{Answer, Api};
use common::uuid;
use serde_json::{Value, json};

const OK: StatusCode = StatusCode::OK;
const DONE: StatusCode = StatusCode::NO_CONTENT;
const BAD: StatusCode = StatusCode::BAD_REQUEST;
const CONFLICT: StatusCode = StatusCode::CONFLICT;

fn id(number: u128) -> String {
    uuid(number).to_string()
}

fn one(number: u128) -> String {
    format!("/resource_providers/{}", id(number))
}

async fn make(api: &Api, number: u128, parent: Option<u128>) {
    let mut body = json!({"uuid": id(number), "name": format!("p{number}")});
    if let Some(parent) = parent {
        body["parent_provider_uuid"] = json!(id(parent));
    }
    let made = api.call("POST", "/resource_providers", "1.39", Some(body)).await;
    assert_eq!(made.status, OK, "{}", made.body);
}

/// Sets something below a provider to what it shall be, at its generation.
async fn set(api: &Api, number: u128, what: &str, value: Value) -> Answer {
    let generation = api.get(&one(number), "1.39").await.body["generation"].clone();
    let body = json!({"resource_provider_generation": generation, what: value});
    let answer = api.call("PUT", &format!("{}/{what}", one(number)), "1.39", Some(body)).await;
    assert_eq!(answer.status, OK, "{what} of {number}: {}", answer.body);
    answer
}

fn stock(amounts: &[(&str, i64)]) -> Value {
    amounts.iter().map(|(class, total)| ((*class).to_owned(), json!({"total": total}))).collect()
}

async fn declare(api: &Api, name: &str) {
    assert_eq!(api.call("PUT", name, "1.39", None).await.status, StatusCode::CREATED, "{name}");
}

async fn place(api: &Api, number: u128) -> (Value, Value) {
    let body = api.get(&one(number), "1.39").await.body;
    (body["parent_provider_uuid"].clone(), body["root_provider_uuid"].clone())
}

#[tokio::test]
async fn a_tree_grows_moves_from_1_37_on_and_never_makes_a_circle() {
    let api = Api::new().await;
    for (number, parent) in [(1, None), (2, Some(1)), (3, Some(2)), (4, None)] {
        make(&api, number, parent).await;
    }
    assert_eq!(place(&api, 3).await, (json!(id(2)), json!(id(1))));
    let tree = api.get(&format!("/resource_providers?in_tree={}", id(3)), "1.39").await.body;
    assert_eq!(tree["resource_providers"].as_array().unwrap().len(), 3);

    let move_to = async |number: u128, parent: Option<u128>, version: &str| {
        let body = json!({"name": format!("p{number}"), "parent_provider_uuid": parent.map(id)});
        api.call("PUT", &one(number), version, Some(body)).await
    };
    assert_eq!(move_to(2, Some(4), "1.36").await.status, BAD);
    assert_eq!(move_to(2, None, "1.36").await.status, BAD);
    let circle = move_to(1, Some(3), "1.39").await;
    assert!(circle.detail().ends_with("creating loop in the provider tree is not allowed."), "{}", circle.detail());
    assert_eq!(move_to(2, Some(9), "1.39").await.status, BAD);
    assert_eq!(move_to(2, Some(4), "1.37").await.status, OK);
    assert_eq!(place(&api, 3).await, (json!(id(2)), json!(id(4))));
    assert_eq!(move_to(2, None, "1.37").await.status, OK);
    assert_eq!(place(&api, 3).await, (json!(id(2)), json!(id(2))));
    assert_eq!(api.get(&one(3), "1.39").await.body["generation"], 0, "no generation tells of it");

    let refused = api.call("DELETE", &one(2), "1.39", None).await;
    assert_eq!(refused.error()["code"], "placement.resource_provider.cannot_delete_parent");
    assert_eq!(api.call("DELETE", &one(3), "1.39", None).await.status, DONE);
    assert_eq!(api.call("DELETE", &one(2), "1.39", None).await.status, DONE);
}

#[tokio::test]
async fn one_inventory_is_made_changed_and_deleted_by_itself() {
    let api = Api::new().await;
    make(&api, 1, None).await;
    let (all, vcpu) = (format!("{}/inventories", one(1)), format!("{}/inventories/VCPU", one(1)));
    let made = api.call("POST", &all, "1.39", Some(json!({"resource_class": "VCPU", "total": 8}))).await;
    assert_eq!((made.status, &made.body["resource_provider_generation"]), (StatusCode::CREATED, &json!(1)));
    assert_eq!(made.headers["location"], format!("/placement{vcpu}"));
    let again = api.call("POST", &all, "1.39", Some(json!({"resource_class": "VCPU", "total": 8}))).await;
    assert_eq!((again.status, &again.error()["code"]), (CONFLICT, &json!("placement.concurrent_update")));
    let unknown = api.call("POST", &all, "1.39", Some(json!({"resource_class": "PONY", "total": 8}))).await;
    assert!(unknown.detail().ends_with("No such resource class PONY."), "{}", unknown.detail());

    let change = async |path: &str, generation: i64, reserved: i64, version: &str| {
        let body = json!({"resource_provider_generation": generation, "total": 4, "reserved": reserved});
        api.call("PUT", path, version, Some(body)).await
    };
    assert_eq!(change(&vcpu, 0, 0, "1.39").await.status, CONFLICT);
    assert_eq!(change(&vcpu, 1, 5, "1.39").await.status, BAD);
    assert_eq!(change(&vcpu, 1, 4, "1.25").await.status, BAD, "before 1.26 something is left");
    assert_eq!(change(&vcpu, 1, 4, "1.26").await.body["reserved"], 4);
    assert_eq!(change(&vcpu, 2, 0, "1.39").await.body["reserved"], 0);
    assert_eq!(change(&format!("{all}/MEMORY_MB"), 3, 0, "1.39").await.status, BAD);
    assert_eq!(change(&format!("{all}/PONY"), 3, 0, "1.39").await.status, StatusCode::NOT_FOUND);

    api.claim(10, 1, 1).await;
    let used = api.call("DELETE", &vcpu, "1.39", None).await;
    assert_eq!((used.status, &used.error()["code"]), (CONFLICT, &json!("placement.concurrent_update")));
    let used = api.call("DELETE", &all, "1.39", None).await;
    assert_eq!((used.status, &used.error()["code"]), (CONFLICT, &json!("placement.inventory.inuse")));
    api.call("DELETE", &format!("/allocations/{}", id(10)), "1.39", None).await;
    assert_eq!(api.call("DELETE", &vcpu, "1.39", None).await.status, DONE);
    assert_eq!(api.call("DELETE", &vcpu, "1.39", None).await.status, StatusCode::NOT_FOUND);
    assert_eq!(api.call("DELETE", &all, "1.4", None).await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(api.call("DELETE", &all, "1.5", None).await.status, DONE);
}

#[tokio::test]
async fn aggregates_raise_the_generation_from_1_19_on() {
    let api = Api::new().await;
    make(&api, 1, None).await;
    make(&api, 2, None).await;
    let path = format!("{}/aggregates", one(1));
    let old = api.call("PUT", &path, "1.18", Some(json!([id(100), id(101)]))).await;
    assert_eq!(old.body, json!({"aggregates": [id(100), id(101)]}));
    let get = async || api.get(&path, "1.39").await.body;
    assert_eq!(get().await, json!({"aggregates": [id(100), id(101)], "resource_provider_generation": 0}));
    set(&api, 1, "aggregates", json!([id(100)])).await;
    assert_eq!(get().await, json!({"aggregates": [id(100)], "resource_provider_generation": 1}));
    let stale = json!({"resource_provider_generation": 0, "aggregates": []});
    assert_eq!(api.call("PUT", &path, "1.39", Some(stale)).await.error()["code"], "placement.concurrent_update");
    for body in [json!([id(1), id(1)]), json!(["pony"]), json!({})] {
        assert_eq!(api.call("PUT", &path, "1.18", Some(body.clone())).await.status, BAD, "{body}");
    }
    let members = async |query: &str| {
        let found = api.get(&format!("/resource_providers?{query}"), "1.39").await.body;
        found["resource_providers"].as_array().unwrap().iter().map(|row| row["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(members(&format!("member_of={}", id(100))).await, ["p1"]);
    assert_eq!(members(&format!("member_of=in:{},{}", id(100), id(7))).await, ["p1"]);
    assert_eq!(members(&format!("member_of=!{}", id(100))).await, ["p2"]);
    assert!(members(&format!("member_of={}&member_of={}", id(100), id(101))).await.is_empty());
}

#[tokio::test]
async fn custom_names_are_made_renamed_and_go_when_nobody_has_them() {
    let api = Api::new().await;
    make(&api, 1, None).await;
    let post =
        async |name: &str| api.call("POST", "/resource_classes", "1.39", Some(json!({"name": name}))).await.status;
    assert_eq!(post("CUSTOM_GOLD").await, StatusCode::CREATED);
    assert_eq!(post("CUSTOM_GOLD").await, CONFLICT);
    assert_eq!(post("GOLD").await, BAD);
    set(&api, 1, "inventories", stock(&[("CUSTOM_GOLD", 4)])).await;
    let rename = async |from: &str, to: &str| {
        api.call("PUT", &format!("/resource_classes/{from}"), "1.6", Some(json!({"name": to}))).await.status
    };
    assert_eq!(rename("CUSTOM_GOLD", "CUSTOM_SILVER").await, OK);
    assert_eq!(rename("CUSTOM_GOLD", "CUSTOM_LEAD").await, StatusCode::NOT_FOUND);
    assert_eq!(rename("VCPU", "CUSTOM_LEAD").await, BAD);
    let inventories = api.get(&format!("{}/inventories", one(1)), "1.39").await.body;
    assert_eq!(inventories["inventories"]["CUSTOM_SILVER"]["total"], 4);
    let delete = async |path: &str| api.call("DELETE", path, "1.39", None).await.status;
    assert_eq!(delete("/resource_classes/CUSTOM_SILVER").await, CONFLICT);
    assert_eq!(delete("/resource_classes/VCPU").await, BAD);
    set(&api, 1, "inventories", json!({})).await;
    assert_eq!(delete("/resource_classes/CUSTOM_SILVER").await, DONE);
    assert_eq!(delete("/resource_classes/CUSTOM_SILVER").await, StatusCode::NOT_FOUND);

    declare(&api, "/traits/CUSTOM_FAST").await;
    assert_eq!(api.call("PUT", "/traits/CUSTOM_FAST", "1.39", None).await.status, DONE);
    set(&api, 1, "traits", json!(["CUSTOM_FAST", "HW_CPU_X86_VMX"])).await;
    let body = json!({"resource_provider_generation": 3, "traits": ["CUSTOM_SLOW"]});
    let unknown = api.call("PUT", &format!("{}/traits", one(1)), "1.39", Some(body)).await;
    assert_eq!((unknown.status, unknown.detail()), (BAD, "No such trait CUSTOM_SLOW"));
    assert_eq!(delete("/traits/CUSTOM_FAST").await, CONFLICT);
    assert_eq!(delete("/traits/HW_CPU_X86_VMX").await, BAD);
    assert_eq!(delete(&format!("{}/traits", one(1))).await, DONE);
    assert_eq!(delete("/traits/CUSTOM_FAST").await, DONE);
    assert_eq!(api.get("/traits/CUSTOM_FAST", "1.39").await.status, StatusCode::NOT_FOUND);
}

fn claim(provider: u128, vcpus: i64, generation: Value) -> Value {
    let allocations = if vcpus == 0 { json!({}) } else { json!({id(provider): {"resources": {"VCPU": vcpus}}}) };
    json!({"allocations": allocations, "project_id": "p", "user_id": "u", "consumer_generation": generation,
           "consumer_type": "INSTANCE"})
}

async fn used(api: &Api, provider: u128) -> Value {
    api.get(&format!("{}/usages", one(provider)), "1.39").await.body["usages"]["VCPU"].clone()
}

#[tokio::test]
async fn a_batch_is_done_whole_or_not_at_all() {
    let api = Api::new().await;
    for number in [1, 2] {
        make(&api, number, None).await;
        set(&api, number, "inventories", stock(&[("VCPU", 4)])).await;
    }
    let post = async |body: Value| api.call("POST", "/allocations", "1.39", Some(body)).await;
    let two = |first: Value, second: Value| json!({id(10): first, id(11): second});
    let too_much = post(two(claim(1, 3, Value::Null), claim(1, 2, Value::Null))).await;
    assert_eq!(too_much.status, CONFLICT);
    assert_eq!(used(&api, 1).await, 0);
    assert_eq!(post(two(claim(1, 3, Value::Null), claim(1, 1, Value::Null))).await.status, DONE);
    // The one leaves as the other comes, as for a migration.
    assert_eq!(post(two(claim(2, 3, json!(1)), claim(1, 4, json!(1)))).await.status, DONE);
    assert_eq!((used(&api, 1).await, used(&api, 2).await), (json!(4), json!(3)));
    let stale = post(two(claim(2, 1, json!(2)), claim(1, 0, json!(1)))).await;
    assert_eq!(stale.error()["code"], "placement.concurrent_update");
    assert_eq!(post(two(claim(2, 1, json!(2)), claim(1, 0, json!(2)))).await.status, DONE);
    assert_eq!((used(&api, 1).await, used(&api, 2).await), (json!(0), json!(1)));
    assert_eq!(post(json!({})).await.status, BAD);
    assert_eq!(api.call("POST", "/allocations", "1.12", Some(json!({}))).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn who_has_more_than_there_is_may_keep_it_and_give_back_of_it() {
    let api = Api::new().await;
    make(&api, 1, None).await;
    set(&api, 1, "inventories", stock(&[("VCPU", 8)])).await;
    let path = format!("/allocations/{}", id(10));
    let put = async |vcpus: i64, generation: Value| {
        api.call("PUT", &path, "1.39", Some(claim(1, vcpus, generation))).await.status
    };
    assert_eq!(put(8, Value::Null).await, DONE);
    set(&api, 1, "inventories", json!({"VCPU": {"total": 4, "max_unit": 8}})).await;
    assert_eq!(put(8, json!(1)).await, DONE);
    assert_eq!(put(7, json!(2)).await, DONE);
    assert_eq!(put(8, json!(3)).await, CONFLICT);
}

#[tokio::test]
async fn usages_are_told_by_consumer_type_from_1_38_on() {
    let api = Api::new().await;
    make(&api, 1, None).await;
    set(&api, 1, "inventories", stock(&[("VCPU", 8)])).await;
    api.claim(9, 1, 1).await;
    for (consumer, kind) in [(10, "INSTANCE"), (11, "INSTANCE"), (12, "MIGRATION")] {
        let mut body = claim(1, 2, Value::Null);
        body["consumer_type"] = json!(kind);
        let put = api.call("PUT", &format!("/allocations/{}", id(consumer)), "1.39", Some(body)).await;
        assert_eq!(put.status, DONE);
    }
    let get = async |query: &str, version: &str| {
        api.get(&format!("/usages?project_id=p{query}"), version).await.body["usages"].clone()
    };
    let (instance, unknown) = (json!({"VCPU": 4, "consumer_count": 2}), json!({"VCPU": 1, "consumer_count": 1}));
    assert_eq!(get("", "1.37").await, json!({"VCPU": 7}));
    let migration = json!({"VCPU": 2, "consumer_count": 1});
    assert_eq!(get("", "1.38").await, json!({"INSTANCE": instance, "MIGRATION": migration, "unknown": unknown}));
    assert_eq!(get("&consumer_type=INSTANCE", "1.38").await, json!({"INSTANCE": instance}));
    assert_eq!(get("&consumer_type=unknown", "1.38").await, json!({"unknown": unknown}));
    assert_eq!(get("&consumer_type=all", "1.38").await, json!({"all": {"VCPU": 7, "consumer_count": 4}}));
    assert_eq!(get("&consumer_type=PONY", "1.38").await, json!({}));
    assert_eq!(api.get("/usages?project_id=p&consumer_type=INSTANCE", "1.37").await.status, BAD);
    let has = async |consumer: u128| api.get(&format!("/allocations/{}", id(consumer)), "1.38").await.body;
    assert_eq!(has(9).await["consumer_type"], "unknown");
    // A client that does not know of types leaves them as they are.
    let mut body = claim(1, 1, json!(1));
    body.as_object_mut().unwrap().remove("consumer_type");
    let put = api.call("PUT", &format!("/allocations/{}", id(12)), "1.37", Some(body)).await;
    assert_eq!(put.status, DONE, "{}", put.body);
    assert_eq!(has(12).await["consumer_type"], "MIGRATION");
}

#[tokio::test]
async fn the_reshaper_moves_an_inventory_with_what_is_allocated_of_it() {
    let api = Api::new().await;
    make(&api, 1, None).await;
    make(&api, 2, Some(1)).await;
    set(&api, 1, "inventories", stock(&[("VCPU", 8), ("VGPU", 2)])).await;
    let gpus = |provider: u128, generation: Value| {
        json!({"allocations": {id(provider): {"resources": {"VGPU": 2}}}, "project_id": "p", "user_id": "u",
               "consumer_generation": generation, "consumer_type": "INSTANCE"})
    };
    let put = api.call("PUT", &format!("/allocations/{}", id(10)), "1.39", Some(gpus(1, Value::Null))).await;
    assert_eq!(put.status, DONE);
    let reshape = async |generations: (i64, i64), allocations: Value| {
        let body = json!({
            "inventories": {
                id(1): {"resource_provider_generation": generations.0, "inventories": stock(&[("VCPU", 8)])},
                id(2): {"resource_provider_generation": generations.1, "inventories": stock(&[("VGPU", 2)])},
            },
            "allocations": allocations,
        });
        let request = axum::http::Request::post("/placement/reshaper")
            .header("x-auth-token", "service")
            .header("openstack-api-version", "placement 1.39")
            .header("content-type", "application/json");
        api.send(request.body(body.to_string().into()).unwrap()).await
    };
    let in_use = reshape((2, 0), json!({})).await;
    assert_eq!((in_use.status, &in_use.error()["code"]), (CONFLICT, &json!("placement.inventory.inuse")));
    let stale = reshape((1, 0), json!({id(10): gpus(2, json!(1))})).await;
    assert_eq!(stale.error()["code"], "placement.concurrent_update");
    let moved = reshape((2, 0), json!({id(10): gpus(2, json!(1))})).await;
    assert_eq!(moved.status, DONE, "{}", moved.body);
    let inventories = async |number| api.get(&format!("{}/inventories", one(number)), "1.39").await.body;
    let (host, gpu) = (inventories(1).await, inventories(2).await);
    assert_eq!((&host["inventories"]["VGPU"], &gpu["inventories"]["VGPU"]["total"]), (&Value::Null, &json!(2)));
    assert_eq!((&host["resource_provider_generation"], &gpu["resource_provider_generation"]), (&json!(4), &json!(3)));
    let has = api.get(&format!("/allocations/{}", id(10)), "1.39").await.body;
    assert_eq!(has["allocations"][id(2)]["resources"], json!({"VGPU": 2}));
    let as_admin = api.call("POST", "/reshaper", "1.39", Some(json!({}))).await;
    assert_eq!(as_admin.status, StatusCode::FORBIDDEN);
    assert_eq!(as_admin.detail(), "Policy does not allow placement:reshaper:reshape to be performed.");
}

/// Two hosts with two network cards each, and a disk that both share.
///
/// ```text
/// 1 (VCPU, aggregate 100) ─ 11 (VF, CUSTOM_FAST), 12 (VF)
/// 2 (VCPU, aggregate 100) ─ 21 (VF, CUSTOM_FAST), 22 (VF, CUSTOM_FAST)      3 (DISK_GB, shares, aggregate 100)
/// ```
async fn cards_and_a_disk() -> Api {
    let api = Api::new().await;
    declare(&api, "/traits/CUSTOM_FAST").await;
    declare(&api, "/traits/CUSTOM_SLOW").await;
    for host in [1, 2] {
        make(&api, host, None).await;
        set(&api, host, "inventories", stock(&[("VCPU", 8)])).await;
        set(&api, host, "aggregates", json!([id(100)])).await;
        for card in [1, 2] {
            let card = host * 10 + card;
            make(&api, card, Some(host)).await;
            set(&api, card, "inventories", stock(&[("SRIOV_NET_VF", 4)])).await;
        }
    }
    for card in [11, 21, 22] {
        set(&api, card, "traits", json!(["CUSTOM_FAST"])).await;
    }
    set(&api, 2, "traits", json!(["HW_CPU_X86_VMX"])).await;
    make(&api, 3, None).await;
    set(&api, 3, "inventories", stock(&[("DISK_GB", 100)])).await;
    set(&api, 3, "traits", json!(["MISC_SHARES_VIA_AGGREGATE"])).await;
    set(&api, 3, "aggregates", json!([id(100)])).await;
    api
}

/// The providers of each way, by suffix: `{"": [1, 3], "_A": [11]}`.
async fn ways(api: &Api, query: &str) -> Vec<Value> {
    let answer = api.get(&format!("/allocation_candidates?{query}"), "1.39").await;
    assert_eq!(answer.status, OK, "{query}: {}", answer.body);
    let number = |uuid: &Value| u64::from_str_radix(&uuid.as_str().unwrap()[28..], 16).unwrap();
    let of_group = |uuids: &Value| uuids.as_array().unwrap().iter().map(number).collect::<Vec<_>>();
    let way = |request: &Value| -> Value {
        let mappings = request["mappings"].as_object().unwrap();
        mappings.iter().map(|(suffix, uuids)| (suffix.clone(), json!(of_group(uuids)))).collect()
    };
    answer.body["allocation_requests"].as_array().unwrap().iter().map(way).collect()
}

#[tokio::test]
async fn a_group_without_a_suffix_is_spread_over_a_tree_and_what_is_shared_with_it() {
    let api = cards_and_a_disk().await;
    assert_eq!(ways(&api, "resources=VCPU:1,DISK_GB:10").await, [json!({"": [1, 3]}), json!({"": [2, 3]})]);
    assert_eq!(
        ways(&api, "resources=VCPU:1,SRIOV_NET_VF:1").await,
        [json!({"": [1, 11]}), json!({"": [1, 12]}), json!({"": [2, 21]}), json!({"": [2, 22]})]
    );
    assert_eq!(ways(&api, "resources=VCPU:1,SRIOV_NET_VF:1&required=CUSTOM_FAST&limit=2").await.len(), 2);
    assert_eq!(ways(&api, "resources=VCPU:1,SRIOV_NET_VF:1&required=!CUSTOM_FAST").await, [json!({"": [1, 12]})]);
    assert_eq!(
        ways(&api, "resources=VCPU:1,SRIOV_NET_VF:1&required=in:CUSTOM_SLOW,HW_CPU_X86_VMX").await,
        [json!({"": [2, 21]}), json!({"": [2, 22]})]
    );
    assert_eq!(ways(&api, &format!("resources=VCPU:1&in_tree={}", id(22))).await, [json!({"": [2]})]);
    assert!(ways(&api, &format!("resources=VCPU:1,DISK_GB:1&in_tree={}", id(22))).await.is_empty());
    // An aggregate of the root is one of the whole tree.
    assert_eq!(ways(&api, &format!("resources=SRIOV_NET_VF:1&member_of={}", id(100))).await.len(), 4);
    assert!(ways(&api, &format!("resources=SRIOV_NET_VF:1&member_of=!{}", id(100))).await.is_empty());
    assert_eq!(ways(&api, "resources=VCPU:1&root_required=!HW_CPU_X86_VMX").await, [json!({"": [1]})]);
}

#[tokio::test]
async fn groups_with_suffixes_come_from_one_provider_each() {
    let api = cards_and_a_disk().await;
    let two = "resources=VCPU:1&resources_A=SRIOV_NET_VF:1&required_A=CUSTOM_FAST&resources_B=SRIOV_NET_VF:1";
    assert_eq!(
        ways(&api, &format!("{two}&group_policy=isolate")).await,
        [
            json!({"": [1], "_A": [11], "_B": [12]}),
            json!({"": [2], "_A": [21], "_B": [22]}),
            json!({"": [2], "_A": [22], "_B": [21]}),
        ]
    );
    assert_eq!(ways(&api, &format!("{two}&group_policy=none")).await.len(), 6);
    // Together they do not fit into one.
    let large = "resources_A=SRIOV_NET_VF:3&resources_B=SRIOV_NET_VF:2&group_policy=none";
    assert_eq!(ways(&api, large).await.len(), 4);
    let over_tree = "resources_A=VCPU:1&resources_B=SRIOV_NET_VF:1&required_B=CUSTOM_FAST&group_policy=none";
    assert_eq!(ways(&api, &format!("{over_tree}&same_subtree=_A,_B")).await.len(), 3);
    let cards = "resources_A=SRIOV_NET_VF:1&resources_B=SRIOV_NET_VF:1&group_policy=isolate&same_subtree=_A,_B";
    assert!(ways(&api, cards).await.is_empty());
    // A group without amounts says above whom the others are.
    let below = "resources_A=SRIOV_NET_VF:1&required_H=HW_CPU_X86_VMX&same_subtree=_A,_H&group_policy=none";
    assert_eq!(ways(&api, below).await, [json!({"_A": [21], "_H": [2]}), json!({"_A": [22], "_H": [2]})]);
    let shared = "resources_A=VCPU:1&resources_B=DISK_GB:1&group_policy=none";
    assert_eq!(ways(&api, shared).await, [json!({"_A": [1], "_B": [3]}), json!({"_A": [2], "_B": [3]})]);
}

#[tokio::test]
async fn summaries_are_of_whole_trees_and_old_clients_see_one_provider_of_each() {
    let api = cards_and_a_disk().await;
    let get =
        async |query: &str, version: &str| api.get(&format!("/allocation_candidates?{query}"), version).await.body;
    let body = get(&format!("resources=VCPU:1&in_tree={}", id(1)), "1.39").await;
    let summaries = body["provider_summaries"].as_object().unwrap();
    assert_eq!(summaries.keys().collect::<Vec<_>>(), [&id(1), &id(11), &id(12)]);
    assert_eq!(summaries[&id(11)]["parent_provider_uuid"], json!(id(1)));
    assert_eq!(summaries[&id(11)]["root_provider_uuid"], json!(id(1)));
    let old = get("resources=VCPU:1,SRIOV_NET_VF:1", "1.28").await;
    assert_eq!(old, json!({"allocation_requests": [], "provider_summaries": {}}));
    let old = get("resources=VCPU:1,DISK_GB:1", "1.28").await;
    assert_eq!(old["allocation_requests"].as_array().unwrap().len(), 2);
    assert_eq!(old["provider_summaries"].as_object().unwrap().keys().collect::<Vec<_>>(), [&id(1), &id(2), &id(3)]);
}

#[tokio::test]
async fn candidates_know_of_every_change_at_once() {
    let api = Api::new().await;
    make(&api, 1, None).await;
    let count = async || ways(&api, "resources=VCPU:3").await.len();
    assert_eq!(count().await, 0);
    set(&api, 1, "inventories", stock(&[("VCPU", 4)])).await;
    assert_eq!(count().await, 1);
    api.claim(10, 1, 2).await;
    assert_eq!(count().await, 0);
    api.call("DELETE", &format!("/allocations/{}", id(10)), "1.39", None).await;
    assert_eq!(count().await, 1);
    make(&api, 2, None).await;
    set(&api, 2, "inventories", stock(&[("VCPU", 4)])).await;
    assert_eq!(count().await, 2);
    // What a consumer leaves is free, though nobody raised its provider's generation.
    api.claim(10, 1, 2).await;
    api.claim(10, 2, 2).await;
    assert_eq!(ways(&api, "resources=VCPU:3").await, [json!({"": [1]})]);
    api.call("DELETE", &one(1), "1.39", None).await;
    assert_eq!(count().await, 0);
}

#[tokio::test]
async fn unknown_names_in_queries_are_400_with_the_name() {
    let api = Api::new().await;
    for (query, detail) in [
        (
            "/allocation_candidates?resources=PONY:1",
            "Invalid resource class in resources parameter: No such resource class PONY.",
        ),
        ("/allocation_candidates?resources=VCPU:1&required=PONY", "No such trait(s): PONY."),
        ("/allocation_candidates?resources=VCPU:1&root_required=CUSTOM_PONY", "No such trait(s): CUSTOM_PONY."),
        (
            "/resource_providers?resources=PONY:1",
            "Invalid resource class in resources parameter: No such resource class PONY.",
        ),
        ("/resource_providers?required=PONY", "Invalid trait(s) in \"required\" parameter: No such trait(s): PONY."),
        (
            "/allocation_candidates?resources=VCPU:1&required=CUSTOM_PONY,!CUSTOM_PONY",
            "Conflicting required and forbidden traits found in the following traits keys: required: (CUSTOM_PONY)",
        ),
    ] {
        let answer = api.get(query, "1.39").await;
        assert_eq!((answer.status, answer.detail()), (BAD, detail), "{query}");
    }
}
