//! `rebuild`

use std::collections::BTreeMap;

use kilonova_clients::image::Image;
use kilonova_db::request_specs;
use kilonova_objects::KeyPair;
use kilonova_rpcapi::conductor::RebuildInstance;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{active, instance, save, with};
use crate::tests::cloud::{ADMIN, Cloud, HOST, MEMBER, OTHER, READER, Reply};

async fn rebuild(cloud: &Cloud, version: &str, uuid: Uuid, more: Value) -> Reply {
    rebuild_as(cloud, MEMBER, version, uuid, more).await
}

async fn rebuild_as(cloud: &Cloud, token: &str, version: &str, uuid: Uuid, more: Value) -> Reply {
    let mut wanted = json!({"imageRef": cloud.image.id});
    for (name, value) in more.as_object().unwrap() {
        wanted[name] = value.clone();
    }
    cloud.post(token, version, &format!("/servers/{uuid}/action"), json!({"rebuild": wanted})).await
}

/// Another image, changed.
fn image(cloud: &Cloud, change: impl FnOnce(&mut Image)) -> Uuid {
    let mut image = Image { id: Uuid::new_v4(), name: Some("other".to_owned()), ..cloud.image.clone() };
    change(&mut image);
    cloud.images.put(image.clone(), "/nowhere");
    image.id
}

#[tokio::test]
async fn a_rebuild_from_the_same_image_goes_to_its_host() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let reply = rebuild(&cloud, "2.96", uuid, json!({"adminPass": "secret"})).await.expect(202);
    let server = &reply.body["server"];
    assert_eq!((&server["status"], &server["adminPass"]), (&json!("REBUILD"), &json!("secret")));
    assert_eq!(reply.header("location"), format!("http://cloud:8774/v2.1/servers/{uuid}"));
    let call = &cloud.wait_for::<RebuildInstance>(1).await[0];
    assert_eq!((&call["host"], &call["new_pass"]), (&json!(HOST), &json!("secret")));
    assert_eq!((&call["image_ref"], &call["orig_image_ref"]), (&json!(cloud.image.id), &json!(cloud.image.id)));
    assert_eq!(call["instance"]["nova_object.data"]["task_state"], "rebuilding");
    assert_eq!(call["bdms"]["nova_object.data"]["objects"].as_array().unwrap().len(), 1);
    assert_eq!(call["request_spec"]["nova_object.data"]["force_hosts"], Value::Null);
    rebuild(&cloud, "2.96", uuid, json!({})).await.expect_fault(
        409,
        "conflictingRequest",
        &format!("Cannot 'rebuild' instance {uuid} while it is in task_state rebuilding"),
    );
    let actions = cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}/os-instance-actions")).await.expect(200);
    assert_eq!(actions.body["instanceActions"][0]["action"], "rebuild");
}

#[tokio::test]
async fn a_rebuild_from_another_image_changes_what_depends_on_it_and_asks_the_scheduler() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    save(&cloud, uuid, json!({"system_metadata": {"image_hw_old": "1", "owner_user_name": "x"}})).await;
    let other = image(&cloud, |image| {
        let properties = [("os_type", "linux"), ("hw_vif_model", "e1000"), ("auto_disk_config", "true")];
        image.properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    });
    rebuild(&cloud, "2.96", uuid, json!({"imageRef": other})).await.expect(202);
    let row = instance(&cloud, uuid).await;
    assert_eq!(
        (row.image_ref, row.os_type.as_deref(), row.auto_disk_config),
        (Some(other.to_string()), Some("linux"), true)
    );
    assert_eq!(row.system_metadata["image_hw_vif_model"].as_deref(), Some("e1000"));
    assert_eq!(row.system_metadata["image_base_image_ref"], Some(other.to_string()));
    assert_eq!(row.system_metadata["owner_user_name"].as_deref(), Some("x"));
    assert!(!row.system_metadata.contains_key("image_hw_old"));
    let call = &cloud.wait_for::<RebuildInstance>(1).await[0];
    assert_eq!((&call["host"], &call["orig_image_ref"]), (&Value::Null, &json!(cloud.image.id)));
    assert_eq!(call["orig_sys_metadata"]["image_hw_old"], "1");
    let spec = &call["request_spec"]["nova_object.data"];
    assert_eq!((&spec["force_hosts"], &spec["force_nodes"]), (&json!([HOST]), &json!(["node1"])));
    assert_eq!(spec["scheduler_hints"]["_nova_check_type"], json!(["rebuild"]));
    assert_eq!(spec["image"]["nova_object.data"]["id"], json!(other));
    let kept = request_specs::get(&cloud.db, uuid).await.unwrap();
    assert_eq!((kept.image.unwrap().id, kept.force_hosts), (Some(other), None));
    assert!(!kept.scheduler_hints.unwrap_or_default().contains_key("_nova_check_type"));
}

