//! How Neutron is asked, and what is undone when it fails.

use axum::response::Response;
use kilonova_clients::ClientError;
use kilonova_clients::http::{HttpNetwork, Sessions};
use kilonova_clients::network::{NetworkService as _, PortRequest};
use kilonova_clients::network_model::Vif;
use kilonova_clients::neutron::{floating_ips, security_groups};
use kilonova_core::RequestContext;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::server::{Seen, Server, reply};

const PORTS: &str = "/network/v2.0/ports";
const SERVER: Uuid = Uuid::from_u128(0x5e);

fn network(server: &Server) -> HttpNetwork {
    HttpNetwork::from_config(&server.config(&[]), &mut Sessions::default()).unwrap()
}

fn on(network: u128) -> PortRequest {
    PortRequest { network_id: Some(Uuid::from_u128(network)), ..PortRequest::default() }
}

fn port(id: u128, network: u128, more: Value) -> Value {
    let mut port = json!({
        "id": Uuid::from_u128(id), "network_id": Uuid::from_u128(network), "project_id": "p", "tenant_id": "p",
        "mac_address": "fa:16:3e:00:00:01", "device_id": SERVER, "device_owner": "", "status": "DOWN",
        "fixed_ips": [{"subnet_id": Uuid::from_u128(network + 100), "ip_address": "10.0.0.2"}],
    });
    for (name, value) in more.as_object().unwrap() {
        port[name] = value.clone();
    }
    port
}

/// A Neutron with the networks 1 and 2, whose ports are made with the ids 10, 11, …, and bound as Open vSwitch does.
fn neutron(seen: &Seen) -> Option<Response> {
    let networks = [1u128, 2].map(|id| {
        let subnets = [Uuid::from_u128(id + 100)];
        json!({"id": Uuid::from_u128(id), "name": format!("net{id}"), "tenant_id": "p", "subnets": subnets, "mtu": 1450})
    });
    let subnets = [1u128, 2].map(|id| {
        json!({"id": Uuid::from_u128(id + 100), "network_id": Uuid::from_u128(id), "cidr": "10.0.0.0/24", "ip_version": 4,
               "gateway_ip": null, "enable_dhcp": true})
    });
    match seen.what.split_once(' ').unwrap() {
        ("GET", PORTS) => reply(200, json!({"ports": []})),
        ("GET", "/network/v2.0/networks") => reply(200, json!({"networks": networks})),
        ("GET", "/network/v2.0/subnets") => reply(200, json!({"subnets": subnets})),
        ("POST", PORTS) => {
            let asked = seen.body["ports"].as_array().unwrap().iter().zip(10..);
            let ports = asked.map(|(asked, id)| {
                let network: Uuid = asked["network_id"].as_str().unwrap().parse().unwrap();
                port(id, network.as_u128(), json!({}))
            });
            reply(201, json!({"ports": ports.collect::<Vec<_>>()}))
        }
        ("PUT", path) => {
            let id: Uuid = path.rsplit('/').next().unwrap().parse().unwrap();
            let mut bound = seen.body["port"].clone();
            bound["binding:vif_type"] = json!("ovs");
            bound["binding:vif_details"] = json!({"bridge_name": "br-x", "port_filter": true});
            bound["status"] = json!("ACTIVE");
            reply(200, json!({"port": port(id.as_u128(), if id.as_u128() == 12 { 2 } else { 1 }, bound)}))
        }
        ("DELETE", _) => reply(204, json!(null)),
        _ => None,
    }
}

fn user() -> RequestContext {
    RequestContext { auth_token: Some("user".to_owned()), ..RequestContext::new("u", "p") }
}

async fn allocate(network: &HttpNetwork, requests: &[PortRequest]) -> Result<Vec<Vif>, ClientError> {
    network.allocate_for_instance(&user(), SERVER, "p", "host1", requests).await
}

