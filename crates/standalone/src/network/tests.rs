//! The network service through its REST API and its trait, on an SQLite file.

mod routers;
mod trunks;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use kilonova_clients::ClientError;
use kilonova_clients::fake::FakeIdentity;
use kilonova_clients::network::{NetworkService as _, PortRequest};
use kilonova_core::RequestContext;
use kilonova_db::Db;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;
use uuid::Uuid;

use super::BuiltinNetwork;

struct Cloud {
    service: Arc<BuiltinNetwork>,
    router: Router,
    _dir: TempDir,
}

impl Cloud {
    /// `demo` and `other` are members of projects of their own, `reader` reads in demo's, `admin` may do all.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&format!("sqlite://{}/db.sqlite", dir.path().display())).await.unwrap();
        let service = BuiltinNetwork::open(db);
        let identity = FakeIdentity::new()
            .with_token("demo", "demo-project", &["member", "reader"])
            .with_token("other", "other-project", &["member", "reader"])
            .with_token("reader", "demo-project", &["reader"])
            .with_token("admin", "admin-project", &["admin", "member", "reader"]);
        let router = Router::new().nest_service("/network", service.router(Arc::new(identity)));
        Self { service, router, _dir: dir }
    }

    async fn with_private_network() -> (Self, Uuid) {
        let cloud = Self::new().await;
        cloud.service.bootstrap("demo-project", "admin-project").await.unwrap();
        let network = cloud.get("demo", "/networks?name=private").await["networks"][0]["id"].clone();
        (cloud, network.as_str().unwrap().parse().unwrap())
    }

    async fn send(&self, token: &str, method: &str, path: &str, body: Body) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/network/v2.0{path}"))
            .header("host", "cloud:8774")
            .header("x-auth-token", token)
            .body(body)
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert!(response.headers()["x-openstack-request-id"].to_str().unwrap().starts_with("req-"));
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn get(&self, token: &str, path: &str) -> Value {
        let (status, body) = self.send(token, "GET", path, Body::empty()).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    async fn post(&self, token: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.send(token, "POST", path, Body::from(body.to_string())).await;
        assert_eq!(status, StatusCode::CREATED, "{path} {body}: {answer}");
        answer
    }

    async fn delete(&self, token: &str, path: &str) {
        let (status, body) = self.send(token, "DELETE", path, Body::empty()).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{path}: {body}");
    }

    /// Sends what must be refused: status and Neutron's name of the error.
    async fn refused(&self, token: &str, method: &str, path: &str, body: Value) -> (u16, String) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let (status, answer) = self.send(token, method, path, body).await;
        let kind =
            answer["NeutronError"]["type"].as_str().unwrap_or_else(|| panic!("{method} {path}: {status} {answer}"));
        assert!(!answer["NeutronError"]["message"].as_str().unwrap().is_empty());
        (status.as_u16(), kind.to_owned())
    }

    /// A network of demo with a subnet, and both ids.
    async fn subnet(&self, cidr: &str) -> (String, String) {
        let network = self.post("demo", "/networks", json!({"network": {"name": "n"}})).await;
        let network = network["network"]["id"].as_str().unwrap().to_owned();
        let subnet = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": cidr}});
        let subnet = self.post("demo", "/subnets", subnet).await["subnet"]["id"].as_str().unwrap().to_owned();
        (network, subnet)
    }

    async fn port(&self, network: &str) -> Value {
        self.post("demo", "/ports", json!({"port": {"network_id": network}})).await["port"].clone()
    }
}

fn refusal(status: u16, kind: &str) -> (u16, String) {
    (status, kind.to_owned())
}

fn on(network: Uuid) -> PortRequest {
    PortRequest { network_id: Some(network), ..PortRequest::default() }
}

fn demo() -> RequestContext {
    RequestContext::new("demo-user", "demo-project")
}

fn addresses(vifs: &[kilonova_clients::network_model::Vif]) -> Vec<String> {
    let ips = vifs.iter().flat_map(|vif| &vif.network.subnets).flat_map(|subnet| &subnet.ips);
    ips.map(|ip| ip.address.clone()).collect()
}

