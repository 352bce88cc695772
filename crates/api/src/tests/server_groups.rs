//! `/os-server-groups`, and servers in a group.

use kilonova_db::instances;
use kilonova_rpcapi::conductor::ScheduleAndBuildInstances;
use serde_json::{Value, json};
use uuid::Uuid;

use super::cloud::{ADMIN, Cloud, MEMBER, NOBODY, OTHER, PROJECT, READER, Reply};

const PATH: &str = "/os-server-groups";

fn before_2_64(name: &str, policy: &str) -> Value {
    json!({"server_group": {"name": name, "policies": [policy]}})
}

fn since_2_64(name: &str, policy: &str) -> Value {
    json!({"server_group": {"name": name, "policy": policy}})
}

async fn create(cloud: &Cloud, token: &str, name: &str, policy: &str) -> String {
    let created = cloud.post(token, "2.64", PATH, since_2_64(name, policy)).await.expect(200).body;
    created["server_group"]["id"].as_str().unwrap().to_owned()
}

fn names(reply: &Reply) -> Vec<&str> {
    let groups = reply.body["server_groups"].as_array().unwrap();
    groups.iter().map(|group| group["name"].as_str().unwrap()).collect()
}

async fn boot(cloud: &Cloud, token: &str, group: &str, count: u32) -> Reply {
    let body = json!({
        "server": {
            "name": "vm", "flavorRef": "1", "imageRef": cloud.image.id, "min_count": count, "max_count": count,
            "networks": [{"uuid": cloud.network.id}], "return_reservation_id": true,
        },
        "os:scheduler_hints": {"group": group},
    });
    cloud.post(token, "2.96", "/servers", body).await
}

async fn members(cloud: &Cloud, group: &str) -> Vec<String> {
    let shown = cloud.get(ADMIN, "2.64", &format!("{PATH}/{group}")).await.expect(200).body;
    serde_json::from_value(shown["server_group"]["members"].clone()).unwrap()
}

#[tokio::test]
async fn what_is_shown_changes_with_the_microversion() {
    let cloud = Cloud::new().await;
    let old = cloud.post(MEMBER, "2.1", PATH, before_2_64("a", "affinity")).await.expect(200).body;
    let id = &old["server_group"]["id"];
    let plain = json!({"id": id, "name": "a", "policies": ["affinity"], "metadata": {}, "members": []});
    assert_eq!(old["server_group"], plain);
    let path = format!("{PATH}/{}", id.as_str().unwrap());
    let shown = async |version| cloud.get(READER, version, &path).await.expect(200).body["server_group"].clone();
    assert_eq!(shown("2.12").await, plain);
    let mut owned = plain.clone();
    owned["project_id"] = json!(PROJECT);
    owned["user_id"] = json!("member-user");
    assert_eq!(shown("2.13").await, owned);
    assert_eq!(shown("2.63").await, owned);
    let new = json!({
        "id": id, "name": "a", "policy": "affinity", "rules": {}, "members": [], "project_id": PROJECT,
        "user_id": "member-user",
    });
    assert_eq!(shown("2.64").await, new);
    assert_eq!(shown("2.96").await, new);
    let rules =
        json!({"server_group": {"name": "b", "policy": "anti-affinity", "rules": {"max_server_per_host": "3"}}});
    let made = cloud.post(MEMBER, "2.64", PATH, rules).await.expect(200).body;
    assert_eq!(made["server_group"]["rules"], json!({"max_server_per_host": 3}));
    let legacy = before_2_64("c", "affinity").to_string();
    cloud.send("POST", Some(MEMBER), "", "/v2/os-server-groups", Some(&legacy)).await.expect(200);
}

