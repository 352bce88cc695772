//! Bad input: status, body and message as Nova gives them, and nothing is created.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{count, with};
use crate::tests::cloud::{Cloud, MEMBER, OTHER_PROJECT, PROJECT};
use kilonova_clients::image::Image;

/// Sends a create request with something wrong in it.
async fn refused(cloud: &Cloud, version: &str, more: Value, status: u16, message: &str) {
    let reply = cloud.post(MEMBER, version, "/servers", with(cloud, more.clone())).await;
    assert_eq!((reply.status.as_u16(), reply.message()), (status, message), "{more}");
    assert_eq!(count(cloud).await, 0, "{more}");
}

#[tokio::test]
async fn what_the_schema_does_not_let_through_is_400_with_the_field_and_the_value() {
    let cloud = Cloud::new().await;
    let long = "x".repeat(256);
    let cases = [
        (json!({"name": long}), format!("Invalid input for field/attribute name. Value: {long}. '{long}' is too long")),
        (json!({"name": 7}), "Invalid input for field/attribute name. Value: 7. 7 is not of type 'string'".to_owned()),
        (
            json!({"name": " x"}),
            "An invalid 'name' value was provided. The name must be: printable characters. Can not start or end with \
             whitespace."
                .to_owned(),
        ),
        (json!({"flavorRef": ""}), "Invalid input for field/attribute flavorRef. Value: . '' should be non-empty".to_owned()),
        (
            json!({"min_count": 0}),
            "Invalid input for field/attribute min_count. Value: 0. 0 is less than the minimum of 1".to_owned(),
        ),
        (
            json!({"config_drive": "maybe"}),
            "Invalid input for field/attribute config_drive. Value: maybe. 'maybe' is not one of [True, 'True', 'TRUE', \
             'true', '1', 'ON', 'On', 'on', 'YES', 'Yes', 'yes', False, 'False', 'FALSE', 'false', '0', 'OFF', 'Off', \
             'off', 'NO', 'No', 'no']"
                .to_owned(),
        ),
        (
            json!({"user_data": "not base64!"}),
            "Invalid input for field/attribute user_data. Value: not base64!. 'not base64!' is not a 'base64'".to_owned(),
        ),
        (
            json!({"accessIPv4": "1.2.3"}),
            "Invalid input for field/attribute accessIPv4. Value: 1.2.3. '1.2.3' is not a 'ipv4'".to_owned(),
        ),
        (
            json!({"metadata": {"k": 1}}),
            "Invalid input for field/attribute k. Value: 1. 1 is not of type 'string'".to_owned(),
        ),
        (
            json!({"tags": ["a,b"]}),
            "Invalid input for field/attribute 0. Value: a,b. 'a,b' does not match '^[^,/]*$'".to_owned(),
        ),
        (
            json!({"imageRef": "cirros"}),
            "Invalid input for field/attribute imageRef. Value: cirros. 'cirros' is not valid under any of the given \
             schemas"
                .to_owned(),
        ),
    ];
    for (more, message) in cases {
        refused(&cloud, "2.96", more, 400, &message).await;
    }
    let reply = cloud.post(MEMBER, "2.96", "/servers", with(&cloud, json!({"colour": "blue"}))).await;
    assert_eq!(reply.status, 400);
    assert!(reply.message().starts_with("Invalid input for field/attribute server. Value: {"), "{}", reply.body);
    assert!(
        reply.message().ends_with("Additional properties are not allowed ('colour' was unexpected)"),
        "{}",
        reply.body
    );
    let reply = cloud.post(MEMBER, "2.96", "/servers", json!({})).await;
    reply.expect_fault(400, "badRequest", "'server' is a required property");
    assert_eq!(count(&cloud).await, 0);
}

