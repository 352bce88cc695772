//! `/extensions`

use serde_json::json;

use super::cloud::{Cloud, NOBODY};

#[tokio::test]
async fn extensions_are_listed_in_order_and_shown_by_alias() {
    let cloud = Cloud::new().await;
    let all = cloud.get(NOBODY, "2.1", "/extensions").await.expect(200).body["extensions"].clone();
    let aliases: Vec<&str> = all.as_array().unwrap().iter().map(|one| one["alias"].as_str().unwrap()).collect();
    assert_eq!(aliases.len(), 99);
    assert!(aliases.is_sorted());
    for alias in ["os-keypairs", "os-quota-sets", "os-simple-tenant-usage", "OS-EXT-STS", "NMN"] {
        assert!(aliases.contains(&alias), "{alias}");
    }
    let one = cloud.get(NOBODY, "2.96", "/extensions/os-keypairs").await.expect(200).body;
    assert_eq!(
        one,
        json!({"extension": {
            "alias": "os-keypairs", "name": "Keypairs", "description": "Keypair Support.", "links": [],
            "namespace": "http://docs.openstack.org/compute/ext/fake_xml", "updated": "2014-12-03T00:00:00Z",
        }})
    );
    let none = cloud.get(NOBODY, "2.1", "/extensions/os-singing").await;
    none.expect_fault(404, "itemNotFound", "The resource could not be found.");
}
