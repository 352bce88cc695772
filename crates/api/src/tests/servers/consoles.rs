//! Consoles that one connects to, and what a proxy asks about them.

use kilonova_db::console_auth_tokens;
use kilonova_objects::ConsoleAuthToken;
use kilonova_rpcapi::compute::{GetMksConsole, GetSerialConsole, GetSpiceConsole, GetVncConsole};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{active, create, save};
use crate::tests::cloud::{ADMIN, Cloud, MEMBER, NOBODY, OTHER, READER};

const MALFORMED: &str =
    "The server could not comply with the request since it is either malformed or otherwise incorrect.";

fn console(protocol: &str, kind: &str) -> Value {
    json!({"remote_console": {"protocol": protocol, "type": kind}})
}

#[tokio::test]
async fn remote_consoles_exist_since_2_6_and_mks_since_2_8() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let path = format!("/servers/{uuid}/remote-consoles");
    cloud.post(MEMBER, "2.5", &path, console("vnc", "novnc")).await.expect(404);
    for (protocol, kind) in [("vnc", "novnc"), ("spice", "spice-html5"), ("serial", "serial")] {
        let reply = cloud.post(MEMBER, "2.6", &path, console(protocol, kind)).await.expect(200);
        let expected = json!({"protocol": protocol, "type": kind, "url": "http://proxy/?token=t"});
        assert_eq!(reply.body, json!({"remote_console": expected}));
    }
    cloud.post(MEMBER, "2.7", &path, console("mks", "webmks")).await.expect(400);
    cloud.post(MEMBER, "2.8", &path, console("mks", "webmks")).await.expect(200);
    cloud.post(MEMBER, "2.96", &path, console("spice", "spice-direct")).await.expect(400);
    cloud.post(MEMBER, "2.96", &path, console("rdp", "rdp-html5")).await.expect_fault(400, "badRequest", MALFORMED);
    assert_eq!(cloud.calls::<GetVncConsole>()[0]["console_type"], "novnc");
    assert_eq!(cloud.calls::<GetSpiceConsole>().len() + cloud.calls::<GetSerialConsole>().len(), 2);
    assert_eq!(cloud.calls::<GetMksConsole>().len(), 1);
    cloud.post(READER, "2.6", &path, console("vnc", "novnc")).await.expect(403);
    cloud.post(OTHER, "2.6", &path, console("vnc", "novnc")).await.expect(404);
}

#[tokio::test]
async fn each_kind_of_console_had_an_action_until_2_5() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let path = format!("/servers/{uuid}/action");
    for (action, kind) in
        [("os-getVNCConsole", "novnc"), ("os-getSPICEConsole", "spice-html5"), ("os-getSerialConsole", "serial")]
    {
        let body = json!({action: {"type": kind}});
        let reply = cloud.post(MEMBER, "2.5", &path, body.clone()).await.expect(200);
        assert_eq!(reply.body, json!({"console": {"type": kind, "url": "http://proxy/?token=t"}}));
        cloud.post(MEMBER, "2.6", &path, body).await.expect(404);
        cloud.post(NOBODY, "2.5", &path, json!({action: {"type": kind}})).await.expect(403);
        cloud.post(MEMBER, "2.5", &path, json!({action: {"type": "telex"}})).await.expect(400);
    }
    let rdp = cloud.post(MEMBER, "2.5", &path, json!({"os-getRDPConsole": {"type": "rdp-html5"}})).await;
    rdp.expect_fault(400, "badRequest", MALFORMED);
}

#[tokio::test]
async fn why_there_is_no_console_is_said() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let path = format!("/servers/{uuid}/remote-consoles");
    let ask = async || cloud.post(MEMBER, "2.96", &path, console("vnc", "novnc")).await;
    for (class, status, name) in [
        ("ConsoleTypeUnavailable", 400, "badRequest"),
        ("ConsoleTypeInvalid", 400, "badRequest"),
        ("InstanceNotFound", 404, "itemNotFound"),
        ("InstanceNotReady", 409, "conflictingRequest"),
    ] {
        cloud.raise::<GetVncConsole>(class, "in these words");
        ask().await.expect_fault(status, name, "in these words");
    }
    cloud.raise::<GetVncConsole>("NotImplementedError", "not by this driver");
    let message = "The requested functionality is not supported.";
    ask().await.expect_fault(501, "notImplemented", message);
    for task in ["deleting", "migrating"] {
        save(&cloud, uuid, json!({"task_state": task})).await;
        let message = format!("Cannot 'get_vnc_console' instance {uuid} while it is in task_state {task}");
        ask().await.expect_fault(409, "conflictingRequest", &message);
    }
    let young = create(&cloud, "young").await;
    let message = format!("Instance {young} is not ready");
    let reply = cloud.post(MEMBER, "2.6", &format!("/servers/{young}/remote-consoles"), console("vnc", "novnc")).await;
    reply.expect_fault(409, "conflictingRequest", &message);
}

#[tokio::test]
async fn a_proxy_learns_what_a_token_permits_until_it_ends() {
    let cloud = Cloud::new().await;
    let uuid = Uuid::new_v4();
    let console = ConsoleAuthToken {
        console_type: "novnc".to_owned(),
        host: "host1".to_owned(),
        port: 5900,
        instance_uuid: uuid,
        ..ConsoleAuthToken::default()
    };
    let token = console_auth_tokens::authorize(&cloud.db, &console, 60).await.unwrap().token;
    let path = format!("/os-console-auth-tokens/{token}");
    let shown = cloud.get(ADMIN, "2.31", &path).await.expect(200);
    let expected = json!({"instance_uuid": uuid, "host": "host1", "port": 5900, "internal_access_path": null});
    assert_eq!(shown.body, json!({"console": expected}));
    cloud.get(ADMIN, "2.30", &path).await.expect_fault(400, "badRequest", MALFORMED);
    cloud.get(MEMBER, "2.31", &path).await.expect(403);
    let over = console_auth_tokens::authorize(&cloud.db, &console, 0).await.unwrap().token;
    for wrong in [over.as_str(), "nonsense"] {
        let reply = cloud.get(ADMIN, "2.96", &format!("/os-console-auth-tokens/{wrong}")).await;
        reply.expect_fault(404, "itemNotFound", "Token not found");
    }
}
