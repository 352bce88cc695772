//! Volumes of servers, with a volume service in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kilonova::cloud::Volumes;
use kilonova_clients::fake::FakeVolumes;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::cloud::TestCloud;
use crate::common::{BOUND, User};

/// The attachments of a server, once there are as many of them, and the volume is in that state.
async fn attachments(
    user: &User,
    id: &str,
    count: usize,
    volumes: &FakeVolumes,
    volume: &str,
    status: &str,
) -> Vec<Value> {
    let deadline = Instant::now() + BOUND;
    loop {
        let listed = user.get(&format!("/compute/v2.1/servers/{id}/os-volume_attachments")).await;
        let listed = listed["volumeAttachments"].as_array().expect("a list").clone();
        let now = volumes.volume(volume).map(|volume| volume.status);
        if listed.len() == count && now.as_deref() == Some(status) {
            return listed;
        }
        assert!(Instant::now() < deadline, "not {count} attachments and {status}: {listed:?}, {now:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_is_a_servers_through_its_life() {
    let volumes = Arc::new(FakeVolumes::new());
    let cloud = TestCloud::with_volumes(Volumes(volumes.clone())).await;
    let user = cloud.user("demo").await.at("2.101");
    let server = user.boot(&user.server("first", json!("none")).await).await;
    let id = server["id"].as_str().expect("an id");
    let path = format!("/compute/v2.1/servers/{id}");
    let (first, second) = (volumes.add(&user.project_id, 1).id, volumes.add(&user.project_id, 1).id);

    // In a version in which the name of the disk is waited for, and in one in which nothing is.
    let body = |volume: &str| json!({"volumeAttachment": {"volumeId": volume, "tag": "data"}});
    let (status, made) = user.at("2.100").post(&format!("{path}/os-volume_attachments"), &body(&first)).await;
    assert_eq!((status, &made["volumeAttachment"]["device"]), (StatusCode::OK, &json!("/dev/sdb")), "{made}");
    attachments(&user, id, 1, &volumes, &first, "in-use").await;
    let (status, _) = user.post(&format!("{path}/os-volume_attachments"), &body(&second)).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let both = attachments(&user, id, 2, &volumes, &second, "in-use").await;
    assert_eq!((&both[1]["device"], &both[1]["tag"]), (&json!("/dev/sdc"), &json!("data")));
    let keep = json!({"volumeAttachment": {"volumeId": second, "delete_on_termination": true}});
    let (status, body) = user.put(&format!("{path}/os-volume_attachments/{second}"), &keep).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    let shown = user.get(&path).await["server"]["os-extended-volumes:volumes_attached"].clone();
    let expected = json!([
        {"id": first, "delete_on_termination": false},
        {"id": second, "delete_on_termination": true},
    ]);
    assert_eq!(shown, expected);

    for (action, state, volume_status) in
        [("shelve", "SHELVED_OFFLOADED", "reserved"), ("unshelve", "ACTIVE", "in-use")]
    {
        let (status, body) = user.post(&format!("{path}/action"), &json!({action: null})).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        user.wait_for(id, |server| server["status"] == state && server["OS-EXT-STS:task_state"].is_null()).await;
        attachments(&user, id, 2, &volumes, &first, volume_status).await;
    }

    assert_eq!(user.delete(&format!("{path}/os-volume_attachments/{first}")).await, StatusCode::ACCEPTED);
    attachments(&user, id, 1, &volumes, &first, "available").await;
    assert_eq!(user.delete(&path).await, StatusCode::NO_CONTENT);
    user.wait_gone(id).await;
    assert_eq!(volumes.volume(&second), None);
    assert_eq!(volumes.attachments(&first), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_without_a_volume_service_says_that_it_cannot() {
    let cloud = TestCloud::start().await;
    let user = cloud.user("demo").await;
    let server = user.boot(&user.server("first", json!("none")).await).await;
    let path = format!("/compute/v2.1/servers/{}/os-volume_attachments", server["id"].as_str().expect("an id"));
    let body = json!({"volumeAttachment": {"volumeId": "521752a6-acf6-4b2d-bc7a-119f9148cd8c"}});
    let (status, answer) = user.post(&path, &body).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{answer}");
    assert!(answer["computeFault"]["message"].as_str().expect("a message").starts_with("Unexpected API Error."));
    assert_eq!(user.get(&path).await, json!({"volumeAttachments": []}));
}