#[tokio::test]
async fn policies_and_their_form_go_with_the_microversion() {
    let cloud = Cloud::new().await;
    let post = async |version, body: Value| cloud.post(MEMBER, version, PATH, body).await.status.as_u16();
    for (version, body, expected) in [
        ("2.14", before_2_64("a", "soft-affinity"), 400),
        ("2.15", before_2_64("a", "soft-affinity"), 200),
        ("2.63", before_2_64("a", "soft-anti-affinity"), 200),
        ("2.63", since_2_64("a", "affinity"), 400),
        ("2.64", before_2_64("a", "affinity"), 400),
        ("2.64", since_2_64("a", "soft-anti-affinity"), 200),
        ("2.64", since_2_64("a", "legacy"), 400),
        ("2.64", since_2_64("", "affinity"), 400),
        ("2.64", since_2_64(" a", "affinity"), 400),
        ("2.1", json!({"server_group": {"name": "a", "policies": []}}), 400),
        ("2.1", json!({"server_group": {"name": "a", "policies": ["affinity", "anti-affinity"]}}), 400),
        ("2.64", json!({"server_group": {"name": "a", "policy": "anti-affinity", "rules": {"x": 1}}}), 400),
        (
            "2.64",
            json!({"server_group": {"name": "a", "policy": "anti-affinity", "rules": {"max_server_per_host": 0}}}),
            400,
        ),
    ] {
        assert_eq!(post(version, body.clone()).await, expected, "{version} {body}");
    }
    let rules = json!({"server_group": {"name": "a", "policy": "affinity", "rules": {"max_server_per_host": 2}}});
    cloud.post(MEMBER, "2.64", PATH, rules).await.expect_fault(
        400,
        "badRequest",
        "Only anti-affinity policy supports rules.",
    );
    assert_eq!(names(&cloud.get(MEMBER, "2.1", PATH).await).len(), 3);
}

#[tokio::test]
async fn groups_belong_to_a_project_and_admins_see_all() {
    let cloud = Cloud::new().await;
    let mine = create(&cloud, MEMBER, "mine", "affinity").await;
    let theirs = create(&cloud, OTHER, "theirs", "affinity").await;
    for token in [NOBODY, READER] {
        cloud.post(token, "2.64", PATH, since_2_64("a", "affinity")).await.expect_fault(
            403,
            "forbidden",
            "Policy doesn't allow os_compute_api:os-server-groups:create to be performed.",
        );
        cloud.delete(token, "2.64", &format!("{PATH}/{mine}")).await.expect(403);
    }
    cloud.get(NOBODY, "2.64", PATH).await.expect(403);
    cloud.get(NOBODY, "2.64", &format!("{PATH}/{mine}")).await.expect(403);
    assert_eq!(names(&cloud.get(READER, "2.64", PATH).await), ["mine"]);
    assert_eq!(names(&cloud.get(ADMIN, "2.64", PATH).await), ["mine"]);
    assert_eq!(names(&cloud.get(MEMBER, "2.64", &format!("{PATH}?all_projects")).await), ["mine"]);
    assert_eq!(names(&cloud.get(ADMIN, "2.64", &format!("{PATH}?all_projects=x")).await), ["mine", "theirs"]);
    let sentence = |id: &str| format!("Instance group {id} could not be found.");
    for id in [theirs.as_str(), "none"] {
        let path = format!("{PATH}/{id}");
        cloud.get(MEMBER, "2.64", &path).await.expect_fault(404, "itemNotFound", &sentence(id));
        cloud.delete(MEMBER, "2.64", &path).await.expect_fault(404, "itemNotFound", &sentence(id));
    }
    cloud.get(ADMIN, "2.64", &format!("{PATH}/{theirs}")).await.expect(200);
    for id in [mine, theirs] {
        cloud.delete(ADMIN, "2.64", &format!("{PATH}/{id}")).await.expect(204);
        cloud.get(ADMIN, "2.64", &format!("{PATH}/{id}")).await.expect(404);
    }
}

#[tokio::test]
async fn lists_are_cut_by_offset_and_limit() {
    let cloud = Cloud::with_config("[api]\nmax_limit = 3\n").await;
    for name in ["a", "b", "c", "d"] {
        create(&cloud, MEMBER, name, "affinity").await;
    }
    for (query, expected) in [
        ("", vec!["a", "b", "c"]),
        ("?limit=0", vec!["a", "b", "c"]),
        ("?limit=9", vec!["a", "b", "c"]),
        ("?limit=1&offset=1", vec!["b"]),
        ("?offset=3", vec!["d"]),
        ("?offset=99999999999999999999999", vec![]),
    ] {
        assert_eq!(names(&cloud.get(MEMBER, "2.75", &format!("{PATH}{query}")).await.expect(200)), expected, "{query}");
    }
    for query in ["?limit=-1", "?offset=-1", "?limit=x"] {
        cloud.get(MEMBER, "2.1", &format!("{PATH}{query}")).await.expect(400);
    }
    cloud.get(MEMBER, "2.74", &format!("{PATH}?x=1")).await.expect(200);
    cloud.get(MEMBER, "2.75", &format!("{PATH}?x=1")).await.expect(400);
}

