//! What a running server has to do with networks, consoles and events.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::cloud::TestCloud;
use crate::common::{BOUND, User};

/// A server on the network `private`.
async fn boot(user: &User) -> (String, String) {
    let network = user.network("private").await;
    let server = user.boot(&user.server("first", json!([{"uuid": network}])).await).await;
    assert_eq!(server["status"], "ACTIVE", "{server:#}");
    (server["id"].as_str().expect("an id").to_owned(), network)
}

fn addresses(server: &Value) -> usize {
    server["addresses"]["private"].as_array().map_or(0, Vec::len)
}

/// The interfaces, once there are as many of them.
async fn interfaces(user: &User, id: &str, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + BOUND;
    loop {
        let listed = user.get(&format!("/compute/v2.1/servers/{id}/os-interface")).await;
        let listed = listed["interfaceAttachments"].as_array().expect("a list").clone();
        if listed.len() == count {
            return listed;
        }
        assert!(Instant::now() < deadline, "there are not {count} interfaces: {listed:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interfaces_addresses_and_groups_come_and_go() {
    let cloud = TestCloud::start().await;
    let user = cloud.user("demo").await;
    let (id, network) = boot(&user).await;
    let path = format!("/compute/v2.1/servers/{id}");
    let body = json!({"interfaceAttachment": {"net_id": network, "tag": "second"}});
    let (status, shown) = user.at("2.70").post(&format!("{path}/os-interface"), &body).await;
    assert_eq!(status, StatusCode::OK, "{shown}");
    let attached = &shown["interfaceAttachment"];
    assert_eq!((&attached["tag"], &attached["port_state"]), (&json!("second"), &json!("ACTIVE")));
    user.wait_for(&id, |server| addresses(server) == 2).await;
    let port = attached["port_id"].as_str().unwrap();
    assert!(interfaces(&user.at("2.70"), &id, 2).await.contains(attached));

    let add = json!({"addFixedIp": {"networkId": network}});
    assert_eq!(user.post(&format!("{path}/action"), &add).await.0, StatusCode::ACCEPTED);
    let server = user.wait_for(&id, |server| addresses(server) == 3).await;
    let first = server["addresses"]["private"][0]["addr"].clone();
    let remove = json!({"removeFixedIp": {"address": first}});
    assert_eq!(user.post(&format!("{path}/action"), &remove).await.0, StatusCode::ACCEPTED);
    user.wait_for(&id, |server| addresses(server) == 2).await;

    let group = json!({"security_group": {"name": "web", "description": ""}});
    let (status, made) = user.at("2.35").post("/compute/v2.1/os-security-groups", &group).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let add = json!({"addSecurityGroup": {"name": "web"}});
    assert_eq!(user.post(&format!("{path}/action"), &add).await.0, StatusCode::ACCEPTED);
    let listed = user.get(&format!("{path}/os-security-groups")).await;
    let names: Vec<&Value> = listed["security_groups"].as_array().unwrap().iter().map(|group| &group["name"]).collect();
    assert_eq!(names, ["default", "web"]);

    assert_eq!(user.delete(&format!("{path}/os-interface/{port}")).await, StatusCode::ACCEPTED);
    interfaces(&user, &id, 1).await;
    user.wait_for(&id, |server| addresses(server) == 1).await;
    let actions = user.get(&format!("{path}/os-instance-actions")).await;
    let names: Vec<&Value> = actions["instanceActions"].as_array().unwrap().iter().map(|it| &it["action"]).collect();
    assert_eq!(names, ["detach_interface", "attach_interface", "create"]);
    assert_eq!(user.delete(&path).await, StatusCode::NO_CONTENT);
    user.wait_gone(&id).await;
    assert_eq!(user.get(&format!("/network/v2.0/ports?device_id={id}")).await["ports"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_is_reached_with_a_token_until_the_server_goes() {
    let cloud = TestCloud::with_config("[serial_console]\nenabled = true\n").await;
    let (user, admin) = (cloud.user("demo").await, cloud.user("admin").await);
    let (id, _) = boot(&user).await;
    let path = format!("/compute/v2.1/servers/{id}");
    let body = json!({"remote_console": {"protocol": "vnc", "type": "novnc"}});
    let (status, console) = user.post(&format!("{path}/remote-consoles"), &body).await;
    assert_eq!(status, StatusCode::OK, "{console}");
    let url = console["remote_console"]["url"].as_str().unwrap();
    let (page, token) = url.split_once("?path=console/websockify%3Ftoken%3D").expect(url);
    assert!(page.ends_with("/console/vnc_auto.html"), "{page}");
    let permitted = format!("/compute/v2.1/os-console-auth-tokens/{token}");
    let shown = admin.get(&permitted).await;
    assert_eq!((&shown["console"]["instance_uuid"], &shown["console"]["host"]), (&json!(id), &json!("127.0.0.1")));
    let serial = json!({"os-getSerialConsole": {"type": "serial"}});
    let (status, console) = user.at("2.5").post(&format!("{path}/action"), &serial).await;
    assert_eq!(status, StatusCode::OK, "{console}");
    let spice = json!({"remote_console": {"protocol": "spice", "type": "spice-html5"}});
    let (status, refused) = user.post(&format!("{path}/remote-consoles"), &spice).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{refused}");
    assert_eq!(refused["badRequest"]["message"], "Unavailable console type spice-html5.");
    assert_eq!(user.delete(&path).await, StatusCode::NO_CONTENT);
    user.wait_gone(&id).await;
    let (status, _) = admin.request(reqwest::Method::GET, &permitted, None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_other_services_tell_gets_to_the_server() {
    let cloud = TestCloud::start().await;
    let (user, admin) = (cloud.user("demo").await, cloud.user("admin").await.at("2.96"));
    let (id, _) = boot(&user).await;
    let tell = async |name: &str, tag: &str| {
        let events = json!({"events": [{"name": name, "server_uuid": id, "tag": tag}]});
        let (status, answer) = admin.post("/compute/v2.1/os-server-external-events", &events).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    };
    tell("power-update", "POWER_OFF").await;
    user.wait_for(&id, |server| server["status"] == "SHUTOFF").await;
    tell("power-update", "POWER_ON").await;
    user.wait_for(&id, |server| server["status"] == "ACTIVE").await;
    let port = interfaces(&user, &id, 1).await[0]["port_id"].as_str().unwrap().to_owned();
    assert_eq!(user.delete(&format!("/network/v2.0/ports/{port}")).await, StatusCode::NO_CONTENT);
    tell("network-vif-deleted", &port).await;
    user.wait_for(&id, |server| addresses(server) == 0).await;
}
