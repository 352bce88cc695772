//! What is the network service's, up to 2.35.

use serde_json::{Value, json};
use uuid::Uuid;

use super::cloud::{ADMIN, Cloud, MEMBER, NOBODY, OTHER, PROJECT, READER};

const GONE: &str = "This resource is no longer available.  No forwarding address is given.";

#[tokio::test]
async fn nothing_of_it_exists_from_2_36_on() {
    let cloud = Cloud::new().await;
    for path in [
        "/os-networks",
        "/os-networks/x",
        "/os-tenant-networks",
        "/os-tenant-networks/x",
        "/os-floating-ip-pools",
        "/os-floating-ips",
        "/os-floating-ips/x",
        "/os-security-groups",
        "/os-security-groups/x",
    ] {
        cloud.get(MEMBER, "2.36", path).await.expect_fault(404, "itemNotFound", "The resource could not be found.");
        if path != "/os-floating-ip-pools" {
            cloud.get(NOBODY, "2.35", path).await.expect(403);
        }
    }
    let rule = json!({"security_group_rule": {"parent_group_id": Uuid::nil()}});
    cloud.post(MEMBER, "2.36", "/os-security-group-rules", rule).await.expect(404);
}

#[tokio::test]
async fn networks_are_little_more_than_names() {
    let cloud = Cloud::new().await;
    let (id, path) = (cloud.network.id, format!("/os-networks/{}", cloud.network.id));
    let shown = cloud.get(READER, "2.35", &path).await.expect(200).body["network"].clone();
    let nulls = ["cidr", "netmask", "gateway", "broadcast", "dns1", "dns2", "cidr_v6", "gateway_v6", "netmask_v6"];
    let mut expected = json!({"id": id, "label": "private"});
    for name in nulls {
        expected[name] = Value::Null;
    }
    assert_eq!(shown, expected);
    let admins = cloud.get(ADMIN, "2.1", &path).await.expect(200).body["network"].as_object().unwrap().len();
    assert_eq!(admins, 32);
    let listed = cloud.get(READER, "2.1", "/os-networks").await.expect(200);
    assert_eq!(listed.body, json!({"networks": [expected]}));
    assert_eq!(cloud.get(OTHER, "2.1", "/os-networks").await.expect(200).body, json!({"networks": []}));

    let tenants = json!({"id": id, "cidr": "None", "label": "private"});
    let listed = cloud.get(READER, "2.35", "/os-tenant-networks").await.expect(200);
    assert_eq!(listed.body, json!({"networks": [tenants]}));
    let shown = cloud.get(READER, "2.35", &format!("/os-tenant-networks/{id}")).await.expect(200);
    assert_eq!(shown.body, json!({"network": tenants}));
    for path in ["/os-networks/x", "/os-tenant-networks/x"] {
        cloud.get(MEMBER, "2.35", path).await.expect_fault(404, "itemNotFound", "Network not found");
    }
}

#[tokio::test]
async fn what_needed_novas_own_networks_is_gone_in_every_version() {
    let cloud = Cloud::new().await;
    for version in ["2.1", "2.96"] {
        for path in ["/os-networks", "/os-networks/add", "/os-tenant-networks"] {
            cloud.post(NOBODY, version, path, json!({})).await.expect_fault(410, "computeFault", GONE);
        }
        for path in ["/os-networks/x", "/os-tenant-networks/x"] {
            cloud.delete(NOBODY, version, path).await.expect_fault(410, "computeFault", GONE);
        }
        for action in ["associate_host", "disassociate", "disassociate_host", "disassociate_project"] {
            let reply = cloud.post(NOBODY, version, "/os-networks/x/action", json!({action: null})).await;
            reply.expect_fault(410, "computeFault", GONE);
        }
    }
}

#[tokio::test]
async fn floating_addresses_come_from_pools() {
    let cloud = Cloud::new().await;
    let none = cloud.post(MEMBER, "2.35", "/os-floating-ips", json!({})).await;
    none.expect_fault(404, "itemNotFound", "Floating IP pool not found.");
    let public = cloud.networks.add_external_network("public", "admins");
    cloud.networks.add_external_network("nova", "admins");
    let pools = cloud.get(NOBODY, "2.35", "/os-floating-ip-pools").await.expect(200);
    assert_eq!(pools.body, json!({"floating_ip_pools": [{"name": "public"}, {"name": "nova"}]}));

    let made = cloud.send("POST", Some(MEMBER), "2.1", "/v2.1/os-floating-ips", Some("")).await.expect(200);
    assert_eq!(made.body["floating_ip"]["pool"], "nova");
    for pool in ["public".to_owned(), public.id.to_string()] {
        let made = cloud.post(MEMBER, "2.1", "/os-floating-ips", json!({"pool": pool})).await.expect(200);
        assert_eq!(made.body["floating_ip"]["pool"], "public");
    }
    let listed = cloud.get(READER, "2.35", "/os-floating-ips").await.expect(200);
    let one = listed.body["floating_ips"][0].clone();
    let expected = json!({"fixed_ip": null, "id": one["id"], "instance_id": null, "ip": "172.24.4.10", "pool": "nova"});
    assert_eq!((&one, listed.body["floating_ips"].as_array().unwrap().len()), (&expected, 3));
    let path = format!("/os-floating-ips/{}", one["id"].as_str().unwrap());
    assert_eq!(cloud.get(READER, "2.35", &path).await.expect(200).body, json!({"floating_ip": expected}));
    cloud.get(OTHER, "2.35", &path).await.expect(404);
    cloud.delete(READER, "2.35", &path).await.expect(403);
    cloud.delete(MEMBER, "2.35", &path).await.expect(202);
    cloud.delete(MEMBER, "2.35", &path).await.expect(404);

    cloud.networks.limit_floating_ips(0);
    for (body, message) in [
        (json!({"pool": "public"}), "No more floating IPs in pool public."),
        (json!({}), "No more floating IPs available."),
    ] {
        cloud.post(MEMBER, "2.35", "/os-floating-ips", body).await.expect_fault(404, "itemNotFound", message);
    }
}

