//! What is done to a server once it is there.

use kilonova_db::workflows::{self, WorkflowKind};
use kilonova_rpcapi::compute::{GetConsoleOutput, RebootInstance, StartInstance, StopInstance, TerminateInstance};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{activate, active, address, connected, create, instance, minimal, save};

use crate::routes::{NO_RULE, ROUTES, Route, Verb};
use crate::tests::cloud::{ADMIN, Cloud, MEMBER, NOBODY, OTHER, READER, Reply};

async fn act(cloud: &Cloud, token: &str, uuid: Uuid, body: Value) -> Reply {
    cloud.post(token, "2.96", &format!("/servers/{uuid}/action"), body).await
}

#[tokio::test]
async fn stop_marks_the_server_and_tells_its_host() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let reply = act(&cloud, MEMBER, uuid, json!({"os-stop": null})).await.expect(202);
    assert_eq!(reply.body, Value::Null);
    let call = &cloud.wait_for::<StopInstance>(1).await[0];
    assert_eq!(call["instance"]["nova_object.data"]["task_state"], "powering-off");
    assert_eq!(call["clean_shutdown"], true);
    act(&cloud, MEMBER, uuid, json!({"os-stop": null})).await.expect_fault(
        409,
        "conflictingRequest",
        &format!("Cannot 'stop' instance {uuid} while it is in task_state powering-off"),
    );
    save(&cloud, uuid, json!({"vm_state": "stopped", "task_state": null, "power_state": 4})).await;
    act(&cloud, MEMBER, uuid, json!({"os-stop": null})).await.expect_fault(
        409,
        "conflictingRequest",
        &format!("Cannot 'stop' instance {uuid} while it is in vm_state stopped"),
    );
    act(&cloud, MEMBER, uuid, json!({"os-start": null})).await.expect(202);
    cloud.wait_for::<StartInstance>(1).await;
}

#[tokio::test]
async fn of_two_stops_at_the_same_time_one_is_refused() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let stop = || act(&cloud, MEMBER, uuid, json!({"os-stop": null}));
    let (one, two) = futures::join!(stop(), stop());
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409]);
    assert_eq!(cloud.wait_for::<StopInstance>(1).await.len(), 1);
}

#[tokio::test]
async fn a_hard_reboot_overtakes_a_soft_one() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    act(&cloud, MEMBER, uuid, json!({"reboot": {"type": "Soft"}})).await.expect(202);
    act(&cloud, MEMBER, uuid, json!({"reboot": {"type": "SOFT"}})).await.expect(409);
    act(&cloud, MEMBER, uuid, json!({"reboot": {"type": "hard"}})).await.expect(202);
    let calls = cloud.wait_for::<RebootInstance>(2).await;
    let mut types: Vec<&str> = calls.iter().map(|call| call["reboot_type"].as_str().unwrap()).collect();
    types.sort_unstable();
    assert_eq!(types, ["HARD", "SOFT"]);
    let shown = cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}")).await.expect(200);
    assert_eq!(shown.body["server"]["status"], "HARD_REBOOT");
}

#[tokio::test]
async fn a_server_without_a_host_is_not_ready() {
    let cloud = Cloud::new().await;
    let uuid = create(&cloud, "vm").await;
    for body in [json!({"os-stop": null}), json!({"os-start": null}), json!({"os-getConsoleOutput": {}})] {
        let reply = act(&cloud, MEMBER, uuid, body).await;
        reply.expect_fault(409, "conflictingRequest", &format!("Instance {uuid} is not ready"));
    }
    act(&cloud, MEMBER, uuid, json!({"reboot": {"type": "HARD"}})).await.expect_fault(
        409,
        "conflictingRequest",
        &format!("Cannot 'reboot' instance {uuid} while it is in vm_state building"),
    );
}

#[tokio::test]
async fn the_console_log_comes_without_control_characters() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let reply = act(&cloud, MEMBER, uuid, json!({"os-getConsoleOutput": {"length": "5"}})).await.expect(200);
    assert_eq!(reply.body, json!({"output": "hello\nlogin:"}));
    act(&cloud, MEMBER, uuid, json!({"os-getConsoleOutput": {"length": -1}})).await.expect(200);
    let lengths: Vec<Value> =
        cloud.calls::<GetConsoleOutput>().iter().map(|call| call["tail_length"].clone()).collect();
    assert_eq!(lengths, [json!(5), Value::Null]);
}

