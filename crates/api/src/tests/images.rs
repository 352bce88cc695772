//! The proxies of the image service: `/images` up to 2.35, and the metadata of images up to 2.38.

use kilonova_clients::image::Image;
use serde_json::{Value, json};
use uuid::Uuid;

use super::cloud::{Cloud, MEMBER, OTHER, PROJECT};

/// A private image of the project.
fn own(cloud: &Cloud, change: impl FnOnce(&mut Image)) -> Image {
    let mut image = Image {
        id: Uuid::new_v4(),
        name: Some("mine".to_owned()),
        visibility: "private".to_owned(),
        owner: Some(PROJECT.to_owned()),
        properties: [("os_distro".to_owned(), "debian".to_owned())].into(),
        ..cloud.image.clone()
    };
    change(&mut image);
    cloud.images.put(image.clone(), "/nowhere");
    image
}

#[tokio::test]
async fn an_image_is_shown_in_the_words_of_the_compute_api() {
    let cloud = Cloud::new().await;
    let server = Uuid::new_v4();
    let image = own(&cloud, |image| {
        image.status = "saving".to_owned();
        image.properties.insert("instance_uuid".to_owned(), server.to_string());
        image.properties.insert("auto_disk_config".to_owned(), "True".to_owned());
        (image.min_ram, image.min_disk, image.size) = (64, 2, Some(5));
    });
    let shown = cloud.get(MEMBER, "2.35", &format!("/images/{}", image.id)).await.expect(200).body["image"].take();
    let expected = json!({
        "id": image.id, "name": "mine", "status": "SAVING", "progress": 50, "minRam": 64, "minDisk": 2,
        "OS-EXT-IMG-SIZE:size": 5, "OS-DCF:diskConfig": "AUTO", "metadata": image.properties,
        "created": shown["created"], "updated": shown["updated"],
        "server": {"id": server, "links": [
            {"rel": "self", "href": format!("http://cloud:8774/v2.1/servers/{server}")},
            {"rel": "bookmark", "href": format!("http://cloud:8774/servers/{server}")},
        ]},
        "links": [
            {"rel": "self", "href": format!("http://cloud:8774/v2.1/images/{}", image.id)},
            {"rel": "bookmark", "href": format!("http://cloud:8774/images/{}", image.id)},
            {"rel": "alternate", "type": "application/vnd.openstack.image", "href": shown["links"][2]["href"]},
        ],
    });
    assert_eq!(shown, expected);
    let href = shown["links"][2]["href"].as_str().unwrap();
    assert!(href.ends_with(&format!("/images/{}", image.id)), "{href}");
}

#[tokio::test]
async fn lists_are_filtered_and_come_in_pages() {
    let cloud = Cloud::new().await;
    let mine = own(&cloud, |_| {});
    let ids = |body: &Value| -> Vec<Value> {
        body["images"].as_array().unwrap().iter().map(|image| image["id"].clone()).collect()
    };
    let all = cloud.get(MEMBER, "2.1", "/images").await.expect(200);
    assert_eq!(ids(&all.body).len(), 2);
    assert_eq!(all.body["images"][0].as_object().unwrap().len(), 3);
    for query in ["name=mine", "property-os_distro=debian", "name=mine&status=ACTIVE", "unknown=1&name=mine"] {
        let found = cloud.get(MEMBER, "2.1", &format!("/images/detail?{query}")).await.expect(200);
        assert_eq!(ids(&found.body), [json!(mine.id)], "{query}");
        assert_eq!(found.body["images"][0]["status"], "ACTIVE");
    }
    let page = cloud.get(MEMBER, "2.1", "/images?limit=1").await.expect(200);
    let next = page.body["images_links"][0]["href"].as_str().unwrap();
    let next = next.strip_prefix("http://cloud:8774/v2.1").unwrap().to_owned();
    let second = cloud.get(MEMBER, "2.1", &next).await.expect(200);
    let mut both = [ids(&page.body), ids(&second.body)].concat();
    both.sort_by_key(Value::to_string);
    let mut expected = vec![json!(mine.id), json!(cloud.image.id)];
    expected.sort_by_key(Value::to_string);
    assert_eq!(both, expected);
    cloud.get(MEMBER, "2.1", "/images?limit=-1").await.expect(400);
    cloud.get(MEMBER, "2.1", &format!("/images?marker={}", Uuid::nil())).await.expect(400);
}

