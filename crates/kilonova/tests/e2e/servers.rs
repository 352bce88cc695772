//! The life of a server.

use reqwest::StatusCode;
use serde_json::json;

use crate::cloud::TestCloud;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_created_and_deleted() {
    let cloud = TestCloud::start().await;
    let user = cloud.user("demo").await;
    let body = user.server("first", json!("none")).await;
    let server = user.boot(&body).await;
    assert_eq!(server["status"], "ACTIVE", "{server:#}");
    assert_eq!(server["OS-EXT-STS:power_state"], 1);
    assert_eq!(server["addresses"], json!({}));
    let id = server["id"].as_str().unwrap();
    assert_eq!(user.delete(&format!("/compute/v2.1/servers/{id}")).await, StatusCode::NO_CONTENT);
    user.wait_gone(id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_a_network_has_the_address_of_its_port_and_gives_it_back() {
    let cloud = TestCloud::start().await;
    let user = cloud.user("demo").await;
    let network = user.network("private").await;
    let body = user.server("first", json!([{"uuid": network}])).await;
    let server = user.boot(&body).await;
    assert_eq!(server["status"], "ACTIVE", "{server:#}");
    let id = server["id"].as_str().unwrap();
    let ports = user.get(&format!("/network/v2.0/ports?device_id={id}")).await;
    let address = &server["addresses"]["private"][0];
    assert_eq!(address["addr"], ports["ports"][0]["fixed_ips"][0]["ip_address"], "{server:#}");
    assert_eq!(address["OS-EXT-IPS-MAC:mac_addr"], ports["ports"][0]["mac_address"]);
    assert_eq!(user.delete(&format!("/compute/v2.1/servers/{id}")).await, StatusCode::NO_CONTENT);
    user.wait_gone(id).await;
    assert_eq!(user.get(&format!("/network/v2.0/ports?device_id={id}")).await["ports"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_stops_starts_and_reboots() {
    let cloud = TestCloud::start().await;
    let user = cloud.user("demo").await;
    let server = user.boot(&user.server("first", json!("none")).await).await;
    let id = server["id"].as_str().unwrap();
    let path = format!("/compute/v2.1/servers/{id}/action");
    let settled = |status: &'static str| {
        move |server: &serde_json::Value| server["status"] == status && server["OS-EXT-STS:task_state"].is_null()
    };
    for (action, status) in [
        (json!({"os-stop": null}), "SHUTOFF"),
        (json!({"os-start": null}), "ACTIVE"),
        (json!({"reboot": {"type": "SOFT"}}), "ACTIVE"),
        (json!({"reboot": {"type": "HARD"}}), "ACTIVE"),
    ] {
        let (answer, body) = user.post(&path, &action).await;
        assert_eq!(answer, StatusCode::ACCEPTED, "{action}: {body}");
        user.wait_for(id, settled(status)).await;
    }
    let actions = user.get(&format!("/compute/v2.1/servers/{id}/os-instance-actions")).await;
    let names: Vec<_> =
        actions["instanceActions"].as_array().unwrap().iter().map(|action| action["action"].clone()).collect();
    assert_eq!(json!(names), json!(["reboot", "reboot", "start", "stop", "create"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_no_host_has_room_for_is_in_error_and_says_why() {
    let cloud = TestCloud::start().await;
    let admin = cloud.user("admin").await;
    admin.lift_quotas(&admin.project_id).await;
    let flavor = json!({"flavor": {"name": "huge", "vcpus": 1_000_000, "ram": 64, "disk": 1}});
    let (status, created) = admin.post("/compute/v2.1/flavors", &flavor).await;
    assert_eq!(status, StatusCode::OK, "{created}");
    let mut body = admin.server("huge", json!("none")).await;
    body["server"]["flavorRef"] = created["flavor"]["id"].clone();
    let server = admin.boot(&body).await;
    assert_eq!(server["status"], "ERROR");
    let message = server["fault"]["message"].as_str().unwrap();
    assert!(message.starts_with("No valid host was found."), "{message}");
    let id = server["id"].as_str().unwrap();
    assert_eq!(admin.delete(&format!("/compute/v2.1/servers/{id}")).await, StatusCode::NO_CONTENT);
    admin.wait_gone(id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_that_is_started_again_has_everything_it_had() {
    let mut cloud = TestCloud::start().await;
    let user = cloud.user("demo").await;
    let server = user.boot(&user.server("first", json!([{"uuid": user.network("private").await}])).await).await;
    cloud.restart().await;
    let id = server["id"].as_str().unwrap();
    let again = user.get(&format!("/compute/v2.1/servers/{id}")).await["server"].take();
    assert_eq!(again, server);
    assert!(cloud.state_dir().join("fake").is_dir());
}
