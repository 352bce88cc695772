//! Networks, and the ports of servers.

use std::collections::HashSet;
use std::sync::Arc;

use kilonova_clients::ClientError;
use kilonova_clients::network::PortRequest;
use kilonova_clients::network_model::Vif;
use kilonova_clients::neutron::security_groups::NewRule;
use kilonova_clients::neutron::{floating_ips, networks, ports as server_ports, security_groups};
use kilonova_core::RequestContext;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cloud::{Cloud, id, token};

crate::suite! {
    a_server_gets_its_interface_and_gives_it_back,
    allocating_again_gives_the_same_ports_even_on_another_host,
    the_ports_of_a_server_move_with_it,
    an_interface_has_all_of_its_subnet,
    a_given_port_survives_its_server,
    a_given_port_is_used_on_a_second_try,
    the_wanted_address_is_given,
    a_failed_allocation_leaves_nothing,
    security_groups_are_the_projects_own,
    compute_sees_the_networks_and_groups_of_the_project,
    forty_servers_at_once_get_addresses_of_their_own,
    one_interface_more_is_none_that_the_server_has,
    an_address_is_added_to_a_port_and_removed,
    groups_and_rules_are_made_changed_and_deleted,
    the_groups_of_a_port_are_replaced,
    what_there_is_none_of_is_an_empty_list,
}

fn on(network: Uuid) -> PortRequest {
    PortRequest { network_id: Some(network), ..PortRequest::default() }
}

fn given(port: Uuid) -> PortRequest {
    PortRequest { port_id: Some(port), ..PortRequest::default() }
}

fn addresses(vifs: &[Vif]) -> Vec<String> {
    let ips = vifs.iter().flat_map(|vif| &vif.network.subnets).flat_map(|subnet| &subnet.ips);
    ips.map(|ip| ip.address.clone()).collect()
}

/// The shared network that every cloud has.
async fn private(cloud: &Cloud) -> Uuid {
    let admin = cloud.token("admin", "admin").await;
    id(&cloud.done(&admin, "GET", "/network/v2.0/networks?name=private", "").await["networks"][0])
}

/// Makes a network resource.
async fn make(cloud: &Cloud, context: &RequestContext, kind: &str, body: Value) -> Value {
    let path = format!("/network/v2.0/{}s", kind.replace('_', "-"));
    cloud.done(token(context), "POST", &path, json!({ kind: body }).to_string()).await[kind].clone()
}

/// All ports, as an admin sees them.
async fn ports(cloud: &Cloud) -> Vec<Value> {
    let admin = cloud.token("admin", "admin").await;
    cloud.done(&admin, "GET", "/network/v2.0/ports", "").await["ports"].as_array().unwrap().clone()
}

async fn the_ports_of_a_server_move_with_it(cloud: Cloud) {
    let (demo, server) = (cloud.demo().await, Uuid::new_v4());
    let requests = [on(private(&cloud).await)];
    let project_id = demo.project_id().to_owned();
    cloud.network.allocate_for_instance(&demo, server, &project_id, "host1", &requests).await.unwrap();
    for host in ["host2", ""] {
        cloud.network.setup_instance_network_on_host(&demo, server, host).await.unwrap();
        let all = ports(&cloud).await;
        let port = all.iter().find(|port| port["device_id"] == json!(server)).unwrap();
        assert_eq!(port["binding:host_id"].as_str().unwrap_or_default(), host);
    }
    cloud.network.setup_instance_network_on_host(&demo, Uuid::new_v4(), "host1").await.unwrap();
    cloud.network.deallocate_for_instance(&demo, server).await.unwrap();
    assert!(ports(&cloud).await.iter().all(|port| port["device_id"] != json!(server)));
}

async fn allocate(
    cloud: &Cloud,
    context: &RequestContext,
    server: Uuid,
    host: &str,
    requests: &[PortRequest],
) -> Result<Vec<Vif>, ClientError> {
    cloud.network.allocate_for_instance(context, server, context.project_id(), host, requests).await
}