#[tokio::test]
async fn versions_are_told_without_a_token_and_all_else_needs_one() {
    let cloud = Cloud::new().await;
    for path in ["/network", "/network/"] {
        let request = Request::builder().uri(path).header("host", "cloud:8774").body(Body::empty()).unwrap();
        let response = cloud.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["versions"][0]["links"][0]["href"], "http://cloud:8774/network/v2.0/");
    }
    let (status, _) = cloud.send("nobody", "GET", "/networks", Body::empty()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let extensions = cloud.get("demo", "/extensions").await;
    assert!(extensions["extensions"].as_array().unwrap().iter().any(|known| known["alias"] == "security-group"));
    assert_eq!(cloud.get("demo", "/extensions/binding").await["extension"]["alias"], "binding");
    assert_eq!(cloud.refused("demo", "GET", "/extensions/qos", json!(null)).await.0, 404);
    assert_eq!(cloud.refused("demo", "GET", "/qos", json!(null)).await, refusal(404, "HTTPNotFound"));
}

#[tokio::test]
async fn bootstrap_twice_is_bootstrap_once() {
    let (cloud, network) = Cloud::with_private_network().await;
    cloud.service.bootstrap("demo-project", "admin-project").await.unwrap();
    let networks = cloud.get("other", "/networks").await;
    assert_eq!(networks["networks"].as_array().unwrap().len(), 1);
    let subnets = cloud.get("other", "/subnets").await;
    let subnet = &subnets["subnets"][0];
    assert_eq!((&subnet["cidr"], &subnet["gateway_ip"]), (&json!("10.0.0.0/20"), &json!("10.0.0.1")));
    assert_eq!(subnet["allocation_pools"], json!([{"start": "10.0.0.2", "end": "10.0.15.254"}]));
    assert_eq!(subnet["network_id"], json!(network));
    assert_eq!(networks["networks"][0]["subnets"], json!([subnet["id"]]));
}

#[tokio::test]
async fn a_network_lives_from_create_to_delete() {
    let cloud = Cloud::new().await;
    let (network, subnet) = cloud.subnet("192.168.7.0/24").await;
    let port = cloud.port(&network).await;
    assert_eq!(port["fixed_ips"], json!([{"subnet_id": subnet, "ip_address": "192.168.7.2"}]));
    assert_eq!(port["status"], "DOWN");
    assert!(port.get("binding:host_id").is_none());

    let path = format!("/networks/{network}");
    let changed = json!({"network": {"name": "new", "admin_state_up": "False"}});
    let (status, changed) = cloud.send("demo", "PUT", &path, Body::from(changed.to_string())).await;
    assert_eq!((status, &changed["network"]["name"]), (StatusCode::OK, &json!("new")));
    assert_eq!(
        (&changed["network"]["admin_state_up"], &changed["network"]["revision_number"]),
        (&json!(false), &json!(2))
    );

    assert_eq!(cloud.refused("demo", "DELETE", &path, json!(null)).await, refusal(409, "NetworkInUse"));
    let subnet_path = format!("/subnets/{subnet}");
    assert_eq!(cloud.refused("demo", "DELETE", &subnet_path, json!(null)).await, refusal(409, "SubnetInUse"));
    cloud.delete("demo", &format!("/ports/{}", port["id"].as_str().unwrap())).await;
    cloud.delete("demo", &path).await;
    assert_eq!(cloud.refused("demo", "GET", &path, json!(null)).await, refusal(404, "NetworkNotFound"));
    assert_eq!(cloud.refused("demo", "GET", &subnet_path, json!(null)).await, refusal(404, "SubnetNotFound"));
}

