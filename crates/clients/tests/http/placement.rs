//! How Placement is asked, and what happens when others change the same.

use std::collections::BTreeMap;

use kilonova_clients::ClientError;
use kilonova_clients::http::{HttpPlacement, Sessions};
use kilonova_clients::placement::{Allocations, Inventory, Placement as _, Resources};
use kilonova_core::RequestContext;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::server::{Seen, Server, reply};

const ID: &str = "00000000-0000-0000-0000-000000000007";
const PROVIDER: Uuid = Uuid::from_u128(7);

fn placement(server: &Server) -> HttpPlacement {
    HttpPlacement::from_config(&server.config(&[]), &mut Sessions::default()).unwrap()
}

fn conflict(code: &str) -> Option<axum::response::Response> {
    reply(409, json!({"errors": [{"status": 409, "title": "Conflict", "detail": "said", "code": code}]}))
}

const CONCURRENT: &str = "placement.concurrent_update";

async fn claim(placement: &HttpPlacement) -> Result<(), ClientError> {
    let amounts = Resources::from([("VCPU".to_owned(), 2)]);
    let wanted = Allocations::from([(PROVIDER, amounts), (Uuid::nil(), Resources::new())]);
    placement.set_allocations(&RequestContext::admin(), PROVIDER, "p", "u", &wanted).await
}

fn puts(server: &Server) -> Vec<Value> {
    server.seen().into_iter().filter(|seen| seen.what.starts_with("PUT")).map(|seen| seen.body).collect()
}

#[tokio::test]
async fn the_claim_of_a_new_server_is_one_request() {
    let server = Server::start(async |seen: Seen| seen.what.starts_with("PUT").then(|| reply(204, json!(null)))?).await;
    claim(&placement(&server)).await.unwrap();
    assert_eq!(server.asked(), [format!("PUT /placement/allocations/{ID}")]);
    let body = json!({"allocations": {ID: {"resources": {"VCPU": 2}}}, "project_id": "p", "user_id": "u",
                      "consumer_generation": null});
    assert_eq!(puts(&server), [body]);
}

#[tokio::test]
async fn the_claim_of_a_server_that_has_something_is_made_with_its_generation() {
    let server = Server::start(async |seen: Seen| match (seen.what.split(' ').next().unwrap(), seen.number) {
        ("PUT", 0) => conflict(CONCURRENT),
        ("PUT", _) => reply(204, json!(null)),
        ("GET", _) => {
            reply(200, json!({"allocations": {}, "consumer_generation": 4, "project_id": "p", "user_id": "u"}))
        }
        _ => None,
    })
    .await;
    claim(&placement(&server)).await.unwrap();
    let generations: Vec<Value> = puts(&server).iter().map(|body| body["consumer_generation"].clone()).collect();
    assert_eq!(generations, [json!(null), json!(4)]);
}

#[tokio::test]
async fn a_claim_that_others_always_overtake_ends_and_one_that_does_not_fit_is_not_repeated() {
    for (code, expected, count) in [
        (CONCURRENT, ClientError::ConcurrentUpdate("said".to_owned()), 5),
        ("placement.undefined_code", ClientError::Conflict("said".to_owned()), 1),
    ] {
        let server = Server::start(move |seen: Seen| async move {
            match seen.what.split(' ').next().unwrap() {
                "PUT" => conflict(code),
                "GET" => reply(200, json!({"allocations": {}})),
                _ => None,
            }
        })
        .await;
        assert_eq!(claim(&placement(&server)).await, Err(expected));
        assert_eq!(puts(&server).len(), count);
    }
}

/// A provider with 4 VCPUs and one trait.
fn provider(seen: &Seen, generation: i64) -> Option<axum::response::Response> {
    let vcpus =
        json!({"total": 4, "reserved": 0, "min_unit": 1, "max_unit": 4, "step_size": 1, "allocation_ratio": 4.0});
    let below = seen.what.strip_prefix(&format!("GET /placement/resource_providers/{ID}"))?;
    match below {
        "" => reply(200, json!({"uuid": ID, "name": "host1", "generation": generation})),
        "/inventories" => {
            reply(200, json!({"resource_provider_generation": generation, "inventories": {"VCPU": vcpus}}))
        }
        "/traits" => reply(200, json!({"resource_provider_generation": generation, "traits": ["CUSTOM_A"]})),
        _ => None,
    }
}

