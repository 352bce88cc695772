use axum::http::Method;
use kilonova_clients::ClientError;
use kilonova_clients::identity::Identity as _;

use super::*;

#[tokio::test]
async fn a_project_token_says_who_where_and_what_in_keystones_shape() {
    let cloud = Cloud::new().await;
    let scope = json!({"project": {"name": "demo", "domain": {"name": "Default"}}});
    let answer = cloud.login(json!({"identity": password("demo", "demo"), "scope": scope})).await.expect(201);
    assert!(answer.headers["x-subject-token"].len() < 255);
    let token = &answer.body["token"];
    assert_eq!(token["methods"], json!(["password"]));
    assert_eq!(
        token["user"],
        json!({
            "id": cloud.ids.demo_user_id, "name": "demo", "password_expires_at": null,
            "domain": {"id": "default", "name": "Default"},
        })
    );
    assert_eq!(
        token["project"],
        json!({"id": cloud.ids.demo_project_id, "name": "demo", "domain": {"id": "default", "name": "Default"}})
    );
    assert_eq!(token["is_domain"], json!(false));
    let roles: Vec<&str> =
        token["roles"].as_array().unwrap().iter().map(|role| role["name"].as_str().unwrap()).collect();
    assert_eq!(roles, ["member", "reader"]);
    assert_eq!(token["catalog"], json!(*cloud.service.catalog(&cloud.ids.demo_project_id)));
    assert_eq!(token["audit_ids"].as_array().unwrap().len(), 1);
    let instant = |key: &str| chrono::DateTime::parse_from_rfc3339(token[key].as_str().unwrap()).unwrap();
    assert_eq!((instant("expires_at") - instant("issued_at")).num_seconds(), 3600);
    assert!(token["expires_at"].as_str().unwrap().ends_with(".000000Z"));
}

#[tokio::test]
async fn every_scope_can_be_asked_for() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    cloud.grant(&admin, "domains/default", &cloud.ids.admin_user_id, "reader").await;
    let body = async |scope: Value| {
        let login = json!({"identity": password("admin", "admin"), "scope": scope});
        cloud.login(login).await.expect(201).body["token"].clone()
    };
    let system = body(json!({"system": {"all": true}})).await;
    assert_eq!(system["system"], json!({"all": true}));
    assert_eq!(system["roles"].as_array().unwrap().len(), 4);
    assert!(system["catalog"].is_array());
    for scope in [json!({"domain": {"id": "default"}}), json!({"domain": {"name": "Default"}})] {
        let domain = body(scope).await;
        assert_eq!(domain["domain"], json!({"id": "default", "name": "Default"}));
        assert_eq!(domain["roles"][0]["name"], json!("reader"));
    }
    for scope in [json!("unscoped"), json!({"unscoped": {}})] {
        let unscoped = body(scope).await;
        for absent in ["project", "domain", "system", "roles", "catalog"] {
            assert!(unscoped.get(absent).is_none(), "{absent}");
        }
    }
}

#[tokio::test]
async fn a_user_without_a_role_in_the_scope_gets_no_token() {
    let cloud = Cloud::new().await;
    let scopes = [
        json!({"project": {"id": cloud.ids.admin_project_id}}),
        json!({"project": {"id": "0123456789abcdef0123456789abcdef"}}),
        json!({"project": {"name": "nothing", "domain": {"id": "default"}}}),
        json!({"project": {"name": "demo", "domain": {"id": "elsewhere"}}}),
        json!({"domain": {"id": "default"}}),
        json!({"system": {"all": true}}),
    ];
    for scope in scopes {
        let login = json!({"identity": password("demo", "demo"), "scope": scope});
        cloud.login(login).await.expect_error(401, UNAUTHORIZED);
    }
}

#[tokio::test]
async fn without_a_scope_the_default_project_is_used_if_it_can_be() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let path = format!("/v3/users/{}", cloud.ids.demo_user_id);
    let login = async || cloud.login(json!({"identity": password("demo", "demo")})).await.expect(201).body;
    assert!(login().await["token"].get("project").is_none());
    let default = json!({"user": {"default_project_id": cloud.ids.demo_project_id}});
    cloud.patch(&path, &admin, default).await.expect(200);
    assert_eq!(login().await["token"]["project"]["id"], json!(cloud.ids.demo_project_id));
    // No role there: no scope, but a token.
    let default = json!({"user": {"default_project_id": cloud.ids.admin_project_id}});
    cloud.patch(&path, &admin, default).await.expect(200);
    assert!(login().await["token"].get("project").is_none());
}

