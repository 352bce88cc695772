//! `/os-server-external-events`

use kilonova_db::instances::{self, Save};
use kilonova_rpcapi::compute::ExternalInstanceEvent;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::cloud::{ADMIN, Cloud, HOST, MEMBER, PROJECT};

async fn server(cloud: &Cloud, host: Option<&str>) -> Uuid {
    let body = json!({"server": {
        "name": "vm", "flavorRef": "1", "imageRef": cloud.image.id, "networks": [{"uuid": cloud.network.id}],
    }});
    let made = cloud.post(MEMBER, "2.96", "/servers", body).await.expect(202);
    let uuid = made.body["server"]["id"].as_str().unwrap().parse().unwrap();
    let changes = Map::from_iter([("host".to_owned(), json!(host)), ("vm_state".to_owned(), json!("active"))]);
    let save = Save { uuid, changes: &changes, expected_vm_state: None, expected_task_state: None };
    instances::save(&cloud.db, save).await.unwrap();
    uuid
}

fn event(name: &str, uuid: Uuid, tag: Option<&str>) -> Value {
    let mut event = json!({"name": name, "server_uuid": uuid});
    if let Some(tag) = tag {
        event["tag"] = json!(tag);
    }
    event
}

#[tokio::test]
async fn each_event_goes_to_the_host_of_its_server_in_one_message() {
    let cloud = Cloud::new().await;
    let (one, two) = (server(&cloud, Some(HOST)).await, server(&cloud, Some(HOST)).await);
    let mut plugged = event("network-vif-plugged", one, Some("p"));
    plugged["status"] = json!("failed");
    let events = json!([event("network-changed", one, None), plugged, event("network-changed", two, None)]);
    let reply = cloud.post(ADMIN, "2.1", "/os-server-external-events", json!({"events": events})).await.expect(200);
    let done = |mut event: Value| {
        event["status"] = json!("completed");
        event["code"] = json!(200);
        event
    };
    let expected: Vec<Value> = events.as_array().unwrap().iter().cloned().map(done).collect();
    assert_eq!(reply.body, json!({"events": expected}));
    let calls = cloud.wait_for::<ExternalInstanceEvent>(1).await;
    let sent: Vec<_> = calls[0]["events"].as_array().unwrap().iter().map(|it| &it["nova_object.data"]).collect();
    assert_eq!(*sent[1], json!({"instance_uuid": one, "name": "network-vif-plugged", "status": "failed", "tag": "p"}));
    assert_eq!((sent.len(), calls[0]["instances"].as_array().unwrap().len(), calls.len()), (3, 2, 1));
}

#[tokio::test]
async fn what_cannot_be_told_to_anybody_has_a_code_of_its_own() {
    let cloud = Cloud::new().await;
    let (good, young) = (server(&cloud, Some(HOST)).await, server(&cloud, None).await);
    let events = json!([
        event("network-changed", good, None),
        event("network-changed", Uuid::new_v4(), None),
        event("network-changed", young, None),
        event("volume-extended", good, None),
    ]);
    let reply = cloud.post(ADMIN, "2.51", "/os-server-external-events", json!({"events": events})).await.expect(207);
    let outcomes: Vec<_> =
        reply.body["events"].as_array().unwrap().iter().map(|it| (it["code"].clone(), it["status"].clone())).collect();
    let failed = |code: u16| (json!(code), json!("failed"));
    assert_eq!(outcomes, [(json!(200), json!("completed")), failed(404), failed(422), failed(400)]);
    assert_eq!(cloud.wait_for::<ExternalInstanceEvent>(1).await[0]["events"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn events_exist_from_their_microversion_on() {
    let cloud = Cloud::new().await;
    let uuid = server(&cloud, Some(HOST)).await;
    for (name, before, since) in [
        ("volume-extended", "2.50", "2.51"),
        ("power-update", "2.75", "2.76"),
        ("accelerator-request-bound", "2.81", "2.82"),
        ("volume-reimaged", "2.92", "2.93"),
    ] {
        let body = json!({"events": [event(name, uuid, Some("POWER_OFF"))]});
        cloud.post(ADMIN, before, "/os-server-external-events", body.clone()).await.expect(400);
        cloud.post(ADMIN, since, "/os-server-external-events", body).await.expect(200);
    }
    cloud.post(ADMIN, "2.1", "/os-server-external-events", json!({"events": []})).await.expect(400);
}

#[tokio::test]
async fn what_a_user_may_follow_is_recorded_and_nonsense_is_not_passed_on() {
    let cloud = Cloud::new().await;
    let uuid = server(&cloud, Some(HOST)).await;
    for (name, tag) in
        [("power-update", "POWER_ON"), ("power-update", "POWER_OFF"), ("volume-extended", "v"), ("power-update", "x")]
    {
        let body = json!({"events": [event(name, uuid, Some(tag))]});
        cloud.post(ADMIN, "2.76", "/os-server-external-events", body).await.expect(200);
    }
    let actions = kilonova_db::actions::list(&cloud.db, uuid).await.unwrap();
    let names: Vec<_> = actions.iter().filter_map(|action| action.action.as_deref()).collect();
    assert_eq!(names, ["extend_volume", "stop", "start", "create"]);
    assert_eq!(cloud.wait_for::<ExternalInstanceEvent>(3).await.len(), 3);
}

#[tokio::test]
async fn services_and_admins_tell_and_users_do_not() {
    let cloud = Cloud::new().await;
    cloud.identity.grant("service", PROJECT, &["service"]);
    let uuid = server(&cloud, Some(HOST)).await;
    let body = json!({"events": [event("network-changed", uuid, None)]});
    cloud.post("service", "2.1", "/os-server-external-events", body.clone()).await.expect(200);
    let message = "Policy doesn't allow os_compute_api:os-server-external-events:create to be performed.";
    cloud.post(MEMBER, "2.1", "/os-server-external-events", body).await.expect_fault(403, "forbidden", message);
}
