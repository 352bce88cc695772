//! Routers, floating addresses, and networks that are made by themselves.

use kilonova_clients::network::NetworkService as _;
use serde_json::json;

use super::*;

impl Cloud {
    async fn put(&self, token: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.send(token, "PUT", path, Body::from(body.to_string())).await;
        assert_eq!(status, StatusCode::OK, "{path} {body}: {answer}");
        answer
    }

    /// An external network with a subnet, made by the admin; its id.
    async fn external(&self, cidr: &str, is_default: bool) -> String {
        let network = json!({"network": {"name": "public", "router:external": true, "is_default": is_default}});
        let network = self.post("admin", "/networks", network).await;
        let network = network["network"]["id"].as_str().unwrap().to_owned();
        let subnet = json!({"subnet": {"network_id": network, "ip_version": 4, "cidr": cidr, "enable_dhcp": false}});
        self.post("admin", "/subnets", subnet).await;
        network
    }

    /// A router of demo, with a gateway on `external`; its path.
    async fn router(&self, external: &str) -> String {
        let router = json!({"router": {"name": "r", "external_gateway_info": {"network_id": external}}});
        let router = self.post("demo", "/routers", router).await;
        format!("/routers/{}", router["router"]["id"].as_str().unwrap())
    }

    async fn add_interface(&self, router: &str, subnet: &str) -> Value {
        self.put("demo", &format!("{router}/add_router_interface"), json!({"subnet_id": subnet})).await
    }

    async fn remove_interface(&self, router: &str, subnet: &str) -> Value {
        self.put("demo", &format!("{router}/remove_router_interface"), json!({"subnet_id": subnet})).await
    }
}

#[tokio::test]
async fn a_router_connects_a_subnet_with_the_world() {
    let cloud = Cloud::new().await;
    let external = cloud.external("172.24.4.0/24", false).await;
    let (network, subnet) = cloud.subnet("10.9.0.0/24").await;
    let router = cloud.router(&external).await;

    let added = cloud.add_interface(&router, &subnet).await;
    assert_eq!((&added["subnet_id"], &added["network_id"]), (&json!(subnet), &json!(network)));
    let port = cloud.get("demo", &format!("/ports/{}", added["port_id"].as_str().unwrap())).await;
    assert_eq!(port["port"]["device_owner"], "network:router_interface");
    assert_eq!(port["port"]["fixed_ips"], json!([{"subnet_id": subnet, "ip_address": "10.9.0.1"}]));

    let shown = cloud.get("demo", &router).await["router"].clone();
    let gateway = &shown["external_gateway_info"];
    assert_eq!((&gateway["network_id"], &gateway["enable_snat"]), (&json!(external), &json!(true)));
    assert_eq!(gateway["external_fixed_ips"][0]["ip_address"], "172.24.4.2");
    assert_eq!(cloud.get("demo", "/routers?name=r").await["routers"], json!([shown]));
    assert_eq!(cloud.get("other", "/routers").await["routers"], json!([]));
    // the gateway's port belongs to nobody
    assert_eq!(cloud.get("demo", "/ports").await["ports"].as_array().unwrap().len(), 1);

    let none = json!(null);
    assert_eq!(cloud.refused("demo", "DELETE", &router, none.clone()).await, refusal(409, "RouterInUse"));
    let port = format!("/ports/{}", added["port_id"].as_str().unwrap());
    assert_eq!(cloud.refused("demo", "DELETE", &port, none.clone()).await, refusal(409, "ServicePortInUse"));
    let subnet_path = format!("/subnets/{subnet}");
    assert_eq!(cloud.refused("demo", "DELETE", &subnet_path, none.clone()).await, refusal(409, "SubnetInUse"));

    assert_eq!(cloud.remove_interface(&router, &subnet).await["port_id"], added["port_id"]);
    cloud.delete("demo", &router).await;
    assert_eq!(cloud.refused("demo", "GET", &router, none).await, refusal(404, "RouterNotFound"));
    cloud.delete("demo", &format!("/networks/{network}")).await;
    cloud.delete("admin", &format!("/networks/{external}")).await;
}

