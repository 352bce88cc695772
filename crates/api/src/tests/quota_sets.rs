//! `/os-quota-sets`

use serde_json::{Value, json};

use super::cloud::{ADMIN, Cloud, MEMBER, NOBODY, OTHER, OTHER_PROJECT, PROJECT, READER};
use super::hosts;

const OWN: &str = "/os-quota-sets/project-a";

fn limits(changes: Value) -> Value {
    json!({"quota_set": changes})
}

#[tokio::test]
async fn the_quota_set_of_2_1_has_everything_and_later_ones_have_less() {
    let cloud = Cloud::new().await;
    let expected = json!({
        "id": PROJECT, "instances": 10, "cores": 20, "ram": 51200, "metadata_items": 128, "key_pairs": 100,
        "server_groups": 10, "server_group_members": 10, "injected_files": 5, "injected_file_content_bytes": 10240,
        "injected_file_path_bytes": 255, "fixed_ips": -1, "floating_ips": -1, "security_groups": -1,
        "security_group_rules": -1,
    });
    for path in [OWN.to_owned(), format!("{OWN}/defaults")] {
        let at = async |version: &str| cloud.get(READER, version, &path).await.expect(200).body["quota_set"].clone();
        let without = |names: &[&str]| {
            let mut left = expected.clone();
            left.as_object_mut().unwrap().retain(|name, _| !names.iter().any(|prefix| name.starts_with(prefix)));
            left
        };
        assert_eq!(at("2.35").await, expected);
        let network = ["fixed_ips", "floating_ips", "security_group"];
        assert_eq!(at("2.36").await, without(&network));
        assert_eq!(at("2.56").await, without(&network));
        assert_eq!(at("2.57").await, without(&[&network[..], &["injected"]].concat()));
    }
}

#[tokio::test]
async fn details_say_what_is_used() {
    let cloud = Cloud::new().await;
    hosts::server(&cloud, PROJECT, "member-user", hosts::RUNNING).await;
    hosts::server(&cloud, PROJECT, "admin-user", hosts::RUNNING).await;
    let project = cloud.get(READER, "2.96", &format!("{OWN}/detail")).await.expect(200).body["quota_set"].clone();
    assert_eq!(project["id"], PROJECT);
    assert_eq!(project["cores"], json!({"in_use": 4, "reserved": 0, "limit": 20}));
    assert_eq!(project["instances"], json!({"in_use": 2, "reserved": 0, "limit": 10}));
    assert_eq!(project["key_pairs"], json!({"in_use": 0, "reserved": 0, "limit": 100}));
    let user = cloud.get(READER, "2.96", &format!("{OWN}/detail?user_id=member-user")).await.expect(200).body;
    assert_eq!(user["quota_set"]["ram"], json!({"in_use": 2048, "reserved": 0, "limit": 51200}));
}

#[tokio::test]
async fn limits_are_set_shown_and_taken_back() {
    let cloud = Cloud::new().await;
    let updated = cloud.put(ADMIN, "2.96", OWN, limits(json!({"cores": 30, "ram": "-1"}))).await.expect(200).body;
    let set = &updated["quota_set"];
    assert_eq!(
        (&set["cores"], &set["ram"], &set["instances"], set.get("id")),
        (&json!(30), &json!(-1), &json!(10), None)
    );
    assert_eq!(cloud.get(MEMBER, "2.96", "/limits").await.body["limits"]["absolute"]["maxTotalCores"], 30);
    let defaults = cloud.get(READER, "2.96", &format!("{OWN}/defaults")).await.body;
    assert_eq!(defaults["quota_set"]["cores"], 20, "what is set for a project is no default");
    cloud.delete(ADMIN, "2.96", OWN).await.expect(202);
    assert_eq!(cloud.get(READER, "2.96", OWN).await.body["quota_set"]["cores"], 20);
}

#[tokio::test]
async fn users_may_have_limits_of_their_own_within_those_of_the_project() {
    let cloud = Cloud::new().await;
    let user = format!("{OWN}?user_id=member-user");
    let set = cloud.put(ADMIN, "2.96", &user, limits(json!({"cores": 8}))).await.expect(200).body;
    assert_eq!(set["quota_set"]["cores"], 8);
    assert_eq!(cloud.get(READER, "2.96", &user).await.body["quota_set"]["cores"], 8);
    assert_eq!(cloud.get(READER, "2.96", OWN).await.body["quota_set"]["cores"], 20);
    let too_much = cloud.put(ADMIN, "2.96", &user, limits(json!({"cores": 21}))).await;
    let reason = "Quota limit 21 for cores must be less than or equal to 20.";
    too_much.expect_fault(400, "badRequest", reason);
    let other = format!("{OWN}?user_id=reader-user");
    let too_much = cloud.put(ADMIN, "2.96", &other, limits(json!({"cores": 13}))).await;
    too_much.expect_fault(400, "badRequest", "Quota limit 13 for cores must be less than or equal to 12.");
    let too_little = cloud.put(ADMIN, "2.96", OWN, limits(json!({"cores": 7}))).await;
    let reason = "Quota limit 7 for cores must be greater than or equal to already used and reserved 8.";
    too_little.expect_fault(400, "badRequest", reason);
    cloud.delete(ADMIN, "2.96", &user).await.expect(202);
    assert_eq!(cloud.get(READER, "2.96", &user).await.body["quota_set"]["cores"], 20);
}