async fn a_server_gets_its_interface_and_gives_it_back(cloud: Cloud) {
    let (network, demo, server) = (private(&cloud).await, cloud.demo().await, Uuid::new_v4());
    let vifs = allocate(&cloud, &demo, server, "host1", &[on(network)]).await.unwrap();
    let vif = &vifs[0];
    assert_eq!(addresses(&vifs), ["10.0.0.2"]);
    assert_eq!((vif.network.label.as_str(), vif.active, vif.preserve_on_delete), ("private", true, false));
    assert_eq!((vif.vif_type.as_deref(), vif.profile.len()), (Some("user"), 0));
    let port = &ports(&cloud).await[0];
    assert_eq!((&port["id"], &port["device_owner"]), (&json!(vif.id), &json!("compute:nova")));
    assert_eq!((&port["binding:host_id"], &port["status"]), (&json!("host1"), &json!("ACTIVE")));
    assert_eq!(port["project_id"], json!(demo.project_id()));

    let shown = cloud.network.show_port(&demo, vif.id).await.unwrap();
    assert_eq!((shown.device_id, shown.fixed_ips), (server.to_string(), vec!["10.0.0.2".to_owned()]));
    let other = cloud.other().await;
    assert_eq!(cloud.network.show_port(&other, vif.id).await, Err(ClientError::not_found("port", vif.id)));

    let service = RequestContext::admin();
    assert_eq!(cloud.network.devices_with_ports(&service).await.unwrap(), [server]);
    cloud.network.deallocate_for_instance(&service, server).await.unwrap();
    cloud.network.deallocate_for_instance(&service, server).await.unwrap();
    assert_eq!(ports(&cloud).await, Vec::<Value>::new());
    assert_eq!(cloud.network.devices_with_ports(&service).await.unwrap(), Vec::<Uuid>::new());
}

async fn allocating_again_gives_the_same_ports_even_on_another_host(cloud: Cloud) {
    let (network, demo, server) = (private(&cloud).await, cloud.demo().await, Uuid::new_v4());
    let twice = [on(network), on(network)];
    let mut first = allocate(&cloud, &demo, server, "host1", &twice).await.unwrap();
    let mut again = allocate(&cloud, &demo, server, "host2", &twice).await.unwrap();
    for vifs in [&mut first, &mut again] {
        vifs.sort_by_key(|vif| vif.id);
    }
    assert_eq!(again, first);
    let hosts: Vec<Value> = ports(&cloud).await.iter().map(|port| port["binding:host_id"].clone()).collect();
    assert_eq!(hosts, ["host2", "host2"]);
}

async fn an_interface_has_all_of_its_subnet(cloud: Cloud) {
    let (demo, server) = (cloud.demo().await, Uuid::new_v4());
    let network = make(&cloud, &demo, "network", json!({"name": "both", "mtu": 1400})).await;
    let four = json!({
        "network_id": network["id"], "ip_version": 4, "cidr": "10.7.0.0/24", "dns_nameservers": ["10.7.0.53"],
        "host_routes": [{"destination": "10.8.0.0/16", "nexthop": "10.7.0.9"}],
    });
    let six = json!({"network_id": network["id"], "ip_version": 6, "cidr": "fd00::/64", "enable_dhcp": false});
    make(&cloud, &demo, "subnet", four).await;
    make(&cloud, &demo, "subnet", six).await;
    let vifs = allocate(&cloud, &demo, server, "h", &[on(id(&network))]).await.unwrap();
    let network = &vifs[0].network;
    assert_eq!(network.meta["mtu"], 1400);
    assert_eq!(network.meta["tenant_id"], demo.project_id());
    let [four, six] = network.subnets.as_slice() else { panic!("{:?}", network.subnets) };
    let address = |ip: &kilonova_clients::network_model::Ip| ip.address.clone().unwrap();
    assert_eq!((four.cidr.as_str(), four.version), ("10.7.0.0/24", 4));
    assert_eq!(four.gateway.as_ref().map(address).as_deref(), Some("10.7.0.1"));
    assert_eq!(four.dns.iter().map(address).collect::<Vec<_>>(), ["10.7.0.53"]);
    assert_eq!(
        (&four.routes[0]["cidr"], &four.routes[0]["gateway"]["address"]),
        (&json!("10.8.0.0/16"), &json!("10.7.0.9"))
    );
    assert_eq!((six.cidr.as_str(), six.version, &six.meta["enable_dhcp"]), ("fd00::/64", 6, &json!(false)));
    assert_eq!((four.ips.len(), six.ips.len(), six.ips[0].version), (1, 1, 6));
}

