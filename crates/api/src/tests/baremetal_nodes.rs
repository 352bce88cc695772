//! `/os-baremetal-nodes`

use serde_json::json;

use super::cloud::{ADMIN, Cloud, MEMBER};

#[tokio::test]
async fn looking_is_501_without_a_bare_metal_service_and_for_admins() {
    let cloud = Cloud::new().await;
    for path in ["/os-baremetal-nodes", "/os-baremetal-nodes/058d27fa-241b-445a-a386-08c04f96db43"] {
        let reply = cloud.get(ADMIN, "2.35", path).await;
        reply.expect_fault(501, "notImplemented", "The requested functionality is not supported.");
        cloud.get(MEMBER, "2.35", path).await.expect(403);
        cloud.get(ADMIN, "2.36", path).await.expect(404);
    }
}

#[tokio::test]
async fn commands_are_left_to_ironics_own_tools() {
    let cloud = Cloud::new().await;
    let path = "/os-baremetal-nodes";
    let one = format!("{path}/1");
    let sentence =
        |command: &str| format!("Command not supported. Please use Ironic command {command} to perform this action.");
    let created = cloud.post(MEMBER, "2.35", path, json!({"node": {}})).await;
    created.expect_fault(400, "badRequest", &sentence("node-create"));
    cloud.delete(MEMBER, "2.35", &one).await.expect_fault(400, "badRequest", &sentence("node-delete"));
    for (action, command) in [("add_interface", "port-create"), ("remove_interface", "port-delete")] {
        let reply = cloud.post(MEMBER, "2.35", &format!("{one}/action"), json!({action: {}})).await;
        reply.expect_fault(400, "badRequest", &sentence(command));
    }
    cloud.post(MEMBER, "2.36", path, json!({"node": {}})).await.expect(404);
}
