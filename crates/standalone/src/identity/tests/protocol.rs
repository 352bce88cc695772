use axum::http::Method;

use super::*;

#[tokio::test]
async fn version_discovery_needs_no_token() {
    let cloud = Cloud::new().await;
    let get = async |path: &str| cloud.send(Request::get(path).body(Body::empty()).unwrap()).await;
    let version = json!({
        "id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": "http://cloud:8774/identity/v3/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    });
    let answer = get("/").await.expect(300);
    assert_eq!(answer.body, json!({"versions": {"values": [version]}}));
    assert_eq!(answer.headers["location"], "http://cloud:8774/identity/v3/");
    for path in ["/v3", "/v3/"] {
        assert_eq!(get(path).await.expect(200).body, json!({"version": version}));
    }
}

#[tokio::test]
async fn the_router_can_be_nested() {
    let cloud = Cloud::new().await;
    let nested = Router::new().nest_service("/identity", cloud.service.router());
    for (path, status) in [
        ("/identity", 300),
        ("/identity/", 300),
        ("/identity/v3", 200),
        ("/identity/v3/users", 401),
        ("/identity/v4", 404),
        ("/elsewhere", 404),
    ] {
        let response = nested.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused_in_keystones_form() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let not_found = "The requested URL was not found on the server. If you entered the URL manually please check your \
                     spelling and try again.";
    cloud.get("/v3/nothing", &admin).await.expect_error(404, not_found);
    let not_allowed = "The method is not allowed for the requested URL.";
    cloud.delete("/v3/users", &admin).await.expect_error(405, not_allowed);
    cloud.get("/v3/users/u/password", &admin).await.expect_error(405, not_allowed);
    cloud.get("/v3/users/%ff", &admin).await.expect(400);
}

#[tokio::test]
async fn the_catalog_is_there_to_be_read_only() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let services = cloud.get("/v3/services", &admin).await;
    assert_eq!(services.all("services", "type"), ["compute", "identity", "image", "network", "placement"]);
    let compute = cloud.get("/v3/services?type=compute", &admin).await.all("services", "id").pop().unwrap();
    let shown = cloud.get(&format!("/v3/services/{compute}"), &admin).await.expect(200).body;
    assert_eq!(shown["service"]["name"], json!("nova"));
    let path = format!("/v3/endpoints?service_id={compute}&interface=public");
    let endpoint = cloud.get(&path, &admin).await.all("endpoints", "id").pop().unwrap();
    let shown = cloud.get(&format!("/v3/endpoints/{endpoint}"), &admin).await.expect(200).body;
    assert_eq!(shown["endpoint"]["url"], json!("http://cloud:8774/compute/v2.1"));
    let links = json!({"self": format!("http://cloud:8774/identity/v3/endpoints/{endpoint}")});
    assert_eq!(shown["endpoint"]["links"], links);
    assert_eq!(cloud.get("/v3/regions", &admin).await.all("regions", "id"), ["RegionOne"]);
    cloud.get("/v3/regions/RegionOne", &admin).await.expect(200);
    cloud.get("/v3/regions/x", &admin).await.expect_error(404, "Could not find region: x.");
    cloud.get("/v3/services/x", &admin).await.expect_error(404, "Could not find service: x.");
    cloud.get("/v3/endpoints/x", &admin).await.expect_error(404, "Could not find endpoint: x.");
    let message = "The action you have requested has not been implemented.";
    for path in ["/v3/services", "/v3/endpoints", "/v3/regions"] {
        cloud.post(path, &admin, json!({})).await.expect_error(501, message);
        cloud.delete(&format!("{path}/x"), &admin).await.expect_error(501, message);
    }
}

#[tokio::test]
async fn there_are_no_groups() {
    let cloud = Cloud::new().await;
    let (admin, demo) = (cloud.admin().await, cloud.demo().await);
    assert!(cloud.get("/v3/groups", &admin).await.all("groups", "id").is_empty());
    let of_demo = format!("/v3/users/{}/groups", cloud.ids.demo_user_id);
    assert!(cloud.get(&of_demo, &demo).await.all("groups", "id").is_empty());
    let project = &cloud.ids.demo_project_id;
    for path in [
        "/v3/groups/g".to_owned(),
        format!("/v3/projects/{project}/groups/g/roles"),
        format!("/v3/projects/{project}/groups/g/roles/r"),
        "/v3/system/groups/g/roles".to_owned(),
    ] {
        cloud.get(&path, &admin).await.expect_error(404, "Could not find group: g.");
    }
    cloud.get("/v3/groups", &demo).await.expect_error(403, &forbidden("identity:list_groups"));
    cloud.post("/v3/groups", &admin, json!({"group": {"name": "g"}})).await.expect(501);
}

#[tokio::test]
async fn collections_are_paged_by_marker_and_limit() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let first = cloud.get("/v3/roles?limit=2", &admin).await.expect(200).body;
    assert_eq!(first["roles"].as_array().unwrap().len(), 2);
    let next = first["links"]["next"].as_str().unwrap().strip_prefix("http://cloud:8774/identity").unwrap().to_owned();
    let second = cloud.get(&next, &admin).await.expect(200).body;
    assert_eq!(second["roles"].as_array().unwrap().len(), 2);
    assert_ne!(second["roles"][0], first["roles"][0]);
    let next = second["links"]["next"].as_str().unwrap().strip_prefix("http://cloud:8774/identity").unwrap().to_owned();
    let third = cloud.get(&next, &admin).await.expect(200).body;
    assert_eq!(third["roles"].as_array().unwrap().len(), 1);
    assert_eq!(third["links"]["next"], Value::Null);
    let all = cloud.get("/v3/roles?limit=5", &admin).await.expect(200).body;
    assert_eq!(all["links"]["next"], Value::Null);
    assert_eq!(all["links"], json!({"self": "http://cloud:8774/identity/v3/roles", "previous": null, "next": null}));
    cloud.get("/v3/roles?limit=none", &admin).await.expect(400);
    cloud.get("/v3/roles?marker=x", &admin).await.expect_error(404, "Marker x could not be found.");
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_undo_its_request() {
    let cloud = Cloud::new().await;
    let admin = cloud.admin().await;
    let body = json!({"user": {"name": "bob", "password": "bob"}}).to_string();
    let request = Request::builder().method(Method::POST).uri("/v3/users").header("X-Auth-Token", &admin);
    let mut answer = Box::pin(cloud.router.clone().oneshot(request.body(Body::from(body)).unwrap()));
    // Polled once, then dropped.
    assert!(futures::poll!(answer.as_mut()).is_pending());
    drop(answer);
    let made = async {
        while cloud.get("/v3/users?name=bob", &admin).await.all("users", "name").is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), made).await.unwrap();
}
