//! `/os-aggregates`, and the availability zones that they make.

use kilonova_db::{aggregates, instances};
use kilonova_rpcapi::conductor::CacheImages;
use serde_json::{Value, json};
use uuid::Uuid;

use super::cloud::{ADMIN, Cloud, HOST, MEMBER, PROJECT, Reply};
use super::hosts;

const PATH: &str = "/os-aggregates";

async fn create(cloud: &Cloud, name: &str, zone: Option<&str>) -> i64 {
    let body = json!({"aggregate": {"name": name, "availability_zone": zone}});
    let created = cloud.post(ADMIN, "2.96", PATH, body).await.expect(200).body;
    created["aggregate"]["id"].as_i64().unwrap()
}

async fn act(cloud: &Cloud, id: i64, action: Value) -> Reply {
    cloud.post(ADMIN, "2.96", &format!("{PATH}/{id}/action"), action).await
}

async fn add_host(cloud: &Cloud, id: i64, host: &str) -> Reply {
    act(cloud, id, json!({"add_host": {"host": host}})).await
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn an_aggregate_is_made_shown_changed_and_deleted() {
    let cloud = Cloud::new().await;
    let body = json!({"aggregate": {"name": "rack1", "availability_zone": "east"}});
    let created = cloud.post(ADMIN, "2.40", PATH, body.clone()).await.expect(200).body["aggregate"].clone();
    let brief = ["availability_zone", "created_at", "deleted", "deleted_at", "id", "name", "updated_at"];
    assert_eq!(keys(&created), brief);
    cloud.post(ADMIN, "2.41", PATH, body).await.expect_fault(
        409,
        "conflictingRequest",
        "Aggregate rack1 already exists.",
    );
    let path = format!("{PATH}/{}", created["id"]);
    let shown = cloud.get(ADMIN, "2.41", &path).await.expect(200).body["aggregate"].clone();
    assert_eq!(shown["metadata"], json!({"availability_zone": "east"}));
    assert_eq!((&shown["hosts"], &shown["availability_zone"]), (&json!([]), &json!("east")));
    assert!(shown["uuid"].is_string());
    assert_eq!(cloud.get(ADMIN, "2.40", &path).await.expect(200).body["aggregate"]["uuid"], Value::Null);
    assert_eq!(cloud.get(ADMIN, "2.41", PATH).await.expect(200).body, json!({"aggregates": [shown]}));

    let update = json!({"aggregate": {"name": " rack2 ", "availability_zone": "west"}});
    let updated = cloud.put(ADMIN, "2.41", &path, update).await.expect(200).body["aggregate"].clone();
    assert_eq!((&updated["name"], &updated["availability_zone"]), (&json!("rack2"), &json!("west")));
    assert!(updated["updated_at"].is_string());
    let id = created["id"].as_i64().unwrap();
    let metadata = json!({"set_metadata": {"metadata": {"ssd": "true", "availability_zone": "west"}}});
    act(&cloud, id, metadata).await.expect(200);
    let without = act(&cloud, id, json!({"set_metadata": {"metadata": {"ssd": null}}})).await.expect(200).body;
    assert_eq!(without["aggregate"]["metadata"], json!({"availability_zone": "west"}));
    cloud.delete(ADMIN, "2.1", &path).await.expect(200);
    for gone in [cloud.get(ADMIN, "2.1", &path).await, cloud.delete(ADMIN, "2.1", &path).await] {
        gone.expect_fault(404, "itemNotFound", &format!("Aggregate {id} could not be found."));
    }
}

#[tokio::test]
async fn only_admins_and_only_what_makes_sense() {
    let cloud = Cloud::new().await;
    let id = create(&cloud, "a", None).await;
    let path = format!("{PATH}/{id}");
    cloud.get(MEMBER, "2.1", PATH).await.expect_fault(
        403,
        "forbidden",
        "Policy doesn't allow os_compute_api:os-aggregates:index to be performed.",
    );
    cloud.get(MEMBER, "2.1", &path).await.expect(403);
    cloud.delete(MEMBER, "2.1", &path).await.expect(403);
    cloud.post(MEMBER, "2.1", PATH, json!({"aggregate": {"name": "b"}})).await.expect(403);
    let sentence = "Invalid input received: id must be an integer";
    cloud.get(ADMIN, "2.1", &format!("{PATH}/x")).await.expect_fault(400, "badRequest", sentence);
    for body in [
        json!({"aggregate": {"name": ""}}),
        json!({"aggregate": {"name": " b"}}),
        json!({"aggregate": {"name": "b", "availability_zone": "a:b"}}),
        json!({"aggregate": {"name": "b", "availability_zone": ""}}),
        json!({"aggregate": {"name": "b", "x": 1}}),
    ] {
        cloud.post(ADMIN, "2.1", PATH, body).await.expect(400);
    }
    cloud.put(ADMIN, "2.1", &path, json!({"aggregate": {}})).await.expect(400);
    act(&cloud, id, json!({"set_metadata": {"metadata": {"a": 1}}})).await.expect(400);
    let spaced = json!({"aggregate": {"name": " b ", "availability_zone": " east "}}).to_string();
    let legacy = cloud.send("POST", Some(ADMIN), "", "/v2/os-aggregates", Some(&spaced)).await.expect(200).body;
    assert_eq!(
        (&legacy["aggregate"]["name"], &legacy["aggregate"]["availability_zone"]),
        (&json!("b"), &json!("east"))
    );
    for (body, sentence) in [
        (json!({"aggregate": {"availability_zone": null}}), "Cannot update aggregate"),
        (json!({"set_metadata": {"metadata": {"availability_zone": null}}}), "Cannot update metadata of aggregate"),
    ] {
        let reply = if body["aggregate"].is_object() {
            cloud.put(ADMIN, "2.1", &path, body).await
        } else {
            act(&cloud, id, body).await
        };
        let expected = format!("{sentence} {id}. Reason: Aggregate a does not support empty named availability zone.");
        reply.expect_fault(400, "badRequest", &expected);
    }
}

#[tokio::test]
async fn hosts_come_and_go_and_are_in_one_zone() {
    let cloud = Cloud::new().await;
    let (east, west) = (create(&cloud, "e", Some("east")).await, create(&cloud, "w", Some("west")).await);
    let unknown = "Host 'nowhere' is not mapped to any cell";
    add_host(&cloud, east, "nowhere").await.expect_fault(404, "itemNotFound", unknown);
    add_host(&cloud, 99, HOST).await.expect_fault(404, "itemNotFound", "Aggregate 99 could not be found.");
    let added = add_host(&cloud, east, HOST).await.expect(200).body;
    assert_eq!(added["aggregate"]["hosts"], json!([HOST]));
    let again = format!("Aggregate {east} already has host {HOST}.");
    add_host(&cloud, east, HOST).await.expect_fault(409, "conflictingRequest", &again);
    let reason = "One or more hosts already in availability zone(s) ['east']";
    let conflict = format!("Cannot add host to aggregate {west}. Reason: {reason}.");
    add_host(&cloud, west, HOST).await.expect_fault(409, "conflictingRequest", &conflict);
    let not_empty = format!("Cannot remove host from aggregate {east}. Reason: Host aggregate is not empty.");
    let path = format!("{PATH}/{east}");
    cloud.delete(ADMIN, "2.1", &path).await.expect_fault(400, "badRequest", &not_empty);

    let zones = cloud.get(MEMBER, "2.1", "/os-availability-zone").await.expect(200).body;
    assert_eq!(zones["availabilityZoneInfo"][0]["zoneName"], "east");
    assert_eq!(zones["availabilityZoneInfo"].as_array().unwrap().len(), 1);
    let services = cloud.get(ADMIN, "2.1", "/os-services").await.expect(200).body;
    assert_eq!(services["services"][0]["zone"], "east");

    let server = hosts::server(&cloud, PROJECT, "u", hosts::RUNNING).await;
    let used = "One or more hosts contain instances in this zone";
    let refused = format!("Cannot update aggregate {east}. Reason: {used}.");
    let to_west = json!({"aggregate": {"availability_zone": "west"}});
    cloud.put(ADMIN, "2.1", &path, to_west).await.expect_fault(400, "badRequest", &refused);
    cloud.put(ADMIN, "2.1", &path, json!({"aggregate": {"availability_zone": "east"}})).await.expect(200);
    let remove = json!({"remove_host": {"host": HOST}});
    let kept = act(&cloud, east, remove.clone()).await.expect(409);
    let reason =
        "the availability zone of the host would change from 'east' to 'None' but the host already has 1 instance(s)";
    assert!(kept.message().contains(reason), "{}", kept.message());
    instances::destroy(&cloud.db, server.uuid).await.unwrap();
    let left = act(&cloud, east, remove.clone()).await.expect(200).body;
    assert_eq!(left["aggregate"]["hosts"], json!([]));
    let sentence = format!("Cannot remove host {HOST} in aggregate {east}");
    act(&cloud, east, remove).await.expect_fault(404, "itemNotFound", &sentence);
}

#[tokio::test]
async fn servers_are_asked_into_the_zones_that_there_are() {
    let cloud = Cloud::new().await;
    let east = create(&cloud, "e", Some("east")).await;
    add_host(&cloud, east, HOST).await.expect(200);
    let boot = async |zone: &str| {
        let networks = json!([{"uuid": cloud.network.id}]);
        let server = json!({
            "name": "vm", "flavorRef": "1", "imageRef": cloud.image.id, "networks": networks, "availability_zone": zone,
        });
        cloud.post(MEMBER, "2.96", "/servers", json!({"server": server})).await
    };
    let none = "The requested availability zone is not available";
    boot("nova").await.expect_fault(400, "badRequest", none);
    boot("east").await.expect(202);

    let service = hosts::first_service(&cloud).await.uuid.unwrap();
    cloud.delete(ADMIN, "2.53", &format!("/os-services/{service}")).await.expect(204);
    assert_eq!(aggregates::get(&cloud.db, east).await.unwrap().hosts(), [] as [String; 0]);
}

#[tokio::test]
async fn images_are_fetched_by_the_hosts_of_an_aggregate_from_2_81_on() {
    let cloud = Cloud::new().await;
    let id = create(&cloud, "fast", None).await;
    let path = format!("/os-aggregates/{id}/images");
    let ids = [Uuid::new_v4(), Uuid::new_v4()];
    let cache = |ids: &[Uuid]| json!({"cache": ids.iter().map(|id| json!({"id": id})).collect::<Vec<_>>()});
    cloud.post(ADMIN, "2.81", &path, cache(&ids)).await.expect(202);
    let asked = cloud.wait_for::<CacheImages>(1).await.remove(0);
    assert_eq!(asked["aggregate"]["nova_object.data"]["id"], id);
    assert_eq!(asked["image_ids"], json!(ids));

    cloud.post(ADMIN, "2.80", &path, cache(&ids)).await.expect(404);
    cloud.post(MEMBER, "2.81", &path, cache(&ids)).await.expect(403);
    let twice = cloud.post(ADMIN, "2.81", &path, cache(&[ids[0], ids[0]])).await;
    twice.expect_fault(400, "badRequest", "Duplicate images in request");
    let unknown = cloud.post(ADMIN, "2.81", "/os-aggregates/999/images", cache(&ids)).await;
    unknown.expect_fault(404, "itemNotFound", "Aggregate 999 could not be found.");
    for wrong in [json!({}), cache(&[]), json!({"cache": [{"id": "x"}]}), json!({"cache": [{"id": ids[0], "x": 1}]})] {
        cloud.post(ADMIN, "2.81", &path, wrong).await.expect(400);
    }
    assert_eq!(cloud.calls::<CacheImages>().len(), 1);
}