#[tokio::test]
async fn a_delete_is_a_workflow_and_a_word_to_the_host() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    cloud.delete(MEMBER, "2.96", &format!("/servers/{uuid}")).await.expect(204);
    let call = &cloud.wait_for::<TerminateInstance>(1).await[0];
    assert_eq!(call["instance"]["nova_object.data"]["task_state"], "deleting");
    assert_eq!(call["bdms"]["nova_object.data"]["objects"].as_array().unwrap().len(), 1);
    let workflow = workflows::get(&cloud.db, WorkflowKind::Delete, uuid).await.unwrap().unwrap();
    assert_eq!(workflow.step, kilonova_rpcapi::workflow::STEP_TERMINATE);
    assert!(workflow.payload["request_id"].as_str().unwrap().starts_with("req-"));
    cloud.delete(MEMBER, "2.96", &format!("/servers/{uuid}")).await.expect(204);
    let actions = cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}/os-instance-actions")).await.expect(200);
    let deletes =
        actions.body["instanceActions"].as_array().unwrap().iter().filter(|action| action["action"] == "delete");
    assert_eq!(deletes.count(), 1);
}

#[tokio::test]
async fn a_delete_before_there_is_a_host_waits_for_the_workflow_pass() {
    let cloud = Cloud::new().await;
    let uuid = create(&cloud, "vm").await;
    act(&cloud, MEMBER, uuid, json!({"forceDelete": null})).await.expect(202);
    let expired = workflows::expired(&cloud.db, kilonova_core::time::utcnow(), 10).await.unwrap();
    assert!(expired.iter().any(|workflow| workflow.kind == WorkflowKind::Delete && workflow.instance_uuid == uuid));
    assert!(cloud.calls::<TerminateInstance>().is_empty());
    kilonova_db::instances::destroy(&cloud.db, uuid).await.unwrap();
    let path = format!("/servers/{uuid}");
    let message = format!("Instance {uuid} could not be found.");
    cloud.get(MEMBER, "2.96", &path).await.expect_fault(404, "itemNotFound", &message);
    cloud.delete(MEMBER, "2.96", &path).await.expect_fault(404, "itemNotFound", &message);
    cloud.get(MEMBER, "2.20", &format!("{path}/os-instance-actions")).await.expect(404);
    cloud.get(MEMBER, "2.21", &format!("{path}/os-instance-actions")).await.expect(200);
}

#[tokio::test]
async fn another_projects_server_is_not_there() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let message = format!("Instance {uuid} could not be found.");
    let (path, action) = (format!("/servers/{uuid}"), json!({"os-stop": null}));
    for reply in [
        cloud.get(OTHER, "2.96", &path).await,
        cloud.delete(OTHER, "2.96", &path).await,
        cloud.put(OTHER, "2.96", &path, json!({"server": {"name": "mine"}})).await,
        act(&cloud, OTHER, uuid, action).await,
        cloud.get(OTHER, "2.96", &format!("{path}/tags")).await,
    ] {
        reply.expect_fault(404, "itemNotFound", &message);
    }
    assert_eq!(instance(&cloud, uuid).await.display_name.as_deref(), Some("vm"));
}

#[tokio::test]
async fn readers_look_and_nobody_else_does_anything() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let path = format!("/servers/{uuid}");
    cloud.get(READER, "2.96", &path).await.expect(200);
    for (token, what) in [(READER, "delete"), (NOBODY, "delete")] {
        cloud.delete(token, "2.96", &path).await.expect_fault(
            403,
            "forbidden",
            &format!("Policy doesn't allow os_compute_api:servers:{what} to be performed."),
        );
    }
    cloud.get(NOBODY, "2.96", &path).await.expect(403);
    cloud.get(NOBODY, "2.96", "/servers").await.expect(403);
    cloud.put(READER, "2.96", &path, json!({"server": {"name": "x"}})).await.expect(403);
    act(&cloud, MEMBER, uuid, json!({"os-resetState": {"state": "error"}})).await.expect_fault(
        403,
        "forbidden",
        "Policy doesn't allow os_compute_api:os-admin-actions:reset_state to be performed.",
    );
}