#[tokio::test]
async fn three_interfaces_are_four_round_trips_and_one_request_each_that_binds() {
    let server = Server::start(async |seen: Seen| neutron(&seen)).await;
    let vifs = allocate(&network(&server), &[on(1), on(1), on(2)]).await.unwrap();
    let of = |vif: &Vif| (vif.id.as_u128(), vif.network.label.clone(), vif.network.bridge.clone(), vif.active);
    let bridge = Some("br-x".to_owned());
    assert_eq!(
        vifs.iter().map(of).collect::<Vec<_>>(),
        [
            (10, "net1".to_owned(), bridge.clone(), true),
            (11, "net1".to_owned(), bridge.clone(), true),
            (12, "net2".to_owned(), bridge, true)
        ]
    );
    assert_eq!(vifs[0].ovs_interfaceid, Some(vifs[0].id.to_string()));
    assert_eq!(
        (vifs[0].details["port_filter"].clone(), vifs[0].network.meta["mtu"].clone()),
        (json!(true), json!(1450))
    );

    let seen = server.seen();
    let who: Vec<(&str, &str)> = seen[1..].iter().map(|seen| (seen.what.as_str(), seen.token())).collect();
    assert_eq!(who[0], ("GET /network/v2.0/ports", "service-1"));
    let mut lists = who[1..3].to_vec();
    lists.sort_unstable();
    assert_eq!(lists, [("GET /network/v2.0/networks", "user"), ("GET /network/v2.0/subnets", "user")]);
    assert_eq!(who[3], ("POST /network/v2.0/ports", "user"));
    assert_eq!(who[4..].iter().map(|(_, token)| *token).collect::<Vec<_>>(), ["service-1"; 3]);
    assert!(who[4..].iter().all(|(what, _)| what.starts_with("PUT /network/v2.0/ports/")));
    let made = json!({"network_id": Uuid::from_u128(1), "tenant_id": "p", "device_id": SERVER, "admin_state_up": true});
    assert_eq!(seen[4].body["ports"][0], made);
    let bound = json!({"device_id": SERVER, "device_owner": "compute:nova", "binding:host_id": "host1",
                       "binding:profile": {"kilonova": "made"}});
    assert_eq!(seen[5].body["port"], bound);
}

#[tokio::test]
async fn what_is_bound_already_is_not_bound_again() {
    let held = json!({
        "device_owner": "compute:nova", "binding:host_id": "host1", "binding:vif_type": "ovs",
        "binding:profile": {"kilonova": "made"},
    });
    let server = Server::start(move |seen: Seen| {
        let held = held.clone();
        async move {
            let ports = json!({"ports": [port(10, 1, held)]});
            if seen.what == "GET /network/v2.0/ports" { reply(200, ports) } else { neutron(&seen) }
        }
    })
    .await;
    let vifs = allocate(&network(&server), &[on(1)]).await.unwrap();
    assert_eq!((vifs[0].id.as_u128(), vifs[0].profile.len()), (10, 0));
    assert!(server.asked().iter().all(|what| what.starts_with("GET")), "{:?}", server.asked());
}

/// Lists the port 10 once it was asked to be made.
fn made_meanwhile(seen: &Seen) -> Option<Response> {
    let is_list_after = seen.what == "GET /network/v2.0/ports" && seen.number > 0;
    if is_list_after { reply(200, json!({"ports": [port(10, 1, json!({}))]})) } else { neutron(seen) }
}

#[tokio::test]
async fn ports_whose_binding_failed_are_deleted() {
    let server = Server::start(async |seen: Seen| match seen.what.starts_with("PUT") {
        true => reply(200, json!({"port": port(10, 1, json!({"binding:vif_type": "binding_failed"}))})),
        false => made_meanwhile(&seen),
    })
    .await;
    let failed = allocate(&network(&server), &[on(1)]).await;
    let id = Uuid::from_u128(10);
    let text = format!("Binding failed for port {id}, please check neutron logs for more information.");
    assert_eq!(failed, Err(ClientError::unavailable("network", text)));
    assert_eq!(server.count(&format!("DELETE /network/v2.0/ports/{id}")), 1);
}

