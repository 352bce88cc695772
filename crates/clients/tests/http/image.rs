//! Downloads that break off, stand still, or are not what they should be.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use kilonova_clients::ClientError;
use kilonova_clients::http::{HttpImage, Sessions};
use kilonova_clients::image::ImageService as _;
use kilonova_core::RequestContext;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};
use tempfile::TempDir;
use uuid::Uuid;

use crate::server::{Seen, Server, never, reply};

const CONTENT: &str = "0123456789";
const IMAGE: &str = "GET /image/v2/images/00000000-0000-0000-0000-000000000000";
const FILE: &str = "GET /image/v2/images/00000000-0000-0000-0000-000000000000/file";

/// The image with these bytes; `more` replaces attributes.
fn image(more: Value) -> Value {
    let hash: String = Sha512::digest(CONTENT).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut image = json!({
        "id": Uuid::nil(), "status": "active", "size": CONTENT.len(), "os_hash_algo": "sha512", "os_hash_value": hash,
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
    });
    for (name, value) in more.as_object().unwrap() {
        image[name] = value.clone();
    }
    image
}

struct Cloud {
    server: Server,
    image: HttpImage,
    dir: TempDir,
}

impl Cloud {
    async fn new<F>(
        attributes: Value,
        options: &[(&str, &str)],
        file: impl Fn(Seen) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Option<Response>> + Send + 'static,
    {
        let shown = image(attributes);
        let server = Server::start(move |seen: Seen| {
            let (shown, file) = (shown.clone(), file.clone());
            async move {
                match seen.what.as_str() {
                    IMAGE => reply(200, shown),
                    FILE => file(seen).await,
                    _ => None,
                }
            }
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let image = HttpImage::from_config(&server.config(options), &mut Sessions::default(), dir.path()).unwrap();
        Self { server, image, dir }
    }

    /// The bytes that come, or why they do not; whichever, no file is left afterwards.
    async fn download(&self) -> Result<String, String> {
        let data = self.image.download(&RequestContext::admin(), Uuid::nil()).await;
        let read = data.map(|data| std::fs::read_to_string(data.path()).unwrap());
        assert_eq!(self.files(), 0, "{read:?}");
        read.map_err(|error| match error {
            ClientError::Unavailable { service: "image", reason } => reason,
            other => panic!("{other:?}"),
        })
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.dir.path()).unwrap().count()
    }

    fn ranges(&self) -> Vec<String> {
        let seen = self.server.seen();
        seen.iter().filter(|seen| seen.what == FILE).map(|seen| seen.header("range").to_owned()).collect()
    }
}

fn whole() -> Option<Response> {
    Some(CONTENT.into_response())
}

/// Promises the length of `text` and breaks off after `count` bytes.
fn cut(status: StatusCode, range: &str, text: &'static str, count: usize) -> Option<Response> {
    let begin = stream::iter([Ok(Bytes::from_static(&text.as_bytes()[..count]))]);
    // Later, so that the bytes are on their way before the connection ends.
    let end = stream::once(async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(std::io::Error::other("cut"))
    });
    let headers = [("content-length", text.len().to_string()), ("content-range", range.to_owned())];
    Some((status, headers, Body::from_stream(begin.chain(end))).into_response())
}

fn part(first: usize) -> Option<Response> {
    let range = format!("bytes {first}-{}/{}", CONTENT.len() - 1, CONTENT.len());
    Some((StatusCode::PARTIAL_CONTENT, [("content-range", range)], &CONTENT[first..]).into_response())
}

/// Without a length.
fn chunks(texts: &'static [&'static str]) -> Option<Response> {
    Some(Body::from_stream(stream::iter(texts.iter().map(|text| Ok::<_, Infallible>(*text)))).into_response())
}

#[tokio::test]
async fn a_transfer_that_breaks_off_goes_on_where_it_did() {
    let cloud = Cloud::new(json!({}), &[], async |seen: Seen| match seen.number {
        0 => cut(StatusCode::OK, "", CONTENT, 4),
        1 => cut(StatusCode::PARTIAL_CONTENT, "bytes 4-9/10", &CONTENT[4..], 3),
        _ => part(7),
    })
    .await;
    assert_eq!(cloud.download().await.as_deref(), Ok(CONTENT));
    assert_eq!(cloud.ranges(), ["", "bytes=4-", "bytes=7-"]);
}

#[tokio::test]
async fn a_server_that_knows_no_ranges_sends_it_all_again() {
    let cloud = Cloud::new(json!({}), &[], async |seen: Seen| match seen.number {
        0 => cut(StatusCode::OK, "", CONTENT, 4),
        _ => whole(),
    })
    .await;
    assert_eq!(cloud.download().await.as_deref(), Ok(CONTENT));
}

#[tokio::test]
async fn a_stream_without_a_length_that_ends_early_goes_on_too() {
    let cloud = Cloud::new(json!({}), &[], async |seen: Seen| match seen.number {
        0 => chunks(&["012", "345"]),
        _ => part(6),
    })
    .await;
    assert_eq!(cloud.download().await.as_deref(), Ok(CONTENT));
}

