//! `createImage` and `createBackup`

use kilonova_clients::image::Image;
use kilonova_rpcapi::compute::{BackupInstance, SnapshotInstance};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{active, instance, save};
use crate::tests::cloud::{ADMIN, Cloud, MEMBER, OTHER, OTHER_PROJECT, PROJECT, READER, Reply};

async fn act(cloud: &Cloud, token: &str, version: &str, uuid: Uuid, body: Value) -> Reply {
    cloud.post(token, version, &format!("/servers/{uuid}/action"), body).await
}

fn create_image() -> Value {
    json!({"createImage": {"name": "snap", "metadata": {"mine": "yes"}}})
}

fn create_backup(rotation: Value) -> Value {
    json!({"createBackup": {"name": "b", "backup_type": "daily", "rotation": rotation}})
}

/// The images that were made for servers.
fn made(cloud: &Cloud) -> Vec<Image> {
    cloud.images.all().into_iter().filter(|image| image.id != cloud.image.id).collect()
}

#[tokio::test]
async fn an_image_is_made_the_server_marked_and_its_host_told() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let reply = act(&cloud, MEMBER, "2.45", uuid, create_image()).await.expect(202);
    let image = made(&cloud).remove(0);
    assert_eq!(reply.body, json!({"image_id": image.id}));
    assert_eq!(reply.header("location"), "");
    assert_eq!(
        (image.name.as_deref(), image.status.as_str(), image.visibility.as_str()),
        (Some("snap"), "queued", "private")
    );
    assert_eq!((image.disk_format.as_deref(), image.min_disk), (None, 1));
    for (name, value) in [
        ("instance_uuid", uuid.to_string()),
        ("image_type", "snapshot".to_owned()),
        ("user_id", instance(&cloud, uuid).await.user_id.unwrap()),
        ("base_image_ref", cloud.image.id.to_string()),
        ("mine", "yes".to_owned()),
    ] {
        assert_eq!(image.properties[name], value, "{name}");
    }
    let call = &cloud.wait_for::<SnapshotInstance>(1).await[0];
    assert_eq!(call["image_id"], json!(image.id));
    assert_eq!(call["instance"]["nova_object.data"]["task_state"], "image_snapshot_pending");
    let actions = cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}/os-instance-actions")).await.expect(200);
    assert_eq!(actions.body["instanceActions"][0]["action"], "createImage");
    act(&cloud, MEMBER, "2.45", uuid, create_image()).await.expect_fault(
        409,
        "conflictingRequest",
        &format!("Cannot 'createImage' instance {uuid} while it is in task_state image_snapshot_pending"),
    );
    assert_eq!(made(&cloud).len(), 1);
}

#[tokio::test]
async fn up_to_2_44_the_image_is_named_by_its_address() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let reply = act(&cloud, MEMBER, "2.44", uuid, create_image()).await.expect(202);
    let image = made(&cloud).remove(0);
    assert_eq!(reply.body, Value::Null);
    assert!(reply.header("location").ends_with(&format!("/images/{}", image.id)), "{}", reply.header("location"));
    save(&cloud, uuid, json!({"task_state": null})).await;
    let reply = act(&cloud, MEMBER, "2.44", uuid, create_backup(json!("1"))).await.expect(202);
    let backup = made(&cloud).remove(1);
    assert_eq!(reply.header("location"), format!("http://cloud:8774/v2.1/images/{}", backup.id));
    save(&cloud, uuid, json!({"task_state": null})).await;
    let reply = act(&cloud, MEMBER, "2.44", uuid, create_backup(json!(0))).await.expect(202);
    assert_eq!(reply.header("location"), "", "a backup that is deleted at once");
}