#[tokio::test]
async fn every_operation_on_a_server_asks_its_own_rule() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let mut asked = 0;
    // What this one asks depends on the address, not on the server: see `floating_ips.rs`.
    // Nor does a change of an attachment ask one rule only: see `volume_attachments.rs`.
    let is_update = |route: &Route| route.method == Verb::Put && route.path.contains("os-volume_attachments");
    let is_of_server = |route: &&Route| {
        route.path.starts_with("/servers") && route.action != Some("removeFloatingIp") && !is_update(route)
    };
    for route in ROUTES.iter().filter(is_of_server).filter(|route| route.policy != NO_RULE) {
        let path = route.path.replace("{server_id}", &uuid.to_string());
        // The first id is the server's, a second one a metadata key, a tag, a network or a request.
        let path =
            if path == route.path { path.replace("{id}", &uuid.to_string()) } else { path.replace("{id}", "key") };
        let body = match (route.method, route.action, route.path) {
            (Verb::Get | Verb::Delete, ..) | (_, _, "/servers/{server_id}/tags/{id}") => None,
            (_, _, "/servers") => Some(minimal(&cloud, "new")),
            (_, None, "/servers/{id}") => Some(json!({"server": {"name": "new"}})),
            (_, None, "/servers/{server_id}/shares") => Some(json!({"share": {"share_id": Uuid::new_v4()}})),
            (_, None, "/servers/{server_id}/tags") => Some(json!({"tags": []})),
            (_, None, "/servers/{server_id}/metadata/{id}") => Some(json!({"meta": {"key": "value"}})),
            (_, _, "/servers/{server_id}/os-interface") => Some(json!({})),
            (_, _, "/servers/{server_id}/remote-consoles") => {
                Some(json!({"remote_console": {"protocol": "vnc", "type": "novnc"}}))
            }
            (_, None, "/servers/{server_id}/os-volume_attachments") => {
                Some(json!({"volumeAttachment": {"volumeId": Uuid::new_v4()}}))
            }
            (_, None, _) => Some(json!({"metadata": {}})),
            (_, Some("addFixedIp"), _) => Some(json!({"addFixedIp": {"networkId": "1"}})),
            (_, Some(action @ ("removeFixedIp" | "addFloatingIp")), _) => {
                Some(json!({action: {"address": "10.0.0.1"}}))
            }
            (_, Some(action @ ("addSecurityGroup" | "removeSecurityGroup")), _) => Some(json!({action: {"name": "g"}})),
            (_, Some("os-getVNCConsole"), _) => Some(json!({"os-getVNCConsole": {"type": "novnc"}})),
            (_, Some("os-getSPICEConsole"), _) => Some(json!({"os-getSPICEConsole": {"type": "spice-html5"}})),
            (_, Some("os-getSerialConsole"), _) => Some(json!({"os-getSerialConsole": {"type": "serial"}})),
            (_, Some("reboot"), _) => Some(json!({"reboot": {"type": "HARD"}})),
            (_, Some("os-resetState"), _) => Some(json!({"os-resetState": {"state": "error"}})),
            (_, Some("createImage"), _) => Some(json!({"createImage": {"name": "i"}})),
            (_, Some("createBackup"), _) => {
                Some(json!({"createBackup": {"name": "i", "backup_type": "daily", "rotation": 1}}))
            }
            (_, Some("rebuild"), _) => Some(json!({"rebuild": {"imageRef": cloud.image.id}})),
            (_, Some("changePassword"), _) => Some(json!({"changePassword": {"adminPass": "secret"}})),
            (_, Some("resize"), _) => Some(json!({"resize": {"flavorRef": "2"}})),
            (_, Some("os-migrateLive"), _) => {
                Some(json!({"os-migrateLive": {"host": null, "block_migration": "auto"}}))
            }
            (_, Some("evacuate"), _) => Some(json!({"evacuate": {}})),
            (_, Some("os-getConsoleOutput"), _) => Some(json!({"os-getConsoleOutput": {}})),
            (_, Some(action), _) => Some(json!({action: null})),
        };
        let body = body.map(|body| body.to_string());
        let (method, path) = (route.method.as_str(), format!("/v2.1{path}"));
        // The last version that has it.
        let version = route.to.to_string();
        let reply = cloud.send(method, Some(NOBODY), &version, &path, body.as_deref()).await;
        let message = format!("Policy doesn't allow {} to be performed.", route.policy);
        assert_eq!((reply.status.as_u16(), reply.message()), (403, message.as_str()), "{method} {path} {body:?}");
        asked += 1;
    }
    assert!(asked > 20, "{asked}");
    assert_eq!(super::count(&cloud).await, 1);
}

