//! What changes a server on its host, through all services.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::cloud::TestCloud;

fn settled(status: &'static str, power_state: i64) -> impl Fn(&Value) -> bool {
    move |server: &Value| {
        server["status"] == status
            && server["OS-EXT-STS:power_state"] == power_state
            && server["OS-EXT-STS:task_state"].is_null()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_paused_suspended_rescued_and_asked() {
    let cloud = TestCloud::start().await;
    let admin = cloud.user("admin").await.at("2.96");
    let server = admin.boot(&admin.server("first", json!("none")).await).await;
    let id = server["id"].as_str().unwrap();
    let path = format!("/compute/v2.1/servers/{id}");
    for (action, status, power_state) in [
        ("pause", "PAUSED", 3),
        ("unpause", "ACTIVE", 1),
        ("suspend", "SUSPENDED", 7),
        ("resume", "ACTIVE", 1),
        ("rescue", "RESCUE", 1),
        ("unrescue", "ACTIVE", 1),
    ] {
        let (answer, body) = admin.post(&format!("{path}/action"), &json!({action: null})).await;
        let expected = if action == "rescue" { StatusCode::OK } else { StatusCode::ACCEPTED };
        assert_eq!(answer, expected, "{action}: {body}");
        admin.wait_for(id, settled(status, power_state)).await;
    }
    for body in [json!({"changePassword": {"adminPass": "secret"}}), json!({"injectNetworkInfo": null})] {
        let (answer, reply) = admin.post(&format!("{path}/action"), &body).await;
        assert_eq!(answer, StatusCode::ACCEPTED, "{reply}");
    }
    let counted = admin.get(&format!("{path}/diagnostics")).await;
    assert_eq!(counted["state"], "running", "{counted}");
    let actions = admin.get(&format!("{path}/os-instance-actions")).await;
    let actions = actions["instanceActions"].as_array().unwrap();
    let names: Vec<_> = actions.iter().map(|action| action["action"].as_str().unwrap()).collect();
    let expected = ["changePassword", "unrescue", "rescue", "resume", "suspend", "unpause", "pause", "create"];
    assert_eq!(names, expected);
    let request = actions[1]["request_id"].as_str().unwrap();
    let action = admin.get(&format!("{path}/os-instance-actions/{request}")).await;
    let event = &action["instanceAction"]["events"][0];
    assert_eq!((&event["event"], &event["result"]), (&json!("compute_unrescue_instance"), &json!("Success")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_server_is_restored_or_gone_when_its_time_is_over() {
    let cloud = TestCloud::with_config("[DEFAULT]\nreclaim_instance_interval = 3\n").await;
    let user = cloud.user("demo").await;
    let server = user.boot(&user.server("first", json!("none")).await).await;
    let id = server["id"].as_str().unwrap();
    let path = format!("/compute/v2.1/servers/{id}");
    assert_eq!(user.delete(&path).await, StatusCode::NO_CONTENT);
    user.wait_for(id, settled("SOFT_DELETED", 4)).await;
    let (answer, body) = user.post(&format!("{path}/action"), &json!({"restore": null})).await;
    assert_eq!(answer, StatusCode::ACCEPTED, "{body}");
    user.wait_for(id, settled("ACTIVE", 1)).await;
    assert_eq!(user.delete(&path).await, StatusCode::NO_CONTENT);
    user.wait_gone(id).await;
}
