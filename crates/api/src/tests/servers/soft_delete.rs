//! Deletes that can be undone.

use kilonova_db::services;
use kilonova_db::workflows::{self, WorkflowKind};
use kilonova_rpcapi::compute::{RestoreInstance, SoftDeleteInstance, TerminateInstance};
use serde_json::{Map, json};
use uuid::Uuid;

use super::{active, create, instance, save};
use crate::tests::cloud::{ADMIN, Cloud, HOST, MEMBER, NOBODY, READER, Reply};

const CONFIG: &str = "[DEFAULT]\nreclaim_instance_interval = 3600\n";

async fn act(cloud: &Cloud, token: &str, uuid: Uuid, action: &str) -> Reply {
    cloud.post(token, "2.96", &format!("/servers/{uuid}/action"), json!({action: null})).await
}

async fn delete(cloud: &Cloud, uuid: Uuid) -> Reply {
    cloud.delete(MEMBER, "2.96", &format!("/servers/{uuid}")).await
}

/// A server that was deleted and can be restored, as its host leaves it.
async fn soft_deleted(cloud: &Cloud, name: &str) -> Uuid {
    let uuid = active(cloud, name).await;
    delete(cloud, uuid).await.expect(204);
    save(cloud, uuid, json!({"vm_state": "soft-delete", "task_state": null, "power_state": 4})).await;
    uuid
}

/// Names of the servers that are listed.
async fn listed(cloud: &Cloud, token: &str, query: &str) -> Vec<String> {
    let reply = cloud.get(token, "2.96", &format!("/servers{query}")).await.expect(200);
    let servers = reply.body["servers"].as_array().unwrap().iter();
    servers.map(|server| server["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_delete_is_left_to_the_host_and_has_no_workflow() {
    let cloud = Cloud::with_config(CONFIG).await;
    let uuid = active(&cloud, "vm").await;
    delete(&cloud, uuid).await.expect(204);
    let call = &cloud.wait_for::<SoftDeleteInstance>(1).await[0];
    assert_eq!(call["instance"]["nova_object.data"]["task_state"], "soft-deleting");
    assert_eq!(workflows::get(&cloud.db, WorkflowKind::Delete, uuid).await.unwrap(), None);
    // Once is enough.
    delete(&cloud, uuid).await.expect(204);
    let actions = cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}/os-instance-actions")).await.expect(200);
    let names: Vec<_> =
        actions.body["instanceActions"].as_array().unwrap().iter().map(|it| it["action"].clone()).collect();
    assert_eq!(names, ["delete", "create"]);
    save(&cloud, uuid, json!({"vm_state": "soft-delete", "task_state": null})).await;
    assert!(instance(&cloud, uuid).await.deleted_at.is_some());
    let shown = cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}")).await.expect(200);
    assert_eq!(shown.body["server"]["status"], "SOFT_DELETED");
    assert_eq!(cloud.calls::<SoftDeleteInstance>().len(), 1);
    assert!(cloud.calls::<TerminateInstance>().is_empty());
}

#[tokio::test]
async fn what_nobody_could_power_off_is_deleted_at_once() {
    let cloud = Cloud::with_config(CONFIG).await;
    let building = create(&cloud, "building").await;
    delete(&cloud, building).await.expect(204);
    let down = active(&cloud, "down").await;
    let service = services::get_by_host_and_binary(&cloud.db, HOST, "nova-compute").await.unwrap().unwrap();
    let changes = Map::from_iter([("forced_down".to_owned(), json!(true))]);
    services::save(&cloud.db, service.id, &changes).await.unwrap();
    delete(&cloud, down).await.expect(204);
    for uuid in [building, down] {
        assert_eq!(instance(&cloud, uuid).await.task_state.unwrap().as_str(), "deleting");
        assert!(workflows::get(&cloud.db, WorkflowKind::Delete, uuid).await.unwrap().is_some());
    }
    assert!(cloud.calls::<SoftDeleteInstance>().is_empty());
}

#[tokio::test]
async fn a_locked_server_is_not_soft_deleted_either() {
    let cloud = Cloud::with_config(CONFIG).await;
    let uuid = active(&cloud, "vm").await;
    save(&cloud, uuid, json!({"locked": true})).await;
    delete(&cloud, uuid).await.expect_fault(409, "conflictingRequest", &format!("Instance {uuid} is locked"));
    assert_eq!(instance(&cloud, uuid).await.task_state, None);
}

