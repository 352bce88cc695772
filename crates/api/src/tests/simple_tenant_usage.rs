//! `/os-simple-tenant-usage`

use kilonova_core::time::strtime;
use kilonova_db::instances;
use serde_json::{Value, json};

use super::cloud::{ADMIN, Cloud, MEMBER, OTHER, OTHER_PROJECT, PROJECT, READER};
use super::hosts::{self, RUNNING, Ran, hours_ago};

const USAGE: &str = "/os-simple-tenant-usage";

/// The last `hours` hours.
fn last(hours: i64) -> String {
    format!("start={}", strtime(hours_ago(hours)))
}

/// Hours to a minute.
fn near(value: &Value, expected: f64) -> bool {
    (value.as_f64().unwrap() - expected).abs() < expected.max(1.0) / 60.0
}

#[tokio::test]
async fn hours_are_summed_by_project() {
    let cloud = Cloud::new().await;
    let server = hosts::server(&cloud, PROJECT, "member-user", RUNNING).await;
    hosts::server(&cloud, PROJECT, "member-user", Ran { launched: Some(10), ..RUNNING }).await;
    hosts::server(&cloud, OTHER_PROJECT, "other-user", RUNNING).await;
    hosts::server(&cloud, OTHER_PROJECT, "other-user", Ran { launched: None, ..RUNNING }).await;
    let usages = cloud.get(ADMIN, "2.39", &format!("{USAGE}?{}", last(2))).await.expect(200).body;
    let usages = usages["tenant_usages"].as_array().unwrap().clone();
    let projects: Vec<&Value> = usages.iter().map(|usage| &usage["tenant_id"]).collect();
    assert_eq!(projects, [PROJECT, OTHER_PROJECT]);
    assert!(near(&usages[0]["total_hours"], 3.0) && near(&usages[1]["total_hours"], 1.0), "{usages:?}");
    assert!(near(&usages[0]["total_vcpus_usage"], 6.0) && near(&usages[0]["total_memory_mb_usage"], 6144.0));
    assert!(near(&usages[0]["total_local_gb_usage"], 60.0));
    assert_eq!(usages[0].get("server_usages"), None);
    let detailed = cloud.get(ADMIN, "2.39", &format!("{USAGE}?detailed=1&{}", last(2))).await.expect(200).body;
    let servers = detailed["tenant_usages"][0]["server_usages"].as_array().unwrap().clone();
    let one = servers.iter().find(|one| one["instance_id"] == json!(server.uuid)).unwrap();
    assert!(near(&one["hours"], 1.0) && near(&one["uptime"], 3600.0), "{one}");
    for (name, value) in [
        ("flavor", json!("m1.small")),
        ("name", json!("a server")),
        ("state", json!("active")),
        ("tenant_id", json!(PROJECT)),
        ("vcpus", json!(2)),
        ("memory_mb", json!(2048)),
        ("local_gb", json!(20)),
        ("ended_at", Value::Null),
        ("started_at", json!(strtime(server.launched_at.unwrap()))),
    ] {
        assert_eq!(one[name], value, "{name}");
    }
}

#[tokio::test]
async fn servers_that_ended_in_the_period_count_and_those_before_do_not() {
    let cloud = Cloud::new().await;
    let ended =
        hosts::server(&cloud, PROJECT, "member-user", Ran { launched: Some(3), terminated: Some(1), ..RUNNING }).await;
    let before =
        hosts::server(&cloud, PROJECT, "member-user", Ran { launched: Some(9), terminated: Some(8), ..RUNNING }).await;
    let gone = hosts::server(&cloud, PROJECT, "member-user", RUNNING).await;
    instances::destroy(&cloud.db, gone.uuid).await.unwrap();
    let usage = cloud.get(READER, "2.96", &format!("{USAGE}/{PROJECT}?{}", last(5))).await.expect(200).body;
    let servers = usage["tenant_usage"]["server_usages"].as_array().unwrap().clone();
    let ids: Vec<&Value> = servers.iter().map(|one| &one["instance_id"]).collect();
    assert_eq!(ids.len(), 2);
    assert!(
        ids.contains(&&json!(ended.uuid)) && ids.contains(&&json!(gone.uuid)) && !ids.contains(&&json!(before.uuid))
    );
    assert!(servers.iter().all(|one| one["state"] == "terminated" && one["ended_at"].is_string()));
    assert!(near(&usage["tenant_usage"]["total_hours"], 3.0), "{usage}");
}

#[tokio::test]
async fn a_project_without_servers_used_nothing() {
    let cloud = Cloud::new().await;
    let usage = cloud.get(READER, "2.96", &format!("{USAGE}/{PROJECT}")).await.expect(200).body;
    assert_eq!(usage, json!({"tenant_usage": {}}));
}

#[tokio::test]
async fn servers_are_paged_from_2_40() {
    let cloud = Cloud::new().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(hosts::server(&cloud, PROJECT, "member-user", RUNNING).await.uuid.to_string());
    }
    ids.sort();
    let get = async |version: &str, more: &str| {
        let path = format!("{USAGE}/{PROJECT}?{}{more}", last(2));
        cloud.get(READER, version, &path).await.expect(200).body
    };
    let shown = |body: &Value| {
        let servers = body["tenant_usage"]["server_usages"].as_array().unwrap().clone();
        servers.iter().map(|one| one["instance_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(shown(&get("2.39", "&limit=1").await), ids);
    let first = get("2.40", "&limit=2").await;
    assert_eq!(shown(&first), ids[..2]);
    let href = first["tenant_usage_links"][0]["href"].as_str().unwrap();
    assert!(
        href.starts_with(&format!("http://cloud:8774/v2.1{USAGE}/{PROJECT}?limit=2&marker={}&start=", ids[1])),
        "{href}"
    );
    let rest = get("2.40", &format!("&limit=2&marker={}", ids[1])).await;
    assert_eq!((shown(&rest), rest.get("tenant_usage_links")), (ids[2..].to_vec(), None));
    let unknown = cloud.get(READER, "2.40", &format!("{USAGE}/{PROJECT}?{}&marker=x", last(2))).await;
    unknown.expect_fault(400, "badRequest", "Marker x could not be found.");
}

#[tokio::test]
async fn periods_that_make_no_sense_are_refused() {
    let cloud = Cloud::new().await;
    let get = async |query: &str| cloud.get(READER, "2.1", &format!("{USAGE}/{PROJECT}?{query}")).await;
    let reason = "Invalid datetime string: Datetime is in invalid format";
    get("start=yesterday").await.expect_fault(400, "badRequest", reason);
    let reason = "Invalid start time. The start time cannot occur after the end time.";
    get("start=2026-02-02T00:00:00&end=2026-02-01T00:00:00").await.expect_fault(400, "badRequest", reason);
    get("start=2999-01-01T00:00:00").await.expect_fault(400, "badRequest", reason);
    cloud.get(READER, "2.75", &format!("{USAGE}/{PROJECT}?colour=blue")).await.expect(400);
}

#[tokio::test]
async fn readers_see_their_own_project() {
    let cloud = Cloud::new().await;
    let denied =
        |rule: &str| format!("Policy doesn't allow os_compute_api:os-simple-tenant-usage:{rule} to be performed.");
    cloud.get(OTHER, "2.1", &format!("{USAGE}/{PROJECT}")).await.expect_fault(403, "forbidden", &denied("show"));
    cloud.get(MEMBER, "2.1", USAGE).await.expect_fault(403, "forbidden", &denied("list"));
}