#[tokio::test]
async fn an_image_is_deleted_by_its_owner() {
    let cloud = Cloud::new().await;
    let image = own(&cloud, |_| {});
    let path = format!("/images/{}", image.id);
    cloud.delete(OTHER, "2.1", &path).await.expect_fault(404, "itemNotFound", "Image not found.");
    let public = format!("/images/{}", cloud.image.id);
    let message = "You are not allowed to delete the image.";
    cloud.delete(MEMBER, "2.1", &public).await.expect_fault(403, "forbidden", message);
    cloud.delete(MEMBER, "2.1", &path).await.expect(204);
    cloud.delete(MEMBER, "2.1", &path).await.expect_fault(404, "itemNotFound", "Image not found.");
    cloud.get(MEMBER, "2.1", &path).await.expect_fault(404, "itemNotFound", "Image not found.");
    cloud.get(MEMBER, "2.1", "/images/none").await.expect_fault(404, "itemNotFound", "Image not found.");
}

#[tokio::test]
async fn the_metadata_of_an_image_are_its_properties() {
    let cloud = Cloud::new().await;
    let image = own(&cloud, |_| {});
    let path = format!("/images/{}/metadata", image.id);
    let get = async |path: &str| cloud.get(MEMBER, "2.38", path).await.expect(200).body;
    assert_eq!(get(&path).await, json!({"metadata": {"os_distro": "debian"}}));
    assert_eq!(get(&format!("{path}/os_distro")).await, json!({"meta": {"os_distro": "debian"}}));
    let more = json!({"metadata": {"a": "1"}});
    let reply = cloud.post(MEMBER, "2.38", &path, more).await.expect(200);
    assert_eq!(reply.body, json!({"metadata": {"a": "1", "os_distro": "debian"}}));
    let item = json!({"meta": {"a": "2"}});
    let reply = cloud.put(MEMBER, "2.38", &format!("{path}/a"), item.clone()).await.expect(200);
    assert_eq!(reply.body, item);
    let message = "Request body and URI mismatch";
    cloud.put(MEMBER, "2.38", &format!("{path}/b"), item).await.expect_fault(400, "badRequest", message);
    let whole = json!({"metadata": {"b": "3", "c": "4"}});
    let reply = cloud.put(MEMBER, "2.38", &path, whole.clone()).await.expect(200);
    assert_eq!(reply.body, whole);
    cloud.delete(MEMBER, "2.38", &format!("{path}/c")).await.expect(204);
    let message = "Invalid metadata key";
    cloud.delete(MEMBER, "2.38", &format!("{path}/c")).await.expect_fault(404, "itemNotFound", message);
    cloud.get(MEMBER, "2.38", &format!("{path}/c")).await.expect(404);
    assert_eq!(get(&path).await, json!({"metadata": {"b": "3"}}));
    let of_nothing = format!("/images/{}/metadata", Uuid::nil());
    cloud.get(MEMBER, "2.38", &of_nothing).await.expect_fault(404, "itemNotFound", "Image not found.");
    let public = format!("/images/{}/metadata", cloud.image.id);
    let message = format!("Not authorized for image {}.", cloud.image.id);
    let more = json!({"metadata": {"a": "1"}});
    cloud.post(MEMBER, "2.38", &public, more).await.expect_fault(403, "forbidden", &message);
}

#[tokio::test]
async fn the_metadata_of_an_image_are_under_the_quota() {
    let cloud = Cloud::with_config("[quota]\nmetadata_items = 1\n").await;
    let image = own(&cloud, |_| {});
    let path = format!("/images/{}/metadata", image.id);
    let reply = cloud.post(MEMBER, "2.1", &path, json!({"metadata": {"a": "1"}})).await;
    reply.expect_fault(403, "forbidden", "Image metadata limit exceeded");
    cloud.put(MEMBER, "2.1", &path, json!({"metadata": {"a": "1"}})).await.expect(200);
}

#[tokio::test]
async fn newer_microversions_have_no_proxies() {
    let cloud = Cloud::new().await;
    let image = format!("/images/{}", cloud.image.id);
    for path in ["/images", "/images/detail", image.as_str()] {
        cloud.get(MEMBER, "2.35", path).await.expect(200);
        cloud.get(MEMBER, "2.36", path).await.expect(404);
    }
    cloud.delete(MEMBER, "2.36", &image).await.expect(404);
    let metadata = format!("{image}/metadata");
    cloud.get(MEMBER, "2.38", &metadata).await.expect(200);
    cloud.get(MEMBER, "2.39", &metadata).await.expect(404);
    cloud.put(MEMBER, "2.39", &metadata, json!({"metadata": {}})).await.expect(404);
}
