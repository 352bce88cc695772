//! Images and their bytes.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use kilonova_clients::ClientError;
use kilonova_clients::http;
use kilonova_clients::image::{Image, ImageData, ImageService as _};
use serde_json::json;
use uuid::Uuid;

use crate::cloud::{Cloud, id, token};

crate::suite! {
    an_image_is_shown_whole,
    its_bytes_are_in_a_file,
    what_the_caller_may_not_see_is_not_there,
    an_image_without_bytes_is_not_there_to_download,
    a_deactivated_image_is_for_admins,
}

/// A private image of demo's with these bytes.
async fn upload(cloud: &Cloud, owner: &str, bytes: &'static [u8]) -> Uuid {
    let body = json!({
        "name": "disk", "disk_format": "raw", "container_format": "bare", "hw_disk_bus": "virtio", "min_ram": 64,
        "tags": ["b", "a"],
    });
    let image = id(&cloud.done(owner, "POST", "/image/v2/images", body.to_string()).await);
    cloud.done(owner, "PUT", &format!("/image/v2/images/{image}/file"), bytes).await;
    image
}

/// The REST API says whole seconds.
fn in_seconds(image: Image) -> Image {
    let cut = |at: DateTime<Utc>| DateTime::from_timestamp(at.timestamp(), 0).unwrap();
    Image { created_at: cut(image.created_at), updated_at: cut(image.updated_at), ..image }
}

async fn an_image_is_shown_whole(cloud: Cloud) {
    let demo = cloud.demo().await;
    let image_id = upload(&cloud, token(&demo), b"hello").await;
    let image = cloud.image.show(&demo, image_id).await.unwrap();
    assert_eq!((image.name.as_deref(), image.status.as_str(), image.size), (Some("disk"), "active", Some(5)));
    assert_eq!(image.properties.get("hw_disk_bus").map(String::as_str), Some("virtio"));
    assert_eq!(in_seconds(image), in_seconds(cloud.builtin.image.show(&demo, image_id).await.unwrap()));
}

async fn its_bytes_are_in_a_file(cloud: Cloud) {
    let demo = cloud.demo().await;
    let image_id = upload(&cloud, token(&demo), b"hello").await;
    let data = cloud.image.download(&demo, image_id).await.unwrap();
    assert_eq!(std::fs::read(data.path()).unwrap(), b"hello");
}

async fn what_the_caller_may_not_see_is_not_there(cloud: Cloud) {
    let (demo, other) = (cloud.demo().await, cloud.other().await);
    let image_id = upload(&cloud, token(&demo), b"hello").await;
    let missing = ClientError::not_found("image", image_id);
    assert_eq!(cloud.image.show(&other, image_id).await, Err(missing.clone()));
    assert_eq!(cloud.image.download(&other, image_id).await, Err(missing));
    assert!(cloud.image.show(&cloud.context("admin", "admin").await, image_id).await.is_ok());
    let nowhere = Uuid::new_v4();
    assert_eq!(cloud.image.show(&demo, nowhere).await, Err(ClientError::not_found("image", nowhere)));
}

async fn an_image_without_bytes_is_not_there_to_download(cloud: Cloud) {
    let demo = cloud.demo().await;
    let image = cloud.done(token(&demo), "POST", "/image/v2/images", json!({"name": "empty"}).to_string()).await;
    let image_id = id(&image);
    assert_eq!(cloud.image.show(&demo, image_id).await.unwrap().status, "queued");
    assert_eq!(cloud.image.download(&demo, image_id).await, Err(ClientError::not_found("image", image_id)));
}

async fn a_deactivated_image_is_for_admins(cloud: Cloud) {
    let (demo, admin) = (cloud.demo().await, cloud.context("admin", "admin").await);
    let image_id = upload(&cloud, token(&demo), b"hello").await;
    cloud.done(token(&admin), "POST", &format!("/image/v2/images/{image_id}/actions/deactivate"), "").await;
    let refused = cloud.image.download(&demo, image_id).await;
    assert!(matches!(refused, Err(ClientError::Forbidden(_))), "{refused:?}");
    let data = cloud.image.download(&admin, image_id).await.unwrap();
    assert_eq!(std::fs::read(data.path()).unwrap(), b"hello");
}

#[tokio::test]
async fn over_http_who_wants_the_same_image_shares_a_file_that_goes_with_the_last() {
    let cloud = Cloud::over_http("").await;
    let demo = cloud.demo().await;
    let image_id = upload(&cloud, token(&demo), b"hello").await;
    let files = || std::fs::read_dir(cloud.downloads()).unwrap().count();
    let get = || cloud.image.download(&demo, image_id);
    let (one, other) = tokio::join!(get(), get());
    let third = get().await.unwrap();
    let file = |data: &ImageData| match data {
        ImageData::Temporary(file) => file.clone(),
        ImageData::File(path) => panic!("{} is not temporary", path.display()),
    };
    let (one, other) = (file(&one.unwrap()), file(&other.unwrap()));
    assert!(Arc::ptr_eq(&one, &other) && Arc::ptr_eq(&one, &file(&third)));
    assert_eq!(files(), 1);
    drop((one, other));
    assert_eq!(files(), 1);
    drop(third);
    assert_eq!(files(), 0);
}

#[tokio::test]
async fn over_http_the_directory_is_this_process_own_and_need_not_be() {
    let cloud = Cloud::new().await;
    let demo = cloud.demo().await;
    let image_id = upload(&cloud, token(&demo), b"hello").await;
    std::fs::create_dir(cloud.downloads()).unwrap();
    std::fs::write(cloud.downloads().join("left over"), "x").unwrap();
    let config = cloud.config("");
    http::clients(&config, &cloud.downloads()).unwrap();
    assert_eq!(std::fs::read_dir(cloud.downloads()).unwrap().count(), 0);
    let error = http::clients(&config, &cloud.dir().join("db.sqlite")).err().unwrap();
    assert!(error.to_string().starts_with("the directory "), "{error}");

    let clients = http::clients_without_downloads(&config).unwrap();
    assert_eq!(clients.image.show(&demo, image_id).await.unwrap().id, image_id);
    let refused = clients.image.download(&demo, image_id).await;
    let reason = "this process was set up to download no images";
    assert_eq!(refused, Err(ClientError::unavailable("image", reason)));
}
