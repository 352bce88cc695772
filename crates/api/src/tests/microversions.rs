//! What 2.97 to 2.104 change, and of the older ones those that no test of a resource shows. What they add to servers is in
//! `servers/views.rs` too.

use kilonova_clients::image::Image;
use kilonova_db::console_auth_tokens;
use kilonova_objects::ConsoleAuthToken;
use serde_json::{Value, json};
use uuid::Uuid;

use super::cloud::{ADMIN, Cloud, MEMBER, NOBODY, OTHER};
use super::servers::{active, create, save, with};
use crate::routes::{ROUTES, Route, Verb};
use crate::versions::{V2_101, V2_102};

async fn server(cloud: &Cloud, version: &str, uuid: Uuid) -> Value {
    cloud.get(MEMBER, version, &format!("/servers/{uuid}")).await.expect(200).body["server"].clone()
}

#[tokio::test]
async fn v2_5_and_v2_83_let_everybody_filter_by_more() {
    let cloud = Cloud::new().await;
    active(&cloud, "vm").await;
    let found = async |token: &str, version: &str, filter: &str| {
        let listed = cloud.get(token, version, &format!("/servers?{filter}")).await.expect(200).body;
        listed["servers"].as_array().unwrap().len()
    };
    // None of these fits the server: where one does not count, the server is in the list.
    for (filter, before, since) in [
        ("ip6=2001:db8::17", "2.4", "2.5"),
        ("availability_zone=elsewhere", "2.82", "2.83"),
        ("key_name=another", "2.82", "2.83"),
        ("power_state=4", "2.82", "2.83"),
        ("task_state=spawning", "2.82", "2.83"),
        ("vm_state=paused", "2.82", "2.83"),
        ("user_id=somebody", "2.82", "2.83"),
    ] {
        assert_eq!((found(MEMBER, before, filter).await, found(MEMBER, since, filter).await), (1, 0), "{filter}");
        assert_eq!(found(ADMIN, before, filter).await, 0, "{filter}");
    }
}

#[tokio::test]
async fn v2_62_and_v2_84_events_of_actions_say_where_and_why() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let stop =
        cloud.post(MEMBER, "2.96", &format!("/servers/{uuid}/action"), json!({"os-stop": null})).await.expect(202);
    let request_id = stop.header("x-openstack-request-id").to_owned();
    let event = "compute_stop_instance";
    kilonova_db::actions::event_start(&cloud.db, uuid, &request_id, event, Some("compute1")).await.unwrap();
    let failure = Some(("it broke".to_owned(), "trace".to_owned()));
    kilonova_db::actions::event_finish(&cloud.db, uuid, &request_id, event, failure).await.unwrap();
    let path = format!("/servers/{uuid}/os-instance-actions/{request_id}");
    for (version, has_host, has_details) in
        [("2.61", false, false), ("2.62", true, false), ("2.83", true, false), ("2.84", true, true)]
    {
        let shown = cloud.get(ADMIN, version, &path).await.expect(200).body["instanceAction"]["events"][0].clone();
        let has = |field: &str| shown.get(field).is_some();
        assert_eq!((has("host"), has("hostId"), has("details")), (has_host, has_host, has_details), "{version}");
    }
}

#[tokio::test]
async fn v2_67_a_new_volume_may_have_a_type() {
    let cloud = Cloud::new().await;
    let device = json!({"boot_index": 0, "uuid": cloud.image.id, "source_type": "image", "destination_type": "volume",
        "volume_size": 1, "volume_type": "fast"});
    let body = with(&cloud, json!({"block_device_mapping_v2": [device]}));
    let before = cloud.post(MEMBER, "2.66", "/servers", body.clone()).await.expect(400);
    assert!(before.message().contains("volume_type"), "{}", before.message());
    let since = cloud.post(MEMBER, "2.67", "/servers", body).await;
    assert!(!since.body.to_string().contains("volume_type"), "{}", since.body);
}

