//! `GET /servers` and `GET /servers/detail`: filters, paging, sorting, personas.

use serde_json::{Value, json};

use super::{activate, active, connected, create, save, with};
use crate::tests::cloud::{ADMIN, Cloud, MEMBER, OTHER, PROJECT, Reply};

fn names(reply: Reply) -> Vec<String> {
    let reply = reply.expect(200);
    let servers = reply.body["servers"].as_array().unwrap();
    servers.iter().map(|server| server["name"].as_str().unwrap().to_owned()).collect()
}

async fn listed(cloud: &Cloud, token: &str, query: &str) -> Vec<String> {
    let brief = names(cloud.get(token, "2.96", &format!("/servers{query}")).await);
    let detail = names(cloud.get(token, "2.96", &format!("/servers/detail{query}")).await);
    assert_eq!(brief, detail, "{query}");
    brief
}

#[tokio::test]
async fn filters_narrow_the_list() {
    let cloud = Cloud::new().await;
    let body = with(&cloud, json!({"name": "alpha", "tags": ["x", "y"], "flavorRef": "2"}));
    let alpha = cloud.post(MEMBER, "2.96", "/servers", body).await.expect(202).body["server"]["id"].clone();
    let beta = active(&cloud, "beta").await;
    let gamma = active(&cloud, "gamma").await;
    save(&cloud, gamma, json!({"vm_state": "error", "locked": true, "locked_by": "admin"})).await;
    for (query, expected) in [
        ("", &["gamma", "beta", "alpha"][..]),
        ("?name=^a", &["alpha"]),
        ("?name=a$&status=ACTIVE", &["beta"]),
        ("?status=error", &["gamma"]),
        ("?status=BUILD&status=ERROR", &["gamma", "alpha"]),
        ("?flavor=2", &["alpha"]),
        ("?flavor=99", &[]),
        ("?image=5f1b6dd9-7a2f-4d55-9f0a-f8a0bf4ae0b2", &[]),
        ("?tags=x,y", &["alpha"]),
        ("?tags-any=x,z", &["alpha"]),
        ("?not-tags=x", &["gamma", "beta"]),
        ("?ip=10.0.0.7", &["gamma", "beta"]),
        ("?ip=10.1", &[]),
        ("?locked=true", &["gamma"]),
        ("?vm_state=active", &["beta"]),
        ("?vm_state=nonsense", &[]),
        ("?power_state=1", &["gamma", "beta"]),
        ("?changes-since=2099-01-01T00:00:00Z", &[]),
        ("?host=compute1&name=beta", &["beta"]),
        ("?host=nowhere", &["gamma", "beta", "alpha"]),
    ] {
        assert_eq!(listed(&cloud, MEMBER, query).await, expected, "{query}");
    }
    assert_eq!(listed(&cloud, ADMIN, "?host=nowhere").await, [""; 0]);
    assert_eq!(listed(&cloud, ADMIN, "?host=compute1&locked_by=adm").await, ["gamma"]);
    assert_eq!(listed(&cloud, ADMIN, &format!("?uuid={beta}")).await, ["beta"]);
    assert!(alpha.is_string());
}