#[tokio::test]
async fn projects_do_not_see_each_other_and_readers_only_read() {
    let cloud = Cloud::new().await;
    let (network, subnet) = cloud.subnet("10.9.0.0/24").await;
    let port = cloud.port(&network).await["id"].as_str().unwrap().to_owned();
    let group = cloud.post("demo", "/security-groups", json!({"security_group": {"name": "web"}})).await;
    let group = group["security_group"]["id"].as_str().unwrap().to_owned();
    let rule = cloud.get("demo", &format!("/security-groups/{group}")).await;
    let rule = rule["security_group"]["security_group_rules"][0]["id"].as_str().unwrap().to_owned();
    let paths = [
        (format!("/networks/{network}"), "NetworkNotFound", json!({"network": {"name": "x"}})),
        (format!("/subnets/{subnet}"), "SubnetNotFound", json!({"subnet": {"name": "x"}})),
        (format!("/ports/{port}"), "PortNotFound", json!({"port": {"name": "x"}})),
        (format!("/security-groups/{group}"), "SecurityGroupNotFound", json!({"security_group": {"name": "x"}})),
        (
            format!("/security-group-rules/{rule}"),
            "SecurityGroupRuleNotFound",
            json!({"security_group_rule": {"description": "x"}}),
        ),
    ];
    for (path, kind, change) in &paths {
        for (method, body) in [("GET", json!(null)), ("DELETE", json!(null)), ("PUT", change.clone())] {
            assert_eq!(cloud.refused("other", method, path, body).await, refusal(404, kind), "{method} {path}");
        }
        cloud.get("reader", path).await;
        cloud.get("admin", path).await;
        for (method, body) in [("DELETE", json!(null)), ("PUT", change.clone())] {
            assert_eq!(
                cloud.refused("reader", method, path, body).await,
                refusal(403, "PolicyNotAuthorized"),
                "{method} {path}"
            );
        }
        let collection = path.rsplit_once('/').unwrap().0;
        let listed = cloud.get("other", collection).await;
        let listed = listed.as_object().unwrap().values().next().unwrap();
        let is_foreign = |item: &Value| item["project_id"] == "demo-project";
        assert!(!listed.as_array().unwrap().iter().any(is_foreign), "{listed}");
    }
    for (token, body) in [
        ("reader", json!({"network": {"name": "x"}})),
        ("demo", json!({"network": {"shared": true}})),
        ("demo", json!({"network": {"router:external": true}})),
        ("demo", json!({"network": {"project_id": "other-project"}})),
    ] {
        let answer = cloud.refused(token, "POST", "/networks", body.clone()).await;
        assert_eq!(answer, refusal(403, "PolicyNotAuthorized"), "{token} {body}");
    }
    let stranger = json!({"port": {"network_id": network}});
    assert_eq!(cloud.refused("other", "POST", "/ports", stranger).await, refusal(404, "NetworkNotFound"));
    let foreign = cloud.post("admin", "/networks", json!({"network": {"tenant_id": "other-project"}})).await;
    assert_eq!(foreign["network"]["project_id"], "other-project");
}

#[tokio::test]
async fn a_shared_network_is_used_by_all_and_changed_by_its_owner() {
    let (cloud, network) = Cloud::with_private_network().await;
    let port = cloud.post("other", "/ports", json!({"port": {"network_id": network}})).await;
    assert_eq!(port["port"]["project_id"], "other-project");
    let path = format!("/networks/{network}");
    let change = json!({"network": {"name": "mine"}});
    assert_eq!(cloud.refused("other", "PUT", &path, change).await, refusal(403, "PolicyNotAuthorized"));
    assert_eq!(cloud.refused("other", "DELETE", &path, json!(null)).await, refusal(403, "PolicyNotAuthorized"));
    let subnet = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.8.0.0/24"}});
    assert_eq!(cloud.refused("other", "POST", "/subnets", subnet).await, refusal(403, "PolicyNotAuthorized"));
}