#[tokio::test]
async fn v2_97_shares_are_refused_where_the_host_cannot_pass_them_through() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let share = Uuid::new_v4();
    let path = format!("/servers/{uuid}/shares");
    let one = format!("{path}/{share}");
    let body = json!({"share": {"share_id": share, "tag": "files"}});
    assert_eq!(cloud.get(MEMBER, "2.97", &path).await.expect(200).body, json!({"shares": []}));
    let missing = format!("Share {share} could not be found.");
    cloud.get(MEMBER, "2.97", &one).await.expect_fault(404, "itemNotFound", &missing);
    for (act, reply) in [
        ("create share", cloud.post(MEMBER, "2.97", &path, body.clone()).await),
        ("delete share", cloud.delete(MEMBER, "2.97", &one).await),
    ] {
        let message = format!("Cannot '{act}' instance {uuid} while it is in vm_state active");
        reply.expect_fault(409, "conflictingRequest", &message);
    }
    save(&cloud, uuid, json!({"vm_state": "stopped"})).await;
    cloud.post(MEMBER, "2.97", &path, body.clone()).await.expect_fault(
        409,
        "conflictingRequest",
        "Feature not supported because either compute or instance are not configured correctly.",
    );
    cloud.delete(MEMBER, "2.97", &one).await.expect_fault(404, "itemNotFound", &missing);

    for wrong in
        [json!({"share": {}}), json!({"share": {"share_id": "x"}}), json!({"share": {"share_id": share, "tag": "a b"}})]
    {
        cloud.post(MEMBER, "2.97", &path, wrong).await.expect(400);
    }
    cloud.get(MEMBER, "2.97", &format!("{path}?x=1")).await.expect(400);
    cloud.get(NOBODY, "2.97", &path).await.expect(403);
    cloud.get(OTHER, "2.97", &path).await.expect(404);
    cloud.post(NOBODY, "2.97", &path, body.clone()).await.expect(403);
    cloud.delete(NOBODY, "2.97", &one).await.expect(403);
    cloud.get(MEMBER, "2.96", &path).await.expect(404);
    cloud.post(MEMBER, "2.96", &path, body).await.expect(404);
}

#[tokio::test]
async fn v2_98_the_image_shows_the_properties_that_nova_knows() {
    let cloud = Cloud::new().await;
    let properties = [("hw_disk_bus", "virtio"), ("architecture", "x86_64"), ("my_own", "x")];
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    cloud.images.put(Image { properties, ..cloud.image.clone() }, "/nowhere");
    let uuid = active(&cloud, "vm").await;
    assert_eq!(server(&cloud, "2.97", uuid).await["image"]["properties"], Value::Null);
    let expected = json!({"architecture": "x86_64", "hw_disk_bus": "virtio"});
    assert_eq!(server(&cloud, "2.98", uuid).await["image"]["properties"], expected);
    let listed = cloud.get(MEMBER, "2.98", "/servers/detail").await.expect(200);
    assert_eq!(listed.body["servers"][0]["image"]["properties"], expected);
    let body = json!({"server": {"name": "new"}});
    let updated = cloud.put(MEMBER, "2.98", &format!("/servers/{uuid}"), body).await.expect(200);
    assert_eq!(updated.body["server"]["image"]["properties"], expected);
}

#[tokio::test]
async fn v2_99_a_spice_console_can_be_direct() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let path = format!("/servers/{uuid}/remote-consoles");
    let direct = json!({"remote_console": {"protocol": "spice", "type": "spice-direct"}});
    cloud.post(ADMIN, "2.98", &path, direct.clone()).await.expect(400);
    let reply = cloud.post(ADMIN, "2.99", &path, direct).await.expect(200);
    assert_eq!(reply.body["remote_console"]["type"], "spice-direct");

    let console = ConsoleAuthToken {
        console_type: "spice-direct".to_owned(),
        host: "host1".to_owned(),
        port: 5900,
        tls_port: Some(5901),
        instance_uuid: uuid,
        ..ConsoleAuthToken::default()
    };
    let token = console_auth_tokens::authorize(&cloud.db, &console, 60).await.unwrap().token;
    let path = format!("/os-console-auth-tokens/{token}");
    let shown = async |version: &str| cloud.get(ADMIN, version, &path).await.expect(200).body["console"].clone();
    assert_eq!(shown("2.98").await.get("tls_port"), None);
    assert_eq!(shown("2.99").await["tls_port"], 5901);
    cloud.get(ADMIN, "2.98", &format!("{path}?x=1")).await.expect(200);
    cloud.get(ADMIN, "2.99", &format!("{path}?x=1")).await.expect(400);
}

