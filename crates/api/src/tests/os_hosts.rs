//! `/os-hosts`, up to 2.42.

use kilonova_objects::Aggregate;
use kilonova_rpcapi::compute::{HostMaintenanceMode, HostPowerAction, SetHostEnabled};
use serde_json::{Value, json};
use uuid::Uuid;

use super::cloud::{ADMIN, Cloud, HOST, MEMBER, OTHER_PROJECT, PROJECT};
use super::hosts::{RUNNING, first_service, node, server, service};

async fn listed(cloud: &Cloud, query: &str) -> Value {
    cloud.get(ADMIN, "2.42", &format!("/os-hosts{query}")).await.expect(200).body["hosts"].clone()
}

#[tokio::test]
async fn enabled_services_are_listed_with_their_zones() {
    let cloud = Cloud::new().await;
    service(&cloud, "control1", "nova-conductor", 0).await;
    let off = service(&cloud, "compute2", "nova-compute", 0).await;
    let disabled = json!({"disabled": true});
    kilonova_db::services::save(&cloud.db, off.id, disabled.as_object().unwrap()).await.unwrap();
    let compute = json!({"host_name": HOST, "service": "compute", "zone": "nova"});
    let conductor = json!({"host_name": "control1", "service": "conductor", "zone": "internal"});
    assert_eq!(listed(&cloud, "").await, json!([compute, conductor]));
    assert_eq!(listed(&cloud, "?zone=internal&other=x").await, json!([conductor]));
    assert_eq!(listed(&cloud, "?zone=nowhere").await, json!([]));
    let zone = Aggregate {
        uuid: Uuid::new_v4(),
        name: "east".to_owned(),
        metadata: Some([("availability_zone".to_owned(), "east".to_owned())].into()),
        ..Aggregate::default()
    };
    let id = kilonova_db::aggregates::create(&cloud.db, &zone).await.unwrap().id;
    let path = format!("/os-aggregates/{id}/action");
    cloud.post(ADMIN, "2.1", &path, json!({"add_host": {"host": HOST}})).await.expect(200);
    assert_eq!(listed(&cloud, "?zone=east").await[0]["host_name"], HOST);
}

#[tokio::test]
async fn a_host_shows_what_it_has_what_is_used_and_by_whom() {
    let cloud = Cloud::new().await;
    let path = format!("/os-hosts/{HOST}");
    cloud.get(ADMIN, "2.1", &path).await.expect_fault(
        404,
        "itemNotFound",
        &format!("Compute host {HOST} could not be found."),
    );
    node(&cloud, HOST).await;
    for project in [PROJECT, PROJECT, OTHER_PROJECT] {
        server(&cloud, project, "user", RUNNING).await;
    }
    let resource = |project: &str, cpu: i64, memory_mb: i64, disk_gb: i64| json!({"resource": {"host": HOST, "project": project, "cpu": cpu, "memory_mb": memory_mb, "disk_gb": disk_gb}});
    let shown = cloud.get(ADMIN, "2.1", &path).await.expect(200);
    assert_eq!(
        shown.body,
        json!({"host": [
            resource("(total)", 8, 16_384, 100),
            resource("(used_now)", 2, 2048, 20),
            resource("(used_max)", 6, 6144, 60),
            resource(PROJECT, 4, 4096, 40),
            resource(OTHER_PROJECT, 2, 2048, 20),
        ]})
    );
    let unknown = cloud.get(ADMIN, "2.1", "/os-hosts/nowhere").await;
    unknown.expect_fault(404, "itemNotFound", "Host 'nowhere' is not mapped to any cell");
}

#[tokio::test]
async fn the_hypervisor_is_asked_to_enable_or_disable_its_host() {
    let cloud = Cloud::new().await;
    let path = format!("/os-hosts/{HOST}");
    let both = json!({"status": "Disable", "maintenance_mode": "ENABLE"});
    let reply = cloud.put(ADMIN, "2.42", &path, both).await.expect(200);
    assert_eq!(reply.body, json!({"host": HOST, "status": "disabled", "maintenance_mode": "on_maintenance"}));
    let reply = cloud.put(ADMIN, "2.42", &path, json!({"status": "enable"})).await.expect(200);
    assert_eq!(reply.body, json!({"host": HOST, "status": "enabled"}));
    assert_eq!(cloud.calls::<SetHostEnabled>(), [json!({"enabled": false}), json!({"enabled": true})]);
    assert_eq!(cloud.calls::<HostMaintenanceMode>(), [json!({"host": HOST, "mode": true})]);
    assert!(!first_service(&cloud).await.disabled);

    let kept = cloud.put(ADMIN, "2.42", &path, json!({"maintenance_mode": "disable"})).await;
    kept.expect_fault(400, "badRequest", "there are guests");
    for body in [json!({}), json!({"status": "on"}), json!({"status": "enable", "x": 1})] {
        cloud.put(ADMIN, "2.42", &path, body).await.expect(400);
    }
    let unknown = cloud.put(ADMIN, "2.42", "/os-hosts/nowhere", json!({"status": "enable"})).await;
    unknown.expect_fault(404, "itemNotFound", "Host 'nowhere' is not mapped to any cell");
}

#[tokio::test]
async fn power_actions_are_the_hypervisors() {
    let cloud = Cloud::new().await;
    for action in ["startup", "reboot"] {
        let reply = cloud.get(ADMIN, "2.42", &format!("/os-hosts/{HOST}/{action}")).await.expect(200);
        assert_eq!(reply.body, json!({"host": HOST, "power_action": action}));
    }
    let reply = cloud.get(ADMIN, "2.42", &format!("/os-hosts/{HOST}/shutdown")).await;
    reply.expect_fault(501, "notImplemented", "The requested functionality is not supported.");
    let asked = ["startup", "reboot", "shutdown"].map(|action| json!({"action": action}));
    assert_eq!(cloud.calls::<HostPowerAction>(), asked);
    cloud.get(ADMIN, "2.42", "/os-hosts/nowhere/reboot").await.expect(404);
}

#[tokio::test]
async fn hosts_are_for_admins_and_end_with_2_42() {
    let cloud = Cloud::new().await;
    for path in ["", "/x", "/x/startup", "/x/shutdown", "/x/reboot"] {
        cloud.get(MEMBER, "2.42", &format!("/os-hosts{path}")).await.expect(403);
        cloud.get(ADMIN, "2.43", &format!("/os-hosts{path}")).await.expect(404);
    }
    cloud.put(MEMBER, "2.42", "/os-hosts/x", json!({"status": "enable"})).await.expect(403);
    cloud.put(ADMIN, "2.43", "/os-hosts/x", json!({"status": "enable"})).await.expect(404);
    assert_eq!(cloud.calls::<SetHostEnabled>(), [] as [Value; 0]);
}