#[tokio::test]
async fn rescoping_keeps_the_end_and_names_the_first_token() {
    let cloud = Cloud::new().await;
    let unscoped = cloud.login(json!({"identity": password("demo", "demo"), "scope": "unscoped"})).await.expect(201);
    let first = unscoped.body["token"].clone();
    let scope = json!({"project": {"id": cloud.ids.demo_project_id}});
    let login = json!({"identity": by_token(&unscoped.token()), "scope": scope});
    let scoped = cloud.login(login).await.expect(201);
    let second = scoped.body["token"].clone();
    assert_eq!(second["expires_at"], first["expires_at"]);
    assert_eq!(second["methods"], json!(["token", "password"]));
    assert_eq!(second["audit_ids"][1], first["audit_ids"][0]);
    assert_ne!(second["audit_ids"][0], first["audit_ids"][0]);
    // The third one still names the first.
    let third = cloud.login(json!({"identity": by_token(&scoped.token()), "scope": "unscoped"})).await.expect(201);
    assert_eq!(third.body["token"]["audit_ids"][1], first["audit_ids"][0]);
}

#[tokio::test]
async fn a_system_token_is_not_rescoped_to_a_project() {
    let cloud = Cloud::new().await;
    let login = json!({"identity": password("admin", "admin"), "scope": {"system": {"all": true}}});
    let system = cloud.login(login).await.token();
    let scope = json!({"project": {"id": cloud.ids.admin_project_id}});
    cloud.login(json!({"identity": by_token(&system), "scope": scope})).await.expect(403);
}

#[tokio::test]
async fn a_token_validates_itself_with_or_without_catalog() {
    let cloud = Cloud::new().await;
    let scope = json!({"project": {"id": cloud.ids.demo_project_id}});
    let issued = cloud.login(json!({"identity": password("demo", "demo"), "scope": scope})).await.expect(201);
    let body = issued.body.clone();
    let token = issued.token();
    let shown = cloud.about(Method::GET, "", &token, &token).await.expect(200);
    assert_eq!(shown.body, body);
    assert_eq!(shown.headers["x-subject-token"], token.as_str());
    let short = cloud.about(Method::GET, "?nocatalog", &token, &token).await.expect(200);
    assert!(short.body["token"].get("catalog").is_none());
    assert_eq!(cloud.about(Method::HEAD, "", &token, &token).await.expect(200).body, Value::Null);
}

#[tokio::test]
async fn only_admins_services_and_the_bearer_may_ask_about_a_token() {
    let cloud = Cloud::new().await;
    let (admin, demo) = (cloud.admin().await, cloud.demo().await);
    cloud.about(Method::GET, "", &admin, &demo).await.expect(200);
    cloud.about(Method::GET, "", &demo, &admin).await.expect_error(403, &forbidden("identity:validate_token"));
    cloud.about(Method::DELETE, "", &demo, &admin).await.expect_error(403, &forbidden("identity:revoke_token"));
    let service = cloud.user(&admin, "nova").await;
    cloud.grant(&admin, &format!("projects/{}", cloud.ids.service_project_id), &service, "service").await;
    let scope = json!({"project": {"name": "service", "domain": {"id": "default"}}});
    let nova = cloud.login(json!({"identity": password("nova", "nova"), "scope": scope})).await.token();
    cloud.about(Method::GET, "", &nova, &admin).await.expect(200);
    cloud.about(Method::DELETE, "", &nova, &admin).await.expect(403);
}

