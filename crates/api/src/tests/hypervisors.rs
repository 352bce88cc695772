//! `/os-hypervisors`

use kilonova_db::services;
use serde_json::{Value, json};

use super::cloud::{ADMIN, Cloud, HOST, MEMBER, PROJECT};
use super::hosts;

fn names(body: &Value) -> Vec<&str> {
    let all = body["hypervisors"].as_array().unwrap();
    all.iter().map(|hypervisor| hypervisor["hypervisor_hostname"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn ids_are_numbers_and_from_2_53_uuids() {
    let cloud = Cloud::new().await;
    let node = hosts::node(&cloud, HOST).await;
    let old = cloud.get(ADMIN, "2.52", "/os-hypervisors").await.expect(200).body;
    let mut expected = json!({
        "id": node.id, "hypervisor_hostname": "compute1.example.org", "state": "up", "status": "enabled",
    });
    assert_eq!(old, json!({"hypervisors": [expected]}));
    expected["id"] = json!(node.uuid);
    let new = cloud.get(ADMIN, "2.53", "/os-hypervisors").await.expect(200).body;
    assert_eq!(new, json!({"hypervisors": [expected]}));
}

#[tokio::test]
async fn details_change_with_the_microversion() {
    let cloud = Cloud::new().await;
    let node = hosts::node(&cloud, HOST).await;
    let service = hosts::first_service(&cloud).await;
    let mut expected = json!({
        "id": node.id, "hypervisor_hostname": "compute1.example.org", "state": "up", "status": "enabled",
        "hypervisor_type": "QEMU", "hypervisor_version": 10_000_000, "host_ip": "192.0.2.1",
        "service": {"id": service.id, "host": HOST, "disabled_reason": null},
        "vcpus": 8, "memory_mb": 16384, "local_gb": 100, "vcpus_used": 2, "memory_mb_used": 2048, "local_gb_used": 20,
        "free_ram_mb": 14336, "free_disk_gb": 80, "current_workload": 0, "running_vms": 1,
        "disk_available_least": null, "cpu_info": "{\"arch\":\"x86_64\"}",
    });
    let at = async |version: &str| {
        let listed =
            cloud.get(ADMIN, version, "/os-hypervisors/detail").await.expect(200).body["hypervisors"][0].clone();
        let id = listed["id"].as_str().map_or_else(|| listed["id"].to_string(), str::to_owned);
        let shown = cloud.get(ADMIN, version, &format!("/os-hypervisors/{id}")).await.expect(200).body;
        assert_eq!(shown["hypervisor"], listed, "{version}");
        listed
    };
    assert_eq!(at("2.27").await, expected);
    expected["cpu_info"] = json!({"arch": "x86_64"});
    assert_eq!(at("2.28").await, expected);
    expected["id"] = json!(node.uuid);
    expected["service"]["id"] = json!(service.uuid);
    assert_eq!(at("2.53").await, expected);
    assert_eq!(at("2.87").await, expected);
    assert_eq!(
        at("2.88").await,
        json!({
            "id": node.uuid, "hypervisor_hostname": "compute1.example.org", "state": "up", "status": "enabled",
            "hypervisor_type": "QEMU", "hypervisor_version": 10_000_000, "host_ip": "192.0.2.1",
            "service": {"id": service.uuid, "host": HOST, "disabled_reason": null}, "uptime": null,
        })
    );
    hosts::set_uptime(&cloud, &node, "up 3 days").await;
    assert_eq!(at("2.88").await["uptime"], "up 3 days");
}

#[tokio::test]
async fn state_comes_from_heartbeats_and_status_from_the_service() {
    let cloud = Cloud::new().await;
    hosts::node(&cloud, "old").await;
    let service = hosts::service(&cloud, "old", "nova-compute", 61).await;
    let changes = json!({"disabled": true, "disabled_reason": "broken"});
    services::save(&cloud.db, service.id, changes.as_object().unwrap()).await.unwrap();
    let shown = cloud.get(ADMIN, "2.96", "/os-hypervisors/detail").await.expect(200).body["hypervisors"][0].clone();
    assert_eq!((&shown["state"], &shown["status"]), (&json!("down"), &json!("disabled")));
    assert_eq!(shown["service"]["disabled_reason"], "broken");
}

#[tokio::test]
async fn a_hypervisor_without_a_service_is_none() {
    let cloud = Cloud::new().await;
    let node = hosts::node(&cloud, "orphan").await;
    assert!(names(&cloud.get(ADMIN, "2.96", "/os-hypervisors").await.expect(200).body).is_empty());
    let shown = cloud.get(ADMIN, "2.96", &format!("/os-hypervisors/{}", node.uuid)).await;
    let message = format!("Hypervisor with ID '{}' could not be found.", node.uuid);
    shown.expect_fault(404, "itemNotFound", &message);
}

#[tokio::test]
async fn bad_ids_are_not_found_and_from_2_53_bad_requests() {
    let cloud = Cloud::new().await;
    for path in ["/os-hypervisors/x", "/os-hypervisors/x/uptime"] {
        let old = cloud.get(ADMIN, "2.52", path).await;
        old.expect_fault(404, "itemNotFound", "Hypervisor with ID 'x' could not be found.");
        cloud.get(ADMIN, "2.53", path).await.expect_fault(400, "badRequest", "Invalid uuid x");
    }
    let unknown = cloud.get(ADMIN, "2.52", "/os-hypervisors/99").await;
    unknown.expect_fault(404, "itemNotFound", "Hypervisor with ID '99' could not be found.");
    let uuid = uuid::Uuid::new_v4();
    let unknown = cloud.get(ADMIN, "2.96", &format!("/os-hypervisors/{uuid}")).await;
    unknown.expect_fault(404, "itemNotFound", &format!("Hypervisor with ID '{uuid}' could not be found."));
}

#[tokio::test]
async fn servers_are_shown_on_request() {
    let cloud = Cloud::new().await;
    let node = hosts::node(&cloud, HOST).await;
    let server = hosts::server(&cloud, PROJECT, "member-user", hosts::RUNNING).await;
    let expected = json!([{"name": server.name(), "uuid": server.uuid}]);
    let old = cloud.get(ADMIN, "2.52", "/os-hypervisors/compute/servers").await.expect(200).body;
    assert_eq!(old["hypervisors"][0]["servers"], expected);
    for path in ["/os-hypervisors?with_servers=true", "/os-hypervisors/detail?with_servers=1"] {
        let listed = cloud.get(ADMIN, "2.53", path).await.expect(200).body;
        assert_eq!(listed["hypervisors"][0]["servers"], expected, "{path}");
    }
    let shown = cloud.get(ADMIN, "2.53", &format!("/os-hypervisors/{}?with_servers=yes", node.uuid)).await.expect(200);
    assert_eq!(shown.body["hypervisor"]["servers"], expected);
    let without = cloud.get(ADMIN, "2.96", "/os-hypervisors").await.body;
    assert_eq!(without["hypervisors"][0].get("servers"), None);
    cloud.get(ADMIN, "2.96", "/os-hypervisors?with_servers=maybe").await.expect(400);
}

#[tokio::test]
async fn an_empty_list_of_servers_is_shown_from_2_75() {
    let cloud = Cloud::new().await;
    hosts::node(&cloud, HOST).await;
    let at = async |version: &str| {
        let body = cloud.get(ADMIN, version, "/os-hypervisors?with_servers=true").await.expect(200).body;
        body["hypervisors"][0].get("servers").cloned()
    };
    assert_eq!(at("2.74").await, None);
    assert_eq!(at("2.75").await, Some(json!([])));
    let old = cloud.get(ADMIN, "2.52", "/os-hypervisors/compute/servers").await.expect(200).body;
    assert_eq!(old["hypervisors"][0].get("servers"), None);
}

#[tokio::test]
async fn hypervisors_are_searched_by_a_part_of_their_name() {
    let cloud = Cloud::new().await;
    hosts::node(&cloud, HOST).await;
    hosts::node(&cloud, "other").await;
    hosts::service(&cloud, "other", "nova-compute", 0).await;
    let old = cloud.get(ADMIN, "2.52", "/os-hypervisors/compute1/search").await.expect(200).body;
    assert_eq!(names(&old), ["compute1.example.org"]);
    let new = cloud.get(ADMIN, "2.53", "/os-hypervisors?hypervisor_hostname_pattern=example").await.expect(200).body;
    assert_eq!(names(&new), ["compute1.example.org", "other.example.org"]);
    let message = "No hypervisor matching 'zzz' could be found.";
    cloud.get(ADMIN, "2.52", "/os-hypervisors/zzz/search").await.expect_fault(404, "itemNotFound", message);
    cloud.get(ADMIN, "2.52", "/os-hypervisors/zzz/servers").await.expect_fault(404, "itemNotFound", message);
    let pattern = "/os-hypervisors?hypervisor_hostname_pattern=zzz";
    cloud.get(ADMIN, "2.53", pattern).await.expect_fault(404, "itemNotFound", message);
    cloud.get(ADMIN, "2.53", "/os-hypervisors/compute1/search").await.expect(404);
    cloud.get(ADMIN, "2.53", "/os-hypervisors/compute1/servers").await.expect(404);
    let paged = cloud.get(ADMIN, "2.53", "/os-hypervisors?hypervisor_hostname_pattern=e&limit=1").await;
    let reason = "Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported.";
    paged.expect_fault(400, "badRequest", reason);
}

#[tokio::test]
async fn lists_are_paged_from_2_33() {
    let cloud = Cloud::new().await;
    let first = hosts::node(&cloud, HOST).await;
    hosts::node(&cloud, "other").await;
    hosts::service(&cloud, "other", "nova-compute", 0).await;
    assert_eq!(names(&cloud.get(ADMIN, "2.32", "/os-hypervisors?limit=1").await.body).len(), 2);
    let page = cloud.get(ADMIN, "2.33", "/os-hypervisors?limit=1").await.expect(200).body;
    let href = format!("http://cloud:8774/v2.1/os-hypervisors?limit=1&marker={}", first.id);
    assert_eq!(page["hypervisors_links"], json!([{"rel": "next", "href": href}]));
    let page = cloud.get(ADMIN, "2.53", "/os-hypervisors/detail?limit=1").await.expect(200).body;
    let href = format!("http://cloud:8774/v2.1/os-hypervisors/detail?limit=1&marker={}", first.uuid);
    assert_eq!(page["hypervisors_links"], json!([{"rel": "next", "href": href}]));
    let rest = cloud.get(ADMIN, "2.53", &format!("/os-hypervisors?marker={}", first.uuid)).await.expect(200).body;
    assert_eq!((names(&rest), rest.get("hypervisors_links")), (vec!["other.example.org"], None));
    cloud.get(ADMIN, "2.53", "/os-hypervisors?marker=x").await.expect_fault(400, "badRequest", "marker [x] not found");
    cloud.get(ADMIN, "2.53", "/os-hypervisors?colour=blue").await.expect(400);
}

#[tokio::test]
async fn statistics_are_sums_over_enabled_hypervisors_until_2_87() {
    let cloud = Cloud::new().await;
    hosts::node(&cloud, HOST).await;
    hosts::node(&cloud, "other").await;
    let other = hosts::service(&cloud, "other", "nova-compute", 0).await;
    let at = async || cloud.get(ADMIN, "2.87", "/os-hypervisors/statistics").await.expect(200).body;
    assert_eq!(
        at().await,
        json!({"hypervisor_statistics": {
            "count": 2, "vcpus": 16, "memory_mb": 32768, "local_gb": 200, "vcpus_used": 4, "memory_mb_used": 4096,
            "local_gb_used": 40, "free_ram_mb": 28672, "free_disk_gb": 160, "current_workload": 0, "running_vms": 2,
            "disk_available_least": 0,
        }})
    );
    services::save(&cloud.db, other.id, json!({"disabled": true}).as_object().unwrap()).await.unwrap();
    assert_eq!(at().await["hypervisor_statistics"]["vcpus"], 8);
    cloud.get(ADMIN, "2.88", "/os-hypervisors/statistics").await.expect(404);
}

#[tokio::test]
async fn uptime_is_what_the_host_says_if_it_says_something_and_is_up() {
    let cloud = Cloud::new().await;
    let node = hosts::node(&cloud, HOST).await;
    let path = format!("/os-hypervisors/{}/uptime", node.uuid);
    let silent = cloud.get(ADMIN, "2.87", &path).await;
    silent.expect_fault(501, "notImplemented", "The requested functionality is not supported.");
    hosts::set_uptime(&cloud, &node, "up 3 days").await;
    let shown = cloud.get(ADMIN, "2.87", &path).await.expect(200).body;
    assert_eq!(
        shown["hypervisor"],
        json!({"id": node.uuid, "hypervisor_hostname": "compute1.example.org", "state": "up", "status": "enabled",
            "uptime": "up 3 days"})
    );
    cloud.get(ADMIN, "2.88", &path).await.expect(404);
    let service = hosts::first_service(&cloud).await;
    services::save(&cloud.db, service.id, json!({"forced_down": true}).as_object().unwrap()).await.unwrap();
    let down = cloud.get(ADMIN, "2.87", &path).await;
    down.expect_fault(400, "badRequest", "Compute service of compute1 is unavailable at this time.");
}

#[tokio::test]
async fn hypervisors_are_for_admins() {
    let cloud = Cloud::new().await;
    for (path, rule) in [
        ("", "list"),
        ("/detail", "list-detail"),
        ("/statistics", "statistics"),
        ("/1", "show"),
        ("/1/uptime", "uptime"),
        ("/1/search", "search"),
        ("/1/servers", "servers"),
    ] {
        let reply = cloud.get(MEMBER, "2.52", &format!("/os-hypervisors{path}")).await;
        let message = format!("Policy doesn't allow os_compute_api:os-hypervisors:{rule} to be performed.");
        reply.expect_fault(403, "forbidden", &message);
    }
}