#[tokio::test]
async fn a_backup_has_its_type_and_the_formats_of_its_image() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let reply = act(&cloud, MEMBER, "2.96", uuid, create_backup(json!(2))).await.expect(202);
    let image = made(&cloud).remove(0);
    assert_eq!(reply.body, json!({"image_id": image.id}));
    assert_eq!(
        (image.properties["image_type"].as_str(), image.properties["backup_type"].as_str()),
        ("backup", "daily")
    );
    assert_eq!(image.disk_format.as_deref(), Some("raw"));
    let call = &cloud.wait_for::<BackupInstance>(1).await[0];
    assert_eq!((&call["backup_type"], &call["rotation"]), (&json!("daily"), &json!(2)));
    assert_eq!(instance(&cloud, uuid).await.task_state.unwrap().as_str(), "image_backup");
}

#[tokio::test]
async fn a_locked_server_is_copied_and_one_in_a_wrong_state_is_not() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    act(&cloud, MEMBER, "2.96", uuid, json!({"lock": null})).await.expect(202);
    act(&cloud, MEMBER, "2.96", uuid, create_image()).await.expect(202);
    save(&cloud, uuid, json!({"task_state": null, "vm_state": "error"})).await;
    for (action, body) in [("createImage", create_image()), ("createBackup", create_backup(json!(1)))] {
        act(&cloud, MEMBER, "2.96", uuid, body).await.expect_fault(
            409,
            "conflictingRequest",
            &format!("Cannot '{action}' instance {uuid} while it is in vm_state error"),
        );
    }
    assert_eq!(made(&cloud).len(), 1);
}

#[tokio::test]
async fn of_two_at_the_same_time_one_is_refused_and_leaves_no_image() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let ask = || act(&cloud, MEMBER, "2.96", uuid, create_image());
    let (one, two) = futures::join!(ask(), ask());
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409]);
    assert_eq!(made(&cloud).len(), 1);
}

#[tokio::test]
async fn up_to_2_38_the_metadata_of_an_image_are_under_the_quota() {
    let cloud = Cloud::with_config("[quota]\nmetadata_items = 3\n").await;
    let uuid = active(&cloud, "vm").await;
    let many = json!({"a": "", "b": "", "c": "", "d": ""});
    let image = json!({"createImage": {"name": "i", "metadata": many}});
    let mut backup = create_backup(json!(1));
    backup["createBackup"]["metadata"] = many;
    for body in [image.clone(), backup] {
        let reply = act(&cloud, MEMBER, "2.38", uuid, body).await;
        reply.expect_fault(403, "forbidden", "Image metadata limit exceeded");
    }
    act(&cloud, MEMBER, "2.39", uuid, image).await.expect(202);
}

#[tokio::test]
async fn an_admin_shares_the_image_of_anothers_server_with_its_owner() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    save(&cloud, uuid, json!({"project_id": OTHER_PROJECT})).await;
    act(&cloud, ADMIN, "2.96", uuid, create_image()).await.expect(202);
    let image = made(&cloud).remove(0);
    assert_eq!((image.visibility.as_str(), image.owner.as_deref()), ("shared", Some(PROJECT)));
    assert_eq!(image.properties["instance_owner"], OTHER_PROJECT);
}

#[tokio::test]
async fn readers_and_other_projects_make_no_images() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    for (rule, body) in [("servers:create_image", create_image()), ("os-create-backup", create_backup(json!(1)))] {
        let message = format!("Policy doesn't allow os_compute_api:{rule} to be performed.");
        act(&cloud, READER, "2.96", uuid, body.clone()).await.expect_fault(403, "forbidden", &message);
        act(&cloud, OTHER, "2.96", uuid, body).await.expect(404);
    }
    assert_eq!(made(&cloud), []);
}

#[tokio::test]
async fn what_is_no_request_for_an_image_is_refused() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    for body in [
        json!({"createImage": {}}),
        json!({"createImage": {"name": ""}}),
        json!({"createImage": {"name": "i", "metadata": {"a": 1}}}),
        json!({"createBackup": {"name": "b", "backup_type": "daily"}}),
        json!({"createBackup": {"name": "b", "backup_type": "daily", "rotation": -1}}),
        json!({"createBackup": {"name": "b", "backup_type": 1, "rotation": 1}}),
    ] {
        act(&cloud, MEMBER, "2.96", uuid, body).await.expect(400);
    }
}
