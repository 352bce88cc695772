use super::*;

async fn create(cloud: &Cloud, token: &str, project: Value) -> String {
    id(cloud.post("/v3/projects", token, json!({"project": project})).await.expect(201).body["project"].clone())
}

#[tokio::test]
async fn a_project_is_created_shown_changed_and_deleted() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let body = json!({"project": {"name": "p", "description": "d", "tags": ["a"], "colour": "red", "domain_id": null}});
    let project = cloud.post("/v3/projects", &admin, body).await.expect(201).body["project"].clone();
    let path = format!("/v3/projects/{}", id(project.clone()));
    assert_eq!(
        project,
        json!({
            "id": project["id"], "name": "p", "domain_id": "default", "parent_id": "default", "description": "d",
            "enabled": true, "is_domain": false, "tags": ["a"], "options": {}, "colour": "red",
            "links": {"self": format!("{URL}/identity{path}")},
        })
    );
    assert_eq!(cloud.get(&path, &admin).await.expect(200).body["project"], project);
    let change = json!({"project": {"name": "q", "description": null, "enabled": false, "tags": []}});
    let changed = cloud.patch(&path, &admin, change).await.expect(200).body["project"].clone();
    assert_eq!((&changed["name"], &changed["description"]), (&json!("q"), &json!("")));
    assert_eq!((&changed["enabled"], &changed["tags"]), (&json!(false), &json!([])));
    assert_eq!(changed["colour"], json!("red"));
    cloud.delete(&path, &admin).await.expect(204);
    let message = format!("Could not find project: {}.", id(project));
    cloud.get(&path, &admin).await.expect_error(404, &message);
    cloud.patch(&path, &admin, json!({"project": {"name": "x"}})).await.expect_error(404, &message);
    cloud.delete(&path, &admin).await.expect_error(404, &message);
}

#[tokio::test]
async fn a_deleted_project_takes_its_assignments_and_defaults_along() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let user = cloud.user(&admin, "bob").await;
    let project = create(&cloud, &admin, json!({"name": "p"})).await;
    cloud.grant(&admin, &format!("projects/{project}"), &user, "member").await;
    let path = format!("/v3/users/{user}");
    cloud.patch(&path, &admin, json!({"user": {"default_project_id": project}})).await.expect(200);
    cloud.delete(&format!("/v3/projects/{project}"), &admin).await.expect(204);
    let left = cloud.get(&format!("/v3/role_assignments?user.id={user}"), &admin).await.expect(200).body;
    assert_eq!(left["role_assignments"], json!([]));
    assert!(cloud.get(&path, &admin).await.expect(200).body["user"].get("default_project_id").is_none());
}

#[tokio::test]
async fn lists_are_filtered() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let parent = create(&cloud, &admin, json!({"name": "parent"})).await;
    create(&cloud, &admin, json!({"name": "child", "parent_id": parent, "enabled": false})).await;
    let below = format!("?parent_id={parent}");
    for (query, names) in [
        ("", vec!["admin", "child", "demo", "parent", "service"]),
        ("?name=demo", vec!["demo"]),
        ("?enabled=0", vec!["child"]),
        (&below, vec!["child"]),
        ("?parent_id=default", vec!["admin", "demo", "parent", "service"]),
        ("?parent_id=default&domain_id=elsewhere", vec![]),
        ("?domain_id=elsewhere", vec![]),
    ] {
        let answer = cloud.get(&format!("/v3/projects{query}"), &admin).await;
        assert_eq!(answer.all("projects", "name"), names, "{query}");
    }
}

#[tokio::test]
async fn users_list_their_own_projects() {
    let cloud = Cloud::new().await;
    let (admin, demo) = (cloud.admin().await, cloud.demo().await);
    let path = format!("/v3/users/{}/projects", cloud.ids.demo_user_id);
    assert_eq!(cloud.get(&path, &demo).await.all("projects", "name"), ["demo"]);
    assert_eq!(cloud.get(&format!("{path}?name=x"), &demo).await.all("projects", "name"), Vec::<String>::new());
    assert_eq!(cloud.get(&path, &admin).await.all("projects", "name"), ["demo"]);
    let other = format!("/v3/users/{}/projects", cloud.ids.admin_user_id);
    cloud.get(&other, &demo).await.expect_error(403, &forbidden("identity:list_user_projects"));
    cloud.get("/v3/users/nobody/projects", &admin).await.expect_error(404, "Could not find user: nobody.");
}

