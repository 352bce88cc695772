//! Rules of a deployment, through HTTP.

use serde_json::json;

use super::cloud::{ADMIN, Cloud, MEMBER, NOBODY, OTHER, READER};

/// The personas that a request is allowed for.
async fn allowed(cloud: &Cloud, path: &str) -> Vec<&'static str> {
    let mut allowed = Vec::new();
    for persona in [ADMIN, MEMBER, READER, NOBODY, OTHER] {
        let reply = cloud.get(persona, "2.1", path).await;
        match reply.status.as_u16() {
            200 => allowed.push(persona),
            status => assert_eq!(status, 403, "{persona}: {}", reply.body),
        }
    }
    allowed
}

#[tokio::test]
async fn an_overridden_rule_holds_and_the_others_stay_novas() {
    let cloud = Cloud::with_policy(
        "os_compute_api:os-services:list: 'role:member and not role:admin'\n\
         os_compute_api:os-hypervisors:list: 'rule:everybody'\neverybody: '@'\n\
         os_compute_api:limits: '!'\n",
    )
    .await;
    assert_eq!(allowed(&cloud, "/os-services").await, [MEMBER, OTHER]);
    assert_eq!(allowed(&cloud, "/os-hypervisors").await, [ADMIN, MEMBER, READER, NOBODY, OTHER]);
    assert_eq!(allowed(&cloud, "/limits").await, [""; 0]);
    assert_eq!(allowed(&cloud, "/servers").await, [ADMIN, MEMBER, READER, OTHER]);
    let refused = cloud.get(ADMIN, "2.1", "/os-services").await;
    refused.expect_fault(403, "forbidden", "Policy doesn't allow os_compute_api:os-services:list to be performed.");
}

#[tokio::test]
async fn context_is_admin_says_who_sees_everything() {
    let cloud = Cloud::with_policy("context_is_admin: 'user_id:other-user'\n").await;
    assert_eq!(allowed(&cloud, "/os-services").await, [OTHER]);
    let create = json!({"flavor": {"id": "x", "name": "x", "ram": 1, "vcpus": 1, "disk": 1}});
    cloud.post(ADMIN, "2.1", "/flavors", create.clone()).await.expect(403);
    cloud.post(OTHER, "2.1", "/flavors", create).await.expect(200);
}

#[tokio::test]
async fn a_changed_file_holds_for_the_next_request() {
    let cloud = Cloud::with_policy("").await;
    assert_eq!(allowed(&cloud, "/os-services").await, [ADMIN]);
    std::fs::write(cloud.policy_file(), "os_compute_api:os-services:list: 'role:reader'\n").unwrap();
    cloud.policy.refresh();
    assert_eq!(allowed(&cloud, "/os-services").await, [ADMIN, MEMBER, READER, OTHER]);
    std::fs::write(cloud.policy_file(), "os_compute_api:os-services:list: 'http://x'\n").unwrap();
    cloud.policy.refresh();
    assert_eq!(allowed(&cloud, "/os-services").await, [ADMIN, MEMBER, READER, OTHER]);
}