#[tokio::test]
async fn a_router_takes_no_subnet_twice_and_none_that_it_has_not() {
    let cloud = Cloud::new().await;
    let external = cloud.external("172.24.4.0/24", false).await;
    let (_, subnet) = cloud.subnet("10.9.0.0/24").await;
    let (_, overlapping) = cloud.subnet("10.9.0.0/25").await;
    let router = cloud.router(&external).await;
    cloud.add_interface(&router, &subnet).await;
    let add = format!("{router}/add_router_interface");
    let remove = format!("{router}/remove_router_interface");
    for (path, body, wanted) in [
        (&add, json!({"subnet_id": subnet}), refusal(400, "BadRequest")),
        (&add, json!({"subnet_id": overlapping}), refusal(400, "BadRequest")),
        (&add, json!({}), refusal(400, "BadRequest")),
        (&add, json!({"subnet_id": Uuid::new_v4()}), refusal(404, "SubnetNotFound")),
        (&remove, json!({"subnet_id": overlapping}), refusal(404, "RouterInterfaceNotFoundForSubnet")),
        (&remove, json!({"port_id": Uuid::new_v4()}), refusal(404, "RouterInterfaceNotFound")),
    ] {
        assert_eq!(cloud.refused("demo", "PUT", path, body.clone()).await, wanted, "{path} {body}");
    }
    assert_eq!(cloud.refused("other", "PUT", &add, json!({"subnet_id": subnet})).await, refusal(404, "RouterNotFound"));
    let reader = cloud.refused("reader", "PUT", &remove, json!({"subnet_id": subnet})).await;
    assert_eq!(reader, refusal(403, "PolicyNotAuthorized"));
    assert_eq!(cloud.get("demo", "/ports").await["ports"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_gateway_is_changed_and_taken_away() {
    let cloud = Cloud::new().await;
    let external = cloud.external("172.24.4.0/24", false).await;
    let (inner, _) = cloud.subnet("10.9.0.0/24").await;
    let router = cloud.router(&external).await;
    let set = |info: Value| json!({"router": {"external_gateway_info": info}});
    let refused = cloud.refused("demo", "PUT", &router, set(json!({"network_id": inner}))).await;
    assert_eq!(refused, refusal(400, "BadRequest"));
    let snat = set(json!({"network_id": external, "enable_snat": false}));
    assert_eq!(cloud.refused("demo", "PUT", &router, snat.clone()).await, refusal(403, "PolicyNotAuthorized"));
    let changed = cloud.put("admin", &router, snat).await;
    assert_eq!(changed["router"]["external_gateway_info"]["enable_snat"], false);
    let bare = cloud.put("demo", &router, set(json!(null))).await;
    assert_eq!(bare["router"]["external_gateway_info"], json!(null));
    cloud.delete("admin", &format!("/networks/{external}")).await;
}

#[tokio::test]
async fn a_floating_address_leads_to_a_port_behind_a_router() {
    let cloud = Cloud::new().await;
    let external = cloud.external("172.24.4.0/24", false).await;
    let (network, subnet) = cloud.subnet("10.9.0.0/24").await;
    let router = cloud.router(&external).await;
    let port = cloud.port(&network).await["id"].as_str().unwrap().to_owned();

    let body = json!({"floatingip": {"floating_network_id": external, "description": "d"}});
    let floating = cloud.post("demo", "/floatingips", body).await["floatingip"].clone();
    assert_eq!((&floating["status"], &floating["port_id"]), (&json!("DOWN"), &json!(null)));
    let address = floating["floating_ip_address"].as_str().unwrap();
    assert!(address.starts_with("172.24.4."), "{address}");
    let path = format!("/floatingips/{}", floating["id"].as_str().unwrap());

    let to_port = json!({"floatingip": {"port_id": port}});
    let refused = cloud.refused("demo", "PUT", &path, to_port.clone()).await;
    assert_eq!(refused, refusal(404, "ExternalGatewayForFloatingIPNotFound"));
    cloud.add_interface(&router, &subnet).await;
    let leading = cloud.put("demo", &path, to_port.clone()).await["floatingip"].clone();
    assert_eq!((&leading["status"], &leading["port_id"]), (&json!("ACTIVE"), &json!(port)));
    assert_eq!(leading["fixed_ip_address"], "10.9.0.2");
    assert_eq!(format!("/routers/{}", leading["router_id"].as_str().unwrap()), router);

    let second = json!({"floatingip": {"floating_network_id": external, "port_id": port}});
    let refused = cloud.refused("demo", "POST", "/floatingips", second).await;
    assert_eq!(refused, refusal(409, "FloatingIPPortAlreadyAssociated"));
    let remove = format!("{router}/remove_router_interface");
    let refused = cloud.refused("demo", "PUT", &remove, json!({"subnet_id": subnet})).await;
    assert_eq!(refused, refusal(409, "RouterInterfaceInUseByFloatingIP"));

    cloud.delete("demo", &format!("/ports/{port}")).await;
    let loose = cloud.get("demo", &path).await["floatingip"].clone();
    assert_eq!((&loose["port_id"], &loose["fixed_ip_address"]), (&json!(null), &json!(null)));
    assert_eq!((&loose["router_id"], &loose["status"]), (&json!(null), &json!("DOWN")));
    cloud.delete("demo", &path).await;
    assert_eq!(cloud.get("demo", "/floatingips").await, json!({"floatingips": []}));
    let ports = cloud.get("admin", "/ports?device_owner=network:floatingip").await;
    assert_eq!(ports, json!({"ports": []}));
}

#[tokio::test]
async fn a_project_without_a_network_gets_one_and_only_one() {
    let cloud = Cloud::new().await;
    let topology = "/auto-allocated-topology/demo-project";
    let refused = cloud.refused("demo", "GET", topology, json!(null)).await;
    assert_eq!(refused, refusal(409, "AutoAllocationFailure"));
    assert!(!cloud.service.can_auto_allocate(&demo(), "demo-project").await.unwrap());
    let error = cloud.service.clone();
    let error = kilonova_clients::network::NetworkService::auto_allocate(&*error, &demo(), "demo-project").await;
    assert!(matches!(error, Err(ClientError::Conflict(_))), "{error:?}");

    cloud.external("172.24.4.0/24", true).await;
    assert!(cloud.service.can_auto_allocate(&demo(), "demo-project").await.unwrap());
    let dry = cloud.get("demo", &format!("{topology}?fields=dry-run")).await;
    assert_eq!(dry["auto_allocated_topology"]["id"], "dry-run=pass");
    assert_eq!(cloud.get("demo", "/networks?shared=false&project_id=demo-project").await["networks"], json!([]));

    let both = futures::future::join_all([1, 2, 3].map(|_| cloud.get("demo", topology))).await;
    let id = &both[0]["auto_allocated_topology"]["id"];
    assert!(both.iter().all(|one| one["auto_allocated_topology"]["id"] == *id), "{both:?}");
    let networks = cloud.get("demo", "/networks?project_id=demo-project").await["networks"].clone();
    assert_eq!((networks.as_array().unwrap().len(), &networks[0]["id"]), (1, id));
    assert_eq!(cloud.get("demo", "/routers").await["routers"].as_array().unwrap().len(), 1);

    assert_eq!(cloud.refused("other", "GET", topology, json!(null)).await.0, 403);
    cloud.delete("demo", topology).await;
    assert_eq!(cloud.get("demo", "/networks?project_id=demo-project").await["networks"], json!([]));
    assert_eq!(cloud.get("demo", "/routers").await["routers"], json!([]));
}

#[tokio::test]
async fn one_external_network_is_the_default() {
    let cloud = Cloud::new().await;
    let first = cloud.external("172.24.4.0/24", true).await;
    assert_eq!(cloud.get("demo", &format!("/networks/{first}")).await["network"]["is_default"], true);
    let second = json!({"network": {"router:external": true, "is_default": true}});
    let refused = cloud.refused("admin", "POST", "/networks", second).await;
    assert_eq!(refused, refusal(409, "DefaultExternalNetworkExists"));
    let inner = json!({"network": {"is_default": true}});
    assert_eq!(cloud.refused("admin", "POST", "/networks", inner.clone()).await, refusal(400, "InvalidInput"));
    assert_eq!(cloud.refused("demo", "POST", "/networks", inner).await, refusal(403, "PolicyNotAuthorized"));
}
