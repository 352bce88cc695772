//! What a server looks like, by microversion, persona and answer.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{active, create, save};
use crate::tests::cloud::{ADMIN, Cloud, HOST, MEMBER, PROJECT};

async fn shown(cloud: &Cloud, token: &str, version: &str, uuid: Uuid) -> Value {
    cloud.get(token, version, &format!("/servers/{uuid}")).await.expect(200).body["server"].clone()
}

fn keys(server: &Value) -> BTreeSet<String> {
    server.as_object().unwrap().keys().cloned().collect()
}

/// The keys that `version` has and the one before has not, and the other way round.
async fn difference(cloud: &Cloud, token: &str, minor: u16, uuid: Uuid) -> (Vec<String>, Vec<String>) {
    let before = keys(&shown(cloud, token, &format!("2.{}", minor - 1), uuid).await);
    let after = keys(&shown(cloud, token, &format!("2.{minor}"), uuid).await);
    (after.difference(&before).cloned().collect(), before.difference(&after).cloned().collect())
}

#[tokio::test]
async fn an_active_server_at_2_1() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let mut server = shown(&cloud, MEMBER, "2.1", uuid).await;
    for name in ["created", "updated"] {
        let text = server[name].as_str().unwrap().to_owned();
        assert!(text.len() == 20 && text.ends_with('Z'), "{text}");
        server.as_object_mut().unwrap().remove(name);
    }
    let host_id = server["hostId"].as_str().unwrap().to_owned();
    assert_eq!(host_id, crate::views::servers::obfuscated_host(PROJECT, HOST));
    let image = cloud.image.id;
    assert_eq!(
        server,
        json!({
            "id": uuid,
            "name": "vm",
            "status": "ACTIVE",
            "tenant_id": PROJECT,
            "user_id": "member-user",
            "metadata": {},
            "hostId": host_id,
            "image": {"id": image, "links": [{"rel": "bookmark", "href": format!("http://cloud:8774/images/{image}")}]},
            "flavor": {"id": "1", "links": [{"rel": "bookmark", "href": "http://cloud:8774/flavors/1"}]},
            "addresses": {"private": [{"version": 4, "addr": "10.0.0.7", "OS-EXT-IPS:type": "fixed",
                "OS-EXT-IPS-MAC:mac_addr": "fa:16:3e:00:00:01"}]},
            "accessIPv4": "",
            "accessIPv6": "",
            "links": [
                {"rel": "self", "href": format!("http://cloud:8774/v2.1/servers/{uuid}")},
                {"rel": "bookmark", "href": format!("http://cloud:8774/servers/{uuid}")},
            ],
            "OS-DCF:diskConfig": "MANUAL",
            "progress": 0,
            "OS-EXT-AZ:availability_zone": "nova",
            "config_drive": "",
            "key_name": null,
            "OS-SRV-USG:launched_at": "2026-11-23T07:00:00.000000",
            "OS-SRV-USG:terminated_at": null,
            "security_groups": [{"name": "default"}],
            "OS-EXT-STS:task_state": null,
            "OS-EXT-STS:vm_state": "active",
            "OS-EXT-STS:power_state": 1,
            "os-extended-volumes:volumes_attached": [],
        })
    );
}

#[tokio::test]
async fn every_microversion_adds_what_its_history_says() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    for (minor, added) in [
        (9, vec!["locked"]),
        (19, vec!["description"]),
        (26, vec!["tags"]),
        (63, vec!["trusted_image_certificates"]),
        (71, vec!["server_groups"]),
        (73, vec!["locked_reason"]),
        (90, vec!["OS-EXT-SRV-ATTR:hostname"]),
        (96, vec!["pinned_availability_zone"]),
        (98, vec![]),
        (100, vec!["scheduler_hints"]),
        (104, vec![]),
        (95, vec![]),
        (3, vec![]),
        (16, vec![]),
    ] {
        assert_eq!(
            difference(&cloud, MEMBER, minor, uuid).await,
            (added.iter().map(|key| key.to_string()).collect(), vec![]),
            "2.{minor}"
        );
    }
    let attributes =
        ["hostname", "kernel_id", "launch_index", "ramdisk_id", "reservation_id", "root_device_name", "user_data"];
    let attributes = attributes.map(|name| format!("OS-EXT-SRV-ATTR:{name}")).to_vec();
    assert_eq!(difference(&cloud, ADMIN, 3, uuid).await, (attributes, vec![]));
    assert_eq!(difference(&cloud, ADMIN, 16, uuid).await, (vec!["host_status".to_owned()], vec![]));
    assert_eq!(difference(&cloud, ADMIN, 90, uuid).await, (vec![], vec![]));
}

