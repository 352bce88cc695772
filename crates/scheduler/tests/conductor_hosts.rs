//! What the scheduler reads of the hosts from the conductor.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kilonova_core::{Config, RequestContext};
use kilonova_messaging::{
    ClientOptions, Dispatcher, Endpoint, MemoryTransport, RpcServer, ServerOptions, Transport, Version,
};
use kilonova_objects::{
    Aggregate, AggregateList, ComputeNode, ComputeNodeList, Instance, InstanceList, Service, ServiceList, Wire as _,
};
use kilonova_rpcapi::conductor::{ObjectClassActionVersions, TOPIC};
use kilonova_rpcapi::{ConductorApi, register};
use kilonova_scheduler::service::ConductorHosts;
use kilonova_scheduler::{HostInventory, HostSource as _};
use serde_json::Value;
use uuid::Uuid;

/// A conductor that knows hosts `a` and `b`, an aggregate of `a` and one of a host that is not there, and a server on
/// `b` whose image is Windows.
struct Conductor {
    asked: Arc<Mutex<Vec<String>>>,
    api: ConductorApi,
    _server: RpcServer,
}

impl Conductor {
    async fn start() -> Self {
        let transport: Arc<dyn Transport> = MemoryTransport::new();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let endpoint =
            register(Endpoint::new(None, Version::new(3, 0)), move |_, action: ObjectClassActionVersions| {
                log.lock().unwrap().push(action.objname.clone());
                async move { Ok(answer(&action)) }
            });
        let target = kilonova_rpcapi::target(TOPIC).server("c");
        let dispatcher = Dispatcher::new(vec![endpoint]);
        let server = RpcServer::start(transport.clone(), target, dispatcher, ServerOptions::default()).await.unwrap();
        Self { asked, api: ConductorApi::new(transport, ClientOptions::default()), _server: server }
    }

    async fn read(&self, options: &str) -> HostInventory {
        let hosts = ConductorHosts::new(self.api.clone(), &Config::from_text(options).unwrap()).unwrap();
        hosts.hosts(&RequestContext::admin()).await.unwrap()
    }
}

fn answer(action: &ObjectClassActionVersions) -> Value {
    match action.objname.as_str() {
        "ComputeNodeList" => {
            let node = |(number, host): (u128, &str)| ComputeNode {
                uuid: Uuid::from_u128(number),
                host: Some(host.to_owned()),
                ..ComputeNode::default()
            };
            ComputeNodeList::from([(1, "a"), (2, "b"), (3, "without a service")].map(node).to_vec()).to_wire()
        }
        "ServiceList" => {
            let service = |host: &str| Service { host: Some(host.to_owned()), ..Service::default() };
            ServiceList::from(["a", "b"].map(service).to_vec()).to_wire()
        }
        "AggregateList" => AggregateList::from(aggregates()).to_wire(),
        "InstanceList" => {
            let properties = [("image_os_distro", "windows"), ("image_min_ram", "64"), ("boot_roles", "x")];
            let system_metadata = properties.map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
            let host = Some("b".to_owned());
            let on_b = Instance { host, system_metadata: system_metadata.into(), ..Instance::default() };
            InstanceList::from(vec![on_b, Instance::default()]).to_wire()
        }
        other => panic!("nobody asks for {other}"),
    }
}

fn aggregates() -> Vec<Aggregate> {
    let aggregate = |(number, host, zone): (u128, &str, Option<&str>)| Aggregate {
        uuid: Uuid::from_u128(number),
        hosts: Some(vec![host.to_owned()]),
        metadata: Some(zone.map(|zone| ("availability_zone".to_owned(), zone.to_owned())).into_iter().collect()),
        ..Aggregate::default()
    };
    [(11, "a", Some("east")), (12, "a", None), (13, "gone", None)].map(aggregate).to_vec()
}

#[tokio::test]
async fn hosts_come_with_their_service_zone_and_aggregates() {
    let conductor = Conductor::start().await;
    let read = conductor.read("").await;
    let hosts: Vec<(Uuid, Option<&str>, Vec<Uuid>)> = read
        .hosts
        .iter()
        .map(|host| {
            let aggregates = host.aggregates.iter().map(|aggregate| aggregate.uuid).collect();
            (host.node.uuid, host.availability_zone.as_deref(), aggregates)
        })
        .collect();
    let uuids = |numbers: &[u128]| numbers.iter().copied().map(Uuid::from_u128).collect();
    let expected =
        [(Uuid::from_u128(1), Some("east"), uuids(&[11, 12])), (Uuid::from_u128(2), Some("nova"), uuids(&[]))];
    assert_eq!(hosts, expected);
    let all: Vec<Uuid> = read.aggregates.iter().map(|aggregate| aggregate.uuid).collect();
    assert_eq!(all, uuids(&[11, 12, 13]));
}

#[tokio::test]
async fn servers_are_read_only_where_their_images_are_weighed() {
    let conductor = Conductor::start().await;
    let read = conductor.read("").await;
    assert!(read.hosts.iter().all(|host| host.image_properties.is_empty()));
    assert!(!conductor.asked.lock().unwrap().contains(&"InstanceList".to_owned()));

    let read = conductor.read("[filter_scheduler]\nimage_props_weight_multiplier = 1\n").await;
    let windows = BTreeMap::from([("os_distro".to_owned(), "windows".to_owned())]);
    let properties: Vec<_> = read.hosts.iter().map(|host| host.image_properties.clone()).collect();
    assert_eq!(properties, [vec![], vec![windows]]);
}
