use super::*;

#[tokio::test]
async fn a_role_is_created_shown_changed_and_deleted() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let role = cloud.post("/v3/roles", &admin, json!({"role": {"name": "r"}})).await.expect(201).body["role"].clone();
    let path = format!("/v3/roles/{}", id(role.clone()));
    assert_eq!(
        role,
        json!({
            "id": role["id"], "name": "r", "domain_id": null, "description": null, "options": {},
            "links": {"self": format!("{URL}/identity{path}")},
        })
    );
    let change = json!({"role": {"name": "s", "description": "d"}});
    let changed = cloud.patch(&path, &admin, change).await.expect(200).body["role"].clone();
    assert_eq!(cloud.get(&path, &admin).await.expect(200).body["role"], changed);
    assert_eq!((&changed["name"], &changed["description"]), (&json!("s"), &json!("d")));
    // What is assigned goes with it.
    let path_of_grant = format!("projects/{}", cloud.ids.demo_project_id);
    cloud.grant(&admin, &path_of_grant, &cloud.ids.demo_user_id, "s").await;
    cloud.delete(&path, &admin).await.expect(204);
    cloud.get(&path, &admin).await.expect_error(404, &format!("Could not find role: {}.", id(role)));
    let query = format!("/v3/role_assignments?user.id={}", cloud.ids.demo_user_id);
    let left = cloud.get(&query, &admin).await.expect(200).body;
    assert_eq!(left["role_assignments"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_first_roles_are_there_and_cannot_be_deleted() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let names = cloud.get("/v3/roles", &admin).await.all("roles", "name");
    assert_eq!(names, ["admin", "manager", "member", "reader", "service"]);
    assert!(cloud.get("/v3/roles?domain_id=default", &admin).await.all("roles", "name").is_empty());
    for name in names {
        let role = cloud.role_id(&admin, &name).await;
        cloud.delete(&format!("/v3/roles/{role}"), &admin).await.expect(403);
        cloud.patch(&format!("/v3/roles/{role}"), &admin, json!({"role": {"name": "x"}})).await.expect(403);
    }
    let message = "Conflict occurred attempting to store role - Duplicate entry found with name member.";
    cloud.post("/v3/roles", &admin, json!({"role": {"name": "member"}})).await.expect_error(409, message);
    cloud.post("/v3/roles", &admin, json!({"role": {"name": "r", "domain_id": "default"}})).await.expect(501);
}

#[tokio::test]
async fn admin_implies_manager_implies_member_implies_reader() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let body = cloud.get("/v3/role_inferences", &admin).await.expect(200).body;
    let pairs: Vec<(&str, &str)> = body["role_inferences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["prior_role"]["name"].as_str().unwrap(), one["implies"][0]["name"].as_str().unwrap()))
        .collect();
    assert_eq!(pairs, [("admin", "manager"), ("manager", "member"), ("member", "reader")]);
    let (member, reader) = (cloud.role_id(&admin, "member").await, cloud.role_id(&admin, "reader").await);
    let implied = cloud.get(&format!("/v3/roles/{member}/implies"), &admin).await.expect(200).body;
    assert_eq!(implied["role_inference"]["implies"][0]["id"], json!(reader));
    let none = cloud.get(&format!("/v3/roles/{reader}/implies"), &admin).await.expect(200).body;
    assert_eq!(none["role_inference"]["implies"], json!([]));
    assert_eq!(none["role_inference"]["prior_role"]["name"], json!("reader"));
    let one = cloud.get(&format!("/v3/roles/{member}/implies/{reader}"), &admin).await.expect(200).body;
    assert_eq!(one["role_inference"]["implies"]["name"], json!("reader"));
    let message = format!("{reader} does not imply {member}.");
    cloud.get(&format!("/v3/roles/{reader}/implies/{member}"), &admin).await.expect_error(404, &message);
    cloud.get("/v3/roles/x/implies", &admin).await.expect_error(404, "Could not find role: x.");
    cloud.put(&format!("/v3/roles/{reader}/implies/{member}"), &admin).await.expect(501);
}