#[tokio::test]
async fn v2_100_servers_show_their_scheduler_hints() {
    let cloud = Cloud::new().await;
    let other = create(&cloud, "other").await;
    let mut body = with(&cloud, json!({}));
    body["os:scheduler_hints"] = json!({"same_host": other});
    let created = cloud.post(MEMBER, "2.100", "/servers", body).await.expect(202);
    let uuid: Uuid = created.body["server"]["id"].as_str().unwrap().parse().unwrap();
    let hints = json!({"same_host": [other]});
    assert!(server(&cloud, "2.99", uuid).await.get("scheduler_hints").is_none());
    assert_eq!(server(&cloud, "2.100", uuid).await["scheduler_hints"], hints);
    assert_eq!(server(&cloud, "2.100", other).await["scheduler_hints"], json!({}));
    let listed = cloud.get(MEMBER, "2.100", "/servers/detail?sort_key=display_name&sort_dir=asc").await.expect(200);
    let listed: Vec<&Value> =
        listed.body["servers"].as_array().unwrap().iter().map(|server| &server["scheduler_hints"]).collect();
    assert_eq!(listed, [&json!({}), &hints]);
    let body = json!({"server": {"name": "new"}});
    let updated = cloud.put(MEMBER, "2.100", &format!("/servers/{uuid}"), body).await.expect(200);
    assert_eq!(updated.body["server"]["scheduler_hints"], hints);
}

#[tokio::test]
async fn v2_102_flavors_have_a_name_filter_and_two_fields_less() {
    let cloud = Cloud::new().await;
    let names = |body: &Value| -> Vec<String> {
        let flavors = body["flavors"].as_array().unwrap().iter();
        flavors.map(|flavor| flavor["name"].as_str().unwrap().to_owned()).collect()
    };
    for path in ["/flavors", "/flavors/detail"] {
        let named = cloud.get(MEMBER, "2.102", &format!("{path}?name=tiny$")).await.expect(200);
        assert_eq!(names(&named.body), ["m1.tiny"]);
        let both = cloud.get(MEMBER, "2.102", &format!("{path}?name=m1&limit=1")).await.expect(200);
        assert_eq!(names(&both.body), ["m1.tiny"]);
        let next = cloud.get(MEMBER, "2.102", &format!("{path}?name=m1&limit=1&marker=1")).await.expect(200);
        assert_eq!(names(&next.body), ["m1.small"]);
        let bad = cloud.get(MEMBER, "2.102", &format!("{path}?name=(")).await;
        bad.expect_fault(400, "badRequest", "Invalid filter field: name.");
        // Unknown until then: passed over, then refused.
        let ignored = cloud.get(MEMBER, "2.74", &format!("{path}?name=tiny")).await.expect(200);
        assert_eq!(names(&ignored.body), ["m1.tiny", "m1.small"]);
        cloud.get(MEMBER, "2.101", &format!("{path}?name=tiny")).await.expect(400);
        cloud.get(MEMBER, "2.101", &format!("{path}?sort_key=rxtx_factor")).await.expect(200);
        cloud.get(MEMBER, "2.102", &format!("{path}?sort_key=rxtx_factor")).await.expect(400);
    }
    let fields = ["rxtx_factor", "OS-FLV-DISABLED:disabled"];
    let body = |name: &str| json!({"flavor": {"name": name, "ram": 1, "vcpus": 1, "disk": 1}});
    for (version, is_there) in [("2.101", true), ("2.102", false)] {
        let shown = cloud.get(MEMBER, version, "/flavors/1").await.expect(200).body["flavor"].clone();
        let listed = cloud.get(MEMBER, version, "/flavors/detail").await.expect(200).body["flavors"][0].clone();
        let created = cloud.post(ADMIN, version, "/flavors", body(version)).await.expect(200).body["flavor"].clone();
        let id = created["id"].as_str().unwrap().to_owned();
        let changed = json!({"flavor": {"description": "x"}});
        let changed = cloud.put(ADMIN, version, &format!("/flavors/{id}"), changed).await.expect(200).body;
        for flavor in [&shown, &listed, &created, &changed["flavor"]] {
            assert!(fields.iter().all(|field| flavor.get(field).is_some() == is_there), "{version} {flavor}");
        }
    }
    let mut with_factor = body("fast");
    with_factor["flavor"]["rxtx_factor"] = json!(2.0);
    cloud.post(ADMIN, "2.102", "/flavors", with_factor.clone()).await.expect(400);
    cloud.post(ADMIN, "2.101", "/flavors", with_factor).await.expect(200);
}