async fn a_given_port_survives_its_server(cloud: Cloud) {
    let (network, demo, server) = (private(&cloud).await, cloud.demo().await, Uuid::new_v4());
    let port = id(&make(&cloud, &demo, "port", json!({"network_id": network})).await);
    let vifs = allocate(&cloud, &demo, server, "host1", &[on(network), given(port)]).await.unwrap();
    assert_eq!((vifs[1].id, vifs[0].preserve_on_delete, vifs[1].preserve_on_delete), (port, false, true));

    let taken = allocate(&cloud, &demo, Uuid::new_v4(), "host1", &[given(port)]).await;
    assert_eq!(taken, Err(ClientError::Conflict(format!("Port {port} is still in use."))));
    let foreign = allocate(&cloud, &cloud.other().await, Uuid::new_v4(), "host1", &[given(port)]).await;
    assert_eq!(foreign, Err(ClientError::not_found("port", port)));

    cloud.network.deallocate_for_instance(&demo, server).await.unwrap();
    let left = ports(&cloud).await;
    assert_eq!(left.len(), 1);
    assert_eq!((id(&left[0]), &left[0]["device_id"], &left[0]["status"]), (port, &json!(""), &json!("DOWN")));
    assert_eq!((&left[0]["binding:host_id"], &left[0]["binding:profile"]), (&json!(""), &json!({})));
    assert!(allocate(&cloud, &demo, Uuid::new_v4(), "host1", &[given(port)]).await.is_ok());
}

async fn a_given_port_is_used_on_a_second_try(cloud: Cloud) {
    let (network, demo, server) = (private(&cloud).await, cloud.demo().await, Uuid::new_v4());
    let port = id(&make(&cloud, &demo, "port", json!({"network_id": network})).await);
    let requests = [given(port), on(network)];
    let first = allocate(&cloud, &demo, server, "host1", &requests).await.unwrap();
    let again = allocate(&cloud, &demo, server, "host2", &requests).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(ports(&cloud).await.len(), 2);
    let twice = allocate(&cloud, &demo, server, "host1", &[given(port), given(port)]).await;
    assert!(matches!(twice, Err(ClientError::Conflict(_))), "{twice:?}");
}

async fn the_wanted_address_is_given(cloud: Cloud) {
    let (network, demo) = (private(&cloud).await, cloud.demo().await);
    let wanted = |text: &str| [PortRequest { fixed_ip: Some(text.to_owned()), ..on(network) }];
    let server = Uuid::new_v4();
    let vifs = allocate(&cloud, &demo, server, "h", &wanted("10.0.0.9")).await.unwrap();
    assert_eq!(addresses(&vifs), ["10.0.0.9"]);
    assert_eq!(allocate(&cloud, &demo, server, "h", &wanted("10.0.0.9")).await.unwrap(), vifs);
    let taken = allocate(&cloud, &demo, Uuid::new_v4(), "h", &wanted("10.0.0.9")).await;
    assert!(matches!(taken, Err(ClientError::Conflict(_))), "{taken:?}");
    for wrong in ["11.0.0.1", "pony"] {
        let refused = allocate(&cloud, &demo, Uuid::new_v4(), "h", &wanted(wrong)).await;
        assert!(matches!(refused, Err(ClientError::BadRequest(_))), "{wrong}: {refused:?}");
    }
}

async fn a_failed_allocation_leaves_nothing(cloud: Cloud) {
    let (network, demo) = (private(&cloud).await, cloud.demo().await);
    let port = id(&make(&cloud, &demo, "port", json!({"network_id": network})).await);
    let bare = on(id(&make(&cloud, &demo, "network", json!({"name": "bare"})).await));
    let outside = PortRequest { fixed_ip: Some("11.0.0.1".to_owned()), ..on(network) };
    let groupless = PortRequest { security_group_ids: vec![Uuid::new_v4()], ..on(network) };
    let before = ports(&cloud).await;
    for wrong in [on(Uuid::new_v4()), bare, outside, groupless, given(Uuid::new_v4()), PortRequest::default()] {
        let requests = [given(port), on(network), wrong];
        let result = allocate(&cloud, &demo, Uuid::new_v4(), "h", &requests).await;
        let is_expected = matches!(result, Err(ClientError::NotFound { .. } | ClientError::BadRequest(_)));
        assert!(is_expected, "{requests:?}: {result:?}");
        assert_eq!(ports(&cloud).await, before);
    }
}

