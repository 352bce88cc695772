//! `/os-availability-zone`

use serde_json::json;

use super::cloud::{ADMIN, Cloud, HOST, MEMBER, NOBODY};
use super::hosts;

#[tokio::test]
async fn users_see_the_zones_of_compute_hosts() {
    let cloud = Cloud::new().await;
    hosts::service(&cloud, "controller", "nova-conductor", 0).await;
    let zones = cloud.get(NOBODY, "2.1", "/os-availability-zone").await.expect(200).body;
    let nova = json!([{"zoneName": "nova", "zoneState": {"available": true}, "hosts": null}]);
    assert_eq!(zones, json!({"availabilityZoneInfo": nova}));
}

#[tokio::test]
async fn a_zone_without_an_enabled_service_is_not_available() {
    let cloud = Cloud::with_config("[DEFAULT]\ndefault_availability_zone = east\n").await;
    let service = hosts::first_service(&cloud).await;
    let path = format!("/os-services/{}", service.uuid.unwrap());
    cloud.put(ADMIN, "2.53", &path, json!({"status": "disabled"})).await.expect(200);
    let expected = json!({"zoneName": "east", "zoneState": {"available": false}, "hosts": null});
    for path in ["/os-availability-zone", "/os-availability-zone/detail"] {
        let zones = cloud.get(ADMIN, "2.1", path).await.expect(200).body;
        assert_eq!(zones, json!({"availabilityZoneInfo": [expected]}));
    }
}

#[tokio::test]
async fn admins_see_hosts_and_services() {
    let cloud = Cloud::new().await;
    hosts::service(&cloud, "controller", "nova-conductor", 1000).await;
    let zones = cloud.get(ADMIN, "2.1", "/os-availability-zone/detail").await.expect(200).body;
    assert_eq!(
        zones["availabilityZoneInfo"],
        json!([
            {"zoneName": "internal", "zoneState": {"available": true}, "hosts": {
                "controller": {"nova-conductor": {"active": true, "available": false, "updated_at": null}},
            }},
            {"zoneName": "nova", "zoneState": {"available": true}, "hosts": {
                HOST: {"nova-compute": {"active": true, "available": true, "updated_at": null}},
            }},
        ])
    );
    let denied = cloud.get(MEMBER, "2.1", "/os-availability-zone/detail").await;
    denied.expect_fault(
        403,
        "forbidden",
        "Policy doesn't allow os_compute_api:os-availability-zone:detail to be performed.",
    );
}
