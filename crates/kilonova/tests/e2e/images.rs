//! Images of servers, rebuilds, and shelving.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::cloud::TestCloud;
use crate::common::User;

fn settled(status: &'static str) -> impl Fn(&Value) -> bool {
    move |server| server["status"] == status && server["OS-EXT-STS:task_state"].is_null()
}

async fn act(user: &User, id: &str, body: Value) -> Value {
    let (status, answer) = user.post(&format!("/compute/v2.1/servers/{id}/action"), &body).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{body}: {answer}");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_boots_from_the_image_of_another_and_is_rebuilt_from_it() {
    let cloud = TestCloud::start().await;
    let user = cloud.user("demo").await.at("2.96");
    let server = user.boot(&user.server("first", json!("none")).await).await;
    let id = server["id"].as_str().unwrap();
    let image_id = act(&user, id, json!({"createImage": {"name": "snap", "metadata": {"mine": "yes"}}})).await;
    let image_id = image_id["image_id"].as_str().unwrap();
    user.wait_for(id, settled("ACTIVE")).await;
    let image = user.get(&format!("/image/v2/images/{image_id}")).await;
    assert_eq!((&image["status"], &image["visibility"]), (&json!("active"), &json!("private")));
    assert_eq!((&image["instance_uuid"], &image["mine"]), (&json!(id), &json!("yes")));
    assert!(image["size"].as_i64().unwrap() > 0);

    let mut body = user.server("second", json!("none")).await;
    body["server"]["imageRef"] = json!(image_id);
    let second = user.boot(&body).await;
    assert_eq!(second["status"], "ACTIVE", "{second:#}");

    let rebuilt = act(&user, id, json!({"rebuild": {"imageRef": image_id, "name": "again"}})).await;
    assert_eq!((&rebuilt["server"]["name"], &rebuilt["server"]["image"]["id"]), (&json!("again"), &json!(image_id)));
    let rebuilt = user.wait_for(id, settled("ACTIVE")).await;
    assert_eq!((&rebuilt["name"], &rebuilt["image"]["id"]), (&json!("again"), &json!(image_id)));
    let guest = std::fs::read(cloud.state_dir().join(format!("fake/host1/{id}.json"))).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&guest).unwrap()["image_id"], *image_id);
    let actions = user.get(&format!("/compute/v2.1/servers/{id}/os-instance-actions")).await;
    let names: Vec<_> =
        actions["instanceActions"].as_array().unwrap().iter().map(|action| action["action"].clone()).collect();
    assert_eq!(json!(names), json!(["rebuild", "createImage", "create"]));
    assert!(actions["instanceActions"].as_array().unwrap().iter().all(|action| action["message"].is_null()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shelved_server_frees_its_host_and_comes_back_as_it_was() {
    let cloud = TestCloud::start().await;
    let (user, admin) = (cloud.user("demo").await.at("2.96"), cloud.user("admin").await.at("2.87"));
    let network = user.network("private").await;
    let server = user.boot(&user.server("first", json!([{"uuid": network}])).await).await;
    let id = server["id"].as_str().unwrap();
    let used = async || {
        let statistics = admin.get(&format!("/compute/v2.1/servers/{id}")).await;
        statistics["server"]["OS-EXT-SRV-ATTR:host"].clone()
    };
    assert_eq!(used().await, "host1");
    act(&user, id, json!({"shelve": null})).await;
    let shelved = user.wait_for(id, settled("SHELVED_OFFLOADED")).await;
    assert_eq!((used().await, &shelved["addresses"]), (Value::Null, &server["addresses"]));
    let images = user.get("/image/v2/images?name=first-shelved").await;
    assert_eq!(images["images"].as_array().unwrap().len(), 1, "{images:#}");

    act(&user, id, json!({"unshelve": null})).await;
    let back = user.wait_for(id, settled("ACTIVE")).await;
    assert_eq!((used().await, &back["addresses"]), (json!("host1"), &server["addresses"]));
    assert_eq!(back["image"], server["image"]);
    let images = user.get("/image/v2/images?name=first-shelved").await;
    assert_eq!(images["images"], json!([]));
    assert_eq!(user.delete(&format!("/compute/v2.1/servers/{id}")).await, StatusCode::NO_CONTENT);
    user.wait_gone(id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stays_shelved_is_offloaded_by_an_admin_and_deleted_with_its_image() {
    let cloud = TestCloud::with_config("[DEFAULT]\nshelved_offload_time = -1\n").await;
    let (user, admin) = (cloud.user("demo").await.at("2.96"), cloud.user("admin").await.at("2.96"));
    let server = user.boot(&user.server("first", json!("none")).await).await;
    let id = server["id"].as_str().unwrap();
    act(&user, id, json!({"shelve": null})).await;
    user.wait_for(id, settled("SHELVED")).await;
    act(&user, id, json!({"unshelve": null})).await;
    user.wait_for(id, settled("ACTIVE")).await;
    act(&user, id, json!({"shelve": null})).await;
    user.wait_for(id, settled("SHELVED")).await;
    act(&admin, id, json!({"shelveOffload": null})).await;
    user.wait_for(id, settled("SHELVED_OFFLOADED")).await;
    assert_eq!(user.delete(&format!("/compute/v2.1/servers/{id}")).await, StatusCode::NO_CONTENT);
    user.wait_gone(id).await;
    let images = user.get("/image/v2/images?name=first-shelved").await;
    assert_eq!(images["images"], json!([]));
}