#[tokio::test]
async fn names_are_unique_in_their_domain() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let answer = cloud.post("/v3/projects", &admin, json!({"project": {"name": "demo"}})).await.expect(409);
    let message = answer.body["error"]["message"].as_str().unwrap().to_owned();
    let expected = "Conflict occurred attempting to store project - it is not permitted to have two projects with either \
                    the same name or same id in the same domain: name is demo, project id ";
    assert!(message.starts_with(expected), "{message}");
}

#[tokio::test]
async fn bad_projects_are_refused() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    for (project, status) in [
        (json!({}), 400),
        (json!({"name": "x".repeat(65)}), 400),
        (json!({"name": "p", "description": 5}), 400),
        (json!({"name": "p", "tags": "a"}), 400),
        (json!({"name": "p", "options": {"x": true}}), 400),
        (json!({"name": "p", "domain_id": "nowhere"}), 404),
        (json!({"name": "p", "parent_id": "nothing"}), 404),
        (json!({"name": "p", "is_domain": true}), 501),
    ] {
        cloud.post("/v3/projects", &admin, json!({"project": project})).await.expect(status);
    }
    assert_eq!(cloud.get("/v3/projects", &admin).await.all("projects", "name"), ["admin", "demo", "service"]);
}

#[tokio::test]
async fn the_tree_stays_a_tree_of_bounded_depth_with_enabled_parents() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let mut branch = vec!["default".to_owned()];
    for depth in 0..4 {
        let parent = branch.last().unwrap().clone();
        branch.push(create(&cloud, &admin, json!({"name": format!("p{depth}"), "parent_id": parent})).await);
    }
    let deepest = &branch[4];
    let message = format!("Max hierarchy depth reached for {deepest} branch.");
    let body = json!({"project": {"name": "deeper", "parent_id": deepest}});
    cloud.post("/v3/projects", &admin, body).await.expect_error(403, &message);

    let (parent, child) = (format!("/v3/projects/{}", branch[3]), format!("/v3/projects/{deepest}"));
    cloud.delete(&parent, &admin).await.expect(403);
    let disable = json!({"project": {"enabled": false}});
    cloud.patch(&parent, &admin, disable.clone()).await.expect(403);
    cloud.patch(&child, &admin, disable.clone()).await.expect(200);
    cloud.patch(&parent, &admin, disable).await.expect(200);
    cloud.patch(&child, &admin, json!({"project": {"enabled": true}})).await.expect(403);
    let body = json!({"project": {"name": "below", "parent_id": branch[3]}});
    cloud.post("/v3/projects", &admin, body).await.expect(400);
    cloud.patch(&child, &admin, json!({"project": {"parent_id": "default"}})).await.expect(403);
    // Where it is already is no change.
    cloud.patch(&child, &admin, json!({"project": {"parent_id": branch[3]}})).await.expect(200);
    cloud.delete(&child, &admin).await.expect(204);
    cloud.delete(&parent, &admin).await.expect(204);
}

#[tokio::test]
async fn an_immutable_project_is_neither_changed_nor_deleted_until_it_is_no_more() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let project = create(&cloud, &admin, json!({"name": "p", "options": {"immutable": true}})).await;
    let path = format!("/v3/projects/{project}");
    let message = |verb: &str| {
        format!(
            "Unable to {verb} immutable project resource: `{project}. Set resource option \"immutable\" to false first."
        )
    };
    cloud.patch(&path, &admin, json!({"project": {"name": "q"}})).await.expect_error(403, &message("update"));
    cloud.delete(&path, &admin).await.expect_error(403, &message("delete"));
    cloud.patch(&path, &admin, json!({"project": {"options": {"immutable": null}}})).await.expect(200);
    cloud.delete(&path, &admin).await.expect(204);
}