#[tokio::test]
async fn a_soft_deleted_server_is_restored_by_its_host() {
    let cloud = Cloud::with_config(CONFIG).await;
    let uuid = soft_deleted(&cloud, "vm").await;
    for token in [READER, NOBODY] {
        act(&cloud, token, uuid, "restore").await.expect_fault(
            403,
            "forbidden",
            "Policy doesn't allow os_compute_api:os-deferred-delete:restore to be performed.",
        );
    }
    save(&cloud, uuid, json!({"locked": true})).await;
    // Nova has no word of the lock here.
    act(&cloud, MEMBER, uuid, "restore").await.expect_fault(
        409,
        "conflictingRequest",
        &format!("Instance {uuid} is in an invalid state for 'restore'"),
    );
    save(&cloud, uuid, json!({"locked": false})).await;
    act(&cloud, MEMBER, uuid, "restore").await.expect(202);
    let call = &cloud.wait_for::<RestoreInstance>(1).await[0];
    assert_eq!(call["instance"]["nova_object.data"]["task_state"], "restoring");
    // Its time runs until it is back.
    assert!(instance(&cloud, uuid).await.deleted_at.is_some());
    save(&cloud, uuid, json!({"vm_state": "active", "task_state": null})).await;
    assert_eq!(instance(&cloud, uuid).await.deleted_at, None);
    act(&cloud, MEMBER, uuid, "restore").await.expect_fault(
        409,
        "conflictingRequest",
        &format!("Cannot 'restore' instance {uuid} while it is in vm_state active"),
    );
    let actions = cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}/os-instance-actions")).await.expect(200);
    assert_eq!(actions.body["instanceActions"][0]["action"], "restore");
}

#[tokio::test]
async fn a_soft_deleted_server_uses_nothing_and_is_restored_only_within_the_quota() {
    let cloud = Cloud::with_config(&format!("{CONFIG}[quota]\ninstances = 1\n")).await;
    let uuid = soft_deleted(&cloud, "first").await;
    active(&cloud, "second").await;
    act(&cloud, MEMBER, uuid, "restore").await.expect_fault(
        403,
        "forbidden",
        "Quota exceeded for instances: Requested 1, but already used 1 of 1 instances",
    );
    let row = instance(&cloud, uuid).await;
    assert_eq!((row.vm_state.as_str(), row.task_state), ("soft-delete", None));
    assert!(cloud.calls::<RestoreInstance>().is_empty());
}

#[tokio::test]
async fn a_soft_deleted_server_is_deleted_by_force_at_once() {
    let cloud = Cloud::with_config(CONFIG).await;
    let uuid = soft_deleted(&cloud, "vm").await;
    act(&cloud, MEMBER, uuid, "forceDelete").await.expect(202);
    let call = &cloud.wait_for::<TerminateInstance>(1).await[0];
    assert_eq!(call["instance"]["nova_object.data"]["task_state"], "deleting");
    assert!(workflows::get(&cloud.db, WorkflowKind::Delete, uuid).await.unwrap().is_some());
}

#[tokio::test]
async fn soft_deleted_servers_are_listed_to_admins_who_ask() {
    let cloud = Cloud::with_config(CONFIG).await;
    active(&cloud, "there").await;
    let gone = active(&cloud, "gone").await;
    kilonova_db::instances::destroy(&cloud.db, gone).await.unwrap();
    soft_deleted(&cloud, "soft").await;
    assert_eq!(listed(&cloud, MEMBER, "").await, ["there"]);
    assert_eq!(listed(&cloud, ADMIN, "").await, ["there"]);
    // What others than admins may not filter by is passed over.
    assert_eq!(listed(&cloud, MEMBER, "?soft_deleted=true").await, ["there"]);
    assert_eq!(listed(&cloud, MEMBER, "?status=soft_deleted").await, Vec::<String>::new());
    assert_eq!(listed(&cloud, ADMIN, "?soft_deleted=true").await, ["soft", "there"]);
    assert_eq!(listed(&cloud, ADMIN, "?deleted=true").await, ["soft", "gone"]);
    assert_eq!(listed(&cloud, ADMIN, "?deleted=true&soft_deleted=").await, ["gone"]);
    assert_eq!(listed(&cloud, ADMIN, "?status=deleted").await, ["gone"]);
    assert_eq!(listed(&cloud, MEMBER, "?changes-since=2020-01-01T00:00:00Z").await, ["soft", "gone", "there"]);
}