#[tokio::test]
async fn what_is_no_token_is_401_for_the_caller_and_404_as_the_subject() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    for bad in ["", "nonsense", "gAAAAABnonsense", &format!("{}x", &admin[..admin.len() - 2])] {
        cloud.get("/v3/auth/projects", bad).await.expect_error(401, UNAUTHORIZED);
        let message = format!("Could not find token: {bad}.");
        cloud.about(Method::GET, "", &admin, bad).await.expect_error(404, &message);
        cloud.login(json!({"identity": by_token(bad)})).await.expect_error(401, UNAUTHORIZED);
    }
    let answer = cloud.get("/v3/auth/tokens", &admin).await;
    answer.expect_error(404, "No token in the request");
    let request = Request::get("/v3/auth/projects").body(Body::empty()).unwrap();
    let answer = cloud.send(request).await;
    assert_eq!(answer.headers["www-authenticate"], "Keystone uri=\"http://cloud:8774/identity/v3\"");
    answer.expect_error(401, UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_of_another_cloud_is_no_token_here() {
    let (cloud, other) = (Cloud::new().await, Cloud::new().await);
    let token = other.admin().await;
    cloud.get("/v3/users", &token).await.expect_error(401, UNAUTHORIZED);
}

#[tokio::test]
async fn a_revoked_token_is_over_at_once_with_all_made_from_it_and_after_a_restart() {
    let cloud = Cloud::new().await;
    let (admin, bystander) = (cloud.admin().await, cloud.demo().await);
    let login = json!({"identity": password("demo", "demo"), "scope": "unscoped"});
    let first = cloud.login(login).await.token();
    let scope = json!({"project": {"id": cloud.ids.demo_project_id}});
    let second = cloud.login(json!({"identity": by_token(&first), "scope": scope.clone()})).await.token();
    let third = cloud.login(json!({"identity": by_token(&second), "scope": scope})).await.token();
    // A token from the middle takes only itself along.
    cloud.about(Method::DELETE, "", &second, &second).await.expect(204);
    cloud.get("/v3/auth/projects", &second).await.expect(401);
    cloud.get("/v3/auth/projects", &first).await.expect(200);
    cloud.get("/v3/auth/projects", &third).await.expect(200);
    cloud.about(Method::DELETE, "", &admin, &first).await.expect(204);
    for ended in [&first, &third] {
        cloud.get("/v3/auth/projects", ended).await.expect(401);
        cloud.about(Method::DELETE, "", &admin, ended).await.expect(404);
    }
    cloud.get("/v3/auth/projects", &bystander).await.expect(200);
    let cloud = cloud.restarted().await;
    for ended in [&first, &second, &third] {
        cloud.get("/v3/auth/projects", ended).await.expect(401);
    }
    cloud.get("/v3/auth/projects", &bystander).await.expect(200);
}

#[tokio::test]
async fn an_expired_token_is_over_but_can_be_asked_for_on_purpose() {
    let expired = Cloud::with_ttl(Duration::ZERO).await;
    let token = expired.demo().await;
    expired.get("/v3/auth/projects", &token).await.expect_error(401, UNAUTHORIZED);
    expired.login(json!({"identity": by_token(&token)})).await.expect_error(401, UNAUTHORIZED);
    assert!(matches!(expired.service.validate(&token).await, Err(ClientError::Unauthorized)));
    let cloud = expired.restarted().await;
    let admin = cloud.admin().await;
    cloud.about(Method::GET, "", &admin, &token).await.expect(404);
    let shown = cloud.about(Method::GET, "?allow_expired=1", &admin, &token).await.expect(200);
    assert_eq!(shown.body["token"]["user"]["name"], json!("demo"));
    cloud.get("/v3/auth/projects", &token).await.expect(401);
}

#[tokio::test]
async fn a_rotated_key_ends_no_token_until_it_is_dropped() {
    let cloud = Cloud::new().await;
    let token = cloud.demo().await;
    cloud.service.rotate_keys().unwrap();
    let cloud = cloud.restarted().await;
    cloud.get("/v3/auth/projects", &token).await.expect(200);
    cloud.service.rotate_keys().unwrap();
    let cloud = cloud.restarted().await;
    cloud.get("/v3/auth/projects", &token).await.expect(401);
}

#[tokio::test]
async fn every_change_takes_effect_on_tokens_at_once() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let valid = async |token: &str| cloud.service.validate(token).await.is_ok();
    let user_path = format!("/v3/users/{}", cloud.ids.demo_user_id);
    let project_path = format!("/v3/projects/{}", cloud.ids.demo_project_id);
    let member = cloud.role_id(&admin, "member").await;
    let role_path = format!("{project_path}/users/{}/roles/{member}", cloud.ids.demo_user_id);

    // A disabled user's tokens do not come back when the user does.
    let token = cloud.demo().await;
    assert!(valid(&token).await);
    cloud.patch(&user_path, &admin, json!({"user": {"enabled": false}})).await.expect(200);
    assert!(!valid(&token).await);
    cloud.patch(&user_path, &admin, json!({"user": {"enabled": true}})).await.expect(200);
    assert!(!valid(&token).await);

    let token = cloud.demo().await;
    cloud.patch(&user_path, &admin, json!({"user": {"password": "other"}})).await.expect(200);
    assert!(!valid(&token).await);
    cloud.patch(&user_path, &admin, json!({"user": {"password": "demo"}})).await.expect(200);

    let token = cloud.demo().await;
    cloud.delete(&role_path, &admin).await.expect(204);
    assert!(!valid(&token).await);
    cloud.put(&role_path, &admin).await.expect(204);

    let token = cloud.demo().await;
    cloud.patch(&project_path, &admin, json!({"project": {"enabled": false}})).await.expect(200);
    assert!(!valid(&token).await);
    cloud.patch(&project_path, &admin, json!({"project": {"enabled": true, "name": "renamed"}})).await.expect(200);
    let info = cloud.service.validate(&token).await.unwrap();
    assert_eq!(info.project_name.as_deref(), Some("renamed"));

    let manager = cloud.role_id(&admin, "manager").await;
    cloud.put(&role_path.replace(&member, &manager), &admin).await.expect(204);
    assert_eq!(cloud.service.validate(&token).await.unwrap().roles, ["manager", "member", "reader"]);

    cloud.delete(&user_path, &admin).await.expect(204);
    assert!(!valid(&token).await);
}