async fn set(server: &Server, vcpus: i64, traits: &[&str]) -> Result<(), ClientError> {
    let inventory =
        Inventory { total: vcpus, reserved: 0, min_unit: 1, max_unit: vcpus, step_size: 1, allocation_ratio: 4.0 };
    let stock = BTreeMap::from([("VCPU".to_owned(), inventory)]);
    let traits: Vec<String> = traits.iter().map(|name| (*name).to_owned()).collect();
    placement(server).set_provider(&RequestContext::admin(), PROVIDER, "host1", &stock, &traits).await
}

#[tokio::test]
async fn a_provider_that_is_as_it_shall_be_is_only_looked_at() {
    let server = Server::start(async |seen: Seen| provider(&seen, 3)).await;
    set(&server, 4, &["CUSTOM_A"]).await.unwrap();
    assert_eq!(server.asked().len(), 3);
    assert_eq!(puts(&server), Vec::<Value>::new());
}

#[tokio::test]
async fn a_change_that_somebody_overtook_is_decided_anew() {
    let inventories = format!("PUT /placement/resource_providers/{ID}/inventories");
    let server = Server::start(move |seen: Seen| {
        let inventories = inventories.clone();
        async move {
            match (seen.what == inventories, seen.number) {
                (true, 0) => conflict(CONCURRENT),
                (true, _) => reply(200, json!({"resource_provider_generation": 9, "inventories": {}})),
                (false, number) => provider(&seen, 3 + i64::try_from(number).unwrap()),
            }
        }
    })
    .await;
    set(&server, 8, &["CUSTOM_A"]).await.unwrap();
    let generations: Vec<Value> =
        puts(&server).iter().map(|body| body["resource_provider_generation"].clone()).collect();
    assert_eq!(generations, [json!(3), json!(4)]);
}

#[tokio::test]
async fn custom_traits_that_placement_does_not_know_are_declared_first() {
    let server = Server::start(async |seen: Seen| match seen.what.as_str() {
        "GET /placement/traits" => reply(200, json!({"traits": ["CUSTOM_B"]})),
        "PUT /placement/traits/CUSTOM_C" => reply(201, json!(null)),
        what if what.starts_with("PUT") => reply(200, json!({"resource_provider_generation": 4, "traits": []})),
        _ => provider(&seen, 3),
    })
    .await;
    set(&server, 4, &["CUSTOM_A", "CUSTOM_B", "CUSTOM_C", "HW_CPU_X86_VMX"]).await.unwrap();
    assert_eq!(
        server.asked()[3..],
        [
            "GET /placement/traits".to_owned(),
            "PUT /placement/traits/CUSTOM_C".to_owned(),
            format!("PUT /placement/resource_providers/{ID}/traits"),
        ]
    );
    let query = server.seen().into_iter().find(|seen| seen.what == "GET /placement/traits").unwrap().query;
    assert_eq!(query, "name=in%3ACUSTOM_B%2CCUSTOM_C");
    let traits =
        json!({"resource_provider_generation": 3, "traits": ["CUSTOM_A", "CUSTOM_B", "CUSTOM_C", "HW_CPU_X86_VMX"]});
    assert_eq!(puts(&server)[1], traits);
}

#[tokio::test]
async fn a_provider_of_that_name_is_a_conflict_and_one_of_that_uuid_another_look() {
    let server = Server::start(async |seen: Seen| match seen.what.as_str() {
        "POST /placement/resource_providers" => conflict("placement.duplicate_name"),
        _ => None,
    })
    .await;
    assert_eq!(set(&server, 4, &[]).await, Err(ClientError::Conflict("said".to_owned())));
    let made_meanwhile = Server::start(async |seen: Seen| match seen.what.as_str() {
        "POST /placement/resource_providers" => conflict("placement.duplicate_name"),
        _ if seen.number == 0 => None,
        _ => provider(&seen, 0),
    })
    .await;
    set(&made_meanwhile, 4, &["CUSTOM_A"]).await.unwrap();
    assert_eq!(made_meanwhile.count("POST /placement/resource_providers"), 1);
}