#[tokio::test]
async fn fields_exist_only_from_their_microversion_on() {
    let cloud = Cloud::new().await;
    let id = cloud.network.id;
    for (more, from) in [
        (json!({"description": "d"}), 19),
        (json!({"tags": ["t"]}), 52),
        (json!({"hostname": "host"}), 90),
        (json!({"networks": [{"uuid": id, "tag": "nic"}]}), 42),
        (json!({"networks": "none"}), 37),
        (json!({"hostname": "host.example"}), 94),
    ] {
        let (before, since) = (format!("2.{}", from - 1), format!("2.{from}"));
        cloud.post(MEMBER, &before, "/servers", with(&cloud, more.clone())).await.expect(400);
        cloud.post(MEMBER, &since, "/servers", with(&cloud, more)).await.expect(202);
    }
    let signed = json!({"trusted_image_certificates": ["c"]});
    cloud.post(MEMBER, "2.62", "/servers", with(&cloud, signed.clone())).await.expect(400);
    cloud.post(MEMBER, "2.63", "/servers", with(&cloud, signed)).await.expect(202);
    let tagged = json!({"networks": [{"uuid": id, "tag": "nic"}]});
    cloud.post(MEMBER, "2.32", "/servers", with(&cloud, tagged)).await.expect(202);
    let files = json!({"personality": [{"path": "/etc/motd", "contents": "aGVsbG8="}]});
    cloud.post(MEMBER, "2.56", "/servers", with(&cloud, files.clone())).await.expect(202);
    cloud.post(MEMBER, "2.57", "/servers", with(&cloud, files)).await.expect(400);
    let mut bare = with(&cloud, json!({}));
    bare["server"].as_object_mut().unwrap().remove("networks");
    cloud.post(MEMBER, "2.36", "/servers", bare.clone()).await.expect(202);
    let reply = cloud.post(MEMBER, "2.37", "/servers", bare).await.expect(400);
    assert!(reply.message().ends_with("'networks' is a required property"), "{}", reply.body);
}

#[tokio::test]
async fn what_cannot_be_found_is_400() {
    let cloud = Cloud::new().await;
    let lost = Uuid::new_v4();
    let strange = cloud.networks.add_network("theirs", OTHER_PROJECT, false);
    for (more, message) in [
        (json!({"flavorRef": "99"}), "Flavor 99 could not be found.".to_owned()),
        (json!({"flavorRef": "http://x/flavors/98"}), "Flavor 98 could not be found.".to_owned()),
        (json!({"imageRef": lost}), "Can not find requested image".to_owned()),
        (json!({"imageRef": ""}), "Missing imageRef attribute".to_owned()),
        (json!({"key_name": "nobodys"}), "Invalid key_name provided.".to_owned()),
        (json!({"networks": [{"uuid": lost}]}), format!("Network {lost} could not be found.")),
        (json!({"networks": [{"uuid": strange.id}]}), format!("Network {} could not be found.", strange.id)),
        (json!({"networks": [{"port": lost}]}), format!("Port id {lost} could not be found.")),
        (json!({"networks": [{}]}), "Bad network format: missing 'uuid'".to_owned()),
        (
            json!({"security_groups": [{"name": "nothing"}]}),
            "Unable to find security_group with name or id 'nothing'".to_owned(),
        ),
        (json!({"availability_zone": "mars"}), "The requested availability zone is not available".to_owned()),
        (
            json!({"availability_zone": "a:b:c:d"}),
            "Invalid input received: Unable to parse availability_zone".to_owned(),
        ),
        (
            json!({"block_device_mapping_v2": [{"source_type": "volume", "destination_type": "volume", "uuid": lost, "boot_index": 0}]}),
            format!("Block Device Mapping is Invalid: failed to get volume {lost}."),
        ),
        (
            json!({"block_device_mapping_v2": [{"source_type": "image", "destination_type": "volume", "uuid": cloud.image.id,
                "boot_index": 0, "volume_size": 1}]}),
            "Invalid volume: there is no volume service to create one.".to_owned(),
        ),
        (json!({"min_count": 3, "max_count": 2}), "min_count must be <= max_count".to_owned()),
        (
            json!({"hostname": "one", "max_count": 2}),
            "Unable to allocate a single hostname to multiple instances".to_owned(),
        ),
        (
            json!({"networks": [{"uuid": cloud.network.id, "fixed_ip": "10.0.0.9"}], "max_count": 2}),
            "Failed to launch instances: max_count cannot be greater than 1 if an fixed_ip is specified.".to_owned(),
        ),
    ] {
        refused(&cloud, "2.96", more, 400, &message).await;
    }
    let mut grouped = with(&cloud, json!({}));
    grouped["os:scheduler_hints"] = json!({"group": lost});
    let reply = cloud.post(MEMBER, "2.96", "/servers", grouped).await;
    reply.expect_fault(400, "badRequest", &format!("Instance group {lost} could not be found."));
}

#[tokio::test]
async fn a_server_cannot_boot_from_a_volume_that_nobody_has() {
    let cloud = Cloud::new().await;
    let volume = Uuid::new_v4();
    let v2 = json!({"block_device_mapping_v2": [{"source_type": "volume", "destination_type": "volume", "uuid": volume,
        "boot_index": 0}]});
    let legacy = json!({"block_device_mapping": [{"volume_id": volume, "device_name": "vda"}]});
    for devices in [v2, legacy] {
        let mut body = with(&cloud, devices);
        body["server"].as_object_mut().unwrap().remove("imageRef");
        let reply = cloud.post(MEMBER, "2.96", "/servers", body).await;
        let message = format!("Block Device Mapping is Invalid: failed to get volume {volume}.");
        reply.expect_fault(400, "badRequest", &message);
    }
    assert_eq!(count(&cloud).await, 0);
}

