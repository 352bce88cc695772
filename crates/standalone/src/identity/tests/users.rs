use super::*;

#[tokio::test]
async fn a_user_is_created_shown_changed_and_deleted() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let body = json!({"user": {
        "name": " bob ", "password": "secret", "email": "bob@example.org", "description": "Bob",
        "default_project_id": cloud.ids.demo_project_id, "options": {"lock_password": false},
    }});
    let user = cloud.post("/v3/users", &admin, body).await.expect(201).body["user"].clone();
    let path = format!("/v3/users/{}", id(user.clone()));
    assert_eq!(
        user,
        json!({
            "id": user["id"], "name": "bob", "domain_id": "default", "enabled": true, "password_expires_at": null,
            "email": "bob@example.org", "description": "Bob", "default_project_id": cloud.ids.demo_project_id,
            "options": {"lock_password": false}, "links": {"self": format!("{URL}/identity{path}")},
        })
    );
    assert_eq!(cloud.get(&path, &admin).await.expect(200).body["user"], user);
    let change = json!({"user": {
        "name": "rob", "email": "rob@example.org", "default_project_id": null, "enabled": false,
        "options": {"lock_password": null},
    }});
    let changed = cloud.patch(&path, &admin, change).await.expect(200).body["user"].clone();
    assert_eq!(
        changed,
        json!({
            "id": user["id"], "name": "rob", "domain_id": "default", "enabled": false, "password_expires_at": null,
            "email": "rob@example.org", "description": "Bob", "options": {}, "links": user["links"],
        })
    );
    assert_eq!(cloud.get(&path, &admin).await.expect(200).body["user"], changed);
    cloud.delete(&path, &admin).await.expect(204);
    let message = format!("Could not find user: {}.", id(user));
    cloud.get(&path, &admin).await.expect_error(404, &message);
    cloud.patch(&path, &admin, json!({"user": {"name": "x"}})).await.expect_error(404, &message);
    cloud.delete(&path, &admin).await.expect_error(404, &message);
}

#[tokio::test]
async fn no_answer_shows_a_password_or_its_hash() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let body = json!({"user": {"name": "bob", "password": "hunter2"}});
    let created = cloud.post("/v3/users", &admin, body).await.expect(201).body;
    let path = format!("/v3/users/{}", id(created["user"].clone()));
    let change = json!({"user": {"password": "hunter3", "original_password": "hunter2"}});
    let changed = cloud.patch(&path, &admin, change).await.expect(200).body;
    let listed = cloud.get("/v3/users", &admin).await.expect(200).body;
    for body in [created, changed, listed] {
        let text = body.to_string();
        assert!(!text.contains("hunter") && !text.contains("argon2") && !text.contains("password_hash"), "{text}");
    }
}

#[tokio::test]
async fn lists_are_filtered() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let off = cloud.user(&admin, "off").await;
    cloud.patch(&format!("/v3/users/{off}"), &admin, json!({"user": {"enabled": false}})).await.expect(200);
    for (query, names) in [
        ("", vec!["admin", "demo", "off"]),
        ("?name=demo", vec!["demo"]),
        ("?name=Demo", vec![]),
        ("?domain_id=default&enabled=true", vec!["admin", "demo"]),
        ("?enabled=false", vec!["off"]),
        ("?domain_id=elsewhere", vec![]),
        ("?nothing=known", vec!["admin", "demo", "off"]),
    ] {
        assert_eq!(cloud.get(&format!("/v3/users{query}"), &admin).await.all("users", "name"), names, "{query}");
    }
    cloud.get("/v3/users?enabled=maybe", &admin).await.expect(400);
}

