//! The security groups of a server: shown, added, removed.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{active, connected};
use crate::tests::cloud::{Cloud, MEMBER, PROJECT, READER, Reply};

async fn change(cloud: &Cloud, uuid: Uuid, action: &str, name: &str) -> Reply {
    cloud.post(MEMBER, "2.96", &format!("/servers/{uuid}/action"), json!({action: {"name": name}})).await
}

/// Of the server itself, and of its own resource.
async fn groups(cloud: &Cloud, uuid: Uuid) -> (Value, Vec<Value>) {
    let server = cloud.get(READER, "2.96", &format!("/servers/{uuid}")).await.expect(200);
    let listed = cloud.get(READER, "2.96", &format!("/servers/{uuid}/os-security-groups")).await.expect(200);
    let names = listed.body["security_groups"].as_array().unwrap().iter().map(|group| group["name"].clone());
    (server.body["server"]["security_groups"].clone(), names.collect())
}

#[tokio::test]
async fn a_group_is_added_to_the_ports_of_a_server_and_removed_from_them() {
    let cloud = Cloud::new().await;
    let (uuid, _) = connected(&cloud, "vm").await;
    let web = cloud.networks.add_security_group("web", PROJECT);
    assert_eq!(groups(&cloud, uuid).await, (json!([{"name": "default"}]), vec![json!("default")]));
    for name in ["web".to_owned(), web.id.to_string()] {
        change(&cloud, uuid, "addSecurityGroup", &name).await.expect(202);
    }
    let both = json!([{"name": "default"}, {"name": "web"}]);
    assert_eq!(groups(&cloud, uuid).await, (both, vec![json!("default"), json!("web")]));
    change(&cloud, uuid, "removeSecurityGroup", "default").await.expect(202);
    assert_eq!(groups(&cloud, uuid).await, (json!([{"name": "web"}]), vec![json!("web")]));
    let message = format!("Security group default not associated with the instance {uuid}");
    change(&cloud, uuid, "removeSecurityGroup", "default").await.expect_fault(404, "itemNotFound", &message);
}

#[tokio::test]
async fn a_group_must_be_one_and_the_server_must_take_it() {
    let cloud = Cloud::new().await;
    let (uuid, _) = connected(&cloud, "vm").await;
    for action in ["addSecurityGroup", "removeSecurityGroup"] {
        let message = format!("Security group nothing is not found for project {PROJECT}");
        change(&cloud, uuid, action, "nothing").await.expect_fault(404, "itemNotFound", &message);
        change(&cloud, uuid, action, " ").await.expect_fault(400, "badRequest", "Security group name cannot be empty");
        change(&cloud, uuid, action, "").await.expect(400);
    }
    cloud.networks.add_security_group("twin", PROJECT);
    cloud.networks.add_security_group("twin", PROJECT);
    let message = "Multiple security_group matches found for name 'twin', use an ID to be more specific.";
    change(&cloud, uuid, "addSecurityGroup", "twin").await.expect_fault(409, "conflictingRequest", message);
    let alone = active(&cloud, "alone").await;
    let message = format!("instance_id {alone} could not be found as device id on any ports");
    change(&cloud, alone, "addSecurityGroup", "default").await.expect_fault(404, "itemNotFound", &message);
    cloud.networks.disable_port_security(cloud.network.id);
    let message = "Network requires port_security_enabled and subnet associated in order to apply security groups.";
    change(&cloud, uuid, "addSecurityGroup", "default").await.expect_fault(400, "badRequest", message);
}
