//! The actions `addFloatingIp` and `removeFloatingIp`, and what becomes of addresses that servers had.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{active, address, connected, save};
use crate::tests::cloud::{Cloud, MEMBER, OTHER, PROJECT, READER, Reply};

async fn act(cloud: &Cloud, token: &str, uuid: Uuid, body: Value) -> Reply {
    cloud.post(token, "2.43", &format!("/servers/{uuid}/action"), body).await
}

async fn allocated(cloud: &Cloud) -> String {
    cloud.networks.add_external_network("nova", PROJECT);
    let made = cloud.post(MEMBER, "2.35", "/os-floating-ips", json!({})).await.expect(200);
    made.body["floating_ip"]["ip"].as_str().unwrap().to_owned()
}

/// The floating addresses that a server shows.
async fn shown(cloud: &Cloud, uuid: Uuid) -> Vec<Value> {
    let server = cloud.get(READER, "2.96", &format!("/servers/{uuid}")).await.expect(200);
    let addresses = server.body["server"]["addresses"]["private"].as_array().unwrap().clone();
    let is_floating = |address: &&Value| address["OS-EXT-IPS:type"] == "floating";
    addresses.iter().filter(is_floating).map(|address| address["addr"].clone()).collect()
}

#[tokio::test]
async fn a_floating_address_leads_to_one_server_at_a_time() {
    let cloud = Cloud::new().await;
    let (first, vif) = connected(&cloud, "first").await;
    let (second, _) = connected(&cloud, "second").await;
    let floating = allocated(&cloud).await;
    let add = json!({"addFloatingIp": {"address": floating, "fixed_address": address(&vif)}});
    cloud.post(MEMBER, "2.44", &format!("/servers/{first}/action"), add.clone()).await.expect(404);
    act(&cloud, READER, first, add.clone()).await.expect(403);
    assert_eq!(act(&cloud, MEMBER, first, add).await.expect(202).body, Value::Null);
    assert_eq!(shown(&cloud, first).await, [json!(floating)]);
    let listed = cloud.get(MEMBER, "2.35", "/os-floating-ips").await.expect(200);
    assert_eq!(listed.body["floating_ips"][0]["instance_id"], json!(first));
    assert_eq!(listed.body["floating_ips"][0]["fixed_ip"], address(&vif));

    act(&cloud, MEMBER, second, json!({"addFloatingIp": {"address": floating}})).await.expect(202);
    assert_eq!((shown(&cloud, first).await.len(), shown(&cloud, second).await), (0, vec![json!(floating)]));

    let remove = json!({"removeFloatingIp": {"address": floating}});
    let message = format!("Floating IP {floating} is not associated with instance {first}.");
    act(&cloud, MEMBER, first, remove.clone()).await.expect_fault(409, "conflictingRequest", &message);
    act(&cloud, READER, second, remove.clone()).await.expect(403);
    act(&cloud, MEMBER, second, remove).await.expect(202);
    assert_eq!(shown(&cloud, second).await.len(), 0);
}

#[tokio::test]
async fn a_released_address_is_not_shown_any_more() {
    let cloud = Cloud::new().await;
    let (uuid, _) = connected(&cloud, "vm").await;
    let floating = allocated(&cloud).await;
    act(&cloud, MEMBER, uuid, json!({"addFloatingIp": {"address": floating}})).await.expect(202);
    let listed = cloud.get(MEMBER, "2.35", "/os-floating-ips").await.expect(200);
    let id = listed.body["floating_ips"][0]["id"].as_str().unwrap().to_owned();
    cloud.delete(MEMBER, "2.35", &format!("/os-floating-ips/{id}")).await.expect(202);
    assert_eq!(shown(&cloud, uuid).await.len(), 0);
    let message = format!("Floating IP not found for ID {id}");
    cloud.get(MEMBER, "2.35", &format!("/os-floating-ips/{id}")).await.expect_fault(404, "itemNotFound", &message);
}

#[tokio::test]
async fn what_cannot_be_associated_is_said_in_novas_words() {
    let cloud = Cloud::new().await;
    let (uuid, _) = connected(&cloud, "vm").await;
    let floating = allocated(&cloud).await;
    let add = |address: &str| json!({"addFloatingIp": {"address": address}});
    act(&cloud, MEMBER, uuid, add("172.24.4.250")).await.expect_fault(404, "itemNotFound", "floating IP not found");
    let wrong = json!({"addFloatingIp": {"address": floating, "fixed_address": "10.9.9.9"}});
    let message = "Specified fixed address not assigned to instance";
    act(&cloud, MEMBER, uuid, wrong).await.expect_fault(400, "badRequest", message);
    let remove = json!({"removeFloatingIp": {"address": "172.24.4.250"}});
    let message = "Floating IP not found for address 172.24.4.250.";
    act(&cloud, MEMBER, uuid, remove).await.expect_fault(404, "itemNotFound", message);
    // It leads nowhere, so it is nobody's server's.
    act(&cloud, MEMBER, uuid, json!({"removeFloatingIp": {"address": floating}})).await.expect(403);
    act(&cloud, OTHER, uuid, add(&floating)).await.expect(404);

    let bare = active(&cloud, "bare").await;
    save(&cloud, bare, json!({"info_cache": null})).await;
    let message = "Instance network is not ready yet";
    act(&cloud, MEMBER, bare, add(&floating)).await.expect_fault(400, "badRequest", message);
}
