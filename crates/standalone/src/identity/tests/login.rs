use super::*;

fn user(user: Value) -> Value {
    json!({"identity": {"methods": ["password"], "password": {"user": user}}})
}

#[tokio::test]
async fn users_are_found_by_id_or_by_name_and_domain() {
    let cloud = Cloud::new().await;
    let users = [
        json!({"id": cloud.ids.demo_user_id, "password": "demo"}),
        json!({"name": "demo", "domain": {"id": "default"}, "password": "demo"}),
        json!({"name": "demo", "domain": {"name": "Default"}, "password": "demo"}),
    ];
    for one in users {
        let answer = cloud.login(user(one)).await.expect(201);
        assert_eq!(answer.body["token"]["user"]["id"], json!(cloud.ids.demo_user_id));
    }
}

#[tokio::test]
async fn the_services_have_a_user_if_one_is_asked_for_and_it_keeps_its_first_password() {
    let cloud = Cloud::new().await;
    let mut login = user(json!({"name": "nova", "domain": {"id": "default"}, "password": "secret"}));
    login["scope"] = json!({"project": {"name": "service", "domain": {"id": "default"}}});
    cloud.login(login.clone()).await.expect_error(401, UNAUTHORIZED);
    for password in ["secret", "another"] {
        cloud.service.bootstrap(&passwords(Some(password))).await.unwrap();
        let token = cloud.login(login.clone()).await.expect(201).body;
        let roles = token["token"]["roles"].as_array().unwrap();
        let names: std::collections::BTreeSet<_> = roles.iter().map(|role| role["name"].as_str().unwrap()).collect();
        assert!(names.contains("admin") && names.contains("service"), "{names:?}");
    }
}

#[tokio::test]
async fn all_bad_logins_get_the_same_answer() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let disabled = cloud.user(&admin, "disabled").await;
    let path = format!("/v3/users/{disabled}");
    cloud.patch(&path, &admin, json!({"user": {"enabled": false}})).await.expect(200);
    cloud.post("/v3/users", &admin, json!({"user": {"name": "passwordless"}})).await.expect(201);
    let domain = json!({"id": "default"});
    let users = [
        json!({"name": "demo", "domain": domain, "password": "wrong"}),
        json!({"name": "demo", "domain": domain, "password": ""}),
        json!({"name": "demo", "domain": {"id": "elsewhere"}, "password": "demo"}),
        json!({"name": "nobody", "domain": domain, "password": "demo"}),
        json!({"id": "nobody", "password": "demo"}),
        json!({"id": disabled, "password": "disabled"}),
        json!({"name": "passwordless", "domain": domain, "password": ""}),
        json!({"name": "demo", "domain": domain, "password": "x".repeat(5000)}),
    ];
    for one in users {
        cloud.login(user(one)).await.expect_error(401, UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_disabled_domain_lets_nobody_in() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let body = json!({"domain": {"name": "other"}});
    let domain = id(cloud.post("/v3/domains", &admin, body).await.expect(201).body["domain"].clone());
    let body = json!({"user": {"name": "bob", "password": "bob", "domain_id": domain}});
    cloud.post("/v3/users", &admin, body).await.expect(201);
    let bob = json!({"name": "bob", "domain": {"id": domain}, "password": "bob"});
    let token = cloud.login(user(bob.clone())).await.token();
    cloud.get("/v3/auth/projects", &token).await.expect(200);
    let path = format!("/v3/domains/{domain}");
    cloud.patch(&path, &admin, json!({"domain": {"enabled": false}})).await.expect(200);
    cloud.login(user(bob)).await.expect_error(401, UNAUTHORIZED);
    cloud.get("/v3/auth/projects", &token).await.expect_error(401, UNAUTHORIZED);
}

#[tokio::test]
async fn repeated_failures_are_remembered_for_names_that_exist_and_for_names_that_do_not() {
    let cloud = Cloud::new().await;
    for name in ["demo", "nobody"] {
        let login = json!({"name": name, "domain": {"id": "default"}, "password": "wrong"});
        for _ in 0..4 {
            cloud.login(user(login.clone())).await.expect(401);
        }
    }
    let delay = |user: &str| cloud.service.failed_logins().delay(user, std::time::Instant::now());
    assert!(!delay(&cloud.ids.demo_user_id).is_zero());
    // The right password waits once more, then the failures are forgotten.
    cloud.demo().await;
    assert!(delay(&cloud.ids.demo_user_id).is_zero());
}

#[tokio::test]
async fn malformed_requests_say_what_is_wrong_with_them() {
    let cloud = Cloud::new().await;
    let suffix = "The server could not comply with the request since it is either malformed or otherwise incorrect. The \
                  client is assumed to be in error.";
    let post = async |kind: &str, body: &str| {
        let request = Request::post("/v3/auth/tokens").header("Content-Type", kind);
        cloud.send(request.body(Body::from(body.to_owned())).unwrap()).await
    };
    let json = "application/json";
    let message = format!("Expecting to find valid JSON in request body. {suffix}");
    post(json, "{").await.expect_error(400, &message);
    post(json, "[]").await.expect_error(400, &message);
    post(json, "\u{0}").await.expect_error(400, &message);
    let message = format!("Expecting to find application/json in Content-Type header. {suffix}");
    post("text/plain", "{}").await.expect_error(400, &message);
    let message = format!("Expecting to find auth in request body. {suffix}");
    post(json, "{}").await.expect_error(400, &message);
    post("application/json; charset=utf-8", "").await.expect_error(400, &message);
    let huge = format!("{{\"auth\": \"{}\"}}", "x".repeat(120_000));
    post(json, &huge).await.expect(413);
    cloud
        .login(json!({"identity": {"methods": ["totp"], "totp": {}}}))
        .await
        .expect_error(401, "Attempted to authenticate with an unsupported method.");
    cloud.login(json!({"identity": {"methods": []}})).await.expect_error(401, UNAUTHORIZED);
    let message = "Invalid input for field 'identity/methods': 'password' is not of type 'array'";
    cloud.login(json!({"identity": {"methods": "password"}})).await.expect_error(400, message);
}

#[tokio::test]
async fn bootstrap_twice_changes_nothing_and_resets_no_password() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let path = format!("/v3/users/{}", cloud.ids.demo_user_id);
    cloud.patch(&path, &admin, json!({"user": {"password": "changed"}})).await.expect(200);
    let before = cloud.get("/v3/role_assignments", &admin).await.expect(200).body;
    let ids = cloud.ids.clone();
    let cloud = cloud.restarted().await;
    assert_eq!(cloud.ids, ids);
    assert_eq!(cloud.get("/v3/role_assignments", &admin).await.expect(200).body, before);
    let demo = |password: &str| user(json!({"id": ids.demo_user_id, "password": password}));
    cloud.login(demo("demo")).await.expect(401);
    cloud.login(demo("changed")).await.expect(201);
}
