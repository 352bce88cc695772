//! The image service through its REST API and its trait, on an SQLite file and a directory.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use futures::stream;
use kilonova_clients::ClientError;
use kilonova_clients::fake::FakeIdentity;
use kilonova_clients::image::{ImageData, ImageService as _};
use kilonova_core::RequestContext;
use kilonova_db::Db;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;
use uuid::Uuid;

use super::BuiltinImage;

const PATCH: &str = "application/openstack-images-v2.1-json-patch";
const SIZE_LIMIT: u64 = 1 << 20;

struct Cloud {
    service: Arc<BuiltinImage>,
    router: Router,
    dir: TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl Cloud {
    async fn new() -> Self {
        Self::in_dir(tempfile::tempdir().unwrap()).await
    }

    /// `demo` and `other` are members of projects of their own, `reader` reads in demo's, `admin` may do all.
    async fn in_dir(dir: TempDir) -> Self {
        let db = Db::open(&format!("sqlite://{}/db.sqlite", dir.path().display())).await.unwrap();
        let service = BuiltinImage::open_with_size_limit(db, dir.path().join("images"), SIZE_LIMIT).await.unwrap();
        let identity = FakeIdentity::new()
            .with_token("demo", "demo-project", &["member", "reader"])
            .with_token("other", "other-project", &["member", "reader"])
            .with_token("reader", "demo-project", &["reader"])
            .with_token("admin", "admin-project", &["admin", "member", "reader"]);
        let router = Router::new().nest_service("/image", service.router(Arc::new(identity)));
        Self { service, router, dir }
    }

    /// The same after a restart.
    async fn restarted(self) -> Self {
        let Self { service, router, dir } = self;
        drop((service, router));
        Self::in_dir(dir).await
    }

    async fn send(&self, token: &str, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("/image{path}"));
        let usual = [("host", "cloud:8774"), ("x-auth-token", token), ("accept", "application/json")];
        for (name, value) in usual.iter().chain(headers) {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        assert!(parts.headers["x-openstack-request-id"].to_str().unwrap().starts_with("req-"));
        let bytes = axum::body::to_bytes(body, 1 << 24).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    async fn get(&self, token: &str, path: &str) -> Answer {
        self.send(token, "GET", path, &[], Body::empty()).await
    }

    async fn post(&self, token: &str, path: &str, body: Value) -> Answer {
        self.send(token, "POST", path, &[], Body::from(body.to_string())).await
    }

    async fn patch(&self, token: &str, id: &str, body: Value) -> Answer {
        let headers = [("content-type", PATCH)];
        self.send(token, "PATCH", &format!("/v2/images/{id}"), &headers, Body::from(body.to_string())).await
    }

    async fn upload(&self, token: &str, id: &str, body: impl Into<Body>) -> Answer {
        let headers = [("content-type", "application/octet-stream")];
        self.send(token, "PUT", &format!("/v2/images/{id}/file"), &headers, body.into()).await
    }

    /// A queued image of demo, and its id.
    async fn queued(&self, extra: Value) -> String {
        self.queued_by("demo", extra).await
    }

    async fn queued_by(&self, token: &str, extra: Value) -> String {
        let mut image = json!({"name": "cirros", "disk_format": "raw", "container_format": "bare"});
        image.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let answer = self.post(token, "/v2/images", image).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    async fn active(&self, extra: Value) -> String {
        let id = self.queued(extra).await;
        assert_eq!(self.upload("demo", &id, "hello").await.status, StatusCode::NO_CONTENT);
        id
    }

    async fn show(&self, id: &str) -> Value {
        self.get("admin", &format!("/v2/images/{id}")).await.json()
    }

    async fn names(&self, token: &str, query: &str) -> Vec<String> {
        let answer = self.get(token, &format!("/v2/images{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.message());
        let images = answer.json()["images"].as_array().unwrap().clone();
        images.iter().map(|image| image["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The files in the store.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join("images")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn demo() -> RequestContext {
    RequestContext::new("demo-user", "demo-project")
}

#[tokio::test]
async fn versions_are_told_without_a_token_and_all_else_needs_one() {
    let cloud = Cloud::new().await;
    for (path, status) in [("", 300), ("/", 300), ("/versions", 200)] {
        let answer = cloud.get("nobody", path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        let versions = answer.json()["versions"].clone();
        assert_eq!(versions[0]["status"], "CURRENT");
        assert_eq!(versions[0]["links"][0]["href"], "http://cloud:8774/image/v2/");
    }
    assert_eq!(cloud.get("nobody", "/v2/images").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(cloud.get("demo", "/v2/tasks").await.status, StatusCode::NOT_FOUND);
    assert_eq!(cloud.get("demo", "/v2/info/import").await.json()["import-methods"]["value"], json!([]));
    assert_eq!(cloud.get("demo", "/v2/info/stores").await.status, StatusCode::NOT_FOUND);
    let schema = cloud.get("demo", "/v2/schemas/image").await.json();
    assert_eq!(schema["properties"]["disk_format"]["enum"][0], Value::Null);
    assert_eq!(cloud.get("demo", "/v2/schemas/images").await.json()["properties"]["images"]["items"], schema);
}

#[tokio::test]
async fn an_image_lives_from_create_to_delete() {
    let cloud = Cloud::new().await;
    let wanted = json!({
        "name": "cirros", "disk_format": "raw", "container_format": "bare", "min_disk": 1, "min_ram": 64,
        "tags": ["b", "a", "b"], "protected": true, "hw_disk_bus": "virtio",
    });
    let created = cloud.post("demo", "/v2/images", wanted).await;
    assert_eq!(created.status, StatusCode::CREATED);
    let image = created.json();
    let id = image["id"].as_str().unwrap();
    assert_eq!(created.headers["location"], format!("http://cloud:8774/image/v2/images/{id}").as_str());
    assert_eq!(
        (&image["status"], &image["visibility"], &image["owner"]),
        (&json!("queued"), &json!("shared"), &json!("demo-project"))
    );
    assert_eq!(
        (&image["tags"], &image["hw_disk_bus"], &image["size"]),
        (&json!(["a", "b"]), &json!("virtio"), &Value::Null)
    );
    assert_eq!(image["file"], format!("/v2/images/{id}/file"));
    assert_eq!(cloud.get("demo", &format!("/v2/images/{id}/file")).await.status, StatusCode::NO_CONTENT);
    let tasks = format!("/v2/images/{id}/tasks");
    assert_eq!(cloud.get("demo", &tasks).await.json(), json!({"tasks": []}));
    assert_eq!(cloud.get("other", &tasks).await.status, StatusCode::NOT_FOUND);

    assert_eq!(cloud.upload("demo", id, "hello").await.status, StatusCode::NO_CONTENT);
    let image = cloud.show(id).await;
    assert_eq!((&image["status"], &image["size"], &image["virtual_size"]), (&json!("active"), &json!(5), &json!(5)));
    assert_eq!(image["checksum"], "5d41402abc4b2a76b9719d911017c592");
    assert_eq!(image["os_hash_algo"], "sha512");
    assert!(image["os_hash_value"].as_str().unwrap().starts_with("9b71d224bd62f3785d96d46ad3ea3d73"));

    let file = cloud.get("demo", &format!("/v2/images/{id}/file")).await;
    assert_eq!((file.status, &file.bytes[..]), (StatusCode::OK, &b"hello"[..]));
    assert_eq!(
        (&file.headers["content-length"], &file.headers["content-md5"]),
        (&"5".parse().unwrap(), &"5d41402abc4b2a76b9719d911017c592".parse().unwrap())
    );
    let part =
        cloud.send("demo", "GET", &format!("/v2/images/{id}/file"), &[("range", "bytes=1-2")], Body::empty()).await;
    assert_eq!((part.status, &part.bytes[..]), (StatusCode::PARTIAL_CONTENT, &b"el"[..]));
    assert_eq!(part.headers["content-range"], "bytes 1-2/5");
    let beyond =
        cloud.send("demo", "GET", &format!("/v2/images/{id}/file"), &[("range", "bytes=5-")], Body::empty()).await;
    assert_eq!(
        (beyond.status, &beyond.headers["content-range"]),
        (StatusCode::RANGE_NOT_SATISFIABLE, &"bytes */5".parse().unwrap())
    );

    let path = format!("/v2/images/{id}");
    let refused = cloud.send("demo", "DELETE", &path, &[], Body::empty()).await;
    assert_eq!(
        (refused.status, refused.message()),
        (StatusCode::FORBIDDEN, format!("Image {id} is protected and cannot be deleted."))
    );
    assert_eq!(cloud.files(), [id]);
    cloud.patch("demo", id, json!([{"op": "replace", "path": "/protected", "value": false}])).await;
    assert_eq!(cloud.send("demo", "DELETE", &path, &[], Body::empty()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(cloud.files(), Vec::<String>::new());
    let gone = cloud.get("demo", &path).await;
    assert_eq!((gone.status, gone.message()), (StatusCode::NOT_FOUND, format!("No image found with ID {id}")));
}

#[tokio::test]
async fn errors_are_html_for_those_who_do_not_ask_for_json() {
    let cloud = Cloud::new().await;
    let request = Request::builder().uri("/image/v2/images/%3Cb%3E").header("x-auth-token", "demo").body(Body::empty());
    let response = cloud.router.clone().oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.headers()["content-type"], "text/html; charset=UTF-8");
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(body.contains("No image found with ID &lt;b&gt;"), "{body}");
}

#[tokio::test]
async fn bad_bodies_are_refused_and_make_nothing() {
    let cloud = Cloud::new().await;
    for (status, body) in [
        (400, json!([])),
        (400, json!({"name": 5})),
        (400, json!({"name": "x".repeat(256)})),
        (400, json!({"id": "mine"})),
        (400, json!({"visibility": "secret"})),
        (400, json!({"protected": "yes"})),
        (400, json!({"min_disk": -1})),
        (400, json!({"min_ram": 1.5})),
        (400, json!({"min_ram": 1_i64 << 31})),
        (400, json!({"disk_format": "floppy"})),
        (400, json!({"container_format": "box"})),
        (400, json!({"tags": "a"})),
        (400, json!({"tags": [1]})),
        (400, json!({"hw_disk_bus": 5})),
        (400, json!({"hw_disk_bus": null})),
        (403, json!({"status": "active"})),
        (403, json!({"checksum": "0"})),
        (403, json!({"locations": []})),
        (403, json!({"owner": "other-project"})),
        (403, json!({"visibility": "public"})),
        (413, json!({"tags": (0..129).map(|tag| tag.to_string()).collect::<Vec<_>>()})),
        (413, Value::Object((0..129).map(|name| (format!("p{name}"), json!("x"))).collect())),
    ] {
        let answer = cloud.post("demo", "/v2/images", body.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.message());
        assert!(!answer.message().is_empty(), "{body}");
    }
    let malformed = cloud.send("demo", "POST", "/v2/images", &[], Body::from("{\"name\":")).await;
    assert_eq!(malformed.status, StatusCode::BAD_REQUEST);
    let long = cloud.send("demo", "POST", "/v2/images", &[], Body::from(" ".repeat((1 << 20) + 1))).await;
    assert_eq!(long.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(cloud.post("reader", "/v2/images", json!({})).await.status, StatusCode::FORBIDDEN);
    assert_eq!(cloud.names("admin", "").await, Vec::<String>::new());

    let id = cloud.queued(json!({})).await;
    let again = cloud.post("demo", "/v2/images", json!({"id": id})).await;
    assert_eq!((again.status, again.message()), (StatusCode::CONFLICT, format!("Image ID {id} already exists!")));
}

#[tokio::test]
async fn a_second_upload_and_a_wrong_type_are_refused() {
    let cloud = Cloud::new().await;
    let id = cloud.active(json!({})).await;
    let again = cloud.upload("demo", &id, "other").await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert_eq!(again.message(), "Image status transition from active to saving is not allowed");
    assert_eq!(cloud.show(&id).await["size"], 5);

    let id = cloud.queued(json!({})).await;
    let path = format!("/v2/images/{id}/file");
    let json = cloud.send("demo", "PUT", &path, &[("content-type", "application/json")], Body::from("x")).await;
    assert_eq!(json.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(cloud.send("demo", "PUT", &path, &[], Body::from("x")).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);

    let formless = cloud.post("demo", "/v2/images", json!({"disk_format": "raw"})).await.json()["id"].clone();
    let answer = cloud.upload("demo", formless.as_str().unwrap(), "x").await;
    assert_eq!(
        (answer.status, answer.message()),
        (StatusCode::BAD_REQUEST, "Properties container_format must be set prior to saving data.".to_owned())
    );
    assert_eq!(cloud.upload("demo", &Uuid::new_v4().to_string(), "x").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_broken_upload_leaves_the_image_queued_and_no_file() {
    let cloud = Cloud::new().await;
    let id = cloud.queued(json!({})).await;
    let pieces = [Ok(Bytes::from_static(b"half of it")), Err(io::Error::other("the line is dead"))];
    let broken = cloud.upload("demo", &id, Body::from_stream(stream::iter(pieces))).await;
    assert_eq!(broken.status, StatusCode::BAD_REQUEST);
    assert_eq!((cloud.show(&id).await["status"].clone(), cloud.files()), (json!("queued"), vec![]));

    let headers = [("content-type", "application/octet-stream"), ("x-openstack-image-size", "6")];
    let path = format!("/v2/images/{id}/file");
    let short = cloud.send("demo", "PUT", &path, &headers, Body::from("hello")).await;
    assert_eq!(short.status, StatusCode::BAD_REQUEST);
    assert_eq!((cloud.show(&id).await["status"].clone(), cloud.files()), (json!("queued"), vec![]));

    assert_eq!(cloud.upload("demo", &id, "hello").await.status, StatusCode::NO_CONTENT);
    assert_eq!((cloud.show(&id).await["status"].clone(), cloud.files()), (json!("active"), vec![id]));
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_the_image_queued_and_no_file() {
    let cloud = Cloud::new().await;
    let id = cloud.queued(json!({})).await;
    let (sender, receiver) = futures::channel::mpsc::unbounded::<io::Result<Bytes>>();
    sender.unbounded_send(Ok(Bytes::from_static(b"half of it"))).unwrap();
    let upload = cloud.upload("demo", &id, Body::from_stream(receiver));
    let is_saving = async { while cloud.show(&id).await["status"] != "saving" {} };
    tokio::select! {
        _ = upload => panic!("the upload cannot end"),
        () = is_saving => {}
    }
    // The request is gone now; what hyper does to its body then is an error at its end.
    sender.unbounded_send(Err(io::Error::other("the line is dead"))).unwrap();
    let is_queued = async { while cloud.show(&id).await["status"] != "queued" {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), is_queued).await.unwrap();
    assert_eq!(cloud.files(), Vec::<String>::new());
}

#[tokio::test]
async fn an_image_over_the_limit_is_refused_whether_or_not_it_says_so() {
    let cloud = Cloud::new().await;
    let id = cloud.queued(json!({})).await;
    let long = Bytes::from(vec![7; SIZE_LIMIT as usize + 1]);
    let pieces = [Ok::<_, io::Error>(long.slice(..1000)), Ok(long.slice(1000..))];
    let silent = cloud.upload("demo", &id, Body::from_stream(stream::iter(pieces))).await;
    assert_eq!(silent.status, StatusCode::PAYLOAD_TOO_LARGE);
    let size = long.len().to_string();
    let headers = [("content-type", "application/octet-stream"), ("content-length", size.as_str())];
    let honest = cloud.send("demo", "PUT", &format!("/v2/images/{id}/file"), &headers, Body::from(long.clone())).await;
    assert_eq!(honest.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!((cloud.show(&id).await["status"].clone(), cloud.files()), (json!("queued"), vec![]));
    let exact = cloud.upload("demo", &id, long.slice(1..)).await;
    assert_eq!(exact.status, StatusCode::NO_CONTENT);
    assert_eq!(cloud.show(&id).await["size"], SIZE_LIMIT);
}

#[tokio::test]
async fn an_image_deleted_during_its_upload_is_gone() {
    let cloud = Cloud::new().await;
    let id = cloud.queued(json!({})).await;
    let (sender, receiver) = futures::channel::mpsc::unbounded::<io::Result<Bytes>>();
    let upload = cloud.upload("demo", &id, Body::from_stream(receiver));
    let delete = async {
        while cloud.show(&id).await["status"] != "saving" {}
        let answer = cloud.send("demo", "DELETE", &format!("/v2/images/{id}"), &[], Body::empty()).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        drop(sender);
    };
    let (answer, ()) = futures::join!(upload, delete);
    assert_eq!(answer.status, StatusCode::GONE);
    assert_eq!(cloud.files(), Vec::<String>::new());
}

#[tokio::test]
async fn a_restart_winds_up_what_a_crash_left() {
    let cloud = Cloud::new().await;
    let kept = cloud.active(json!({})).await;
    let interrupted = cloud.queued(json!({})).await;
    let id: Uuid = interrupted.parse().unwrap();
    assert!(kilonova_db::image::set_status(&cloud.service.db, id, &["queued"], "saving").await.unwrap());
    let images = cloud.dir.path().join("images");
    for name in [interrupted.clone(), format!("{interrupted}.part"), Uuid::new_v4().to_string(), "README".to_owned()] {
        std::fs::write(images.join(name), "rest").unwrap();
    }
    let cloud = cloud.restarted().await;
    let mut files = cloud.files();
    files.sort();
    let mut expected = vec!["README".to_owned(), kept];
    expected.sort();
    assert_eq!(files, expected);
    assert_eq!(cloud.show(&interrupted).await["status"], "queued");
    assert_eq!(cloud.upload("demo", &interrupted, "hello").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_patch_is_applied_whole_or_not_at_all() {
    let cloud = Cloud::new().await;
    let id = cloud.active(json!({"a": "1"})).await;
    let changed = cloud
        .patch(
            "demo",
            &id,
            json!([
                {"op": "replace", "path": "/name", "value": "new"},
                {"op": "add", "path": "/b", "value": "2"},
                {"op": "remove", "path": "/a"},
                {"op": "replace", "path": "/tags", "value": ["t"]},
                {"op": "replace", "path": "/min_disk", "value": 3},
            ]),
        )
        .await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.message());
    let changed = changed.json();
    assert_eq!((&changed["name"], &changed["b"], changed.get("a")), (&json!("new"), &json!("2"), None));
    assert_eq!((&changed["tags"], &changed["min_disk"]), (&json!(["t"]), &json!(3)));

    for (status, change) in [
        (409, json!({"op": "replace", "path": "/nothing", "value": "x"})),
        (409, json!({"op": "remove", "path": "/nothing"})),
        (403, json!({"op": "replace", "path": "/status", "value": "queued"})),
        (403, json!({"op": "replace", "path": "/id", "value": Uuid::new_v4()})),
        (403, json!({"op": "add", "path": "/locations", "value": []})),
        (403, json!({"op": "remove", "path": "/name"})),
        (403, json!({"op": "replace", "path": "/disk_format", "value": "qcow2"})),
        (403, json!({"op": "replace", "path": "/visibility", "value": "public"})),
        (403, json!({"op": "replace", "path": "/owner", "value": "other-project"})),
        (400, json!({"op": "replace", "path": "/min_disk", "value": "3"})),
        (400, json!({"op": "add", "path": "/c", "value": 3})),
        (400, json!({"op": "add", "path": "/c/d", "value": "3"})),
        (400, json!("rubbish")),
    ] {
        let both = json!([{"op": "replace", "path": "/name", "value": "half"}, change]);
        let answer = cloud.patch("demo", &id, both).await;
        assert_eq!(answer.status.as_u16(), status, "{change}: {}", answer.message());
        assert_eq!(cloud.show(&id).await["name"], "new", "{change}");
    }
    let path = format!("/v2/images/{id}");
    let wrong = cloud.send("demo", "PATCH", &path, &[("content-type", "application/json")], Body::from("[]")).await;
    assert_eq!(wrong.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(wrong.headers["accept-patch"].to_str().unwrap().contains(PATCH));
    let unknown = cloud.patch("demo", &Uuid::new_v4().to_string(), json!([])).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn only_the_owner_and_admins_change_an_image() {
    let cloud = Cloud::new().await;
    let private = cloud.queued(json!({"visibility": "private"})).await;
    let community = cloud.queued(json!({"visibility": "community"})).await;
    let public = cloud.queued_by("admin", json!({"visibility": "public"})).await;
    let rename = json!([{"op": "replace", "path": "/name", "value": "x"}]);
    for (token, id, show, change) in [
        ("demo", &private, 200, 200),
        ("reader", &private, 200, 403),
        ("other", &private, 404, 404),
        ("admin", &private, 200, 200),
        ("other", &community, 200, 403),
        ("other", &public, 200, 403),
        ("demo", &public, 200, 403),
    ] {
        assert_eq!(cloud.get(token, &format!("/v2/images/{id}")).await.status.as_u16(), show, "{token} {id}");
        assert_eq!(cloud.patch(token, id, rename.clone()).await.status.as_u16(), change, "{token} {id}");
        let tag = cloud.send(token, "PUT", &format!("/v2/images/{id}/tags/t"), &[], Body::empty()).await;
        let expected = if change == 200 { 204 } else { change };
        assert_eq!(tag.status.as_u16(), expected, "{token} {id}");
        if change != 200 {
            assert_eq!(cloud.upload(token, id, "x").await.status.as_u16(), change, "{token} {id}");
            let delete = cloud.send(token, "DELETE", &format!("/v2/images/{id}"), &[], Body::empty()).await;
            assert_eq!(delete.status.as_u16(), change, "{token} {id}");
        }
    }
}

#[tokio::test]
async fn tags_come_and_go() {
    let cloud = Cloud::new().await;
    let id = cloud.queued(json!({})).await;
    let path = format!("/v2/images/{id}/tags/blue%20one");
    for _ in 0..2 {
        assert_eq!(cloud.send("demo", "PUT", &path, &[], Body::empty()).await.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(cloud.show(&id).await["tags"], json!(["blue one"]));
    assert_eq!(cloud.send("demo", "DELETE", &path, &[], Body::empty()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(cloud.send("demo", "DELETE", &path, &[], Body::empty()).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn lists_are_filtered_sorted_and_paged() {
    let cloud = Cloud::new().await;
    for (name, extra) in [
        ("a", json!({"tags": ["x", "y"], "min_ram": 5})),
        ("b", json!({"tags": ["x"], "hw_disk_bus": "ide"})),
        ("c", json!({"disk_format": "qcow2", "protected": true, "visibility": "private"})),
        ("d", json!({"os_hidden": true})),
        ("e,f", json!({"visibility": "community"})),
    ] {
        let mut image = extra.clone();
        image["name"] = json!(name);
        cloud.queued(image).await;
    }
    let id = cloud.get("demo", "/v2/images?name=a").await.json()["images"][0]["id"].as_str().unwrap().to_owned();
    cloud.upload("demo", &id, "hello").await;
    for (query, expected) in [
        ("?sort=name:asc", &["a", "b", "c", "e,f"][..]),
        ("?sort_key=name&sort_dir=desc", &["e,f", "c", "b", "a"]),
        ("", &["e,f", "c", "b", "a"]),
        ("?name=b", &["b"]),
        ("?name=in:a,%22e,f%22&sort=name:asc", &["a", "e,f"]),
        ("?status=active", &["a"]),
        ("?size_min=5&size_max=5", &["a"]),
        ("?size_min=6", &[]),
        ("?tag=x&sort=name:asc", &["a", "b"]),
        ("?tag=x&tag=y", &["a"]),
        ("?hw_disk_bus=ide", &["b"]),
        ("?disk_format=qcow2", &["c"]),
        ("?protected=true", &["c"]),
        ("?visibility=private", &["c"]),
        ("?os_hidden=true", &["d"]),
        ("?owner=nobody", &[]),
        ("?min_ram=5", &["a"]),
        ("?created_at=gt:2020-01-01T00:00:00Z&name=a", &["a"]),
        ("?created_at=lt:2020-01-01T00:00:00Z", &[]),
    ] {
        assert_eq!(cloud.names("demo", query).await, expected, "{query}");
    }
    assert_eq!(cloud.names("other", "").await, Vec::<String>::new());
    assert_eq!(cloud.names("other", "?visibility=community").await, ["e,f"]);
    assert_eq!(cloud.names("other", "?visibility=all").await, ["e,f"]);

    let page = cloud.get("demo", "/v2/images?limit=3&sort=name:asc").await.json();
    assert_eq!(page["first"], "/v2/images?limit=3&sort=name:asc");
    let next = page["next"].as_str().unwrap();
    assert_eq!(cloud.names("demo", next.strip_prefix("/v2/images").unwrap()).await, ["e,f"]);
    assert!(cloud.get("demo", next).await.json().get("next").is_none());
    assert_eq!(cloud.names("demo", "?limit=0").await, Vec::<String>::new());
    for wrong in [
        "?limit=-1",
        "?limit=x",
        "?marker=x",
        "?sort=colour",
        "?visibility=x",
        "?size_min=x",
        "?protected=x",
        "?created_at=x",
        "?member_status=x",
    ] {
        assert_eq!(cloud.get("demo", &format!("/v2/images{wrong}")).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn a_shared_image_is_offered_accepted_and_taken_back() {
    let cloud = Cloud::new().await;
    let id = cloud.active(json!({})).await;
    let (image, members) = (format!("/v2/images/{id}"), format!("/v2/images/{id}/members"));
    assert_eq!(cloud.get("other", &image).await.status, StatusCode::NOT_FOUND);
    let offer = cloud.post("demo", &members, json!({"member": "other-project"})).await;
    assert_eq!((offer.status, &offer.json()["status"]), (StatusCode::OK, &json!("pending")));
    assert_eq!(cloud.post("demo", &members, json!({"member": "other-project"})).await.status, StatusCode::CONFLICT);
    assert_eq!(cloud.post("demo", &members, json!({"member": ""})).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(cloud.post("other", &members, json!({"member": "third"})).await.status, StatusCode::FORBIDDEN);

    assert_eq!(cloud.get("other", &image).await.status, StatusCode::OK);
    assert_eq!(cloud.names("other", "").await, Vec::<String>::new());
    assert_eq!(cloud.names("other", "?member_status=pending").await, ["cirros"]);
    let mine = format!("{members}/other-project");
    let accept = || Body::from(json!({"status": "accepted"}).to_string());
    assert_eq!(cloud.send("demo", "PUT", &mine, &[], accept()).await.status, StatusCode::FORBIDDEN);
    assert_eq!(cloud.send("other", "PUT", &mine, &[], accept()).await.status, StatusCode::OK);
    assert_eq!(cloud.names("other", "").await, ["cirros"]);
    assert_eq!(cloud.get("other", &members).await.json()["members"][0]["member_id"], "other-project");
    assert_eq!(cloud.get("demo", &mine).await.json()["status"], "accepted");

    assert_eq!(cloud.send("demo", "DELETE", &mine, &[], Body::empty()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(cloud.send("demo", "DELETE", &mine, &[], Body::empty()).await.status, StatusCode::NOT_FOUND);
    assert_eq!(cloud.get("other", &image).await.status, StatusCode::NOT_FOUND);
    let private = cloud.queued(json!({"visibility": "private"})).await;
    assert_eq!(cloud.get("demo", &format!("/v2/images/{private}/members")).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_deactivated_image_is_read_by_admins_only() {
    let cloud = Cloud::new().await;
    let id = cloud.active(json!({})).await;
    let uuid: Uuid = id.parse().unwrap();
    let (deactivate, reactivate) =
        (format!("/v2/images/{id}/actions/deactivate"), format!("/v2/images/{id}/actions/reactivate"));
    assert_eq!(cloud.post("demo", &deactivate, json!({})).await.status, StatusCode::FORBIDDEN);
    assert_eq!(cloud.post("admin", &deactivate, json!({})).await.status, StatusCode::NO_CONTENT);
    let file = format!("/v2/images/{id}/file");
    assert_eq!(cloud.get("demo", &file).await.status, StatusCode::FORBIDDEN);
    assert_eq!(&cloud.get("admin", &file).await.bytes[..], b"hello");
    assert!(matches!(cloud.service.download(&demo(), uuid).await, Err(ClientError::Forbidden(_))));
    assert_eq!(cloud.post("admin", &reactivate, json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(cloud.get("demo", &file).await.status, StatusCode::OK);
    let queued = cloud.queued(json!({})).await;
    let answer = cloud.post("admin", &format!("/v2/images/{queued}/actions/deactivate"), json!({})).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn compute_reads_the_image_as_a_file() {
    let cloud = Cloud::new().await;
    let id: Uuid = cloud.active(json!({"hw_disk_bus": "virtio"})).await.parse().unwrap();
    let image = cloud.service.show(&demo(), id).await.unwrap();
    assert_eq!(
        (image.status.as_str(), image.size, image.properties["hw_disk_bus"].as_str()),
        ("active", Some(5), "virtio")
    );
    let data = cloud.service.download(&demo(), id).await.unwrap();
    assert!(matches!(data, ImageData::File(_)), "{data:?}");
    assert_eq!(std::fs::read(data.path()).unwrap(), b"hello");

    let stranger = RequestContext::new("other-user", "other-project");
    assert!(matches!(cloud.service.show(&stranger, id).await, Err(ClientError::NotFound { resource: "image", .. })));
    assert!(matches!(cloud.service.download(&stranger, id).await, Err(ClientError::NotFound { .. })));
    let queued: Uuid = cloud.queued(json!({})).await.parse().unwrap();
    assert!(matches!(cloud.service.download(&demo(), queued).await, Err(ClientError::NotFound { .. })));
}

#[tokio::test]
async fn a_registered_file_is_public_and_the_same_bytes_are_the_same_image() {
    let cloud = Cloud::new().await;
    let source: PathBuf = cloud.dir.path().join("guest.img");
    std::fs::write(&source, "one").unwrap();
    let properties = BTreeMap::from([("hw_disk_bus".to_owned(), "virtio".to_owned())]);
    let register = || cloud.service.register_file("guest", &source, "raw", properties.clone());
    let first = register().await.unwrap();
    assert_eq!(register().await.unwrap(), first);
    let image = cloud.service.show(&demo(), first).await.unwrap();
    assert_eq!((image.visibility.as_str(), image.status.as_str(), image.owner), ("public", "active", None));
    assert_eq!((image.size, image.properties), (Some(3), properties.clone()));

    std::fs::write(&source, "two!").unwrap();
    let second = register().await.unwrap();
    assert_ne!(second, first);
    let named = cloud.get("demo", "/v2/images?name=guest").await.json();
    let ids: Vec<&Value> = named["images"].as_array().unwrap().iter().map(|image| &image["id"]).collect();
    assert_eq!(ids, [&json!(second)]);
    assert_eq!(&cloud.get("demo", &format!("/v2/images/{first}/file")).await.bytes[..], b"one");

    std::fs::remove_file(&source).unwrap();
    assert!(register().await.is_err());
    assert_eq!(cloud.names("admin", "?visibility=public").await, ["guest"]);
}
