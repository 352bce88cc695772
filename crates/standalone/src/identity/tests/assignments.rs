use axum::http::Method;

use super::*;

#[tokio::test]
async fn roles_are_granted_checked_listed_and_revoked_on_every_target() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let (user, role) = (cloud.user(&admin, "bob").await, cloud.role_id(&admin, "reader").await);
    for target in [format!("projects/{}", cloud.ids.demo_project_id), "domains/default".to_owned(), "system".to_owned()]
    {
        let list = format!("/v3/{target}/users/{user}/roles");
        let one = format!("{list}/{role}");
        assert!(cloud.get(&list, &admin).await.all("roles", "name").is_empty());
        cloud.get(&one, &admin).await.expect(404);
        cloud.put(&one, &admin).await.expect(204);
        // Once more is fine.
        cloud.put(&one, &admin).await.expect(204);
        assert_eq!(cloud.get(&list, &admin).await.all("roles", "name"), ["reader"]);
        assert_eq!(cloud.get(&one, &admin).await.expect(204).body, Value::Null);
        cloud.call(Method::HEAD, &one, &admin, None).await.expect(204);
        cloud.delete(&one, &admin).await.expect(204);
        cloud.delete(&one, &admin).await.expect(404);
        assert!(cloud.get(&list, &admin).await.all("roles", "name").is_empty());
    }
    let message = format!(
        "Could not find role assignment with role: {role}, user or group: {user}, project, domain, or system: system."
    );
    cloud.get(&format!("/v3/system/users/{user}/roles/{role}"), &admin).await.expect_error(404, &message);
}

#[tokio::test]
async fn nothing_is_granted_where_a_part_is_missing() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let (user, role) = (&cloud.ids.demo_user_id, cloud.role_id(&admin, "reader").await);
    let project = &cloud.ids.demo_project_id;
    for (path, message) in [
        (format!("projects/x/users/{user}/roles/{role}"), "Could not find project: x."),
        (format!("domains/x/users/{user}/roles/{role}"), "Could not find domain: x."),
        (format!("projects/{project}/users/x/roles/{role}"), "Could not find user: x."),
        (format!("projects/{project}/users/{user}/roles/x"), "Could not find role: x."),
    ] {
        cloud.put(&format!("/v3/{path}"), &admin).await.expect_error(404, message);
        cloud.delete(&format!("/v3/{path}"), &admin).await.expect_error(404, message);
    }
    let list = format!("/v3/projects/x/users/{user}/roles");
    cloud.get(&list, &admin).await.expect_error(404, "Could not find project: x.");
}

#[tokio::test]
async fn assignments_are_listed_by_filter_with_names_and_what_they_imply() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let ids = &cloud.ids;
    let list = async |query: &str| {
        let path = format!("/v3/role_assignments{query}");
        cloud.get(&path, &admin).await.expect(200).body["role_assignments"].as_array().unwrap().clone()
    };
    assert_eq!(list("").await.len(), 3);
    let (member, reader) = (cloud.role_id(&admin, "member").await, cloud.role_id(&admin, "reader").await);
    let place = format!("{URL}/identity/v3/projects/{}/users/{}", ids.demo_project_id, ids.demo_user_id);
    let of_demo = format!("?user.id={}", ids.demo_user_id);
    assert_eq!(
        list(&of_demo).await,
        [json!({
            "user": {"id": ids.demo_user_id}, "role": {"id": member},
            "scope": {"project": {"id": ids.demo_project_id}},
            "links": {"assignment": format!("{place}/roles/{member}")},
        })]
    );
    let domain = json!({"id": "default", "name": "Default"});
    assert_eq!(
        list(&format!("{of_demo}&include_names&effective&role.id={reader}")).await,
        [json!({
            "user": {"id": ids.demo_user_id, "name": "demo", "domain": domain},
            "role": {"id": reader, "name": "reader"},
            "scope": {"project": {"id": ids.demo_project_id, "name": "demo", "domain": domain}},
            "links": {
                "assignment": format!("{place}/roles/{member}"),
                "prior_role": format!("{URL}/identity/v3/prior_role/{member}/implies/{reader}"),
            },
        })]
    );
    assert_eq!(list(&format!("?role.id={reader}")).await.len(), 0);
    assert_eq!(list(&format!("?scope.project.id={}&effective=1", ids.admin_project_id)).await.len(), 4);
    assert_eq!(list(&format!("?scope.project.id={}&effective=0", ids.admin_project_id)).await.len(), 1);
    let system = list("?scope.system=all").await;
    assert_eq!((system.len(), &system[0]["scope"]), (1, &json!({"system": {"all": true}})));
    assert_eq!(list("?scope.domain.id=default").await.len(), 0);
    assert_eq!(list("?group.id=g").await.len(), 0);
    for (query, message) in [
        ("?scope.domain.id=d&scope.project.id=p", "Specify a domain or project, not both"),
        ("?scope.domain.id=d&scope.system=all", "Specify system or domain, not both"),
        ("?scope.project.id=p&scope.system=all", "Specify system or project, not both"),
        ("?user.id=u&group.id=g", "Specify a user or group, not both"),
    ] {
        cloud.get(&format!("/v3/role_assignments{query}"), &admin).await.expect_error(400, message);
    }
    cloud.get("/v3/role_assignments?group.id=g&effective", &admin).await.expect(400);
}

#[tokio::test]
async fn a_deleted_user_leaves_no_assignment() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    cloud.delete(&format!("/v3/users/{}", cloud.ids.demo_user_id), &admin).await.expect(204);
    let left = cloud.get("/v3/role_assignments", &admin).await.expect(200).body.to_string();
    assert!(!left.contains(&cloud.ids.demo_user_id));
}
