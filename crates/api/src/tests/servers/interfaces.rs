//! `/servers/{server_id}/os-interface`, and fixed addresses added and removed.

use kilonova_objects::Instance;
use kilonova_rpcapi::compute::{AddFixedIpToInstance, AttachInterface, DetachInterface, RemoveFixedIpFromInstance};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{active, address, connected, create, instance, save};
use crate::tests::cloud::{ADMIN, Cloud, MEMBER, NOBODY, OTHER, OTHER_PROJECT, PROJECT, READER, Reply};

async fn attach(cloud: &Cloud, uuid: Uuid, attachment: Value) -> Reply {
    let body = json!({"interfaceAttachment": attachment});
    cloud.post(MEMBER, "2.96", &format!("/servers/{uuid}/os-interface"), body).await
}

/// Names of the server's actions, newest first.
async fn actions(cloud: &Cloud, uuid: Uuid) -> Vec<String> {
    let listed = kilonova_db::actions::list(&cloud.db, uuid).await.unwrap();
    listed.into_iter().filter_map(|action| action.action).collect()
}

#[tokio::test]
async fn interfaces_are_the_ports_of_the_server() {
    let cloud = Cloud::new().await;
    let (uuid, vif) = connected(&cloud, "vm").await;
    let (_, other) = connected(&cloud, "other").await;
    let expected = json!({
        "net_id": cloud.network.id, "port_id": vif.id, "mac_addr": vif.address, "port_state": "ACTIVE",
        "fixed_ips": [{"subnet_id": cloud.network.subnet_ids[0], "ip_address": address(&vif)}],
    });
    let path = format!("/servers/{uuid}/os-interface");
    let listed = cloud.get(READER, "2.69", &path).await.expect(200);
    assert_eq!(listed.body, json!({"interfaceAttachments": [expected]}));
    let one = format!("{path}/{}", vif.id);
    assert_eq!(cloud.get(READER, "2.1", &one).await.expect(200).body, json!({"interfaceAttachment": expected}));
    let shown = cloud.get(READER, "2.70", &one).await.expect(200);
    assert_eq!(shown.body["interfaceAttachment"]["tag"], Value::Null);
    assert!(shown.body["interfaceAttachment"].as_object().unwrap().contains_key("tag"));

    let nowhere = Uuid::new_v4();
    let message = format!("Port id {nowhere} could not be found.");
    cloud.get(MEMBER, "2.96", &format!("{path}/{nowhere}")).await.expect_fault(404, "itemNotFound", &message);
    let message = format!("Instance {uuid} does not have a port with id {}", other.id);
    cloud.get(MEMBER, "2.96", &format!("{path}/{}", other.id)).await.expect_fault(404, "itemNotFound", &message);
    cloud.get(OTHER, "2.96", &path).await.expect(404);
    cloud.get(NOBODY, "2.96", &path).await.expect(403);
}

#[tokio::test]
async fn an_interface_is_plugged_in_by_the_host_and_shown() {
    let cloud = Cloud::new().await;
    let (uuid, _) = connected(&cloud, "vm").await;
    let network = cloud.networks.add_network("second", PROJECT, false);
    let reply =
        attach(&cloud, uuid, json!({"net_id": network.id, "fixed_ips": [{"ip_address": "10.1.0.99"}], "tag": "t"}));
    let shown = reply.await.expect(200).body["interfaceAttachment"].clone();
    assert_eq!((&shown["net_id"], &shown["tag"]), (&json!(network.id), &json!("t")));
    assert_eq!(shown["fixed_ips"][0]["ip_address"], "10.1.0.99");
    let call = &cloud.calls::<AttachInterface>()[0];
    assert_eq!(call["instance"]["nova_object.data"]["uuid"], json!(uuid));
    let args = ["network_id", "port_id", "requested_ip", "tag"].map(|name| call[name].clone());
    assert_eq!(args, [json!(network.id), Value::Null, json!("10.1.0.99"), json!("t")]);

    let port = cloud.networks.add_port(cloud.network.id, PROJECT);
    let shown = attach(&cloud, uuid, json!({"port_id": port.id})).await.expect(200);
    assert_eq!(shown.body["interfaceAttachment"]["port_id"], json!(port.id));
    let body = json!({"interfaceAttachment": {"net_id": network.id, "tag": "t"}});
    cloud.post(MEMBER, "2.48", &format!("/servers/{uuid}/os-interface"), body).await.expect(400);
    assert_eq!(actions(&cloud, uuid).await, ["attach_interface", "attach_interface", "create"]);
}

#[tokio::test]
async fn what_makes_no_sense_never_gets_to_the_host() {
    let cloud = Cloud::new().await;
    let (uuid, vif) = connected(&cloud, "vm").await;
    let free = cloud.networks.add_port(cloud.network.id, PROJECT);
    let foreign = cloud.networks.add_port(cloud.network.id, OTHER_PROJECT);
    let nowhere = Uuid::new_v4();
    for (attachment, status, name, message) in [
        (
            json!({"net_id": cloud.network.id, "port_id": free.id}),
            400,
            "badRequest",
            "Must not input both network_id and port_id".to_owned(),
        ),
        (
            json!({"port_id": free.id, "fixed_ips": [{"ip_address": "10.1.0.9"}]}),
            400,
            "badRequest",
            "Must input network_id when request IP address".to_owned(),
        ),
        (json!({"port_id": nowhere}), 404, "itemNotFound", format!("Port id {nowhere} could not be found.")),
        (json!({"port_id": vif.id}), 409, "conflictingRequest", format!("Port {} is still in use.", vif.id)),
        (
            json!({"port_id": foreign.id}),
            400,
            "badRequest",
            format!("Port {} not usable for instance {uuid}.", foreign.id),
        ),
    ] {
        attach(&cloud, uuid, attachment).await.expect_fault(status, name, &message);
    }
    assert_eq!(cloud.calls::<AttachInterface>().len(), 0);
}

