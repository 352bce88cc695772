//! How Cinder is asked, and what its answers mean.

use axum::response::Response;
use kilonova_clients::ClientError;
use kilonova_clients::http::{HttpVolume, Sessions};
use kilonova_clients::volume::{AttachedTo, NewSnapshot, NewVolume, VolumeService as _};
use kilonova_core::RequestContext;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::server::{LOGIN, Seen, Server, login, reply};

const ID: Uuid = Uuid::from_u128(0xa7);

fn volumes(server: &Server, options: &[(&str, &str)]) -> HttpVolume {
    HttpVolume::from_config(&server.config(options), &mut Sessions::default()).unwrap()
}

fn user() -> RequestContext {
    RequestContext { auth_token: Some("user".to_owned()), ..RequestContext::new("u", "p") }
}

fn volume(id: &str) -> Value {
    json!({
        "id": id, "status": "in-use", "size": 2, "availability_zone": "nova", "name": "n", "description": null,
        "created_at": "2026-01-01T00:00:00.000000", "volume_type": "lvm", "snapshot_id": null, "multiattach": true,
        "bootable": "true", "metadata": {"k": "v"}, "migration_status": null, "encrypted": false, "links": [],
        "attachments": [{"id": id, "volume_id": id, "server_id": "s", "attachment_id": "a", "device": "/dev/vdb",
                         "host_name": null, "attached_at": "2026-01-01T00:00:00.000000"}],
    })
}

fn snapshot(id: &str) -> Value {
    json!({"id": id, "volume_id": "v", "status": "available", "size": 2, "name": null, "description": "d",
           "created_at": "2026-01-01T00:00:00.000000", "metadata": {}})
}

fn attachment(connection_info: &Value) -> Option<Response> {
    let attachment = json!({
        "id": ID, "status": "attaching", "instance": "s", "volume_id": "v", "attached_at": "", "detached_at": "",
        "attach_mode": "rw", "connection_info": connection_info,
    });
    reply(200, json!({"attachment": attachment}))
}

fn fault(status: u16, name: &str) -> Option<Response> {
    reply(status, json!({name: {"code": status, "message": "Invalid volume: because."}}))
}

/// A Cinder with the volumes `1` and `2`, each on a page of its own.
fn cinder(seen: &Seen) -> Option<Response> {
    match seen.what.split_once(' ').unwrap() {
        ("GET", "/volume/v3/p/volumes/detail") if seen.query.is_empty() => {
            let next = json!([{"rel": "next", "href": "http://elsewhere/volumes/detail?marker=1"}]);
            reply(200, json!({"volumes": [volume("1")], "volumes_links": next}))
        }
        ("GET", "/volume/v3/p/volumes/detail") => reply(200, json!({"volumes": [volume("2")]})),
        ("GET", "/volume/v3/p/volumes/1") => reply(200, json!({"volume": volume("1")})),
        ("POST", "/volume/v3/p/volumes") => reply(202, json!({"volume": volume("3")})),
        ("GET", "/volume/v3/p/snapshots/detail") => reply(200, json!({"snapshots": [snapshot("5")]})),
        ("GET", "/volume/v3/p/snapshots/5") => reply(200, json!({"snapshot": snapshot("5")})),
        ("POST", "/volume/v3/p/snapshots") => reply(202, json!({"snapshot": snapshot("6")})),
        ("POST", "/volume/v3/p/volumes/1/action") if seen.body["os-migrate_volume_completion"].is_object() => {
            reply(200, json!({"save_volume_id": "1"}))
        }
        ("POST", path) if path.ends_with("/action") => reply(202, Value::Null),
        ("POST", "/volume/v3/p/attachments") => attachment(&json!({})),
        ("DELETE", _) => reply(202, Value::Null),
        _ => None,
    }
}

async fn started() -> Server {
    Server::start(async |seen: Seen| cinder(&seen)).await
}