#[tokio::test]
async fn a_limit_below_what_is_used_needs_force_and_one_bad_limit_spoils_all() {
    let cloud = Cloud::new().await;
    hosts::server(&cloud, PROJECT, "member-user", hosts::RUNNING).await;
    let low = cloud.put(ADMIN, "2.96", OWN, limits(json!({"instances": 20, "cores": 1}))).await;
    low.expect_fault(
        400,
        "badRequest",
        "Quota limit 1 for cores must be greater than or equal to already used and reserved 2.",
    );
    assert_eq!(cloud.get(READER, "2.96", OWN).await.body["quota_set"]["instances"], 10);
    let forced = cloud.put(ADMIN, "2.96", OWN, limits(json!({"cores": 1, "force": "True"}))).await.expect(200).body;
    assert_eq!(forced["quota_set"]["cores"], 1);
    cloud.put(ADMIN, "2.96", OWN, limits(json!({"cores": 0, "force": false}))).await.expect(400);
}

#[tokio::test]
async fn bodies_are_validated() {
    let cloud = Cloud::new().await;
    for body in [
        json!({"cores": -2}),
        json!({"cores": "many"}),
        json!({"cores": 2_147_483_648_u32}),
        json!({"colours": 1}),
        json!({"force": "maybe"}),
        json!({"cores": null}),
        json!({"cores": ""}),
    ] {
        cloud.put(ADMIN, "2.35", OWN, limits(body)).await.expect(400);
    }
    cloud.put(ADMIN, "2.35", OWN, limits(json!({"floating_ips": 5}))).await.expect(200);
    cloud.put(ADMIN, "2.36", OWN, limits(json!({"floating_ips": 5}))).await.expect(400);
    cloud.put(ADMIN, "2.56", OWN, limits(json!({"injected_files": 5}))).await.expect(200);
    cloud.put(ADMIN, "2.57", OWN, limits(json!({"injected_files": 5}))).await.expect(400);
    cloud.get(READER, "2.74", &format!("{OWN}?colour=blue")).await.expect(200);
    cloud.get(READER, "2.75", &format!("{OWN}?colour=blue")).await.expect(400);
    let long = cloud.put(ADMIN, "2.96", OWN, limits(json!({"cores": -2}))).await;
    assert_eq!(long.message(), "Invalid input for field/attribute cores. Value: -2. -2 is less than the minimum of -1");
}

#[tokio::test]
async fn the_project_must_exist() {
    let cloud = Cloud::new().await;
    for path in ["/os-quota-sets/none", "/os-quota-sets/none/detail", "/os-quota-sets/none/defaults"] {
        let reply = cloud.get(ADMIN, "2.96", path).await;
        reply.expect_fault(400, "badRequest", "Project ID none is not a valid project.");
    }
    let reply = cloud.put(ADMIN, "2.96", "/os-quota-sets/none", limits(json!({"cores": 1}))).await;
    reply.expect_fault(400, "badRequest", "Project ID none is not a valid project.");
    cloud.delete(ADMIN, "2.96", "/os-quota-sets/none").await.expect(202);
}

#[tokio::test]
async fn readers_see_their_own_project_and_only_admins_change_one() {
    let cloud = Cloud::new().await;
    let denied = |rule: &str| format!("Policy doesn't allow os_compute_api:os-quota-sets:{rule} to be performed.");
    cloud.get(OTHER, "2.96", OWN).await.expect_fault(403, "forbidden", &denied("show"));
    cloud.get(OTHER, "2.96", &format!("{OWN}/detail")).await.expect_fault(403, "forbidden", &denied("detail"));
    cloud.get(NOBODY, "2.96", OWN).await.expect_fault(403, "forbidden", &denied("show"));
    cloud.get(NOBODY, "2.96", &format!("{OWN}/defaults")).await.expect(200);
    cloud.get(ADMIN, "2.96", &format!("/os-quota-sets/{OTHER_PROJECT}")).await.expect(200);
    let body = limits(json!({"cores": 100}));
    cloud.put(MEMBER, "2.96", OWN, body).await.expect_fault(403, "forbidden", &denied("update"));
    cloud.delete(MEMBER, "2.96", OWN).await.expect_fault(403, "forbidden", &denied("delete"));
}

#[tokio::test]
async fn a_driver_that_limits_nothing_shows_and_checks_no_limit() {
    let config = "[quota]\ndriver = nova.quota.NoopQuotaDriver\ninstances = 0\nkey_pairs = 0\n";
    let cloud = Cloud::with_config(config).await;
    for path in [format!("/os-quota-sets/{PROJECT}"), format!("/os-quota-sets/{PROJECT}/defaults")] {
        let set = cloud.get(ADMIN, "2.57", &path).await.expect(200).body["quota_set"].clone();
        let limits = set.as_object().unwrap().iter().filter(|(name, _)| *name != "id");
        assert!(limits.clone().count() > 5 && limits.clone().all(|(_, limit)| *limit == -1), "{set}");
    }
    let class = cloud.get(ADMIN, "2.57", "/os-quota-class-sets/default").await.expect(200);
    assert_eq!(class.body["quota_class_set"]["instances"], -1);
    cloud
        .put(ADMIN, "2.57", &format!("/os-quota-sets/{PROJECT}"), json!({"quota_set": {"key_pairs": 0}}))
        .await
        .expect(200);
    cloud.post(MEMBER, "2.2", "/os-keypairs", json!({"keypair": {"name": "a"}})).await.expect(201);

    let unified = kilonova_core::Config::from_text("[quota]\ndriver = nova.quota.UnifiedLimitsDriver\n").unwrap();
    let error = crate::ApiConfig::from_config(&unified).unwrap_err().to_string();
    assert!(error.contains("[quota] driver") && error.contains("no unified limits"), "{error}");
}
