//! `/flavors/{id}/os-flavor-access` and its actions.

use kilonova_db::flavors;
use serde_json::{Value, json};

use super::cloud::{ADMIN, Cloud, MEMBER, OTHER, OTHER_PROJECT};
use super::flavors::flavor;

async fn cloud() -> Cloud {
    let cloud = Cloud::new().await;
    flavors::create(&cloud.db, &flavor("private", false), &[]).await.unwrap();
    cloud
}

fn add(tenant: &str) -> Value {
    json!({"addTenantAccess": {"tenant": tenant}})
}

fn remove(tenant: &str) -> Value {
    json!({"removeTenantAccess": {"tenant": tenant}})
}

#[tokio::test]
async fn access_is_given_listed_and_taken() {
    let cloud = cloud().await;
    let action = "/flavors/private/action";
    let expected = json!({"flavor_access": [{"flavor_id": "private", "tenant_id": OTHER_PROJECT}]});
    cloud.get(OTHER, "2.1", "/flavors/private").await.expect(404);
    assert_eq!(cloud.post(ADMIN, "2.1", action, add(OTHER_PROJECT)).await.expect(200).body, expected);
    assert_eq!(cloud.get(ADMIN, "2.1", "/flavors/private/os-flavor-access").await.expect(200).body, expected);
    cloud.get(OTHER, "2.1", "/flavors/private").await.expect(200);
    let none = json!({"flavor_access": []});
    assert_eq!(cloud.post(ADMIN, "2.1", action, remove(OTHER_PROJECT)).await.expect(200).body, none);
    cloud.get(OTHER, "2.1", "/flavors/private").await.expect(404);
}

#[tokio::test]
async fn access_cannot_be_given_twice_nor_taken_where_there_is_none() {
    let cloud = cloud().await;
    let row = flavors::get(&cloud.db, "private", None).await.unwrap().id;
    cloud.post(ADMIN, "2.1", "/flavors/private/action", add(OTHER_PROJECT)).await.expect(200);
    let twice = cloud.post(ADMIN, "2.1", "/flavors/private/action", add(OTHER_PROJECT)).await;
    twice.expect_fault(
        409,
        "conflictingRequest",
        &format!("Flavor access already exists for flavor {row} and project {OTHER_PROJECT} combination."),
    );
    let gone = cloud.post(ADMIN, "2.1", "/flavors/private/action", remove("never-was")).await;
    gone.expect_fault(404, "itemNotFound", &format!("Flavor access not found for {row} / never-was combination."));
}

#[tokio::test]
async fn only_a_project_that_exists_gets_access() {
    let cloud = cloud().await;
    let unknown = cloud.post(ADMIN, "2.96", "/flavors/private/action", add("nowhere")).await;
    unknown.expect_fault(400, "badRequest", "Project ID nowhere is not a valid project.");
    let none = cloud.post(ADMIN, "2.96", "/flavors/none/action", add(OTHER_PROJECT)).await;
    none.expect_fault(404, "itemNotFound", "Flavor none could not be found.");
    cloud.post(ADMIN, "2.96", "/flavors/private/action", json!({"addTenantAccess": {}})).await.expect(400);
    cloud.post(ADMIN, "2.96", "/flavors/private/action", json!({"sing": {}})).await.expect(400);
}

#[tokio::test]
async fn public_flavors_have_no_access_list() {
    let cloud = cloud().await;
    let list = cloud.get(ADMIN, "2.1", "/flavors/1/os-flavor-access").await;
    list.expect_fault(404, "itemNotFound", "Access list not available for public flavors.");
    cloud.post(ADMIN, "2.6", "/flavors/1/action", add(OTHER_PROJECT)).await.expect(200);
    let refused = cloud.post(ADMIN, "2.7", "/flavors/1/action", add(OTHER_PROJECT)).await;
    refused.expect_fault(409, "conflictingRequest", "Can not add access to a public flavor.");
}

#[tokio::test]
async fn access_is_for_admins() {
    let cloud = cloud().await;
    let list = cloud.get(MEMBER, "2.1", "/flavors/private/os-flavor-access").await;
    list.expect_fault(403, "forbidden", "Policy doesn't allow os_compute_api:os-flavor-access to be performed.");
    let given = cloud.post(MEMBER, "2.1", "/flavors/private/action", add(OTHER_PROJECT)).await;
    given.expect_fault(
        403,
        "forbidden",
        "Policy doesn't allow os_compute_api:os-flavor-access:add_tenant_access to be performed.",
    );
}