#[tokio::test]
async fn volumes_are_listed_to_the_last_page_with_the_callers_token_and_project() {
    let server = started().await;
    let found = volumes(&server, &[]).list_volumes(&user()).await.unwrap();
    let one = &found[0];
    assert_eq!(found.iter().map(|volume| volume.id.as_str()).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!((one.status.as_str(), one.size, one.multiattach, one.is_bootable), ("in-use", 2, true, true));
    let attached = AttachedTo {
        server_id: "s".to_owned(),
        attachment_id: Some("a".to_owned()),
        device: Some("/dev/vdb".to_owned()),
    };
    assert_eq!(
        (one.attachments.as_slice(), one.created_at.as_str()),
        ([attached].as_slice(), Some("2026-01-01T00:00:00.000000"))
    );
    assert_eq!((one.volume_type.as_deref(), one.migration_status.as_deref()), (Some("lvm"), None));
    let seen = server.seen();
    assert_eq!(seen.iter().map(|seen| seen.query.as_str()).collect::<Vec<_>>(), ["", "", "marker=1"]);
    for seen in &seen[1..] {
        assert_eq!((seen.token(), seen.header("openstack-api-version")), ("user", "volume 3.0"));
    }
}

#[tokio::test]
async fn volumes_and_snapshots_are_made_with_what_is_wanted_only() {
    let server = started().await;
    let cinder = volumes(&server, &[]);
    let new = NewVolume { size: 2, name: Some("n".to_owned()), ..NewVolume::default() };
    assert_eq!(cinder.create_volume(&user(), new).await.unwrap().id, "3");
    let new = NewSnapshot { volume_id: "1".to_owned(), force: true, ..NewSnapshot::default() };
    assert_eq!(cinder.create_snapshot(&user(), new).await.unwrap().id, "6");
    let bodies: Vec<Value> = server.seen()[1..].iter().map(|seen| seen.body.clone()).collect();
    assert_eq!(bodies[0], json!({"volume": {"size": 2, "name": "n"}}));
    let snapshot = json!({"volume_id": "1", "force": true, "name": null, "description": null});
    assert_eq!(bodies[1], json!({ "snapshot": snapshot }));
    assert_eq!(cinder.list_snapshots(&user()).await.unwrap(), [cinder.show_snapshot(&user(), "5").await.unwrap()]);
    cinder.delete_volume(&user(), "1").await.unwrap();
    cinder.delete_snapshot(&user(), "5").await.unwrap();
    assert_eq!(server.count("DELETE /volume/v3/p/volumes/1"), 1);
    assert_eq!(server.count("DELETE /volume/v3/p/snapshots/5"), 1);
}

#[tokio::test]
async fn states_are_asked_for_by_their_actions() {
    let server = started().await;
    let cinder = volumes(&server, &[]);
    cinder.reserve(&user(), "1").await.unwrap();
    cinder.unreserve(&user(), "1").await.unwrap();
    cinder.begin_detaching(&user(), "1").await.unwrap();
    cinder.roll_detaching(&user(), "1").await.unwrap();
    assert_eq!(cinder.migrate_volume_completion(&user(), "1", "2", false).await.unwrap(), "1");
    let bodies: Vec<Value> = server.seen()[1..].iter().map(|seen| seen.body.clone()).collect();
    assert_eq!(
        bodies,
        [
            json!({"os-reserve": null}),
            json!({"os-unreserve": null}),
            json!({"os-begin_detaching": null}),
            json!({"os-roll_detaching": null}),
            json!({"os-migrate_volume_completion": {"new_volume": "2", "error": false}}),
        ]
    );
}

#[tokio::test]
async fn an_attachment_says_how_to_connect_once_it_has_a_connector() {
    let server = Server::start(async |seen: Seen| match seen.what.starts_with("PUT") {
        // A backend that fails at first.
        true if seen.number < 2 => reply(500, Value::Null),
        true => attachment(&json!({"driver_volume_type": "iscsi", "target_lun": 1, "attachment_id": ID})),
        false => cinder(&seen),
    })
    .await;
    let cinder = volumes(&server, &[]);
    let made = cinder.create_attachment(&user(), "1", Uuid::nil()).await.unwrap();
    assert_eq!((made.id, made.connection_info.len()), (ID, 0));
    let updated = cinder.update_attachment(&user(), ID, json!({"host": "h"})).await.unwrap();
    let expected = json!({
        "driver_volume_type": "iscsi", "data": {"target_lun": 1}, "status": "attaching", "instance": "s",
        "volume_id": "v", "attached_at": "", "detached_at": "",
    });
    assert_eq!((json!(updated.connection_info), updated.attach_mode.as_deref()), (expected, Some("rw")));
    cinder.complete_attachment(&user(), ID).await.unwrap();
    cinder.delete_attachment(&user(), ID).await.unwrap();

    let seen = server.seen();
    assert!(seen[1..].iter().all(|seen| seen.header("openstack-api-version") == "volume 3.44"));
    let attachment = json!({"volume_uuid": "1", "instance_uuid": Uuid::nil(), "connector": null});
    assert_eq!(seen[1].body, json!({ "attachment": attachment }));
    assert_eq!(seen[2].body, json!({"attachment": {"connector": {"host": "h"}}}));
    assert_eq!(server.count(&format!("PUT /volume/v3/p/attachments/{ID}")), 3);
    assert_eq!(seen[5].body, json!({"os-complete": null}));
}

#[tokio::test]
async fn refusals_are_told_apart_and_what_is_gone_needs_no_end() {
    let server = Server::start(async |seen: Seen| {
        if seen.what.contains("/attachments") {
            return if seen.what.starts_with("DELETE") { fault(404, "itemNotFound") } else { fault(409, "conflict") };
        }
        match seen.what.rsplit('/').next().unwrap() {
            "volumes" => fault(413, "overLimit"),
            "action" => fault(400, "badRequest"),
            "forbidden" => fault(403, "forbidden"),
            "broken" => fault(500, "computeFault"),
            _ => cinder(&seen),
        }
    })
    .await;
    let cinder = volumes(&server, &[]);
    let because = "Invalid volume: because.".to_owned();
    let gone = cinder.show_volume(&user(), "gone").await.unwrap_err();
    assert_eq!(gone, ClientError::not_found("volume", "gone"));
    let gone = cinder.show_snapshot(&user(), "gone").await.unwrap_err();
    assert_eq!(gone, ClientError::not_found("volume snapshot", "gone"));
    let forbidden = cinder.show_volume(&user(), "forbidden").await.unwrap_err();
    assert_eq!(forbidden, ClientError::Forbidden(because.clone()));
    let over = cinder.create_volume(&user(), NewVolume::default()).await.unwrap_err();
    assert_eq!(over, ClientError::OverQuota(because.clone()));
    let refused = cinder.begin_detaching(&user(), "1").await.unwrap_err();
    assert_eq!(refused, ClientError::BadRequest(because.clone()));
    let conflict = cinder.create_attachment(&user(), "1", ID).await.unwrap_err();
    assert_eq!(conflict, ClientError::Conflict(because));
    cinder.delete_attachment(&user(), ID).await.unwrap();
    let broken = cinder.show_volume(&user(), "broken").await.unwrap_err();
    assert_eq!(broken, ClientError::unavailable("volume", "HTTP 500: Invalid volume: because."));
}

#[tokio::test]
async fn a_service_that_asks_for_itself_is_in_its_own_project() {
    let server = Server::start(async |seen: Seen| match seen.what.as_str() {
        "GET /volume/v3/services-own/volumes/1" => reply(200, json!({"volume": volume("1")})),
        _ => cinder(&seen),
    })
    .await;
    volumes(&server, &[]).show_volume(&RequestContext::admin(), "1").await.unwrap();
    assert_eq!(server.seen()[1].token(), "service-1");
}

#[tokio::test]
async fn a_template_goes_before_the_catalog() {
    let server = Server::start(async |seen: Seen| match seen.what.as_str() {
        "GET /other/v3/p/volumes/1" => reply(200, json!({"volume": volume("1")})),
        _ => None,
    })
    .await;
    let template = format!("endpoint_template = {}/other/v3/%(project_id)s", server.url);
    volumes(&server, &[("cinder", &template)]).show_volume(&user(), "1").await.unwrap();
}

#[tokio::test]
async fn a_catalog_without_a_volume_service_is_said_to_be_one() {
    let server = Server::start(async |seen: Seen| {
        (seen.what == LOGIN).then(|| login("http://nowhere", 1, "2099-01-01T00:00:00.000000Z"))
    })
    .await;
    let error = volumes(&server, &[("cinder", "os_region_name = elsewhere")]).list_volumes(&user()).await.unwrap_err();
    let reason = "the catalog has no endpoint of type volumev3 or block-storage, interface publicURL, region elsewhere";
    assert_eq!(error, ClientError::unavailable("volume", reason));
}