async fn security_groups_are_the_projects_own(cloud: Cloud) {
    let (network, demo, other) = (private(&cloud).await, cloud.demo().await, cloud.other().await);
    let own = id(&make(&cloud, &demo, "security_group", json!({"name": "web"})).await);
    let foreign = id(&make(&cloud, &other, "security_group", json!({"name": "web"})).await);
    let with = |group: Uuid| [PortRequest { security_group_ids: vec![group, group], ..on(network) }];
    let server = Uuid::new_v4();
    allocate(&cloud, &demo, server, "h", &with(own)).await.unwrap();
    assert_eq!(ports(&cloud).await[0]["security_groups"], json!([own]));
    let refused = allocate(&cloud, &demo, Uuid::new_v4(), "h", &with(foreign)).await;
    assert_eq!(refused, Err(ClientError::not_found("security group", foreign)));
    let default = allocate(&cloud, &demo, Uuid::new_v4(), "h", &[on(network)]).await.unwrap();
    let groups = cloud.network.security_groups(&demo, demo.project_id()).await.unwrap();
    let default_group = groups.iter().find(|group| group.name == "default").unwrap();
    let all = ports(&cloud).await;
    let port = all.iter().find(|port| id(port) == default[0].id).unwrap();
    assert_eq!(port["security_groups"], json!([default_group.id]));
}

async fn compute_sees_the_networks_and_groups_of_the_project(cloud: Cloud) {
    let (network, demo, other) = (private(&cloud).await, cloud.demo().await, cloud.other().await);
    let own = id(&make(&cloud, &other, "network", json!({"name": "own", "port_security_enabled": false})).await);
    let demos = cloud.network.available_networks(&demo).await.unwrap();
    assert_eq!(demos.iter().map(|network| network.id).collect::<Vec<_>>(), [network]);
    assert_eq!((demos[0].name.as_str(), demos[0].subnet_ids.len(), demos[0].is_shared), ("private", 1, true));
    let others = cloud.network.available_networks(&other).await.unwrap();
    assert_eq!(others.iter().map(|network| network.id).collect::<HashSet<_>>(), HashSet::from([network, own]));
    let own = others.iter().find(|network| network.id == own).unwrap();
    assert_eq!((own.project_id.as_str(), own.port_security_enabled), (other.project_id(), false));

    let groups = cloud.network.security_groups(&other, other.project_id()).await.unwrap();
    assert_eq!(groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["default"]);
    assert_eq!(cloud.network.security_groups(&other, other.project_id()).await.unwrap(), groups);
    let refused = cloud.network.security_groups(&other, demo.project_id()).await;
    assert!(matches!(refused, Err(ClientError::Forbidden(_))), "{refused:?}");
    let admin = RequestContext::admin();
    let groups = cloud.network.security_groups(&admin, demo.project_id()).await.unwrap();
    assert_eq!((groups[0].name.as_str(), groups[0].project_id.as_str()), ("default", demo.project_id()));
}

async fn forty_servers_at_once_get_addresses_of_their_own(cloud: Cloud) {
    let (network, demo, cloud) = (private(&cloud).await, cloud.demo().await, Arc::new(cloud));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (cloud, demo) = (cloud.clone(), demo.clone());
        tasks.spawn(async move { allocate(&cloud, &demo, Uuid::new_v4(), "h", &[on(network)]).await.unwrap() });
    }
    let given: HashSet<String> = tasks.join_all().await.iter().flat_map(|vifs| addresses(vifs)).collect();
    assert_eq!(given.len(), 40);
    assert_eq!(cloud.network.devices_with_ports(&demo).await.unwrap().len(), 40);
}

async fn one_interface_more_is_none_that_the_server_has(cloud: Cloud) {
    let (network, demo, server) = (private(&cloud).await, cloud.demo().await, Uuid::new_v4());
    let first = allocate(&cloud, &demo, server, "h", &[on(network)]).await.unwrap().remove(0);
    let more = async |request: PortRequest, held: &[Uuid]| {
        cloud.network.allocate_port_for_instance(&demo, server, demo.project_id(), "h", &request, held).await
    };
    let second = more(on(network), &[first.id]).await.unwrap();
    assert_ne!(second.id, first.id);
    // Cut off before anybody wrote it down.
    assert_eq!(more(on(network), &[first.id]).await.unwrap().id, second.id);
    let port = id(&make(&cloud, &demo, "port", json!({"network_id": network})).await);
    let third = more(given(port), &[first.id, second.id]).await.unwrap();
    assert_eq!((third.id, third.preserve_on_delete), (port, true));
    let again = more(given(port), &[first.id, second.id, port]).await;
    assert_eq!(again, Err(ClientError::Conflict(format!("Port {port} is still in use."))));

    let ids = async || -> HashSet<Uuid> {
        cloud.network.instance_vifs(&demo, server).await.unwrap().iter().map(|vif| vif.id).collect()
    };
    assert_eq!(ids().await, HashSet::from([first.id, second.id, port]));
    let of_first = cloud.network.instance_vifs(&demo, server).await.unwrap();
    assert_eq!(of_first.into_iter().find(|vif| vif.id == first.id), Some(first.clone()));
    for gone in [second.id, port, Uuid::new_v4()] {
        cloud.network.deallocate_port_for_instance(&demo, server, gone).await.unwrap();
        cloud.network.deallocate_port_for_instance(&demo, server, gone).await.unwrap();
    }
    assert_eq!(ids().await, HashSet::from([first.id]));
    let left = ports(&cloud).await;
    let devices: HashSet<_> = left.iter().map(|port| (id(port), port["device_id"].clone())).collect();
    assert_eq!(devices, HashSet::from([(first.id, json!(server)), (port, json!(""))]));
}

