use axum::http::Method;

use super::*;

/// Everything that only an administrator does: method, path, rule.
fn management(cloud: &Cloud) -> Vec<(Method, String, &'static str)> {
    let (user, project) = (&cloud.ids.admin_user_id, &cloud.ids.admin_project_id);
    let grant = |place: &str| format!("/v3/{place}/users/{user}/roles/r");
    vec![
        (Method::POST, "/v3/users".to_owned(), "identity:create_user"),
        (Method::PATCH, format!("/v3/users/{user}"), "identity:update_user"),
        (Method::DELETE, format!("/v3/users/{user}"), "identity:delete_user"),
        (Method::POST, "/v3/projects".to_owned(), "identity:create_project"),
        (Method::PATCH, format!("/v3/projects/{project}"), "identity:update_project"),
        (Method::DELETE, format!("/v3/projects/{project}"), "identity:delete_project"),
        (Method::POST, "/v3/domains".to_owned(), "identity:create_domain"),
        (Method::PATCH, "/v3/domains/default".to_owned(), "identity:update_domain"),
        (Method::DELETE, "/v3/domains/default".to_owned(), "identity:delete_domain"),
        (Method::POST, "/v3/roles".to_owned(), "identity:create_role"),
        (Method::PATCH, "/v3/roles/r".to_owned(), "identity:update_role"),
        (Method::DELETE, "/v3/roles/r".to_owned(), "identity:delete_role"),
        (Method::PUT, grant(&format!("projects/{project}")), "identity:create_grant"),
        (Method::DELETE, grant("domains/default"), "identity:revoke_grant"),
        (Method::PUT, grant("system"), "identity:create_system_grant_for_user"),
        (Method::DELETE, grant("system"), "identity:revoke_system_grant_for_user"),
    ]
}

/// Everything that readers of the whole system may see, and users of a project may not.
fn reading(cloud: &Cloud) -> Vec<(String, &'static str)> {
    let (user, project) = (&cloud.ids.admin_user_id, &cloud.ids.admin_project_id);
    vec![
        ("/v3/users".to_owned(), "identity:list_users"),
        (format!("/v3/users/{user}"), "identity:get_user"),
        (format!("/v3/users/{user}/projects"), "identity:list_user_projects"),
        (format!("/v3/users/{user}/groups"), "identity:list_groups_for_user"),
        ("/v3/projects".to_owned(), "identity:list_projects"),
        (format!("/v3/projects/{project}"), "identity:get_project"),
        ("/v3/domains".to_owned(), "identity:list_domains"),
        ("/v3/roles".to_owned(), "identity:list_roles"),
        ("/v3/role_inferences".to_owned(), "identity:list_role_inference_rules"),
        ("/v3/role_assignments".to_owned(), "identity:list_role_assignments"),
        (format!("/v3/projects/{project}/users/{user}/roles"), "identity:list_grants"),
        (format!("/v3/system/users/{user}/roles"), "identity:list_system_grants_for_user"),
        ("/v3/groups".to_owned(), "identity:list_groups"),
        ("/v3/services".to_owned(), "identity:list_services"),
        ("/v3/endpoints".to_owned(), "identity:list_endpoints"),
    ]
}

#[tokio::test]
async fn a_member_manages_nothing_and_reads_only_its_own() {
    let cloud = Cloud::new().await;
    let demo = cloud.demo().await;
    for (method, path, rule) in management(&cloud) {
        let answer = cloud.call(method, &path, &demo, Some(json!({"anything": {}}))).await;
        answer.expect_error(403, &forbidden(rule));
    }
    for (path, rule) in reading(&cloud) {
        cloud.get(&path, &demo).await.expect_error(403, &forbidden(rule));
    }
    let ids = &cloud.ids;
    for own in [
        format!("/v3/users/{}", ids.demo_user_id),
        format!("/v3/users/{}/projects", ids.demo_user_id),
        format!("/v3/projects/{}", ids.demo_project_id),
        "/v3/domains/default".to_owned(),
        "/v3/regions".to_owned(),
        "/v3/auth/projects".to_owned(),
    ] {
        cloud.get(&own, &demo).await.expect(200);
    }
    // There or not: others' are forbidden all the same.
    cloud.get("/v3/users/nobody", &demo).await.expect_error(403, &forbidden("identity:get_user"));
}

#[tokio::test]
async fn a_reader_of_the_system_reads_everything_and_manages_nothing() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let user = cloud.user(&admin, "auditor").await;
    cloud.grant(&admin, "system", &user, "reader").await;
    let login = json!({"identity": password("auditor", "auditor"), "scope": {"system": {"all": true}}});
    let auditor = cloud.login(login).await.token();
    for (path, _) in reading(&cloud) {
        cloud.get(&path, &auditor).await.expect(200);
    }
    for (method, path, rule) in management(&cloud) {
        let answer = cloud.call(method, &path, &auditor, Some(json!({"anything": {}}))).await;
        answer.expect_error(403, &forbidden(rule));
    }
    cloud.about(Method::GET, "", &auditor, &admin).await.expect(200);
}

#[tokio::test]
async fn without_a_token_nothing_is_done() {
    let cloud = Cloud::new().await;
    for (method, path, _) in management(&cloud) {
        let request = Request::builder().method(method).uri(path).body(Body::from("{}")).unwrap();
        cloud.send(request).await.expect_error(401, UNAUTHORIZED);
    }
    for (path, _) in reading(&cloud) {
        cloud.send(Request::get(path).body(Body::empty()).unwrap()).await.expect_error(401, UNAUTHORIZED);
    }
}

#[tokio::test]
async fn an_unscoped_token_reads_its_user_and_nothing_else() {
    let cloud = Cloud::new().await;
    let login = json!({"identity": password("admin", "admin"), "scope": "unscoped"});
    let token = cloud.login(login).await.token();
    cloud.get(&format!("/v3/users/{}", cloud.ids.admin_user_id), &token).await.expect(200);
    cloud.get("/v3/users", &token).await.expect_error(403, &forbidden("identity:list_users"));
    cloud.get("/v3/domains/default", &token).await.expect(403);
}