#[tokio::test]
async fn other_services_see_the_same_token() {
    let cloud = Cloud::new().await;
    let info = cloud.service.validate(&cloud.demo().await).await.unwrap();
    assert_eq!(info.user_id, cloud.ids.demo_user_id);
    assert_eq!(info.project_id.as_ref(), Some(&cloud.ids.demo_project_id));
    assert_eq!(info.project_domain_id.as_deref(), Some("default"));
    assert_eq!(info.roles, ["member", "reader"]);
    assert!(!info.is_system_scoped);
    assert_eq!(info.catalog, cloud.service.catalog(&cloud.ids.demo_project_id));
    assert!(matches!(cloud.service.validate("nonsense").await, Err(ClientError::Unauthorized)));
    assert!(cloud.service.project_exists(&cloud.ids.demo_project_id).await.unwrap());
    assert!(!cloud.service.project_exists("nothing").await.unwrap());
}

#[tokio::test]
async fn a_bearer_sees_where_to_go() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let login = json!({"identity": password("demo", "demo"), "scope": "unscoped"});
    let demo = cloud.login(login).await.token();
    assert_eq!(cloud.get("/v3/auth/projects", &demo).await.all("projects", "name"), ["demo"]);
    assert_eq!(cloud.get("/v3/auth/domains", &demo).await.all("domains", "name"), Vec::<String>::new());
    cloud.grant(&admin, "domains/default", &cloud.ids.demo_user_id, "reader").await;
    assert_eq!(cloud.get("/v3/auth/domains", &demo).await.all("domains", "id"), ["default"]);
    assert_eq!(cloud.get("/v3/auth/system", &demo).await.expect(200).body["system"], json!([]));
    assert_eq!(cloud.get("/v3/auth/system", &admin).await.expect(200).body["system"], json!([{"all": true}]));
    cloud
        .get("/v3/auth/catalog", &demo)
        .await
        .expect_error(403, "You are not authorized to perform the requested action.");
    let catalog = cloud.get("/v3/auth/catalog", &admin).await.expect(200).body;
    assert_eq!(catalog["catalog"], json!(*cloud.service.catalog("")));
    // A disabled project is no place to go.
    let path = format!("/v3/projects/{}", cloud.ids.demo_project_id);
    cloud.patch(&path, &admin, json!({"project": {"enabled": false}})).await.expect(200);
    assert_eq!(cloud.get("/v3/auth/projects", &demo).await.all("projects", "name"), Vec::<String>::new());
}