async fn an_address_is_added_to_a_port_and_removed(cloud: Cloud) {
    let (network, demo, server) = (private(&cloud).await, cloud.demo().await, Uuid::new_v4());
    allocate(&cloud, &demo, server, "h", &[on(network)]).await.unwrap();
    let client = &*cloud.network;
    server_ports::add_fixed_ip(client, &demo, server, &network.to_string()).await.unwrap();
    let both = addresses(&cloud.network.instance_vifs(&demo, server).await.unwrap());
    assert_eq!(both, ["10.0.0.2", "10.0.0.3"]);
    server_ports::remove_fixed_ip(client, &demo, server, "10.0.0.2").await.unwrap();
    assert_eq!(addresses(&cloud.network.instance_vifs(&demo, server).await.unwrap()), ["10.0.0.3"]);
    let gone = server_ports::remove_fixed_ip(client, &demo, server, "10.0.0.2").await;
    assert_eq!(gone, Err(ClientError::not_found("fixed IP", "10.0.0.2")));
    let nowhere = Uuid::new_v4().to_string();
    let refused = server_ports::add_fixed_ip(client, &demo, server, &nowhere).await;
    assert_eq!(refused, Err(ClientError::not_found("network", nowhere)));
}

async fn groups_and_rules_are_made_changed_and_deleted(cloud: Cloud) {
    let (demo, other, client) = (cloud.demo().await, cloud.other().await, &*cloud.network);
    let group = security_groups::create(client, &demo, "web", "pages").await.unwrap();
    assert_eq!((group.name.as_str(), group.description.as_str()), ("web", "pages"));
    assert_eq!(group.project_id, demo.project_id());
    let rule = NewRule {
        security_group_id: group.id,
        protocol: Some("tcp".to_owned()),
        port_range_min: Some(80),
        port_range_max: Some(81),
        remote_ip_prefix: Some("10.0.0.0/8".to_owned()),
        ..NewRule::default()
    };
    let made = security_groups::create_rule(client, &demo, &rule).await.unwrap();
    assert_eq!((made.port_range_min, made.direction.as_str()), (Some(80), "ingress"));
    let again = security_groups::create_rule(client, &demo, &rule).await;
    assert!(matches!(again, Err(ClientError::Conflict(_))), "{again:?}");
    let shown = security_groups::show(client, &demo, group.id).await.unwrap();
    assert!(shown.rules.contains(&made), "{shown:?}");
    let renamed = security_groups::update(client, &demo, group.id, "shop", "").await.unwrap();
    assert_eq!(renamed.name, "shop");

    let not_found = ClientError::not_found("security group", group.id);
    assert_eq!(security_groups::show(client, &other, group.id).await, Err(not_found.clone()));
    let listed = security_groups::list(client, &demo, Some(demo.project_id())).await.unwrap();
    let names: HashSet<&str> = listed.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, HashSet::from(["default", "shop"]));
    let some = security_groups::get_many(client, &demo, &[group.id, Uuid::new_v4()].into()).await.unwrap();
    assert_eq!(some.iter().map(|group| group.id).collect::<Vec<_>>(), [group.id]);

    security_groups::delete_rule(client, &demo, made.id).await.unwrap();
    let gone = ClientError::not_found("security group rule", made.id);
    assert_eq!(security_groups::show_rule(client, &demo, made.id).await, Err(gone));
    security_groups::delete(client, &demo, group.id).await.unwrap();
    assert_eq!(security_groups::delete(client, &demo, group.id).await, Err(not_found));
}