#[tokio::test]
async fn a_rebuild_changes_what_it_names_and_nothing_else() {
    let cloud = Cloud::new().await;
    let pair = KeyPair {
        name: "k".to_owned(),
        user_id: instance_user(&cloud).await,
        public_key: Some("ssh-ed25519 x".to_owned()),
        r#type: "ssh".to_owned(),
        ..KeyPair::default()
    };
    kilonova_db::keypairs::create(&cloud.db, &pair).await.unwrap();
    let reply = cloud.post(MEMBER, "2.96", "/servers", with(&cloud, json!({
        "metadata": {"a": "1"}, "user_data": "YQ==", "description": "d", "hostname": "h1", "accessIPv4": "1.2.3.4",
    }))).await.expect(202);
    let uuid = reply.body["server"]["id"].as_str().unwrap().parse().unwrap();
    super::activate(&cloud, uuid).await;
    rebuild(&cloud, "2.96", uuid, json!({})).await.expect(202);
    let row = instance(&cloud, uuid).await;
    assert_eq!((row.metadata, row.user_data.as_deref()), ([("a".to_owned(), "1".to_owned())].into(), Some("YQ==")));
    assert_eq!((row.display_description.as_deref(), row.hostname.as_deref()), (Some("d"), Some("h1")));
    save(&cloud, uuid, json!({"task_state": null})).await;
    let reply = rebuild(
        &cloud,
        "2.96",
        uuid,
        json!({
            "name": "new", "description": null, "metadata": {"b": "2"}, "user_data": null, "key_name": "k",
            "hostname": "h2", "accessIPv4": "5.6.7.8", "accessIPv6": "::1", "OS-DCF:diskConfig": "AUTO",
            "preserve_ephemeral": "false", "trusted_image_certificates": null,
        }),
    )
    .await
    .expect(202);
    let server = &reply.body["server"];
    assert_eq!(
        (&server["key_name"], &server["user_data"], &server["name"]),
        (&json!("k"), &Value::Null, &json!("new"))
    );
    assert_eq!(server["OS-DCF:diskConfig"], "AUTO");
    let row = instance(&cloud, uuid).await;
    assert_eq!(row.metadata, BTreeMap::from([("b".to_owned(), "2".to_owned())]));
    assert_eq!((row.display_description, row.user_data, row.hostname.as_deref()), (None, None, Some("h2")));
    assert_eq!((row.access_ip_v4.as_deref(), row.access_ip_v6.as_deref()), (Some("5.6.7.8"), Some("::1")));
    assert_eq!((row.key_data.as_deref(), row.keypairs.objects.len()), (Some("ssh-ed25519 x"), 1));
    save(&cloud, uuid, json!({"task_state": null})).await;
    rebuild(&cloud, "2.54", uuid, json!({"key_name": null})).await.expect(202);
    let row = instance(&cloud, uuid).await;
    assert_eq!((row.key_name, row.key_data, row.keypairs.objects.len()), (None, None, 0));
}