#[tokio::test]
async fn bad_bodies_are_refused_and_make_nothing() {
    let cloud = Cloud::new().await;
    let (network, _) = cloud.subnet("10.9.0.0/24").await;
    let before = cloud.get("admin", "/networks").await;
    for body in [
        json!({}),
        json!([]),
        json!({"network": 5}),
        json!({"networks": []}),
        json!({"network": {"colour": "red"}}),
        json!({"network": {"name": 5}}),
        json!({"network": {"name": "x".repeat(256)}}),
        json!({"network": {"admin_state_up": "perhaps"}}),
        json!({"network": {"id": Uuid::new_v4()}}),
        json!({"network": {"status": "ACTIVE"}}),
        json!({"network": {"mtu": 1}}),
        json!({"networks": [{"name": "good"}, {"name": 5}]}),
    ] {
        let answer = cloud.refused("demo", "POST", "/networks", body.clone()).await;
        assert_eq!(answer, refusal(400, "HTTPBadRequest"), "{body}");
    }
    let (status, _) = cloud.send("demo", "POST", "/networks", Body::from("{\"network\": ")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, _) = cloud.send("demo", "POST", "/networks", Body::from(" ".repeat((1 << 20) + 1))).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(cloud.get("admin", "/networks").await, before);

    let subnet = |extra: Value| {
        let mut subnet = json!({"network_id": network, "ip_version": 4, "cidr": "10.7.0.0/24"});
        subnet.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"subnet": subnet})
    };
    for (extra, expected) in [
        (json!({"cidr": "10.7.0.1/24"}), refusal(400, "HTTPBadRequest")),
        (json!({"cidr": "nonsense"}), refusal(400, "HTTPBadRequest")),
        (json!({"cidr": "10.9.0.128/25"}), refusal(400, "InvalidInput")),
        (json!({"ip_version": 6}), refusal(400, "InvalidInput")),
        (json!({"ip_version": 5}), refusal(400, "HTTPBadRequest")),
        (json!({"gateway_ip": "10.6.0.1"}), refusal(400, "InvalidInput")),
        (json!({"ipv6_ra_mode": "slaac"}), refusal(400, "InvalidInput")),
        (json!({"dns_nameservers": ["dns.example.org"]}), refusal(400, "HTTPBadRequest")),
        (json!({"host_routes": [{"destination": "x"}]}), refusal(400, "HTTPBadRequest")),
        (
            json!({"allocation_pools": [{"start": "10.7.0.1", "end": "10.7.0.9"}]}),
            refusal(409, "GatewayConflictWithAllocationPools"),
        ),
        (json!({"network_id": Uuid::new_v4()}), refusal(404, "NetworkNotFound")),
        (json!({"network_id": "private"}), refusal(400, "HTTPBadRequest")),
    ] {
        assert_eq!(cloud.refused("demo", "POST", "/subnets", subnet(extra.clone())).await, expected, "{extra}");
    }
    assert_eq!(cloud.get("admin", "/subnets").await["subnets"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn many_are_made_at_once_or_none() {
    let cloud = Cloud::new().await;
    let made = cloud.post("demo", "/networks", json!({"networks": [{"name": "a"}, {"name": "b"}]})).await;
    let names: Vec<&Value> = made["networks"].as_array().unwrap().iter().map(|network| &network["name"]).collect();
    assert_eq!(names, ["a", "b"]);
    let (network, _) = cloud.subnet("10.9.0.0/24").await;
    let twice = json!([{"ip_address": "10.9.0.9"}]);
    let ports =
        json!({"ports": [{"network_id": network, "fixed_ips": twice}, {"network_id": network, "fixed_ips": twice}]});
    assert_eq!(cloud.refused("demo", "POST", "/ports", ports).await, refusal(409, "IpAddressAlreadyAllocated"));
    assert_eq!(cloud.get("demo", "/ports").await["ports"], json!([]));
}

#[tokio::test]
async fn fixed_addresses_are_given_as_wished_and_only_once() {
    let cloud = Cloud::new().await;
    let (network, subnet) = cloud.subnet("10.9.0.0/29").await;
    let port = |fixed_ips: Value| json!({"port": {"network_id": network, "fixed_ips": fixed_ips}});
    let wished = cloud.post("demo", "/ports", port(json!([{"ip_address": "10.9.0.3"}, {"subnet_id": subnet}]))).await;
    let ips: Vec<&Value> = wished["port"]["fixed_ips"].as_array().unwrap().iter().map(|ip| &ip["ip_address"]).collect();
    assert_eq!(ips, ["10.9.0.3", "10.9.0.2"]);
    for (fixed_ips, expected) in [
        (json!([{"ip_address": "10.9.0.3"}]), refusal(409, "IpAddressAlreadyAllocated")),
        (json!([{"ip_address": "10.9.0.5"}, {"ip_address": "10.9.0.5"}]), refusal(409, "IpAddressAlreadyAllocated")),
        (json!([{"ip_address": "10.9.1.3"}]), refusal(400, "InvalidIpForNetwork")),
        (json!([{"ip_address": "10.9.0.7", "subnet_id": subnet}]), refusal(400, "InvalidIpForSubnet")),
        (json!([{"subnet_id": Uuid::new_v4()}]), refusal(400, "InvalidInput")),
        (json!([{"ip_address": "ten"}]), refusal(400, "HTTPBadRequest")),
        (json!([{}]), refusal(400, "InvalidInput")),
        (json!([{"colour": "red"}]), refusal(400, "HTTPBadRequest")),
    ] {
        assert_eq!(cloud.refused("demo", "POST", "/ports", port(fixed_ips.clone())).await, expected, "{fixed_ips}");
    }
    for expected in ["10.9.0.4", "10.9.0.5", "10.9.0.6"] {
        assert_eq!(cloud.port(&network).await["fixed_ips"][0]["ip_address"], expected);
    }
    let one_more = json!({"port": {"network_id": network}});
    assert_eq!(
        cloud.refused("demo", "POST", "/ports", one_more.clone()).await,
        refusal(409, "IpAddressGenerationFailure")
    );

    let path = format!("/ports/{}", wished["port"]["id"].as_str().unwrap());
    let keep_one = json!({"port": {"fixed_ips": [{"subnet_id": subnet}]}});
    let (status, kept) = cloud.send("demo", "PUT", &path, Body::from(keep_one.to_string())).await;
    assert_eq!((status, &kept["port"]["fixed_ips"][0]["ip_address"]), (StatusCode::OK, &json!("10.9.0.3")));
    let freed = cloud.post("demo", "/ports", one_more).await;
    assert_eq!(freed["port"]["fixed_ips"][0]["ip_address"], "10.9.0.2");
}

#[tokio::test]
async fn mac_addresses_are_one_per_network() {
    let cloud = Cloud::new().await;
    let (network, _) = cloud.subnet("10.9.0.0/24").await;
    let port = |mac: &str| json!({"port": {"network_id": network, "mac_address": mac}});
    let made = cloud.post("demo", "/ports", port("FA:16:3E:00:00:01")).await;
    assert_eq!(made["port"]["mac_address"], "fa:16:3e:00:00:01");
    assert_eq!(
        cloud.refused("demo", "POST", "/ports", port("fa:16:3e:00:00:01")).await,
        refusal(409, "MacAddressInUse")
    );
    assert_eq!(cloud.refused("demo", "POST", "/ports", port("nonsense")).await, refusal(400, "HTTPBadRequest"));
}

#[tokio::test]
async fn ipv6_addresses_are_made_from_the_mac_where_guests_do_so() {
    let cloud = Cloud::new().await;
    let (network, _) = cloud.subnet("10.9.0.0/24").await;
    let subnet = json!({"network_id": network, "ip_version": 6, "cidr": "fd00:1::/64", "ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac"});
    cloud.post("demo", "/subnets", json!({"subnet": subnet})).await;
    let port = json!({"port": {"network_id": network, "mac_address": "fa:16:3e:01:02:03"}});
    let port = cloud.post("demo", "/ports", port).await;
    let ips: Vec<&Value> = port["port"]["fixed_ips"].as_array().unwrap().iter().map(|ip| &ip["ip_address"]).collect();
    assert_eq!(ips, ["10.9.0.2", "fd00:1::f816:3eff:fe01:203"]);
}

#[tokio::test]
async fn lists_are_filtered_paged_and_cut_to_fields() {
    let cloud = Cloud::new().await;
    for name in ["a", "b", "c"] {
        cloud.post("demo", "/networks", json!({"network": {"name": name}})).await;
    }
    let names = |body: &Value| -> Vec<String> {
        body["networks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|network| network["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&cloud.get("demo", "/networks?name=a&name=c&sort_key=name&sort_dir=desc").await), ["c", "a"]);
    assert_eq!(names(&cloud.get("demo", "/networks?shared=True").await), Vec::<String>::new());
    let page = cloud.get("demo", "/networks?limit=2&sort_key=name").await;
    assert_eq!(names(&page), ["a", "b"]);
    let next = page["networks_links"][0]["href"].as_str().unwrap();
    let next = next.strip_prefix("http://cloud:8774/network/v2.0").unwrap();
    let last = cloud.get("demo", next).await;
    assert_eq!((names(&last), last.get("networks_links")), (vec!["c".to_owned()], None));
    let fields = cloud.get("demo", "/networks?fields=name&fields=mtu&name=a").await;
    assert_eq!(fields, json!({"networks": [{"name": "a", "mtu": 1500}]}));
    assert_eq!(cloud.refused("demo", "GET", "/networks?sort_key=colour", json!(null)).await.0, 400);
}

#[tokio::test]
async fn every_project_has_a_default_group_with_neutrons_rules() {
    let cloud = Cloud::new().await;
    let groups = cloud.get("demo", "/security-groups").await;
    let group = &groups["security_groups"][0];
    assert_eq!((group["name"].as_str(), groups["security_groups"].as_array().unwrap().len()), (Some("default"), 1));
    let mut rules: Vec<(String, String, bool)> = Vec::new();
    for rule in group["security_group_rules"].as_array().unwrap() {
        let text = |key: &str| rule[key].as_str().unwrap().to_owned();
        rules.push((text("direction"), text("ethertype"), rule["remote_group_id"] == group["id"]));
    }
    rules.sort();
    let expected =
        [("egress", "IPv4", false), ("egress", "IPv6", false), ("ingress", "IPv4", true), ("ingress", "IPv6", true)];
    assert_eq!(
        rules,
        expected.map(|(direction, ethertype, remote)| (direction.to_owned(), ethertype.to_owned(), remote))
    );

    let path = format!("/security-groups/{}", group["id"].as_str().unwrap());
    let again = json!({"security_group": {"name": "default"}});
    assert_eq!(
        cloud.refused("demo", "POST", "/security-groups", again).await,
        refusal(409, "SecurityGroupDefaultAlreadyExists")
    );
    let rename = json!({"security_group": {"name": "x"}});
    assert_eq!(cloud.refused("demo", "PUT", &path, rename).await, refusal(409, "SecurityGroupCannotUpdateDefault"));
    assert_eq!(
        cloud.refused("demo", "DELETE", &path, json!(null)).await,
        refusal(409, "SecurityGroupCannotRemoveDefault")
    );

    let (network, _) = cloud.subnet("10.9.0.0/24").await;
    assert_eq!(cloud.port(&network).await["security_groups"], json!([group["id"]]));
    assert_eq!(cloud.refused("admin", "DELETE", &path, json!(null)).await, refusal(409, "SecurityGroupInUse"));
}

#[tokio::test]
async fn rules_are_checked_as_neutron_checks_them() {
    let cloud = Cloud::new().await;
    let group = cloud.post("demo", "/security-groups", json!({"security_group": {"name": "web"}})).await;
    let group = group["security_group"]["id"].clone();
    let rule = |extra: Value| {
        let mut rule = json!({"security_group_id": group, "direction": "ingress"});
        rule.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"security_group_rule": rule})
    };
    let ssh = json!({"protocol": "TCP", "port_range_min": "22", "port_range_max": 22, "remote_ip_prefix": "1.2.3.4"});
    let made = cloud.post("demo", "/security-group-rules", rule(ssh.clone())).await;
    let made = &made["security_group_rule"];
    assert_eq!(
        (&made["protocol"], &made["ethertype"], &made["port_range_min"]),
        (&json!("tcp"), &json!("IPv4"), &json!(22))
    );
    assert_eq!(made["remote_ip_prefix"], "1.2.3.4/32");
    cloud.post("demo", "/security-group-rules", rule(json!({"protocol": 112}))).await;
    cloud
        .post(
            "demo",
            "/security-group-rules",
            rule(json!({"protocol": "icmp", "port_range_min": 8, "port_range_max": 0})),
        )
        .await;
    for (extra, expected) in [
        (ssh, refusal(409, "SecurityGroupRuleExists")),
        (json!({"direction": "up"}), refusal(400, "HTTPBadRequest")),
        (json!({"ethertype": "IPX"}), refusal(400, "SecurityGroupRuleInvalidEtherType")),
        (json!({"protocol": "smoke"}), refusal(400, "SecurityGroupRuleInvalidProtocol")),
        (json!({"protocol": 256}), refusal(400, "SecurityGroupRuleInvalidProtocol")),
        (json!({"port_range_min": 1, "port_range_max": 2}), refusal(400, "SecurityGroupProtocolRequiredWithPorts")),
        (
            json!({"protocol": "tcp", "port_range_min": 2, "port_range_max": 1}),
            refusal(400, "SecurityGroupInvalidPortRange"),
        ),
        (
            json!({"protocol": "tcp", "port_range_min": 0, "port_range_max": 1}),
            refusal(400, "SecurityGroupInvalidPortValue"),
        ),
        (json!({"protocol": "icmp", "port_range_max": 1}), refusal(400, "SecurityGroupMissingIcmpType")),
        (json!({"protocol": "icmp", "port_range_min": 256}), refusal(400, "SecurityGroupInvalidIcmpValue")),
        (json!({"protocol": "gre", "port_range_min": 1}), refusal(400, "SecurityGroupInvalidProtocolForPort")),
        (json!({"remote_ip_prefix": "fd00::/8"}), refusal(400, "SecurityGroupRuleParameterConflict")),
        (json!({"remote_ip_prefix": "everywhere"}), refusal(400, "HTTPBadRequest")),
        (
            json!({"remote_ip_prefix": "0.0.0.0/0", "remote_group_id": group}),
            refusal(400, "SecurityGroupRemoteGroupAndRemoteIpPrefix"),
        ),
        (json!({"remote_group_id": Uuid::new_v4()}), refusal(404, "SecurityGroupNotFound")),
        (json!({"security_group_id": Uuid::new_v4()}), refusal(404, "SecurityGroupNotFound")),
    ] {
        let answer = cloud.refused("demo", "POST", "/security-group-rules", rule(extra.clone())).await;
        assert_eq!(answer, expected, "{extra}");
    }
    let path = format!("/security-group-rules/{}", made["id"].as_str().unwrap());
    cloud.delete("demo", &path).await;
    assert_eq!(cloud.refused("demo", "GET", &path, json!(null)).await, refusal(404, "SecurityGroupRuleNotFound"));
}

