//! `/os-volumes_boot`: servers under another name, up to 2.102.

use serde_json::json;

use super::cloud::{Cloud, MEMBER, NOBODY};
use super::servers::{active, minimal};

#[tokio::test]
async fn servers_are_made_shown_changed_and_deleted_under_the_other_name() {
    let cloud = Cloud::new().await;
    let path = "/os-volumes_boot";
    let created = cloud.post(MEMBER, "2.102", path, minimal(&cloud, "vm")).await.expect(202);
    let id = created.body["server"]["id"].as_str().unwrap().to_owned();
    let one = format!("{path}/{id}");
    assert_eq!(cloud.get(MEMBER, "2.102", path).await.expect(200).body["servers"][0]["id"], id);
    for query in ["/detail", "/detail?name=vm"] {
        let listed = cloud.get(MEMBER, "2.102", &format!("{path}{query}")).await.expect(200);
        assert_eq!(listed.body["servers"][0]["status"], "BUILD");
    }
    let renamed = cloud.put(MEMBER, "2.102", &one, json!({"server": {"name": "new"}})).await.expect(200);
    assert_eq!(renamed.body["server"]["name"], "new");
    let same = cloud.get(MEMBER, "2.102", &format!("/servers/{id}")).await.expect(200).body;
    assert_eq!(cloud.get(MEMBER, "2.102", &one).await.expect(200).body, same);
    cloud.delete(MEMBER, "2.102", &one).await.expect(204);
}

#[tokio::test]
async fn actions_are_those_of_servers() {
    let cloud = Cloud::new().await;
    let path = format!("/os-volumes_boot/{}/action", active(&cloud, "vm").await);
    cloud.post(MEMBER, "2.1", &path, json!({"os-start": null})).await.expect(409);
    cloud.post(NOBODY, "2.1", &path, json!({"os-stop": null})).await.expect(403);
    cloud.post(MEMBER, "2.1", &path, json!({"reboot": {"type": "HARD"}})).await.expect(202);
    cloud.post(MEMBER, "2.1", &path, json!({"lock": null})).await.expect(400);
    cloud.post(MEMBER, "2.16", &path, json!({"trigger_crash_dump": null})).await.expect(404);
    cloud.post(NOBODY, "2.17", &path, json!({"trigger_crash_dump": null})).await.expect(403);
}

#[tokio::test]
async fn the_other_name_ends_with_2_102() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    for path in ["".to_owned(), "/detail".to_owned(), format!("/{uuid}")] {
        cloud.get(MEMBER, "2.102", &format!("/os-volumes_boot{path}")).await.expect(200);
        cloud.get(MEMBER, "2.103", &format!("/os-volumes_boot{path}")).await.expect(404);
    }
    cloud.post(MEMBER, "2.103", &format!("/os-volumes_boot/{uuid}/action"), json!({"os-stop": null})).await.expect(404);
}
