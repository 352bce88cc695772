//! A transport that loses, repeats and delays messages: every accepted server still ends as ACTIVE or ERROR, every
//! delete is finished, and nothing is left over.

use std::time::{Duration, Instant};

use kilonova_messaging::Faults;
use reqwest::StatusCode;
use serde_json::json;

use crate::cloud::TestCloud;
use crate::common::{BOUND, User};

/// Lost answers are noticed, and lost work taken up, in seconds instead of minutes.
const IMPATIENT: &str = "[DEFAULT]\nrpc_response_timeout = 1\n[conductor]\nworkflow_interval = 1\nworkflow_lease = 2\n\
                         workflow_max_attempts = 50\nreconcile_interval = 1\n";
const SERVERS: usize = 30;

async fn statuses(user: &User) -> Vec<(String, String)> {
    let servers = user.get("/compute/v2.1/servers/detail").await;
    let servers = servers["servers"].as_array().expect("a list").clone();
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    servers.iter().map(|server| (text(&server["id"]), text(&server["status"]))).collect()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + BOUND;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what} did not come to hold");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_built_and_deleted_over_a_transport_that_loses_messages() {
    let faults = Faults { seed: 20_261_123, drop: 0.05, duplicate: 0.2, max_delay: Duration::from_millis(20) };
    let cloud = TestCloud::with_faults(IMPATIENT, Some(faults)).await;
    let (user, admin) = (cloud.user("demo").await, cloud.user("admin").await);
    admin.lift_quotas(&user.project_id).await;
    let body = user.server("lossy", json!([{"uuid": user.network("private").await}])).await;
    for _ in 0..SERVERS {
        let (status, answer) = user.post("/compute/v2.1/servers", &body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    }
    until("that no server is in BUILD", async || statuses(&user).await.iter().all(|(_, status)| status != "BUILD"))
        .await;
    let servers = statuses(&user).await;
    assert_eq!(servers.len(), SERVERS);
    let active = servers.iter().filter(|(_, status)| status == "ACTIVE").count();
    assert!(active > SERVERS / 2, "only {active} of {SERVERS} are active: {servers:?}");
    for (id, _) in &servers {
        assert_eq!(user.delete(&format!("/compute/v2.1/servers/{id}")).await, StatusCode::NO_CONTENT);
    }
    until("that every server is gone", async || statuses(&user).await.is_empty()).await;
    until("that no port is left", async || {
        user.get("/network/v2.0/ports").await["ports"].as_array().is_some_and(Vec::is_empty)
    })
    .await;
    until("that no allocation is left", async || {
        let providers = admin.get("/placement/resource_providers").await;
        let uuid = providers["resource_providers"][0]["uuid"].as_str().expect("a provider").to_owned();
        let held = admin.get(&format!("/placement/resource_providers/{uuid}/allocations")).await;
        held["allocations"] == json!({})
    })
    .await;
}