#[tokio::test]
async fn bad_users_are_refused_and_nothing_is_made() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let field = |field: &str, complaint: &str| format!("Invalid input for field 'user{field}': {complaint}");
    let cases = [
        (json!({}), 400, field("", "'name' is a required property")),
        (json!({"name": 1}), 400, field("/name", "1 is not of type 'string'")),
        (json!({"name": ""}), 400, field("/name", "'' should be non-empty")),
        (json!({"name": "b", "enabled": "maybe"}), 400, field("/enabled", "'maybe' is not of type 'boolean'")),
        (json!({"name": "b", "domain_id": 5}), 400, field("/domain_id", "5 is not of type 'string', 'null'")),
        (json!({"name": "b", "domain_id": "a b"}), 400, field("/domain_id", "'a b' does not match '^[a-zA-Z0-9-]+$'")),
        (json!({"name": "b", "domain_id": "nowhere"}), 404, "Could not find domain: nowhere.".to_owned()),
        (
            json!({"name": "b", "options": {"multi_factor_auth_enabled": true}}),
            400,
            field("/options", "Additional properties are not allowed ('multi_factor_auth_enabled' was unexpected)"),
        ),
        (
            json!({"name": "b", "options": {"lock_password": 1}}),
            400,
            field("/options/lock_password", "1 is not of type 'boolean', 'null'"),
        ),
        (
            json!({"name": "b", "default_project_id": []}),
            400,
            field("/default_project_id", "[] is not of type 'string', 'null'"),
        ),
        (
            json!({"name": "b", "federated": [{}]}),
            501,
            "The action you have requested has not been implemented.".to_owned(),
        ),
    ];
    for (user, status, message) in cases {
        cloud.post("/v3/users", &admin, json!({"user": user})).await.expect_error(status, &message);
    }
    let long = cloud.post("/v3/users", &admin, json!({"user": {"name": "x".repeat(256)}})).await.expect(400).body;
    assert!(long["error"]["message"].as_str().unwrap().ends_with("is too long"));
    cloud.post("/v3/users", &admin, json!({"user": {"name": "b", "password": "x".repeat(4097)}})).await.expect(403);
    cloud.post("/v3/users", &admin, json!({})).await.expect_error(400, "'user' is a required property");
    assert_eq!(cloud.get("/v3/users", &admin).await.all("users", "name"), ["admin", "demo"]);
    // The limit itself is fine.
    cloud.post("/v3/users", &admin, json!({"user": {"name": "x".repeat(255)}})).await.expect(201);
}

#[tokio::test]
async fn names_are_unique_in_their_domain() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let message =
        "Conflict occurred attempting to store user - Duplicate entry found with name demo at domain ID default.";
    cloud.post("/v3/users", &admin, json!({"user": {"name": "demo"}})).await.expect_error(409, message);
    let path = format!("/v3/users/{}", cloud.ids.admin_user_id);
    cloud.patch(&path, &admin, json!({"user": {"name": "demo"}})).await.expect_error(409, message);
    let domain =
        id(cloud.post("/v3/domains", &admin, json!({"domain": {"name": "d"}})).await.expect(201).body["domain"]
            .clone());
    cloud.post("/v3/users", &admin, json!({"user": {"name": "demo", "domain_id": domain}})).await.expect(201);
    // The name it has already is no conflict.
    cloud.patch(&path, &admin, json!({"user": {"name": "admin"}})).await.expect(200);
}

#[tokio::test]
async fn bad_changes_are_refused_and_change_nothing() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let path = format!("/v3/users/{}", cloud.ids.demo_user_id);
    let before = cloud.get(&path, &admin).await.expect(200).body;
    for (change, message) in [
        (json!({}), "Invalid input for field 'user': {} should be non-empty"),
        (json!({"id": "other"}), "Cannot change ID"),
        (json!({"domain_id": "other"}), "Cannot change Domain ID"),
        (json!({"name": "x", "enabled": 5}), "Invalid input for field 'user/enabled': 5 is not of type 'boolean'"),
    ] {
        cloud.patch(&path, &admin, json!({"user": change})).await.expect_error(400, message);
    }
    assert_eq!(cloud.get(&path, &admin).await.expect(200).body, before);
}

#[tokio::test]
async fn users_change_their_own_password_with_the_old_one() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let demo = cloud.demo().await;
    let path = format!("/v3/users/{}/password", cloud.ids.demo_user_id);
    let change = |original: &str, new: &str| json!({"user": {"original_password": original, "password": new}});
    cloud.post(&path, &demo, change("wrong", "new")).await.expect_error(401, UNAUTHORIZED);
    cloud.post("/v3/users/nobody/password", &demo, change("demo", "new")).await.expect_error(401, UNAUTHORIZED);
    cloud.post(&path, &demo, json!({"user": {"password": "new"}})).await.expect(400);
    cloud.post(&path, &demo, json!({"user": {"original_password": "demo", "password": 5}})).await.expect(400);
    cloud.get("/v3/auth/projects", &demo).await.expect(200);
    cloud.post(&path, &demo, change("demo", "new")).await.expect(204);
    cloud.get("/v3/auth/projects", &demo).await.expect(401);
    cloud.login(json!({"identity": password("demo", "demo")})).await.expect(401);
    cloud.login(json!({"identity": password("demo", "new")})).await.expect(201);
    // An administrator can forbid it.
    let lock = json!({"user": {"options": {"lock_password": true}}});
    cloud.patch(&format!("/v3/users/{}", cloud.ids.demo_user_id), &admin, lock).await.expect(200);
    cloud.post(&path, "", change("new", "newer")).await.expect(400);
}