#[tokio::test]
async fn certificates_stay_until_a_rebuild_says_otherwise() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    for (body, expected) in [
        (json!({"trusted_image_certificates": ["c"]}), json!(["c"])),
        (json!({}), json!(["c"])),
        (json!({"trusted_image_certificates": null}), json!(null)),
    ] {
        save(&cloud, uuid, json!({"task_state": null})).await;
        let reply = rebuild(&cloud, "2.96", uuid, body).await.expect(202);
        assert_eq!(reply.body["server"]["trusted_image_certificates"], expected);
    }
}

async fn instance_user(cloud: &Cloud) -> Option<String> {
    let uuid = active(cloud, "whoever").await;
    instance(cloud, uuid).await.user_id
}

#[tokio::test]
async fn each_field_has_its_microversions() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    for (field, value, first, last) in [
        ("description", json!("d"), 19, 96),
        ("key_name", json!(null), 54, 96),
        ("user_data", json!("YQ=="), 57, 96),
        ("personality", json!([{"path": "/a", "contents": "YQ=="}]), 1, 56),
        ("trusted_image_certificates", json!(null), 63, 96),
        ("hostname", json!("h1"), 90, 96),
    ] {
        for (minor, status) in [(first - 1, 400), (first, 202), (last, 202), (last + 1, 400)] {
            if !(1..=96).contains(&minor) {
                continue;
            }
            save(&cloud, uuid, json!({"task_state": null})).await;
            rebuild(&cloud, &format!("2.{minor}"), uuid, json!({field: value})).await.expect(status);
        }
    }
    save(&cloud, uuid, json!({"task_state": null})).await;
    rebuild(&cloud, "2.93", uuid, json!({"hostname": "a.b"})).await.expect(400);
    rebuild(&cloud, "2.94", uuid, json!({"hostname": "a.b"})).await.expect(202);
    let volumes: Vec<Value> =
        cloud.wait_for::<RebuildInstance>(13).await.iter().map(|call| call["reimage_boot_volume"].clone()).collect();
    assert!(volumes.contains(&json!(true)) && volumes.contains(&json!(false)));
}

#[tokio::test]
async fn the_answer_shows_what_its_microversion_has() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    for (version, shown, hidden) in [
        ("2.1", vec!["adminPass", "image"], vec!["key_name", "user_data", "OS-EXT-STS:vm_state", "locked"]),
        ("2.54", vec!["key_name", "description"], vec!["user_data", "OS-EXT-STS:vm_state"]),
        ("2.57", vec!["key_name", "user_data"], vec!["OS-EXT-STS:vm_state"]),
        (
            "2.75",
            vec!["key_name", "user_data", "OS-EXT-STS:vm_state", "server_groups", "OS-EXT-SRV-ATTR:hostname"],
            vec!["pinned_availability_zone", "OS-EXT-SRV-ATTR:user_data"],
        ),
        ("2.96", vec!["pinned_availability_zone", "trusted_image_certificates"], vec![]),
    ] {
        save(&cloud, uuid, json!({"task_state": null})).await;
        let reply = rebuild_as(&cloud, ADMIN, version, uuid, json!({})).await.expect(202);
        let server = reply.body["server"].as_object().unwrap();
        assert!(shown.iter().all(|name| server.contains_key(*name)), "{version}: {server:?}");
        assert!(hidden.iter().all(|name| !server.contains_key(*name)), "{version}: {server:?}");
    }
    let cloud = Cloud::with_config("[api]\nenable_instance_password = false\n").await;
    let uuid = active(&cloud, "vm").await;
    let reply = rebuild(&cloud, "2.96", uuid, json!({})).await.expect(202);
    assert_eq!(reply.body["server"]["adminPass"], Value::Null);
}

