//! The REST API, as a client sees it.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod common;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use common::api::Api;
use common::uuid;
use serde_json::{Value, json};

#[tokio::test]
async fn the_version_document_needs_no_token_with_and_without_a_slash() {
    let api = Api::new().await;
    for path in ["", "/"] {
        let answer = api.as_role(None, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path:?}");
        let version = &answer.body["versions"][0];
        assert_eq!(version["min_version"], "1.0");
        assert_eq!(version["max_version"], "1.39");
        assert_eq!(answer.headers["openstack-api-version"], "placement 1.39");
    }
}

#[tokio::test]
async fn a_version_that_is_not_spoken_is_406_with_the_range_and_a_broken_one_400() {
    let api = Api::new().await;
    let answer = api.get("/resource_providers", "1.99").await;
    assert_eq!(answer.status, StatusCode::NOT_ACCEPTABLE);
    assert_eq!(answer.error()["min_version"], "1.0");
    assert_eq!(answer.error()["max_version"], "1.39");
    assert_eq!(answer.detail(), "Unacceptable version header: 1.99");
    assert!(answer.error()["request_id"].as_str().unwrap().starts_with("req-"));
    let answer = api.get("/resource_providers", "pony").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn without_a_token_and_with_an_expired_one_everything_else_is_401() {
    let api = Api::new().await;
    for token in [None, Some("expired")] {
        let answer = api.as_role(token, "/resource_providers").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(answer.headers.contains_key("www-authenticate"));
    }
    let answer = api.as_role(Some("down"), "/resource_providers").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn only_admins_and_services_see_providers_and_a_reader_its_own_projects_usage() {
    let api = Api::new().await;
    api.cloud.host(1, &[("VCPU", 4)], &[]).await;
    api.claim(10, 1, 3).await;
    let one = format!("/resource_providers/{}", uuid(1));
    let paths = [
        "/resource_providers".to_owned(),
        one.clone(),
        format!("{one}/inventories"),
        format!("{one}/inventories/VCPU"),
        format!("{one}/usages"),
        format!("{one}/traits"),
        format!("{one}/aggregates"),
        format!("{one}/allocations"),
        "/traits".to_owned(),
        "/traits/A".to_owned(),
        "/resource_classes".to_owned(),
        "/resource_classes/VCPU".to_owned(),
        format!("/allocations/{}", uuid(10)),
        "/allocation_candidates?resources=VCPU:1".to_owned(),
        "/usages?project_id=other".to_owned(),
    ];
    for path in paths {
        let answer = api.as_role(Some("member,reader"), &path).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        for role in ["admin", "service"] {
            let answer = api.as_role(Some(role), &path).await;
            assert_ne!(answer.status, StatusCode::FORBIDDEN, "{role} {path}");
        }
    }
    let answer = api.as_role(Some("reader"), "/usages?project_id=p").await;
    assert_eq!(answer.body, json!({"usages": {"unknown": {"VCPU": 3, "consumer_count": 1}}}));
}

#[tokio::test]
async fn a_provider_is_listed_with_links_below_where_the_api_is_nested() {
    let api = Api::new().await;
    api.cloud.host(1, &[("VCPU", 4)], &["CUSTOM_A"]).await;
    api.cloud.host(2, &[("VCPU", 4)], &[]).await;
    let answer = api.get("/resource_providers?name=host1", "1.14").await;
    let own = format!("/placement/resource_providers/{}", uuid(1));
    let links: Vec<Value> = ["inventories", "usages", "aggregates", "traits", "allocations"]
        .iter()
        .map(|rel| json!({"rel": rel, "href": format!("{own}/{rel}")}))
        .collect();
    let mut expected = vec![json!({"rel": "self", "href": own})];
    expected.extend(links);
    assert_eq!(
        answer.body,
        json!({"resource_providers": [{
            "uuid": uuid(1), "name": "host1", "generation": 1, "links": expected,
            "parent_provider_uuid": null, "root_provider_uuid": uuid(1),
        }]})
    );
    let oldest = api.get(&format!("/resource_providers/{}", uuid(2)), "1.0").await;
    assert_eq!(oldest.body["links"].as_array().unwrap().len(), 3);
    assert_eq!(oldest.body.get("root_provider_uuid"), None);
}

#[tokio::test]
async fn providers_are_filtered_and_an_unknown_or_too_new_filter_is_400() {
    let api = Api::new().await;
    api.cloud.host(1, &[("VCPU", 4)], &["CUSTOM_A"]).await;
    api.cloud.host(2, &[("VCPU", 8)], &[]).await;
    let found = async |query: &str| -> Vec<Value> {
        let answer = api.get(&format!("/resource_providers?{query}"), "1.39").await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.body);
        let list = answer.body["resource_providers"].as_array().unwrap().clone();
        list.into_iter().map(|provider| provider["name"].clone()).collect()
    };
    assert_eq!(found(&format!("uuid={}", uuid(2))).await, ["host2"]);
    assert_eq!(found("resources=VCPU:5").await, ["host2"]);
    assert_eq!(found("required=CUSTOM_A").await, ["host1"]);
    assert_eq!(found("required=!CUSTOM_A").await, ["host2"]);
    assert!(found(&format!("member_of={}", uuid(7))).await.is_empty());
    assert_eq!(found(&format!("member_of=!{}", uuid(7))).await, ["host1", "host2"]);
    for (query, version) in [
        ("pony=1", "1.39"),
        ("resources=VCPU:1", "1.3"),
        ("uuid=1", "1.39"),
        ("resources=VCPU", "1.39"),
        ("resources=VCPU:0", "1.39"),
        ("resources=PONY:1", "1.39"),
    ] {
        let answer = api.get(&format!("/resource_providers?{query}"), version).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test]
async fn inventories_usages_traits_and_allocations_of_a_provider_carry_its_generation() {
    let api = Api::new().await;
    api.cloud.host(1, &[("VCPU", 4), ("MEMORY_MB", 64)], &["CUSTOM_B", "CUSTOM_A"]).await;
    api.claim(10, 1, 3).await;
    let one = format!("/resource_providers/{}", uuid(1));
    let get = async |below: &str| api.get(&format!("{one}/{below}"), "1.39").await.body;
    assert_eq!(
        get("inventories/VCPU").await,
        json!({"total": 4, "reserved": 0, "min_unit": 1, "max_unit": 4, "step_size": 1,
               "allocation_ratio": 1.0, "resource_provider_generation": 2})
    );
    let inventories = get("inventories").await;
    assert_eq!(inventories["inventories"]["MEMORY_MB"]["total"], 64);
    assert_eq!(inventories["resource_provider_generation"], 2);
    assert_eq!(get("usages").await, json!({"usages": {"VCPU": 3, "MEMORY_MB": 0}, "resource_provider_generation": 2}));
    assert_eq!(get("traits").await, json!({"traits": ["CUSTOM_A", "CUSTOM_B"], "resource_provider_generation": 2}));
    assert_eq!(get("aggregates").await, json!({"aggregates": [], "resource_provider_generation": 2}));
    let consumer = uuid(10).to_string();
    assert_eq!(
        get("allocations").await,
        json!({"allocations": {consumer: {"resources": {"VCPU": 3}, "consumer_generation": 1}},
               "resource_provider_generation": 2})
    );
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_404_in_placements_form() {
    let api = Api::new().await;
    for id in [uuid(9).to_string(), "pony".to_owned()] {
        for below in ["", "/inventories", "/usages", "/traits", "/allocations"] {
            let answer = api.get(&format!("/resource_providers/{id}{below}"), "1.39").await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND);
            let sentence = format!("No resource provider with uuid {id} found");
            let said = match below {
                "" => String::new(),
                "/allocations" => format!("Resource provider '{id}' not found: "),
                "/inventories" => format!("{sentence} : "),
                _ => format!("{sentence}: "),
            };
            assert_eq!(answer.detail(), format!("{said}{sentence}"));
            assert_eq!(answer.error()["title"], "Not Found");
            assert_eq!(answer.error()["code"], "placement.undefined_code");
        }
    }
    let old = api.get(&format!("/resource_providers/{}", uuid(9)), "1.22").await;
    assert_eq!(old.error().get("code"), None);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_errors_in_placements_form() {
    let api = Api::new().await;
    let answer = api.get("/ponies", "1.39").await;
    assert_eq!((answer.status, answer.error()["status"].as_u64()), (StatusCode::NOT_FOUND, Some(404)));
    let answer = api.call("PATCH", "/resource_providers", "1.39", None).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.error()["status"], 405);
    assert!(answer.headers["allow"].to_str().unwrap().contains("GET"));
}

#[tokio::test]
async fn a_route_is_not_there_before_its_microversion() {
    let api = Api::new().await;
    for (path, before) in [
        ("/resource_classes", "1.1"),
        ("/traits", "1.5"),
        ("/usages?project_id=p", "1.8"),
        ("/allocation_candidates?resources=VCPU:1", "1.9"),
    ] {
        assert_eq!(api.get(path, before).await.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(api.get(path, "1.39").await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn traits_and_classes_are_named() {
    let api = Api::new().await;
    api.cloud.host(1, &[("VCPU", 4), ("CUSTOM_GOLD", 1)], &["CUSTOM_A", "HW_CPU_X86_VMX"]).await;
    let traits = async |query: &str| api.get(&format!("/traits{query}"), "1.39").await.body;
    let all = traits("").await;
    let all = all["traits"].as_array().unwrap();
    assert_eq!((all.len(), all.last()), (378, Some(&json!("CUSTOM_A"))));
    assert_eq!(traits("?associated=true").await, json!({"traits": ["HW_CPU_X86_VMX", "CUSTOM_A"]}));
    assert_eq!(traits("?associated=false&name=in:CUSTOM_A").await, json!({"traits": []}));
    assert_eq!(traits("?name=startswith:HW_CPU_X86_VM").await, json!({"traits": ["HW_CPU_X86_VMX"]}));
    assert_eq!(traits("?name=in:CUSTOM_A,PONY").await, json!({"traits": ["CUSTOM_A"]}));
    assert_eq!(api.get("/traits?name=HW_CPU_X86_VMX", "1.39").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(api.get("/traits/HW_CPU_X86_VMX", "1.39").await.status, StatusCode::NO_CONTENT);
    assert_eq!(api.get("/traits/PONY", "1.39").await.status, StatusCode::NOT_FOUND);
    let classes = api.get("/resource_classes", "1.39").await.body;
    let names: Vec<&str> =
        classes["resource_classes"].as_array().unwrap().iter().map(|class| class["name"].as_str().unwrap()).collect();
    assert!(names.starts_with(&["VCPU", "MEMORY_MB", "DISK_GB"]), "{names:?}");
    assert_eq!(names.iter().filter(|name| **name == "CUSTOM_GOLD").count(), 1);
    assert_eq!(api.get("/resource_classes/CUSTOM_PONY", "1.39").await.status, StatusCode::NOT_FOUND);
}

fn put_body(provider: u128, vcpus: i64, generation: Value) -> Value {
    json!({
        "allocations": {uuid(provider).to_string(): {"resources": {"VCPU": vcpus}}},
        "project_id": "p", "user_id": "u", "consumer_generation": generation,
        "consumer_type": "INSTANCE",
    })
}

#[tokio::test]
async fn allocations_are_put_shown_changed_by_generation_and_deleted() {
    let api = Api::new().await;
    api.cloud.host(1, &[("VCPU", 4)], &[]).await;
    let path = format!("/allocations/{}", uuid(10));
    assert_eq!(api.get(&path, "1.39").await.body, json!({"allocations": {}}));
    let put = async |body: Value| api.call("PUT", &path, "1.39", Some(body)).await;
    assert_eq!(put(put_body(1, 3, Value::Null)).await.status, StatusCode::NO_CONTENT);
    let provider = uuid(1).to_string();
    assert_eq!(
        api.get(&path, "1.39").await.body,
        json!({"allocations": {provider: {"generation": 2, "resources": {"VCPU": 3}}},
               "project_id": "p", "user_id": "u", "consumer_generation": 1, "consumer_type": "INSTANCE"})
    );
    let stale = put(put_body(1, 2, Value::Null)).await;
    assert_eq!(stale.status, StatusCode::CONFLICT);
    assert_eq!(stale.error()["code"], "placement.concurrent_update");
    assert_eq!(put(put_body(1, 4, json!(1))).await.status, StatusCode::NO_CONTENT);
    let emptied = json!({"allocations": {}, "project_id": "p", "user_id": "u", "consumer_generation": 2,
                         "consumer_type": "INSTANCE"});
    assert_eq!(put(emptied).await.status, StatusCode::NO_CONTENT);
    assert_eq!(put(put_body(1, 4, Value::Null)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(api.call("DELETE", &path, "1.39", None).await.status, StatusCode::NO_CONTENT);
    let again = api.call("DELETE", &path, "1.39", None).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    assert_eq!(again.detail(), format!("No allocations for consumer '{}'", uuid(10)));
}

#[tokio::test]
async fn allocations_that_do_not_fit_are_409_and_those_of_unknown_providers_400() {
    let api = Api::new().await;
    api.cloud.host(1, &[("VCPU", 4)], &[]).await;
    let path = format!("/allocations/{}", uuid(10));
    let put = async |body: Value| api.call("PUT", &path, "1.39", Some(body)).await;
    let too_much = put(put_body(1, 5, Value::Null)).await;
    assert_eq!(too_much.status, StatusCode::CONFLICT);
    assert_eq!(too_much.error()["code"], "placement.undefined_code");
    let unknown = put(put_body(9, 1, Value::Null)).await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    assert_eq!(unknown.detail(), format!("Allocation for resource provider '{}' that does not exist.", uuid(9)));
    assert_eq!(api.get(&path, "1.39").await.body, json!({"allocations": {}}));
}

#[tokio::test]
async fn the_older_forms_of_put_are_understood_at_their_versions() {
    let api = Api::new().await;
    api.cloud.host(1, &[("VCPU", 4)], &[]).await;
    let list = json!([{"resource_provider": {"uuid": uuid(1)}, "resources": {"VCPU": 1}}]);
    let dict = json!({uuid(1).to_string(): {"resources": {"VCPU": 1}}});
    let put = async |version: &str, body: Value| {
        let path = format!("/allocations/{}", uuid(10));
        api.call("PUT", &path, version, Some(body)).await.status
    };
    let (ok, bad) = (StatusCode::NO_CONTENT, StatusCode::BAD_REQUEST);
    assert_eq!(put("1.0", json!({"allocations": list})).await, ok);
    assert_eq!(put("1.8", json!({"allocations": list})).await, bad);
    let owned = |allocations: &Value| json!({"allocations": allocations, "project_id": "p", "user_id": "u"});
    assert_eq!(put("1.8", owned(&list)).await, ok);
    assert_eq!(put("1.12", owned(&list)).await, bad);
    assert_eq!(put("1.12", owned(&dict)).await, ok);
    assert_eq!(put("1.27", owned(&json!({}))).await, bad);
    assert_eq!(put("1.28", owned(&dict)).await, bad);
}

#[tokio::test]
async fn a_body_that_makes_no_sense_is_refused_and_nothing_is_done() {
    let api = Api::new().await;
    api.cloud.host(1, &[("VCPU", 4)], &[]).await;
    let path = format!("/allocations/{}", uuid(10));
    let good = put_body(1, 1, Value::Null);
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let provider = uuid(1).to_string();
    for body in [
        json!([]),
        json!({}),
        with("pony", json!(1)),
        with("project_id", json!("")),
        with("user_id", json!("u".repeat(256))),
        with("consumer_generation", json!("1")),
        with("allocations", json!({"pony": {"resources": {"VCPU": 1}}})),
        with("allocations", json!({provider.as_str(): {"resources": {}}})),
        with("allocations", json!({provider.as_str(): {"resources": {"VCPU": 0}}})),
        with("allocations", json!({provider.as_str(): {"resources": {"VCPU": 1.5}}})),
        with("allocations", json!({provider.as_str(): {"resources": {"vcpu": 1}}})),
        with("allocations", json!({provider.as_str(): {"resources": {"PONY": 1}}})),
        with("mappings", json!(1)),
    ] {
        let answer = api.call("PUT", &path, "1.39", Some(body.clone())).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {}", answer.body);
        assert_eq!(answer.error()["title"], "Bad Request");
    }
    let broken = |body: &'static str, media: &'static str| {
        Request::builder()
            .method("PUT")
            .uri(format!("/placement{path}"))
            .header("x-auth-token", "admin")
            .header("content-type", media)
            .body(Body::from(body))
            .unwrap()
    };
    assert_eq!(api.send(broken("{", "application/json")).await.status, StatusCode::BAD_REQUEST);
    let media = api.send(broken("{}", "text/plain")).await;
    assert_eq!(media.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let big = Request::builder()
        .method("PUT")
        .uri(format!("/placement{path}"))
        .header("x-auth-token", "admin")
        .body(Body::from(vec![b' '; 3 << 20]))
        .unwrap();
    let big = api.send(big).await;
    assert_eq!((big.status, big.error()["status"].as_u64()), (StatusCode::PAYLOAD_TOO_LARGE, Some(413)));
    let bad_id = api.call("PUT", "/allocations/pony", "1.39", Some(good)).await;
    assert_eq!(bad_id.status, StatusCode::BAD_REQUEST);
    assert_eq!(api.get(&path, "1.39").await.body, json!({"allocations": {}}));
}

#[tokio::test]
async fn candidates_have_the_form_of_their_version() {
    let api = Api::new().await;
    api.cloud.host(1, &[("VCPU", 4), ("MEMORY_MB", 64)], &["CUSTOM_A"]).await;
    api.claim(10, 1, 1).await;
    let one = uuid(1).to_string();
    let get = async |version: &str| api.get("/allocation_candidates?resources=VCPU:2", version).await.body;
    assert_eq!(
        get("1.10").await,
        json!({"allocation_requests": [{"allocations": [
                    {"resource_provider": {"uuid": one}, "resources": {"VCPU": 2}}]}],
               "provider_summaries": {one.as_str(): {"resources": {"VCPU": {"capacity": 4, "used": 1}}}}})
    );
    assert_eq!(
        get("1.39").await,
        json!({"allocation_requests": [{"allocations": {one.as_str(): {"resources": {"VCPU": 2}}},
                                        "mappings": {"": [one]}}],
               "provider_summaries": {one.as_str(): {
                    "resources": {"VCPU": {"capacity": 4, "used": 1}, "MEMORY_MB": {"capacity": 64, "used": 0}},
                    "traits": ["CUSTOM_A"], "parent_provider_uuid": null, "root_provider_uuid": one}}})
    );
}

#[tokio::test]
async fn candidates_are_found_for_groups_roots_trees_and_limits() {
    let api = Api::new().await;
    api.cloud.host(1, &[("VCPU", 4)], &["OWNER_NOVA"]).await;
    api.cloud.host(2, &[("VCPU", 8)], &["OWNER_NOVA", "COMPUTE_STATUS_DISABLED"]).await;
    api.cloud.host(3, &[("VCPU", 8)], &[]).await;
    let found = async |query: &str| -> Vec<Value> {
        let answer = api.get(&format!("/allocation_candidates?{query}"), "1.39").await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.body);
        let summaries = answer.body["provider_summaries"].as_object().unwrap().clone();
        assert_eq!(answer.body["allocation_requests"].as_array().unwrap().len(), summaries.len());
        summaries.keys().map(|uuid| json!(uuid)).collect()
    };
    let ids = |numbers: &[u128]| -> Vec<Value> { numbers.iter().map(|n| json!(uuid(*n))).collect() };
    let nova = "limit=1000&resources=VCPU%3A1&root_required=OWNER_NOVA%2C%21COMPUTE_STATUS_DISABLED";
    assert_eq!(found(nova).await, ids(&[1]));
    assert_eq!(found("resources=VCPU:5").await, ids(&[2, 3]));
    assert_eq!(found("resources=VCPU:1&limit=2").await, ids(&[1, 2]));
    assert_eq!(found(&format!("resources=VCPU:1&in_tree={}", uuid(3))).await, ids(&[3]));
    assert_eq!(found("resources=VCPU:4&resources1=VCPU:4").await, ids(&[2, 3]));
    assert_eq!(found("resources=VCPU:1&resources_A=VCPU:1&required_A=OWNER_NOVA").await, ids(&[1, 2]));
    let two = "resources1=VCPU:1&resources2=VCPU:1&group_policy=";
    assert_eq!(found(&format!("{two}none")).await, ids(&[1, 2, 3]));
    assert!(found(&format!("{two}isolate")).await.is_empty());
    assert!(found(&format!("resources=VCPU:1&member_of={}", uuid(7))).await.is_empty());
    assert_eq!(found("resources=VCPU:1&required_X=OWNER_NOVA&same_subtree=_X").await, ids(&[1, 2]));
}

#[tokio::test]
async fn a_query_for_candidates_that_makes_no_sense_is_400() {
    let api = Api::new().await;
    for (query, version) in [
        ("", "1.39"),
        ("resources=", "1.39"),
        ("resources=VCPU:1&pony=1", "1.39"),
        ("resources=VCPU:1&limit=0", "1.39"),
        ("resources=VCPU:1&limit=1", "1.15"),
        ("resources=VCPU:1&required=", "1.39"),
        ("resources=VCPU:1&required=A,!A", "1.39"),
        ("resources=VCPU:1&required=!CUSTOM_A", "1.21"),
        ("resources=VCPU:1&resources1=VCPU:1&resources2=VCPU:1", "1.39"),
        ("resources1=VCPU:1", "1.24"),
        ("resources_A=VCPU:1", "1.32"),
        ("resources=VCPU:1&required1=A", "1.39"),
        ("resources=VCPU:1&same_subtree=_B", "1.39"),
        ("resources=VCPU:1&in_tree=pony", "1.39"),
        ("resources=VCPU:1&group_policy=maybe", "1.39"),
    ] {
        let answer = api.get(&format!("/allocation_candidates?{query}"), version).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query} at {version}: {}", answer.body);
    }
}

#[tokio::test]
async fn answers_are_not_to_be_kept_from_1_15_on() {
    let api = Api::new().await;
    api.cloud.host(1, &[("VCPU", 4)], &[]).await;
    let path = format!("/resource_providers/{}", uuid(1));
    let old = api.get(&path, "1.14").await.headers;
    assert!(!old.contains_key("last-modified") && !old.contains_key("cache-control"));
    let new = api.get(&path, "1.15").await.headers;
    assert!(new.contains_key("last-modified"));
    assert_eq!(new["cache-control"], "no-cache");
}

#[tokio::test]
async fn a_provider_is_made_named_stocked_and_deleted() {
    let api = Api::new().await;
    let one = format!("/resource_providers/{}", uuid(1));
    let made = api.call("POST", "/resource_providers", "1.39", Some(json!({"uuid": uuid(1), "name": "one"}))).await;
    assert_eq!((made.status, &made.body["name"], &made.body["generation"]), (StatusCode::OK, &json!("one"), &json!(0)));
    assert_eq!(made.headers["location"], format!("/placement{one}"));
    let old = api.call("POST", "/resource_providers", "1.19", Some(json!({"name": "two"}))).await;
    assert_eq!((old.status, &old.body), (StatusCode::CREATED, &Value::Null));
    let twice = api.call("POST", "/resource_providers", "1.39", Some(json!({"uuid": uuid(2), "name": "one"}))).await;
    assert_eq!((twice.status, &twice.error()["code"]), (StatusCode::CONFLICT, &json!("placement.duplicate_name")));

    let stock = json!({"resource_provider_generation": 0, "inventories": {"VCPU": {"total": 8, "reserved": 1}}});
    let stocked = api.call("PUT", &format!("{one}/inventories"), "1.39", Some(stock.clone())).await;
    assert_eq!(
        stocked.body,
        json!({"resource_provider_generation": 1, "inventories": {"VCPU": {"total": 8, "reserved": 1, "min_unit": 1,
               "max_unit": 2_147_483_647, "step_size": 1, "allocation_ratio": 1.0}}})
    );
    let stale = api.call("PUT", &format!("{one}/inventories"), "1.39", Some(stock)).await;
    assert_eq!((stale.status, &stale.error()["code"]), (StatusCode::CONFLICT, &json!("placement.concurrent_update")));

    for name in ["CUSTOM_A", "CUSTOM_B"] {
        assert_eq!(api.call("PUT", &format!("/traits/{name}"), "1.39", None).await.status, StatusCode::CREATED);
    }
    let traits = json!({"resource_provider_generation": 1, "traits": ["CUSTOM_B", "CUSTOM_A"]});
    let named = api.call("PUT", &format!("{one}/traits"), "1.39", Some(traits.clone())).await;
    assert_eq!(named.body, json!({"resource_provider_generation": 2, "traits": ["CUSTOM_A", "CUSTOM_B"]}));
    assert_eq!(api.call("PUT", &format!("{one}/traits"), "1.39", Some(traits)).await.status, StatusCode::CONFLICT);

    let renamed = api.call("PUT", &one, "1.39", Some(json!({"name": "uno"}))).await;
    assert_eq!((&renamed.body["name"], &renamed.body["generation"]), (&json!("uno"), &json!(2)));
    assert_eq!(api.call("DELETE", &one, "1.39", None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(api.call("DELETE", &one, "1.39", None).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_change_of_a_provider_that_makes_no_sense_is_refused_and_nothing_is_done() {
    let api = Api::new().await;
    api.cloud.host(1, &[("VCPU", 4)], &["CUSTOM_A"]).await;
    api.claim(10, 1, 1).await;
    let one = format!("/resource_providers/{}", uuid(1));
    let before = api.get(&one, "1.39").await.body;
    let generation = before["generation"].clone();
    let stock = |class: &str, inventory: Value| json!({"resource_provider_generation": generation, "inventories": {class: inventory}});
    let (bad, conflict) = (StatusCode::BAD_REQUEST, StatusCode::CONFLICT);
    let (inventories, traits) = (format!("{one}/inventories"), format!("{one}/traits"));
    for (method, path, body, status) in [
        ("POST", "/resource_providers", json!({}), bad),
        ("POST", "/resource_providers", json!({"name": "n", "uuid": "pony"}), bad),
        ("POST", "/resource_providers", json!({"name": "n", "parent_provider_uuid": uuid(9)}), bad),
        ("POST", "/resource_providers", json!({"name": ""}), bad),
        ("PUT", &one, json!({"name": "n".repeat(201)}), bad),
        ("PUT", &inventories, json!({"inventories": {}}), bad),
        ("PUT", &inventories, stock("VCPU", json!({"total": 0})), bad),
        ("PUT", &inventories, stock("VCPU", json!({"total": 1, "pony": 1})), bad),
        ("PUT", &inventories, stock("VCPU", json!({"total": 1, "allocation_ratio": null})), bad),
        ("PUT", &inventories, stock("PONY", json!({"total": 1})), bad),
        ("PUT", &inventories, stock("VGPU", json!({"total": 1})), conflict),
        ("PUT", &traits, json!({"resource_provider_generation": generation, "traits": "A"}), bad),
        ("PUT", &traits, json!({"resource_provider_generation": generation, "traits": ["not a trait"]}), bad),
        ("PUT", "/traits/HW_CPU_X86_VMX", json!(null), bad),
        ("PUT", "/resource_classes/PONY", json!(null), bad),
    ] {
        let body = Some(body).filter(|body| !body.is_null());
        let answer = api.call(method, path, "1.39", body.clone()).await;
        assert_eq!(answer.status, status, "{method} {path} {body:?}: {}", answer.body);
    }
    assert_eq!(api.call("DELETE", &one, "1.39", None).await.error()["code"], "placement.resource_provider.inuse");
    assert_eq!(api.get(&one, "1.39").await.body, before);
    assert_eq!(api.call("PUT", "/traits/CUSTOM_X", "1.39", None).await.status, StatusCode::CREATED);
    assert_eq!(api.call("PUT", "/resource_classes/CUSTOM_X", "1.39", None).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn only_admins_and_services_change_providers() {
    let api = Api::new().await;
    api.cloud.host(1, &[("VCPU", 4)], &[]).await;
    let one = format!("/resource_providers/{}", uuid(1));
    for (method, path) in [
        ("POST", "/resource_providers".to_owned()),
        ("PUT", one.clone()),
        ("DELETE", one.clone()),
        ("PUT", format!("{one}/inventories")),
        ("PUT", format!("{one}/traits")),
        ("PUT", "/traits/CUSTOM_X".to_owned()),
        ("PUT", "/resource_classes/CUSTOM_X".to_owned()),
    ] {
        let request = Request::builder().method(method).uri(format!("/placement{path}"));
        let request = request.header("x-auth-token", "member,reader").header("openstack-api-version", "placement 1.39");
        let answer = api.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
    }
}
