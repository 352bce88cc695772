//! `/os-quota-class-sets`

use serde_json::{Value, json};

use super::cloud::{ADMIN, Cloud, MEMBER, READER};

const DEFAULT: &str = "/os-quota-class-sets/default";

fn keys(body: &Value) -> Vec<&str> {
    body["quota_class_set"].as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn what_is_shown_changes_with_the_microversion() {
    let cloud = Cloud::new().await;
    let at = async |version: &str| cloud.get(ADMIN, version, DEFAULT).await.expect(200).body;
    assert_eq!(
        keys(&at("2.49").await),
        [
            "cores",
            "fixed_ips",
            "floating_ips",
            "id",
            "injected_file_content_bytes",
            "injected_file_path_bytes",
            "injected_files",
            "instances",
            "key_pairs",
            "metadata_items",
            "ram",
            "security_group_rules",
            "security_groups"
        ]
    );
    assert_eq!(
        keys(&at("2.50").await),
        [
            "cores",
            "id",
            "injected_file_content_bytes",
            "injected_file_path_bytes",
            "injected_files",
            "instances",
            "key_pairs",
            "metadata_items",
            "ram",
            "server_group_members",
            "server_groups"
        ]
    );
    assert_eq!(
        keys(&at("2.57").await),
        ["cores", "id", "instances", "key_pairs", "metadata_items", "ram", "server_group_members", "server_groups"]
    );
}

#[tokio::test]
async fn the_default_class_is_the_default_of_every_project() {
    let cloud = Cloud::new().await;
    let body = json!({"quota_class_set": {"cores": 50, "instances": "-1"}});
    let updated = cloud.put(ADMIN, "2.96", DEFAULT, body).await.expect(200).body;
    assert_eq!(updated["quota_class_set"]["cores"], 50);
    assert_eq!(updated["quota_class_set"].get("id"), None);
    let own = cloud.get(READER, "2.96", "/os-quota-sets/project-a").await.body;
    assert_eq!((&own["quota_set"]["cores"], &own["quota_set"]["instances"]), (&json!(50), &json!(-1)));
    let other = cloud.get(ADMIN, "2.96", "/os-quota-class-sets/other").await.expect(200).body;
    assert_eq!((&other["quota_class_set"]["cores"], &other["quota_class_set"]["id"]), (&json!(20), &json!("other")));
}

#[tokio::test]
async fn bodies_and_names_are_validated() {
    let cloud = Cloud::new().await;
    let body = |name: &str| json!({"quota_class_set": {name: 5}});
    cloud.put(ADMIN, "2.49", DEFAULT, body("floating_ips")).await.expect(200);
    cloud.put(ADMIN, "2.50", DEFAULT, body("floating_ips")).await.expect(400);
    cloud.put(ADMIN, "2.57", DEFAULT, body("injected_files")).await.expect(400);
    cloud.put(ADMIN, "2.57", DEFAULT, body("force")).await.expect(400);
    let long = cloud.put(ADMIN, "2.57", &format!("/os-quota-class-sets/{}", "n".repeat(256)), body("cores")).await;
    let reason = "Invalid input received: quota_class_name has 256 characters, more than 255.";
    long.expect_fault(400, "badRequest", reason);
}

#[tokio::test]
async fn quota_classes_are_for_admins() {
    let cloud = Cloud::new().await;
    let denied =
        |rule: &str| format!("Policy doesn't allow os_compute_api:os-quota-class-sets:{rule} to be performed.");
    cloud.get(MEMBER, "2.96", DEFAULT).await.expect_fault(403, "forbidden", &denied("show"));
    let body = json!({"quota_class_set": {"cores": 1}});
    cloud.put(MEMBER, "2.96", DEFAULT, body).await.expect_fault(403, "forbidden", &denied("update"));
}
