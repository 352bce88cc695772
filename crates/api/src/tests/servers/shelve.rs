//! `shelve`, `shelveOffload`, `unshelve`

use kilonova_db::workflows::{self, WorkflowKind};
use kilonova_db::{compute_nodes, request_specs};
use kilonova_objects::ComputeNode;
use kilonova_rpcapi::compute::{ShelveInstance, ShelveOffloadInstance, TerminateInstance};
use kilonova_rpcapi::conductor::UnshelveInstance;
use kilonova_rpcapi::workflow::UnshelvePayload;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{active, instance, save};
use crate::tests::cloud::{ADMIN, Cloud, HOST, MEMBER, OTHER, READER, Reply};

async fn act(cloud: &Cloud, token: &str, version: &str, uuid: Uuid, body: Value) -> Reply {
    cloud.post(token, version, &format!("/servers/{uuid}/action"), body).await
}

async fn unshelve(cloud: &Cloud, token: &str, version: &str, uuid: Uuid, to: Value) -> Reply {
    act(cloud, token, version, uuid, json!({"unshelve": to})).await
}

/// A server without a host.
async fn offloaded(cloud: &Cloud) -> Uuid {
    let uuid = active(cloud, "vm").await;
    save(cloud, uuid, json!({"vm_state": "shelved_offloaded", "host": null, "node": null})).await;
    uuid
}

async fn payload(cloud: &Cloud, uuid: Uuid) -> UnshelvePayload {
    let workflow = workflows::get(&cloud.db, WorkflowKind::Unshelve, uuid).await.unwrap().unwrap();
    UnshelvePayload::from_value(&workflow.payload).unwrap()
}

#[tokio::test]
async fn a_shelve_makes_an_image_marks_the_server_and_tells_its_host() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let reply = act(&cloud, MEMBER, "2.96", uuid, json!({"shelve": null})).await.expect(202);
    assert_eq!(reply.body, Value::Null);
    let image = cloud.images.all().into_iter().find(|image| image.id != cloud.image.id).unwrap();
    assert_eq!((image.name.as_deref(), image.properties["image_type"].as_str()), (Some("vm-shelved"), "snapshot"));
    let call = &cloud.wait_for::<ShelveInstance>(1).await[0];
    assert_eq!((&call["image_id"], &call["clean_shutdown"]), (&json!(image.id), &json!(true)));
    assert_eq!(call["instance"]["nova_object.data"]["task_state"], "shelving");
    let row = instance(&cloud, uuid).await;
    assert_eq!(row.system_metadata["image_base_image_ref"], Some(cloud.image.id.to_string()));
    act(&cloud, MEMBER, "2.96", uuid, json!({"shelve": null})).await.expect_fault(
        409,
        "conflictingRequest",
        &format!("Cannot 'shelve' instance {uuid} while it is in task_state shelving"),
    );
    let actions = cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}/os-instance-actions")).await.expect(200);
    assert_eq!(actions.body["instanceActions"][0]["action"], "shelve");
    assert_eq!(cloud.images.all().len(), 2);
}

#[tokio::test]
async fn only_admins_offload_and_only_what_is_shelved() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let body = json!({"shelveOffload": null});
    act(&cloud, ADMIN, "2.96", uuid, body.clone()).await.expect_fault(
        409,
        "conflictingRequest",
        &format!("Cannot 'shelveOffload' instance {uuid} while it is in vm_state active"),
    );
    save(&cloud, uuid, json!({"vm_state": "shelved"})).await;
    let message = "Policy doesn't allow os_compute_api:os-shelve:shelve_offload to be performed.";
    act(&cloud, MEMBER, "2.96", uuid, body.clone()).await.expect_fault(403, "forbidden", message);
    act(&cloud, ADMIN, "2.96", uuid, body).await.expect(202);
    let call = &cloud.wait_for::<ShelveOffloadInstance>(1).await[0];
    assert_eq!(call["instance"]["nova_object.data"]["task_state"], "shelving_offloading");
}

#[tokio::test]
async fn locks_and_policy_are_looked_at() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    for action in ["shelve", "unshelve"] {
        let message = format!("Policy doesn't allow os_compute_api:os-shelve:{action} to be performed.");
        act(&cloud, READER, "2.96", uuid, json!({action: null})).await.expect_fault(403, "forbidden", &message);
        act(&cloud, OTHER, "2.96", uuid, json!({action: null})).await.expect(404);
    }
    act(&cloud, MEMBER, "2.96", uuid, json!({"lock": null})).await.expect(202);
    for action in ["shelve", "unshelve"] {
        let reply = act(&cloud, MEMBER, "2.96", uuid, json!({action: null})).await;
        reply.expect_fault(409, "conflictingRequest", &format!("Instance {uuid} is locked"));
    }
    assert_eq!(cloud.images.all().len(), 1);
}

#[tokio::test]
async fn an_unshelve_is_a_workflow_and_a_word_to_a_conductor() {
    let cloud = Cloud::new().await;
    let uuid = offloaded(&cloud).await;
    unshelve(&cloud, MEMBER, "2.76", uuid, json!(null)).await.expect(202);
    let call = &cloud.wait_for::<UnshelveInstance>(1).await[0];
    assert_eq!(call["instance"]["nova_object.data"]["task_state"], "unshelving");
    assert_eq!(call["request_spec"]["nova_object.data"]["instance_uuid"], json!(uuid));
    let payload = payload(&cloud, uuid).await;
    assert_eq!((payload.host, payload.context.auth_token), (None, None));
    unshelve(&cloud, MEMBER, "2.76", uuid, json!(null)).await.expect_fault(
        409,
        "conflictingRequest",
        &format!("Cannot 'unshelve' instance {uuid} while it is in task_state unshelving"),
    );
    let running = active(&cloud, "running").await;
    unshelve(&cloud, MEMBER, "2.96", running, json!(null)).await.expect_fault(
        409,
        "conflictingRequest",
        &format!("Cannot 'unshelve' instance {running} while it is in vm_state active"),
    );
}