#[tokio::test]
async fn what_cannot_be_rebuilt_is_refused_and_stays_as_it_is() {
    let cloud = Cloud::with_config("[quota]\nmetadata_items = 1\ninjected_files = 0\n").await;
    let uuid = active(&cloud, "vm").await;
    let before = instance(&cloud, uuid).await;
    let inactive = image(&cloud, |image| image.status = "queued".to_owned());
    let large = image(&cloud, |image| image.min_ram = 10_000);
    let encrypted = image(&cloud, |image| {
        image.properties.insert("cinder_encryption_key_id".to_owned(), "x".to_owned());
    });
    let fixed = image(&cloud, |image| {
        image.properties.insert("auto_disk_config".to_owned(), "disabled".to_owned());
    });
    let nowhere = Uuid::new_v4();
    for (version, more, status, message) in [
        ("2.96", json!({"imageRef": nowhere}), 400, "Cannot find image for rebuild".to_owned()),
        ("2.96", json!({"imageRef": inactive}), 400, format!("Image {inactive} is not active.")),
        ("2.96", json!({"imageRef": large}), 400, "Flavor's memory is too small for requested image.".to_owned()),
        (
            "2.96",
            json!({"imageRef": encrypted}),
            400,
            format!(
                "Image {encrypted} is unacceptable: Direct booting of an image uploaded from an encrypted volume is unsupported."
            ),
        ),
        (
            "2.96",
            json!({"imageRef": fixed, "OS-DCF:diskConfig": "AUTO"}),
            400,
            format!("Requested image {fixed} has automatic disk resize disabled."),
        ),
        ("2.96", json!({"key_name": "nobody"}), 400, "Invalid key_name provided.".to_owned()),
        ("2.96", json!({"metadata": {"a": "", "b": ""}}), 403, "Maximum number of metadata items exceeds 1".to_owned()),
        (
            "2.56",
            json!({"personality": [{"path": "/a", "contents": "YQ=="}]}),
            403,
            "Personality file limit exceeded".to_owned(),
        ),
    ] {
        let reply = rebuild(&cloud, version, uuid, more.clone()).await;
        assert_eq!((reply.status.as_u16(), reply.message()), (status, message.as_str()), "{more}");
    }
    assert_eq!(instance(&cloud, uuid).await, before);
    rebuild(&cloud, "2.96", uuid, json!({"imageRef": "x"})).await.expect(400);
    rebuild(&cloud, "2.96", uuid, json!({"color": "red"})).await.expect(400);
}

#[tokio::test]
async fn locks_states_and_policy_are_looked_at() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    rebuild_as(&cloud, READER, "2.96", uuid, json!({})).await.expect_fault(
        403,
        "forbidden",
        "Policy doesn't allow os_compute_api:servers:rebuild to be performed.",
    );
    rebuild_as(&cloud, OTHER, "2.96", uuid, json!({})).await.expect(404);
    save(&cloud, uuid, json!({"vm_state": "shelved"})).await;
    rebuild(&cloud, "2.96", uuid, json!({})).await.expect_fault(
        409,
        "conflictingRequest",
        &format!("Cannot 'rebuild' instance {uuid} while it is in vm_state shelved"),
    );
    save(&cloud, uuid, json!({"vm_state": "error"})).await;
    cloud.post(MEMBER, "2.96", &format!("/servers/{uuid}/action"), json!({"lock": null})).await.expect(202);
    let reply = rebuild(&cloud, "2.96", uuid, json!({})).await;
    reply.expect_fault(409, "conflictingRequest", &format!("Instance {uuid} is locked"));
    cloud.post(MEMBER, "2.96", &format!("/servers/{uuid}/action"), json!({"unlock": null})).await.expect(202);
    let reply = rebuild(&cloud, "2.96", uuid, json!({})).await.expect(202);
    assert_eq!(reply.body["server"]["status"], "REBUILD");
}

#[tokio::test]
async fn of_two_rebuilds_at_the_same_time_one_is_refused() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let (one, two) = futures::join!(
        rebuild(&cloud, "2.96", uuid, json!({"name": "one"})),
        rebuild(&cloud, "2.96", uuid, json!({"name": "two"}))
    );
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409]);
    let winner = if one.status.as_u16() == 202 { "one" } else { "two" };
    assert_eq!(instance(&cloud, uuid).await.display_name.as_deref(), Some(winner));
}
