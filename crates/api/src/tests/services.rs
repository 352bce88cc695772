//! `/os-services`

use kilonova_db::{compute_nodes, services};
use serde_json::{Value, json};

use super::cloud::{ADMIN, Cloud, HOST, MEMBER, PROJECT};
use super::hosts;

fn of_host(more: Value) -> Value {
    let mut body = json!({"host": HOST, "binary": "nova-compute"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn what_is_shown_changes_with_the_microversion() {
    let cloud = Cloud::new().await;
    let service = hosts::first_service(&cloud).await;
    let mut expected = json!({
        "binary": "nova-compute", "host": HOST, "id": service.id, "zone": "nova", "status": "enabled", "state": "up",
        "updated_at": kilonova_core::time::strtime(service.last_seen_up.unwrap()), "disabled_reason": null,
    });
    let at = async |version: &str| cloud.get(ADMIN, version, "/os-services").await.expect(200).body;
    assert_eq!(at("2.10").await, json!({"services": [expected]}));
    expected["forced_down"] = json!(false);
    assert_eq!(at("2.11").await, json!({"services": [expected]}));
    expected["id"] = json!(service.uuid);
    assert_eq!(at("2.53").await, json!({"services": [expected]}));
    assert_eq!(at("2.69").await, json!({"services": [expected]}));
}

#[tokio::test]
async fn services_are_filtered_by_host_and_binary_and_apis_left_out() {
    let cloud = Cloud::new().await;
    hosts::service(&cloud, "controller", "nova-conductor", 61).await;
    hosts::service(&cloud, "controller", "nova-scheduler", 0).await;
    hosts::service(&cloud, "controller", "nova-osapi_compute", 0).await;
    let get = async |query: &str| {
        let body = cloud.get(ADMIN, "2.96", &format!("/os-services{query}")).await.expect(200).body;
        let all = body["services"].as_array().unwrap().clone();
        let text = |service: &Value| format!("{}:{}:{}", service["binary"], service["zone"], service["state"]);
        all.iter().map(text).collect::<Vec<_>>().join(" ").replace('"', "")
    };
    let conductor = "nova-conductor:internal:down";
    let scheduler = "nova-scheduler:internal:up";
    assert_eq!(get("").await, format!("nova-compute:nova:up {conductor} {scheduler}"));
    assert_eq!(get("?host=controller").await, format!("{conductor} {scheduler}"));
    assert_eq!(get("?binary=nova-scheduler").await, scheduler);
    assert_eq!(get("?host=compute1&binary=nova-scheduler").await, "");
    cloud.get(ADMIN, "2.74", "/os-services?colour=blue").await.expect(200);
    cloud.get(ADMIN, "2.75", "/os-services?colour=blue").await.expect(400);
}

#[tokio::test]
async fn before_2_53_the_action_is_in_the_path_and_the_service_in_the_body() {
    let cloud = Cloud::new().await;
    let node = hosts::node(&cloud, HOST).await;
    let put = async |action: &str, more: Value| {
        cloud.put(ADMIN, "2.52", &format!("/os-services/{action}"), of_host(more)).await
    };
    let disabled = put("disable", json!({})).await.expect(200).body;
    assert_eq!(disabled, json!({"service": {"host": HOST, "binary": "nova-compute", "status": "disabled"}}));
    let because = put("disable-log-reason", json!({"disabled_reason": "broken"})).await.expect(200).body;
    assert_eq!(because["service"]["disabled_reason"], "broken");
    assert_eq!(hosts::first_service(&cloud).await.disabled_reason.as_deref(), Some("broken"));
    let enabled = put("enable", json!({})).await.expect(200).body;
    assert_eq!(enabled, json!({"service": {"host": HOST, "binary": "nova-compute", "status": "enabled"}}));
    let service = hosts::first_service(&cloud).await;
    assert_eq!((service.disabled, service.disabled_reason), (false, None));
    let status = || vec!["COMPUTE_STATUS_DISABLED".to_owned()];
    let (added, removed) = ((node.uuid, status(), vec![]), (node.uuid, vec![], status()));
    assert_eq!(*cloud.placement.traits.lock().unwrap(), [added.clone(), added, removed]);
    let down = put("force-down", json!({"forced_down": "true"})).await.expect(200).body;
    assert_eq!(down, json!({"service": {"host": HOST, "binary": "nova-compute", "forced_down": true}}));
    let state = cloud.get(ADMIN, "2.96", "/os-services").await.body["services"][0]["state"].clone();
    assert_eq!(state, "down");
    assert_eq!(cloud.placement.traits.lock().unwrap().len(), 3, "forcing down says nothing about placement");
}

#[tokio::test]
async fn actions_that_make_no_sense_are_refused() {
    let cloud = Cloud::new().await;
    let put = async |version: &str, action: &str, body: Value| {
        cloud.put(ADMIN, version, &format!("/os-services/{action}"), body).await
    };
    let sing = put("2.52", "sing", of_host(json!({}))).await;
    sing.expect_fault(404, "itemNotFound", "Unknown action");
    let early = put("2.10", "force-down", of_host(json!({}))).await;
    early.expect_fault(404, "itemNotFound", "Unknown action");
    let how = put("2.11", "force-down", of_host(json!({}))).await;
    how.expect_fault(400, "badRequest", "Missing forced_down field");
    let why = put("2.1", "disable-log-reason", of_host(json!({}))).await;
    why.expect_fault(400, "badRequest", "Missing disabled reason field");
    let conductor = put("2.1", "disable", json!({"host": HOST, "binary": "nova-conductor"})).await;
    let reason = "Updating a nova-conductor service is not supported. Only nova-compute services can be updated.";
    conductor.expect_fault(400, "badRequest", reason);
    let unknown = put("2.1", "disable", json!({"host": "nowhere", "binary": "nova-compute"})).await;
    unknown.expect_fault(404, "itemNotFound", "Host 'nowhere' is not mapped to any cell");
    put("2.1", "disable", json!({"host": HOST})).await.expect(400);
    put("2.10", "disable", of_host(json!({"forced_down": true}))).await.expect(400);
    assert!(!hosts::first_service(&cloud).await.disabled);
}

#[tokio::test]
async fn from_2_53_the_service_is_in_the_path() {
    let cloud = Cloud::new().await;
    let node = hosts::node(&cloud, HOST).await;
    let path = format!("/os-services/{}", hosts::first_service(&cloud).await.uuid.unwrap());
    let put = async |body: Value| cloud.put(ADMIN, "2.53", &path, body).await;
    let disabled = put(json!({"status": "disabled", "disabled_reason": "broken"})).await.expect(200).body;
    let keys: Vec<&String> = disabled["service"].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["binary", "disabled_reason", "forced_down", "host", "id", "state", "status", "updated_at", "zone"]
    );
    assert_eq!(
        (&disabled["service"]["status"], &disabled["service"]["disabled_reason"]),
        (&json!("disabled"), &json!("broken"))
    );
    let enabled = put(json!({"status": "enabled", "forced_down": true})).await.expect(200).body;
    assert_eq!(enabled["service"]["disabled_reason"], Value::Null);
    assert_eq!((&enabled["service"]["forced_down"], &enabled["service"]["state"]), (&json!(true), &json!("down")));
    let status = || vec!["COMPUTE_STATUS_DISABLED".to_owned()];
    assert_eq!(*cloud.placement.traits.lock().unwrap(), [(node.uuid, status(), vec![]), (node.uuid, vec![], status())]);
}

#[tokio::test]
async fn updates_that_make_no_sense_are_refused() {
    let cloud = Cloud::new().await;
    let path = format!("/os-services/{}", hosts::first_service(&cloud).await.uuid.unwrap());
    let put = async |path: &str, body: Value| cloud.put(ADMIN, "2.53", path, body).await;
    let nothing = "No updates were requested. Fields 'status' or 'forced_down' should be specified.";
    put(&path, json!({})).await.expect_fault(400, "badRequest", nothing);
    put(&path, json!({"disabled_reason": "x"})).await.expect_fault(400, "badRequest", nothing);
    let why = put(&path, json!({"status": "enabled", "disabled_reason": "x"})).await;
    why.expect_fault(400, "badRequest", "Specifying 'disabled_reason' with status 'enabled' is invalid.");
    put("/os-services/1", json!({"status": "enabled"})).await.expect_fault(400, "badRequest", "Invalid uuid 1");
    let uuid = uuid::Uuid::new_v4();
    let unknown = put(&format!("/os-services/{uuid}"), json!({"status": "enabled"})).await;
    unknown.expect_fault(404, "itemNotFound", &format!("Service {uuid} could not be found."));
    let conductor = hosts::service(&cloud, "controller", "nova-conductor", 0).await;
    let other = put(&format!("/os-services/{}", conductor.uuid.unwrap()), json!({"status": "disabled"})).await;
    let reason = "Updating a nova-conductor service is not supported. Only nova-compute services can be updated.";
    other.expect_fault(400, "badRequest", reason);
    for body in [json!({"status": "asleep"}), json!({"forced_down": "maybe"}), json!({"host": HOST})] {
        put(&path, body).await.expect(400);
    }
}

#[tokio::test]
async fn a_service_is_disabled_even_when_placement_is_out_of_order() {
    let cloud = Cloud::new().await;
    hosts::node(&cloud, HOST).await;
    *cloud.placement.is_down.lock().unwrap() = true;
    let path = format!("/os-services/{}", hosts::first_service(&cloud).await.uuid.unwrap());
    cloud.put(ADMIN, "2.53", &path, json!({"status": "disabled"})).await.expect(200);
    assert!(hosts::first_service(&cloud).await.disabled);
}

#[tokio::test]
async fn a_deleted_compute_service_takes_its_hypervisors_and_providers_along() {
    for (version, by_uuid) in [("2.52", false), ("2.53", true)] {
        let cloud = Cloud::new().await;
        let node = hosts::node(&cloud, HOST).await;
        let service = hosts::first_service(&cloud).await;
        let id = if by_uuid { service.uuid.unwrap().to_string() } else { service.id.to_string() };
        let path = format!("/os-services/{id}");
        assert_eq!(cloud.delete(ADMIN, version, &path).await.expect(204).body, Value::Null);
        assert!(services::list(&cloud.db, None, None).await.unwrap().is_empty());
        assert!(compute_nodes::list(&cloud.db).await.unwrap().is_empty());
        assert_eq!(*cloud.placement.deleted.lock().unwrap(), [node.uuid]);
        let gone = cloud.delete(ADMIN, version, &path).await;
        gone.expect_fault(404, "itemNotFound", &format!("Service {id} not found."));
    }
}

#[tokio::test]
async fn a_service_with_servers_or_allocations_stays() {
    let cloud = Cloud::new().await;
    let node = hosts::node(&cloud, HOST).await;
    let path = format!("/os-services/{}", hosts::first_service(&cloud).await.uuid.unwrap());
    cloud.placement.in_use.lock().unwrap().insert(node.uuid);
    let allocated = cloud.delete(ADMIN, "2.53", &path).await;
    let reason = "Unable to delete compute service that has in-progress migrations. Complete the migrations or delete \
                  the instances first.";
    allocated.expect_fault(409, "conflictingRequest", reason);
    cloud.placement.in_use.lock().unwrap().clear();
    hosts::server(&cloud, PROJECT, "member-user", hosts::RUNNING).await;
    let hosting = cloud.delete(ADMIN, "2.53", &path).await;
    let reason = "Unable to delete compute service that is hosting instances. Migrate or delete the instances first.";
    hosting.expect_fault(409, "conflictingRequest", reason);
    assert_eq!(compute_nodes::list(&cloud.db).await.unwrap().len(), 1);
    hosts::first_service(&cloud).await;
}

#[tokio::test]
async fn bad_ids_are_refused() {
    let cloud = Cloud::new().await;
    let old = cloud.delete(ADMIN, "2.52", "/os-services/x").await;
    old.expect_fault(400, "badRequest", "Invalid input received: id must be an integer");
    cloud.delete(ADMIN, "2.53", "/os-services/1").await.expect_fault(400, "badRequest", "Invalid uuid 1");
}

#[tokio::test]
async fn services_are_for_admins() {
    let cloud = Cloud::new().await;
    let denied = |rule: &str| format!("Policy doesn't allow os_compute_api:os-services:{rule} to be performed.");
    let path = format!("/os-services/{}", hosts::first_service(&cloud).await.uuid.unwrap());
    cloud.get(MEMBER, "2.96", "/os-services").await.expect_fault(403, "forbidden", &denied("list"));
    let update = cloud.put(MEMBER, "2.96", &path, json!({"status": "disabled"})).await;
    update.expect_fault(403, "forbidden", &denied("update"));
    let update = cloud.put(MEMBER, "2.52", "/os-services/disable", of_host(json!({}))).await;
    update.expect_fault(403, "forbidden", &denied("update"));
    cloud.delete(MEMBER, "2.96", &path).await.expect_fault(403, "forbidden", &denied("delete"));
}