#[tokio::test]
async fn the_flavor_is_a_link_until_2_46_and_embedded_since() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    assert_eq!(shown(&cloud, MEMBER, "2.46", uuid).await["flavor"]["id"], "1");
    assert_eq!(
        shown(&cloud, MEMBER, "2.47", uuid).await["flavor"],
        json!({"vcpus": 1, "ram": 512, "disk": 1, "ephemeral": 0, "swap": 0, "original_name": "m1.tiny",
            "extra_specs": {"hw:cpu_policy": "shared"}})
    );
}

#[tokio::test]
async fn admins_see_hosts_and_whether_they_are_up() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let building = create(&cloud, "new").await;
    let server = shown(&cloud, ADMIN, "2.96", uuid).await;
    assert_eq!(server["OS-EXT-SRV-ATTR:host"], HOST);
    assert_eq!(server["OS-EXT-SRV-ATTR:hypervisor_hostname"], "node1");
    assert!(server["OS-EXT-SRV-ATTR:instance_name"].as_str().unwrap().starts_with("instance-0000000"));
    assert_eq!(server["host_status"], "UP");
    assert_eq!(shown(&cloud, ADMIN, "2.96", building).await["host_status"], "");
    let service = &kilonova_db::services::list(&cloud.db, None, None).await.unwrap()[0];
    let disabled = json!({"disabled": true}).as_object().unwrap().clone();
    kilonova_db::services::save(&cloud.db, service.id, &disabled).await.unwrap();
    let detail = cloud.get(ADMIN, "2.96", "/servers/detail?name=vm").await.expect(200);
    assert_eq!(detail.body["servers"][0]["host_status"], "MAINTENANCE");
}

#[tokio::test]
async fn a_failed_server_says_why() {
    let cloud = Cloud::new().await;
    let uuid = create(&cloud, "vm").await;
    save(&cloud, uuid, json!({"vm_state": "error", "task_state": null})).await;
    let fault = kilonova_objects::InstanceFault {
        instance_uuid: uuid,
        code: 500,
        message: Some("No valid host was found.".into()),
        details: Some("where it happened".into()),
        ..Default::default()
    };
    kilonova_db::faults::create(&cloud.db, &fault).await.unwrap();
    let server = shown(&cloud, MEMBER, "2.96", uuid).await;
    assert_eq!(server["status"], "ERROR");
    assert_eq!(server["fault"]["code"], 500);
    assert_eq!(server["fault"]["message"], "No valid host was found.");
    assert!(server["fault"].get("details").is_none() && server.get("progress").is_none());
    assert_eq!(shown(&cloud, ADMIN, "2.96", uuid).await["fault"]["details"], "where it happened");
}

#[tokio::test]
async fn a_server_that_is_built_has_no_addresses_to_show() {
    let cloud = Cloud::new().await;
    let uuid = create(&cloud, "vm").await;
    let server = shown(&cloud, MEMBER, "2.96", uuid).await;
    assert_eq!((&server["status"], &server["addresses"], &server["hostId"]), (&json!("BUILD"), &json!({}), &json!("")));
    assert_eq!(server["OS-EXT-STS:task_state"], "scheduling");
    assert_eq!(server["OS-SRV-USG:launched_at"], Value::Null);
}

#[tokio::test]
async fn an_update_answers_with_less_before_2_75() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let path = format!("/servers/{uuid}");
    let put = |version: &'static str, server: Value| {
        let (cloud, path) = (&cloud, &path);
        async move { cloud.put(MEMBER, version, path, json!({"server": server})).await }
    };
    let old =
        put("2.74", json!({"name": "renamed", "description": "new", "accessIPv4": "192.0.2.7"})).await.expect(200).body;
    let old = &old["server"];
    assert_eq!(
        (&old["name"], &old["description"], &old["accessIPv4"]),
        (&json!("renamed"), &json!("new"), &json!("192.0.2.7"))
    );
    assert!(old.get("OS-EXT-STS:vm_state").is_none() && old.get("key_name").is_none());
    assert_eq!(old["addresses"]["private"][0], json!({"version": 4, "addr": "10.0.0.7"}));
    let new = put("2.96", json!({"hostname": "other.example"})).await.expect(200).body["server"].clone();
    assert_eq!(keys(&new), keys(&shown(&cloud, MEMBER, "2.96", uuid).await));
    assert_eq!(new["OS-EXT-SRV-ATTR:hostname"], "other.example");
    put("2.18", json!({"description": "x"})).await.expect(400);
    put("2.96", json!({"description": null})).await.expect(200);
    assert_eq!(shown(&cloud, MEMBER, "2.96", uuid).await["description"], Value::Null);
    put("2.96", json!({"status": "ACTIVE"})).await.expect(400);
}

#[tokio::test]
async fn a_detailed_list_shows_what_show_shows_but_server_groups() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    for token in [MEMBER, ADMIN] {
        let mut one = shown(&cloud, token, "2.96", uuid).await;
        one.as_object_mut().unwrap().remove("server_groups");
        let many = cloud.get(token, "2.96", "/servers/detail").await.expect(200).body;
        assert_eq!(many["servers"], json!([one]));
    }
}
