//! What holds for every request: versions, sizes, forms, ids.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::cloud::{Cloud, MEMBER, PROJECT, Reply};

const SOME_SERVER: &str = "/v2.1/servers/5f1b6dd9-7a2f-4d55-9f0a-f8a0bf4ae0b2/metadata";

async fn send(cloud: &Cloud, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
    let mut request = Request::builder().method(method).uri(path).header("x-auth-token", MEMBER);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    cloud.raw(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn version_documents_need_no_token_and_say_what_is_spoken() {
    let cloud = Cloud::new().await;
    let all = cloud.send("GET", None, "", "/", None).await.expect(200).body;
    let ids: Vec<&Value> = all["versions"].as_array().unwrap().iter().map(|version| &version["id"]).collect();
    assert_eq!(ids, ["v2.0", "v2.1"]);
    assert_eq!(all["versions"][1]["links"][0]["href"], "http://cloud:8774/v2.1/");
    for path in ["/v2.1", "/v2.1/"] {
        let one = cloud.send("GET", None, "", path, None).await.expect(200);
        assert_eq!(one.body["version"]["version"], "2.104");
        assert_eq!(one.body["version"]["min_version"], "2.1");
        assert_eq!(one.header("openstack-api-version"), "compute 2.1");
    }
    let legacy = cloud.send("GET", None, "", "/v2/", None).await.expect(200);
    assert_eq!(legacy.body["version"]["status"], "DEPRECATED");
    assert_eq!(legacy.header("openstack-api-version"), "");
}

#[tokio::test]
async fn a_slash_at_the_end_is_a_part_without_a_name() {
    let cloud = Cloud::new().await;
    for path in ["/v2.1/servers/", "/v2.1/os-simple-tenant-usage/", "/v2.1/os-simple-tenant-usage/x/", "/v2.1//servers"]
    {
        assert_eq!(send(&cloud, "GET", path, &[], "").await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn under_a_path_of_its_own_links_have_that_path() {
    let cloud = Cloud::new().await;
    let nested = Router::new().nest_service("/compute", cloud.router.clone());
    for (path, pointer, href) in [
        ("/compute/v2.1/", "/version/links/0/href", "http://cloud:8774/compute/v2.1/"),
        ("/compute/v2.1", "/version/links/0/href", "http://cloud:8774/compute/v2.1/"),
        ("/compute/", "/versions/1/links/0/href", "http://cloud:8774/compute/v2.1/"),
        ("/compute", "/versions/1/links/0/href", "http://cloud:8774/compute/v2.1/"),
    ] {
        let request = Request::builder().uri(path).header("host", "cloud:8774").body(Body::empty()).unwrap();
        let response = nested.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(body.pointer(pointer).unwrap(), href, "{path}");
    }
}

#[tokio::test]
async fn the_negotiated_version_is_in_every_answer_of_the_versioned_api() {
    let cloud = Cloud::new().await;
    let reply = cloud.get(MEMBER, "latest", "/servers/x/metadata").await.expect(404);
    assert_eq!(reply.header("openstack-api-version"), "compute 2.104");
    assert_eq!(reply.header("x-openstack-nova-api-version"), "2.104");
    let vary: Vec<_> = reply.headers.get_all("vary").iter().collect();
    assert_eq!(vary, ["OpenStack-API-Version", "X-OpenStack-Nova-API-Version"]);
    let legacy = send(&cloud, "GET", "/v2/servers/x/metadata", &[("openstack-api-version", "compute 2.96")], "").await;
    assert_eq!(legacy.header("openstack-api-version"), "");
}

#[tokio::test]
async fn a_version_out_of_range_is_406_and_a_malformed_one_400() {
    let cloud = Cloud::new().await;
    let reply = cloud.get(MEMBER, "2.999", "/servers/x/metadata").await;
    reply.expect_fault(
        406,
        "computeFault",
        "Version 2.999 is not supported by the API. Minimum is 2.1 and maximum is 2.104.",
    );
    let reply = cloud.get(MEMBER, "two", "/servers/x/metadata").await;
    reply.expect_fault(
        400,
        "badRequest",
        "API Version String two is of invalid format. Must be of format MajorNum.MinorNum.",
    );
}

#[tokio::test]
async fn every_answer_has_a_request_id_of_its_own() {
    let cloud = Cloud::new().await;
    let global = "req-5f1b6dd9-7a2f-4d55-9f0a-f8a0bf4ae0b2";
    for path in ["/", "/v2.1/servers/x/metadata", "/v2.1/nothing"] {
        let reply = send(&cloud, "GET", path, &[("x-openstack-request-id", global)], "").await;
        let id = reply.header("x-openstack-request-id");
        assert!(id.starts_with("req-") && id != global, "{path}: {id:?}");
        assert_eq!(id, reply.header("x-compute-request-id"));
    }
}

#[tokio::test]
async fn unknown_paths_are_404_and_known_ones_with_another_method_405() {
    let cloud = Cloud::new().await;
    cloud.get(MEMBER, "", "/nothing").await.expect_fault(404, "itemNotFound", "The resource could not be found.");
    let reply = cloud.delete(MEMBER, "", "/servers/x/metadata").await.expect(405);
    assert_eq!(reply.header("allow"), "GET, POST, PUT");
    assert!(reply.body["badMethod"].is_object());
}

#[tokio::test]
async fn a_project_id_in_the_url_must_be_the_tokens() {
    let cloud = Cloud::new().await;
    cloud.get(MEMBER, "", &format!("/{PROJECT}/servers/x/metadata")).await.expect(404);
    cloud.get(MEMBER, "", "/another/servers/x/metadata").await.expect_fault(
        400,
        "badRequest",
        "Malformed request URL: URL's project_id 'another' doesn't match Context's project_id 'project-a'",
    );
}

#[tokio::test]
async fn a_body_that_is_no_json_is_400() {
    let cloud = Cloud::new().await;
    for body in ["{", "{\"metadata\": ", "\u{0}", "{'metadata': {}}"] {
        let reply = send(&cloud, "POST", SOME_SERVER, &[("content-type", "application/json")], body).await;
        reply.expect_fault(400, "badRequest", "Malformed request body");
    }
    let reply = send(&cloud, "POST", SOME_SERVER, &[], "").await;
    reply.expect_fault(400, "badRequest", "None is not of type 'object'");
}

#[tokio::test]
async fn a_body_of_another_type_is_415() {
    let cloud = Cloud::new().await;
    let reply = send(&cloud, "POST", SOME_SERVER, &[("content-type", "application/xml")], "<a/>").await;
    reply.expect_fault(415, "badMediaType", "Unsupported Content-Type");
    let body = json!({"metadata": {}}).to_string();
    let reply = send(&cloud, "POST", SOME_SERVER, &[("content-type", "text/plain")], body).await;
    reply.expect(404);
}

#[tokio::test]
async fn a_body_over_the_size_limit_is_413_whether_it_says_its_length_or_not() {
    let cloud = Cloud::new().await;
    let body = format!("{{\"metadata\": {{\"k\": \"{}\"}}}}", "x".repeat(114_688));
    let length = body.len().to_string();
    let headers = [("content-type", "application/json"), ("content-length", length.as_str())];
    for headers in [&headers[..], &headers[..1]] {
        let reply = send(&cloud, "POST", SOME_SERVER, headers, body.clone()).await;
        reply.expect_fault(413, "overLimit", "Request is too large.");
    }
}

#[tokio::test]
async fn an_unknown_server_is_404_with_its_id() {
    let cloud = Cloud::new().await;
    for id in ["x", "5f1b6dd9-7a2f-4d55-9f0a-f8a0bf4ae0b2"] {
        let reply = cloud.get(MEMBER, "", &format!("/servers/{id}/metadata")).await;
        reply.expect_fault(404, "itemNotFound", &format!("Instance {id} could not be found."));
    }
}

#[tokio::test]
async fn a_token_that_ends_is_401_from_then_on() {
    let cloud = Cloud::new().await;
    cloud.get(MEMBER, "", "/servers").await.expect(200);
    cloud.identity.revoke(MEMBER);
    let reply = cloud.get(MEMBER, "", "/servers").await.expect(401);
    assert_eq!(reply.message(), "The request you have made requires authentication.");
}

#[tokio::test]
async fn identity_out_of_reach_is_503_not_401() {
    use std::sync::Arc;
    struct Down;
    #[async_trait::async_trait]
    impl kilonova_clients::identity::Identity for Down {
        async fn validate(
            &self,
            token: &str,
        ) -> Result<Arc<kilonova_clients::identity::TokenInfo>, kilonova_clients::ClientError> {
            assert_ne!(token, "panic", "a test's own panic");
            Err(kilonova_clients::ClientError::unavailable("identity", "down"))
        }
        async fn project_exists(&self, _: &str) -> Result<bool, kilonova_clients::ClientError> {
            Ok(true)
        }
    }
    let cloud = Cloud::with_identity(Arc::new(Down)).await;
    cloud.get(MEMBER, "", "/servers/x/metadata").await.expect_fault(
        503,
        "serviceUnavailable",
        "Keystone is temporarily unavailable.",
    );
    let reply = cloud.get("panic", "", "/servers/x/metadata").await.expect(500);
    assert!(!reply.message().contains("own panic"), "{}", reply.body);
    assert!(reply.header("x-openstack-request-id").starts_with("req-"));
}
