//! What is the volume service's, up to 2.35.

use kilonova_clients::ClientError;
use kilonova_clients::volume::{AttachedTo, VolumeService as _};
use kilonova_core::RequestContext;
use serde_json::{Value, json};
use uuid::Uuid;

use super::cloud::{ADMIN, Cloud, MEMBER, NOBODY, OTHER, PROJECT, READER};

const NOWHERE: &str = "The resource could not be found.";

#[tokio::test]
async fn nothing_of_it_exists_from_2_36_on() {
    let cloud = Cloud::new().await;
    for collection in ["/os-volumes", "/os-snapshots"] {
        for path in ["", "/detail", "/x"] {
            let path = format!("{collection}{path}");
            cloud.get(MEMBER, "2.36", &path).await.expect_fault(404, "itemNotFound", NOWHERE);
            cloud.get(NOBODY, "2.35", &path).await.expect(403);
        }
        cloud.delete(MEMBER, "2.36", &format!("{collection}/x")).await.expect_fault(404, "itemNotFound", NOWHERE);
        cloud.delete(READER, "2.35", &format!("{collection}/x")).await.expect(403);
    }
    let (volume, snapshot) = (json!({"volume": {"size": 1}}), json!({"snapshot": {"volume_id": "x"}}));
    for (path, body) in [("/os-volumes", volume), ("/os-snapshots", snapshot)] {
        cloud.post(MEMBER, "2.36", path, body.clone()).await.expect_fault(404, "itemNotFound", NOWHERE);
        cloud.post(READER, "2.35", path, body).await.expect(403);
    }
}

#[tokio::test]
async fn volumes_are_made_shown_and_deleted() {
    let cloud = Cloud::new().await;
    let body = json!({"volume": {"size": "2", "display_name": "data", "display_description": "for tests",
                                 "availability_zone": "nova", "volume_type": "fast", "metadata": {"k": "v"}}});
    let made = cloud.post(MEMBER, "2.35", "/os-volumes", body).await.expect(200);
    let volume = made.body["volume"].clone();
    let id = volume["id"].as_str().unwrap();
    let expected = json!({
        "id": id, "status": "available", "size": 2, "availabilityZone": "nova", "createdAt": volume["createdAt"],
        "attachments": [{}], "displayName": "data", "displayDescription": "for tests", "volumeType": "fast",
        "snapshotId": null, "metadata": {"k": "v"},
    });
    assert_eq!(volume, expected);
    assert_eq!(made.header("location"), format!("http://cloud:8774/v2.1/os-volumes/{id}"));
    let path = format!("/os-volumes/{id}");
    assert_eq!(cloud.get(READER, "2.1", &path).await.expect(200).body, json!({"volume": expected}));
    for list in ["/os-volumes", "/os-volumes/detail"] {
        assert_eq!(cloud.get(READER, "2.35", list).await.expect(200).body, json!({"volumes": [expected]}));
        assert_eq!(cloud.get(OTHER, "2.35", list).await.expect(200).body, json!({"volumes": []}));
    }
    let message = format!("Volume {id} could not be found.");
    cloud.get(OTHER, "2.35", &path).await.expect_fault(404, "itemNotFound", &message);
    cloud.delete(OTHER, "2.35", &path).await.expect_fault(404, "itemNotFound", &message);
    cloud.delete(MEMBER, "2.35", &path).await.expect(202);
    cloud.delete(MEMBER, "2.35", &path).await.expect_fault(404, "itemNotFound", &message);
}

#[tokio::test]
async fn a_volume_in_use_names_its_server_and_is_not_deleted() {
    let cloud = Cloud::new().await;
    let (volume, server) = (cloud.volumes.add(PROJECT, 1), Uuid::new_v4());
    cloud.volumes.change(&volume.id, |volume| {
        let device = Some("/dev/vdb".to_owned());
        volume.status = "in-use".to_owned();
        volume.attachments = vec![AttachedTo { server_id: server.to_string(), attachment_id: None, device }];
    });
    let path = format!("/os-volumes/{}", volume.id);
    let shown = cloud.get(READER, "2.35", &path).await.expect(200);
    let attachment = json!({"id": volume.id, "volumeId": volume.id, "serverId": server, "device": "/dev/vdb"});
    assert_eq!(shown.body["volume"]["attachments"], json!([attachment]));
    let reply = cloud.delete(MEMBER, "2.35", &path).await;
    let message = format!(
        "Invalid input received: Invalid volume: Volume {} status must be available or error, but the current status is \
         in-use.",
        volume.id
    );
    reply.expect_fault(400, "badRequest", &message);
    assert!(cloud.volumes.volume(&volume.id).is_some());
}

