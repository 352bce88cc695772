//! `/flavors/{id}/os-extra_specs`

use serde_json::{Value, json};

use super::cloud::{ADMIN, Cloud, MEMBER, NOBODY, READER};

const SPECS: &str = "/flavors/1/os-extra_specs";

#[tokio::test]
async fn specs_are_listed_shown_added_changed_and_deleted() {
    let cloud = Cloud::new().await;
    let listed = async || cloud.get(READER, "2.96", SPECS).await.expect(200).body;
    assert_eq!(listed().await, json!({"extra_specs": {"hw:cpu_policy": "shared"}}));
    let body = json!({"extra_specs": {"hw:numa_nodes": 2, "mine:colour": "blue"}});
    assert_eq!(cloud.post(ADMIN, "2.96", SPECS, body.clone()).await.expect(200).body, body);
    assert_eq!(
        listed().await,
        json!({"extra_specs": {"hw:cpu_policy": "shared", "hw:numa_nodes": "2", "mine:colour": "blue"}})
    );
    let one = format!("{SPECS}/hw:cpu_policy");
    let changed = json!({"hw:cpu_policy": "dedicated"});
    assert_eq!(cloud.put(ADMIN, "2.96", &one, changed.clone()).await.expect(200).body, changed);
    assert_eq!(cloud.get(READER, "2.1", &one).await.expect(200).body, changed);
    assert_eq!(cloud.delete(ADMIN, "2.1", &one).await.expect(200).body, Value::Null);
    assert_eq!(listed().await, json!({"extra_specs": {"hw:numa_nodes": "2", "mine:colour": "blue"}}));
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let cloud = Cloud::new().await;
    let message = "Flavor 1 has no extra specs with key colour.";
    cloud.get(READER, "2.1", &format!("{SPECS}/colour")).await.expect_fault(404, "itemNotFound", message);
    cloud.delete(ADMIN, "2.1", &format!("{SPECS}/colour")).await.expect_fault(404, "itemNotFound", message);
    let body = json!({"extra_specs": {"a": "b"}});
    for reply in [
        cloud.get(READER, "2.1", "/flavors/9/os-extra_specs").await,
        cloud.post(ADMIN, "2.1", "/flavors/9/os-extra_specs", body).await,
        cloud.put(ADMIN, "2.1", "/flavors/9/os-extra_specs/a", json!({"a": "b"})).await,
        cloud.delete(ADMIN, "2.1", "/flavors/9/os-extra_specs/a").await,
    ] {
        reply.expect_fault(404, "itemNotFound", "Flavor 9 could not be found.");
    }
}

#[tokio::test]
async fn known_specs_are_validated_from_2_86() {
    let cloud = Cloud::new().await;
    let nonsense = json!({"extra_specs": {"hw:cpu_policy": "sometimes"}});
    cloud.post(ADMIN, "2.85", SPECS, nonsense.clone()).await.expect(200);
    let refused = cloud.post(ADMIN, "2.86", SPECS, nonsense).await;
    let reason = "Validation failed; 'sometimes' is not one of: dedicated, shared, mixed.";
    refused.expect_fault(400, "badRequest", reason);
    let unknown = cloud.put(ADMIN, "2.86", &format!("{SPECS}/hw:colour"), json!({"hw:colour": "blue"})).await;
    let reason = "Validation failed; extra spec 'hw:colour' does not appear to be a valid extra spec.";
    unknown.expect_fault(400, "badRequest", reason);
}

#[tokio::test]
async fn bodies_are_validated() {
    let cloud = Cloud::new().await;
    let one = format!("{SPECS}/a");
    let mismatch = cloud.put(ADMIN, "2.1", &one, json!({"b": "c"})).await;
    mismatch.expect_fault(400, "badRequest", "Request body and URI mismatch");
    for body in [json!({}), json!({"a": "b", "c": "d"}), json!({"a": ["b"]}), json!({"a": "v".repeat(256)})] {
        cloud.put(ADMIN, "2.1", &one, body).await.expect(400);
    }
    for body in [json!({}), json!({"extra_specs": {"a/b": "c"}}), json!({"extra_specs": {"k".repeat(256): "v"}})] {
        cloud.post(ADMIN, "2.1", SPECS, body).await.expect(400);
    }
    assert_eq!(cloud.get(READER, "2.1", SPECS).await.body, json!({"extra_specs": {"hw:cpu_policy": "shared"}}));
}

#[tokio::test]
async fn readers_read_and_admins_write() {
    let cloud = Cloud::new().await;
    let denied =
        |rule: &str| format!("Policy doesn't allow os_compute_api:os-flavor-extra-specs:{rule} to be performed.");
    cloud.get(NOBODY, "2.1", SPECS).await.expect_fault(403, "forbidden", &denied("index"));
    let body = json!({"extra_specs": {"a": "b"}});
    cloud.post(MEMBER, "2.1", SPECS, body).await.expect_fault(403, "forbidden", &denied("create"));
    let one = format!("{SPECS}/a");
    cloud.put(MEMBER, "2.1", &one, json!({"a": "b"})).await.expect_fault(403, "forbidden", &denied("update"));
    cloud.delete(MEMBER, "2.1", &one).await.expect_fault(403, "forbidden", &denied("delete"));
}