#[tokio::test]
async fn an_image_that_does_not_fit_the_flavor_is_400() {
    let cloud = Cloud::new().await;
    let image = |change: fn(&mut Image)| {
        let mut image = Image { id: Uuid::new_v4(), ..cloud.image.clone() };
        change(&mut image);
        cloud.images.put(image.clone(), "/nowhere");
        image.id
    };
    let queued = image(|image| image.status = "queued".into());
    let big = image(|image| image.size = Some(2 << 30));
    let deep = image(|image| image.min_disk = 5);
    let hungry = image(|image| image.min_ram = 1024);
    let odd = image(|image| {
        image.properties.insert("img_config_drive".into(), "never".into());
    });
    for (id, message) in [
        (queued, format!("Image {queued} is not active.")),
        (
            big,
            "Flavor's disk is too small for requested image. Flavor disk is 1073741824 bytes, image is 2147483648 bytes."
                .to_owned(),
        ),
        (
            deep,
            "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is 1073741824 bytes, \
             minimum size is 5368709120 bytes."
                .to_owned(),
        ),
        (hungry, "Flavor's memory is too small for requested image.".to_owned()),
        (odd, "Image's config drive option 'never' is invalid".to_owned()),
    ] {
        refused(&cloud, "2.96", json!({"imageRef": id}), 400, &message).await;
    }
}

#[tokio::test]
async fn too_much_of_something_is_403() {
    let cloud = Cloud::with_config(
        "[quota]\nmetadata_items = 1\ninjected_files = 1\ninjected_file_content_bytes = 8\ninjected_file_path_length = 5\n",
    )
    .await;
    refused(
        &cloud,
        "2.96",
        json!({"metadata": {"a": "1", "b": "2"}}),
        403,
        "Maximum number of metadata items exceeds 1",
    )
    .await;
    let file = |path: &str, contents: &str| json!({"path": path, "contents": contents});
    let files = |files: &[Value]| json!({"personality": files});
    refused(&cloud, "2.1", files(&[file("/a", ""), file("/b", "")]), 403, "Personality file limit exceeded").await;
    refused(&cloud, "2.1", files(&[file("/too/long", "")]), 403, "Personality file path exceeds maximum 5").await;
    refused(&cloud, "2.1", files(&[file("/a", "aGVsbG8gYm95cyE=")]), 403, "Personality file content exceeds maximum 8")
        .await;
}

#[tokio::test]
async fn a_port_in_use_is_409() {
    let cloud = Cloud::new().await;
    let port = cloud.networks.add_port(cloud.network.id, PROJECT);
    let twice = json!({"networks": [{"port": port.id}, {"port": port.id}]});
    let message = format!("Port ID '{}' was specified twice: you cannot attach a port multiple times.", port.id);
    refused(&cloud, "2.96", twice, 400, &message).await;
    let both = json!({"networks": [{"port": port.id, "fixed_ip": "10.0.0.9"}]});
    let message = format!(
        "Specified Fixed IP '10.0.0.9' cannot be used with port '{}': the two cannot be specified together.",
        port.id
    );
    refused(&cloud, "2.96", both, 400, &message).await;
    cloud.post(MEMBER, "2.96", "/servers", with(&cloud, json!({"networks": [{"port": port.id}]}))).await.expect(202);
}

#[tokio::test]
async fn an_unknown_action_is_400_and_so_are_two() {
    let cloud = Cloud::new().await;
    let path = format!("/servers/{}/action", Uuid::new_v4());
    cloud.post(MEMBER, "2.96", &path, json!({"explode": null})).await.expect_fault(
        400,
        "badRequest",
        "There is no such action: explode",
    );
    let two = json!({"os-stop": null, "os-start": null});
    cloud.post(MEMBER, "2.96", &path, two).await.expect_fault(400, "badRequest", "Malformed request body");
    let bad = cloud.post(MEMBER, "2.96", &path, json!({"reboot": {"type": "gentle"}})).await;
    assert_eq!(
        bad.message(),
        "Invalid input for field/attribute type. Value: gentle. 'gentle' is not one of ['HARD', 'Hard', 'hard', 'SOFT', \
         'Soft', 'soft']"
    );
}
