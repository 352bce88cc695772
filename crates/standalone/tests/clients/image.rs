//! Images and their bytes.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use kilonova_clients::ClientError;
use kilonova_clients::http;
use kilonova_clients::image::{Image, ImageData, ImageQuery, ImageService as _, ImageUpdate, NewImage};
use serde_json::json;
use uuid::Uuid;

use crate::cloud::{Cloud, id, token};

crate::suite! {
    an_image_is_shown_whole,
    its_bytes_are_in_a_file,
    what_the_caller_may_not_see_is_not_there,
    an_image_without_bytes_is_not_there_to_download,
    a_deactivated_image_is_for_admins,
    an_image_is_made_filled_changed_and_deleted,
    images_are_listed_by_their_properties_newest_first,
    what_a_caller_may_not_change_is_refused,
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

fn new_image(name: &str, properties: &[(&str, &str)]) -> NewImage {
    NewImage {
        name: name.to_owned(),
        visibility: "private".to_owned(),
        min_disk: 1,
        properties: properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..NewImage::default()
    }
}

async fn an_image_is_made_filled_changed_and_deleted(cloud: Cloud) {
    let demo = cloud.demo().await;
    let made =
        cloud.image.create(&demo, &new_image("snap", &[("image_type", "snapshot"), ("a/b~", "1")])).await.unwrap();
    assert_eq!((made.status.as_str(), made.min_disk, made.disk_format.as_deref()), ("queued", 1, None));
    assert_eq!(made.owner, demo.project_id);

    let mut properties = made.properties.clone();
    properties.remove("a/b~");
    properties.insert("more".to_owned(), "2".to_owned());
    let update = ImageUpdate {
        disk_format: Some("raw".to_owned()),
        container_format: Some("bare".to_owned()),
        properties: Some(properties.clone()),
    };
    let changed = cloud.image.update(&demo, made.id, &update).await.unwrap();
    assert_eq!((changed.disk_format.as_deref(), &changed.properties), (Some("raw"), &properties));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    std::fs::write(&path, b"hello").unwrap();
    cloud.image.upload(&demo, made.id, &path).await.unwrap();
    let filled = cloud.image.show(&demo, made.id).await.unwrap();
    assert_eq!((filled.status.as_str(), filled.size), ("active", Some(5)));
    let data = cloud.image.download(&demo, made.id).await.unwrap();
    assert_eq!(std::fs::read(data.path()).unwrap(), b"hello");
    let again = cloud.image.upload(&demo, made.id, &path).await;
    assert!(matches!(again, Err(ClientError::Conflict(_))), "{again:?}");

    cloud.image.delete(&demo, made.id).await.unwrap();
    let missing = ClientError::not_found("image", made.id);
    assert_eq!(cloud.image.delete(&demo, made.id).await, Err(missing.clone()));
    assert_eq!(cloud.image.upload(&demo, made.id, &path).await, Err(missing));
}

async fn images_are_listed_by_their_properties_newest_first(cloud: Cloud) {
    let demo = cloud.demo().await;
    let mut made = Vec::new();
    for (name, kind) in [("one", "daily"), ("two", "weekly"), ("three", "daily")] {
        made.push(cloud.image.create(&demo, &new_image(name, &[("backup_type", kind)])).await.unwrap().id);
    }
    let query = |filters: &[(&str, &str)]| ImageQuery {
        filters: filters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        sort_key: Some("created_at".to_owned()),
        ..ImageQuery::default()
    };
    let ids = async |query: &ImageQuery| -> Vec<Uuid> {
        cloud.image.list(&demo, query).await.unwrap().iter().map(|image| image.id).collect()
    };
    let daily = query(&[("backup_type", "daily")]);
    assert_eq!(ids(&daily).await, [made[2], made[0]]);
    assert_eq!(ids(&ImageQuery { limit: Some(1), ..daily.clone() }).await, [made[2]]);
    assert_eq!(ids(&ImageQuery { marker: Some(made[2].to_string()), ..daily.clone() }).await, [made[0]]);
    assert_eq!(ids(&query(&[("name", "two"), ("status", "queued")])).await, [made[1]]);
    let bad = cloud.image.list(&demo, &ImageQuery { marker: Some(Uuid::nil().to_string()), ..daily }).await;
    assert!(matches!(bad, Err(ClientError::BadRequest(_))), "{bad:?}");
    let other = cloud.other().await;
    assert_eq!(cloud.image.list(&other, &query(&[("backup_type", "daily")])).await, Ok(Vec::new()));
}

async fn what_a_caller_may_not_change_is_refused(cloud: Cloud) {
    let (demo, other) = (cloud.demo().await, cloud.other().await);
    let shared =
        NewImage { visibility: "shared".to_owned(), member: other.project_id.clone(), ..new_image("shared", &[]) };
    let image_id = cloud.image.create(&demo, &shared).await.unwrap().id;
    assert_eq!(cloud.image.show(&other, image_id).await.unwrap().visibility, "shared");
    let update = ImageUpdate { properties: Some([("a".to_owned(), "1".to_owned())].into()), ..ImageUpdate::default() };
    let refused = cloud.image.update(&other, image_id, &update).await;
    assert!(matches!(refused, Err(ClientError::Forbidden(_))), "{refused:?}");
    let refused = cloud.image.delete(&other, image_id).await;
    assert!(matches!(refused, Err(ClientError::Forbidden(_))), "{refused:?}");
    let private = cloud.image.create(&demo, &new_image("private", &[])).await.unwrap().id;
    let missing = ClientError::not_found("image", private);
    assert_eq!(cloud.image.delete(&other, private).await, Err(missing));
}