#[tokio::test]
async fn lists_are_cut_by_limit_and_offset() {
    let cloud = Cloud::with_config("[api]\nmax_limit = 3\n").await;
    let all: Vec<String> = (1..=4).map(|size| cloud.volumes.add(PROJECT, size).id).collect();
    let list = async |query: &str| -> Vec<Value> {
        let listed = cloud.get(READER, "2.1", &format!("/os-volumes/detail{query}")).await.expect(200);
        listed.body["volumes"].as_array().unwrap().iter().map(|volume| volume["id"].clone()).collect()
    };
    assert_eq!(list("").await, all[..3]);
    assert_eq!(list("?limit=0&unknown=1").await, all[..3]);
    assert_eq!(list("?limit=2&offset=1").await, all[1..3]);
    assert_eq!(list("?offset=9").await, [] as [&str; 0]);
    cloud.get(READER, "2.1", "/os-volumes?limit=-1").await.expect(400);
}

#[tokio::test]
async fn what_the_volume_service_refuses_is_refused() {
    let cloud = Cloud::new().await;
    let post = async |body: Value| cloud.post(MEMBER, "2.35", "/os-volumes", json!({"volume": body})).await;
    for body in [json!({}), json!({"size": 0}), json!({"size": "x"}), json!({"size": 1, "unknown": 1})] {
        post(body).await.expect(400);
    }
    let reply = post(json!({"size": 1, "snapshot_id": "x"})).await;
    reply.expect_fault(404, "itemNotFound", "Snapshot x could not be found.");
    cloud.volumes.fail_next("create_volume", ClientError::BadRequest("no such type".to_owned()));
    let reply = post(json!({"size": 1, "volume_type": "x"})).await;
    reply.expect_fault(400, "badRequest", "Invalid input received: no such type");
    cloud.volumes.limit(0);
    let reply = post(json!({"size": 1})).await;
    reply.expect_fault(403, "forbidden", "VolumeLimitExceeded: Maximum number of Volumes allowed");
    assert_eq!(cloud.volumes.list_volumes(&RequestContext::new("u", PROJECT)).await.unwrap(), []);
}

#[tokio::test]
async fn snapshots_are_made_shown_and_deleted() {
    let cloud = Cloud::new().await;
    let volume = cloud.volumes.add(PROJECT, 3);
    let body = json!({"snapshot": {"volume_id": volume.id, "display_name": "s", "display_description": "d"}});
    let made = cloud.post(MEMBER, "2.35", "/os-snapshots", body.clone()).await.expect(200);
    let snapshot = made.body["snapshot"].clone();
    let expected = json!({
        "id": snapshot["id"], "volumeId": volume.id, "status": "available", "size": 3,
        "createdAt": snapshot["createdAt"], "displayName": "s", "displayDescription": "d",
    });
    assert_eq!(snapshot, expected);
    let path = format!("/os-snapshots/{}", snapshot["id"].as_str().unwrap());
    assert_eq!(cloud.get(READER, "2.1", &path).await.expect(200).body, json!({"snapshot": expected}));
    for list in ["/os-snapshots", "/os-snapshots/detail?limit=5"] {
        assert_eq!(cloud.get(READER, "2.35", list).await.expect(200).body, json!({"snapshots": [expected]}));
    }
    assert_eq!(cloud.get(READER, "2.35", "/os-snapshots?offset=1").await.expect(200).body, json!({"snapshots": []}));
    let of_snapshot = json!({"volume": {"size": 3, "snapshot_id": snapshot["id"]}});
    let made = cloud.post(MEMBER, "2.35", "/os-volumes", of_snapshot).await.expect(200);
    assert_eq!(made.body["volume"]["snapshotId"], snapshot["id"]);

    cloud.volumes.change(&volume.id, |volume| volume.status = "in-use".to_owned());
    cloud.post(MEMBER, "2.35", "/os-snapshots", body).await.expect(400);
    let forced = json!({"snapshot": {"volume_id": volume.id, "force": "True"}});
    cloud.post(MEMBER, "2.35", "/os-snapshots", forced.clone()).await.expect(200);
    cloud.volumes.limit(0);
    let reply = cloud.post(MEMBER, "2.35", "/os-snapshots", forced).await;
    reply.expect_fault(403, "forbidden", "Quota exceeded for resources: snapshots");

    cloud.delete(MEMBER, "2.35", &path).await.expect(202);
    let message = format!("Snapshot {} could not be found.", snapshot["id"].as_str().unwrap());
    cloud.delete(MEMBER, "2.35", &path).await.expect_fault(404, "itemNotFound", &message);
    cloud.get(ADMIN, "2.35", &path).await.expect_fault(404, "itemNotFound", &message);
}

/// As in Nova where the catalog has no such endpoint.
#[tokio::test]
async fn a_volume_service_that_cannot_be_reached_is_an_error_without_detail() {
    let cloud = Cloud::new().await;
    for (method, path) in [("list_volumes", "/os-volumes"), ("list_snapshots", "/os-snapshots")] {
        cloud.volumes.fail_next(method, ClientError::unavailable("volume", "the catalog has no endpoint of it"));
        let reply = cloud.get(MEMBER, "2.35", path).await.expect(500);
        assert!(reply.message().starts_with("Unexpected API Error."), "{}", reply.message());
    }
}