async fn the_groups_of_a_port_are_replaced(cloud: Cloud) {
    let (network, demo, server) = (private(&cloud).await, cloud.demo().await, Uuid::new_v4());
    allocate(&cloud, &demo, server, "h", &[on(network)]).await.unwrap();
    let client = &*cloud.network;
    let group = security_groups::create(client, &demo, "web", "").await.unwrap().id;
    let port = server_ports::of_server(client, &demo, server).await.unwrap().remove(0);
    assert!(port.is_of(server) && port.takes_security_groups());
    assert_eq!((port.fixed_ips[0].ip_address.as_str(), port.security_groups.len()), ("10.0.0.2", 1));
    server_ports::set_security_groups(client, &demo, port.id, &[group]).await.unwrap();
    let port = server_ports::show(client, &demo, &port.id.to_string()).await.unwrap();
    assert_eq!((port.security_groups, port.status.as_str()), (vec![group], "ACTIVE"));
    let wrong = server_ports::show(client, &demo, "pony").await;
    assert_eq!(wrong, Err(ClientError::not_found("port", "pony")));
}

async fn what_there_is_none_of_is_an_empty_list(cloud: Cloud) {
    let (demo, client) = (cloud.demo().await, &*cloud.network);
    assert_eq!(floating_ips::list(client, &demo).await, Ok(vec![]));
    assert_eq!(floating_ips::by_address(client, &demo, "172.24.4.9").await, Ok(vec![]));
    assert!(networks::external(client, &demo).await.is_ok());
    let names: Vec<String> = networks::list(client, &demo).await.unwrap().iter().map(|it| it.or_id()).collect();
    assert!(names.contains(&"private".to_owned()), "{names:?}");
}

#[tokio::test]
async fn over_http_a_context_without_a_token_sees_its_project_only() {
    let cloud = Cloud::over_http("").await;
    let (network, demo) = (private(&cloud).await, cloud.demo().await);
    let port = id(&make(&cloud, &demo, "port", json!({"network_id": network})).await);
    let tokenless = |context: &RequestContext| RequestContext { auth_token: None, ..context.clone() };
    let (demo, other) = (tokenless(&demo), tokenless(&cloud.other().await));
    assert_eq!(cloud.network.show_port(&demo, port).await.unwrap().id, port);
    assert_eq!(cloud.network.show_port(&other, port).await, Err(ClientError::not_found("port", port)));
    let taken = allocate(&cloud, &other, Uuid::new_v4(), "h", &[given(port)]).await;
    assert_eq!(taken, Err(ClientError::not_found("port", port)));
    let vifs = allocate(&cloud, &demo, Uuid::new_v4(), "h", &[on(network)]).await.unwrap();
    let made = ports(&cloud).await.into_iter().find(|port| id(port) == vifs[0].id).unwrap();
    assert_eq!(made["project_id"], json!(demo.project_id()));
}

#[tokio::test]
async fn over_http_ports_of_other_services_are_not_deleted() {
    let cloud = Cloud::over_http("").await;
    let (network, demo, server) = (private(&cloud).await, cloud.demo().await, Uuid::new_v4());
    let port = async |owner: &str| {
        id(&make(&cloud, &demo, "port", json!({"network_id": network, "device_id": server, "device_owner": owner}))
            .await)
    };
    let (half_made, novas, vips) = (port("").await, port("compute:nova").await, port("Octavia").await);
    assert_eq!(cloud.network.devices_with_ports(&demo).await.unwrap(), Vec::<Uuid>::new());
    cloud.network.deallocate_for_instance(&RequestContext::admin(), server).await.unwrap();
    let left = ports(&cloud).await;
    let devices: Vec<(Uuid, &Value)> = left.iter().map(|port| (id(port), &port["device_id"])).collect();
    assert_eq!(devices, [(novas, &json!("")), (vips, &json!(server))]);
    assert!(devices.iter().all(|(port, _)| *port != half_made));
}

#[tokio::test]
async fn over_http_a_port_that_another_project_put_on_the_server_is_not_used() {
    let cloud = Cloud::over_http("").await;
    let (network, demo, other, server) =
        (private(&cloud).await, cloud.demo().await, cloud.other().await, Uuid::new_v4());
    let trap = id(&make(&cloud, &other, "port", json!({"network_id": network, "device_id": server})).await);
    let vifs = allocate(&cloud, &demo, server, "h", &[on(network)]).await.unwrap();
    assert_ne!(vifs[0].id, trap);
}