#[tokio::test]
async fn what_the_host_refuses_has_novas_status() {
    let cloud = Cloud::new().await;
    let (uuid, _) = connected(&cloud, "vm").await;
    for (class, status, name) in [
        ("AttachInterfaceNotSupported", 400, "badRequest"),
        ("NetworkInterfaceTaggedAttachNotSupported", 400, "badRequest"),
        ("NetworkAmbiguous", 400, "badRequest"),
        ("NoMoreFixedIps", 400, "badRequest"),
        ("InterfaceAttachFailedNoNetwork", 400, "badRequest"),
        ("FixedIpAlreadyInUse", 409, "conflictingRequest"),
        ("PortInUse", 409, "conflictingRequest"),
        ("InstanceInvalidState", 409, "conflictingRequest"),
        ("NetworkNotFound", 404, "itemNotFound"),
        ("PortLimitExceeded", 403, "forbidden"),
        ("InterfaceAttachFailed", 500, "computeFault"),
    ] {
        cloud.raise::<AttachInterface>(class, "in these words");
        attach(&cloud, uuid, json!({})).await.expect_fault(status, name, "in these words");
    }
    cloud.raise::<AttachInterface>("SomethingElse", "a secret");
    assert!(!attach(&cloud, uuid, json!({})).await.expect(500).message().contains("secret"));
}

#[tokio::test]
async fn an_interface_is_taken_out_by_the_host() {
    let cloud = Cloud::new().await;
    let (uuid, vif) = connected(&cloud, "vm").await;
    let path = format!("/servers/{uuid}/os-interface/{}", vif.id);
    cloud.delete(READER, "2.96", &path).await.expect(403);
    cloud.delete(MEMBER, "2.96", &path).await.expect(202);
    let call = &cloud.wait_for::<DetachInterface>(1).await[0];
    assert_eq!(call["port_id"], json!(vif.id));
    assert_eq!(actions(&cloud, uuid).await, ["detach_interface", "create"]);
}

#[tokio::test]
async fn the_state_and_a_lock_are_in_the_way() {
    let cloud = Cloud::new().await;
    let (uuid, vif) = connected(&cloud, "vm").await;
    let path = format!("/servers/{uuid}/os-interface");
    let one = format!("{path}/{}", vif.id);
    let refused = |word: &str, why: &str| format!("Cannot '{word}' instance {uuid} while it is in {why}");
    for (changes, why) in [
        (json!({"vm_state": "suspended"}), "vm_state suspended"),
        (json!({"vm_state": "active", "task_state": "powering-off"}), "task_state powering-off"),
    ] {
        save(&cloud, uuid, changes).await;
        let message = refused("attach_interface", why);
        attach(&cloud, uuid, json!({})).await.expect_fault(409, "conflictingRequest", &message);
        let message = refused("detach_interface", why);
        cloud.delete(MEMBER, "2.96", &one).await.expect_fault(409, "conflictingRequest", &message);
    }
    save(&cloud, uuid, json!({"task_state": null, "locked": true, "locked_by": "admin"})).await;
    let message = format!("Instance {uuid} is locked");
    attach(&cloud, uuid, json!({})).await.expect_fault(409, "conflictingRequest", &message);
    cloud.delete(MEMBER, "2.96", &one).await.expect_fault(409, "conflictingRequest", &message);
    cloud.delete(ADMIN, "2.96", &one).await.expect(202);
    assert_eq!(actions(&cloud, uuid).await, ["detach_interface", "create"]);
    let building = create(&cloud, "young").await;
    attach(&cloud, building, json!({})).await.expect(409);
}

#[tokio::test]
async fn fixed_addresses_are_added_and_removed_by_the_host_until_2_43() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let path = format!("/servers/{uuid}/action");
    let add = json!({"addFixedIp": {"networkId": cloud.network.id}});
    let remove = json!({"removeFixedIp": {"address": "10.0.0.7"}});
    for body in [&add, &remove] {
        cloud.post(MEMBER, "2.44", &path, body.clone()).await.expect(404);
        cloud.post(READER, "2.43", &path, body.clone()).await.expect(403);
        cloud.post(MEMBER, "2.43", &path, body.clone()).await.expect(202);
    }
    assert_eq!(cloud.wait_for::<AddFixedIpToInstance>(1).await[0]["network_id"], json!(cloud.network.id));
    assert_eq!(cloud.wait_for::<RemoveFixedIpFromInstance>(1).await[0]["address"], "10.0.0.7");
    cloud.post(MEMBER, "2.1", &path, json!({"removeFixedIp": {"address": "x"}})).await.expect(400);
    save(&cloud, uuid, json!({"locked": true, "locked_by": "admin"})).await;
    cloud.post(MEMBER, "2.43", &path, add).await.expect(409);
    let Instance { locked, .. } = instance(&cloud, uuid).await;
    assert!(locked);
}
