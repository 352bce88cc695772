//! What is done to hosts, with all services behind the API.

use reqwest::StatusCode;
use serde_json::json;

use crate::cloud::TestCloud;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_shown_disabled_for_new_servers_and_enabled_again() {
    let cloud = TestCloud::start().await;
    let admin = cloud.user("admin").await.at("2.42");
    let host = "/compute/v2.1/os-hosts/host1";
    let shown = admin.get(host).await;
    assert_eq!(shown["host"][0]["resource"]["project"], "(total)", "{shown}");
    assert_eq!(shown["host"][0]["resource"]["cpu"], 4000);
    assert_eq!(admin.get(&format!("{host}/reboot")).await, json!({"host": "host1", "power_action": "reboot"}));

    let demo = cloud.user("demo").await;
    let body = demo.server("first", json!("none")).await;
    for (word, said, status) in [("disable", "disabled", "ERROR"), ("enable", "enabled", "ACTIVE")] {
        let (answer, changed) = admin.put(host, &json!({"status": word})).await;
        assert_eq!((answer, &changed["status"]), (StatusCode::OK, &json!(said)), "{changed}");
        let server = demo.boot(&body).await;
        assert_eq!(server["status"], status, "{server:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_description_of_the_api_is_beside_it() {
    let cloud = TestCloud::start().await;
    let described = cloud.user("demo").await.get("/compute/openapi.json").await;
    assert_eq!(described, kilonova_api::openapi::document());
}