#[tokio::test]
async fn a_locked_server_is_for_admins() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    act(&cloud, MEMBER, uuid, json!({"lock": {"locked_reason": "hands off"}})).await.expect(202);
    let shown = cloud.get(MEMBER, "2.73", &format!("/servers/{uuid}")).await.expect(200);
    assert_eq!(
        (&shown.body["server"]["locked"], &shown.body["server"]["locked_reason"]),
        (&json!(true), &json!("hands off"))
    );
    let message = format!("Instance {uuid} is locked");
    act(&cloud, MEMBER, uuid, json!({"os-stop": null})).await.expect_fault(409, "conflictingRequest", &message);
    cloud.delete(MEMBER, "2.96", &format!("/servers/{uuid}")).await.expect_fault(409, "conflictingRequest", &message);
    let metadata =
        cloud.post(MEMBER, "2.96", &format!("/servers/{uuid}/metadata"), json!({"metadata": {"a": "b"}})).await;
    metadata.expect_fault(409, "conflictingRequest", &message);
    act(&cloud, ADMIN, uuid, json!({"os-stop": null})).await.expect(202);
    act(&cloud, MEMBER, uuid, json!({"unlock": null})).await.expect(202);
    let shown = cloud.get(MEMBER, "2.73", &format!("/servers/{uuid}")).await.expect(200);
    assert_eq!(
        (&shown.body["server"]["locked"], &shown.body["server"]["locked_reason"]),
        (&json!(false), &Value::Null)
    );
    let actions = cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}/os-instance-actions")).await.expect(200);
    let names: Vec<&str> =
        actions.body["instanceActions"].as_array().unwrap().iter().map(|a| a["action"].as_str().unwrap()).collect();
    assert_eq!(names, ["unlock", "stop", "lock", "create"]);
}

#[tokio::test]
async fn an_admin_resets_a_state() {
    let cloud = Cloud::new().await;
    let uuid = create(&cloud, "vm").await;
    act(&cloud, ADMIN, uuid, json!({"os-resetState": {"state": "error"}})).await.expect(202);
    let stored = instance(&cloud, uuid).await;
    assert_eq!((stored.vm_state.as_str(), stored.task_state), ("error", None));
}

#[tokio::test]
async fn metadata_is_added_replaced_and_removed() {
    let cloud = Cloud::with_config("[quota]\nmetadata_items = 3\n").await;
    let uuid = create(&cloud, "vm").await;
    let path = format!("/servers/{uuid}/metadata");
    cloud.post(MEMBER, "2.96", &path, json!({"metadata": {"a": "1"}})).await.expect_fault(
        409,
        "conflictingRequest",
        &format!("Cannot 'update metadata' instance {uuid} while it is in vm_state building"),
    );
    activate(&cloud, uuid).await;
    let reply = cloud.post(MEMBER, "2.96", &path, json!({"metadata": {"a": "1", "b": "2"}})).await.expect(200);
    assert_eq!(reply.body, json!({"metadata": {"a": "1", "b": "2"}}));
    cloud.put(MEMBER, "2.96", &format!("{path}/b"), json!({"meta": {"b": "3"}})).await.expect(200);
    cloud.put(MEMBER, "2.96", &format!("{path}/b"), json!({"meta": {"c": "3"}})).await.expect_fault(
        400,
        "badRequest",
        "Request body and URI mismatch",
    );
    let too_many = json!({"metadata": {"c": "1", "d": "2"}});
    cloud.post(MEMBER, "2.96", &path, too_many).await.expect_fault(
        403,
        "forbidden",
        "Maximum number of metadata items exceeds 3",
    );
    assert_eq!(cloud.get(MEMBER, "2.96", &format!("{path}/b")).await.expect(200).body, json!({"meta": {"b": "3"}}));
    cloud.delete(MEMBER, "2.96", &format!("{path}/b")).await.expect(204);
    let gone = "Metadata item was not found";
    cloud.delete(MEMBER, "2.96", &format!("{path}/b")).await.expect_fault(404, "itemNotFound", gone);
    cloud.get(MEMBER, "2.96", &format!("{path}/b")).await.expect_fault(404, "itemNotFound", gone);
    cloud.put(MEMBER, "2.96", &path, json!({"metadata": {"z": "9"}})).await.expect(200);
    assert_eq!(cloud.get(MEMBER, "2.96", &path).await.expect(200).body, json!({"metadata": {"z": "9"}}));
}