fn named(name: &str) -> Value {
    json!({"security_group": {"name": name, "description": "for tests"}})
}

#[tokio::test]
async fn a_security_group_is_made_shown_changed_and_deleted() {
    let cloud = Cloud::new().await;
    cloud.post(READER, "2.35", "/os-security-groups", named("web")).await.expect(403);
    let made = cloud.post(MEMBER, "2.35", "/os-security-groups", named("web")).await.expect(200);
    let id = made.body["security_group"]["id"].as_str().unwrap().to_owned();
    let expected = json!({"id": id, "name": "web", "description": "for tests", "tenant_id": PROJECT, "rules": []});
    assert_eq!(made.body["security_group"], expected);
    let path = format!("/os-security-groups/{id}");
    assert_eq!(cloud.get(READER, "2.1", &path).await.expect(200).body["security_group"], expected);
    cloud.put(MEMBER, "2.35", &path, named("shop")).await.expect(200);
    let listed = cloud.get(READER, "2.35", "/os-security-groups").await.expect(200);
    let names = |listed: &Value| -> Vec<Value> {
        listed["security_groups"].as_array().unwrap().iter().map(|group| group["name"].clone()).collect()
    };
    assert_eq!(names(&listed.body), ["default", "shop"]);
    let cut = cloud.get(READER, "2.35", "/os-security-groups?limit=1&offset=1").await.expect(200);
    assert_eq!(names(&cut.body).len(), 1);
    cloud.get(OTHER, "2.35", "/os-security-groups").await.expect(200);
    let all = cloud.get(ADMIN, "2.35", "/os-security-groups?all_tenants=1").await.expect(200);
    assert_eq!(names(&all.body), ["default", "shop", "default"]);

    let nobodys = format!("Security group {id} does not exist");
    cloud.get(OTHER, "2.35", &path).await.expect_fault(404, "itemNotFound", &nobodys);
    cloud.delete(MEMBER, "2.35", &path).await.expect(202);
    cloud.delete(MEMBER, "2.35", &path).await.expect_fault(404, "itemNotFound", &nobodys);
    let message = "Security group id should be uuid";
    cloud.get(MEMBER, "2.35", "/os-security-groups/web").await.expect_fault(400, "badRequest", message);
    cloud.post(MEMBER, "2.35", "/os-security-groups", json!({"security_group": {"name": "x"}})).await.expect(400);
}

#[tokio::test]
async fn rules_let_in_networks_and_groups() {
    let cloud = Cloud::new().await;
    let made = cloud.post(MEMBER, "2.35", "/os-security-groups", named("web")).await.expect(200);
    let (id, db) = (made.body["security_group"]["id"].clone(), cloud.networks.add_security_group("db", PROJECT));
    let post = async |rule: Value| {
        cloud.post(MEMBER, "2.35", "/os-security-group-rules", json!({"security_group_rule": rule})).await
    };
    let tcp =
        json!({"parent_group_id": id, "ip_protocol": "tcp", "from_port": 80, "to_port": "443", "cidr": "10.0.0.0/8"});
    let rule = post(tcp.clone()).await.expect(200).body["security_group_rule"].clone();
    let expected = json!({
        "id": rule["id"], "parent_group_id": id, "ip_protocol": "tcp", "from_port": 80, "to_port": 443, "group": {},
        "ip_range": {"cidr": "10.0.0.0/8"},
    });
    assert_eq!(rule, expected);
    let message = format!("This rule already exists in group {}", id.as_str().unwrap());
    post(tcp).await.expect_fault(400, "badRequest", &message);
    let of_group = post(json!({"parent_group_id": id, "group_id": db.id})).await.expect(200);
    let of_group = of_group.body["security_group_rule"].clone();
    assert_eq!(of_group["group"], json!({"name": "db", "tenant_id": PROJECT}));
    assert_eq!(
        (&of_group["ip_protocol"], &of_group["from_port"], &of_group["ip_range"]),
        (&Value::Null, &Value::Null, &json!({}))
    );
    let path = format!("/os-security-groups/{}", id.as_str().unwrap());
    let shown = cloud.get(READER, "2.35", &path).await.expect(200);
    assert_eq!(shown.body["security_group"]["rules"], json!([expected, of_group]));

    let message = "Not enough parameters to build a valid rule.";
    post(json!({"parent_group_id": id})).await.expect_fault(400, "badRequest", message);
    let nowhere = Uuid::new_v4();
    let message = format!("Security group {nowhere} does not exist");
    post(json!({"parent_group_id": nowhere})).await.expect_fault(404, "itemNotFound", &message);
    let path = format!("/os-security-group-rules/{}", rule["id"].as_str().unwrap());
    cloud.delete(READER, "2.35", &path).await.expect(403);
    cloud.delete(MEMBER, "2.35", &path).await.expect(202);
    let message = format!("Security group rule {} does not exist", rule["id"].as_str().unwrap());
    cloud.delete(MEMBER, "2.35", &path).await.expect_fault(404, "itemNotFound", &message);
}