#[tokio::test]
async fn a_zone_can_be_asked_for_since_2_77_and_given_up_since_2_91() {
    let cloud = Cloud::new().await;
    let uuid = offloaded(&cloud).await;
    let zone = json!({"availability_zone": "nova"});
    for (version, to) in
        [("2.77", json!({})), ("2.77", json!({"availability_zone": null})), ("2.90", json!({"host": HOST}))]
    {
        unshelve(&cloud, MEMBER, version, uuid, to).await.expect(400);
    }
    unshelve(&cloud, MEMBER, "2.77", uuid, json!({"availability_zone": "moon"})).await.expect_fault(
        400,
        "badRequest",
        "The requested availability zone is not available",
    );
    unshelve(&cloud, MEMBER, "2.77", uuid, zone.clone()).await.expect(202);
    assert_eq!(request_specs::get(&cloud.db, uuid).await.unwrap().availability_zone.as_deref(), Some("nova"));
    let shown = || async { cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}")).await.expect(200).body };
    assert_eq!(shown().await["server"]["pinned_availability_zone"], "nova");
    save(&cloud, uuid, json!({"task_state": null})).await;
    unshelve(&cloud, MEMBER, "2.91", uuid, json!({"availability_zone": null})).await.expect(202);
    assert_eq!(request_specs::get(&cloud.db, uuid).await.unwrap().availability_zone, None);
    assert_eq!(shown().await["server"]["pinned_availability_zone"], Value::Null);

    // Before 2.77 the body is not looked at.
    let uuid = offloaded(&cloud).await;
    unshelve(&cloud, MEMBER, "2.76", uuid, json!({"availability_zone": "moon"})).await.expect(202);

    let shelved = active(&cloud, "shelved").await;
    save(&cloud, shelved, json!({"vm_state": "shelved"})).await;
    unshelve(&cloud, MEMBER, "2.77", shelved, zone).await.expect_fault(
        409,
        "conflictingRequest",
        &format!(
            "Specifying an availability zone or a host when unshelving server \"{shelved}\" with status \"shelved\" is \
             not supported. The server status must be SHELVED_OFFLOADED."
        ),
    );
}

#[tokio::test]
async fn of_two_unshelves_at_the_same_time_one_happens_and_its_zone_counts() {
    let cloud = Cloud::new().await;
    for _ in 0..10 {
        let uuid = offloaded(&cloud).await;
        let mut spec = request_specs::get(&cloud.db, uuid).await.unwrap();
        spec.availability_zone = Some("before".to_owned());
        request_specs::save(&cloud.db, &spec).await.unwrap();
        let to = |zone: Value| unshelve(&cloud, MEMBER, "2.91", uuid, json!({"availability_zone": zone}));
        let (any, nova) = futures::join!(to(Value::Null), to(json!("nova")));
        let expected = match (any.status.as_u16(), nova.status.as_u16()) {
            (202, 409) => None,
            (409, 202) => Some("nova"),
            other => panic!("{other:?}"),
        };
        assert_eq!(request_specs::get(&cloud.db, uuid).await.unwrap().availability_zone.as_deref(), expected);
    }
    assert_eq!(cloud.wait_for::<UnshelveInstance>(10).await.len(), 10);
}

#[tokio::test]
async fn an_admin_names_the_host_since_2_91() {
    let cloud = Cloud::new().await;
    let uuid = offloaded(&cloud).await;
    let to = json!({"host": HOST});
    let message = "Policy doesn't allow os_compute_api:os-shelve:unshelve_to_host to be performed.";
    unshelve(&cloud, MEMBER, "2.91", uuid, to.clone()).await.expect_fault(403, "forbidden", message);
    unshelve(&cloud, ADMIN, "2.91", uuid, to.clone()).await.expect_fault(
        400,
        "badRequest",
        &format!("Compute host {HOST} could not be found."),
    );
    let node = ComputeNode { uuid: Uuid::new_v4(), host: Some(HOST.to_owned()), ..ComputeNode::default() };
    compute_nodes::create(&cloud.db, &node).await.unwrap();
    let mut spec = request_specs::get(&cloud.db, uuid).await.unwrap();
    spec.availability_zone = Some("elsewhere".to_owned());
    request_specs::save(&cloud.db, &spec).await.unwrap();
    unshelve(&cloud, ADMIN, "2.91", uuid, to).await.expect_fault(
        409,
        "conflictingRequest",
        &format!("Host \"{HOST}\" is not in the availability zone \"elsewhere\"."),
    );
    unshelve(&cloud, ADMIN, "2.91", uuid, json!({"host": HOST, "availability_zone": "nova"})).await.expect(202);
    assert_eq!(payload(&cloud, uuid).await.host.as_deref(), Some(HOST));
}

#[tokio::test]
async fn the_image_of_a_shelved_server_goes_with_it() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    act(&cloud, MEMBER, "2.96", uuid, json!({"shelve": null})).await.expect(202);
    let image = cloud.images.all().into_iter().find(|image| image.id != cloud.image.id).unwrap();
    save(
        &cloud,
        uuid,
        json!({
            "vm_state": "shelved", "task_state": null, "system_metadata": {"shelved_image_id": image.id},
        }),
    )
    .await;
    cloud.delete(MEMBER, "2.96", &format!("/servers/{uuid}")).await.expect(204);
    cloud.wait_for::<TerminateInstance>(1).await;
    assert_eq!(cloud.images.get(image.id), None);
}