#[tokio::test]
async fn v2_102_no_query_string_is_passed_over() {
    let cloud = Cloud::new().await;
    let mut checked = 0;
    let is_read = |route: &&Route| route.method == Verb::Get && !route.is_gone && route.exists_in(V2_102);
    for route in ROUTES.iter().filter(is_read) {
        let path = format!("{}?surely_unknown=1", route.path.replace(['{', '}'], ""));
        let reply = cloud.get(ADMIN, "2.102", &path).await.expect(400);
        assert!(reply.message().contains("'surely_unknown'"), "{path}: {}", reply.message());
        checked += usize::from(route.exists_in(V2_101));
    }
    assert!(checked > 40, "{checked}");
    cloud.get(MEMBER, "2.101", "/extensions?surely_unknown=1").await.expect(200);
}

#[tokio::test]
async fn v2_104_a_server_is_pinned_where_it_is_and_unpinned() {
    let cloud = Cloud::new().await;
    let uuid = active(&cloud, "vm").await;
    let path = format!("/servers/{uuid}");
    let pin = |zone: Value| json!({"server": {"pinned_availability_zone": zone}});
    let pinned = |zone: Value| {
        let (cloud, path, body) = (&cloud, &path, pin(zone));
        async move { cloud.put(MEMBER, "2.104", path, body).await }
    };
    cloud.put(MEMBER, "2.103", &path, pin(json!("nova"))).await.expect(400);
    pinned(json!("east")).await.expect_fault(
        409,
        "conflictingRequest",
        "Server can only be pinned to its current availability zone 'nova', but 'east' was requested.",
    );
    assert_eq!(server(&cloud, "2.96", uuid).await["pinned_availability_zone"], Value::Null);
    for _ in 0..2 {
        let reply = pinned(json!("nova")).await.expect(200);
        assert_eq!(reply.body["server"]["pinned_availability_zone"], "nova");
    }
    let spec = kilonova_db::request_specs::get(&cloud.db, uuid).await.unwrap();
    assert_eq!(spec.availability_zone.as_deref(), Some("nova"));
    assert_eq!(server(&cloud, "2.96", uuid).await["pinned_availability_zone"], "nova");
    pinned(json!("east")).await.expect_fault(
        409,
        "conflictingRequest",
        "Cannot change pinned availability zone directly. Unpin first by setting pinned_availability_zone to null.",
    );
    for _ in 0..2 {
        let reply = pinned(Value::Null).await.expect(200);
        assert_eq!(reply.body["server"]["pinned_availability_zone"], Value::Null);
    }
    let spec = kilonova_db::request_specs::get(&cloud.db, uuid).await.unwrap();
    assert_eq!(spec.availability_zone, None);
    for wrong in [json!(""), json!(1)] {
        pinned(wrong).await.expect(400);
    }
    cloud.put(NOBODY, "2.104", &path, pin(json!("nova"))).await.expect(403);
}