#[tokio::test]
async fn what_is_not_here_is_listed_as_empty() {
    let cloud = Cloud::new().await;
    for (path, key) in [("/agents", "agents"), ("/availability_zones", "availability_zones")] {
        assert_eq!(cloud.get("demo", path).await, json!({ key: [] }));
    }
    let (network, _) = cloud.subnet("10.9.0.0/24").await;
    cloud.port(&network).await;
    let quota = cloud.get("demo", "/quotas/demo-project/details.json").await;
    assert_eq!(quota["quota"]["port"], json!({"limit": -1, "used": 1, "reserved": 0}));
    assert_eq!(cloud.get("demo", "/quotas/demo-project").await["quota"]["network"], -1);
    assert_eq!(cloud.refused("demo", "GET", "/quotas/other-project", json!(null)).await.0, 403);
}

#[tokio::test]
async fn a_server_gets_its_interface_and_gives_it_back() {
    let (cloud, network) = Cloud::with_private_network().await;
    let (service, context, server) = (&cloud.service, demo(), Uuid::new_v4());
    let vifs = service.allocate_for_instance(&context, server, "demo-project", "host1", &[on(network)]).await.unwrap();
    let vif = &vifs[0];
    assert_eq!(addresses(&vifs), ["10.0.0.2"]);
    assert_eq!((vif.network.label.as_str(), vif.active, vif.preserve_on_delete), ("private", true, false));
    assert_eq!(vif.devname, Some(format!("tap{}", &vif.id.to_string()[..11])));
    assert_eq!(vif.network.subnets[0].gateway.as_ref().unwrap().address.as_deref(), Some("10.0.0.1"));
    assert_eq!(vif.network.meta["mtu"], 1500);

    let port = cloud.get("admin", &format!("/ports?device_id={server}")).await["ports"][0].clone();
    assert_eq!((&port["id"], &port["device_owner"]), (&json!(vif.id), &json!("compute:nova")));
    assert_eq!((&port["binding:host_id"], &port["status"]), (&json!("host1"), &json!("ACTIVE")));
    assert_eq!(service.devices_with_ports(&context).await.unwrap(), [server]);
    let shown = service.show_port(&context, vif.id).await.unwrap();
    assert_eq!((shown.device_id, shown.fixed_ips), (server.to_string(), vec!["10.0.0.2".to_owned()]));

    service.deallocate_for_instance(&context, server).await.unwrap();
    service.deallocate_for_instance(&context, server).await.unwrap();
    assert_eq!(cloud.get("admin", "/ports").await["ports"], json!([]));
    assert_eq!(service.devices_with_ports(&context).await.unwrap(), Vec::<Uuid>::new());
}