#[tokio::test]
async fn pages_follow_each_other_to_the_end() {
    let cloud = Cloud::new().await;
    for name in ["a", "b", "c", "d", "e"] {
        create(&cloud, name).await;
    }
    let mut path = format!("/{PROJECT}/servers?limit=2&sort_key=display_name&sort_dir=asc");
    let mut pages: Vec<Vec<String>> = Vec::new();
    loop {
        let reply = cloud.get(MEMBER, "2.96", &path).await.expect(200);
        let next = reply.body["servers_links"][0]["href"].as_str().map(str::to_owned);
        pages.push(names(reply));
        match next {
            Some(next) => path = next.strip_prefix("http://cloud:8774/v2.1").unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!(pages, [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);
    assert_eq!(listed(&cloud, MEMBER, "?limit=0").await, [""; 0]);
    let unknown = "5f1b6dd9-7a2f-4d55-9f0a-f8a0bf4ae0b2";
    for marker in [unknown, "x"] {
        let reply = cloud.get(MEMBER, "2.96", &format!("/servers?marker={marker}")).await;
        reply.expect_fault(400, "badRequest", &format!("marker [{marker}] not found"));
    }
    for limit in ["-1", "x"] {
        let reply = cloud.get(MEMBER, "2.96", &format!("/servers?limit={limit}")).await.expect(400);
        assert!(reply.message().starts_with(&format!("Invalid input for query parameters limit. Value: {limit}.")));
    }
}

#[tokio::test]
async fn a_list_is_never_longer_than_the_operator_allows() {
    let cloud = Cloud::with_config("[api]\nmax_limit = 2\n").await;
    for name in ["a", "b", "c"] {
        create(&cloud, name).await;
    }
    for query in ["", "?limit=10"] {
        let reply = cloud.get(MEMBER, "2.96", &format!("/servers{query}")).await.expect(200);
        assert!(reply.body["servers_links"].is_array());
        assert_eq!(names(reply), ["c", "b"]);
    }
}

#[tokio::test]
async fn all_projects_are_for_admins() {
    let cloud = Cloud::new().await;
    create(&cloud, "ours").await;
    cloud.networks.add_network("theirs", "project-b", false);
    let theirs = with(&cloud, json!({"name": "theirs", "networks": "none"}));
    cloud.post(OTHER, "2.96", "/servers", theirs).await.expect(202);
    assert_eq!(listed(&cloud, MEMBER, "").await, ["ours"]);
    assert_eq!(listed(&cloud, OTHER, "?project_id=project-a").await, ["theirs"]);
    assert_eq!(listed(&cloud, ADMIN, "").await, ["ours"]);
    assert_eq!(listed(&cloud, ADMIN, "?all_tenants=1").await, ["theirs", "ours"]);
    assert_eq!(listed(&cloud, ADMIN, "?all_tenants&project_id=project-b").await, ["theirs"]);
    for (path, rule) in [("/servers", "index"), ("/servers/detail", "detail")] {
        cloud.get(MEMBER, "2.96", &format!("{path}?all_tenants=True")).await.expect_fault(
            403,
            "forbidden",
            &format!("Policy doesn't allow os_compute_api:servers:{rule}:get_all_tenants to be performed."),
        );
    }
    cloud.get(ADMIN, "2.96", "/servers?all_tenants=maybe").await.expect(400);
}

#[tokio::test]
async fn deleted_servers_are_seen_by_admins_and_by_who_asks_for_changes() {
    let cloud = Cloud::new().await;
    let gone = active(&cloud, "gone").await;
    create(&cloud, "here").await;
    kilonova_db::instances::destroy(&cloud.db, gone).await.unwrap();
    assert_eq!(listed(&cloud, MEMBER, "").await, ["here"]);
    assert_eq!(listed(&cloud, ADMIN, "?deleted=True").await, ["gone"]);
    assert_eq!(listed(&cloud, ADMIN, "?status=DELETED").await, ["gone"]);
    assert_eq!(listed(&cloud, MEMBER, "?deleted=True").await, ["here"]);
    assert_eq!(listed(&cloud, MEMBER, "?changes-since=2020-01-01T00:00:00Z").await, ["here", "gone"]);
    cloud.get(MEMBER, "2.96", "/servers?status=DELETED").await.expect_fault(
        403,
        "forbidden",
        "Only administrators may list deleted instances",
    );
}

#[tokio::test]
async fn bad_queries_are_told_apart() {
    let cloud = Cloud::new().await;
    let message = |query: &'static str, version: &'static str| {
        let cloud = &cloud;
        async move {
            let reply = cloud.get(MEMBER, version, &format!("/servers{query}")).await;
            (reply.status.as_u16(), reply.message().to_owned())
        }
    };
    assert_eq!(
        message("?name=(", "2.96").await,
        (400, "Invalid input for query parameters name. Value: (. '(' is not a 'regex'".to_owned())
    );
    assert_eq!(
        message("?colour=blue", "2.75").await,
        (400, "'colour' does not match any of the regexes: '^_'".to_owned())
    );
    assert_eq!(message("?colour=blue", "2.74").await.0, 200);
    assert_eq!(message("?status=fine", "2.37").await.0, 200);
    assert_eq!(message("?status=fine", "2.38").await, (400, "Invalid status value".to_owned()));
    assert_eq!(
        message("?changes-since=2026-01-02T00:00:00Z&changes-before=2026-01-01T00:00:00Z", "2.66").await,
        (400, "The value of changes-since must be less than or equal to changes-before.".to_owned())
    );
    assert_eq!(message("?sort_key=vcpus", "2.74").await.0, 200);
    assert_eq!(message("?sort_key=vcpus", "2.75").await.0, 400);
    assert_eq!(
        message("?sort_key=host", "2.96").await,
        (403, "Only administrators can sort servers by host".to_owned())
    );
    assert_eq!(message("?changes-since=yesterday", "2.96").await.0, 400);
    let reply = cloud.get(ADMIN, "2.96", "/servers?info_cache=1").await;
    reply.expect_fault(400, "badRequest", "Invalid filter field: info_cache.");
}

#[tokio::test]
async fn a_brief_list_has_id_name_and_links_and_nothing_else() {
    let cloud = Cloud::new().await;
    let uuid = create(&cloud, "vm").await;
    activate(&cloud, uuid).await;
    let reply = cloud.get(MEMBER, "2.96", "/servers").await.expect(200);
    let expected = json!({"servers": [{
        "id": uuid,
        "name": "vm",
        "links": [
            {"rel": "self", "href": format!("http://cloud:8774/v2.1/servers/{uuid}")},
            {"rel": "bookmark", "href": format!("http://cloud:8774/servers/{uuid}")},
        ],
    }]});
    assert_eq!(reply.body, expected);
    let none: Vec<Value> = Vec::new();
    assert_eq!(cloud.get(OTHER, "2.96", "/servers").await.expect(200).body, json!({"servers": none}));
}

/// Of whatever is in it: a list is a bounded number of queries, however many servers it has.
#[tokio::test]
async fn a_list_is_at_most_four_queries() {
    let cloud = Cloud::with_config("[quota]\ninstances = -1\ncores = -1\nram = -1\n").await;
    let asked = async |path: &str| {
        let before = cloud.db.read().queries();
        let listed = cloud.get(ADMIN, "2.104", path).await.expect(200).body["servers"].as_array().unwrap().len();
        (listed, cloud.db.read().queries() - before)
    };
    let paths = [
        "/servers/detail",
        "/servers/detail?all_tenants=1",
        "/servers/detail?name=vm&sort_key=display_name",
        "/servers",
    ];
    let (mut made, mut counts) = (0, Vec::new());
    for count in [2, 40] {
        for number in made..count {
            let uuid = connected(&cloud, &format!("vm{number}")).await.0;
            let tags = json!({"tags": ["one", "two"]});
            cloud.put(MEMBER, "2.26", &format!("/servers/{uuid}/tags"), tags).await.expect(200);
            if number % 2 == 0 {
                save(&cloud, uuid, json!({"vm_state": "error"})).await;
                let fault = kilonova_objects::InstanceFault { instance_uuid: uuid, code: 500, ..Default::default() };
                kilonova_db::faults::create(&cloud.db, &fault).await.unwrap();
            }
        }
        made = count;
        for path in paths {
            let (listed, queries) = asked(path).await;
            assert_eq!(listed, count, "{path}");
            assert!((1..=4).contains(&queries), "{path}: {queries} queries");
            counts.push(queries);
        }
    }
    assert_eq!(counts[..paths.len()], counts[paths.len()..], "as many for forty servers as for two");
}
