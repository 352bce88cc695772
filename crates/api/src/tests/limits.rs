//! `/limits`

use serde_json::{Value, json};

use super::cloud::{ADMIN, Cloud, MEMBER, NOBODY, OTHER, OTHER_PROJECT, PROJECT};
use super::hosts;

fn absolute(body: &Value) -> Vec<&str> {
    body["limits"]["absolute"].as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn the_limits_of_2_1_are_all_there_and_nothing_is_used() {
    let cloud = Cloud::new().await;
    let body = cloud.get(NOBODY, "2.1", "/limits").await.expect(200).body;
    assert_eq!(
        body,
        json!({"limits": {"rate": [], "absolute": {
            "maxImageMeta": 128, "maxPersonality": 5, "maxPersonalitySize": 10240, "maxSecurityGroups": -1,
            "maxSecurityGroupRules": -1, "maxServerMeta": 128, "maxServerGroups": 10, "maxServerGroupMembers": 10,
            "maxTotalCores": 20, "maxTotalFloatingIps": -1, "maxTotalInstances": 10, "maxTotalKeypairs": 100,
            "maxTotalRAMSize": 51200, "totalCoresUsed": 0, "totalFloatingIpsUsed": 0, "totalInstancesUsed": 0,
            "totalRAMUsed": 0, "totalSecurityGroupsUsed": 0, "totalServerGroupsUsed": 0,
        }}})
    );
}

#[tokio::test]
async fn limits_of_other_services_go_with_the_microversions() {
    let cloud = Cloud::new().await;
    let at = async |version: &str| cloud.get(MEMBER, version, "/limits").await.expect(200).body;
    let network = [
        "maxSecurityGroups",
        "maxSecurityGroupRules",
        "maxTotalFloatingIps",
        "totalFloatingIpsUsed",
        "totalSecurityGroupsUsed",
    ];
    let (v235, v236) = (at("2.35").await, at("2.36").await);
    assert!(network.iter().all(|name| absolute(&v235).contains(name)));
    assert!(!network.iter().any(|name| absolute(&v236).contains(name)));
    assert!(absolute(&at("2.38").await).contains(&"maxImageMeta"));
    assert!(!absolute(&at("2.39").await).contains(&"maxImageMeta"));
    assert!(absolute(&at("2.56").await).contains(&"maxPersonality"));
    assert_eq!(
        absolute(&at("2.57").await),
        [
            "maxServerGroupMembers",
            "maxServerGroups",
            "maxServerMeta",
            "maxTotalCores",
            "maxTotalInstances",
            "maxTotalKeypairs",
            "maxTotalRAMSize",
            "totalCoresUsed",
            "totalInstancesUsed",
            "totalRAMUsed",
            "totalServerGroupsUsed"
        ]
    );
}

#[tokio::test]
async fn what_is_used_counts_and_admins_see_that_of_others() {
    let cloud = Cloud::new().await;
    hosts::server(&cloud, PROJECT, "member-user", hosts::RUNNING).await;
    hosts::server(&cloud, PROJECT, "admin-user", hosts::RUNNING).await;
    let used = |body: &Value| {
        ["totalInstancesUsed", "totalCoresUsed", "totalRAMUsed"].map(|name| body["limits"]["absolute"][name].clone())
    };
    let own = cloud.get(MEMBER, "2.96", "/limits").await.expect(200).body;
    assert_eq!(used(&own), [2, 4, 4096].map(Value::from));
    let none = cloud.get(OTHER, "2.96", "/limits").await.expect(200).body;
    assert_eq!(used(&none), [0, 0, 0].map(Value::from));
    let of_other = format!("/limits?tenant_id={OTHER_PROJECT}");
    assert_eq!(used(&cloud.get(ADMIN, "2.96", &of_other).await.expect(200).body), [0, 0, 0].map(Value::from));
    let denied = cloud.get(MEMBER, "2.96", &of_other).await;
    denied.expect_fault(403, "forbidden", "Policy doesn't allow os_compute_api:limits:other_project to be performed.");
    cloud.get(MEMBER, "2.74", "/limits?reserved=1").await.expect(200);
    cloud.get(MEMBER, "2.75", "/limits?reserved=1").await.expect(400);
}