#[tokio::test]
async fn allocating_again_gives_the_same_ports_even_on_another_host() {
    let (cloud, network) = Cloud::with_private_network().await;
    let (service, context, server) = (&cloud.service, demo(), Uuid::new_v4());
    let twice = [on(network), on(network)];
    let first = service.allocate_for_instance(&context, server, "demo-project", "host1", &twice).await.unwrap();
    assert_eq!(addresses(&first), ["10.0.0.2", "10.0.0.3"]);
    let again = service.allocate_for_instance(&context, server, "demo-project", "host2", &twice).await.unwrap();
    assert_eq!(again, first);
    let ports = cloud.get("admin", "/ports").await;
    let hosts: Vec<&Value> = ports["ports"].as_array().unwrap().iter().map(|port| &port["binding:host_id"]).collect();
    assert_eq!(hosts, ["host2", "host2"]);
}

#[tokio::test]
async fn a_given_port_survives_its_server() {
    let (cloud, network) = Cloud::with_private_network().await;
    let (service, context, server) = (&cloud.service, demo(), Uuid::new_v4());
    let port = cloud.port(&network.to_string()).await;
    let port_id: Uuid = port["id"].as_str().unwrap().parse().unwrap();
    let given = PortRequest { port_id: Some(port_id), ..PortRequest::default() };
    let requests = [on(network), given.clone()];
    let vifs = service.allocate_for_instance(&context, server, "demo-project", "host1", &requests).await.unwrap();
    assert_eq!((vifs[1].id, vifs[1].preserve_on_delete), (port_id, true));

    let taken = service
        .allocate_for_instance(&context, Uuid::new_v4(), "demo-project", "host1", std::slice::from_ref(&given))
        .await;
    assert!(matches!(taken, Err(ClientError::Conflict(_))), "{taken:?}");
    let stranger = RequestContext::new("other-user", "other-project");
    let foreign = service.allocate_for_instance(&stranger, Uuid::new_v4(), "other-project", "host1", &[given]).await;
    assert!(matches!(foreign, Err(ClientError::NotFound { resource: "port", .. })), "{foreign:?}");

    service.deallocate_for_instance(&context, server).await.unwrap();
    let ports = cloud.get("admin", "/ports").await;
    let left = &ports["ports"][0];
    assert_eq!((&left["id"], &left["device_id"], &left["status"]), (&json!(port_id), &json!(""), &json!("DOWN")));
    assert_eq!(ports["ports"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_failed_allocation_leaves_nothing() {
    let (cloud, network) = Cloud::with_private_network().await;
    let (service, context) = (&cloud.service, demo());
    let port = cloud.port(&network.to_string()).await;
    let given = PortRequest { port_id: port["id"].as_str().unwrap().parse().ok(), ..PortRequest::default() };
    let bare = cloud.post("demo", "/networks", json!({"network": {"name": "bare"}})).await;
    let bare = on(bare["network"]["id"].as_str().unwrap().parse().unwrap());
    let outside = PortRequest { fixed_ip: Some("11.0.0.1".to_owned()), ..on(network) };
    let taken = PortRequest { fixed_ip: Some("10.0.0.2".to_owned()), ..on(network) };
    let groupless = PortRequest { security_group_ids: vec![Uuid::new_v4()], ..on(network) };
    let before = cloud.get("admin", "/ports").await;
    for wrong in [on(Uuid::new_v4()), bare, outside, taken, groupless, PortRequest::default()] {
        let requests = [given.clone(), on(network), wrong];
        let result = service.allocate_for_instance(&context, Uuid::new_v4(), "demo-project", "h", &requests).await;
        let is_expected =
            matches!(result, Err(ClientError::NotFound { .. } | ClientError::BadRequest(_) | ClientError::Conflict(_)));
        assert!(is_expected, "{requests:?}: {result:?}");
        assert_eq!(cloud.get("admin", "/ports").await, before);
    }
}

#[tokio::test]
async fn compute_sees_the_networks_and_groups_of_the_project() {
    let (cloud, network) = Cloud::with_private_network().await;
    let own = cloud.post("other", "/networks", json!({"network": {"name": "own"}})).await;
    let service = &cloud.service;
    let stranger = RequestContext::new("other-user", "other-project");
    let names = |networks: Vec<kilonova_clients::network::Network>| -> Vec<String> {
        networks.into_iter().map(|network| network.name).collect()
    };
    let demos = service.available_networks(&demo()).await.unwrap();
    assert_eq!((demos[0].id, demos[0].subnet_ids.len(), demos[0].is_shared), (network, 1, true));
    assert_eq!(names(demos), ["private"]);
    assert_eq!(names(service.available_networks(&stranger).await.unwrap()), ["private", "own"]);
    assert_eq!(own["network"]["shared"], false);

    let groups = service.security_groups(&stranger, "other-project").await.unwrap();
    assert_eq!(groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["default"]);
    assert_eq!(service.security_groups(&stranger, "other-project").await.unwrap(), groups);
    assert!(matches!(service.security_groups(&stranger, "demo-project").await, Err(ClientError::Forbidden(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_servers_at_once_get_addresses_of_their_own() {
    let (cloud, network) = Cloud::with_private_network().await;
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let service = Arc::clone(&cloud.service);
        tasks.spawn(async move {
            let server = Uuid::new_v4();
            let requests = [on(network)];
            service.allocate_for_instance(&demo(), server, "demo-project", "host", &requests).await.unwrap()
        });
    }
    let mut given = HashSet::new();
    while let Some(vifs) = tasks.join_next().await {
        given.extend(addresses(&vifs.unwrap()));
    }
    assert_eq!(given.len(), 200);
    assert_eq!(cloud.service.devices_with_ports(&demo()).await.unwrap().len(), 200);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn addresses_come_round_again_when_the_pool_is_through() {
    let cloud = Cloud::new().await;
    let (network, _) = cloud.subnet("10.9.0.0/29").await;
    let mut ports = Vec::new();
    for _ in 0..5 {
        ports.push(cloud.port(&network).await);
    }
    let freed = &ports[1];
    cloud.delete("demo", &format!("/ports/{}", freed["id"].as_str().unwrap())).await;
    let again = cloud.port(&network).await;
    assert_eq!(again["fixed_ips"][0]["ip_address"], freed["fixed_ips"][0]["ip_address"]);
}
