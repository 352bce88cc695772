//! `POST /servers`

use kilonova_db::workflows::{self, WorkflowKind};
use kilonova_objects::KeyPair;
use kilonova_rpcapi::conductor::ScheduleAndBuildInstances;
use serde_json::{Value, json};

use super::{activate, count, create, instance, minimal, with};
use crate::tests::cloud::{ADMIN, Cloud, MEMBER, OTHER, OTHER_PROJECT, PROJECT, READER};

#[tokio::test]
async fn a_server_is_accepted_written_with_its_workflow_and_handed_to_a_conductor() {
    let cloud = Cloud::new().await;
    let reply = cloud.post(MEMBER, "2.96", "/servers", minimal(&cloud, "Web 1")).await.expect(202);
    let server = &reply.body["server"];
    let id = server["id"].as_str().unwrap();
    assert_eq!(reply.header("location"), format!("http://cloud:8774/v2.1/servers/{id}"));
    assert_eq!(server["links"][1]["href"], format!("http://cloud:8774/servers/{id}"));
    assert_eq!(server["OS-DCF:diskConfig"], "MANUAL");
    assert_eq!(server["security_groups"], json!([{"name": "default"}]));
    assert_eq!(server["adminPass"].as_str().unwrap().len(), 12);

    let calls = cloud.wait_for::<ScheduleAndBuildInstances>(1).await;
    let built = &calls[0]["build_requests"][0]["nova_object.data"];
    assert_eq!(built["instance_uuid"], *id);
    let data = &built["instance"]["nova_object.data"];
    assert_eq!(data["hostname"], "web-1");
    assert_eq!(data["task_state"], "scheduling");
    assert_eq!(data["flavor"]["nova_object.data"]["name"], "m1.tiny");
    let disk = &built["block_device_mappings"]["nova_object.data"]["objects"][0]["nova_object.data"];
    assert_eq!((&disk["source_type"], &disk["destination_type"]), (&json!("image"), &json!("local")));
    let spec = &calls[0]["request_specs"][0]["nova_object.data"];
    assert_eq!(spec["instance_uuid"], *id);
    assert_eq!(spec["num_instances"], 1);
    assert_eq!(calls[0]["admin_password"], server["adminPass"]);
    assert_eq!(calls[0]["image"]["id"], json!(cloud.image.id));

    let workflow = workflows::get(&cloud.db, WorkflowKind::Build, id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(workflow.payload["admin_password"], server["adminPass"]);
    assert_eq!(workflow.payload["context"]["project_id"], PROJECT);
    assert_eq!(workflow.payload["context"]["auth_token"], Value::Null);
    assert_eq!(workflow.payload["security_groups"], json!(["default"]));
    assert_eq!(workflow.payload["requested_networks"], calls[0]["requested_networks"]);
    let actions = cloud.get(MEMBER, "2.96", &format!("/servers/{id}/os-instance-actions")).await.expect(200);
    assert_eq!(actions.body["instanceActions"][0]["action"], "create");
    assert_eq!(actions.body["instanceActions"][0]["request_id"], reply.header("x-openstack-request-id"));
}

#[tokio::test]
async fn everything_that_can_be_asked_for_is_kept() {
    let cloud = Cloud::new().await;
    let group = cloud.networks.add_security_group("web", PROJECT);
    let pair = KeyPair {
        name: "mine".into(),
        user_id: Some("member-user".into()),
        public_key: Some("ssh-ed25519 AAAA".into()),
        fingerprint: Some("f".into()),
        r#type: "ssh".into(),
        ..KeyPair::default()
    };
    kilonova_db::keypairs::create(&cloud.db, &pair).await.unwrap();
    let mut body = with(
        &cloud,
        json!({
            "metadata": {"a": "1"},
            "tags": ["x", "y", "x"],
            "trusted_image_certificates": ["c1", "c2"],
            "description": "what for",
            "hostname": "host.example.org",
            "user_data": "aGVsbG8=",
            "config_drive": "yes",
            "key_name": "mine",
            "security_groups": [{"name": "web"}, {"name": "default"}],
            "availability_zone": "nova",
            "accessIPv4": "192.0.2.1",
            "accessIPv6": "2001:db8::1",
            "OS-DCF:diskConfig": "AUTO",
            "adminPass": "secret",
        }),
    );
    body["os:scheduler_hints"] = json!({"same_host": "5f1b6dd9-7a2f-4d55-9f0a-f8a0bf4ae0b2", "_nova_x": "y", "n": 1});
    let reply = cloud.post(MEMBER, "2.96", "/servers", body).await.expect(202);
    assert_eq!(reply.body["server"]["adminPass"], "secret");
    assert_eq!(reply.body["server"]["security_groups"], json!([{"name": "web"}, {"name": "default"}]));
    let id = reply.body["server"]["id"].as_str().unwrap().to_owned();
    let shown = cloud.get(MEMBER, "2.96", &format!("/servers/{id}")).await.expect(200).body["server"].clone();
    for (name, value) in [
        ("metadata", json!({"a": "1"})),
        ("tags", json!(["x", "y"])),
        ("description", json!("what for")),
        ("OS-EXT-SRV-ATTR:hostname", json!("host.example.org")),
        ("config_drive", json!("True")),
        ("key_name", json!("mine")),
        ("security_groups", json!([{"name": "default"}, {"name": "web"}])),
        ("OS-EXT-AZ:availability_zone", json!("nova")),
        ("pinned_availability_zone", json!("nova")),
        ("accessIPv4", json!("192.0.2.1")),
        ("accessIPv6", json!("2001:db8::1")),
        ("OS-DCF:diskConfig", json!("AUTO")),
        ("trusted_image_certificates", json!(["c1", "c2"])),
    ] {
        assert_eq!(shown[name], value, "{name}");
    }
    let stored = instance(&cloud, id.parse().unwrap()).await;
    assert_eq!(stored.user_data.as_deref(), Some("aGVsbG8="));
    assert_eq!(stored.key_data.as_deref(), Some("ssh-ed25519 AAAA"));
    let spec = &cloud.wait_for::<ScheduleAndBuildInstances>(1).await[0]["request_specs"][0]["nova_object.data"];
    let hints = json!({"same_host": ["5f1b6dd9-7a2f-4d55-9f0a-f8a0bf4ae0b2"], "n": ["1"]});
    assert_eq!(spec["scheduler_hints"], hints);
    let groups = &spec["security_groups"]["nova_object.data"]["objects"];
    assert_eq!(groups[1]["nova_object.data"]["uuid"], json!(group.id));
}

#[tokio::test]
async fn who_asks_for_no_certificates_gets_those_of_the_configuration() {
    let on = "[glance]\nverify_glance_signatures = true\nenable_certificate_validation = true\n\
              default_trusted_certificate_ids = c1,c2\n";
    let half = "[glance]\nverify_glance_signatures = true\ndefault_trusted_certificate_ids = c1\n";
    for (config, wanted, expected) in [
        (on, json!({}), json!(["c1", "c2"])),
        (on, json!({"trusted_image_certificates": null}), json!(["c1", "c2"])),
        (on, json!({"trusted_image_certificates": ["mine"]}), json!(["mine"])),
        (half, json!({}), json!(null)),
        ("", json!({}), json!(null)),
    ] {
        let cloud = Cloud::with_config(config).await;
        let reply = cloud.post(MEMBER, "2.96", "/servers", with(&cloud, wanted.clone())).await.expect(202);
        let path = format!("/servers/{}", reply.body["server"]["id"].as_str().unwrap());
        let shown = cloud.get(MEMBER, "2.96", &path).await.expect(200).body["server"].clone();
        assert_eq!(shown["trusted_image_certificates"], expected, "{config} {wanted}");
    }
}

#[tokio::test]
async fn several_servers_are_numbered_and_share_a_reservation() {
    let cloud = Cloud::new().await;
    let body = with(&cloud, json!({"min_count": "2", "max_count": 3, "return_reservation_id": true}));
    let reply = cloud.post(MEMBER, "2.96", "/servers", body).await.expect(202);
    let reservation = reply.body["reservation_id"].as_str().unwrap().to_owned();
    assert!(reservation.starts_with("r-"));
    let list = cloud
        .get(MEMBER, "2.96", &format!("/servers?reservation_id={reservation}&sort_key=display_name&sort_dir=asc"))
        .await
        .expect(200);
    let names: Vec<&Value> = list.body["servers"].as_array().unwrap().iter().map(|server| &server["name"]).collect();
    assert_eq!(names, ["vm-1", "vm-2", "vm-3"]);
    let calls = cloud.wait_for::<ScheduleAndBuildInstances>(1).await;
    assert_eq!(calls[0]["build_requests"].as_array().unwrap().len(), 3);
    assert_eq!(calls[0]["request_specs"][2]["nova_object.data"]["num_instances"], 3);
}

#[tokio::test]
async fn networks_are_none_auto_or_the_only_one_there_is() {
    let cloud = Cloud::new().await;
    let network = |call: &Value| call["requested_networks"].clone();
    let none = cloud.post(MEMBER, "2.37", "/servers", with(&cloud, json!({"networks": "none"}))).await.expect(202);
    let call = &cloud.wait_for::<ScheduleAndBuildInstances>(1).await[0];
    assert_eq!(network(call)["nova_object.data"]["objects"][0]["nova_object.data"]["network_id"], "none");
    let id = none.body["server"]["id"].as_str().unwrap();
    let shown = cloud.get(MEMBER, "2.37", &format!("/servers/{id}")).await.expect(200);
    assert!(shown.body["server"].get("security_groups").is_none());
    cloud.post(MEMBER, "2.37", "/servers", with(&cloud, json!({"networks": "auto"}))).await.expect(202);
    let mut body = minimal(&cloud, "old");
    body["server"].as_object_mut().unwrap().remove("networks");
    cloud.post(MEMBER, "2.36", "/servers", body.clone()).await.expect(202);
    cloud.networks.add_network("second", PROJECT, false);
    cloud.post(MEMBER, "2.36", "/servers", body).await.expect_fault(
        409,
        "conflictingRequest",
        "Multiple possible networks found, use a Network ID to be more specific.",
    );
}

#[tokio::test]
async fn auto_needs_a_network_or_a_service_that_makes_one() {
    let cloud = Cloud::new().await;
    let auto = |name: &str| {
        let mut body = minimal(&cloud, name);
        body["server"]["networks"] = json!("auto");
        body
    };
    let message = format!("Unable to automatically allocate a network for project {OTHER_PROJECT}");
    cloud.post(OTHER, "2.37", "/servers", auto("x")).await.expect_fault(400, "badRequest", &message);
    cloud.networks.enable_auto_allocation();
    cloud.post(OTHER, "2.37", "/servers", auto("x")).await.expect(202);
}

#[tokio::test]
async fn a_request_for_one_to_five_gets_what_the_quota_has_room_for() {
    let cloud = Cloud::with_config("[quota]\ninstances = 3\n").await;
    create(&cloud, "first").await;
    let body = with(&cloud, json!({"min_count": 1, "max_count": 5}));
    cloud.post(MEMBER, "2.96", "/servers", body).await.expect(202);
    assert_eq!(count(&cloud).await, 3);
    cloud.post(MEMBER, "2.96", "/servers", minimal(&cloud, "x")).await.expect_fault(
        403,
        "forbidden",
        "Quota exceeded for instances: Requested 1, but already used 3 of 3 instances",
    );
    assert_eq!(count(&cloud).await, 3);
}

#[tokio::test]
async fn every_resource_over_quota_is_named() {
    let cloud = Cloud::with_config("[quota]\ncores = 1\nram = 1000\n").await;
    let body = with(&cloud, json!({"flavorRef": "2"}));
    cloud.post(MEMBER, "2.96", "/servers", body).await.expect_fault(
        403,
        "forbidden",
        "Quota exceeded for cores, ram: Requested 2, 2048, but already used 0, 0 of 1, 1000 cores, ram",
    );
    assert_eq!(count(&cloud).await, 0);
}

#[tokio::test]
async fn a_host_is_for_admins_to_choose() {
    let cloud = Cloud::new().await;
    let node = kilonova_objects::ComputeNode {
        uuid: uuid::Uuid::new_v4(),
        host: Some("compute1".into()),
        hypervisor_hostname: Some("node1".into()),
        hypervisor_type: "QEMU".into(),
        ..Default::default()
    };
    kilonova_db::compute_nodes::create(&cloud.db, &node).await.unwrap();
    let forced = with(&cloud, json!({"availability_zone": "nova:compute1"}));
    cloud.post(MEMBER, "2.96", "/servers", forced.clone()).await.expect_fault(
        403,
        "forbidden",
        "Policy doesn't allow os_compute_api:servers:create:forced_host to be performed.",
    );
    cloud.post(ADMIN, "2.96", "/servers", forced).await.expect(202);
    let call = &cloud.wait_for::<ScheduleAndBuildInstances>(1).await[0];
    assert_eq!(call["request_specs"][0]["nova_object.data"]["force_hosts"], json!(["compute1"]));
    let requested = with(&cloud, json!({"host": "compute1", "hypervisor_hostname": "node1"}));
    cloud.post(MEMBER, "2.96", "/servers", requested.clone()).await.expect_fault(
        403,
        "forbidden",
        "Policy doesn't allow compute:servers:create:requested_destination to be performed.",
    );
    cloud.post(ADMIN, "2.74", "/servers", requested).await.expect(202);
    for (host, lost) in
        [(json!({"host": "nowhere"}), "nowhere"), (json!({"host": "compute1", "hypervisor_hostname": "x"}), "x")]
    {
        cloud.post(ADMIN, "2.74", "/servers", with(&cloud, host)).await.expect_fault(
            400,
            "badRequest",
            &format!("Compute host {lost} could not be found."),
        );
    }
}

#[tokio::test]
async fn readers_create_nothing() {
    let cloud = Cloud::new().await;
    cloud.post(READER, "2.96", "/servers", minimal(&cloud, "x")).await.expect_fault(
        403,
        "forbidden",
        "Policy doesn't allow os_compute_api:servers:create to be performed.",
    );
    assert_eq!(count(&cloud).await, 0);
}

#[tokio::test]
async fn the_password_is_not_shown_where_the_operator_says_so() {
    let cloud = Cloud::with_config("[api]\nenable_instance_password = false\n").await;
    let reply = cloud.post(MEMBER, "2.96", "/servers", minimal(&cloud, "x")).await.expect(202);
    assert!(reply.body["server"].get("adminPass").is_none());
}

#[tokio::test]
async fn the_legacy_api_drops_what_it_does_not_know_and_strips_names() {
    let cloud = Cloud::new().await;
    let mut body = with(&cloud, json!({"name": " spaced ", "colour": "blue", "user_data": null}));
    body["more"] = json!(1);
    let reply = cloud.send("POST", Some(MEMBER), "", "/v2/servers", Some(&body.to_string())).await.expect(202);
    assert_eq!(reply.header("openstack-api-version"), "");
    let id = reply.body["server"]["id"].as_str().unwrap();
    assert_eq!(reply.header("location"), format!("http://cloud:8774/v2/servers/{id}"));
    activate(&cloud, id.parse().unwrap()).await;
    let shown = cloud.send("GET", Some(MEMBER), "", &format!("/v2/{PROJECT}/servers/{id}"), None).await.expect(200);
    assert_eq!(shown.body["server"]["name"], "spaced");
    assert_eq!(shown.body["server"]["links"][0]["href"], format!("http://cloud:8774/v2/{PROJECT}/servers/{id}"));
}