#[tokio::test]
async fn ports_that_may_have_been_made_are_looked_for_and_deleted_and_the_request_is_not_repeated() {
    for status in [500, 503] {
        let server = Server::start(move |seen: Seen| async move {
            match seen.what.starts_with("POST /network") {
                true => reply(status, json!({"NeutronError": {"type": "X", "message": "oops"}})),
                false => made_meanwhile(&seen),
            }
        })
        .await;
        let failed = allocate(&network(&server), &[on(1)]).await;
        assert_eq!(failed, Err(ClientError::unavailable("network", format!("HTTP {status}: oops"))));
        assert_eq!(server.count("POST /network/v2.0/ports"), 1);
        assert_eq!(server.count(&format!("DELETE /network/v2.0/ports/{}", Uuid::from_u128(10))), 1);
    }
}

#[tokio::test]
async fn neutrons_refusals_keep_their_meaning() {
    let refusal = |status: u16, kind: &'static str| {
        Server::start(move |seen: Seen| async move {
            match seen.what.starts_with("POST /network") {
                true => reply(status, json!({"NeutronError": {"type": kind, "message": "said", "detail": ""}})),
                false => neutron(&seen),
            }
        })
    };
    let said = || "said".to_owned();
    for (status, kind, expected) in [
        (409, "OverQuota", ClientError::OverQuota(said())),
        (409, "IpAddressAlreadyAllocated", ClientError::Conflict(said())),
        (400, "InvalidIpForNetwork", ClientError::BadRequest(said())),
        (403, "PolicyNotAuthorized", ClientError::Forbidden(said())),
        (404, "NetworkNotFound", ClientError::not_found("network", Uuid::from_u128(1))),
    ] {
        let server = refusal(status, kind).await;
        assert_eq!(allocate(&network(&server), &[on(1)]).await, Err(expected));
    }
}

#[tokio::test]
async fn a_server_is_deallocated_whatever_becomes_of_one_port() {
    let mark = |mark: &str| json!({"binding:profile": {"kilonova": mark, "x": 1}, "device_owner": "compute:nova"});
    let ports = json!({"ports": [port(10, 1, mark("made")), port(11, 1, mark("given")), port(12, 1, mark("made"))]});
    let first = format!("DELETE {PORTS}/{}", Uuid::from_u128(10));
    let server = Server::start({
        let first = first.clone();
        move |seen: Seen| {
            let (ports, is_first) = (ports.clone(), seen.what == first);
            async move {
                match seen.what.as_str() {
                    "GET /network/v2.0/ports" => reply(200, ports),
                    _ if is_first => reply(500, json!(null)),
                    _ => neutron(&seen),
                }
            }
        }
    })
    .await;
    let failed = network(&server).deallocate_for_instance(&user(), SERVER).await;
    assert!(matches!(failed, Err(ClientError::Unavailable { service: "network", .. })), "{failed:?}");
    let mut asked = server.asked();
    asked.sort_unstable();
    let of = |method: &str, id: u128| format!("{method} {PORTS}/{}", Uuid::from_u128(id));
    assert_eq!(asked, [first, of("DELETE", 12), format!("GET {PORTS}"), of("PUT", 11)]);
    let seen = server.seen();
    let released = seen.iter().find(|seen| seen.what.starts_with("PUT")).unwrap();
    let expected = json!({"device_id": "", "device_owner": "", "binding:host_id": null, "binding:profile": {"x": 1}});
    assert_eq!(released.body["port"], expected);
    assert!(seen[1..].iter().all(|seen| seen.token() == "service-1"));
}

#[tokio::test]
async fn what_is_only_passed_on_is_asked_by_the_caller() {
    let id = Uuid::from_u128(7);
    let group = json!({"id": id, "name": "web", "tenant_id": "p", "security_group_rules": []});
    let server = Server::start(move |seen: Seen| {
        let group = group.clone();
        async move {
            match seen.what.as_str() {
                "GET /network/v2.0/security-groups" => reply(200, json!({"security_groups": [group]})),
                "POST /network/v2.0/security-groups" => reply(201, json!({"security_group": group})),
                _ => None,
            }
        }
    })
    .await;
    let client = network(&server);
    let found = security_groups::list(&client, &user(), Some("p")).await.unwrap();
    assert_eq!((found.len(), found[0].id), (1, id));
    security_groups::create(&client, &user(), "web", "d").await.unwrap();
    let gone = ClientError::not_found("security group", id);
    assert_eq!(security_groups::show(&client, &user(), id).await, Err(gone));
    // A Neutron without routers answers 404 to that.
    assert_eq!(floating_ips::list(&client, &user()).await, Ok(vec![]));
    let seen = server.seen();
    assert!(seen[1..].iter().all(|seen| seen.token() == "user"));
    assert_eq!(seen[1].query, "tenant_id=p");
    assert_eq!(seen[2].body, json!({"security_group": {"name": "web", "description": "d"}}));
}

