use super::*;

#[tokio::test]
async fn a_domain_goes_with_all_that_is_in_it_once_it_is_disabled() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let body = json!({"domain": {"name": "d", "description": "x"}});
    let domain = cloud.post("/v3/domains", &admin, body).await.expect(201).body["domain"].clone();
    let domain_id = id(domain.clone());
    let path = format!("/v3/domains/{domain_id}");
    assert_eq!(
        domain,
        json!({
            "id": domain_id, "name": "d", "description": "x", "enabled": true, "tags": [], "options": {},
            "links": {"self": format!("{URL}/identity{path}")},
        })
    );
    let body = json!({"user": {"name": "bob", "password": "bob", "domain_id": domain_id}});
    let user = id(cloud.post("/v3/users", &admin, body).await.expect(201).body["user"].clone());
    let body = json!({"project": {"name": "p", "domain_id": domain_id}});
    let project = id(cloud.post("/v3/projects", &admin, body).await.expect(201).body["project"].clone());
    cloud.grant(&admin, &format!("projects/{project}"), &cloud.ids.demo_user_id, "reader").await;
    cloud.grant(&admin, &format!("domains/{domain_id}"), &cloud.ids.demo_user_id, "reader").await;
    cloud.grant(&admin, &format!("projects/{}", cloud.ids.demo_project_id), &user, "reader").await;

    let message = "Cannot delete a domain that is enabled, please disable it first.";
    cloud.delete(&path, &admin).await.expect_error(403, message);
    cloud.patch(&path, &admin, json!({"domain": {"enabled": false}})).await.expect(200);
    assert_eq!(
        cloud.get("/v3/domains?enabled=false", &admin).await.all("domains", "id"),
        std::slice::from_ref(&domain_id)
    );
    cloud.delete(&path, &admin).await.expect(204);
    for gone in [path.clone(), format!("/v3/users/{user}"), format!("/v3/projects/{project}")] {
        cloud.get(&gone, &admin).await.expect(404);
    }
    let left = cloud.get("/v3/role_assignments", &admin).await.expect(200).body.to_string();
    assert!(![&domain_id, &user, &project].into_iter().any(|id| left.contains(id.as_str())), "{left}");
    cloud.delete(&path, &admin).await.expect_error(404, &format!("Could not find domain: {domain_id}."));
}

#[tokio::test]
async fn names_are_unique_and_ids_can_be_chosen() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let message = "Conflict occurred attempting to store project - it is not permitted to have two projects acting as \
                   domains with the same name: Default.";
    cloud.post("/v3/domains", &admin, json!({"domain": {"name": "Default"}})).await.expect_error(409, message);
    let chosen = "0123456789abcdef0123456789abcdef";
    let body = json!({"domain": {"name": "d", "explicit_domain_id": chosen}});
    let domain = cloud.post("/v3/domains", &admin, body).await.expect(201).body["domain"].clone();
    assert_eq!(id(domain), chosen);
    let body = json!({"domain": {"name": "e", "explicit_domain_id": "short"}});
    let message = "Domain ID does not conform to required UUID format.";
    cloud.post("/v3/domains", &admin, body).await.expect_error(400, message);
    assert_eq!(cloud.get("/v3/domains?name=Default", &admin).await.all("domains", "id"), ["default"]);
    assert_eq!(cloud.get("/v3/domains", &admin).await.all("domains", "name"), ["Default", "d"]);
    cloud
        .patch("/v3/domains/x", &admin, json!({"domain": {"name": "y"}}))
        .await
        .expect_error(404, "Could not find domain: x.");
}