#[tokio::test]
async fn there_are_no_more_groups_than_the_quota_allows() {
    let cloud = Cloud::with_config("[quota]\nserver_groups = 1\n").await;
    create(&cloud, MEMBER, "a", "affinity").await;
    let refused = cloud.post(MEMBER, "2.64", PATH, since_2_64("b", "affinity")).await;
    refused.expect_fault(403, "forbidden", "Quota exceeded, too many server groups.");
    create(&cloud, OTHER, "b", "affinity").await;
    let quotas = cloud.get(ADMIN, "2.96", &format!("/os-quota-sets/{PROJECT}/detail")).await.expect(200).body;
    assert_eq!(quotas["quota_set"]["server_groups"], json!({"in_use": 1, "limit": 1, "reserved": 0}));
    let limits = cloud.get(MEMBER, "2.96", "/limits").await.expect(200).body;
    assert_eq!(limits["limits"]["absolute"]["totalServerGroupsUsed"], 1);
}

#[tokio::test]
async fn servers_are_members_from_the_moment_they_are_accepted() {
    let cloud = Cloud::new().await;
    let rules = json!({"server_group": {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": 2}}});
    let made = cloud.post(MEMBER, "2.64", PATH, rules).await.expect(200).body;
    let group = made["server_group"]["id"].as_str().unwrap();
    boot(&cloud, MEMBER, group, 2).await.expect(202);
    let servers = members(&cloud, group).await;
    assert_eq!(servers.len(), 2);
    let path = format!("/servers/{}", servers[0]);
    let shown = cloud.get(MEMBER, "2.71", &path).await.expect(200).body;
    assert_eq!(shown["server"]["server_groups"], json!([group]));
    assert_eq!(cloud.get(MEMBER, "2.70", &path).await.expect(200).body["server"]["server_groups"], Value::Null);
    let updated = cloud.put(MEMBER, "2.71", &path, json!({"server": {"name": "new"}})).await.expect(200).body;
    assert_eq!(updated["server"]["server_groups"], json!([group]));

    let calls = cloud.wait_for::<ScheduleAndBuildInstances>(1).await;
    let asked = &calls[0]["request_specs"][0]["nova_object.data"]["instance_group"];
    assert_eq!((&asked["nova_object.name"], &asked["nova_object.version"]), (&json!("InstanceGroup"), &json!("1.11")));
    let data = &asked["nova_object.data"];
    assert_eq!((&data["uuid"], &data["policy"]), (&json!(group), &json!("anti-affinity")));
    assert_eq!(data["policies"], json!(["anti-affinity"]));
    assert_eq!(data["_rules"], json!({"max_server_per_host": "2"}));

    instances::destroy(&cloud.db, servers[0].parse().unwrap()).await.unwrap();
    assert_eq!(members(&cloud, group).await, servers[1..]);
    cloud.delete(MEMBER, "2.64", &format!("{PATH}/{group}")).await.expect(204);
    let left = cloud.get(MEMBER, "2.71", &format!("/servers/{}", servers[1])).await.expect(200).body;
    assert_eq!(left["server"]["server_groups"], json!([]));
}

#[tokio::test]
async fn a_group_that_is_full_or_not_there_takes_no_server() {
    let cloud = Cloud::with_config("[quota]\nserver_group_members = 2\n").await;
    let group = create(&cloud, MEMBER, "g", "affinity").await;
    let theirs = create(&cloud, OTHER, "theirs", "affinity").await;
    for missing in [Uuid::new_v4().to_string(), theirs.clone()] {
        let sentence = format!("Instance group {missing} could not be found.");
        boot(&cloud, MEMBER, &missing, 1).await.expect_fault(400, "badRequest", &sentence);
    }
    let full = "Quota exceeded, too many servers in group";
    boot(&cloud, MEMBER, &group, 3).await.expect_fault(403, "forbidden", full);
    assert_eq!(members(&cloud, &group).await, Vec::<String>::new());
    boot(&cloud, MEMBER, &group, 2).await.expect(202);
    boot(&cloud, MEMBER, &group, 1).await.expect_fault(403, "forbidden", full);
    assert_eq!(members(&cloud, &group).await.len(), 2);
    let used = instances::usage(&cloud.db, PROJECT, None).await.unwrap();
    assert_eq!(used.instances, 2);
}