#[tokio::test]
async fn a_floating_address_is_shown_with_its_pool_and_its_server() {
    let floating = |id: u128, port: Option<u128>, more: Value| {
        let mut floating = json!({
            "id": Uuid::from_u128(id), "floating_ip_address": format!("172.24.4.{id}"),
            "floating_network_id": Uuid::from_u128(1), "port_id": port.map(Uuid::from_u128), "fixed_ip_address": null,
        });
        for (name, value) in more.as_object().unwrap() {
            floating[name] = value.clone();
        }
        floating
    };
    let all = json!([
        floating(1, None, json!({"port_details": null})),
        floating(2, Some(10), json!({"fixed_ip_address": "10.0.0.2"})),
        floating(3, Some(11), json!({"port_details": {"device_id": "by details"}})),
    ]);
    let server = Server::start(move |seen: Seen| {
        let all = all.clone();
        async move {
            match seen.what.as_str() {
                "GET /network/v2.0/floatingips" => reply(200, json!({"floatingips": all})),
                "GET /network/v2.0/ports" => reply(200, json!({"ports": [port(10, 1, json!({}))]})),
                "GET /network/v2.0/networks" => {
                    reply(200, json!({"networks": [{"id": Uuid::from_u128(1), "name": "public"}]}))
                }
                _ => None,
            }
        }
    })
    .await;
    let found = floating_ips::list(&network(&server), &user()).await.unwrap();
    let of = |at: usize| (found[at].address.as_str(), found[at].pool.as_str(), found[at].server_id.as_deref());
    let device = SERVER.to_string();
    assert_eq!(of(0), ("172.24.4.1", "public", None));
    assert_eq!(of(1), ("172.24.4.2", "public", Some(device.as_str())));
    assert_eq!(of(2), ("172.24.4.3", "public", Some("by details")));
    let asked = server.seen();
    let ports: Vec<&Seen> = asked.iter().filter(|seen| seen.what == "GET /network/v2.0/ports").collect();
    assert_eq!((ports.len(), ports[0].query.clone()), (1, format!("id={}", Uuid::from_u128(10))));
}

#[tokio::test]
async fn pages_are_read_to_the_end_and_their_links_not_followed() {
    let device = |id: u128| json!({"device_id": Uuid::from_u128(id), "device_owner": "compute:nova", "binding:profile": {"kilonova": "made"}});
    let server = Server::start(move |seen: Seen| async move {
        let links = json!([{"rel": "next", "href": "http://elsewhere.example/v2.0/ports"}]);
        match (seen.what.as_str(), seen.number) {
            ("GET /network/v2.0/ports", 0) => {
                let ports = [
                    port(10, 1, device(2)),
                    port(11, 1, device(1)),
                    port(12, 1, json!({"device_owner": "compute:nova"})),
                ];
                reply(200, json!({"ports": ports, "ports_links": links}))
            }
            ("GET /network/v2.0/ports", _) => reply(200, json!({"ports": [port(13, 1, device(1))]})),
            _ => None,
        }
    })
    .await;
    let devices = network(&server).devices_with_ports(&RequestContext::admin()).await.unwrap();
    assert_eq!(devices, [Uuid::from_u128(1), Uuid::from_u128(2)]);
    let queries: Vec<String> = server.seen()[1..].iter().map(|seen| seen.query.clone()).collect();
    let first = "device_owner=compute%3Anova&limit=1000";
    assert_eq!(queries, [first.to_owned(), format!("{first}&marker={}", Uuid::from_u128(12))]);
}