#[tokio::test]
async fn a_transfer_that_always_breaks_off_is_given_up() {
    let cut = async |_| cut(StatusCode::OK, "", CONTENT, 4);
    let cloud = Cloud::new(json!({}), &[("glance", "num_retries = 2")], cut).await;
    let reason = cloud.download().await.unwrap_err();
    assert!(reason.starts_with("the answer broke off"), "{reason}");
    assert_eq!(cloud.ranges().len(), 3);
}

#[tokio::test]
async fn a_part_that_begins_elsewhere_is_refused() {
    let cloud = Cloud::new(json!({}), &[], async |seen: Seen| match seen.number {
        0 => cut(StatusCode::OK, "", CONTENT, 4),
        _ => part(5),
    })
    .await;
    assert_eq!(cloud.download().await.unwrap_err(), "not the bytes from 4 on, which were asked for");
}

#[tokio::test]
async fn bytes_that_do_not_have_the_hash_are_refused() {
    let wrong = "the bytes do not have the image's hash";
    let other = json!({"os_hash_value": "ab".repeat(64)});
    let md5 = json!({"os_hash_algo": null, "os_hash_value": null, "checksum": "ab".repeat(16)});
    let unknown = json!({"os_hash_algo": "blake9", "os_hash_value": "x", "checksum": "ab".repeat(16)});
    for attributes in [other, md5, unknown] {
        let cloud = Cloud::new(attributes, &[], async |_| whole()).await;
        assert_eq!(cloud.download().await.unwrap_err(), format!("image {}: {wrong}", Uuid::nil()));
        assert_eq!(cloud.ranges().len(), 1);
    }
    let md5 = json!({"os_hash_algo": null, "os_hash_value": null, "checksum": "781E5E245D69B566979B86E28D23F2C7"});
    assert_eq!(Cloud::new(md5, &[], async |_| whole()).await.download().await.as_deref(), Ok(CONTENT));
}

#[tokio::test]
async fn more_bytes_than_the_image_has_are_not_taken() {
    let endless = || Some(Body::from_stream(stream::repeat_with(|| Ok::<_, Infallible>("0123456"))).into_response());
    let cloud = Cloud::new(json!({}), &[], move |_| std::future::ready(endless())).await;
    assert!(cloud.download().await.unwrap_err().ends_with(": more than 10 bytes came"));
    let longer = Cloud::new(json!({"size": 7}), &[], async |_| whole()).await;
    assert!(longer.download().await.unwrap_err().ends_with(": 10 bytes are offered, it has 7"));
    let huge = async |_| {
        let body = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        Some(([("content-length", (1u64 << 50).to_string())], body).into_response())
    };
    let unsized_image = Cloud::new(json!({"size": null}), &[], huge).await;
    let reason = unsized_image.download().await.unwrap_err();
    assert!(reason.ends_with(": 1125899906842624 bytes are offered"), "{reason}");
}

#[tokio::test]
async fn a_transfer_that_stands_still_is_given_up() {
    let stuck = async |_| {
        let stream = stream::iter([Ok::<_, Infallible>("01")]).chain(stream::pending());
        Some(Body::from_stream(stream).into_response())
    };
    let cloud = Cloud::new(json!({}), &[("glance", "timeout = 0.2\nnum_retries = 1")], stuck).await;
    assert!(cloud.download().await.unwrap_err().starts_with("no answer in time"));
    assert_eq!(cloud.ranges().len(), 2);
    let silent = Cloud::new(json!({}), &[("glance", "timeout = 0.2")], async |_| never().await).await;
    assert!(silent.download().await.unwrap_err().starts_with("no answer in time"));
}

#[tokio::test]
async fn who_does_not_wait_for_a_download_leaves_no_file() {
    let stuck = async |_| {
        let stream = stream::iter([Ok::<_, Infallible>("01")]).chain(stream::pending());
        Some(Body::from_stream(stream).into_response())
    };
    let cloud = Cloud::new(json!({}), &[], stuck).await;
    let context = RequestContext::admin();
    {
        let download = cloud.image.download(&context, Uuid::nil());
        let has_begun = async {
            while cloud.files() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = download => panic!("it cannot end"),
            () = has_begun => {}
        }
    }
    assert_eq!(cloud.files(), 0);
}

#[tokio::test]
async fn the_next_of_several_servers_is_asked_when_one_does_not_answer() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server =
        Server::start(async |seen: Seen| if seen.what == IMAGE { reply(200, image(json!({}))) } else { None }).await;
    let servers = format!("api_servers = http://{nobody}/image, {}/image/v2", server.url);
    let config = server.config(&[("glance", &servers)]);
    let images = HttpImage::without_downloads(&config, &mut Sessions::default()).unwrap();
    for _ in 0..4 {
        assert_eq!(images.show(&RequestContext::admin(), Uuid::nil()).await.unwrap().id, Uuid::nil());
    }
    assert_eq!(server.count(IMAGE), 4);
}