#[tokio::test]
async fn tags_exist_since_2_26() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let path = format!("/servers/{uuid}/tags");
    cloud.get(MEMBER, "2.25", &path).await.expect(404);
    let reply = cloud.send("PUT", Some(MEMBER), "2.26", &format!("/v2.1{path}/red"), None).await.expect(201);
    assert_eq!(reply.header("location"), format!("http://cloud:8774/v2.1/servers/{uuid}/tags/red"));
    cloud.send("PUT", Some(MEMBER), "2.26", &format!("/v2.1{path}/red"), None).await.expect(204);
    cloud.send("PUT", Some(MEMBER), "2.26", &format!("/v2.1{path}/a,b"), None).await.expect(400);
    cloud.get(MEMBER, "2.26", &format!("{path}/red")).await.expect(204);
    cloud.put(MEMBER, "2.26", &path, json!({"tags": ["a", "b", "a"]})).await.expect(200);
    assert_eq!(cloud.get(MEMBER, "2.26", &path).await.expect(200).body, json!({"tags": ["a", "b"]}));
    cloud.get(MEMBER, "2.26", &format!("{path}/red")).await.expect(404);
    cloud.delete(MEMBER, "2.26", &format!("{path}/red")).await.expect_fault(
        404,
        "itemNotFound",
        &format!("Instance {uuid} has no tag 'red'"),
    );
    cloud.delete(MEMBER, "2.26", &format!("{path}/a")).await.expect(204);
    cloud.delete(MEMBER, "2.26", &path).await.expect(204);
    assert_eq!(cloud.get(MEMBER, "2.26", &path).await.expect(200).body, json!({"tags": []}));
    save(&cloud, uuid, json!({"vm_state": "error"})).await;
    cloud.put(MEMBER, "2.26", &path, json!({"tags": []})).await.expect_fault(
        409,
        "conflictingRequest",
        &format!("Cannot 'update tags' instance {uuid} while it is in vm_state error"),
    );
}

#[tokio::test]
async fn actions_show_their_events_by_persona_and_version() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let stop = act(&cloud, MEMBER, uuid, json!({"os-stop": null})).await.expect(202);
    let request_id = stop.header("x-openstack-request-id").to_owned();
    let event = "compute_stop_instance";
    kilonova_db::actions::event_start(&cloud.db, uuid, &request_id, event, Some("compute1")).await.unwrap();
    let failure = Some(("it broke".to_owned(), "trace".to_owned()));
    kilonova_db::actions::event_finish(&cloud.db, uuid, &request_id, event, failure).await.unwrap();
    let path = format!("/servers/{uuid}/os-instance-actions/{request_id}");
    let action = |reply: Reply| reply.expect(200).body["instanceAction"].clone();
    let old = action(cloud.get(MEMBER, "2.50", &path).await);
    assert!(old.get("events").is_none() && old.get("updated_at").is_none());
    let new = action(cloud.get(MEMBER, "2.96", &path).await);
    let shown = &new["events"][0];
    assert_eq!((&shown["event"], &shown["result"]), (&json!(event), &json!("Error")));
    assert!(shown.get("traceback").is_none() && shown.get("host").is_none() && shown.get("details").is_none());
    assert_eq!(shown["hostId"].as_str().unwrap().len(), 56);
    let admin = action(cloud.get(ADMIN, "2.96", &path).await);
    assert_eq!(admin["events"][0]["host"], "compute1");
    assert_eq!(admin["events"][0]["traceback"], "trace");
    assert!(admin["events"][0].get("details").is_some());
    cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}/os-instance-actions/req-none")).await.expect_fault(
        404,
        "itemNotFound",
        "Action req-none not found",
    );
    let list = format!("/servers/{uuid}/os-instance-actions?limit=1");
    let page = cloud.get(MEMBER, "2.58", &list).await.expect(200).body;
    assert_eq!(page["instanceActions"].as_array().unwrap().len(), 1);
    assert_eq!(
        page["links"][0]["href"],
        format!("http://cloud:8774/v2.1/servers/{uuid}/os-instance-actions?limit=1&marker={request_id}")
    );
    let rest = cloud
        .get(MEMBER, "2.58", &format!("/servers/{uuid}/os-instance-actions?marker={request_id}"))
        .await
        .expect(200);
    assert_eq!(rest.body["instanceActions"][0]["action"], "create");
    cloud.get(MEMBER, "2.58", &format!("/servers/{uuid}/os-instance-actions?marker=x")).await.expect_fault(
        400,
        "badRequest",
        "Marker x could not be found.",
    );
}

#[tokio::test]
async fn addresses_and_groups_have_resources_of_their_own() {
    let cloud = Cloud::new().await;
    let (uuid, vif) = connected(&cloud, "vm").await;
    let address = address(&vif);
    let ips = cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}/ips")).await.expect(200);
    assert_eq!(ips.body, json!({"addresses": {"private": [{"version": 4, "addr": address}]}}));
    let one = cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}/ips/private")).await.expect(200);
    assert_eq!(one.body, json!({"private": [{"version": 4, "addr": address}]}));
    cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}/ips/public")).await.expect_fault(
        404,
        "itemNotFound",
        "Instance is not a member of specified network",
    );
    let groups = cloud.get(MEMBER, "2.96", &format!("/servers/{uuid}/os-security-groups")).await.expect(200);
    assert_eq!(groups.body["security_groups"][0]["name"], "default");
}
